//! The port keeps what every adapter keeps, over a Cinder in process.

use compute::ports::conformance::volumes::Cloud;
use serde_json::json;

use super::testing::{Lab, made_of, quick};
use super::*;

fn id(document: &serde_json::Value, field: &str) -> Uuid {
    document[field].as_str().unwrap().parse().unwrap()
}

#[async_trait]
impl Cloud for Lab {
    fn port(&self) -> &dyn ports::Volumes {
        &self.volumes
    }

    async fn server(&self) -> (Instance, [BlockDevice; 2]) {
        let disks = [0xD1, 0xD2].map(|number| {
            let volume = Uuid::from_u128(number);
            self.shared.world().volumes.push(json!({"id": volume, "status": "available", "size": 7}));
            self.disk(BlockDevice {
                volume_id: Some(volume),
                delete_on_termination: number == 0xD1,
                ..made_of("volume")
            })
        });
        (self.instance.clone(), disks)
    }

    async fn attached(&self) -> BTreeSet<Uuid> {
        let world = self.shared.world();
        let attached = world.attachments.iter().filter(|attachment| attachment["status"] == "attached");
        attached.map(|attachment| id(attachment, "volume_id")).collect()
    }

    async fn volumes(&self) -> BTreeSet<Uuid> {
        self.shared.world().volumes.iter().map(|volume| id(volume, "id")).collect()
    }
}

compute::conformance!(volumes, quick());
