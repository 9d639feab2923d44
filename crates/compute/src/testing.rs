//! What the unit tests of this crate are made of.

use driver::InstanceId;
use openstack::ironic::{Node, NodeId, PowerState, ProvisionState};
use serde_json::json;
use uuid::Uuid;

use crate::instance::{Ec2Ids, Flavor, Instance, Power, VmState};
use crate::inventory::Rules;

pub fn rules() -> Rules {
    Rules {
        host_ip: "127.0.0.1".to_owned(),
        reserved_host_cpus: 0,
        reserved_host_memory_mb: 512,
        reserved_host_disk_mb: 0,
        initial_ratios: [4.0, 1.0, 1.0],
        ratios: [None; 3],
        excluded_image_types: Vec::new(),
        skip_reserve_in_use: false,
        owner_trait: true,
    }
}

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

pub fn instance() -> Instance {
    Instance {
        id: InstanceId(Uuid::from_u128(0x1111)),
        project_id: "project".to_owned(),
        user_id: "user".to_owned(),
        host: None,
        node: None,
        vm_state: VmState::Building,
        task_state: None,
        power: Power::NoState,
        deleted: false,
        hostname: "server".to_owned(),
        display_name: "server".to_owned(),
        availability_zone: Some("nova".to_owned()),
        image_ref: Some(Uuid::from_u128(2).to_string()),
        kernel_id: None,
        ramdisk_id: None,
        flavor: Flavor {
            name: "bm".to_owned(),
            vcpus: 8,
            memory_mb: 16384,
            root_gb: 100,
            ..Flavor::default()
        },
        metadata: [].into(),
        system_metadata: [].into(),
        key_name: None,
        key_data: None,
        keypair: None,
        user_data: None,
        launch_index: 0,
        reservation_id: None,
        root_device_name: None,
        default_ephemeral_device: None,
        default_swap_device: None,
        config_drive: None,
        launched_at: None,
        os_type: None,
        ec2_ids: Ec2Ids::default(),
        has_trusted_certs: false,
        network: configdrive::network::NetworkInfo::default(),
    }
}
