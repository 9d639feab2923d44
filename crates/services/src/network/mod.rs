//! Neutron as a nova-compute with Ironic uses it: ports for the instances, and the network information that
//! users see.
//!
//! Protocol facts: `nova/network/neutron.py` and captured requests of a stock nova-compute. Networks are
//! looked up and ports are made and deleted with the user's token; ports are changed (binding) and everything
//! else is read with the service's own credentials. `binding:host_id` is always null: Ironic binds the ports
//! itself.
//!
//! What is chosen, matched and built is decided by pure functions ([`choice`], [`slots`], [`groups`],
//! [`vif`]); [`allocate`], [`release`] and [`gather`] do what they say.

mod allocate;
mod cached;
mod choice;
#[cfg(test)]
mod conformance;
mod failure;
mod gather;
mod groups;
mod ledger;
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
use compute::ports::{self, Refusal};
use compute::request::BuildRequest;
use configdrive::network::{NetworkInfo, Vif};
use driver::InstanceId;
use openstack::Caller;
use openstack::neutron::{Client, NetworkFilter, Port, PortFilter};
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
        let filter = PortFilter { device_id: Some(instance.to_string()), ..PortFilter::default() };
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
        let own = own(context);
        let known = &instance.network;
        let filter = PortFilter {
            tenant_id: Some(instance.project_id.clone()),
            device_id: Some(instance.id.to_string()),
            ..PortFilter::default()
        };
        let found = self.client().ports(&own, &filter).await;
        let found = found.map_err(|error| failed("the instance's ports cannot be listed", &error))?;
        let vif = vif.map(|id| id.to_string());
        let wanted: Vec<Port> = match &vif {
            Some(id) if !known.0.is_empty() => found.into_iter().filter(|port| port.id == *id).collect(),
            // In the order of the cache, as long as Neutron still has them.
            _ => {
                let of = |vif: &Vif| found.iter().find(|port| port.id == vif.id).cloned();
                known.0.iter().filter_map(of).collect()
            }
        };
        if vif.is_some() && wanted.is_empty() {
            // A port that left stays in the cache until it is detached.
            return Ok(known.clone());
        }
        let ids: BTreeSet<String> = wanted.iter().map(|port| port.network_id.clone()).collect();
        let networks = if ids.is_empty() {
            Vec::new()
        } else {
            let filter = NetworkFilter { ids: ids.into_iter().collect(), ..NetworkFilter::default() };
            let networks = self.client().networks(&own, &filter).await;
            networks.map_err(|error| failed("the instance's networks cannot be listed", &error))?
        };
        let fresh = gather::vifs(self, &own, &wanted, &networks, &preserved(known), &BTreeSet::new()).await?;
        Ok(match vif {
            Some(_) => merged(known, fresh),
            None => NetworkInfo(fresh),
        })
    }

    async fn security_group_names(&self, instance: &Instance) -> ports::Result<Vec<String>> {
        let own = Caller::default();
        let filter = PortFilter {
            device_id: Some(instance.id.to_string()),
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

/// The known VIFs with the fresh ones in their places; new ones come last.
fn merged(known: &NetworkInfo, fresh: Vec<Vif>) -> NetworkInfo {
    let mut merged = known.clone();
    for vif in fresh {
        match merged.0.iter_mut().find(|known| known.id == vif.id) {
            Some(known) => *known = vif,
            None => merged.0.push(vif),
        }
    }
    merged
}
