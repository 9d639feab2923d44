//! A node and an instance, for the tests of this crate and of those that know it.

use driver::InstanceId;
use openstack::ironic::{Node, NodeId, PowerState, ProvisionState};
use serde_json::json;
use uuid::Uuid;

use crate::instance::{Flavor, Instance};

/// A free node.
pub fn node() -> Node {
    let mut node = Node::new(NodeId(Uuid::from_u128(1)));
    node.power_state = PowerState::On;
    node.provision_state = ProvisionState::Available;
    node.resource_class = Some("baremetal".to_owned());
    node.traits = vec!["CUSTOM_LAB".to_owned()];
    node.properties.insert("cpu_arch".to_owned(), json!("x86_64"));
    node.properties.insert("capabilities".to_owned(), json!("boot_mode:uefi"));
    node
}

/// A server of a project, on its way to a node.
pub fn instance() -> Instance {
    Instance {
        project_id: "b38b1b5e7a4e4c8a9f3d5c8e2a7f6d10".to_owned(),
        user_id: "5f1c0a7be33d4f8f9c1b6d2e8a4f7c35".to_owned(),
        hostname: "server".to_owned(),
        display_name: "server".to_owned(),
        availability_zone: Some("nova".to_owned()),
        image_ref: Some(Uuid::from_u128(2).to_string()),
        flavor: Flavor {
            name: "bm".to_owned(),
            vcpus: 8,
            memory_mb: 16384,
            root_gb: 100,
            ..Flavor::default()
        },
        ..Instance::new(InstanceId(Uuid::from_u128(0x1111)))
    }
}
