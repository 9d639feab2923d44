//! A change to an instance as the smallest `Instance.save` that makes it.
//!
//! `save` writes the fields that `changes` names and looks at no others (`nova/objects/instance.py`), so only they and
//! the uuid are sent. Nested objects must not be set: a set one is written whether it changed or not.

use compute::instance::{Expect, Instance, InstanceUpdate, TaskState};
use oslo::object::Object;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::conductor::version_of;
use crate::objects::parse::power_number;
use crate::objects::system_metadata;

/// An object of ours, of the version that every release knows.
pub fn object(name: &str) -> Object {
    Object::new(name, version_of(name).unwrap_or("1.0"))
}

/// The primitive of a change; `None` when nothing changes. `record` is the number of the record of the node that a new home is on.
pub fn primitive(
    instance: &Instance,
    update: &InstanceUpdate,
    record: Option<i64>,
    now: OffsetDateTime,
) -> Option<Object> {
    let mut object = object("Instance");
    object.insert("uuid", instance.id.0.to_string());
    if let Some(state) = &update.vm_state {
        object.set("vm_state", json!(state));
    }
    if let Some(state) = &update.task_state {
        object.set("task_state", json!(state));
    }
    if let Some(power) = update.power {
        object.set("power_state", power_number(power));
    }
    match &update.home {
        None => {}
        Some(Some(home)) => {
            object.set("host", home.host.as_str());
            object.set("node", home.node.0.to_string());
            object.set("compute_id", json!(record));
            object.set("launched_on", home.host.as_str());
        }
        Some(None) => {
            for field in ["host", "node", "compute_id", "launched_on", "launched_at"] {
                object.set(field, Value::Null);
            }
        }
    }
    if let Some(zone) = &update.availability_zone {
        object.set("availability_zone", json!(zone));
    }
    if let Some(metadata) = system_metadata::changed(instance, update) {
        object.set("system_metadata", metadata);
    }
    let texts = [
        ("root_device_name", &update.root_device_name),
        ("default_ephemeral_device", &update.default_ephemeral_device),
        ("config_drive", &update.config_drive),
        ("access_ip_v4", &update.access_ip_v4),
        ("access_ip_v6", &update.access_ip_v6),
    ];
    for (field, value) in texts {
        if let Some(value) = value {
            object.set(field, value.as_str());
        }
    }
    if update.launched_now {
        object.set("launched_at", timestamp(now));
    }
    if update.deleted_now {
        object.set("deleted_at", timestamp(now));
    }
    if update.terminated_now {
        object.set("terminated_at", timestamp(now));
    }
    (!object.changes().is_empty()).then_some(object)
}

/// The keyword arguments of `save`: which tasks the instance may have. `[null]` is "no task"; no key, no check.
pub fn expected(expect: &Expect) -> Value {
    match expect {
        Expect::Anything => json!({}),
        Expect::Task(tasks) => json!({ "expected_task_state": tasks }),
    }
}

/// Whether the instance is as the change would make it. Asked when a save was sent and never answered, or found another
/// state than it expects: it tells one that was done from one that was not. Times are left out, they are those of the
/// try. So is the task where the change brings the instance into another state: the user may have begun the next task.
pub fn is_done(change: &Object, before: &Instance, now: &Object) -> bool {
    let moves = change.get("vm_state").is_some_and(|state| *state != json!(before.vm_state));
    change
        .changes()
        .iter()
        .filter(|field| match field.as_str() {
            "launched_at" | "terminated_at" | "deleted_at" => false,
            "task_state" => !moves,
            _ => true,
        })
        .all(|field| change.get(field) == now.get(field))
}

/// Whether a task is among the expected ones.
pub fn allows(expect: &Expect, task: Option<&TaskState>) -> bool {
    match expect {
        Expect::Anything => true,
        Expect::Task(tasks) => tasks.iter().any(|expected| expected.as_ref() == task),
    }
}

/// A time as the objects carry it: seconds, UTC, `Z`.
pub fn timestamp(at: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    at.to_offset(time::UtcOffset::UTC).format(&format).unwrap_or_default()
}

/// The fields that a save answered, without its own notes.
pub fn columns(updates: Map<String, Value>) -> Map<String, Value> {
    updates.into_iter().filter(|(name, _)| name != "obj_what_changed").collect()
}

#[cfg(test)]
mod tests {
    use compute::instance::{Home, Power, VmState};
    use driver::NodeId;
    use time::macros::datetime;

    use super::*;
    use crate::testing;

    const NOW: OffsetDateTime = datetime!(2026-11-23 02:19:05.7 UTC);

    fn sent(update: &InstanceUpdate) -> Value {
        primitive(&testing::instance(), update, Some(5), NOW).unwrap().into_value()
    }

    #[test]
    fn nothing_to_change_is_nothing_to_send() {
        assert!(primitive(&testing::instance(), &InstanceUpdate::default(), None, NOW).is_none());
    }

    #[test]
    fn a_claim_sends_node_and_compute_id_together_and_nothing_else() {
        let node: NodeId = "c6f082e5-e01c-4b7e-8489-e565b1177045".parse().unwrap();
        let update = InstanceUpdate {
            home: Some(Some(Home { host: "lab-ironic".into(), node })),
            ..InstanceUpdate::default()
        };
        assert_eq!(
            sent(&update),
            json!({
                "nova_object.name": "Instance",
                "nova_object.namespace": "nova",
                "nova_object.version": "2.8",
                "nova_object.data": {
                    "uuid": "2f7cfcfd-4a5b-4cc2-b73c-9ac0dc18007d",
                    "host": "lab-ironic",
                    "node": "c6f082e5-e01c-4b7e-8489-e565b1177045",
                    "compute_id": 5,
                    "launched_on": "lab-ironic",
                },
                "nova_object.changes": ["host", "node", "compute_id", "launched_on"],
            })
        );
    }

    #[test]
    fn leaving_a_node_clears_all_of_the_home_with_nulls() {
        let update = InstanceUpdate { home: Some(None), ..InstanceUpdate::default() };
        let sent = sent(&update);
        for field in ["host", "node", "compute_id", "launched_on", "launched_at"] {
            assert_eq!(sent["nova_object.data"].get(field), Some(&Value::Null), "{field}");
        }
    }

    #[test]
    fn becoming_active_sends_states_power_and_time() {
        let update = InstanceUpdate {
            vm_state: Some(VmState::Active),
            task_state: Some(None),
            power: Some(Power::Running),
            launched_now: true,
            ..InstanceUpdate::default()
        };
        assert_eq!(
            sent(&update)["nova_object.data"],
            json!({
                "uuid": "2f7cfcfd-4a5b-4cc2-b73c-9ac0dc18007d",
                "vm_state": "active",
                "task_state": null,
                "power_state": 1,
                "launched_at": "2026-11-23T02:19:05Z",
            })
        );
    }

    #[test]
    fn expecting_no_task_is_a_list_with_null_and_expecting_anything_is_no_argument() {
        assert_eq!(expected(&Expect::Anything), json!({}));
        assert_eq!(expected(&Expect::Task(vec![None])), json!({"expected_task_state": [null]}));
        assert_eq!(
            expected(&Expect::Task(vec![Some(TaskState::Scheduling), None])),
            json!({"expected_task_state": ["scheduling", null]})
        );
        assert_eq!(
            expected(&Expect::Task(vec![
                Some(TaskState::PoweringOff),
                Some(TaskState::Other("shelving".into()))
            ])),
            json!({"expected_task_state": ["powering-off", "shelving"]})
        );
    }
}
