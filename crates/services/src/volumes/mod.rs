//! Cinder as a nova-compute with Ironic uses it: volumes are made and attached for a machine that Ironic
//! connects.
//!
//! Facts: `nova/virt/block_device.py`, `nova/volume/cinder.py`. Whatever is made is written into the disk's
//! record at once, so that a build that was killed finds it: the records are read again wherever the request
//! does not know of a volume.

mod attaching;
#[cfg(test)]
mod conformance;
mod disk;
mod ledger;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use compute::instance::{BlockDevice, Instance};
use compute::ports::{self, Connector, Refusal, Result};
use openstack::cinder::Client;
use openstack::ironic::NewVolumeTarget;
use openstack::{Caller, Error};
use oslo::context::RequestContext;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::attaching::Attaching;
pub use self::ledger::{DiskChange, DiskLedger};
use crate::failure::{Meaning, meaning};

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

/// How often to look whether a volume that is to be deleted is detached, at the pace of `allocate_interval`.
const DETACHING_LOOKS: u32 = 10;

/// The port to Cinder. Cheap to clone.
#[derive(Clone)]
pub struct Volumes {
    client: Client,
    ledger: Arc<dyn DiskLedger>,
    options: Options,
}

impl Volumes {
    /// Cinder through this client, which sends the service's own credentials where a call brings no user's.
    /// What is known of the instances' disks is written into `ledger`.
    pub fn new(client: Client, ledger: Arc<dyn DiskLedger>, options: Options) -> Self {
        Self { client, ledger, options }
    }

    /// Reads the records again when the request does not know the volume of a disk: an earlier try may have
    /// made it.
    async fn catch_up(
        &self,
        context: &RequestContext,
        instance: &Instance,
        devices: &mut [BlockDevice],
    ) -> Result<()> {
        if devices.iter().all(|device| !device.is_volume() || device.attachment_id.is_some()) {
            return Ok(());
        }
        let records = self.ledger.disks(context, instance).await?;
        for device in devices.iter_mut().filter(|device| device.is_volume()) {
            if let Some(record) = records.iter().find(|record| record.id == device.id) {
                *device = record.clone();
            }
        }
        Ok(())
    }

    /// Deletes a volume. One that Cinder is still detaching is waited for.
    async fn delete(&self, caller: &Caller, volume: &str) -> Result<bool, Error> {
        for _ in 0..DETACHING_LOOKS {
            let deleted = self.client.delete_volume(caller, volume).await;
            match &deleted {
                Err(error) if error.is_bad_request() => {}
                _ => return deleted,
            }
            match self.client.volume(caller, volume).await {
                Ok(seen) if matches!(seen.status.as_str(), "in-use" | "attaching" | "detaching") => {}
                _ => return deleted,
            }
            tokio::time::sleep(self.options.allocate_interval).await;
        }
        self.client.delete_volume(caller, volume).await
    }
}

#[async_trait]
impl ports::Volumes for Volumes {
    async fn attach(
        &self,
        context: &RequestContext,
        instance: &Instance,
        devices: &mut [BlockDevice],
        connector: &Connector,
        resumed: bool,
        cancel: &CancellationToken,
    ) -> Result<Vec<NewVolumeTarget>> {
        self.catch_up(context, instance, devices).await?;
        let attaching = Attaching {
            port: self,
            context,
            instance,
            caller: user(context),
            node: instance.node.ok_or_else(|| invalid("the instance is on no node"))?,
            connector: disk::connector(connector),
            resumed,
            cancel,
        };
        let mut order: Vec<&mut BlockDevice> =
            devices.iter_mut().filter(|device| device.is_volume()).collect();
        order.sort_by_key(|device| disk::rank(device));
        let mut targets = Vec::with_capacity(order.len());
        for device in order {
            targets.push(attaching.attach(device).await?);
        }
        disk::number(&mut targets);
        Ok(targets)
    }

    async fn detach(
        &self,
        context: &RequestContext,
        instance: &Instance,
        devices: &[BlockDevice],
        delete: bool,
    ) -> Result<()> {
        let mut devices: Vec<BlockDevice> =
            devices.iter().filter(|device| device.is_volume()).cloned().collect();
        if devices.is_empty() {
            return Ok(());
        }
        let mut away = Away::default();
        // Each may know what the others do not: the request what could not be written down, the records what
        // an earlier process made, Cinder what neither got to know.
        match self.ledger.disks(context, instance).await {
            Ok(records) => devices.extend(records.into_iter().filter(BlockDevice::is_volume)),
            Err(error) => {
                tracing::warn!(instance = %instance.id, %error, "the disks' records could not be read again");
                away.conductor(error);
            }
        }
        let (user, own) = (user(context), Caller::own(context.global_id()));
        let mut attachments: BTreeSet<String> =
            devices.iter().filter_map(|device| device.attachment_id).map(|id| id.to_string()).collect();
        match self.client.instance_attachments(&user, instance.id.0).await {
            Ok(found) => attachments.extend(found.into_iter().map(|attachment| attachment.id)),
            Err(error) => {
                tracing::warn!(instance = %instance.id, %error, "Cinder does not list the attachments");
                away.cinder(&error);
            }
        }
        for attachment in attachments {
            let ended = match self.client.delete_attachment(&user, &attachment).await {
                Err(error) if refuses_user(&error) => self.client.delete_attachment(&own, &attachment).await,
                other => other,
            };
            if let Err(error) = ended {
                tracing::warn!(instance = %instance.id, attachment, %error, "the volume could not be detached");
                away.cinder(&error);
            }
        }
        let doomed = devices.iter().filter(|device| delete && device.delete_on_termination);
        let doomed: BTreeSet<Uuid> = doomed.filter_map(|device| device.volume_id).collect();
        for volume in doomed.iter().map(Uuid::to_string) {
            let deleted = match self.delete(&user, &volume).await {
                Err(error) if refuses_user(&error) => self.delete(&own, &volume).await,
                other => other,
            };
            if let Err(error) = deleted {
                tracing::warn!(instance = %instance.id, volume, %error, "the volume could not be deleted");
                away.cinder(&error);
            }
        }
        away.0.map_or(Ok(()), |why| Err(ports::Error::Unavailable(why)))
    }
}

/// The first service that was away, while the rest went on.
#[derive(Default)]
struct Away(Option<String>);

impl Away {
    fn conductor(&mut self, error: ports::Error) {
        if let ports::Error::Unavailable(why) = error {
            self.0.get_or_insert(why);
        }
    }

    /// Cinder answers 500 where a storage system refuses to let go of a volume, and will go on doing so: that
    /// is an answer, which the server's end does not wait for.
    fn cinder(&mut self, error: &Error) {
        let is_refusal = matches!(error, Error::Http { status: 500, .. });
        if meaning(error) == Meaning::Away && !is_refusal {
            self.0.get_or_insert_with(|| error.to_string());
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

/// Nearly every failure with a disk is one of the request.
fn invalid(message: impl Into<String>) -> ports::Error {
    ports::Error::Refused { why: Refusal::Disk, message: message.into() }
}

/// What Cinder refuses the user may read; where Cinder is and why it cannot be reached is for the log alone.
fn failed(error: &Error) -> ports::Error {
    match meaning(error) {
        Meaning::Away => ports::Error::Unavailable(error.to_string()),
        Meaning::Broken => ports::Error::Broken(error.to_string()),
        Meaning::Refused => {
            let why = if error.status() == Some(413) { Refusal::VolumeQuota } else { Refusal::Disk };
            ports::Error::Refused { why, message: error.message().to_owned() }
        }
    }
}
