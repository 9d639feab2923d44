//! Neutron as a nova-compute with Ironic uses it: ports for the instances, and the network information that
//! users see.
//!
//! Protocol facts: `nova/network/neutron.py` and captured requests of a stock nova-compute. Networks are
//! looked up and ports are made and deleted with the user's token; ports are changed (binding) and everything
//! else is read with the service's own credentials. `binding:host_id` is always null: Ironic binds the ports
//! itself.
//!
//! What is chosen, matched and built is decided by pure functions ([`choice`], [`slots`], [`groups`],
//! [`vif`]); [`allocate`], [`release`] and [`gather`] do what they say, [`interface`] and [`addresses`] for one port of an instance
//! that runs, [`refresh`] for what is known of its ports.

mod addresses;
mod allocate;
mod cached;
mod choice;
#[cfg(test)]
mod conformance;
mod failure;
mod gather;
mod groups;
mod interface;
mod ledger;
mod refresh;
mod release;
mod slots;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod vif;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use compute::instance::Instance;
use compute::ports::{self, Addresses, Refusal};
use compute::request::{BuildRequest, NetworkRequest};
use configdrive::network::{NetworkInfo, Vif};
use driver::InstanceId;
use openstack::Caller;
use openstack::neutron::{Client, Port, PortFilter};
use oslo::context::RequestContext;
use uuid::Uuid;

use cached::Cached;
use failure::{failed, refused};
pub use ledger::PortLedger;
use vif::Physical;

/// Extension: ports have names in DNS.
const DNS_INTEGRATION: &str = "dns-integration";
/// Extension: networks of several segments.
const MULTI_PROVIDER: &str = "multi-provider";
/// Extension: a port asks for several groups of resources.
const RESOURCE_REQUEST_GROUPS: &str = "port-resource-request-groups";
/// Extension: security groups that other projects share can be listed.
const SHARED_GROUPS: &str = "security-groups-shared-filtering";

/// What of the configuration matters here.
#[derive(Debug, Clone)]
pub struct Options {
    /// `[neutron] extension_sync_interval`: how long to believe what Neutron said of its extensions, and of
    /// how a network is built.
    pub extension_sync: Duration,
    /// `[neutron] ovs_bridge`.
    pub ovs_bridge: String,
    /// `[DEFAULT] flat_injected`.
    pub flat_injected: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { extension_sync: Duration::from_mins(10), ovs_bridge: "br-int".into(), flat_injected: false }
    }
}

/// The port to Neutron. Cheap to clone.
#[derive(Clone)]
pub struct Networks(Arc<Inner>);

struct Inner {
    client: Client,
    ledger: Arc<dyn PortLedger>,
    options: Options,
    extensions: Cached<(), BTreeSet<String>>,
    physical: Cached<String, Physical>,
}

impl Networks {
    /// Neutron through this client, which sends the service's own credentials where a call brings no user's.
    /// What is known of the instances' ports is written into `ledger`.
    pub fn new(client: Client, ledger: Arc<dyn PortLedger>, options: Options) -> Self {
        let life = options.extension_sync;
        Self(Arc::new(Inner {
            client,
            ledger,
            options,
            extensions: Cached::new(life),
            physical: Cached::new(life),
        }))
    }

    fn client(&self) -> &Client {
        &self.0.client
    }

    async fn has_extension(&self, own: &Caller, alias: &str) -> ports::Result<bool> {
        let read = || self.client().extensions(own);
        let extensions = self.0.extensions.get((), read).await;
        let extensions =
            extensions.map_err(|error| failed("Neutron's extensions cannot be listed", &error))?;
        Ok(extensions.contains(alias))
    }

    /// The ports that carry the instance's id, whoever made them.
    async fn ports_of(&self, own: &Caller, instance: InstanceId) -> ports::Result<Vec<Port>> {
        let filter = PortFilter { device_ids: vec![instance.to_string()], ..PortFilter::default() };
        let ports = self.client().ports(own, &filter).await;
        ports.map_err(|error| failed("the instance's ports cannot be listed", &error))
    }
}

/// The service's own credentials, within the request.
fn own(context: &RequestContext) -> Caller {
    Caller::own(context.global_id())
}

/// The user's credentials; the service's own for work on nobody's behalf.
fn user(context: &RequestContext) -> ports::Result<Caller> {
    match &context.auth_token {
        Some(token) => Ok(Caller { user_token: Some(token.clone()), ..own(context) }),
        None if context.is_admin => Ok(own(context)),
        None => Err(refused(Refusal::Unauthenticated, "Not authorized.")),
    }
}

/// The owner of the instance's ports.
fn owner(instance: &Instance) -> String {
    format!("compute:{}", instance.availability_zone.as_deref().unwrap_or("None"))
}

/// The ports that outlive the server, as the network information says.
fn preserved(network: &NetworkInfo) -> BTreeSet<String> {
    network.0.iter().filter(|vif| vif.preserve_on_delete).map(|vif| vif.id.clone()).collect()
}

#[async_trait]
impl ports::Networks for Networks {
    async fn allocate(&self, request: &BuildRequest, instance: &Instance) -> ports::Result<NetworkInfo> {
        allocate::allocate(self, request, instance).await
    }

    async fn deallocate(
        &self,
        context: &RequestContext,
        instance: &Instance,
        requested: &[Uuid],
    ) -> ports::Result<()> {
        let mut keep = preserved(&instance.network);
        keep.extend(requested.iter().map(Uuid::to_string));
        release::release(self, context, instance, &keep).await
    }

    async fn refresh(
        &self,
        context: &RequestContext,
        instance: &Instance,
        vif: Option<Uuid>,
    ) -> ports::Result<NetworkInfo> {
        refresh::refresh(self, context, instance, vif).await
    }

    async fn heal(
        &self,
        context: &RequestContext,
        instances: &[Instance],
    ) -> ports::Result<Vec<NetworkInfo>> {
        refresh::heal(self, context, instances).await
    }

    async fn ports_of(&self, context: &RequestContext, instance: &Instance) -> ports::Result<BTreeSet<Uuid>> {
        let ports = Self::ports_of(self, &own(context), instance.id).await?;
        Ok(ports.iter().filter_map(|port| port.id.parse().ok()).collect())
    }

    async fn new_port(
        &self,
        context: &RequestContext,
        instance: &Instance,
        wanted: &NetworkRequest,
        had: &BTreeSet<Uuid>,
    ) -> ports::Result<Uuid> {
        interface::new_port(self, context, instance, wanted, had).await
    }

    async fn bind_port(
        &self,
        context: &RequestContext,
        instance: &Instance,
        port: Uuid,
        brought: bool,
    ) -> ports::Result<Vif> {
        interface::bind(self, context, instance, port, brought).await
    }

    async fn release_port(
        &self,
        context: &RequestContext,
        instance: &Instance,
        port: Uuid,
        brought: bool,
    ) -> ports::Result<()> {
        release::release_one(self, context, instance, &port.to_string(), brought).await
    }

    async fn release_new_ports(
        &self,
        context: &RequestContext,
        instance: &Instance,
        had: &BTreeSet<Uuid>,
    ) -> ports::Result<()> {
        interface::release_new(self, context, instance, had).await
    }

    async fn addresses(
        &self,
        context: &RequestContext,
        instance: &Instance,
        network: Uuid,
    ) -> ports::Result<Addresses> {
        addresses::of(self, context, instance, network).await
    }

    async fn add_address(
        &self,
        context: &RequestContext,
        instance: &Instance,
        network: Uuid,
        had: &Addresses,
    ) -> ports::Result<()> {
        addresses::add(self, context, instance, network, had).await
    }

    async fn remove_address(
        &self,
        context: &RequestContext,
        instance: &Instance,
        address: &str,
    ) -> ports::Result<bool> {
        addresses::remove(self, context, instance, address).await
    }

    async fn security_group_names(&self, instance: &Instance) -> ports::Result<Vec<String>> {
        let own = Caller::default();
        let filter = PortFilter {
            device_ids: vec![instance.id.to_string()],
            fields: &["security_groups", "device_id"],
            ..PortFilter::default()
        };
        let ports = self.client().ports(&own, &filter).await;
        let ports = ports.map_err(|error| failed("the instance's ports cannot be listed", &error))?;
        let ids: BTreeSet<String> = ports.into_iter().flat_map(|port| port.security_groups).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<String> = ids.into_iter().collect();
        let groups = self.client().security_groups_by_id(&own, &ids).await;
        let groups = groups.map_err(|error| failed("the security groups cannot be listed", &error))?;
        let name = |group: openstack::neutron::SecurityGroup| {
            if group.name.is_empty() { group.id } else { group.name }
        };
        let names: BTreeSet<String> = groups.into_iter().map(name).collect();
        Ok(names.into_iter().collect())
    }
}
