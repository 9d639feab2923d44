//! The control plane's records of an instance's disks.

use async_trait::async_trait;
use compute::instance::{BlockDevice, Instance};
use compute::ports::Result;
use oslo::context::RequestContext;
use serde_json::Value;

/// What has become known of a disk; `None` is left as it is. It is never printed: the connection holds
/// secrets.
#[derive(Clone, Default, PartialEq)]
pub struct DiskChange {
    /// Cinder's id.
    pub volume_id: Option<String>,
    /// Cinder's id.
    pub attachment_id: Option<String>,
    /// How to reach the volume, as nova-compute records it (`nova/volume/cinder.py`,
    /// `_translate_attachment_ref`).
    pub connection: Option<Value>,
    /// GiB.
    pub volume_size: Option<u64>,
}

/// The control plane's records of the disks of its instances.
#[async_trait]
pub trait DiskLedger: Send + Sync {
    /// The disks of an instance, as they are recorded now.
    async fn disks(&self, context: &RequestContext, instance: &Instance) -> Result<Vec<BlockDevice>>;

    /// Writes the change into the disk's record. `device` has it even when the record could not be written: a
    /// detach needs it.
    async fn save_disk(
        &self,
        context: &RequestContext,
        device: &mut BlockDevice,
        change: DiskChange,
    ) -> Result<()>;
}
