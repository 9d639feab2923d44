//! The same input must give the drive that a stock nova-compute made: same files, and the same JSON but for
//! the seeds.

// The helpers of a test are tests too.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use configdrive::{BlockDevice, Ec2Ids, KeyPair, Metadata, NetworkInfo, NodePort, vif_port_id};
use serde_json::{Map, Value};

fn fixture() -> Value {
    serde_json::from_str(include_str!("fixtures/stock-drive.json")).unwrap()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn map(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn metadata(fixture: &Value) -> Metadata {
    let instance = &fixture["instance"];
    let ids = &instance["ec2_ids"];
    let key = &instance["keypairs"][0];
    Metadata {
        display_name: text(&instance["display_name"]),
        meta: serde_json::from_value(instance["metadata"].clone()).unwrap(),
        launch_index: instance["launch_index"].as_i64().unwrap(),
        availability_zone: text(&instance["availability_zone"]),
        project_id: text(&instance["project_id"]),
        reservation_id: text(&instance["reservation_id"]),
        flavor_name: text(&instance["flavor"]["name"]).unwrap(),
        key_name: text(&instance["key_name"]),
        key_data: text(&instance["key_data"]),
        keypair: Some(KeyPair {
            name: text(&key["name"]).unwrap(),
            kind: text(&key["type"]).unwrap(),
            public_key: text(&key["public_key"]).unwrap(),
        }),
        ec2_ids: Ec2Ids {
            instance: text(&ids["instance_id"]),
            ami: text(&ids["ami_id"]),
            kernel: text(&ids["kernel_id"]),
            ramdisk: text(&ids["ramdisk_id"]),
        },
        root_device_name: text(&instance["root_device_name"]),
        block_devices: list(&fixture["block_device_mapping"])
            .iter()
            .map(|device| BlockDevice {
                device_name: text(&device["device_name"]),
                source_type: text(&device["source_type"]).unwrap(),
                destination_type: text(&device["destination_type"]).unwrap(),
                guest_format: text(&device["guest_format"]),
            })
            .collect(),
        user_data: Some(STANDARD.decode(instance["user_data"].as_str().unwrap()).unwrap().into()),
        admin_password: text(&fixture["admin_password"]).map(Into::into),
        network_info: serde_json::from_value::<NetworkInfo>(fixture["network_info"].clone()).unwrap(),
        ports: list(&fixture["ironic_ports"])
            .iter()
            .map(|port| NodePort {
                uuid: serde_json::from_value(port["uuid"].clone()).unwrap(),
                address: text(&port["address"]).unwrap(),
                port_group: serde_json::from_value(port["portgroup_uuid"].clone()).unwrap(),
                vif: vif_port_id(&map(&port["internal_info"]), &map(&port["extra"])),
            })
            .collect(),
        ..Metadata::new(
            serde_json::from_value(instance["uuid"].clone()).unwrap(),
            instance["hostname"].as_str().unwrap(),
        )
    }
}

#[test]
fn the_drive_is_that_of_stock() {
    let fixture = fixture();
    let ours: BTreeMap<_, _> = configdrive::files(&metadata(&fixture))
        .unwrap()
        .into_iter()
        .map(|file| {
            let contents = if let Ok(mut json) = serde_json::from_slice::<Value>(&file.contents) {
                if let Some(seed) = json.get_mut("random_seed") {
                    assert_eq!(STANDARD.decode(seed.as_str().unwrap()).unwrap().len(), 512);
                    *seed = "SEED".into();
                }
                json
            } else {
                String::from_utf8(file.contents).unwrap().into()
            };
            (file.path, contents)
        })
        .collect();
    let stock: BTreeMap<String, Value> = serde_json::from_value(fixture["files"].clone()).unwrap();
    assert_eq!(ours.keys().collect::<Vec<_>>(), stock.keys().collect::<Vec<_>>());
    for (path, contents) in &stock {
        assert_eq!(&ours[path], contents, "{path}");
    }
}
