//! A node as JSON: its fields in Ironic's order, and the microversion each came with.

use serde_json::{Map, Value, json};

use super::links;
use crate::machine::State;
use crate::model::Node;
use crate::world::CONDUCTOR;

/// All fields, in the order the API shows them, with the minor version that brought each
/// (`VERSIONED_FIELDS`).
const FIELDS: &[(&str, u32)] = &[
    ("uuid", 1),
    ("created_at", 1),
    ("updated_at", 1),
    ("automated_clean", 47),
    ("bios_interface", 40),
    ("boot_interface", 31),
    ("boot_mode", 75),
    ("clean_step", 7),
    ("conductor_group", 46),
    ("console_enabled", 1),
    ("console_interface", 31),
    ("disable_power_off", 95),
    ("deploy_interface", 31),
    ("deploy_step", 44),
    ("description", 51),
    ("driver", 1),
    ("driver_info", 1),
    ("driver_internal_info", 3),
    ("extra", 1),
    ("fault", 42),
    ("firmware_interface", 86),
    ("health", 109),
    ("inspection_finished_at", 6),
    ("inspection_started_at", 6),
    ("inspect_interface", 31),
    ("instance_info", 1),
    ("instance_name", 104),
    ("instance_uuid", 1),
    ("last_error", 1),
    ("lessee", 65),
    ("maintenance", 1),
    ("maintenance_reason", 1),
    ("management_interface", 31),
    ("name", 5),
    ("network_data", 66),
    ("network_interface", 20),
    ("owner", 50),
    ("parent_node", 83),
    ("power_interface", 31),
    ("power_state", 1),
    ("properties", 1),
    ("protected", 48),
    ("protected_reason", 48),
    ("provision_state", 1),
    ("provision_updated_at", 1),
    ("raid_config", 12),
    ("raid_interface", 31),
    ("rescue_interface", 38),
    ("reservation", 1),
    ("resource_class", 21),
    ("retired", 61),
    ("retired_reason", 61),
    ("secure_boot", 75),
    ("service_step", 87),
    ("shard", 82),
    ("storage_interface", 33),
    ("target_power_state", 1),
    ("target_provision_state", 1),
    ("target_raid_config", 12),
    ("traits", 37),
    ("vendor_interface", 31),
    ("conductor", 49),
    ("allocation_uuid", 52),
    ("chassis_uuid", 1),
];

/// What a list shows without `fields` and `detail`.
pub(super) const SUMMARY: &[&str] =
    &["instance_uuid", "maintenance", "power_state", "provision_state", "uuid", "name"];

/// The minor version a field came with; none when there is no such field.
pub(super) fn since(field: &str) -> Option<u32> {
    FIELDS.iter().find(|(name, _)| *name == field).map(|(_, minor)| *minor)
}

/// The node with these fields, or with all that the microversion knows.
pub(super) fn node(node: &Node, fields: Option<&[&str]>, minor: u32, base: &str) -> Value {
    let mut doc = Map::new();
    let id = node.uuid;
    if let Some(fields) = fields {
        for name in fields {
            doc.insert((*name).to_owned(), field(node, name));
        }
        doc.insert("links".into(), links(base, "nodes", id));
    } else {
        for (name, _) in FIELDS.iter().filter(|(_, since)| *since <= minor) {
            doc.insert((*name).to_owned(), field(node, name));
        }
        doc.insert("links".into(), links(base, "nodes", id));
        for part in ["ports", "states", "portgroups", "volume"] {
            doc.insert(part.into(), links(base, "nodes", format!("{id}/{part}")));
        }
    }
    Value::Object(doc)
}

/// One field, as on the wire.
pub(super) fn field(node: &Node, name: &str) -> Value {
    match name {
        "uuid" => json!(node.uuid),
        "name" => json!(node.name),
        "driver" => json!(node.driver),
        "instance_uuid" => json!(node.instance_uuid),
        "instance_name" => json!(node.instance_name),
        "instance_info" => json!(node.instance_info),
        "properties" => json!(node.properties),
        "provision_state" => json!(node.provision_state.as_str()),
        "target_provision_state" => json!(node.target_provision_state.map(State::as_str)),
        "power_state" => json!(node.power_state),
        "target_power_state" => json!(node.target_power_state),
        "last_error" => json!(node.last_error),
        "maintenance" => json!(node.maintenance),
        "maintenance_reason" => json!(node.maintenance_reason),
        "fault" => json!(node.fault),
        "reservation" => json!(node.reservation),
        "resource_class" => json!(node.resource_class),
        "conductor_group" => json!(node.conductor_group),
        "shard" => json!(node.shard),
        "owner" => json!(node.owner),
        "lessee" => json!(node.lessee),
        "traits" => json!(node.traits),
        "console_enabled" => json!(node.console_enabled),
        "protected" => json!(node.protected),
        "retired" => json!(node.retired),
        "disable_power_off" => json!(node.disable_power_off),
        "provision_updated_at" => json!(stamp(node.moves)),
        _ => node.other.get(name).cloned().unwrap_or_else(|| default(name)),
    }
}

/// A time for each move of a node, later than that of the move before.
fn stamp(moves: u64) -> String {
    let (hours, minutes, seconds) = (moves / 3600, moves / 60 % 60, moves % 60);
    format!("2026-01-01T{hours:02}:{minutes:02}:{seconds:02}+00:00")
}

/// What a field holds on a node of the lab's `fake-hardware`, where nobody set it.
fn default(name: &str) -> Value {
    match name {
        "created_at" | "updated_at" => json!("2026-01-01T00:00:00+00:00"),
        "conductor" => json!(CONDUCTOR),
        "network_interface" => json!("flat"),
        "storage_interface" => json!("noop"),
        "console_interface" => json!("fake-graphical"),
        "clean_step"
        | "deploy_step"
        | "service_step"
        | "driver_info"
        | "driver_internal_info"
        | "extra"
        | "network_data"
        | "raid_config"
        | "target_raid_config" => json!({}),
        _ if name.ends_with("_interface") => json!("fake"),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn fields_newer_than_the_microversion_stay_hidden() {
        let subject = Node::new(Uuid::nil());
        let old = node(&subject, None, 36, "http://x");
        assert!(old.get("traits").is_none() && old.get("resource_class").is_some());
        let new = node(&subject, None, 109, "http://x");
        // 64 fields, links, and four lists of links: what a real Ironic showed at 1.109.
        assert_eq!(new.as_object().unwrap().len(), FIELDS.len() + 5);
    }
}
