//! What the control plane asks for.

mod create;
mod interfaces;
mod rebuild;
mod rescue;

use driver::{InstanceId, NodeId};
use oslo::context::RequestContext;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::instance::{BlockDevice, Instance};
use crate::origin::Origin;

pub use create::{BuildRequest, InjectedFile, NetworkRequest, NetworkRequests};
pub use interfaces::{AddressChange, AddressRequest, AttachRequest, Attached, DetachRequest};
pub use rebuild::RebuildRequest;
pub use rescue::{RescueAction, RescueRequest};

/// The kinds of operations, in the order in which a start resumes those of one instance: a delete waits until the create has
/// left the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A server is built on a node.
    Create,
    /// A server's machine is switched off.
    Stop,
    /// A server's machine is switched on.
    Start,
    /// A server's machine is restarted.
    Reboot,
    /// A server's machine boots a rescue system.
    Rescue,
    /// A server's machine boots its own system again.
    Unrescue,
    /// A server is deleted so that it can be restored: its machine is switched off.
    SoftDelete,
    /// A server that was deleted so is there again: its machine is switched on.
    Restore,
    /// A server's machine is sent the interrupt at which its operating system writes a crash dump.
    CrashDump,
    /// A server's machine is deployed again.
    Rebuild,
    /// A server gets an interface.
    AttachInterface,
    /// An interface of a server goes.
    DetachInterface,
    /// A port of a server gets one more address.
    AddAddress,
    /// A port of a server loses an address.
    RemoveAddress,
    /// A server ends.
    Delete,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Create,
        Self::Stop,
        Self::Start,
        Self::Reboot,
        Self::Rescue,
        Self::Unrescue,
        Self::SoftDelete,
        Self::Restore,
        Self::CrashDump,
        Self::Rebuild,
        Self::AttachInterface,
        Self::DetachInterface,
        Self::AddAddress,
        Self::RemoveAddress,
        Self::Delete,
    ];

    /// Its name in logs, metrics and lists.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Reboot => "reboot",
            Self::Rescue => "rescue",
            Self::Unrescue => "unrescue",
            Self::SoftDelete => "soft_delete",
            Self::Restore => "restore",
            Self::CrashDump => "crash_dump",
            Self::Rebuild => "rebuild",
            Self::AttachInterface => "attach_interface",
            Self::DetachInterface => "detach_interface",
            Self::AddAddress => "add_address",
            Self::RemoveAddress => "remove_address",
            Self::Delete => "delete",
        }
    }
}

/// Which operation it is. A create is known by its node too: after a reschedule the same instance is built anew. The
/// request's id tells a second delete from the first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OperationKey {
    /// What is done.
    pub kind: Kind,
    /// To which instance.
    pub instance: InstanceId,
    /// Where it is part of what is asked for.
    pub node: Option<NodeId>,
    /// The id of the request.
    pub request: String,
}

/// An operation that the control plane asks for.
#[derive(Clone, Debug)]
pub enum Request {
    /// A server.
    Create(BuildRequest),
    /// Another power of a server's machine.
    Power(PowerRequest),
    /// The interrupt for a crash dump.
    CrashDump(CrashDumpRequest),
    /// A rescue, or its end.
    Rescue(RescueRequest),
    /// A server anew on its node.
    Rebuild(RebuildRequest),
    /// One more interface.
    Attach(AttachRequest),
    /// The end of an interface.
    Detach(DetachRequest),
    /// An address more or less.
    Addresses(AddressRequest),
    /// The end of a server.
    Delete(DeleteRequest),
}

/// What every request says.
struct Head<'a> {
    context: &'a RequestContext,
    instance: &'a Instance,
    origin: &'a Origin,
}

impl Request {
    /// What kind of operation it asks for.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Create(_) => Kind::Create,
            Self::Power(request) => request.action.kind(),
            Self::CrashDump(_) => Kind::CrashDump,
            Self::Rescue(request) => request.action.kind(),
            Self::Rebuild(_) => Kind::Rebuild,
            Self::Attach(_) => Kind::AttachInterface,
            Self::Detach(_) => Kind::DetachInterface,
            Self::Addresses(request) => request.change.kind(),
            Self::Delete(_) => Kind::Delete,
        }
    }

    fn head(&self) -> Head<'_> {
        match self {
            Self::Create(BuildRequest { context, instance, origin, .. })
            | Self::Power(PowerRequest { context, instance, origin, .. })
            | Self::CrashDump(CrashDumpRequest { context, instance, origin })
            | Self::Rescue(RescueRequest { context, instance, origin, .. })
            | Self::Rebuild(RebuildRequest { context, instance, origin, .. })
            | Self::Attach(AttachRequest { context, instance, origin, .. })
            | Self::Detach(DetachRequest { context, instance, origin, .. })
            | Self::Addresses(AddressRequest { context, instance, origin, .. })
            | Self::Delete(DeleteRequest { context, instance, origin, .. }) => {
                Head { context, instance, origin }
            }
        }
    }

    /// Who asks, and under which id.
    pub fn context(&self) -> &RequestContext {
        self.head().context
    }

    /// The instance as it came with the request.
    pub fn instance(&self) -> &Instance {
        self.head().instance
    }

    /// The control plane's own form of the request.
    pub fn origin(&self) -> &Origin {
        self.head().origin
    }

    /// Which operation it asks for.
    pub fn key(&self) -> OperationKey {
        let node = match self {
            Self::Create(request) => Some(request.node),
            _ => None,
        };
        let request = self.context().request_id.clone();
        OperationKey { kind: self.kind(), instance: self.instance().id, node, request }
    }

    /// The ports that the user brought; they outlive the server.
    pub fn brought_ports(&self) -> Vec<Uuid> {
        match self {
            Self::Create(request) => request.brought_ports(),
            Self::Attach(request) => request.wanted.port_id.into_iter().collect(),
            _ => Vec::new(),
        }
    }
}

impl From<BuildRequest> for Request {
    fn from(request: BuildRequest) -> Self {
        Self::Create(request)
    }
}

impl From<PowerRequest> for Request {
    fn from(request: PowerRequest) -> Self {
        Self::Power(request)
    }
}

impl From<CrashDumpRequest> for Request {
    fn from(request: CrashDumpRequest) -> Self {
        Self::CrashDump(request)
    }
}

impl From<RescueRequest> for Request {
    fn from(request: RescueRequest) -> Self {
        Self::Rescue(request)
    }
}

impl From<RebuildRequest> for Request {
    fn from(request: RebuildRequest) -> Self {
        Self::Rebuild(request)
    }
}

impl From<DeleteRequest> for Request {
    fn from(request: DeleteRequest) -> Self {
        Self::Delete(request)
    }
}

/// What becomes of a machine's power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerAction {
    /// Switched off.
    Stop {
        /// The operating system is asked first.
        gracefully: bool,
    },
    /// Switched on.
    Start,
    /// Restarted.
    Reboot {
        /// The operating system is not asked.
        hard: bool,
    },
    /// Switched off, and the server can be restored until it is reclaimed.
    SoftDelete,
    /// Switched on, and the server is there again.
    Restore,
}

impl PowerAction {
    /// Its kind of operation.
    pub fn kind(self) -> Kind {
        match self {
            Self::Stop { .. } => Kind::Stop,
            Self::Start => Kind::Start,
            Self::Reboot { .. } => Kind::Reboot,
            Self::SoftDelete => Kind::SoftDelete,
            Self::Restore => Kind::Restore,
        }
    }
}

/// A request to change the power of a server's machine, as it reached us.
#[derive(Clone, Debug)]
pub struct PowerRequest {
    /// Who asks.
    pub context: RequestContext,
    /// The server, as it came with the request.
    pub instance: Instance,
    /// What becomes of the power.
    pub action: PowerAction,
    /// The control plane's own form of the request; goes into the journal.
    pub origin: Origin,
}

/// A request for a crash dump of a server's machine, as it reached us.
#[derive(Clone, Debug)]
pub struct CrashDumpRequest {
    /// Who asks.
    pub context: RequestContext,
    /// The server, as it came with the request.
    pub instance: Instance,
    /// The control plane's own form of the request; goes into the journal.
    pub origin: Origin,
}

/// A request to end a server, as it reached us.
#[derive(Clone, Debug)]
pub struct DeleteRequest {
    /// Who asks.
    pub context: RequestContext,
    /// The server, as it came with the request.
    pub instance: Instance,
    /// Its disks, as they came with the request.
    pub block_devices: Vec<BlockDevice>,
    /// The service itself asks, and will ask again: a server that cannot be deleted now stays as it was.
    pub is_own: bool,
    /// The control plane's own form of the request; goes into the journal.
    pub origin: Origin,
}
