//! A build that this node failed goes back to the conductor, which tries the next of the scheduler's choices.
//!
//! Facts: `nova/compute/manager.py` (`_do_build_and_run_instance`), `nova/conductor/rpcapi.py` (`build_instances` 1.19).

use compute::ports;
use compute::request::BuildRequest;
use oslo::object::Object;
use serde_json::{Map, Value, json};

use crate::conductor::{Conductor, Error};

/// Everything that the next compute service is to find set on the instance.
pub const WHOLE: [&str; 14] = [
    "flavor",
    "info_cache",
    "metadata",
    "system_metadata",
    "keypairs",
    "numa_topology",
    "pci_requests",
    "tags",
    "security_groups",
    "trusted_certs",
    "resources",
    "device_metadata",
    "migration_context",
    "ec2_ids",
];

/// Sends the request back. The instance is read again: the record changed since the request was made.
pub async fn reschedule(
    conductor: &Conductor,
    request: &BuildRequest,
    reason: &str,
    details: &str,
) -> ports::Result<()> {
    let id = request.instance.id;
    let fresh = conductor
        .read_object(
            &request.context,
            "Instance",
            "get_by_uuid",
            json!([id.0.to_string()]),
            json!({ "expected_attrs": WHOLE }),
        )
        .await
        .map_err(|error: Error| error.about(id))?
        .ok_or(ports::Error::InstanceGone(id))?;
    let Some(args) = request.origin.0.get("args").and_then(Value::as_object) else {
        return Err(ports::Error::Broken("the build's arguments are not those of a nova-compute".into()));
    };
    conductor
        .task(&request.context, "1.19", "build_instances", task(args, fresh, reason, details))
        .await
        .map_err(|error| error.about(id))
}

/// The arguments of `build_instances`, from those of `build_and_run_instance`.
fn task(args: &Map<String, Value>, instance: Object, reason: &str, details: &str) -> Map<String, Value> {
    let given = |name: &str| args.get(name).cloned().unwrap_or(Value::Null);
    let mut filters = match given("filter_properties") {
        Value::Object(filters) => filters,
        _ => Map::new(),
    };
    let retry = filters.entry("retry").or_insert_with(|| json!({}));
    if !retry.is_object() {
        *retry = json!({});
    }
    if let Some(retry) = retry.as_object_mut() {
        retry.insert("exc".into(), details.split_inclusive('\n').map(Value::from).collect());
        retry.insert("exc_reason".into(), Value::from(reason));
    }
    let mut task = Map::new();
    task.insert("instances".into(), Value::Array(vec![instance.into_value()]));
    task.insert("image".into(), given("image"));
    task.insert("filter_properties".into(), Value::Object(filters));
    for name in ["admin_password", "injected_files", "requested_networks", "security_groups", "request_spec"]
    {
        task.insert(name.into(), given(name));
    }
    let alternates = match given("host_list") {
        Value::Null => Value::Null,
        list => Value::Array(vec![list]),
    };
    task.insert("host_lists".into(), alternates);
    task
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn the_next_choices_go_back_as_one_list_per_instance_and_the_reason_goes_along() {
        let args = testing::build_args();
        let instance = Object::from_value(args["instance"].clone()).unwrap();
        let task = task(&args, instance, "the deploy failed", "first\nsecond");
        assert_eq!(task["host_lists"], json!([args["host_list"]]));
        assert_eq!(task["filter_properties"]["retry"]["exc"], json!(["first\n", "second"]));
        assert_eq!(task["filter_properties"]["retry"]["exc_reason"], json!("the deploy failed"));
        assert_eq!(
            task["filter_properties"]["retry"]["num_attempts"],
            args["filter_properties"]["retry"]["num_attempts"]
        );
        for same in ["image", "injected_files", "requested_networks", "security_groups", "request_spec"] {
            assert_eq!(task[same], args[same], "{same}");
        }
        let names: Vec<&str> = task.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "instances",
                "image",
                "filter_properties",
                "admin_password",
                "injected_files",
                "requested_networks",
                "security_groups",
                "request_spec",
                "host_lists"
            ]
        );
    }
}
