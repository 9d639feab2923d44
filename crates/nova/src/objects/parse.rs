//! Nova's primitives of an instance and of its disks, read into what the manager works with.
//!
//! Which joined attributes an instance carries depends on the method that it came with: each one may
//! be absent, and what is absent keeps the value that the instance already has.

use std::collections::BTreeMap;
use std::time::SystemTime;

use compute::instance::{BlockDevice, Ec2Ids, Flavor, Instance, KeyPair, Power, TaskState};
use compute::origin::Origin;
use configdrive::network::NetworkInfo;
use driver::{InstanceId, NodeId};
use oslo::object::Object;
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::warn;
use uuid::Uuid;

use super::system_metadata;

/// A message that is not what it should be. It names the field, never the value: that may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the argument {argument} is missing or malformed: {expected} is needed")]
pub struct Malformed {
    pub argument: &'static str,
    pub expected: &'static str,
}

/// An instance from its primitive.
pub fn instance(value: &Value) -> Result<Instance, Malformed> {
    let object = Object::from_value(value.clone())
        .ok()
        .filter(|object| object.name() == "Instance")
        .ok_or(Malformed { argument: "instance", expected: "an Instance object" })?;
    from_object(&object)
}

/// An instance from an object that is known to be one.
pub fn from_object(object: &Object) -> Result<Instance, Malformed> {
    let id = object
        .str("uuid")
        .and_then(|text| Uuid::parse_str(text).ok())
        .ok_or(Malformed { argument: "instance.uuid", expected: "a uuid" })?;
    let mut instance = Instance::new(InstanceId(id));
    absorb(&mut instance, object.data());
    Ok(instance)
}

/// Brings an instance up to date from fields of its primitive; a field that is absent is left alone.
pub fn absorb(instance: &mut Instance, fields: &Map<String, Value>) {
    for (name, value) in fields {
        let text = || value.as_str().map(str::to_owned);
        let filled = || text().filter(|text| !text.is_empty());
        match name.as_str() {
            "project_id" => instance.project_id = text().unwrap_or_default(),
            "user_id" => instance.user_id = text().unwrap_or_default(),
            "host" => instance.host = filled(),
            "node" => instance.node = value.as_str().and_then(|text| text.parse::<NodeId>().ok()),
            "vm_state" => instance.vm_state = word(value).unwrap_or_default(),
            "task_state" => instance.task_state = word::<TaskState>(value),
            "power_state" => instance.power = power(value.as_i64()),
            "deleted" => instance.deleted = value.as_bool().unwrap_or_default(),
            "hostname" => instance.hostname = text().unwrap_or_default(),
            "display_name" => instance.display_name = text().unwrap_or_default(),
            "availability_zone" => instance.availability_zone = text(),
            "image_ref" => instance.image_ref = filled(),
            "kernel_id" => instance.kernel_id = filled(),
            "ramdisk_id" => instance.ramdisk_id = filled(),
            "flavor" => {
                if let Ok(object) = Object::from_value(value.clone()) {
                    instance.flavor = flavor(&object);
                }
            }
            "metadata" => instance.metadata = strings(value),
            "system_metadata" => system_metadata::absorb(instance, value),
            "key_name" => instance.key_name = text(),
            "key_data" => instance.key_data = text(),
            "keypairs" => instance.keypair = key_pair(value),
            "user_data" => instance.user_data = text().map(SecretString::from),
            "launch_index" => instance.launch_index = value.as_i64().unwrap_or_default(),
            "reservation_id" => instance.reservation_id = text(),
            "root_device_name" => instance.root_device_name = filled(),
            "default_ephemeral_device" => instance.default_ephemeral_device = filled(),
            "default_swap_device" => instance.default_swap_device = filled(),
            "config_drive" => instance.config_drive = filled(),
            "launched_at" => instance.launched_at = value.as_str().and_then(time),
            "deleted_at" => instance.deleted_at = value.as_str().and_then(time),
            "os_type" => instance.os_type = text(),
            "ec2_ids" => {
                if let Ok(object) = Object::from_value(value.clone()) {
                    instance.ec2_ids = ec2_ids(&object);
                }
            }
            "trusted_certs" => instance.has_trusted_certs = !value.is_null(),
            "info_cache" => absorb_network(instance, value),
            _ => {}
        }
    }
}

/// A disk from its primitive.
pub fn block_device(object: Object) -> BlockDevice {
    let text = |field: &str| object.str(field).filter(|text| !text.is_empty()).map(str::to_owned);
    let id = |field: &str| object.str(field).and_then(|text| Uuid::parse_str(text).ok());
    let flag = |field: &str| object.bool(field).unwrap_or_default();
    BlockDevice {
        id: id("uuid").unwrap_or_default(),
        source: text("source_type").unwrap_or_default(),
        destination: text("destination_type").unwrap_or_default(),
        boot_index: object.int("boot_index"),
        guest_format: text("guest_format"),
        device_name: text("device_name"),
        volume_id: id("volume_id"),
        attachment_id: id("attachment_id"),
        image_id: text("image_id"),
        snapshot_id: text("snapshot_id"),
        volume_size: object.int("volume_size").and_then(|size| u64::try_from(size).ok()),
        volume_type: text("volume_type"),
        delete_on_termination: flag("delete_on_termination"),
        no_device: flag("no_device"),
        tag: text("tag"),
        origin: Origin(object.into_value()),
    }
}

/// The disks of a BlockDeviceMappingList; null and absent are none.
pub fn block_devices(value: Option<&Value>, argument: &'static str) -> Result<Vec<BlockDevice>, Malformed> {
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(value) => {
            let list = Object::from_value(value.clone())
                .map_err(|_| Malformed { argument, expected: "a BlockDeviceMappingList object" })?;
            Ok(list.into_items().into_iter().map(block_device).collect())
        }
    }
}

/// A state from its word; `None` for null and for what is no word.
pub fn word<T: DeserializeOwned>(value: &Value) -> Option<T> {
    value.as_str().filter(|text| !text.is_empty())?;
    serde_json::from_value(value.clone()).ok()
}

/// A time as the objects carry it.
fn time(text: &str) -> Option<SystemTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(SystemTime::from)
}

fn power(number: Option<i64>) -> Power {
    match number {
        None | Some(0) => Power::NoState,
        Some(1) => Power::Running,
        Some(4) => Power::Shutdown,
        Some(other) => Power::Other(other),
    }
}

/// The number of a power state in the control plane.
pub fn power_number(power: Power) -> i64 {
    match power {
        Power::NoState => 0,
        Power::Running => 1,
        Power::Shutdown => 4,
        Power::Other(number) => number,
    }
}

fn flavor(object: &Object) -> Flavor {
    let number = |field: &str| object.int(field).unwrap_or_default();
    Flavor {
        name: object.str("name").unwrap_or_default().to_owned(),
        vcpus: number("vcpus"),
        memory_mb: number("memory_mb"),
        root_gb: number("root_gb"),
        ephemeral_gb: number("ephemeral_gb"),
        swap_mb: number("swap"),
        extra_specs: object.get("extra_specs").map(strings).unwrap_or_default(),
    }
}

/// A server has one key pair; Nova keeps it as a list.
fn key_pair(list: &Value) -> Option<KeyPair> {
    let pair = Object::from_value(list.clone()).ok()?.into_items().into_iter().next()?;
    Some(KeyPair {
        name: pair.str("name")?.to_owned(),
        kind: pair.str("type").unwrap_or("ssh").to_owned(),
        public_key: pair.str("public_key").unwrap_or_default().to_owned(),
    })
}

fn ec2_ids(object: &Object) -> Ec2Ids {
    let text = |field: &str| object.str(field).filter(|text| !text.is_empty()).map(str::to_owned);
    Ec2Ids {
        instance_id: text("instance_id"),
        ami_id: text("ami_id"),
        kernel_id: text("kernel_id"),
        ramdisk_id: text("ramdisk_id"),
    }
}

fn absorb_network(instance: &mut Instance, cache: &Value) {
    let Some(text) = cache.pointer("/nova_object.data/network_info").and_then(Value::as_str) else { return };
    match NetworkInfo::from_text(text) {
        Ok(network) => instance.network = network,
        Err(error) => warn!(instance = %instance.id, %error, "the network information is unreadable"),
    }
}

fn strings(value: &Value) -> BTreeMap<String, String> {
    let pairs = value.as_object().into_iter().flatten();
    pairs.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn what_a_message_leaves_out_is_left_as_it_is() {
        let mut instance = testing::instance();
        let stop = testing::args(&testing::stop_message());
        let flavor = instance.flavor.clone();
        absorb(&mut instance, stop["instance"]["nova_object.data"].as_object().unwrap());
        assert_eq!(instance.flavor, flavor);
    }
}
