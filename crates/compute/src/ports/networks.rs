//! The port to the network service.

use async_trait::async_trait;
use configdrive::network::NetworkInfo;
use oslo::context::RequestContext;
use uuid::Uuid;

use super::Result;
use crate::instance::Instance;
use crate::request::BuildRequest;

/// The networks of the cloud.
#[async_trait]
pub trait Networks: Send + Sync {
    /// Gives the instance its ports: what the user asked for, in that order. May be called again after a
    /// restart: ports that an earlier try made (they carry the instance's id) are found and used. A failure
    /// leaves no port of our making behind.
    async fn allocate(&self, request: &BuildRequest, instance: &Instance) -> Result<NetworkInfo>;

    /// Takes all ports from the instance: ours are deleted, those that the user brought are unbound.
    /// `requested` are the ports that the user brought, as far as the cached network information does not say
    /// so.
    async fn deallocate(
        &self,
        context: &RequestContext,
        instance: &Instance,
        requested: &[Uuid],
    ) -> Result<()>;

    /// Reads the ports again and answers the network information as it is now; `vif` limits it to one port.
    async fn refresh(
        &self,
        context: &RequestContext,
        instance: &Instance,
        vif: Option<Uuid>,
    ) -> Result<NetworkInfo>;

    /// Names of the security groups on the instance's ports, for the EC2 part of the metadata.
    async fn security_group_names(&self, instance: &Instance) -> Result<Vec<String>>;
}
