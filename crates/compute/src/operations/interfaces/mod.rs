//! A server's interfaces: attached, detached, given single addresses (in stock: `attach_interface`, `detach_interface`,
//! `add_fixed_ip_to_instance` and `remove_fixed_ip_from_instance` of `nova/compute/manager.py`).
//!
//! The server has no task meanwhile, and its state does not change: the event, a fault, and the network information are all that is
//! written.

mod addresses;
mod attach;
mod detach;

pub(crate) use addresses::ChangeAddresses;
pub(crate) use attach::Attach;
pub(crate) use detach::Detach;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::existing::{self, Existing};
use super::{Retry, Rules, Start, Try};
use crate::ending::Ending;
use crate::instance::Expect;
use crate::ports::{self, Fault, Refusal};
use crate::user_message;

/// The server has no task for these operations: nothing tells from outside that one has it, and no outcome changes it.
pub(super) const RULES: Rules = Rules {
    stops_others: false,
    outlives_instance: false,
    has: |_, _, _| false,
    expect: |_| Expect::Anything,
};

/// The name in the journal of what these operations remember.
const MEMORY: &str = "interface";

/// Why an operation did not do what was asked.
#[derive(Debug)]
enum Failure {
    /// Another request has the server now.
    Superseded(String),
    /// A service is away: the operation is neither failed nor ended.
    Away(String),
    /// It was refused. `story` is for the operator, beside what the user reads.
    Refused { why: Refusal, message: String, story: Option<String> },
}

impl From<ports::Error> for Failure {
    fn from(error: ports::Error) -> Self {
        match error {
            ports::Error::InstanceGone(_) | ports::Error::Deleting(_) | ports::Error::UnexpectedTask(_) => {
                Self::Superseded(error.to_string())
            }
            ports::Error::Unavailable(why) => Self::Away(why),
            ports::Error::Refused { why, message } => Self::Refused { why, message, story: None },
            ports::Error::Taken(message) | ports::Error::Broken(message) => {
                Self::Refused { why: Refusal::Other, message, story: None }
            }
        }
    }
}

impl From<existing::Failure> for Failure {
    fn from(failure: existing::Failure) -> Self {
        match failure {
            existing::Failure::Superseded(why) => Self::Superseded(why),
            existing::Failure::Away(why) => Self::Away(why),
            existing::Failure::Failed(message) => Self::Refused { why: Refusal::Other, message, story: None },
        }
    }
}

impl Failure {
    /// Of a VIF that Ironic does not attach or detach: the user reads `message`, an operator Ironic's reason beside it.
    fn of_driver(error: driver::Error, why: Refusal, message: String) -> Self {
        match error {
            driver::Error::Cancelled => Self::Superseded("the server is being deleted".to_owned()),
            driver::Error::Unreachable(error) => Self::Away(error.to_string()),
            told => Self::Refused { why, message, story: Some(user_message::of_driver(&told)) },
        }
    }
}

/// What is written of a refusal.
fn fault(why: Refusal, message: &str, story: Option<&str>) -> Fault {
    let details = story.map_or_else(|| message.to_owned(), |story| format!("{message}: {story}"));
    Fault { code: why.code(), message: message.to_owned(), details }
}

/// What was remembered before a restart, or in an earlier try.
async fn remembered<M: DeserializeOwned + Default>(this: &Try) -> M {
    let saved = this.record.progress(MEMORY).await;
    saved.and_then(|saved| serde_json::from_value(saved).ok()).unwrap_or_default()
}

/// Remembers; what follows must not begin before a crash can find it.
async fn remember<M: Serialize>(this: &Try, memory: &M) -> Result<(), Failure> {
    let saved = match serde_json::to_value(memory) {
        Ok(memory) => driver::Progress::save(this, MEMORY, memory).await,
        Err(error) => Err(error.into()),
    };
    saved.map_err(|error| Failure::Away(format!("the journal cannot be written: {error}")))
}

/// The end of an operation, if it has one. A restart only writes what is left of it.
async fn ended(server: &Existing, outcome: Result<(), Failure>) -> Result<Ending, Retry> {
    let (this, kind) = (&server.this, server.this.key.kind);
    let ending = match outcome {
        Ok(()) => {
            let seconds = this.tracker.running().as_secs_f64();
            tracing::info!(operation = kind.name(), seconds, "the interfaces of the server are changed");
            Ending::success(kind)
        }
        Err(Failure::Superseded(why)) => {
            tracing::info!(operation = kind.name(), %why, "the operation ends; another request has the server");
            Ending::superseded(kind, why)
        }
        Err(Failure::Away(why)) => return Err(Retry { start: server.resumed(), why }),
        Err(Failure::Refused { why, message, story }) => {
            tracing::warn!(operation = kind.name(), reason = %message, story, "the interfaces of the server stay as they are");
            Ending::refusal(kind, fault(why, &message, story.as_deref()))
        }
    };
    this.note(&Start::Ending(ending.clone())).await;
    Ok(ending)
}
