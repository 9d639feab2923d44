//! What goes wrong behind the ports.

mod refusal;

use driver::InstanceId;

pub use refusal::Refusal;

/// What went wrong behind a port, by what the manager does about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The instance is no longer there: the work has lost its purpose and ends quietly.
    #[error("Instance {0} could not be found.")]
    InstanceGone(InstanceId),
    /// Somebody asked to delete the instance meanwhile: the work ends, the delete goes on.
    #[error("{0}")]
    Deleting(String),
    /// The instance is in another task than the step expects: the work ends.
    #[error("{0}")]
    UnexpectedTask(String),
    /// The request itself cannot be met, here or anywhere (quota, ambiguous network, port in use …).
    #[error("{message}")]
    Refused {
        /// For callers that answer differently.
        why: Refusal,
        /// For the user.
        message: String,
    },
    /// The record belongs to another service now: forget it.
    #[error("{0}")]
    Taken(String),
    /// The service behind the port failed or could not be reached, after the retries of its client. It may
    /// answer later.
    #[error("{0}")]
    Unavailable(String),
    /// The service behind the port answered in a way that will not change by asking again.
    #[error("{0}")]
    Broken(String),
}

/// A result of a port.
pub type Result<T, E = Error> = std::result::Result<T, E>;
