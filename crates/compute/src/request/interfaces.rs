//! Requests that change the interfaces of a server.

use configdrive::network::Vif;
use oslo::context::RequestContext;
use uuid::Uuid;

use super::{Kind, NetworkRequest, Request};
use crate::answer::Answer;
use crate::error::Result;
use crate::instance::Instance;
use crate::origin::Origin;

/// What the caller of an attachment gets: the interface.
pub type Attached = Result<Vif>;

/// A request for one more interface, as it reached us.
#[derive(Clone, Debug)]
pub struct AttachRequest {
    /// Who asks.
    pub context: RequestContext,
    /// The server as it came with the request.
    pub instance: Instance,
    /// Its network, port or address; nothing: the one network that the project can use.
    pub wanted: NetworkRequest,
    /// Where the outcome goes, as long as somebody waits for it. Of a request from the journal nobody does.
    pub answer: Option<Answer<Attached>>,
    /// The control plane's own form of the request; goes into the journal.
    pub origin: Origin,
}

/// A request to take an interface away, as it reached us.
#[derive(Clone, Debug)]
pub struct DetachRequest {
    /// Who asks.
    pub context: RequestContext,
    /// The server as it came with the request.
    pub instance: Instance,
    /// The port, as the user named it.
    pub port: String,
    /// The control plane's own form of the request; goes into the journal.
    pub origin: Origin,
}

/// What becomes of the addresses of a server's ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressChange {
    /// One more, of this network.
    Add {
        /// Neutron's id.
        network: Uuid,
    },
    /// This one goes.
    Remove {
        /// As the user wrote it.
        address: String,
    },
}

impl AddressChange {
    /// Its kind of operation.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Add { .. } => Kind::AddAddress,
            Self::Remove { .. } => Kind::RemoveAddress,
        }
    }
}

/// A request to change the addresses of a server's ports, as it reached us.
#[derive(Clone, Debug)]
pub struct AddressRequest {
    /// Who asks.
    pub context: RequestContext,
    /// The server as it came with the request.
    pub instance: Instance,
    /// What becomes of them.
    pub change: AddressChange,
    /// The control plane's own form of the request; goes into the journal.
    pub origin: Origin,
}

impl From<AttachRequest> for Request {
    fn from(request: AttachRequest) -> Self {
        Self::Attach(request)
    }
}

impl From<DetachRequest> for Request {
    fn from(request: DetachRequest) -> Self {
        Self::Detach(request)
    }
}

impl From<AddressRequest> for Request {
    fn from(request: AddressRequest) -> Self {
        Self::Addresses(request)
    }
}
