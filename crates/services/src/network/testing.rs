//! A small Neutron over HTTP, and a ledger that keeps the entries of ports.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use compute::origin::Origin;
use compute::request::NetworkRequests;
use driver::NodeId;
use openstack::{Adapter, AdapterOptions, Auth, Service, Session, SessionOptions};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::*;
use compute::testing;

pub const NET: &str = "5058945c-91c2-42a7-aa3c-a8f779852e7d";
pub const SUBNET: &str = "7090745b-0fef-4c69-a304-f623269ffda3";

#[derive(Default)]
pub struct Neutron {
    pub ports: Vec<Value>,
    pub networks: Vec<Value>,
    pub extensions: Vec<&'static str>,
    pub floating: Vec<Value>,
    pub groups: Vec<Value>,
    /// The nth request of this method from now on fails so.
    pub fail: Option<(&'static str, u32, u16, &'static str)>,
    /// Requests of this method are never answered.
    pub hang: Option<&'static str>,
    made: u32,
    log: Vec<String>,
}

impl Neutron {
    pub fn port(&self, id: &str) -> Value {
        self.ports.iter().find(|port| port["id"] == id).cloned().unwrap()
    }
}

/// An entry: the port's id and its tag.
pub type Row = (String, Option<String>);

pub struct Lab {
    pub networks: Networks,
    state: Arc<Shared>,
    ledger: Arc<Rows>,
}

#[derive(Default)]
struct Shared {
    neutron: Mutex<Neutron>,
    hung: Notify,
}

impl Lab {
    pub fn neutron(&self) -> MutexGuard<'_, Neutron> {
        self.state.neutron.lock().unwrap()
    }

    /// What was asked since the last look, by whom.
    pub fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.neutron().log)
    }

    pub async fn hung(&self) {
        self.state.hung.notified().await;
    }

    pub fn rows(&self) -> Vec<Row> {
        let rows = self.ledger.0.lock().unwrap();
        rows.iter().map(|(_, port, tag)| (port.clone(), tag.clone())).collect()
    }
}

pub async fn lab() -> Lab {
    let state = Arc::new(Shared::default());
    let project = testing::instance().project_id;
    state.neutron.lock().unwrap().networks.push(json!({"id": NET, "name": "smoke-net", "tenant_id": project,
        "mtu": 1500, "subnets": [SUBNET], "shared": false, "admin_state_up": true, "router:external": false,
        "port_security_enabled": true}));
    let app = Router::new().fallback(answer).with_state(Arc::clone(&state));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let session = Session::new(SessionOptions::new(Auth::None { endpoint: None })).unwrap();
    let adapter = Adapter::new(session, Service::Network, AdapterOptions::at(address));
    let ledger = Arc::new(Rows::default());
    let networks = Networks::new(Client::new(adapter), ledger.clone(), Options::default());
    Lab { networks, state, ledger }
}

/// A build of a user.
pub fn build(networks: NetworkRequests) -> BuildRequest {
    let mut context = RequestContext::admin();
    context.is_admin = false;
    context.auth_token = Some("user".into());
    BuildRequest {
        context,
        instance: testing::instance(),
        node: NodeId(Uuid::from_u128(1)),
        image_traits: Vec::new(),
        image_id: None,
        admin_password: None,
        injected_files: Vec::new(),
        networks,
        security_groups: vec!["default".into()],
        block_devices: Vec::new(),
        provider_mapping: BTreeMap::new(),
        server_group: None,
        may_reschedule: true,
        origin: Origin(Value::Null),
    }
}

/// A port that the user made beforehand.
pub fn given(lab: &Lab) -> String {
    let id = Uuid::from_u128(77).to_string();
    let project = testing::instance().project_id;
    lab.neutron().ports.push(json!({"id": id, "network_id": NET, "tenant_id": project, "device_id": "",
        "device_owner": "", "mac_address": "fa:16:3e:00:00:77", "status": "DOWN", "admin_state_up": true,
        "fixed_ips": [{"subnet_id": SUBNET, "ip_address": "10.88.0.77"}], "binding:vif_type": "unbound",
        "binding:vnic_type": "normal", "binding:profile": {"mine": 1}}));
    id
}

fn refuse(status: u16, kind: &str) -> Response {
    let body = json!({"NeutronError": {"type": kind, "message": "no", "detail": ""}});
    (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
}

async fn answer(
    State(state): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> Response {
    let token = headers.get("x-auth-token").and_then(|token| token.to_str().ok());
    let hangs = {
        let mut neutron = state.neutron.lock().unwrap();
        neutron.log.push(format!("{} {method} {uri}", token.unwrap_or("own")));
        neutron.hang == Some(method.as_str())
    };
    if hangs {
        state.hung.notify_one();
        std::future::pending::<()>().await;
    }
    if token == Some("ended") {
        return refuse(401, "HTTPUnauthorized");
    }
    let mut neutron = state.neutron.lock().unwrap();
    if let Some((failing, nth, status, kind)) = neutron.fail
        && failing == method.as_str()
    {
        neutron.fail = (nth > 1).then_some((failing, nth - 1, status, kind));
        if nth == 1 {
            return refuse(status, kind);
        }
    }
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    let query: Vec<(String, String)> = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.replace("%3A", ":").replace("%3D", "=")))
        .collect();
    neutron.answer(method.as_str(), uri.path().trim_start_matches("/v2.0/"), &query, &body)
}

impl Neutron {
    fn answer(&mut self, method: &str, path: &str, query: &[(String, String)], body: &Value) -> Response {
        let path: Vec<&str> = path.split('/').collect();
        match (method, path.as_slice()) {
            ("GET", ["extensions"]) => {
                let list: Vec<Value> = self.extensions.iter().map(|alias| json!({"alias": alias})).collect();
                Json(json!({ "extensions": list })).into_response()
            }
            ("GET", ["networks"]) => Json(json!({"networks": select(&self.networks, query)})).into_response(),
            ("GET", ["networks", id]) => {
                let network = self.networks.iter().find(|network| network["id"] == *id).cloned();
                let Some(mut network) = network else { return refuse(404, "NetworkNotFound") };
                network["provider:physical_network"] = json!("physnet1");
                network["provider:network_type"] = json!("vlan");
                Json(json!({ "network": network })).into_response()
            }
            ("GET", ["subnets"]) => {
                Json(json!({"subnets": [{"id": SUBNET, "network_id": NET, "ip_version": 4,
                "cidr": "10.88.0.0/24", "gateway_ip": "10.88.0.1", "enable_dhcp": false}]}))
                .into_response()
            }
            ("GET", ["floatingips"]) => {
                Json(json!({"floatingips": select(&self.floating, query)})).into_response()
            }
            ("GET", ["security-groups"]) => {
                let ids: Vec<_> = query.iter().filter(|(key, _)| key == "id").cloned().collect();
                Json(json!({"security_groups": select(&self.groups, &ids)})).into_response()
            }
            ("GET", ["ports"]) => {
                let (address, query): (Vec<_>, Vec<_>) =
                    query.iter().cloned().partition(|(key, _)| key == "fixed_ips");
                let mut ports = select(&self.ports, &query);
                if let Some((_, wanted)) = address.first() {
                    ports.retain(|port| addresses(port).any(|ip| wanted.ends_with(&format!("={ip}"))));
                }
                Json(json!({ "ports": ports })).into_response()
            }
            ("POST", ["ports"]) => {
                let mut port = body["port"].clone();
                let wanted = port["fixed_ips"][0]["ip_address"].as_str().map(str::to_owned);
                let ip = wanted.unwrap_or_else(|| format!("10.88.0.{}", 10 + self.made));
                self.made += 1;
                for (key, value) in [
                    ("id", json!(Uuid::from_u128(1000 + u128::from(self.made)))),
                    ("device_owner", json!("")),
                    ("mac_address", json!(format!("fa:16:3e:00:00:{:02x}", self.made))),
                    ("status", json!("DOWN")),
                    ("binding:vif_type", json!("unbound")),
                    ("binding:vnic_type", json!("normal")),
                    ("fixed_ips", json!([{"subnet_id": SUBNET, "ip_address": ip}])),
                ] {
                    port[key] = value;
                }
                if let [group, ..] = self.groups.as_slice() {
                    assert_eq!(port["security_groups"], json!([group["id"]]));
                }
                self.ports.push(port.clone());
                (StatusCode::CREATED, Json(json!({ "port": port }))).into_response()
            }
            (_, ["ports", id]) => {
                let Some(at) = self.ports.iter().position(|port| port["id"] == *id) else {
                    return refuse(404, "PortNotFound");
                };
                if method == "DELETE" {
                    self.ports.remove(at);
                    return StatusCode::NO_CONTENT.into_response();
                }
                for (key, value) in body["port"].as_object().into_iter().flatten() {
                    self.ports[at][key] = value.clone();
                }
                let new = self.ports[at]["fixed_ips"].as_array_mut().into_iter().flatten();
                for (number, ip) in new.filter(|ip| ip.get("ip_address").is_none()).enumerate() {
                    ip["ip_address"] = json!(format!("10.88.0.{}", 100 + number));
                }
                Json(json!({ "port": self.ports[at] })).into_response()
            }
            ("GET", ["auto-allocated-topology", _]) => refuse(409, "AutoAllocationFailure"),
            other => panic!("{other:?}"),
        }
    }
}

fn addresses(port: &Value) -> impl Iterator<Item = &str> {
    port["fixed_ips"].as_array().into_iter().flatten().filter_map(|ip| ip["ip_address"].as_str())
}

/// Those whose fields have one of the values that the query names for them.
fn select(list: &[Value], query: &[(String, String)]) -> Vec<Value> {
    let plain = |value: &Value| match value {
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let fits = |document: &Value| {
        query.iter().filter(|(key, _)| key != "fields").all(|(key, _)| {
            query.iter().any(|(other, value)| other == key && plain(&document[key]) == *value)
        })
    };
    list.iter().filter(|document| fits(document)).cloned().collect()
}

/// Instance, port and tag of each entry.
#[derive(Default)]
struct Rows(Mutex<Vec<(InstanceId, String, Option<String>)>>);

#[async_trait]
impl PortLedger for Rows {
    async fn recorded(&self, _: &RequestContext, instance: InstanceId) -> ports::Result<Vec<String>> {
        let rows = self.0.lock().unwrap();
        Ok(rows.iter().filter(|(of, ..)| *of == instance).map(|(_, port, _)| port.clone()).collect())
    }

    async fn record(
        &self,
        _: &RequestContext,
        instance: InstanceId,
        port: &Port,
        tag: Option<&str>,
    ) -> ports::Result<()> {
        let mut rows = self.0.lock().unwrap();
        assert!(rows.iter().all(|(_, known, _)| *known != port.id), "{} has an entry", port.id);
        rows.push((instance, port.id.clone(), tag.map(str::to_owned)));
        Ok(())
    }

    async fn forget_port(&self, _: &RequestContext, _: InstanceId, port: &str) -> ports::Result<()> {
        self.0.lock().unwrap().retain(|(_, known, _)| *known != *port);
        Ok(())
    }

    async fn forget(&self, _: &RequestContext, instance: InstanceId) -> ports::Result<()> {
        self.0.lock().unwrap().retain(|(of, ..)| *of != instance);
        Ok(())
    }
}
