//! The ports of the compute manager, onto the world's tables: requests, volumes, and those who listen.

use super::World;
use async_trait::async_trait;
use compute::instance::{BlockDevice, Instance};
use compute::origin::Origin;
use compute::ports::{
    Announcer, Connector, Event, Phase, Requests, Result, VendorData, VendorDataSource, Volumes,
};
use compute::request::{
    DeleteRequest, Kind, PowerAction, PowerRequest, Request, RescueAction, RescueRequest,
};
use driver::InstanceId;
use openstack::ironic::NewVolumeTarget;
use oslo::context::RequestContext;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Every port at once.
pub struct Port(pub Arc<World>);

impl Requests for Port {
    fn decode(&self, kind: Kind, origin: &Value) -> Option<Request> {
        let request = self.0.tables().requests.get(origin.as_str()?).cloned();
        request.filter(|request| request.kind() == kind)
    }

    fn own_delete(&self, context: &RequestContext, instance: &Instance) -> Request {
        let request = DeleteRequest {
            context: context.clone(),
            instance: instance.clone(),
            block_devices: Vec::new(),
            is_own: true,
            origin: Origin(json!(format!("own delete {}", instance.id))),
        };
        self.0.tables().keep(&request);
        request.into()
    }

    fn own_stop(&self, context: &RequestContext, instance: &Instance) -> Request {
        let request = PowerRequest {
            context: context.clone(),
            instance: instance.clone(),
            action: PowerAction::Stop { gracefully: true },
            origin: Origin(json!(format!("own stop {}", instance.id))),
        };
        self.0.tables().keep(&request);
        request.into()
    }

    fn own_unrescue(&self, context: &RequestContext, instance: &Instance) -> Request {
        let request = RescueRequest {
            context: context.clone(),
            instance: instance.clone(),
            action: RescueAction::Unrescue,
            origin: Origin(json!(format!("own unrescue {}", instance.id))),
        };
        self.0.tables().keep(&request);
        request.into()
    }
}

#[async_trait]
impl Volumes for Port {
    async fn attach(
        &self,
        _: &RequestContext,
        instance: &Instance,
        devices: &mut [BlockDevice],
        _: &Connector,
        _: bool,
        _: &CancellationToken,
    ) -> Result<Vec<NewVolumeTarget>> {
        let id = instance.id;
        self.0
            .call("attach_volumes", |t| {
                for device in devices.iter_mut() {
                    device.attachment_id = Some(Uuid::from_u128(0xA000));
                    t.volumes.insert(device.volume_id.unwrap(), Some(id));
                }
                t.disks.insert(id, devices.to_vec());
                Ok(Vec::new())
            })
            .await
    }

    async fn detach(
        &self,
        _: &RequestContext,
        instance: &Instance,
        devices: &[BlockDevice],
        delete: bool,
    ) -> Result<()> {
        let machine = self.0.sim.by_instance(instance.id.0);
        let detached = self.0.call("detach_volumes", |t| {
            for device in devices {
                let volume = device.volume_id.unwrap();
                if machine.is_some() && t.volumes.get(&volume).is_some_and(Option::is_some) {
                    t.torn_off.push(volume);
                }
                if delete && device.delete_on_termination {
                    t.volumes.remove(&volume);
                } else if device.attachment_id.is_some() {
                    t.volumes.insert(volume, None);
                }
            }
            Ok(())
        });
        detached.await
    }
}

#[async_trait]
impl Announcer for Port {
    async fn notify(&self, _: &RequestContext, instance: &Instance, event: Event, phase: Phase<'_>) {
        let mut tables = self.0.tables();
        if let Phase::Error(_) = phase {
            tables.failures_told.push(instance.id);
        }
        let phase = match phase {
            Phase::Start => "start",
            Phase::End => "end",
            Phase::Error(_) => "error",
        };
        tables.told.push((instance.id, event, phase));
    }

    async fn instance_changed(&self, _: &RequestContext, _: &Instance) {
        self.0.call("instance_changed", |_| Ok(())).await.unwrap_or(());
    }

    async fn instance_gone(&self, _: &RequestContext, _: InstanceId) {
        self.0.call("instance_gone", |_| Ok(())).await.unwrap_or(());
    }
}

#[async_trait]
impl VendorDataSource for Port {
    async fn vendor_data(&self, _: &RequestContext, _: &Instance, _: Option<Uuid>) -> Result<VendorData> {
        self.0.call("vendor_data", |_| Ok(VendorData { fixed: Some(json!({})), dynamic: None })).await
    }
}
