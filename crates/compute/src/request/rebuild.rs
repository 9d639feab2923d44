//! The request to deploy a server's machine again.

use oslo::context::RequestContext;
use secrecy::SecretString;
use uuid::Uuid;

use super::InjectedFile;
use crate::instance::Instance;
use crate::origin::Origin;

/// A request to deploy a server's machine again, as it reached us. The instance is as it shall be, but for its state, which is the
/// one before.
#[derive(Clone, Debug)]
pub struct RebuildRequest {
    /// Who asks.
    pub context: RequestContext,
    /// The server, as it came with the request.
    pub instance: Instance,
    /// Glance's id of the image.
    pub image_id: Option<Uuid>,
    /// The traits that the image requires of a machine.
    pub image_traits: Vec<String>,
    /// The password for the machine's administrator.
    pub admin_password: Option<SecretString>,
    /// Files that the user wants on the machine.
    pub injected_files: Vec<InjectedFile>,
    /// The ephemeral partition keeps its content.
    pub preserve_ephemeral: bool,
    /// The control plane's own form of the request; goes into the journal.
    pub origin: Origin,
}
