//! How a method's failure is written down: the server's fault, the end of the event, the end of the task, in this order
//! (the decorators of `nova/compute/manager.py`). The order matters: when the task is over the user may look, and then all must be there.

use async_trait::async_trait;
use compute::instance::{Expect, Instance, InstanceUpdate};
use compute::ports::{self, Fault, Instances};
use driver::InstanceId;
use oslo::context::RequestContext;
use oslo::rpc::Failure;
use serde_json::{Map, Value, json};
use tracing::{error, warn};

use super::methods::{EventEnd, Record};
use crate::refusals;

/// The instances, and the events of any method by its name: what is refused is no action of the manager's.
#[async_trait]
pub trait Records: Instances {
    /// Begins the event of a method.
    async fn start_method(&self, context: &RequestContext, id: InstanceId, method: &str)
    -> ports::Result<()>;

    /// Ends the event of a method, as [`Instances::finish_event`] does.
    async fn finish_method(
        &self,
        context: &RequestContext,
        id: InstanceId,
        method: &str,
        failure: Option<(&str, &str)>,
    ) -> ports::Result<()>;
}

/// Runs a method's work for an instance and writes down how it ended.
pub async fn recorded(
    instances: &dyn Records,
    context: &RequestContext,
    instance: &mut Instance,
    method: &str,
    record: Record,
    work: impl Future<Output = Result<Value, Failure>> + Send,
) -> Result<Value, Failure> {
    let has_event = record.event != EventEnd::None;
    let begun = if has_event { instances.start_method(context, instance.id, method).await } else { Ok(()) };
    let result = match begun {
        Ok(()) => {
            let result = work.await;
            if let Err(failure) = &result
                && record.fault
            {
                write_fault(instances, context, instance, failure).await;
            }
            if has_event {
                let shown = result.as_ref().err().filter(|_| record.event == EventEnd::Failure);
                let text = shown.map(said);
                let finished = instances
                    .finish_method(context, instance.id, method, text.as_deref().map(|text| (text, text)))
                    .await;
                if let Err(error) = finished {
                    warn!(instance = %instance.id, method, %error, "the end of the event is not written down");
                }
            }
            result
        }
        // An action that is not there: the method does not run, as in stock, but its task ends.
        Err(error) => Err(failure(error)),
    };
    if let Err(failure) = &result
        && record.revert
        && !is_other_task(failure)
    {
        end_task(instances, context, instance).await;
    }
    result
}

/// Writes the server's fault; an instance that is gone has none.
pub async fn write_fault(
    instances: &dyn Instances,
    context: &RequestContext,
    instance: &Instance,
    failure: &Failure,
) {
    if failure.is("InstanceNotFound") {
        return;
    }
    let code = failure.kwargs.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    let message = said(failure);
    let fault = Fault { code: code.unwrap_or(500), details: message.clone(), message };
    if let Err(error) = instances.record_fault(context, instance.id, &fault).await {
        error!(instance = %instance.id, %error, fault = fault.message, "the fault is not written down");
    }
}

/// Ends the instance's task, whatever it is.
async fn end_task(instances: &dyn Instances, context: &RequestContext, instance: &mut Instance) {
    let update = InstanceUpdate { task_state: Some(None), ..InstanceUpdate::default() };
    match instances.update(context, instance, update, Expect::Anything).await {
        Ok(()) | Err(ports::Error::InstanceGone(_)) => {}
        Err(error) => error!(instance = %instance.id, %error, "the task could not be ended"),
    }
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
        ports::Error::Refused { why, message } => nova(refusals::class(why), 400, &message, &[]),
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
        for (why, class) in [
            (Refusal::UnknownAction, "InstanceActionNotFound"),
            (Refusal::PortInUse, "PortInUse"),
            (Refusal::AddressInUse, "FixedIpAlreadyInUse"),
            (Refusal::Disk, "InvalidBDM"),
        ] {
            let failure = failure(ports::Error::Refused { why, message: "no".to_owned() });
            assert_eq!((failure.class.as_str(), failure.module.as_str()), (class, "nova.exception"));
            assert_eq!((failure.message.as_str(), &failure.kwargs["code"]), ("no", &json!(400)));
        }
    }
}
