//! Why an operation on a node ended without success.

/// Variants by what the caller does about it. The texts of all but [`Error::Unreachable`] are for the user, as the instance's
/// fault: they name no address and hold no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// This node cannot be had, or Ironic failed to deploy it: clean up, try another node.
    #[error("{0}")]
    AnotherNode(String),
    /// The request itself is refused (the image, a VIF): no node will take it.
    #[error("{0}")]
    NoNode(String),
    /// Ironic failed, refused, or kept the node locked for longer than allowed. The same may be asked for again, once an operator
    /// has looked at the node.
    #[error("{0}")]
    Retry(String),
    /// The node was taken from the instance, or is being torn down, by another request.
    #[error("{0}")]
    Gone(String),
    /// The caller cancelled. Nothing was undone.
    #[error("the operation was cancelled")]
    Cancelled,
    /// Ironic, or what the operation needs beside it, could not be reached for longer than [`Options::patience`](crate::Options::patience).
    /// For the log: the text may name an address.
    #[error(transparent)]
    Unreachable(#[from] openstack::Error),
}

impl Error {
    /// What a user may read of it.
    pub fn user_message(&self) -> String {
        match self {
            Self::Unreachable(_) => "Ironic cannot be reached, or failed".to_owned(),
            told => told.to_string(),
        }
    }
}

/// What a user may read of an answer of Ironic's: what it refuses in its own words, and no more than that of anything else.
pub fn user_message(error: &openstack::Error) -> String {
    match error.status() {
        Some(400..500) if !error.is_unauthorized() => format!("Ironic refuses: {}", error.message()),
        _ => "Ironic cannot be reached, or failed".to_owned(),
    }
}
