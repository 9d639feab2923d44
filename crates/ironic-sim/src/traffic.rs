//! What passes between a client and the simulator: the record of each request, and the faults put in its way.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

/// A request by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Call {
    /// The version documents.
    Versions,
    /// `GET /v1/nodes` and `/v1/nodes/detail`.
    ListNodes,
    /// `GET /v1/nodes/{node}`.
    GetNode,
    /// `POST /v1/nodes`.
    CreateNode,
    /// `PATCH /v1/nodes/{node}`.
    PatchNode,
    /// `DELETE /v1/nodes/{node}`.
    DeleteNode,
    /// `GET /v1/nodes/{node}/validate`.
    Validate,
    /// `GET /v1/nodes/{node}/states`.
    GetStates,
    /// `PUT /v1/nodes/{node}/states/provision`.
    SetProvision,
    /// `PUT /v1/nodes/{node}/states/power`.
    SetPower,
    /// `GET /v1/nodes/{node}/states/console`.
    GetConsole,
    /// `PUT /v1/nodes/{node}/states/console`.
    SetConsole,
    /// `PUT` and `DELETE /v1/nodes/{node}/maintenance`.
    Maintenance,
    /// Anything below `/v1/nodes/{node}/traits`.
    Traits,
    /// Anything below `/v1/nodes/{node}/management`.
    Management,
    /// `GET /v1/nodes/{node}/vifs`.
    ListVifs,
    /// `POST /v1/nodes/{node}/vifs`.
    AttachVif,
    /// `DELETE /v1/nodes/{node}/vifs/{port}`.
    DetachVif,
    /// Anything about ports.
    Ports,
    /// Anything about port groups.
    PortGroups,
    /// `GET /v1/volume/connectors`.
    ListConnectors,
    /// `POST /v1/volume/connectors`.
    CreateConnector,
    /// `DELETE /v1/volume/connectors/{id}`.
    DeleteConnector,
    /// `GET /v1/volume/targets`.
    ListTargets,
    /// `POST /v1/volume/targets`.
    CreateTarget,
    /// `DELETE /v1/volume/targets/{id}`.
    DeleteTarget,
    /// Anything else.
    Other,
}

/// A request as it came. The same value goes to the hook twice: before the work (`status` is none) and after
/// it.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Counts from 1, in the order of arrival.
    pub number: u64,
    /// Its name.
    pub call: Call,
    /// The HTTP method.
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// The query as it came; empty without one.
    pub query: String,
    /// The body's length in bytes.
    pub body_len: usize,
    /// The node named in the path or in `?node=`, by uuid or name.
    pub node: Option<String>,
    /// What was asked for: the `target` of a provision or power change; the paths of a patch,
    /// comma-separated; the VIF attached.
    pub detail: Option<String>,
    /// The answer's status; none while the work is not done, or when the connection was cut before it.
    pub status: Option<u16>,
}

impl Recorded {
    /// Method and path with every id as `{}`: what requests are counted by.
    pub fn shape(&self) -> String {
        let path = self.path.split('/').map(|s| if s.parse::<Uuid>().is_ok() { "{}" } else { s });
        format!("{} {}", self.method, path.collect::<Vec<_>>().join("/"))
    }

    /// True for the visit to the hook that comes before the work.
    pub fn is_before(&self) -> bool {
        self.status.is_none()
    }
}

/// What a hook wants done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Go on.
    Go,
    /// Cut the connection: before the work, nothing is done; after it, the answer is lost.
    Drop,
    /// Never answer, and keep the connection.
    Hang,
}

/// A hook on every request.
pub type Hook = Box<dyn Fn(&Recorded) -> Action + Send + Sync>;

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// This answer instead of the work; the body goes out as it is (see [`crate::error_body`]).
    Status(u16, String),
    /// The connection is cut before the work.
    Drop,
    /// The work is done, the answer lost.
    DropAfter,
    /// The work begins this much later.
    Delay(Duration),
    /// The work is done, and its answer comes this much later: it shows how things were.
    DelayAfter(Duration),
    /// 409 "is locked by host", as from a busy node.
    Locked,
}

/// A fault that waits for its requests.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The requests that it waits for.
    pub matcher: Matcher,
    /// How often it strikes; `u32::MAX` for ever.
    pub times: u32,
    /// What goes wrong.
    pub kind: Kind,
}

impl Fault {
    /// A fault that strikes once.
    pub fn once(matcher: Matcher, kind: Kind) -> Self {
        Self { matcher, times: 1, kind }
    }
}

type Predicate = Arc<dyn Fn(&Recorded) -> bool + Send + Sync>;

/// Which requests a fault strikes: all conditions set must hold.
#[derive(Clone, Default)]
pub struct Matcher {
    call: Option<Call>,
    method: Option<String>,
    path: Option<String>,
    node: Option<Uuid>,
    detail: Option<String>,
    predicate: Option<Predicate>,
    skip: u32,
}

impl Matcher {
    /// Every request.
    pub fn any() -> Self {
        Self::default()
    }

    /// Requests of this name.
    pub fn call(call: Call) -> Self {
        Self { call: Some(call), ..Self::default() }
    }

    /// Requests with this HTTP method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Requests whose path contains this text.
    #[must_use]
    pub fn path(mut self, part: &str) -> Self {
        self.path = Some(part.to_owned());
        self
    }

    /// Requests about this node, named by its uuid.
    #[must_use]
    pub fn node(mut self, node: Uuid) -> Self {
        self.node = Some(node);
        self
    }

    /// Requests whose [`Recorded::detail`] contains this text.
    #[must_use]
    pub fn detail(mut self, part: &str) -> Self {
        self.detail = Some(part.to_owned());
        self
    }

    /// Requests that satisfy the predicate.
    #[must_use]
    pub fn when(mut self, predicate: impl Fn(&Recorded) -> bool + Send + Sync + 'static) -> Self {
        self.predicate = Some(Arc::new(predicate));
        self
    }

    /// Lets this many matching requests pass first.
    #[must_use]
    pub fn after(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    fn matches(&self, request: &Recorded) -> bool {
        let node = self.node.map(|n| n.to_string());
        self.call.is_none_or(|c| c == request.call)
            && self.method.as_ref().is_none_or(|m| *m == request.method)
            && self.path.as_ref().is_none_or(|p| request.path.contains(p))
            && (node.is_none() || node == request.node)
            && self
                .detail
                .as_ref()
                .is_none_or(|d| request.detail.as_ref().is_some_and(|have| have.contains(d)))
            && self.predicate.as_ref().is_none_or(|p| p(request))
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Matcher")
            .field("call", &self.call)
            .field("method", &self.method)
            .field("path", &self.path)
            .field("node", &self.node)
            .field("detail", &self.detail)
            .field("predicate", &self.predicate.is_some())
            .field("skip", &self.skip)
            .finish()
    }
}

/// The first fault that strikes this request; used up faults go away.
pub(crate) fn strike(faults: &mut Vec<Fault>, request: &Recorded) -> Option<Kind> {
    let mut struck = None;
    for fault in faults.iter_mut() {
        if !fault.matcher.matches(request) {
            continue;
        }
        if fault.matcher.skip > 0 {
            fault.matcher.skip -= 1;
            continue;
        }
        if fault.times > 0 {
            if fault.times < u32::MAX {
                fault.times -= 1;
            }
            struck = Some(fault.kind.clone());
            break;
        }
    }
    faults.retain(|f| f.times > 0);
    struck
}

/// The name of a request, and the node it names. `path` has no version and no outer slashes.
pub(crate) fn classify(method: &str, path: &[&str]) -> (Call, Option<String>) {
    let (call, node) = match (method, path) {
        (_, []) => (Call::Versions, None),
        ("GET", ["nodes"] | ["nodes", "detail"]) => (Call::ListNodes, None),
        ("POST", ["nodes"]) => (Call::CreateNode, None),
        ("GET", ["nodes", node]) => (Call::GetNode, Some(node)),
        ("PATCH", ["nodes", node]) => (Call::PatchNode, Some(node)),
        ("DELETE", ["nodes", node]) => (Call::DeleteNode, Some(node)),
        ("GET", ["nodes", node, "validate"]) => (Call::Validate, Some(node)),
        ("GET", ["nodes", node, "states"]) => (Call::GetStates, Some(node)),
        ("PUT", ["nodes", node, "states", "provision"]) => (Call::SetProvision, Some(node)),
        ("PUT", ["nodes", node, "states", "power"]) => (Call::SetPower, Some(node)),
        ("GET", ["nodes", node, "states", "console"]) => (Call::GetConsole, Some(node)),
        ("PUT", ["nodes", node, "states", "console"]) => (Call::SetConsole, Some(node)),
        (_, ["nodes", node, "maintenance"]) => (Call::Maintenance, Some(node)),
        (_, ["nodes", node, "traits", ..]) => (Call::Traits, Some(node)),
        (_, ["nodes", node, "management", ..]) => (Call::Management, Some(node)),
        ("GET", ["nodes", node, "vifs"]) => (Call::ListVifs, Some(node)),
        ("POST", ["nodes", node, "vifs"]) => (Call::AttachVif, Some(node)),
        ("DELETE", ["nodes", node, "vifs", _]) => (Call::DetachVif, Some(node)),
        (_, ["nodes", node, "ports", ..]) => (Call::Ports, Some(node)),
        (_, ["nodes", node, "portgroups", ..]) => (Call::PortGroups, Some(node)),
        (_, ["ports", ..]) => (Call::Ports, None),
        (_, ["portgroups", ..]) => (Call::PortGroups, None),
        ("GET", ["volume", "connectors", ..]) => (Call::ListConnectors, None),
        ("POST", ["volume", "connectors"]) => (Call::CreateConnector, None),
        ("DELETE", ["volume", "connectors", _]) => (Call::DeleteConnector, None),
        ("GET", ["volume", "targets", ..]) => (Call::ListTargets, None),
        ("POST", ["volume", "targets"]) => (Call::CreateTarget, None),
        ("DELETE", ["volume", "targets", _]) => (Call::DeleteTarget, None),
        _ => (Call::Other, None),
    };
    (call, node.map(|n: &&str| (*n).to_owned()))
}

/// The part of a body that tests want to tell requests apart by.
pub(crate) fn detail(call: Call, body: &Value) -> Option<String> {
    match call {
        Call::SetProvision | Call::SetPower => body["target"].as_str().map(str::to_owned),
        Call::SetConsole => body["enabled"].as_bool().map(|on| if on { "on" } else { "off" }.to_owned()),
        Call::AttachVif => body["id"].as_str().map(str::to_owned),
        Call::PatchNode => {
            let paths = body.as_array()?.iter().filter_map(|op| op["path"].as_str());
            Some(paths.collect::<Vec<_>>().join(","))
        }
        Call::CreateTarget => body["volume_id"].as_str().map(str::to_owned),
        _ => None,
    }
}
