//! What the caller of a refused method prepared elsewhere, and its taking back: images, volumes, claims, migrations.

use async_trait::async_trait;
use compute::instance::BlockDevice;
use driver::{InstanceId, NodeId};
use oslo::context::RequestContext;
use serde_json::Value;
use uuid::Uuid;

/// Takes back. Nothing here can fail a refusal: errors are logged by who implements it.
#[async_trait]
pub trait Undo: Send + Sync {
    /// Deletes the image that was made for a snapshot.
    async fn delete_image(&self, context: &RequestContext, image: Uuid);

    /// Gives a Migration object its last status.
    async fn end_migration(&self, context: &RequestContext, migration: &Value, status: &str);

    /// Moves the claim that a resize gave to the migration back to the instance.
    async fn return_claim(&self, context: &RequestContext, migration: &Value, instance: InstanceId);

    /// Takes a node out of an instance's claim.
    async fn drop_claim(&self, context: &RequestContext, instance: InstanceId, node: NodeId);

    /// Deletes a volume's attachment and the record of the disk.
    async fn forget_disk(&self, context: &RequestContext, disk: &BlockDevice);

    /// Deletes a volume's attachment.
    async fn forget_attachment(&self, context: &RequestContext, attachment: Uuid);

    /// A volume that was to be detached stays attached.
    async fn keep_volume(&self, context: &RequestContext, volume: Uuid);

    /// Tells Cinder that the volume's migration failed.
    async fn fail_volume_migration(&self, context: &RequestContext, old: Uuid, new: Uuid);
}
