//! Gives an instance its ports.
//!
//! Every port that we make carries the instance's id from the first, so that a build that was killed anywhere
//! finds what it made and goes on from there. A port that is bound already is not touched again: Ironic may
//! have put its host into it.

use std::collections::{BTreeMap, BTreeSet};

use compute::instance::Instance;
use compute::ports::{self, Refusal, Result};
use compute::request::{BuildRequest, NetworkRequest, NetworkRequests};
use configdrive::network::NetworkInfo;
use openstack::Caller;
use openstack::neutron::{FixedIp, Network, NetworkFilter, NewPort, Port, PortUpdate};
use oslo::context::RequestContext;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::choice::{self, Pick, Slot};
use super::failure::{failed, of_creation, of_update, refused};
use super::{
    DNS_INTEGRATION, Networks, RESOURCE_REQUEST_GROUPS, SHARED_GROUPS, gather, groups, own, owner, release,
    slots, user,
};

/// Allocates, and on a failure takes back everything that this try and earlier ones made.
pub async fn allocate(net: &Networks, request: &BuildRequest, instance: &Instance) -> Result<NetworkInfo> {
    if request.networks == NetworkRequests::None {
        return Ok(NetworkInfo::default());
    }
    let allocation = Allocation {
        security_groups: &request.security_groups,
        providers: &request.provider_mapping,
        ..Allocation::new(net, &request.context, instance, &request.networks)?
    };
    let allocated = allocation.run().await;
    if let Err(error) = &allocated {
        tracing::warn!(instance = %instance.id, %error, "the networks could not be allocated; taking the ports back");
        let keep = request.brought_ports().iter().map(Uuid::to_string).collect();
        if let Err(error) = release::release(net, &request.context, instance, &keep).await {
            tracing::error!(instance = %instance.id, %error, "ports of the failed allocation are left behind");
        }
    }
    allocated
}

/// What is asked for, for which instance, by whom.
pub(super) struct Allocation<'a> {
    pub net: &'a Networks,
    context: &'a RequestContext,
    networks: &'a NetworkRequests,
    /// Names or ids.
    security_groups: &'a [String],
    /// Resource providers by requester id.
    providers: &'a BTreeMap<String, Vec<Uuid>>,
    pub instance: &'a Instance,
    pub own: Caller,
    user: Caller,
}

/// No provider was chosen for anything.
static NO_PROVIDERS: BTreeMap<String, Vec<Uuid>> = BTreeMap::new();

impl<'a> Allocation<'a> {
    /// With the project's default security group, and no resources that were booked for it.
    pub fn new(
        net: &'a Networks,
        context: &'a RequestContext,
        instance: &'a Instance,
        networks: &'a NetworkRequests,
    ) -> Result<Self> {
        let (own, user) = (own(context), user(context)?);
        let providers = &NO_PROVIDERS;
        Ok(Self { net, context, networks, security_groups: &[], providers, instance, own, user })
    }

    async fn run(&self) -> Result<NetworkInfo> {
        if self.instance.project_id.is_empty() {
            let text = format!("Invalid input received: empty project id for instance {}", self.instance.id);
            return Err(refused(Refusal::Invalid, text));
        }
        let existing = self.net.ports_of(&self.own, self.instance.id).await?;
        let slots = self.slots(&existing).await?;
        let groups = self.security_groups(&slots).await?;
        for slot in &slots {
            choice::check_security(&slot.network, !groups.is_empty())?;
        }
        let resumed = !existing.is_empty();
        let filled = slots::fill(&slots, existing);
        for spare in &filled.spare {
            tracing::info!(instance = %self.instance.id, port = spare.id, "deleting a port that an earlier try left");
            release::delete(self.net, &self.own, &self.user, &spare.id).await?;
        }
        let (mut ports, mut fresh) = (Vec::with_capacity(slots.len()), BTreeSet::new());
        for (slot, found) in slots.iter().zip(filled.ports) {
            let port = if let Some(port) = found {
                port
            } else {
                let port = self.create(slot, &groups).await?;
                fresh.insert(port.id.clone());
                port
            };
            ports.push(port);
        }
        let (ledger, context, id) = (&self.net.0.ledger, self.context, self.instance.id);
        let recorded = if resumed { ledger.recorded(context, id).await? } else { Vec::new() };
        let mut bound = Vec::with_capacity(ports.len());
        for (slot, port) in slots.iter().zip(ports) {
            let port = self.bind(slot, port).await?;
            if !recorded.contains(&port.id) {
                ledger.record(context, id, &port, slot.tag.as_deref()).await?;
            }
            bound.push(port);
        }
        let networks: Vec<Network> = slots.iter().map(|slot| slot.network.clone()).collect();
        let given = slots.iter().filter_map(|slot| Some(slot.given.as_ref()?.id.clone())).collect();
        let vifs = gather::vifs(self.net, &self.own, &bound, &networks, &given, &fresh).await?;
        Ok(NetworkInfo(vifs))
    }

    pub async fn slots(&self, existing: &[Port]) -> Result<Vec<Slot>> {
        let project = &self.instance.project_id;
        if choice::is_open(self.networks) {
            let network = match choice::pick(self.networks, self.candidates().await?, project)? {
                Pick::Nothing => return Ok(Vec::new()),
                Pick::This(network) => network,
                Pick::Automatic => self.make_network().await?,
            };
            choice::check_external(std::slice::from_ref(&network), self.context.is_admin)?;
            return Ok(vec![Slot { network, given: None, address: None, tag: None }]);
        }
        let mut given = Vec::new();
        for id in self.requests().iter().filter_map(|request| request.port_id) {
            let port = self.given_port(&id.to_string(), existing).await?;
            choice::check_port(&port, self.instance)?;
            given.push(port);
        }
        let ids = choice::network_ids(self.requests(), &given);
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let networks = self.networks(NetworkFilter { ids, ..NetworkFilter::default() }).await?;
        choice::check_external(&networks, self.context.is_admin)?;
        choice::slots(self.requests(), &given, &networks)
    }

    fn requests(&self) -> &[NetworkRequest] {
        match self.networks {
            NetworkRequests::These(requests) => requests,
            NetworkRequests::Default | NetworkRequests::Auto | NetworkRequests::None => &[],
        }
    }

    async fn given_port(&self, id: &str, existing: &[Port]) -> Result<Port> {
        if let Some(port) = existing.iter().find(|port| port.id == id) {
            return Ok(port.clone());
        }
        self.net.client().port(&self.own, id, &[]).await.map_err(|error| {
            if error.is_not_found() {
                refused(Refusal::PortNotFound, format!("Port id {id} could not be found."))
            } else {
                failed(&format!("Failed to access port {id}"), &error)
            }
        })
    }

    /// The networks that the project could use: its own, and those that are shared with all.
    async fn candidates(&self) -> Result<Vec<Network>> {
        let own = NetworkFilter {
            tenant_id: Some(self.instance.project_id.clone()),
            shared: Some(false),
            admin_state_up: (*self.networks == NetworkRequests::Auto).then_some(true),
            ..NetworkFilter::default()
        };
        let shared = NetworkFilter { shared: Some(true), ..NetworkFilter::default() };
        let (mut networks, shared) = tokio::try_join!(self.networks(own), self.networks(shared))?;
        networks.extend(shared);
        Ok(networks)
    }

    async fn networks(&self, filter: NetworkFilter) -> Result<Vec<Network>> {
        let networks = self.net.client().networks(&self.user, &filter).await;
        networks.map_err(|error| failed("the networks cannot be listed", &error))
    }

    /// Lets Neutron make the project's network.
    async fn make_network(&self) -> Result<Network> {
        let project = &self.instance.project_id;
        let made = match self.net.client().auto_allocated_network(&self.user, project).await {
            Ok(id) => self.net.client().network(&self.user, &id).await,
            Err(error) => Err(error),
        };
        made.map_err(|error| {
            if error.is_not_found() || error.is_conflict() {
                let text = format!("Unable to automatically allocate a network for project {project}");
                refused(Refusal::NoAutomaticNetwork, text)
            } else {
                failed("a network cannot be allocated automatically", &error)
            }
        })
    }

    async fn security_groups(&self, slots: &[Slot]) -> Result<Vec<String>> {
        let wanted = groups::wanted(self.security_groups);
        if wanted.is_empty() || slots.is_empty() {
            return Ok(Vec::new());
        }
        let what = "the security groups cannot be listed";
        let list = |tenant, shared| self.net.client().security_groups(&self.user, tenant, shared);
        let known = list(Some(self.instance.project_id.as_str()), false).await;
        let mut known = known.map_err(|error| failed(what, &error))?;
        if groups::is_missing(wanted, &known) && self.net.has_extension(&self.own, SHARED_GROUPS).await? {
            known.extend(list(None, true).await.map_err(|error| failed(what, &error))?);
        }
        groups::ids(wanted, &known)
    }

    pub async fn create(&self, slot: &Slot, groups: &[String]) -> Result<Port> {
        let address = slot.address.as_deref();
        let new = NewPort {
            device_id: self.instance.id.to_string(),
            network_id: slot.network.id.clone(),
            admin_state_up: true,
            tenant_id: self.instance.project_id.clone(),
            fixed_ips: address
                .map(|ip_address| FixedIp { subnet_id: None, ip_address: ip_address.to_owned() })
                .into_iter()
                .collect(),
            security_groups: groups.to_vec(),
        };
        let created = self.net.client().create_port(&self.user, &new).await;
        let port = created.map_err(|error| of_creation(&slot.network.id, address, &error))?;
        if self.resource_groups(&port).await?.is_some() {
            // Nothing was booked for it when the node was chosen.
            return Err(refused(
                Refusal::QosPolicy,
                format!(
                    "Using networks with QoS policy is not supported for instance {}. (Network ID is {})",
                    self.instance.id, slot.network.id
                ),
            ));
        }
        choice::check_binding(&port)?;
        Ok(port)
    }

    /// Makes the port the instance's: its owner, no host, and its name in DNS.
    pub async fn bind(&self, slot: &Slot, port: Port) -> Result<Port> {
        let id = self.instance.id.to_string();
        let owner = owner(self.instance);
        let dns = self.net.has_extension(&self.own, DNS_INTEGRATION).await?;
        let domain = slot.network.dns_domain.as_deref().is_some_and(|domain| !domain.is_empty());
        let name = &self.instance.hostname;
        let mut port = port;
        if port.device_id != id || port.device_owner != owner {
            let profile = self.profile(&port).await?;
            let update = PortUpdate {
                device_id: Some(id),
                device_owner: Some(owner),
                clear_host: true,
                profile: (slot.given.is_some() && !profile.is_empty()).then_some(profile),
                dns_name: (dns && !domain).then(|| name.clone()),
                ..PortUpdate::default()
            };
            let updated = self.net.client().update_port(&self.own, &port.id, &update).await;
            port = updated.map_err(|error| of_update(&port.id, &error))?;
            choice::check_binding(&port)?;
        }
        if dns && domain && port.dns_name.as_ref() != Some(name) {
            // The name goes into the user's own zone.
            let update = PortUpdate { dns_name: Some(name.clone()), ..PortUpdate::default() };
            self.net.client().update_port(&self.user, &port.id, &update).await.map_err(|error| {
                if error.is_bad_request() {
                    let text =
                        format!("Invalid input received: Instance hostname {name} is not a valid DNS name");
                    refused(Refusal::Invalid, text)
                } else {
                    of_update(&port.id, &error)
                }
            })?;
        }
        Ok(port)
    }

    /// The port's profile, with the provider that its resources were booked from.
    async fn profile(&self, port: &Port) -> Result<Map<String, Value>> {
        let mut profile = port.profile.clone();
        let Some(groups) = self.resource_groups(port).await? else { return Ok(profile) };
        let provider = |key: &str| {
            let providers = self.providers.get(key);
            let provider =
                providers.and_then(|providers| providers.first()).map(|id| Value::from(id.to_string()));
            provider.ok_or_else(|| {
                let text = format!(
                    "Port update failed for port {}: no resource provider was chosen for its resource request {key}",
                    port.id
                );
                refused(Refusal::PortResourcesMissing, text)
            })
        };
        let allocation = match groups {
            Groups::One => provider(&port.id)?,
            Groups::Many(ids) => {
                let pairs = ids.into_iter().map(|id| Ok((id.clone(), provider(&id)?)));
                Value::Object(pairs.collect::<Result<_, ports::Error>>()?)
            }
        };
        profile.insert("allocation".to_owned(), allocation);
        Ok(profile)
    }

    /// What the port needs in Placement; `None` for nothing, as nearly always.
    pub async fn resource_groups(&self, port: &Port) -> Result<Option<Groups>> {
        let request = match &port.resource_request {
            Some(Value::Object(request)) if !request.is_empty() => request,
            _ => return Ok(None),
        };
        if !self.net.has_extension(&self.own, RESOURCE_REQUEST_GROUPS).await? {
            return Ok(Some(Groups::One));
        }
        let groups = request.get("request_groups").and_then(Value::as_array).into_iter().flatten();
        let ids: Vec<String> =
            groups.filter_map(|group| group.get("id")?.as_str().map(str::to_owned)).collect();
        Ok((!ids.is_empty()).then_some(Groups::Many(ids)))
    }
}

/// The groups of resources that a port asks for.
pub(super) enum Groups {
    /// One, known by the port's id.
    One,
    /// Several, by their own ids.
    Many(Vec<String>),
}
