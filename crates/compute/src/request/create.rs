//! What a request for a server says.

use oslo::context::RequestContext;
use secrecy::SecretString;
use uuid::Uuid;

use crate::instance::{BlockDevice, Instance};
use crate::origin::Origin;
use driver::NodeId;

/// A file that the user wants on the machine.
#[derive(Clone, Debug)]
pub struct InjectedFile {
    /// Where the user wants it.
    pub path: String,
    /// Base64, as the API received it.
    pub contents: SecretString,
}

/// One network, port or address that the user asked for.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct NetworkRequest {
    /// A network to make a port on.
    pub network_id: Option<Uuid>,
    /// A port of the user's.
    pub port_id: Option<Uuid>,
    /// The fixed address that the port shall have.
    pub address: Option<String>,
    /// The user's tag, which bare metal cannot have.
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
    /// These, in this order.
    These(Vec<NetworkRequest>),
}

/// A request for a server on a node, as it reached us.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// Who asks.
    pub context: RequestContext,
    /// The server, as it came with the request.
    pub instance: Instance,
    /// The node that the scheduler chose.
    pub node: NodeId,
    /// Image properties `traits_required`, already a list.
    pub image_traits: Vec<String>,
    /// Glance's id of the image; none for a server that boots from a volume.
    pub image_id: Option<Uuid>,
    /// The password for the machine's administrator.
    pub admin_password: Option<SecretString>,
    /// Files that the user wants on the machine.
    pub injected_files: Vec<InjectedFile>,
    /// The networks that the user asked for.
    pub networks: NetworkRequests,
    /// Names or ids.
    pub security_groups: Vec<String>,
    /// The disks that the user asked for.
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
