//! What is to be written of a method that is done at once: the server's fault, the end of the event, the end of the task (the
//! decorators of `nova/compute/manager.py`).

use compute::ending::{Change, Ending, Event};
use compute::instance::Instance;
use compute::ports::{self, Action, Fault, Instances};
use oslo::context::RequestContext;
use oslo::rpc::Failure;
use serde_json::{Map, Value, json};

use crate::refusals;

/// How the event of a refused action ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventEnd {
    /// There is no event.
    None,
    Failure,
    /// Stock does the work after the event has ended; the failure shows only as a fault.
    Success,
}

/// What is written down of a failure (the decorators of stock's methods, `nova/compute/manager.py`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// What the event of the action shows.
    pub event: EventEnd,
    /// The server gets a fault.
    pub fault: bool,
    /// The server's task ends.
    pub revert: bool,
}

/// Runs a method's work for an instance. Answers its result, and what is to be written of it.
pub async fn recorded(
    instances: &dyn Instances,
    context: &RequestContext,
    instance: &Instance,
    method: &str,
    record: Record,
    work: impl Future<Output = Result<Value, Failure>> + Send,
) -> (Result<Value, Failure>, Ending) {
    let action = Action::Other(format!("compute_{method}"));
    let has_event = record.event != EventEnd::None;
    let begun =
        if has_event { instances.start_event(context, instance.id, &action, false).await } else { Ok(()) };
    let (runs, result) = match begun {
        Ok(()) => (true, work.await),
        // An action that is not there: the method does not run, as in stock, but its task ends.
        Err(error) => (false, Err(failure(error))),
    };
    let failed = result.as_ref().err();
    let event = Event { action, shows_failure: record.event == EventEnd::Failure };
    let reverts = record.revert && failed.is_some_and(|failure| !is_other_task(failure));
    let ending = Ending {
        failure: failed.map(fault),
        // An instance that is gone has no faults.
        fault: record.fault && runs && failed.is_some_and(|failure| !failure.is("InstanceNotFound")),
        event: (has_event && runs).then_some(event),
        change: reverts.then_some(Change::TaskEnds),
    };
    (result, ending)
}

fn fault(failure: &Failure) -> Fault {
    let code = failure.kwargs.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    let message = said(failure);
    Fault { code: code.unwrap_or(500), details: message.clone(), message }
}

/// What a user reads: the message, or the class of an exception without one (`exception_to_dict`).
fn said(failure: &Failure) -> String {
    if failure.message.is_empty() { failure.class.clone() } else { failure.message.clone() }
}

/// The task is another operation's: leave it to that one.
fn is_other_task(failure: &Failure) -> bool {
    failure.is("UnexpectedTaskStateError") || failure.is("UnexpectedDeletingTaskStateError")
}

/// The failure that a port's error is to a caller.
pub fn failure(error: ports::Error) -> Failure {
    match error {
        ports::Error::InstanceGone(id) => nova(
            "InstanceNotFound",
            404,
            &format!("Instance {id} could not be found."),
            &[("instance_id", &id.to_string())],
        ),
        ports::Error::Deleting(text) => nova("UnexpectedDeletingTaskStateError", 500, &text, &[]),
        ports::Error::UnexpectedTask(text) => nova("UnexpectedTaskStateError", 500, &text, &[]),
        ports::Error::Refused { why, message } => nova(refusals::class(why), why.code(), &message, &[]),
        ports::Error::Taken(text) | ports::Error::Unavailable(text) | ports::Error::Broken(text) => {
            nova("NovaException", 500, &text, &[])
        }
    }
}

/// A failure of `nova.exception`, with its HTTP code and the words of its message.
pub fn nova(class: &str, code: u16, message: &str, words: &[(&str, &str)]) -> Failure {
    let mut kwargs = Map::new();
    for (name, value) in words {
        kwargs.insert((*name).to_owned(), json!(value));
    }
    kwargs.insert("code".to_owned(), json!(code));
    Failure::nova(class, message, kwargs)
}

#[cfg(test)]
mod tests {
    use compute::ports::Refusal;

    use super::*;

    #[test]
    fn a_refusal_has_the_class_that_nova_api_knows() {
        for (why, class, code) in [
            (Refusal::UnknownAction, "InstanceActionNotFound", 404),
            (Refusal::PortInUse, "PortInUse", 400),
            (Refusal::AddressInUse, "FixedIpAlreadyInUse", 500),
            (Refusal::NotAttached, "InterfaceAttachFailed", 500),
            (Refusal::Disk, "InvalidBDM", 400),
        ] {
            let failure = failure(ports::Error::Refused { why, message: "no".to_owned() });
            assert_eq!((failure.class.as_str(), failure.module.as_str()), (class, "nova.exception"));
            assert_eq!((failure.message.as_str(), &failure.kwargs["code"]), ("no", &json!(code)));
        }
    }
}
