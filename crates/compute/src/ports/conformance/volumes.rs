//! What every adapter of [`Volumes`] keeps.

use std::collections::BTreeSet;

use async_trait::async_trait;
use oslo::context::RequestContext;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::instance::{BlockDevice, Instance};
use crate::ports::{Connector, Volumes};

/// A volume service that a test can arrange, with the adapter in front of it.
#[async_trait]
pub trait Cloud: Send + Sync {
    /// The adapter.
    fn port(&self) -> &dyn Volumes;

    /// A server on a node, and its disks: one volume that goes with it, and one that stays, both there
    /// already.
    async fn server(&self) -> (Instance, [BlockDevice; 2]);

    /// The volumes that are attached to something.
    async fn attached(&self) -> BTreeSet<Uuid>;

    /// The volumes that are there.
    async fn volumes(&self) -> BTreeSet<Uuid>;
}

fn connector() -> Connector {
    Connector { host: "server".to_owned(), initiator: Some("iqn.a".to_owned()), ..Connector::default() }
}

async fn attach(cloud: &impl Cloud, instance: &Instance, disks: &mut [BlockDevice], resumed: bool) {
    let (context, cancel) = (RequestContext::admin(), CancellationToken::new());
    let attached = cloud.port().attach(&context, instance, disks, &connector(), resumed, &cancel).await;
    attached.expect("the volumes are attached");
}

async fn detach(cloud: &impl Cloud, instance: &Instance, disks: &[BlockDevice], delete: bool) {
    let detached = cloud.port().detach(&RequestContext::admin(), instance, disks, delete).await;
    detached.expect("the volumes are detached");
}

fn volumes(disks: &[BlockDevice]) -> BTreeSet<Uuid> {
    disks.iter().filter_map(|disk| disk.volume_id).collect()
}

/// An attachment is a record of its own in Cinder (API 3.44); the disk keeps its id.
pub async fn a_volume_is_attached_once_and_a_resumed_build_does_not_attach_it_again(cloud: &impl Cloud) {
    let (instance, mut disks) = cloud.server().await;
    assert_eq!(cloud.attached().await, BTreeSet::new());
    attach(cloud, &instance, &mut disks, false).await;
    assert!(disks.iter().all(|disk| disk.attachment_id.is_some()));
    let known = disks.clone();
    attach(cloud, &instance, &mut disks, true).await;
    assert_eq!(cloud.attached().await, volumes(&disks));
    assert_eq!(disks.map(|disk| disk.attachment_id), known.map(|disk| disk.attachment_id));
}

/// A delete that was cut off after it is run again; Cinder answers 404 for an attachment that is gone.
pub async fn a_detach_ends_the_attachment_keeps_the_volume_and_again_is_no_error(cloud: &impl Cloud) {
    let (instance, mut disks) = cloud.server().await;
    attach(cloud, &instance, &mut disks, false).await;
    for _ in 0..2 {
        detach(cloud, &instance, &disks, false).await;
        assert_eq!((cloud.attached().await, cloud.volumes().await), (BTreeSet::new(), volumes(&disks)));
    }
}

/// `delete_on_termination` of a disk (`nova/compute/manager.py`, `_cleanup_volumes`).
pub async fn a_detach_of_a_server_that_ends_deletes_what_goes_with_it(cloud: &impl Cloud) {
    let (instance, mut disks) = cloud.server().await;
    attach(cloud, &instance, &mut disks, false).await;
    for _ in 0..2 {
        detach(cloud, &instance, &disks, true).await;
        assert_eq!((cloud.attached().await, cloud.volumes().await), (BTreeSet::new(), volumes(&disks[1..])));
    }
}
