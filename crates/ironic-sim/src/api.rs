//! The REST API: one synchronous function from a request to an answer, over the locked world.

mod document;
mod facets;
mod nodes;
mod parts;
mod ports;
mod states;
mod vifs;
mod volumes;

use std::sync::MutexGuard;

use serde_json::{Map, Value, json};
use uuid::Uuid;

pub(crate) use self::nodes::NODE_ID;
pub(crate) use self::ports::PORT_ID;
use crate::engine::Engine;
use crate::machine::State;
use crate::refusal::Refusal;
use crate::world::{Record, World};

/// A request, taken apart.
pub(crate) struct Incoming {
    pub method: String,
    /// Segments of the path, without version and outer slashes.
    pub path: Vec<String>,
    pub query: Vec<(String, String)>,
    pub body: Value,
    /// The microversion asked for, 1.x.
    pub minor: u32,
}

impl Incoming {
    pub fn query(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// A boolean of the query, as oslo reads them.
    fn flag(&self, key: &str) -> Option<bool> {
        let value = self.query(key)?.to_lowercase();
        Some(matches!(value.as_str(), "true" | "1" | "yes" | "on" | "t" | "y"))
    }

    fn fields(&self) -> Option<Vec<&str>> {
        Some(self.query("fields")?.split(',').map(str::trim).collect())
    }

    fn limit(&self, max: usize) -> Result<usize, Refusal> {
        match self.query("limit").map(str::parse::<usize>) {
            None => Ok(max),
            Some(Ok(0)) => Err(Refusal::invalid("Limit must be positive")),
            Some(Ok(limit)) => Ok(limit.min(max)),
            Some(Err(_)) => Err(Refusal::invalid("Expected an integer for limit")),
        }
    }

    fn marker(&self) -> Result<Option<Uuid>, Refusal> {
        self.query("marker").map(uuid).transpose()
    }

    fn text(&self, key: &str) -> Option<String> {
        self.body[key].as_str().map(str::to_owned)
    }

    fn object(&self, key: &str) -> Map<String, Value> {
        self.body[key].as_object().cloned().unwrap_or_default()
    }
}

/// A good answer.
pub(crate) struct Reply {
    pub status: u16,
    pub body: Option<Value>,
    /// Path of the resource, below the root.
    pub location: Option<String>,
}

impl Reply {
    fn json(body: Value) -> Self {
        Self { status: 200, body: Some(body), location: None }
    }

    fn created(body: Value, location: String) -> Self {
        Self { status: 201, body: Some(body), location: Some(location) }
    }

    fn accepted(location: Option<String>) -> Self {
        Self { status: 202, body: None, location }
    }

    fn no_content() -> Self {
        Self { status: 204, body: None, location: None }
    }
}

type Answer = Result<Reply, Refusal>;

/// The body of an error as Ironic sends it: JSON text inside of JSON
/// (`ironic/api/middleware/parsable_error.py`).
pub fn error_body(status: u16, text: &str) -> String {
    let code = if status < 500 { "Client" } else { "Server" };
    let fault = json!({"faultcode": code, "faultstring": text, "debuginfo": null});
    json!({"error_message": fault.to_string()}).to_string()
}

/// Does what a request asks for.
pub(crate) fn dispatch(engine: &Engine, req: &Incoming) -> Answer {
    let path: Vec<&str> = req.path.iter().map(String::as_str).collect();
    let mut cx = Context { engine, req, world: engine.world() };
    match path.as_slice() {
        [] => Ok(Reply::json(versions(cx.base(), cx.world.config.max_minor))),
        ["v1"] => Ok(Reply::json(version_one(cx.base(), cx.world.config.max_minor))),
        ["nodes"] if req.method == "POST" => nodes::create(&mut cx),
        ["nodes"] => nodes::list(&cx, req.flag("detail") == Some(true)),
        ["nodes", "detail"] => nodes::list(&cx, true),
        ["nodes", ident, rest @ ..] => {
            let Some(id) = cx.world.find(ident).filter(|r| !r.node.hidden).map(|r| r.node.uuid) else {
                return Err(Refusal::no_node(ident));
            };
            of_node(&mut cx, id, ident, rest)
        }
        ["ports", rest @ ..] => ports::ports(&mut cx, None, rest),
        ["portgroups", rest @ ..] => ports::groups(&mut cx, None, rest),
        ["volume", "connectors", rest @ ..] => volumes::connectors(&mut cx, None, rest),
        ["volume", "targets", rest @ ..] => volumes::targets(&mut cx, None, rest),
        _ => Err(Refusal::not_found()),
    }
}

fn of_node(cx: &mut Context<'_>, id: Uuid, ident: &str, rest: &[&str]) -> Answer {
    match (cx.req.method.as_str(), rest) {
        ("GET", []) => nodes::show(cx, id),
        ("PATCH", []) => nodes::patch(cx, id, ident),
        ("DELETE", []) => nodes::delete(cx, id),
        ("GET", ["validate"]) => facets::validate(cx, id),
        ("PUT", ["maintenance"]) => facets::maintenance(cx, id, true),
        ("DELETE", ["maintenance"]) => facets::maintenance(cx, id, false),
        (_, ["traits", one @ ..]) => facets::traits(cx, id, one),
        ("GET", ["states"]) => states::show(cx, id),
        ("PUT", ["states", "provision"]) => states::provision(cx, id, ident),
        ("PUT", ["states", "power"]) => states::power(cx, id, ident),
        ("GET", ["states", "console"]) => states::console(cx, id),
        ("PUT", ["states", "console"]) => states::set_console(cx, id, ident),
        ("PUT", ["management", "inject_nmi"]) => facets::inject_nmi(cx, id),
        ("GET", ["vifs"]) => vifs::list(cx, id),
        ("POST", ["vifs"]) => vifs::attach(cx, id),
        ("DELETE", ["vifs", vif]) => vifs::detach(cx, id, vif),
        (_, ["ports", more @ ..]) => ports::ports(cx, Some(id), more),
        (_, ["portgroups", more @ ..]) => ports::groups(cx, Some(id), more),
        (_, ["volume", "connectors", more @ ..]) => volumes::connectors(cx, Some(id), more),
        (_, ["volume", "targets", more @ ..]) => volumes::targets(cx, Some(id), more),
        _ => Err(Refusal::not_found()),
    }
}

/// What every handler works with.
struct Context<'a> {
    engine: &'a Engine,
    req: &'a Incoming,
    world: MutexGuard<'a, World>,
}

impl Context<'_> {
    fn base(&self) -> &str {
        &self.engine.base
    }

    /// The record of a node that was just found by its path.
    fn record(&self, id: Uuid) -> Result<&Record, Refusal> {
        self.world.get(id).ok_or_else(|| Refusal::no_node(&id.to_string()))
    }

    /// Changes the node, unless a conductor holds its lock.
    fn edit<T>(&mut self, id: Uuid, change: impl FnOnce(&mut Record) -> T) -> Result<T, Refusal> {
        self.unlocked(id)?;
        self.world.edit(id, change).ok_or_else(|| Refusal::no_node(&id.to_string()))
    }

    fn unlocked(&self, id: Uuid) -> Result<(), Refusal> {
        match &self.record(id)?.node.reservation {
            Some(host) => Err(Refusal::locked(&id.to_string(), host)),
            None => Ok(()),
        }
    }

    fn links(&self, kind: &str, id: impl std::fmt::Display) -> Value {
        links(self.base(), kind, id)
    }
}

fn links(base: &str, kind: &str, id: impl std::fmt::Display) -> Value {
    json!([
        {"href": format!("{base}/v1/{kind}/{id}"), "rel": "self"},
        {"href": format!("{base}/{kind}/{id}"), "rel": "bookmark"},
    ])
}

fn uuid(text: &str) -> Result<Uuid, Refusal> {
    text.parse().map_err(|_| Refusal::invalid(format!("Expected a UUID but received {text}.")))
}

fn state(text: &str) -> Result<State, Refusal> {
    text.parse().map_err(|_| Refusal::invalid(format!("Provision state \"{text}\" is not valid")))
}

fn version(base: &str, max_minor: u32) -> Value {
    json!({
        "id": "v1", "links": [{"href": format!("{base}/v1/"), "rel": "self"}], "status": "CURRENT",
        "min_version": "1.1", "version": format!("1.{max_minor}"),
    })
}

fn versions(base: &str, max_minor: u32) -> Value {
    let version = version(base, max_minor);
    json!({
        "name": "OpenStack Ironic API",
        "description": "Ironic is an OpenStack project which enables the provision and management of baremetal \
                        machines.",
        "default_version": version, "versions": [version],
    })
}

fn version_one(base: &str, max_minor: u32) -> Value {
    let mut doc = json!({
        "id": "v1",
        "links": [{"href": format!("{base}/v1/"), "rel": "self"}],
        "media_types": {"base": "application/json", "type": "application/vnd.openstack.ironic.v1+json"},
        "version": version(base, max_minor),
    });
    for kind in ["nodes", "ports", "portgroups", "volume"] {
        doc[kind] = json!([
            {"href": format!("{base}/v1/{kind}/"), "rel": "self"},
            {"href": format!("{base}/{kind}/"), "rel": "bookmark"},
        ]);
    }
    doc
}
