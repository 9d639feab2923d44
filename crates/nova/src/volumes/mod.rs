//! Cinder as a nova-compute with Ironic uses it: volumes are made and attached for a machine that Ironic connects.
//!
//! Facts: `nova/virt/block_device.py`, `nova/volume/cinder.py`. Whatever is made is written into the disk's record at once,
//! so that a build that was killed finds it: the records are read again wherever the request does not know of a volume.

mod disk;
#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use compute::instance::{BlockDevice, Instance};
use compute::ports::{self, Result};
use driver::NodeId;
use openstack::cinder::{Attachment, Client, Volume};
use openstack::ironic::NewVolumeTarget;
use openstack::{Caller, Error};
use oslo::context::RequestContext;
use oslo::object::Object;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use crate::conductor::{Conductor, Repeat};
use crate::instances::parse;

/// What of the configuration matters here.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// `[cinder] cross_az_attach`: volumes may be in other availability zones than their servers.
    pub cross_az_attach: bool,
    /// `[DEFAULT] block_device_allocate_retries`: how often to look again whether a new volume is there.
    pub allocate_retries: u32,
    /// `[DEFAULT] block_device_allocate_retries_interval`.
    pub allocate_interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { cross_az_attach: true, allocate_retries: 60, allocate_interval: Duration::from_secs(3) }
    }
}

/// The port to Cinder. Cheap to clone.
#[derive(Clone)]
pub struct Volumes {
    client: Client,
    conductor: Conductor,
    options: Options,
}

impl Volumes {
    /// Cinder through this client, which sends the service's own credentials where a call brings no user's.
    pub fn new(client: Client, conductor: Conductor, options: Options) -> Self {
        Self { client, conductor, options }
    }

    /// Reads the records again when the request does not know the volume of a disk: an earlier try may have made it.
    async fn catch_up(
        &self,
        context: &RequestContext,
        instance: &Instance,
        devices: &mut [BlockDevice],
    ) -> Result<()> {
        if devices.iter().all(|device| !device.is_volume() || device.attachment_id.is_some()) {
            return Ok(());
        }
        let id = json!([instance.id.to_string()]);
        let records = self
            .conductor
            .read_list(context, "BlockDeviceMappingList", "get_by_instance_uuid", id, json!({}))
            .await
            .map_err(|error| error.about(instance.id))?;
        let records: Vec<BlockDevice> = records.into_iter().map(parse::block_device).collect();
        for device in devices.iter_mut().filter(|device| device.is_volume()) {
            if let Some(record) = records.iter().find(|record| record.id == device.id) {
                *device = record.clone();
            }
        }
        Ok(())
    }

    /// Writes fields of a disk's record.
    async fn save(
        &self,
        context: &RequestContext,
        device: &mut BlockDevice,
        fields: Map<String, Value>,
    ) -> Result<()> {
        let mut record = record(device)?;
        let id = record.int("id").ok_or_else(|| invalid("the disk's record has no id"))?;
        let mut change = Object::new("BlockDeviceMapping", record.version());
        change.insert("id", id);
        for (name, value) in fields {
            change.set(&name, value.clone());
            record.insert(&name, value);
        }
        self.conductor.act(context, change, "save", json!({}), Repeat::Freely).await?;
        *device = parse::block_device(record);
        Ok(())
    }
}

/// Attaches the disks of one server.
struct Attaching<'a> {
    port: &'a Volumes,
    context: &'a RequestContext,
    instance: &'a Instance,
    caller: Caller,
    node: NodeId,
    connector: &'a Map<String, Value>,
}

impl Attaching<'_> {
    async fn attach(&self, device: &mut BlockDevice) -> Result<NewVolumeTarget> {
        let client = &self.port.client;
        let volume_id = match device.volume_id {
            Some(id) => id.to_string(),
            None => self.create(device).await?,
        };
        let mut attachment = match device.attachment_id {
            Some(id) => id.to_string(),
            None => self.reserve(device, &volume_id).await?,
        };
        let volume = client.volume(&self.caller, &volume_id).await.map_err(|error| failed(&error))?;
        self.check(&volume)?;
        let mountpoint = device.device_name.clone().unwrap_or_default();
        let update =
            async |id: &str| client.update_attachment(&self.caller, id, self.connector, &mountpoint).await;
        let updated = match update(&attachment).await {
            // An earlier try on another node deleted it.
            Err(error) if error.is_not_found() => {
                attachment = self.new_attachment(device, &volume_id).await?;
                update(&attachment).await
            }
            other => other,
        };
        let updated = updated.map_err(|error| failed(&error))?;
        let connection = disk::connection(updated, &volume_id)
            .ok_or_else(|| invalid(format!("Cinder does not say how to connect volume {volume_id}")))?;
        let mut fields = Map::new();
        fields.insert("connection_info".to_owned(), connection.document.to_string().into());
        if record(device)?.int("volume_size").is_none() {
            fields.insert("volume_size".to_owned(), volume.size.into());
        }
        // Before the volume is in use: a detach needs it.
        self.port.save(self.context, device, fields).await?;
        if let Err(error) = client.complete_attachment(&self.caller, &attachment).await {
            if let Err(error) = client.delete_attachment(&self.caller, &attachment).await {
                tracing::warn!(volume = volume_id, %error, "the attachment could not be deleted");
            }
            return Err(failed(&error));
        }
        Ok(NewVolumeTarget {
            node_uuid: self.node,
            volume_type: connection.protocol,
            properties: connection.data,
            boot_index: device.boot_index,
            volume_id,
        })
    }

    async fn create(&self, device: &mut BlockDevice) -> Result<String> {
        let zone = self.instance.availability_zone.as_deref().filter(|_| !self.port.options.cross_az_attach);
        let new = disk::new_volume(device, &record(device)?, self.instance, zone);
        let made =
            self.port.client.create_volume(&self.caller, &new).await.map_err(|error| failed(&error))?;
        tracing::info!(volume = made.id, source = device.source, "volume created");
        let fields = Map::from_iter([("volume_id".to_owned(), made.id.clone().into())]);
        self.port.save(self.context, device, fields).await?;
        Ok(made.id)
    }

    /// The attachment of a volume that has none yet, or whose attachment was made and never written down.
    async fn reserve(&self, device: &mut BlockDevice, volume: &str) -> Result<String> {
        let own = self.port.client.instance_attachments(&self.caller, self.instance.id.0).await;
        let own = own.map_err(|error| failed(&error))?;
        let known = own.into_iter().find(|attachment| attachment.volume_id.as_deref() == Some(volume));
        if let Some(Attachment { id, .. }) = known {
            self.write_down(device, &id).await?;
            return Ok(id);
        }
        if device.source != "volume" {
            self.wait(volume).await?;
        }
        self.new_attachment(device, volume).await
    }

    async fn new_attachment(&self, device: &mut BlockDevice, volume: &str) -> Result<String> {
        let made = self.port.client.create_attachment(&self.caller, self.instance.id.0, volume).await;
        let made = made.map_err(|error| failed(&error))?;
        self.write_down(device, &made.id).await?;
        Ok(made.id)
    }

    async fn write_down(&self, device: &mut BlockDevice, attachment: &str) -> Result<()> {
        let fields = Map::from_iter([("attachment_id".to_owned(), attachment.into())]);
        self.port.save(self.context, device, fields).await
    }

    /// Waits until a new volume is there.
    async fn wait(&self, volume: &str) -> Result<()> {
        let options = &self.port.options;
        let (started, attempts) = (Instant::now(), options.allocate_retries.saturating_add(1));
        let mut status = String::new();
        for attempt in 1..=attempts {
            let found =
                self.port.client.volume(&self.caller, volume).await.map_err(|error| failed(&error))?;
            status = found.status;
            match status.as_str() {
                "available" => return Ok(()),
                "creating" | "downloading" if attempt < attempts => {
                    tokio::time::sleep(options.allocate_interval).await;
                }
                _ => break,
            }
        }
        Err(invalid(format!(
            "Volume {volume} did not finish being created even after we waited {} seconds or {attempts} attempts. And \
             its status is {status}.",
            started.elapsed().as_secs()
        )))
    }

    /// Whether the server can have the volume.
    fn check(&self, volume: &Volume) -> Result<()> {
        let (id, zone) = (&volume.id, &self.instance.availability_zone);
        if volume.multiattach {
            return Err(invalid(format!(
                "Volume {id} has 'multiattach' set, which is not supported for this instance."
            )));
        }
        if !self.port.options.cross_az_attach && *zone != volume.availability_zone {
            return Err(invalid(format!(
                "Invalid volume: Instance {} and volume {id} are not in the same availability_zone. Instance is in {}. \
                 Volume is in {}",
                self.instance.id,
                zone.as_deref().unwrap_or("None"),
                volume.availability_zone.as_deref().unwrap_or("None"),
            )));
        }
        Ok(())
    }
}

#[async_trait]
impl ports::Volumes for Volumes {
    async fn attach(
        &self,
        context: &RequestContext,
        instance: &Instance,
        devices: &mut [BlockDevice],
        connector: &Value,
    ) -> Result<Vec<NewVolumeTarget>> {
        self.catch_up(context, instance, devices).await?;
        let attaching = Attaching {
            port: self,
            context,
            instance,
            caller: user(context),
            node: instance.node.ok_or_else(|| invalid("the instance is on no node"))?,
            connector: connector.as_object().ok_or_else(|| invalid("the connector is no document"))?,
        };
        let mut order: Vec<&mut BlockDevice> =
            devices.iter_mut().filter(|device| device.is_volume()).collect();
        order.sort_by_key(|device| disk::rank(device));
        let mut targets = Vec::with_capacity(order.len());
        for device in order {
            targets.push(attaching.attach(device).await?);
        }
        Ok(targets)
    }

    async fn detach(
        &self,
        context: &RequestContext,
        instance: &Instance,
        devices: &[BlockDevice],
        delete: bool,
    ) {
        let mut devices: Vec<BlockDevice> =
            devices.iter().filter(|device| device.is_volume()).cloned().collect();
        if let Err(error) = self.catch_up(context, instance, &mut devices).await {
            tracing::warn!(instance = %instance.id, %error, "the disks' records could not be read again");
        }
        let (user, own) = (user(context), Caller::own(context.global_id()));
        for attachment in devices.iter().filter_map(|device| device.attachment_id).map(|id| id.to_string()) {
            let ended = match self.client.delete_attachment(&user, &attachment).await {
                Err(error) if refuses_user(&error) => self.client.delete_attachment(&own, &attachment).await,
                other => other,
            };
            if let Err(error) = ended {
                tracing::warn!(instance = %instance.id, attachment, %error, "the volume could not be detached");
            }
        }
        let doomed = devices.iter().filter(|device| delete && device.delete_on_termination);
        for volume in doomed.filter_map(|device| device.volume_id.as_ref()).map(Uuid::to_string) {
            let deleted = match self.client.delete_volume(&user, &volume).await {
                Err(error) if refuses_user(&error) => self.client.delete_volume(&own, &volume).await,
                other => other,
            };
            if let Err(error) = deleted {
                tracing::warn!(instance = %instance.id, volume, %error, "the volume could not be deleted");
            }
        }
    }
}

/// The user, in his own project; the service itself for work on nobody's behalf.
fn user(context: &RequestContext) -> Caller {
    let own = Caller::own(context.global_id());
    match &context.auth_token {
        Some(token) => {
            Caller { user_token: Some(token.clone()), project_id: context.project_id.clone(), ..own }
                .with_catalog(&context.service_catalog)
        }
        None => own,
    }
}

fn refuses_user(error: &Error) -> bool {
    matches!(error.status(), Some(401 | 403))
}

fn record(device: &BlockDevice) -> Result<Object> {
    Object::from_value(device.origin.0.clone()).map_err(|_| invalid("the disk's record cannot be read"))
}

/// What Nova makes of nearly every failure with a disk.
fn invalid(message: impl Into<String>) -> ports::Error {
    ports::Error::Refused { class: "InvalidBDM".to_owned(), message: message.into() }
}

fn failed(error: &Error) -> ports::Error {
    let class = if error.status() == Some(413) { "OverQuota" } else { "InvalidBDM" };
    ports::Error::Refused { class: class.to_owned(), message: error.to_string() }
}
