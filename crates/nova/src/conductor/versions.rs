//! The versions of Nova's objects that we speak: those of 2024.1, the oldest release we work with. A newer control plane
//! converts what it sends down to them, an older one would refuse anything newer.

use serde_json::{Map, Value};

/// Every object that an Instance can hold, with itself.
const INSTANCE: &[&str] = &[
    "Instance",
    "ServiceList",
    "Service",
    "ComputeNode",
    "HVSpec",
    "PciDevicePoolList",
    "PciDevicePool",
    "InstanceInfoCache",
    "SecurityGroupList",
    "SecurityGroup",
    "InstanceFault",
    "PciDeviceList",
    "PciDevice",
    "InstanceNUMATopology",
    "InstanceNUMACell",
    "VirtCPUTopology",
    "InstancePCIRequests",
    "InstancePCIRequest",
    "InstanceDeviceMetadata",
    "DeviceMetadata",
    "DeviceBus",
    "TagList",
    "Tag",
    "Flavor",
    "VirtCPUModel",
    "VirtCPUFeature",
    "EC2Ids",
    "MigrationContext",
    "ResourceList",
    "Resource",
    "ResourceMetadata",
    "KeyPairList",
    "KeyPair",
    "TrustedCerts",
];

const COMPUTE_NODE: &[&str] = &["ComputeNode", "HVSpec", "PciDevicePoolList", "PciDevicePool"];

/// The version of an object that we create or ask for; `None` for an object that we do not know.
pub fn version_of(object: &str) -> Option<&'static str> {
    Some(match object {
        "BlockDeviceMapping" => "1.21",
        "BlockDeviceMappingList" => "1.18",
        "ComputeNode" | "ServiceList" => "1.19",
        "ComputeNodeList" => "1.17",
        "ConsoleAuthToken" | "HVSpec" | "InstanceAction" | "InstanceFault" | "MigrationContext"
        | "SecurityGroup" | "Flavor" => "1.2",
        "DeviceBus"
        | "DeviceMetadata"
        | "EC2Ids"
        | "InstanceDeviceMetadata"
        | "Resource"
        | "ResourceList"
        | "ResourceMetadata"
        | "TrustedCerts"
        | "VirtCPUFeature"
        | "VirtCPUModel"
        | "VirtCPUTopology"
        | "VirtualInterfaceList" => "1.0",
        "Instance" => "2.8",
        "InstanceActionEvent" | "InstancePCIRequest" | "KeyPair" => "1.4",
        "InstanceActionEventList"
        | "InstanceActionList"
        | "InstancePCIRequests"
        | "NetworkRequestList"
        | "PciDevicePool"
        | "PciDevicePoolList"
        | "SecurityGroupList"
        | "Tag"
        | "TagList" => "1.1",
        "InstanceGroup" => "1.11",
        "InstanceInfoCache" | "MigrationList" => "1.5",
        "InstanceList" => "2.6",
        "InstanceNUMACell" => "1.6",
        "InstanceNUMATopology" | "KeyPairList" | "PciDeviceList" | "VirtualInterface" => "1.3",
        "Migration" => "1.8",
        "PciDevice" => "1.7",
        "Service" => "1.22",
        _ => return None,
    })
}

/// The object and all that it can hold, with their versions: the `object_versions` of a class method's call.
pub fn manifest(object: &str) -> Map<String, Value> {
    let reach: &[&[&str]] = match object {
        "Instance" => &[INSTANCE],
        "InstanceList" => &[&["InstanceList"], INSTANCE],
        "BlockDeviceMapping" => &[&["BlockDeviceMapping"], INSTANCE],
        "BlockDeviceMappingList" => &[&["BlockDeviceMappingList", "BlockDeviceMapping"], INSTANCE],
        "ComputeNode" => &[COMPUTE_NODE],
        "ComputeNodeList" => &[&["ComputeNodeList"], COMPUTE_NODE],
        "Service" => &[&["Service"], COMPUTE_NODE],
        "ServiceList" => &[&["ServiceList", "Service"], COMPUTE_NODE],
        "MigrationList" => &[&["MigrationList", "Migration"]],
        "InstanceActionEventList" => &[&["InstanceActionEventList", "InstanceActionEvent"]],
        "VirtualInterfaceList" => &[&["VirtualInterfaceList", "VirtualInterface"]],
        _ => &[],
    };
    let mut versions = Map::new();
    for name in reach.iter().copied().flatten().copied().chain([object]) {
        if let Some(version) = version_of(name) {
            versions.insert(name.to_owned(), Value::from(version));
        }
    }
    versions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_of_an_instance_is_the_one_that_every_release_sends() {
        let captured: Map<String, Value> = serde_json::from_str(
            r#"{"Instance": "2.8", "ServiceList": "1.19", "Service": "1.22", "ComputeNode": "1.19", "HVSpec": "1.2",
            "PciDevicePoolList": "1.1", "PciDevicePool": "1.1", "InstanceInfoCache": "1.5", "SecurityGroupList": "1.1",
            "SecurityGroup": "1.2", "InstanceFault": "1.2", "PciDeviceList": "1.3", "PciDevice": "1.7",
            "InstanceNUMATopology": "1.3", "InstanceNUMACell": "1.6", "VirtCPUTopology": "1.0",
            "InstancePCIRequests": "1.1", "InstancePCIRequest": "1.4", "InstanceDeviceMetadata": "1.0",
            "DeviceMetadata": "1.0", "DeviceBus": "1.0", "TagList": "1.1", "Tag": "1.1", "Flavor": "1.2",
            "VirtCPUModel": "1.0", "VirtCPUFeature": "1.0", "EC2Ids": "1.0", "MigrationContext": "1.2",
            "ResourceList": "1.0", "Resource": "1.0", "ResourceMetadata": "1.0", "KeyPairList": "1.3",
            "KeyPair": "1.4", "TrustedCerts": "1.0"}"#,
        )
        .unwrap();
        assert_eq!(manifest("Instance"), captured);
    }

    #[test]
    fn a_manifest_starts_with_what_is_asked_for() {
        for name in ["InstanceList", "ServiceList", "ComputeNodeList", "BlockDeviceMappingList"] {
            assert_eq!(manifest(name).keys().next().unwrap(), name);
        }
        assert_eq!(manifest("InstanceActionEvent").len(), 1);
    }
}
