//! A volume disk of a server: what is to be made for it, and how Nova writes down how to reach it. Pure.

use std::collections::BTreeSet;

use compute::instance::{BlockDevice, Instance};
use compute::ports::Connector;
use openstack::cinder::{Attachment, NewVolume};
use openstack::ironic::NewVolumeTarget;
use serde_json::{Map, Value, json};

/// The place of a disk's kind in the order in which Nova attaches them: existing volumes, then those made of
/// snapshots, of images, of nothing.
pub fn rank(device: &BlockDevice) -> usize {
    ["volume", "snapshot", "image", "blank"].iter().position(|source| device.source == *source).unwrap_or(4)
}

/// The volume to make for a disk that has none. `zone`: where, if it must be the server's own.
pub fn new_volume(device: &BlockDevice, instance: &Instance, zone: Option<&str>) -> NewVolume {
    let of = |source: &str, id: &Option<String>| id.clone().filter(|_| device.source == source);
    NewVolume {
        size: device.volume_size.unwrap_or_default(),
        name: if device.source == "blank" { format!("{}-blank-vol", instance.id) } else { String::new() },
        description: String::new(),
        volume_type: device.volume_type.clone(),
        image_id: of("image", &device.image_id),
        snapshot_id: of("snapshot", &device.snapshot_id),
        availability_zone: zone.map(str::to_owned),
    }
}

/// The dictionary by which Cinder's drivers know a machine (`nova/virt/ironic/driver.py`
/// `get_volume_connector`, os-brick's names).
pub fn connector(machine: &Connector) -> Map<String, Value> {
    let mut names = Map::new();
    let mut put = |name: &str, value: Value| drop(names.insert(name.to_owned(), value));
    if let Some(ip) = &machine.ip {
        put("ip", json!(ip));
    }
    put("host", json!(machine.host));
    if let Some(initiator) = &machine.initiator {
        put("initiator", json!(initiator));
    }
    for (name, list) in [("wwpns", &machine.wwpns), ("wwnns", &machine.wwnns)] {
        if !list.is_empty() {
            put(name, json!(list));
        }
    }
    put("platform", json!(machine.platform));
    put("os_type", json!("baremetal"));
    put("multipath", json!(false));
    names
}

/// How to reach a volume.
#[derive(Clone, PartialEq)]
pub struct Connection {
    /// `iscsi`, `fibre_channel`, …
    pub protocol: String,
    /// Addresses, names and secrets, by Cinder's names.
    pub data: Map<String, Value>,
    /// What Nova keeps in the disk's record (`nova/volume/cinder.py` `_translate_attachment_ref`).
    pub document: Value,
}

/// The connection that Cinder answered; `None` when it is empty.
pub fn connection(attachment: Attachment, volume: &str) -> Option<Connection> {
    let protocol = attachment.connection_info.protocol()?.to_owned();
    let mut data = attachment.connection_info.0;
    data.shift_remove("driver_volume_type");
    data.shift_remove("attachment_id");
    let document = json!({
        "driver_volume_type": protocol,
        "data": data,
        "status": attachment.status,
        "instance": attachment.instance,
        "attached_at": attachment.attached_at,
        "detached_at": attachment.detached_at,
        "volume_id": attachment.volume_id,
        "serial": volume,
    });
    Some(Connection { protocol, data, document })
}

/// Gives each volume that is in no boot order a place of its own behind the root: Ironic wants an integer
/// that is unique on the node, where Nova has null or -1 for as many as the user likes.
pub fn number(targets: &mut [NewVolumeTarget]) {
    let is_placed = |target: &NewVolumeTarget| target.boot_index.filter(|index| *index >= 0);
    let taken: BTreeSet<i64> = targets.iter().filter_map(is_placed).collect();
    let mut free = (1..).filter(|index| !taken.contains(index));
    for target in targets.iter_mut().filter(|target| is_placed(target).is_none()) {
        target.boot_index = free.next();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use compute::testing;

    #[test]
    fn a_volume_outside_the_boot_order_gets_a_free_place() {
        let target = |boot_index| NewVolumeTarget {
            node_uuid: testing::instance().node.unwrap_or(driver::NodeId(uuid::Uuid::nil())),
            volume_type: "iscsi".to_owned(),
            properties: Map::new(),
            boot_index,
            volume_id: "v".to_owned(),
            renewed: false,
        };
        let mut targets = [Some(-1), Some(0), None, Some(2), Some(-1)].map(target);
        number(&mut targets);
        assert_eq!(targets.map(|target| target.boot_index), [1, 0, 3, 2, 4].map(Some));
    }

    #[test]
    fn cinder_knows_a_machine_by_the_names_that_it_has() {
        let machine = Connector {
            ip: Some("10.0.0.5".to_owned()),
            host: "10.0.0.5".to_owned(),
            initiator: Some("iqn.a".to_owned()),
            wwpns: vec!["1".to_owned(), "2".to_owned()],
            platform: Some("x86_64".to_owned()),
            ..Connector::default()
        };
        assert_eq!(
            Value::Object(connector(&machine)),
            json!({"ip": "10.0.0.5", "host": "10.0.0.5", "initiator": "iqn.a", "wwpns": ["1", "2"],
                   "platform": "x86_64", "os_type": "baremetal", "multipath": false})
        );
        let bare = connector(&Connector { host: "server".to_owned(), ..Connector::default() });
        assert_eq!(bare["host"], "server");
        assert!(!bare.contains_key("ip") && !bare.contains_key("initiator"));
    }

    #[test]
    fn a_new_volume_is_made_of_what_the_disk_names() {
        let instance = testing::instance();
        let disk = BlockDevice {
            source: "image".to_owned(),
            volume_size: Some(5),
            image_id: Some("i".to_owned()),
            snapshot_id: Some("s".to_owned()),
            ..BlockDevice::default()
        };
        let image = new_volume(&disk, &instance, None);
        assert_eq!(
            (image.size, image.image_id.as_deref(), image.snapshot_id, image.name.as_str()),
            (5, Some("i"), None, "")
        );
        let disk = BlockDevice {
            source: "blank".to_owned(),
            volume_size: Some(1),
            volume_type: Some("fast".to_owned()),
            ..BlockDevice::default()
        };
        let blank = new_volume(&disk, &instance, Some("az"));
        assert_eq!(blank.name, format!("{}-blank-vol", instance.id));
        assert_eq!(
            (blank.volume_type.as_deref(), blank.availability_zone.as_deref()),
            (Some("fast"), Some("az"))
        );
    }

    #[test]
    fn a_connection_is_written_down_as_nova_does() {
        let attachment: Attachment =
            serde_json::from_value(json!({"id": "a", "status": "attaching", "instance": "i",
            "volume_id": "v", "attached_at": "", "detached_at": "", "attach_mode": "rw", "connection_info":
                {"driver_volume_type": "iscsi", "attachment_id": "a", "target_lun": 1}}))
            .unwrap();
        let connection = connection(attachment, "v").unwrap();
        assert_eq!((connection.protocol.as_str(), &connection.data["target_lun"]), ("iscsi", &json!(1)));
        assert_eq!(
            connection.document,
            json!({"driver_volume_type": "iscsi", "data": {"target_lun": 1}, "status": "attaching", "instance": "i",
                "attached_at": "", "detached_at": "", "volume_id": "v", "serial": "v"})
        );
    }

    #[test]
    fn an_attachment_without_connection_has_none() {
        let attachment: Attachment =
            serde_json::from_value(json!({"id": "a", "status": "reserved", "connection_info": {}})).unwrap();
        assert!(connection(attachment, "v").is_none());
    }
}
