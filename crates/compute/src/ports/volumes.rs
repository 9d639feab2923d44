//! The port to the volume service.

use async_trait::async_trait;
use openstack::ironic::NewVolumeTarget;
use oslo::context::RequestContext;
use tokio_util::sync::CancellationToken;

use super::Result;
use crate::instance::{BlockDevice, Instance};

/// How a machine presents itself to the volume service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connector {
    /// The address that it reaches its volumes from.
    pub ip: Option<String>,
    /// Its address, or the server's host name where it has none.
    pub host: String,
    /// Its iSCSI name.
    pub initiator: Option<String>,
    /// Its Fibre Channel port names.
    pub wwpns: Vec<String>,
    /// Its Fibre Channel node names.
    pub wwnns: Vec<String>,
    /// Its processor architecture.
    pub platform: Option<String>,
}

/// The volumes of the cloud.
#[async_trait]
pub trait Volumes: Send + Sync {
    /// Attaches every volume of the instance for a machine that presents itself as `connector`, makes those
    /// that do not exist yet, and answers what Ironic must connect to. Does not wait for new volumes once it
    /// is cancelled. `resumed`: called again after a restart, for the same machine; what is attached already
    /// stays as it is.
    async fn attach(
        &self,
        context: &RequestContext,
        instance: &Instance,
        devices: &mut [BlockDevice],
        connector: &Connector,
        resumed: bool,
        cancel: &CancellationToken,
    ) -> Result<Vec<NewVolumeTarget>>;

    /// Ends the attachments; deletes the volumes that go with the server when `delete` says so. All are
    /// tried. What is refused is logged and stays as it is; the error says that the service was away for some
    /// of it, which is to be asked for again.
    async fn detach(
        &self,
        context: &RequestContext,
        instance: &Instance,
        devices: &[BlockDevice],
        delete: bool,
    ) -> Result<()>;
}
