//! The records of an instance's disks (`BlockDeviceMapping`).

use async_trait::async_trait;
use compute::instance::{BlockDevice, Instance};
use compute::ports::{Error, Result};
use driver::InstanceId;
use oslo::context::RequestContext;
use oslo::object::Object;
use serde_json::{Map, Value, json};

use super::Instances;
use crate::conductor::{Conductor, Repeat};
use crate::objects::parse;
use services::volumes::{DiskChange, DiskLedger};

/// The disks of an instance.
pub async fn list(
    conductor: &Conductor,
    context: &RequestContext,
    instance: InstanceId,
) -> Result<Vec<BlockDevice>> {
    let id = json!([instance.to_string()]);
    let list = conductor
        .read_list(context, "BlockDeviceMappingList", "get_by_instance_uuid", id, json!({}))
        .await
        .map_err(|error| error.about(instance))?;
    Ok(list.into_iter().map(parse::block_device).collect())
}

/// Sends a change of a disk's record.
pub async fn send(conductor: &Conductor, context: &RequestContext, change: Object) -> Result<()> {
    conductor.act(context, change, "save", json!({}), Repeat::Freely).await?;
    Ok(())
}

/// The change of a disk's record that sets these fields and no others, and the disk after it.
pub fn change(device: &BlockDevice, fields: Map<String, Value>) -> Result<(Object, BlockDevice)> {
    let broken = |text: &str| Error::Broken(text.to_owned());
    let mut record = Object::from_value(device.origin.0.clone())
        .map_err(|_| broken("the disk's record cannot be read"))?;
    let id = record.int("id").ok_or_else(|| broken("the disk's record has no id"))?;
    let mut change = Object::new("BlockDeviceMapping", record.version());
    change.insert("id", id);
    for (name, value) in fields {
        change.set(&name, value.clone());
        record.insert(&name, value);
    }
    Ok((change, parse::block_device(record)))
}

fn fields(change: DiskChange) -> Map<String, Value> {
    let DiskChange { volume_id, attachment_id, connection, volume_size } = change;
    let fields = [
        ("volume_id", volume_id.map(Value::from)),
        ("attachment_id", attachment_id.map(Value::from)),
        ("connection_info", connection.map(|document| document.to_string().into())),
        ("volume_size", volume_size.map(Value::from)),
    ];
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

#[async_trait]
impl DiskLedger for Instances {
    async fn disks(&self, context: &RequestContext, instance: &Instance) -> Result<Vec<BlockDevice>> {
        list(&self.conductor, context, instance.id).await
    }

    async fn save_disk(
        &self,
        context: &RequestContext,
        device: &mut BlockDevice,
        change: DiskChange,
    ) -> Result<()> {
        let (change, changed) = self::change(device, fields(change))?;
        *device = changed;
        send(&self.conductor, context, change).await
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::conductor::testing::{Script, raised};
    use crate::inventory::RecordIds;

    fn disk() -> BlockDevice {
        let mut record = Object::new("BlockDeviceMapping", "1.20");
        for (name, value) in [
            ("id", json!(7)),
            ("source_type", json!("snapshot")),
            ("snapshot_id", json!("s")),
            ("image_id", Value::Null),
            ("volume_size", json!(5)),
            ("volume_type", json!("fast")),
        ] {
            record.insert(name, value);
        }
        parse::block_device(record)
    }

    #[test]
    fn what_a_new_volume_is_made_of_is_read() {
        let disk = disk();
        assert_eq!((disk.volume_size, disk.image_id), (Some(5), None));
        assert_eq!((disk.snapshot_id.as_deref(), disk.volume_type.as_deref()), (Some("s"), Some("fast")));
    }

    fn change() -> DiskChange {
        DiskChange {
            volume_id: Some(Uuid::from_u128(1).to_string()),
            connection: Some(json!({"driver_volume_type": "iscsi"})),
            ..DiskChange::default()
        }
    }

    #[tokio::test]
    async fn a_save_sends_the_changed_fields_alone_and_the_connection_as_text() {
        let script = Script::default().then(Ok(json!([{"obj_what_changed": []}, null])));
        let instances = Instances::new(script.conductor(), "host", RecordIds::default());
        let mut disk = disk();
        instances.save_disk(&RequestContext::admin(), &mut disk, change()).await.unwrap();
        assert_eq!((disk.volume_id, disk.volume_size), (Some(Uuid::from_u128(1)), Some(5)));
        let sent = &script.sent()[0];
        assert_eq!(sent.what, "BlockDeviceMapping.save");
        assert_eq!(
            sent.args["objinst"],
            json!({"nova_object.name": "BlockDeviceMapping", "nova_object.namespace": "nova",
                "nova_object.version": "1.20",
                "nova_object.data": {"id": 7, "volume_id": Uuid::from_u128(1),
                    "connection_info": "{\"driver_volume_type\":\"iscsi\"}"},
                "nova_object.changes": ["volume_id", "connection_info"]})
        );
    }

    #[tokio::test]
    async fn what_could_not_be_written_is_known_of_the_disk_all_the_same() {
        let script = Script::default().then(raised("DBError"));
        let instances = Instances::new(script.conductor(), "host", RecordIds::default());
        let mut disk = disk();
        instances.save_disk(&RequestContext::admin(), &mut disk, change()).await.unwrap_err();
        assert_eq!(disk.volume_id, Some(Uuid::from_u128(1)));
        assert!(disk.origin.0.to_string().contains("iscsi"));
    }
}
