//! The requests to rescue a server and to end that.

use oslo::context::RequestContext;
use secrecy::SecretString;
use uuid::Uuid;

use super::Kind;
use crate::instance::Instance;
use crate::origin::Origin;

/// What becomes of a server's machine.
#[derive(Debug, Clone)]
pub enum RescueAction {
    /// It boots a rescue system.
    Rescue {
        /// The root password of the rescue system; without one it is made up.
        password: Option<SecretString>,
        /// The image that the user wants for the rescue system. Ironic boots its own ramdisk all the same.
        image: Option<Uuid>,
        /// The operating system is asked first to shut down.
        gracefully: bool,
    },
    /// It boots its own system again.
    Unrescue,
}

impl RescueAction {
    /// Its kind of operation.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Rescue { .. } => Kind::Rescue,
            Self::Unrescue => Kind::Unrescue,
        }
    }
}

/// A request to rescue a server or to end that, as it reached us.
#[derive(Clone, Debug)]
pub struct RescueRequest {
    /// Who asks.
    pub context: RequestContext,
    /// The server, as it came with the request.
    pub instance: Instance,
    /// Whether it begins or ends.
    pub action: RescueAction,
    /// The control plane's own form of the request; goes into the journal.
    pub origin: Origin,
}
