//! What users see of an operation: the fault of a server and the events of an action.

use compute::ports::{self, Action, Fault, Refusal};
use compute::request::Kind;
use driver::InstanceId;
use oslo::context::RequestContext;
use oslo::object::Object;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::warn;

use super::save::object;
use crate::conductor::{Conductor, Error, Pause, Repeat};
use crate::requests::method;

/// What `instance_faults.message` and `instance_actions_events.details` hold.
const MESSAGE_BYTES: usize = 255;

/// The name under which nova-api shows an action's event.
pub fn event(action: &Action) -> &str {
    match action {
        Action::Operation(kind) => method(*kind).event,
        Action::PowerUpdate => "compute_power_update",
        Action::Other(name) => name,
    }
}

/// Stores a fault. An instance that is gone has none: once it is purged, a fault breaks the foreign key of
/// its table.
pub async fn record_fault(
    conductor: &Conductor,
    context: &RequestContext,
    host: &str,
    id: InstanceId,
    fault: &Fault,
) -> ports::Result<()> {
    let primitive = fault_object(host, id, fault);
    match conductor.act(context, primitive, "create", json!({}), Repeat::Freely).await {
        Err(error) if error.is("InstanceNotFound") || error.is("DBReferenceError") => Ok(()),
        Err(error) => Err(error.about(id)),
        Ok(_) => Ok(()),
    }
}

fn fault_object(host: &str, id: InstanceId, fault: &Fault) -> Object {
    let mut primitive = object("InstanceFault");
    primitive.set("instance_uuid", id.0.to_string());
    primitive.set("code", i64::from(fault.code));
    primitive.set("message", cut(&fault.message));
    primitive.set("details", if fault.code == 500 { fault.details.as_str() } else { "" });
    primitive.set("host", host);
    primitive
}

/// Records an action that the service has for itself; the API shows it by the kind's name (`nova/compute/instance_actions.py`).
pub async fn record(
    conductor: &Conductor,
    context: &RequestContext,
    id: InstanceId,
    kind: Kind,
) -> ports::Result<()> {
    let args = json!([id.0.to_string(), kind.name()]);
    let kwargs = json!({ "want_result": false });
    let recorded =
        conductor.class(context, "InstanceAction", "action_start", args, kwargs, Repeat::Never).await;
    recorded.map(drop).map_err(|error| error.about(id))
}

/// Begins an event of the action that the context's request id names.
///
/// `look`: it may have begun already, before a restart or in a call that was never answered; then it is not
/// begun again.
pub async fn start_event(
    conductor: &Conductor,
    context: &RequestContext,
    host: &str,
    id: InstanceId,
    event: &str,
    mut look: bool,
) -> ports::Result<()> {
    let mut pause = Pause::new(Instant::now() + conductor.options().patience);
    loop {
        if look && is_running(conductor, context, id, event).await? {
            return Ok(());
        }
        let started = conductor
            .class(
                context,
                "InstanceActionEvent",
                "event_start",
                json!([id.0.to_string(), event]),
                json!({ "want_result": false, "host": host }),
                Repeat::Never,
            )
            .await;
        match started {
            Ok(_) => return Ok(()),
            Err(error) if error.is_transient() && pause.wait().await => {
                warn!(instance = %id, event, %error, "looking whether the event began");
                look = true;
            }
            Err(error) => return Err(action_error(error, id)),
        }
    }
}

async fn is_running(
    conductor: &Conductor,
    context: &RequestContext,
    id: InstanceId,
    event: &str,
) -> ports::Result<bool> {
    let action = conductor
        .read_object(
            context,
            "InstanceAction",
            "get_by_request_id",
            json!([id.0.to_string(), context.request_id]),
            json!({}),
        )
        .await?;
    let Some(action) = action.and_then(|action| action.int("id")) else { return Ok(false) };
    let events = conductor
        .read_list(context, "InstanceActionEventList", "get_by_action", json!([action]), json!({}))
        .await?;
    Ok(events.iter().any(|known| known.str("event") == Some(event) && known.str("finish_time").is_none()))
}

/// Ends an event. One that never began, or whose action is gone, has no end: that is only logged.
pub async fn finish_event(
    conductor: &Conductor,
    context: &RequestContext,
    id: InstanceId,
    event: &str,
    failure: Option<(&str, &str)>,
) -> ports::Result<()> {
    let kwargs = json!({
        "exc_val": failure.map(|(text, _)| cut(text)),
        "exc_tb": failure.map(|(_, story)| story),
        "want_result": false,
    });
    let args = json!([id.0.to_string(), event]);
    let finished = conductor
        .class(context, "InstanceActionEvent", "event_finish_with_failure", args, kwargs, Repeat::Freely)
        .await;
    match finished {
        Ok(_) => Ok(()),
        Err(error) if error.is("InstanceActionNotFound") || error.is("InstanceActionEventNotFound") => {
            warn!(instance = %id, event, %error, "an event that is not there cannot be finished");
            Ok(())
        }
        Err(error) => Err(error.about(id)),
    }
}

/// The action that the event belongs to is not there: the request did not come from this control plane.
fn action_error(error: Error, id: InstanceId) -> ports::Error {
    if error.is("InstanceActionNotFound") {
        return ports::Error::Refused { why: Refusal::UnknownAction, message: error.to_string() };
    }
    error.about(id)
}

/// The start of a text that fits the column, whole characters only.
fn cut(text: &str) -> Value {
    let mut end = text.len().min(MESSAGE_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Value::from(&text[..end])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing;

    #[test]
    fn a_fault_is_the_object_that_stock_creates() {
        let fault = Fault { code: 500, message: "m".into(), details: "d".into() };
        assert_eq!(
            fault_object("h1", testing::instance().id, &fault).into_value(),
            json!({
                "nova_object.name": "InstanceFault",
                "nova_object.namespace": "nova",
                "nova_object.version": "1.2",
                "nova_object.data": {
                    "instance_uuid": "2f7cfcfd-4a5b-4cc2-b73c-9ac0dc18007d",
                    "code": 500, "message": "m", "details": "d", "host": "h1",
                },
                "nova_object.changes": ["instance_uuid", "code", "message", "details", "host"],
            })
        );
    }

    #[test]
    fn a_fault_of_the_user_has_no_details() {
        let fault = Fault { code: 400, message: "m".into(), details: "d".into() };
        assert_eq!(fault_object("h1", testing::instance().id, &fault).str("details"), Some(""));
    }

    proptest! {
        #[test]
        fn a_message_is_cut_to_the_column_between_characters(text in "\\PC{0,200}") {
            let kept = cut(&text);
            let kept = kept.as_str().unwrap();
            prop_assert!(kept.len() <= MESSAGE_BYTES);
            prop_assert!(text.starts_with(kept));
            prop_assert!(kept.len() == text.len() || kept.len() > MESSAGE_BYTES - 4);
        }
    }
}
