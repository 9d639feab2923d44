//! A rebuild that is refused because the server boots from a volume: its record says again what the image on the volume says.
//! nova-api has saved the new image's properties before it asks, and sends along what there was (`nova/compute/api.py`, `rebuild`).

use compute::instance::Instance;
use oslo::context::RequestContext;
use oslo::object::Object;
use serde_json::{Value, json};
use tracing::error;

use crate::conductor::{Conductor, Repeat};
use crate::instances::save;

/// Restores the properties of the image, from the request's `orig_sys_metadata`. Where that is not possible the server is in
/// error, as with stock.
pub async fn restore(conductor: &Conductor, context: &RequestContext, instance: &Instance, metadata: &Value) {
    let save = async |change: Object| {
        let expected = json!({ "expected_task_state": ["rebuilding"] });
        match conductor.act(context, change, "save", expected, Repeat::Freely).await {
            // Somebody else has the server now.
            Err(error) if !error.is_other_state() && !error.is("InstanceNotFound") => Err(error.to_string()),
            _ => Ok(()),
        }
    };
    let restored = match as_before(instance, metadata) {
        Some(change) => save(change).await,
        None => Err("the request does not say what it was".to_owned()),
    };
    let Err(problem) = restored else { return };
    error!(instance = %instance.id, problem, "the image properties of a server that is not rebuilt cannot be restored; the server goes to ERROR");
    if let Err(problem) = save(in_error(instance)).await {
        error!(instance = %instance.id, problem, "the server cannot be shown as failed");
    }
}

/// What the image decides of an instance, as it was. `None` when it is missing.
fn as_before(instance: &Instance, metadata: &Value) -> Option<Object> {
    let known = metadata.as_object()?;
    let mut change = same(instance);
    for name in ["kernel_id", "ramdisk_id"] {
        let value = known.get(&format!("image_{name}")).and_then(Value::as_str);
        change.set(name, value.unwrap_or_default());
    }
    for name in ["os_type", "architecture", "vm_mode"] {
        change.set(name, known.get(&format!("image_{name}")).cloned().unwrap_or_default());
    }
    change.set("system_metadata", metadata.clone());
    Some(change)
}

fn in_error(instance: &Instance) -> Object {
    let mut change = same(instance);
    change.set("vm_state", "error");
    change
}

fn same(instance: &Instance) -> Object {
    let mut change = save::object("Instance");
    change.insert("uuid", instance.id.0.to_string());
    change
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conductor::testing::{Script, raised};
    use crate::testing;

    async fn restored(script: &Script, metadata: Value) -> Vec<Value> {
        let (context, instance) = (RequestContext::admin(), testing::instance());
        restore(&script.conductor(), &context, &instance, &metadata).await;
        let sent = script.sent();
        for sent in &sent {
            assert_eq!(sent.args["kwargs"], json!({"expected_task_state": ["rebuilding"]}));
        }
        sent.into_iter().map(|sent| sent.args["objinst"]["nova_object.data"].clone()).collect()
    }

    fn saved() -> Script {
        Script::default().then(Ok(json!([{}, null])))
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_has_the_properties_of_the_image_again_that_is_on_its_volume() {
        let metadata = json!({"owner_user_name": "u", "image_kernel_id": "k", "image_os_type": "linux"});
        let changes = restored(&saved(), metadata.clone()).await;
        assert_eq!(
            changes,
            [json!({
                "uuid": testing::instance().id, "kernel_id": "k", "ramdisk_id": "",
                "os_type": "linux", "architecture": null, "vm_mode": null, "system_metadata": metadata,
            })]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn where_they_cannot_be_restored_the_server_is_in_error() {
        let failed = json!({"uuid": testing::instance().id, "vm_state": "error"});
        assert_eq!(restored(&saved(), Value::Null).await, std::slice::from_ref(&failed));
        let script = Script::default().then(raised("ObjectActionError")).then(Ok(json!([{}, null])));
        assert_eq!(restored(&script, json!({})).await[1..], [failed]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_somebody_deletes_meanwhile_is_left_to_them() {
        let script = Script::default().then(raised("UnexpectedDeletingTaskStateError"));
        assert_eq!(restored(&script, json!({})).await.len(), 1);
    }
}
