//! What the control plane asks for.

use driver::{InstanceId, NodeId};
use oslo::context::RequestContext;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::instance::{BlockDevice, Instance};

/// The kinds of operations, in the order in which a start resumes those of one instance: a delete waits until the create has
/// left the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A server is built on a node.
    Create,
    /// A server ends.
    Delete,
}

impl Kind {
    /// Its name in logs, metrics and lists.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Delete => "delete",
        }
    }
}

/// Which operation it is. A create is known by its node too: after a reschedule the same instance is built anew. The
/// request's id tells a second delete from the first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OperationKey {
    pub kind: Kind,
    pub instance: InstanceId,
    /// Where it is part of what is asked for.
    pub node: Option<NodeId>,
    /// The id of the request.
    pub request: String,
}

/// An operation that the control plane asks for.
#[derive(Clone, Debug)]
pub enum Request {
    Create(BuildRequest),
    Delete(DeleteRequest),
}

impl Request {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Create(_) => Kind::Create,
            Self::Delete(_) => Kind::Delete,
        }
    }

    pub fn context(&self) -> &RequestContext {
        match self {
            Self::Create(request) => &request.context,
            Self::Delete(request) => &request.context,
        }
    }

    pub fn instance(&self) -> &Instance {
        match self {
            Self::Create(request) => &request.instance,
            Self::Delete(request) => &request.instance,
        }
    }

    /// The control plane's own form of the request.
    pub fn origin(&self) -> &Origin {
        match self {
            Self::Create(request) => &request.origin,
            Self::Delete(request) => &request.origin,
        }
    }

    pub fn key(&self) -> OperationKey {
        let node = match self {
            Self::Create(request) => Some(request.node),
            Self::Delete(_) => None,
        };
        let request = self.context().request_id.clone();
        OperationKey { kind: self.kind(), instance: self.instance().id, node, request }
    }

    /// The ports that the user brought; they outlive the server.
    pub fn brought_ports(&self) -> Vec<Uuid> {
        match self {
            Self::Create(request) => request.brought_ports(),
            Self::Delete(_) => Vec::new(),
        }
    }
}

impl From<BuildRequest> for Request {
    fn from(request: BuildRequest) -> Self {
        Self::Create(request)
    }
}

impl From<DeleteRequest> for Request {
    fn from(request: DeleteRequest) -> Self {
        Self::Delete(request)
    }
}

/// The control plane's own form of something. It may hold secrets (passwords, user data, tokens) and is never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Origin(pub Value);

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Origin(..)")
    }
}

/// A file that the user wants on the machine.
#[derive(Clone, Debug)]
pub struct InjectedFile {
    pub path: String,
    /// Base64, as the API received it.
    pub contents: SecretString,
}

/// One network, port or address that the user asked for.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct NetworkRequest {
    pub network_id: Option<Uuid>,
    pub port_id: Option<Uuid>,
    pub address: Option<String>,
    pub tag: Option<String>,
    /// Which group of the request's resources the port belongs to (Neutron's QoS ports).
    pub requester_id: Option<String>,
}

/// The networks that the user asked for.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum NetworkRequests {
    /// Nothing was said: the one network that the project can use.
    #[default]
    Default,
    /// Neutron's auto-allocated topology.
    Auto,
    /// No network at all.
    None,
    These(Vec<NetworkRequest>),
}

/// A request for a server on a node, as it reached us.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    pub context: RequestContext,
    pub instance: Instance,
    pub node: NodeId,
    /// Image properties `traits_required`, already a list.
    pub image_traits: Vec<String>,
    pub image_id: Option<Uuid>,
    pub admin_password: Option<SecretString>,
    pub injected_files: Vec<InjectedFile>,
    pub networks: NetworkRequests,
    /// Names or ids.
    pub security_groups: Vec<String>,
    pub block_devices: Vec<BlockDevice>,
    /// Resource providers by requester id (Neutron's QoS ports); usually empty.
    pub provider_mapping: std::collections::BTreeMap<String, Vec<Uuid>>,
    /// The hint `group` of the scheduler: a server group's uuid or name.
    pub server_group: Option<String>,
    /// Whether the control plane wants the request back when this node fails it.
    pub may_reschedule: bool,
    /// The control plane's own form of the request; goes back with a reschedule and into the journal.
    pub origin: Origin,
}

impl BuildRequest {
    /// The ports that the user brought; they outlive the server.
    pub fn brought_ports(&self) -> Vec<Uuid> {
        match &self.networks {
            NetworkRequests::These(requests) => {
                requests.iter().filter_map(|request| request.port_id).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// A request to end a server, as it reached us.
#[derive(Clone, Debug)]
pub struct DeleteRequest {
    pub context: RequestContext,
    pub instance: Instance,
    pub block_devices: Vec<BlockDevice>,
    /// The control plane's own form of the request; goes into the journal.
    pub origin: Origin,
}
