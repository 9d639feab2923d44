//! Neutron's calls. What is listed is followed page after page, where an operator limits the pages.

use std::collections::BTreeSet;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

use super::types::{
    FloatingIp, Network, NetworkFilter, NewPort, Port, PortFilter, PortUpdate, ProviderNetwork,
    SecurityGroup, Subnet,
};
use crate::{Adapter, Caller, Error, Request, error::found};

/// Ids asked for at once, so that the address stays under the 8 KiB that web servers take.
const IDS_AT_ONCE: usize = 100;

/// Neutron through an adapter. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    adapter: Adapter,
}

/// One page of any list.
#[derive(Deserialize)]
struct Page<T> {
    #[serde(
        alias = "networks",
        alias = "ports",
        alias = "subnets",
        alias = "floatingips",
        alias = "security_groups",
        alias = "extensions"
    )]
    items: Vec<T>,
    #[serde(
        default,
        alias = "networks_links",
        alias = "ports_links",
        alias = "subnets_links",
        alias = "floatingips_links",
        alias = "security_groups_links"
    )]
    links: Vec<Link>,
}

#[derive(Deserialize)]
struct Link {
    rel: String,
}

#[derive(Deserialize)]
struct OneNetwork<T> {
    network: T,
}

#[derive(Deserialize)]
struct OnePort {
    port: Port,
}

#[derive(Deserialize)]
struct Extension {
    alias: String,
}

#[derive(Deserialize)]
struct Segments {
    #[serde(default)]
    segments: Option<Vec<ProviderNetwork>>,
}

#[derive(Deserialize)]
struct DnsDomain {
    #[serde(default)]
    dns_domain: Option<String>,
}

#[derive(Deserialize)]
struct Topology {
    auto_allocated_topology: TopologyId,
}

#[derive(Deserialize)]
struct TopologyId {
    id: String,
}

fn with_fields(request: Request, fields: &[&str]) -> Request {
    fields.iter().fold(request, |request, field| request.query("fields", *field))
}

impl Client {
    /// A client on an adapter of [`Service::Network`](crate::Service::Network).
    pub fn new(adapter: Adapter) -> Self {
        Self { adapter }
    }

    /// Networks, in Neutron's order.
    pub async fn networks(&self, caller: &Caller, filter: &NetworkFilter) -> Result<Vec<Network>, Error> {
        let request = Request::get(&["networks"])
            .query_some("tenant_id", filter.tenant_id.as_ref())
            .query_some("shared", filter.shared.map(python))
            .query_some("admin_state_up", filter.admin_state_up.map(python));
        self.some_at_once(caller, &request, "id", &filter.ids, |network: &Network| network.id.clone()).await
    }

    /// One network.
    pub async fn network(&self, caller: &Caller, network: &str) -> Result<Network, Error> {
        Ok(self.adapter.json::<OneNetwork<_>>(caller, Request::get(&["networks", network])).await?.network)
    }

    /// How a network is built; empty for those who may not see it.
    pub async fn provider_network(&self, caller: &Caller, network: &str) -> Result<ProviderNetwork, Error> {
        let fields = ["provider:physical_network", "provider:network_type"];
        self.network_fields(caller, network, &fields).await
    }

    /// The segments of a network built of several; `None` for an ordinary one.
    pub async fn network_segments(
        &self,
        caller: &Caller,
        network: &str,
    ) -> Result<Option<Vec<ProviderNetwork>>, Error> {
        Ok(self.network_fields::<Segments>(caller, network, &["segments"]).await?.segments)
    }

    /// The domain that names of the network's ports are published in; `None` where there is none.
    pub async fn network_dns_domain(&self, caller: &Caller, network: &str) -> Result<Option<String>, Error> {
        let network: DnsDomain = self.network_fields(caller, network, &["dns_domain"]).await?;
        Ok(network.dns_domain.filter(|domain| !domain.is_empty()))
    }

    async fn network_fields<T: DeserializeOwned>(
        &self,
        caller: &Caller,
        network: &str,
        fields: &[&str],
    ) -> Result<T, Error> {
        let request = with_fields(Request::get(&["networks", network]), fields);
        Ok(self.adapter.json::<OneNetwork<T>>(caller, request).await?.network)
    }

    /// Ports, in Neutron's order.
    pub async fn ports(&self, caller: &Caller, filter: &PortFilter) -> Result<Vec<Port>, Error> {
        let request = with_fields(Request::get(&["ports"]), filter.fields)
            .query_some("tenant_id", filter.tenant_id.as_ref())
            .query_some("network_id", filter.network_id.as_ref())
            .query_some("device_owner", filter.device_owner.as_ref())
            .query_some(
                "fixed_ips",
                filter.ip_address.as_ref().map(|address| format!("ip_address={address}")),
            );
        self.some_at_once(caller, &request, "device_id", &filter.device_ids, |port: &Port| port.id.clone())
            .await
    }

    /// One port; `fields` empty for all of it.
    pub async fn port(&self, caller: &Caller, port: &str, fields: &[&str]) -> Result<Port, Error> {
        let request = with_fields(Request::get(&["ports", port]), fields);
        Ok(self.adapter.json::<OnePort>(caller, request).await?.port)
    }

    /// Creates a port. [`Error::code`]: `InvalidIpForNetwork`, `IpAddressInUse`, `IpAddressAlreadyAllocated`,
    /// `OverQuota`, `IpAddressGenerationFailure`, …
    pub async fn create_port(&self, caller: &Caller, port: &NewPort) -> Result<Port, Error> {
        let request = Request::post(&["ports"]).json(&json!({ "port": port }))?;
        Ok(self.adapter.json::<OnePort>(caller, request).await?.port)
    }

    /// Changes a port. [`Error::code`]: `MacAddressInUse`, `HostNotCompatibleWithFixedIps`, …
    pub async fn update_port(&self, caller: &Caller, port: &str, update: &PortUpdate) -> Result<Port, Error> {
        let request =
            Request::put(&["ports", port]).json(&json!({ "port": update.document() }))?.idempotent();
        Ok(self.adapter.json::<OnePort>(caller, request).await?.port)
    }

    /// Deletes a port; false where it did not exist.
    pub async fn delete_port(&self, caller: &Caller, port: &str) -> Result<bool, Error> {
        let request = Request::delete(&["ports", port]).idempotent();
        Ok(found(self.adapter.empty(caller, request).await)?.is_some())
    }

    /// Subnets by their ids; unknown ones are left out. No ids, no subnets.
    pub async fn subnets(&self, caller: &Caller, ids: &[String]) -> Result<Vec<Subnet>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let request = Request::get(&["subnets"]);
        self.some_at_once(caller, &request, "id", ids, |subnet: &Subnet| subnet.id.clone()).await
    }

    /// The subnets of a network.
    pub async fn subnets_of(&self, caller: &Caller, network: &str) -> Result<Vec<Subnet>, Error> {
        let request = Request::get(&["subnets"]).query("network_id", network);
        self.list(caller, &request, |subnet: &Subnet| subnet.id.clone()).await
    }

    /// The floating addresses that lead to these ports; none where Neutron has no routers at all (404). No ports, no
    /// addresses.
    pub async fn floating_ips(&self, caller: &Caller, ports: &[String]) -> Result<Vec<FloatingIp>, Error> {
        if ports.is_empty() {
            return Ok(Vec::new());
        }
        let request = Request::get(&["floatingips"]);
        let id = |address: &FloatingIp| address.id.clone();
        let list = self.some_at_once(caller, &request, "port_id", ports, id).await;
        Ok(found(list)?.unwrap_or_default())
    }

    /// Aliases of the extensions that Neutron has.
    pub async fn extensions(&self, caller: &Caller) -> Result<BTreeSet<String>, Error> {
        let page: Page<Extension> = self.adapter.json(caller, Request::get(&["extensions"])).await?;
        Ok(page.items.into_iter().map(|extension| extension.alias).collect())
    }

    /// The security groups of a project, or (`shared`, with extension `security-groups-shared-filtering`)
    /// those shared with it.
    pub async fn security_groups(
        &self,
        caller: &Caller,
        tenant_id: Option<&str>,
        shared: bool,
    ) -> Result<Vec<SecurityGroup>, Error> {
        let request = with_fields(Request::get(&["security-groups"]), &["id", "name"])
            .query_some("tenant_id", tenant_id)
            .query_some("shared", shared.then_some("True"));
        self.list(caller, &request, |group: &SecurityGroup| group.id.clone()).await
    }

    /// Security groups by their ids; unknown ones are left out. No ids, no groups; none where Neutron has
    /// none at all (404).
    pub async fn security_groups_by_id(
        &self,
        caller: &Caller,
        ids: &[String],
    ) -> Result<Vec<SecurityGroup>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let request = with_fields(Request::get(&["security-groups"]), &["id", "name"]);
        let id = |group: &SecurityGroup| group.id.clone();
        let list = self.some_at_once(caller, &request, "id", ids, id).await;
        Ok(found(list)?.unwrap_or_default())
    }

    /// The network that Neutron makes for a project by itself. 404 or 409: it cannot.
    pub async fn auto_allocated_network(&self, caller: &Caller, project: &str) -> Result<String, Error> {
        let request = Request::get(&["auto-allocated-topology", project]);
        Ok(self.adapter.json::<Topology>(caller, request).await?.auto_allocated_topology.id)
    }

    /// A list of what has one of these ids in a field, some ids at a time; everything that `request` selects where there are
    /// none.
    async fn some_at_once<T: DeserializeOwned>(
        &self,
        caller: &Caller,
        request: &Request,
        field: &'static str,
        ids: &[String],
        id: impl Fn(&T) -> String,
    ) -> Result<Vec<T>, Error> {
        if ids.is_empty() {
            return self.list(caller, request, id).await;
        }
        let mut all = Vec::new();
        for chunk in ids.chunks(IDS_AT_ONCE) {
            let request = chunk.iter().fold(request.clone(), |request, id| request.query(field, id));
            all.extend(self.list(caller, &request, &id).await?);
        }
        Ok(all)
    }

    /// Follows a list to its end.
    async fn list<T: DeserializeOwned>(
        &self,
        caller: &Caller,
        request: &Request,
        id: impl Fn(&T) -> String,
    ) -> Result<Vec<T>, Error> {
        let mut all: Vec<T> = Vec::new();
        let mut marker: Option<String> = None;
        loop {
            let request = request.clone().query_some("marker", marker.as_ref());
            let page: Page<T> = self.adapter.json(caller, request).await?;
            let last = page.items.last().map(&id).filter(|id| !id.is_empty());
            all.extend(page.items);
            if last.is_none() || last == marker || !page.links.iter().any(|link| link.rel == "next") {
                return Ok(all);
            }
            marker = last;
        }
    }
}

/// A boolean as Neutron's own client writes it.
fn python(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}
