//! What the control plane should know of a node: pure functions of what Ironic says of it (in stock:
//! `nova/compute/resource_tracker.py`, `nova/virt/ironic/driver.py`).

use std::collections::{BTreeMap, BTreeSet};

use compute::architecture::architecture;
use compute::machines::is_available;
use openstack::ironic::Node;
use serde_json::{Map, Value, json};

use super::{Inventory, Usage, Wanted};
use crate::inventory::books::RecordFields;

/// The kinds of image that Nova's Ironic driver declares, with the trait that says so.
const IMAGE_TYPES: [(&str, &str); 3] = [
    ("ami", "COMPUTE_IMAGE_TYPE_AMI"),
    ("qcow2", "COMPUTE_IMAGE_TYPE_QCOW2"),
    ("raw", "COMPUTE_IMAGE_TYPE_RAW"),
];

/// What the operator configured about the picture.
#[derive(Debug, Clone)]
pub struct Rules {
    /// `my_ip`.
    pub host_ip: String,
    /// `reserved_host_cpus`.
    pub reserved_host_cpus: i64,
    /// `reserved_host_memory_mb`, MiB.
    pub reserved_host_memory_mb: i64,
    /// `reserved_host_disk_mb`, MiB.
    pub reserved_host_disk_mb: i64,
    /// `initial_{cpu,ram,disk}_allocation_ratio`.
    pub initial_ratios: [f64; 3],
    /// `{cpu,ram,disk}_allocation_ratio`; `None` and 0 leave the record's own.
    pub ratios: [Option<f64>; 3],
    /// `[compute] image_type_exclude_list`.
    pub excluded_image_types: Vec<String>,
    /// `[workarounds] skip_reserve_in_use_ironic_nodes`.
    pub skip_reserve_in_use: bool,
    /// Whether this release of Nova marks its providers with `OWNER_NOVA` (2026.2 and later).
    pub owner_trait: bool,
}

/// Who has a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// The node is free.
    Nobody,
    /// A server of this host: its allocation is in Placement.
    Server,
    /// Somebody of whom Placement need not know: an allocation of Ironic's own (its id is the node's `instance_uuid`), another tool's
    /// or another service's instance.
    Other,
}

impl Holder {
    /// Who has a node whose `instance_uuid`, if it has one, is a server's of this host.
    pub fn of(node: &Node) -> Self {
        if node.instance_uuid.is_some() { Self::Server } else { Self::Nobody }
    }
}

/// What Placement should have of a node. `Err` says in words why nothing can be reported.
pub fn wanted(node: &Node, holder: Holder, rules: &Rules, disabled: bool) -> Result<Wanted, String> {
    let class = node.resource_class.as_deref().ok_or_else(|| {
        format!(
            "Node {} has no resource class. Set it with: openstack baremetal node set --resource-class",
            node.uuid
        )
    })?;
    let is_held = match holder {
        Holder::Nobody => false,
        Holder::Server => !rules.skip_reserve_in_use,
        Holder::Other => true,
    };
    let inventory = Inventory::machine(is_held || !is_available(node));
    let mut traits: BTreeSet<String> = node.traits.iter().cloned().collect();
    traits.extend(["COMPUTE_NET_ATTACH_INTERFACE", "COMPUTE_NODE"].map(str::to_owned));
    traits.extend(
        IMAGE_TYPES
            .iter()
            .filter(|(kind, _)| !rules.excluded_image_types.iter().any(|excluded| excluded == kind))
            .map(|(_, name)| (*name).to_owned()),
    );
    if rules.owner_trait {
        traits.insert("OWNER_NOVA".to_owned());
    }
    if disabled {
        traits.insert("COMPUTE_STATUS_DISABLED".to_owned());
    }
    Ok(Wanted { node: node.uuid, inventory: BTreeMap::from([(resource_class(class), inventory)]), traits })
}

/// Placement's name for a resource class of Ironic: `baremetal-gold` is `CUSTOM_BAREMETAL_GOLD`.
pub fn resource_class(name: &str) -> String {
    let mut custom = String::from("CUSTOM_");
    let mut in_run = false;
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            custom.push(c.to_ascii_uppercase());
            in_run = false;
        } else if !in_run {
            custom.push('_');
            in_run = true;
        }
    }
    custom
}

/// The compute node record of a node. Allocation ratios are only in it when the record is `new` or an operator set them.
pub fn record(node: &Node, usage: &Usage, failed_builds: u32, rules: &Rules, new: bool) -> RecordFields {
    let uuid = node.uuid.to_string();
    let vcpus_used = rules.reserved_host_cpus + usage.vcpus;
    let memory_mb_used = rules.reserved_host_memory_mb + usage.memory_mb;
    let local_gb_used = rules.reserved_host_disk_mb / 1024 + usage.local_gb;
    let mut fields: RecordFields = [
        ("hypervisor_hostname", json!(uuid)),
        ("hypervisor_type", json!("ironic")),
        ("hypervisor_version", json!(1)),
        ("host_ip", json!(rules.host_ip)),
        ("cpu_info", json!("")),
        ("vcpus", json!(0)),
        ("memory_mb", json!(0)),
        ("local_gb", json!(0)),
        ("vcpus_used", json!(vcpus_used)),
        ("memory_mb_used", json!(memory_mb_used)),
        ("local_gb_used", json!(local_gb_used)),
        ("disk_available_least", json!(0)),
        ("numa_topology", Value::Null),
        ("supported_hv_specs", supported(node)),
        ("stats", Value::Object(stats(node, usage, failed_builds))),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    if node.resource_class.is_some() {
        // What stock adds when it reports the node to Placement; one without a class never gets that far.
        let reported = [
            ("free_ram_mb", json!(-memory_mb_used)),
            ("free_disk_gb", json!(-local_gb_used)),
            ("current_workload", json!(usage.workload)),
            ("running_vms", json!(usage.instances)),
            ("metrics", json!("[]")),
            ("pci_device_pools", json!([])),
        ];
        fields.extend(reported.map(|(name, value)| (name.to_owned(), value)));
    }
    for (i, resource) in ["cpu", "ram", "disk"].into_iter().enumerate() {
        let ratio = if new { Some(rules.initial_ratios[i]) } else { rules.ratios[i].filter(|r| *r != 0.0) };
        if let Some(ratio) = ratio {
            fields.insert(format!("{resource}_allocation_ratio"), json!(ratio));
        }
    }
    fields
}

fn supported(node: &Node) -> Value {
    match architecture(node) {
        Some(arch) => json!([[arch, "baremetal", "hvm"]]),
        None => json!([]),
    }
}

fn stats(node: &Node, usage: &Usage, failed_builds: u32) -> Map<String, Value> {
    let mut stats = Map::new();
    stats.insert("failed_builds".to_owned(), json!(failed_builds.to_string()));
    stats.insert("cpu_arch".to_owned(), text(node.properties.get("cpu_arch")));
    let capabilities = match node.properties.get("capabilities") {
        Some(Value::String(list)) => list.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    };
    for capability in capabilities.split(',') {
        if let [key, value] = capability.split(':').collect::<Vec<_>>()[..]
            && !key.is_empty()
            && !value.is_empty()
        {
            stats.insert(key.trim().to_owned(), json!(value));
        }
    }
    // A null here tells nova-api 32 and later not to ask for the uptime of every node.
    stats.entry("uptime").or_insert(Value::Null);
    for (name, count) in &usage.counters {
        stats.insert(name.clone(), json!(count.to_string()));
    }
    stats
}

/// Nova's statistics are strings or null.
fn text(value: Option<&Value>) -> Value {
    match value {
        None | Some(Value::Null) => Value::Null,
        Some(Value::String(text)) => json!(text),
        Some(other) => json!(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use openstack::ironic::{PowerState, ProvisionState};

    use super::*;
    use crate::inventory::testing::{node, rules};

    #[test]
    fn an_available_node_can_be_booked() {
        let wanted = wanted(&node(), Holder::Nobody, &rules(), false).unwrap();
        assert_eq!(wanted.inventory["CUSTOM_BAREMETAL"], Inventory::machine(false));
        for name in ["COMPUTE_NODE", "OWNER_NOVA", "COMPUTE_IMAGE_TYPE_RAW", "CUSTOM_LAB"] {
            assert!(wanted.traits.contains(name), "{name}");
        }
        assert!(!wanted.traits.contains("COMPUTE_STATUS_DISABLED"));
    }

    #[test]
    fn a_node_is_reserved_when_it_cannot_be_booked() {
        type Spoil = fn(&mut Node);
        let spoilers: [(&str, Spoil); 5] = [
            ("maintenance", |n| n.maintenance = true),
            ("no power state", |n| n.power_state = PowerState::NoState),
            ("power error", |n| n.power_state = PowerState::Error),
            ("cleaning", |n| n.provision_state = ProvisionState::Cleaning),
            ("in use", |n| n.instance_uuid = Some(uuid::Uuid::nil())),
        ];
        for (why, spoil) in spoilers {
            let mut node = node();
            spoil(&mut node);
            let wanted = wanted(&node, Holder::of(&node), &rules(), false).unwrap();
            assert_eq!(wanted.inventory["CUSTOM_BAREMETAL"].reserved, 1, "{why}");
        }
    }

    #[test]
    fn an_operator_may_leave_used_nodes_unreserved() {
        let mut node = node();
        node.instance_uuid = Some(uuid::Uuid::nil());
        let rules = Rules { skip_reserve_in_use: true, ..rules() };
        let reserved =
            |holder| wanted(&node, holder, &rules, false).unwrap().inventory["CUSTOM_BAREMETAL"].reserved;
        assert_eq!(reserved(Holder::of(&node)), 0);
        assert_eq!(reserved(Holder::Other), 1, "Placement knows of no allocation");
    }

    #[test]
    fn a_disabled_service_and_excluded_images_show_in_the_traits() {
        let rules = Rules { excluded_image_types: vec!["ami".to_owned()], owner_trait: false, ..rules() };
        let traits = wanted(&node(), Holder::Nobody, &rules, true).unwrap().traits;
        assert!(traits.contains("COMPUTE_STATUS_DISABLED"));
        assert!(!traits.contains("COMPUTE_IMAGE_TYPE_AMI"));
        assert!(!traits.contains("OWNER_NOVA"));
    }

    #[test]
    fn a_node_without_resource_class_is_not_reported_and_the_remedy_is_named() {
        let mut node = node();
        node.resource_class = None;
        assert!(wanted(&node, Holder::Nobody, &rules(), false).unwrap_err().contains("--resource-class"));
    }

    #[test]
    fn resource_classes_are_named_as_placement_wants_them() {
        assert_eq!(resource_class("baremetal-gold"), "CUSTOM_BAREMETAL_GOLD");
        assert_eq!(resource_class("a..b__c"), "CUSTOM_A_B_C");
        assert_eq!(resource_class("ü1"), "CUSTOM__1");
    }

    #[test]
    fn a_new_record_holds_what_stock_writes() {
        let fields = record(&node(), &Usage::default(), 0, &rules(), true);
        assert_eq!(fields["hypervisor_type"], "ironic");
        assert_eq!(fields["cpu_info"], "");
        assert_eq!(fields["supported_hv_specs"], json!([["x86_64", "baremetal", "hvm"]]));
        assert_eq!(
            fields["stats"],
            json!({"failed_builds": "0", "cpu_arch": "x86_64", "boot_mode": "uefi", "uptime": null})
        );
        assert_eq!(fields["cpu_allocation_ratio"], 4.0);
        assert_eq!(fields["free_ram_mb"], -512);
    }

    #[test]
    fn a_node_without_resource_class_has_a_record_that_was_never_reported() {
        let mut node = node();
        node.resource_class = None;
        let fields = record(&node, &Usage::default(), 0, &rules(), true);
        assert!(!fields.contains_key("running_vms"));
        assert_eq!(fields["hypervisor_type"], "ironic");
    }

    #[test]
    fn ratios_of_a_known_record_are_left_alone_unless_configured() {
        let fields = record(&node(), &Usage::default(), 0, &rules(), false);
        assert!(!fields.contains_key("cpu_allocation_ratio"));
        let rules = Rules { ratios: [Some(2.0), Some(0.0), None], ..rules() };
        let fields = record(&node(), &Usage::default(), 0, &rules, false);
        assert_eq!(fields["cpu_allocation_ratio"], 2.0);
        assert!(!fields.contains_key("ram_allocation_ratio"));
    }

    #[test]
    fn malformed_capabilities_are_skipped() {
        let mut node = node();
        node.properties.insert("capabilities".to_owned(), json!("a:b,nonsense,:x,c:,d:e:f, g:h"));
        let stats = record(&node, &Usage::default(), 3, &rules(), true)["stats"].clone();
        assert_eq!(
            stats,
            json!({"failed_builds": "3", "cpu_arch": "x86_64", "a": "b", "g": "h", "uptime": null})
        );
    }
}
