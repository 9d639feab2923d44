//! One disk after the other: its volume is made where it has none, reserved, connected and in use.

use compute::instance::{BlockDevice, Instance};
use compute::ports::Result;
use driver::NodeId;
use openstack::cinder::{Attachment, Volume};
use openstack::ironic::NewVolumeTarget;
use openstack::{Caller, Error};
use oslo::context::RequestContext;
use serde_json::{Map, Value};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{DiskChange, Volumes, disk, failed, invalid};

/// Attaches the disks of one server.
pub(super) struct Attaching<'a> {
    pub(super) port: &'a Volumes,
    pub(super) context: &'a RequestContext,
    pub(super) instance: &'a Instance,
    pub(super) caller: Caller,
    pub(super) node: NodeId,
    pub(super) connector: Map<String, Value>,
    pub(super) resumed: bool,
    pub(super) cancel: &'a CancellationToken,
}

impl Attaching<'_> {
    pub(super) async fn attach(&self, device: &mut BlockDevice) -> Result<NewVolumeTarget> {
        let client = &self.port.client;
        let volume_id = match device.volume_id {
            Some(id) => id.to_string(),
            None => self.create(device).await?,
        };
        let attachment = match device.attachment_id {
            Some(id) => match client.attachment(&self.caller, &id.to_string()).await {
                // An earlier try on another node deleted it.
                Err(error) if error.is_not_found() => self.new_attachment(device, &volume_id).await?,
                found => found.map_err(|error| failed(&error))?,
            },
            None => self.reserve(device, &volume_id).await?,
        };
        // An earlier try finished here, and Ironic may know the connection: it stays as it is.
        if self.resumed
            && attachment.status == "attached"
            && let Some(connection) = disk::connection(attachment.clone(), &volume_id)
        {
            return Ok(self.target(device, volume_id, connection, false));
        }
        let volume = client.volume(&self.caller, &volume_id).await.map_err(|error| failed(&error))?;
        self.check(&volume)?;
        let updated = self.connect(&attachment.id, device).await.map_err(|error| failed(&error))?;
        let connection = disk::connection(updated, &volume_id)
            .ok_or_else(|| invalid(format!("Cinder does not say how to connect volume {volume_id}")))?;
        let change = DiskChange {
            connection: Some(connection.document.clone()),
            volume_size: device.volume_size.is_none().then_some(volume.size),
            ..DiskChange::default()
        };
        // Before the volume is in use: a detach needs it.
        self.port.ledger.save_disk(self.context, device, change).await?;
        if let Err(error) = self.complete(&attachment.id).await {
            if let Err(error) = client.delete_attachment(&self.caller, &attachment.id).await {
                tracing::warn!(volume = volume_id, %error, "the attachment could not be deleted");
            }
            return Err(failed(&error));
        }
        Ok(self.target(device, volume_id, connection, true))
    }

    fn target(
        &self,
        device: &BlockDevice,
        volume_id: String,
        connection: disk::Connection,
        renewed: bool,
    ) -> NewVolumeTarget {
        NewVolumeTarget {
            node_uuid: self.node,
            volume_type: connection.protocol,
            properties: connection.data,
            boot_index: device.boot_index,
            volume_id,
            renewed,
        }
    }

    /// Has Cinder connect the volume to the machine. A call without an answer is settled by a look.
    async fn connect(&self, attachment: &str, device: &BlockDevice) -> Result<Attachment, Error> {
        let (client, caller) = (&self.port.client, &self.caller);
        let mountpoint = device.device_name.as_deref().unwrap_or_default();
        match client.update_attachment(caller, attachment, &self.connector, mountpoint).await {
            Err(error) if error.is_transient() => match client.attachment(caller, attachment).await {
                Ok(seen) if seen.connection_info.protocol().is_some() => Ok(seen),
                _ => Err(error),
            },
            answered => answered,
        }
    }

    /// Says that the volume is connected. A call without an answer is settled by a look.
    async fn complete(&self, attachment: &str) -> Result<(), Error> {
        let (client, caller) = (&self.port.client, &self.caller);
        match client.complete_attachment(caller, attachment).await {
            Err(error) if error.is_transient() => match client.attachment(caller, attachment).await {
                Ok(seen) if seen.status == "attached" => Ok(()),
                _ => Err(error),
            },
            answered => answered,
        }
    }

    async fn create(&self, device: &mut BlockDevice) -> Result<String> {
        let zone = self.instance.availability_zone.as_deref().filter(|_| !self.port.options.cross_az_attach);
        let new = disk::new_volume(device, self.instance, zone);
        let made =
            self.port.client.create_volume(&self.caller, &new).await.map_err(|error| failed(&error))?;
        tracing::info!(volume = made.id, source = device.source, "volume created");
        let change = DiskChange { volume_id: Some(made.id.clone()), ..DiskChange::default() };
        if let Err(error) = self.port.ledger.save_disk(self.context, device, change).await {
            // Nobody would find it again.
            if let Err(error) = self.port.client.delete_volume(&self.caller, &made.id).await {
                tracing::warn!(volume = made.id, %error, "the volume could not be deleted");
            }
            return Err(error);
        }
        Ok(made.id)
    }

    /// The attachment of a volume that has none yet, or whose attachment was made and never written down.
    async fn reserve(&self, device: &mut BlockDevice, volume: &str) -> Result<Attachment> {
        if let Some(known) = self.own_attachment(volume).await.map_err(|error| failed(&error))? {
            self.write_down(device, &known.id).await?;
            return Ok(known);
        }
        if device.source != "volume" {
            self.wait(volume).await?;
        }
        self.new_attachment(device, volume).await
    }

    /// The attachment of a volume to the instance, if there is one, with its connection.
    async fn own_attachment(&self, volume: &str) -> Result<Option<Attachment>, Error> {
        let client = &self.port.client;
        let own = client.instance_attachments(&self.caller, self.instance.id.0).await?;
        match own.iter().find(|attachment| attachment.volume_id.as_deref() == Some(volume)) {
            Some(known) => client.attachment(&self.caller, &known.id).await.map(Some),
            None => Ok(None),
        }
    }

    async fn new_attachment(&self, device: &mut BlockDevice, volume: &str) -> Result<Attachment> {
        let made = match self.port.client.create_attachment(&self.caller, self.instance.id.0, volume).await {
            // No answer: it may have been made all the same.
            Err(error) if error.is_transient() => {
                self.own_attachment(volume).await.ok().flatten().ok_or(error)
            }
            answered => answered,
        };
        let made = made.map_err(|error| failed(&error))?;
        self.write_down(device, &made.id).await?;
        Ok(made)
    }

    async fn write_down(&self, device: &mut BlockDevice, attachment: &str) -> Result<()> {
        let change = DiskChange { attachment_id: Some(attachment.to_owned()), ..DiskChange::default() };
        self.port.ledger.save_disk(self.context, device, change).await
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
                    let pause = tokio::time::sleep(options.allocate_interval);
                    if self.cancel.run_until_cancelled(pause).await.is_none() {
                        return Err(invalid(format!("Volume {volume} is not waited for any more")));
                    }
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
