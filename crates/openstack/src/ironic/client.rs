//! Ironic's calls.
//!
//! All are made in the newest version that both sides know; a call that needs more than the service offers
//! fails with `Unsupported` before anything is sent. Answers of state changes (202) say only that the change
//! has begun.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, de::DeserializeOwned, de::IgnoredAny};
use uuid::Uuid;

use super::{
    node::{Node, NodeId, NodeQuery, Patch},
    parts::{Console, NewVolumeTarget, Port, PortGroup, Validation, VolumeConnector, VolumeTarget},
    state::{PowerTarget, ProvisionTarget},
};
use crate::{Adapter, Caller, Error, Request};

/// Page size of lists; Ironic grants no more by default (`[api] max_limit`).
const PAGE: u32 = 1000;

/// Ironic through an adapter. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    adapter: Adapter,
}

/// One page of any list.
#[derive(Deserialize)]
struct Page<T> {
    #[serde(alias = "nodes", alias = "ports", alias = "portgroups", alias = "targets", alias = "connectors")]
    items: Vec<T>,
    #[serde(default)]
    next: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Vifs {
    vifs: Vec<Vif>,
}

#[derive(Deserialize)]
struct Vif {
    id: String,
}

#[derive(Serialize)]
struct Provision<'a> {
    target: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    configdrive: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rescue_password: Option<&'a str>,
}

#[derive(Serialize)]
struct Power {
    target: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<u64>,
}

#[derive(Serialize)]
struct Attach<'a> {
    id: &'a str,
}

#[derive(Serialize)]
struct Enable {
    enabled: bool,
}

#[derive(Serialize)]
struct Nothing {}

fn get(segments: &[&str]) -> Request {
    Request::get(segments).at_least(1, 1)
}

fn put(segments: &[&str]) -> Request {
    Request::put(segments).at_least(1, 1)
}

fn delete(segments: &[&str]) -> Request {
    Request::delete(segments).at_least(1, 1)
}

/// `?fields=`, with the id that everything needs.
fn with_fields(request: Request, fields: &[&str]) -> Request {
    if fields.is_empty() {
        return request;
    }
    let mut list = fields.join(",");
    if !fields.contains(&"uuid") {
        list.push_str(",uuid");
    }
    request.query("fields", list)
}

/// The list request of a query, first page.
fn nodes_request(query: &NodeQuery) -> Request {
    let mut request = with_fields(get(&["nodes"]), query.fields);
    if query.conductor_group.is_some() {
        request = request.at_least(1, 46);
    }
    if query.shard.is_some() {
        request = request.at_least(1, 82);
    }
    request
        .query_some("conductor_group", query.conductor_group.as_ref())
        .query_some("shard", query.shard.as_ref())
        .query_some("provision_state", query.provision_state.as_ref().map(super::ProvisionState::as_str))
        .query_some("instance_uuid", query.instance_uuid)
        .query_some("associated", query.associated)
        .query("limit", query.limit.unwrap_or(PAGE).to_string())
}

impl Client {
    /// A client on an adapter of [`Service::Baremetal`](crate::Service::Baremetal).
    pub fn new(adapter: Adapter) -> Self {
        Self { adapter }
    }

    /// All nodes that match, page after page. A node that is created or deleted meanwhile may be missing or
    /// doubled.
    pub async fn nodes(&self, caller: &Caller, query: &NodeQuery) -> Result<Vec<Node>, Error> {
        self.list(caller, &nodes_request(query), |node: &Node| node.uuid.0).await
    }

    /// One node; `fields` empty for all of it.
    pub async fn node(&self, caller: &Caller, node: NodeId, fields: &[&str]) -> Result<Node, Error> {
        self.adapter.json(caller, with_fields(get(&["nodes", &node.to_string()]), fields)).await
    }

    /// The node that carries an instance, if any.
    pub async fn node_by_instance(
        &self,
        caller: &Caller,
        instance: Uuid,
        fields: &[&str],
    ) -> Result<Option<Node>, Error> {
        let request = with_fields(get(&["nodes"]), fields).query("instance_uuid", instance.to_string());
        let page: Page<Node> = self.adapter.json(caller, request).await?;
        Ok(page.items.into_iter().next())
    }

    /// Changes a node's record and returns it whole. 409: locked by a conductor; or another node has the
    /// `instance_uuid`.
    pub async fn patch_node(&self, caller: &Caller, node: NodeId, patch: &[Patch]) -> Result<Node, Error> {
        let request = Request::patch(&["nodes", &node.to_string()]).at_least(1, 1).json(&patch)?;
        self.adapter.json(caller, request).await
    }

    /// Begins a change of the provision state. 400: not possible from the state it is in; 409: locked.
    ///
    /// `configdrive` is the gzipped image in base64; it goes with `Active` and, from 1.35, `Rebuild`.
    /// `rescue_password` goes with `Rescue` (1.38).
    pub async fn set_provision_state(
        &self,
        caller: &Caller,
        node: NodeId,
        target: ProvisionTarget,
        configdrive: Option<&SecretString>,
        rescue_password: Option<&SecretString>,
    ) -> Result<(), Error> {
        let mut request = put(&["nodes", &node.to_string(), "states", "provision"]);
        request = match target {
            ProvisionTarget::Rebuild if configdrive.is_some() => request.at_least(1, 35),
            ProvisionTarget::Rescue | ProvisionTarget::Unrescue => request.at_least(1, 38),
            _ => request,
        };
        let body = Provision {
            target: target.as_str(),
            configdrive: configdrive.map(ExposeSecret::expose_secret),
            rescue_password: rescue_password.map(ExposeSecret::expose_secret),
        };
        self.adapter.empty(caller, request.json(&body)?).await
    }

    /// Begins a change of the power state. 400: the hardware type cannot do the soft ones; 409: locked.
    ///
    /// `timeout` is how long Ironic gives the change, in whole seconds and at least one; its own default otherwise.
    pub async fn set_power_state(
        &self,
        caller: &Caller,
        node: NodeId,
        target: PowerTarget,
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
        let request = put(&["nodes", &node.to_string(), "states", "power"]);
        let is_soft = matches!(target, PowerTarget::SoftOff | PowerTarget::SoftReboot);
        let request = if is_soft || timeout.is_some() { request.at_least(1, 27) } else { request };
        let timeout = timeout.map(|timeout| timeout.as_secs().max(1));
        self.adapter.empty(caller, request.json(&Power { target: target.as_str(), timeout })?).await
    }

    /// Whether the node's interfaces are usable.
    pub async fn validate(&self, caller: &Caller, node: NodeId) -> Result<Validation, Error> {
        self.adapter.json(caller, get(&["nodes", &node.to_string(), "validate"])).await
    }

    /// The Neutron ports attached to a node.
    pub async fn vifs(&self, caller: &Caller, node: NodeId) -> Result<Vec<String>, Error> {
        let request = get(&["nodes", &node.to_string(), "vifs"]).at_least(1, 28);
        let vifs: Vifs = self.adapter.json(caller, request).await?;
        Ok(vifs.vifs.into_iter().map(|vif| vif.id).collect())
    }

    /// Attaches a Neutron port to a free network card. 409: attached already, or locked; 400: no card fits.
    pub async fn attach_vif(&self, caller: &Caller, node: NodeId, vif: &str) -> Result<(), Error> {
        let request = Request::post(&["nodes", &node.to_string(), "vifs"]).at_least(1, 28);
        self.adapter.empty(caller, request.json(&Attach { id: vif })?).await
    }

    /// Detaches a Neutron port. 400: it is not attached; 409: locked.
    pub async fn detach_vif(&self, caller: &Caller, node: NodeId, vif: &str) -> Result<(), Error> {
        self.adapter.empty(caller, delete(&["nodes", &node.to_string(), "vifs", vif]).at_least(1, 28)).await
    }

    /// A node's network cards; `detail` for all fields, else only id and address.
    pub async fn ports(&self, caller: &Caller, node: NodeId, detail: bool) -> Result<Vec<Port>, Error> {
        let path: &[&str] = if detail { &["ports", "detail"] } else { &["ports"] };
        self.list(caller, &get(path).query("node", node.to_string()), |port: &Port| port.uuid).await
    }

    /// The network cards with this MAC address (one or none), in detail.
    pub async fn ports_by_address(&self, caller: &Caller, address: &str) -> Result<Vec<Port>, Error> {
        self.list(caller, &get(&["ports", "detail"]).query("address", address), |port: &Port| port.uuid).await
    }

    /// A node's port groups, in detail.
    pub async fn port_groups(&self, caller: &Caller, node: NodeId) -> Result<Vec<PortGroup>, Error> {
        let request = get(&["portgroups", "detail"]).at_least(1, 26).query("node", node.to_string());
        self.list(caller, &request, |group: &PortGroup| group.uuid).await
    }

    /// The port groups with this MAC address (one or none), in detail.
    pub async fn port_groups_by_address(
        &self,
        caller: &Caller,
        address: &str,
    ) -> Result<Vec<PortGroup>, Error> {
        let request = get(&["portgroups", "detail"]).at_least(1, 26).query("address", address);
        self.list(caller, &request, |group: &PortGroup| group.uuid).await
    }

    /// A node's volume targets, in detail.
    pub async fn volume_targets(&self, caller: &Caller, node: NodeId) -> Result<Vec<VolumeTarget>, Error> {
        let request = get(&["volume", "targets"]).at_least(1, 32).query("node", node.to_string());
        self.list(caller, &request.query("detail", "true"), |target: &VolumeTarget| target.uuid).await
    }

    /// A node's volume connectors, in detail.
    pub async fn volume_connectors(
        &self,
        caller: &Caller,
        node: NodeId,
    ) -> Result<Vec<VolumeConnector>, Error> {
        let request = get(&["volume", "connectors"]).at_least(1, 32).query("node", node.to_string());
        self.list(caller, &request.query("detail", "true"), |connector: &VolumeConnector| connector.uuid)
            .await
    }

    /// Tells Ironic of a volume. 409: the node has a target with this `boot_index`; 400: refused.
    pub async fn create_volume_target(
        &self,
        caller: &Caller,
        target: &NewVolumeTarget,
    ) -> Result<VolumeTarget, Error> {
        let request = Request::post(&["volume", "targets"]).at_least(1, 32).json(target)?;
        self.adapter.json(caller, request).await
    }

    /// Forgets a volume. 404: unknown; 400: the node is powered on.
    pub async fn delete_volume_target(&self, caller: &Caller, target: Uuid) -> Result<(), Error> {
        self.adapter.empty(caller, delete(&["volume", "targets", &target.to_string()]).at_least(1, 32)).await
    }

    /// A node's console.
    pub async fn console(&self, caller: &Caller, node: NodeId) -> Result<Console, Error> {
        self.adapter.json(caller, get(&["nodes", &node.to_string(), "states", "console"])).await
    }

    /// Begins to enable or disable a node's console. 400: it has none.
    pub async fn set_console(&self, caller: &Caller, node: NodeId, enabled: bool) -> Result<(), Error> {
        let request = put(&["nodes", &node.to_string(), "states", "console"]).json(&Enable { enabled })?;
        self.adapter.empty(caller, request).await
    }

    /// Sends a non-maskable interrupt, for a crash dump. 400: the hardware type cannot do it.
    pub async fn inject_nmi(&self, caller: &Caller, node: NodeId) -> Result<(), Error> {
        let request = put(&["nodes", &node.to_string(), "management", "inject_nmi"]).at_least(1, 29);
        self.adapter.empty(caller, request.json(&Nothing {})?).await
    }

    /// Follows a list to its end.
    async fn list<T: DeserializeOwned>(
        &self,
        caller: &Caller,
        request: &Request,
        id: impl Fn(&T) -> Uuid,
    ) -> Result<Vec<T>, Error> {
        let mut all: Vec<T> = Vec::new();
        let mut marker: Option<Uuid> = None;
        loop {
            let request = request.clone().query_some("marker", marker);
            let page: Page<T> = self.adapter.json(caller, request).await?;
            let last = page.items.last().map(&id);
            all.extend(page.items);
            if page.next.is_none() || last.is_none() || last == marker {
                return Ok(all);
            }
            marker = last;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Version, ironic::ProvisionState, request::ApiVersion};

    #[test]
    fn a_query_says_what_it_filters_and_which_version_it_needs() {
        let request = nodes_request(&NodeQuery {
            fields: &["power_state"],
            conductor_group: Some(String::new()),
            shard: Some("s".into()),
            provision_state: Some(ProvisionState::WaitCallBack),
            associated: Some(true),
            ..NodeQuery::default()
        });
        let url = request.url(&url::Url::parse("http://i/v1").unwrap()).unwrap();
        assert_eq!(
            url.as_str(),
            "http://i/v1/nodes?fields=power_state%2Cuuid&conductor_group=&shard=s&provision_state=wait+call-back\
             &associated=true&limit=1000"
        );
        assert_eq!(request.version, Version::Newest { at_least: ApiVersion::new(1, 82) });
    }

    #[test]
    fn secrets_are_left_out_of_the_body_where_there_are_none() {
        let body = Provision { target: "deleted", configdrive: None, rescue_password: None };
        assert_eq!(serde_json::to_string(&body).unwrap(), r#"{"target":"deleted"}"#);
    }
}
