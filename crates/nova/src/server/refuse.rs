//! The failures of what is refused, and what is taken back.

use compute::instance::{Instance, Power};
use compute::ports::Machines;
use driver::NodeId;
use oslo::context::RequestContext;
use oslo::rpc::{Failure, Request};
use serde_json::Value;
use tracing::warn;
use uuid::Uuid;

use super::methods::{Leftover, Reason, Refusal};
use super::outcome::nova;
use super::undo::Undo;
use crate::objects::parse;

/// The failure of a refused request.
pub fn failure(reason: Reason, request: &Request, instance: Option<&Instance>) -> Failure {
    let id = instance.map(|instance| instance.id.to_string()).unwrap_or_default();
    let running = instance.is_some_and(|instance| instance.power == Power::Running);
    let asked = |argument: &str| request.args.get(argument).and_then(Value::as_str).unwrap_or_default();
    match reason {
        Reason::Unsupported => Failure::not_implemented(),
        Reason::SetPassword | Reason::Diagnostics if running => Failure::not_implemented(),
        Reason::NotYet => not_yet(request),
        Reason::MovePreCheck => {
            let reason = "a bare metal server cannot be moved";
            nova(
                "MigrationPreCheckError",
                500,
                &format!("Migration pre-check error: {reason}"),
                &[("reason", reason)],
            )
        }
        Reason::SetPassword => {
            let reason = format!("instance {id} is not running");
            nova(
                "InstancePasswordSetFailed",
                500,
                &format!("Failed to set admin password on {id} because {reason}"),
                &[("instance", &id), ("reason", &reason)],
            )
        }
        Reason::Diagnostics => nova(
            "InstanceInvalidState",
            400,
            &format!(
                "Instance {id} in power state shutdown. Cannot {} while the instance is in this state.",
                request.method
            ),
            &[
                ("instance_uuid", &id),
                ("attr", "power state"),
                ("state", "shutdown"),
                ("method", &request.method),
            ],
        ),
        Reason::OnVolume => {
            nova("NovaException", 500, "Ironic doesn't support rebuilding volume backed instances.", &[])
        }
        Reason::ReserveVolume => reserve_volume(request, asked("volume_id")),
    }
}

fn reserve_volume(request: &Request, volume: &str) -> Failure {
    if request.args.get("tag").is_some_and(|tag| !tag.is_null()) {
        return nova(
            "VolumeTaggedAttachNotSupported",
            400,
            "Tagged volume attachment is not supported for this server instance.",
            &[],
        );
    }
    if request.args.get("multiattach").and_then(Value::as_bool) == Some(true) {
        return nova(
            "MultiattachNotSupportedByVirtDriver",
            409,
            &format!("Volume {volume} has 'multiattach' set, which is not supported for this instance."),
            &[("volume_id", volume)],
        );
    }
    let reason = "volumes cannot be attached to a bare metal server that exists";
    nova("InvalidVolume", 400, &format!("Invalid volume: {reason}"), &[("reason", reason)])
}

/// A caller that waits gets what its API answers with 501; everybody else a fault that says what is missing.
fn not_yet(request: &Request) -> Failure {
    let what = request.method.replace('_', " ");
    let text = format!("{what} is not supported by this release of Bessemer");
    if request.wants_reply {
        Failure::builtin("NotImplementedError", text)
    } else {
        nova("NovaException", 500, &text, &[])
    }
}

/// Takes back what was prepared for a request that is refused. Each step is tried; what fails is logged.
pub async fn take_back(
    refusal: Refusal,
    request: &Request,
    instance: Option<&Instance>,
    undo: &dyn Undo,
    machines: &dyn Machines,
) {
    let context: &RequestContext = &request.context;
    let argument = |name: &str| request.args.get(name).unwrap_or(&Value::Null);
    let id = |name: &str| argument(name).as_str().and_then(|text| Uuid::parse_str(text).ok());
    match refusal.leftover {
        Leftover::Nothing => {}
        Leftover::Image => {
            if let Some(image) = id("image_id") {
                undo.delete_image(context, image).await;
            }
        }
        Leftover::Migration => undo.end_migration(context, argument("migration"), "error").await,
        Leftover::Claim => {
            if let Some(instance) = instance
                && let Err(error) = super::patiently(|| machines.release(context, instance.id)).await
            {
                warn!(instance = %instance.id, %error, "the claim for a refused request stays in Placement");
            }
        }
        Leftover::Resize => {
            let migration = argument("migration");
            if let Some(instance) = instance {
                undo.return_claim(context, migration, instance.id).await;
            }
            undo.end_migration(context, migration, "error").await;
        }
        Leftover::Evacuation => {
            let node = argument("scheduled_node").as_str().and_then(|text| text.parse::<NodeId>().ok());
            if let (Some(instance), Some(node)) = (instance, node)
                && instance.node != Some(node)
            {
                undo.drop_claim(context, instance.id, node).await;
            }
            undo.end_migration(context, argument("migration"), "failed").await;
        }
        Leftover::Attachment => {
            if let Ok(object) = oslo::object::Object::from_value(argument("bdm").clone()) {
                undo.forget_disk(context, &parse::block_device(object)).await;
            }
        }
        Leftover::Detaching => {
            if let Some(volume) = id("volume_id") {
                undo.keep_volume(context, volume).await;
            }
        }
        Leftover::Rebuild => {
            if let Some(instance) = instance {
                undo.restore_image(context, instance, argument("orig_sys_metadata")).await;
            }
        }
        Leftover::Swap => {
            if let Some(volume) = id("old_volume_id") {
                undo.keep_volume(context, volume).await;
            }
            if let Some(attachment) = id("new_attachment_id") {
                undo.forget_attachment(context, attachment).await;
            }
            warn!("a migration inside Cinder, if this swap is part of one, must be ended there");
        }
    }
}
