//! The port to the network service.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use configdrive::network::{NetworkInfo, Vif};
use oslo::context::RequestContext;
use uuid::Uuid;

use super::Result;
use crate::instance::Instance;
use crate::request::{BuildRequest, NetworkRequest};

/// The addresses of ports, by the port.
pub type Addresses = BTreeMap<Uuid, BTreeSet<String>>;

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

    /// The network information of instances as the network service has it now, in their order: with the ports that the cached
    /// information lacks, without those that are not the instance's any more. It costs about the same number of requests for one
    /// instance and for a hundred.
    async fn heal(&self, context: &RequestContext, instances: &[Instance]) -> Result<Vec<NetworkInfo>>;

    /// The ports that carry the instance's id.
    async fn ports_of(&self, context: &RequestContext, instance: &Instance) -> Result<BTreeSet<Uuid>>;

    /// The first half of a new interface: makes its port, or finds that the instance can have the one that the user brought, of
    /// which nothing is changed. `had`: the ports that the instance had before the first try; one that it has since, and which is
    /// as asked for, was made by an earlier try and is used.
    async fn new_port(
        &self,
        context: &RequestContext,
        instance: &Instance,
        wanted: &NetworkRequest,
        had: &BTreeSet<Uuid>,
    ) -> Result<Uuid>;

    /// The second half: the port becomes the instance's. May be called again. `brought`: the user made it.
    async fn bind_port(
        &self,
        context: &RequestContext,
        instance: &Instance,
        port: Uuid,
        brought: bool,
    ) -> Result<Vif>;

    /// Takes a port from the instance: it is deleted or, when the user `brought` it, unbound. One that is gone, or is not the
    /// instance's, is left alone: no error.
    async fn release_port(
        &self,
        context: &RequestContext,
        instance: &Instance,
        port: Uuid,
        brought: bool,
    ) -> Result<()>;

    /// Deletes what [`Networks::new_port`] may have made although its answer was lost: ports that the instance did not have
    /// before, and that nothing was done with.
    async fn release_new_ports(
        &self,
        context: &RequestContext,
        instance: &Instance,
        had: &BTreeSet<Uuid>,
    ) -> Result<()>;

    /// The addresses of the instance's ports on a network.
    async fn addresses(
        &self,
        context: &RequestContext,
        instance: &Instance,
        network: Uuid,
    ) -> Result<Addresses>;

    /// Gives the first port of the instance on a network that takes it one more address. Nothing is done when a port has more
    /// addresses than it `had`: an earlier try did that.
    async fn add_address(
        &self,
        context: &RequestContext,
        instance: &Instance,
        network: Uuid,
        had: &Addresses,
    ) -> Result<()>;

    /// Takes an address from the instance's port that has it; `false`: none has it.
    async fn remove_address(
        &self,
        context: &RequestContext,
        instance: &Instance,
        address: &str,
    ) -> Result<bool>;

    /// Names of the security groups on the instance's ports, for the EC2 part of the metadata.
    async fn security_group_names(&self, instance: &Instance) -> Result<Vec<String>>;
}
