//! The port to those who only listen: the scheduler's memory of instances, and notifications.

use async_trait::async_trait;
use driver::InstanceId;
use oslo::context::RequestContext;
use uuid::Uuid;

use crate::instance::Instance;

/// What is happening to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It is created.
    Create,
    /// It is deleted.
    Delete,
    /// Its machine is taken down, as a part of its delete.
    Shutdown,
    /// It is switched off.
    PowerOff,
    /// It is switched on.
    PowerOn,
    /// It is restarted.
    Reboot,
    /// It is deleted such that it can be restored.
    SoftDelete,
    /// It is restored.
    Restore,
    /// It gets the interrupt that makes it dump its memory.
    TriggerCrashDump,
    /// It boots a rescue system.
    Rescue {
        /// The image that the user wants for the rescue system.
        image: Option<Uuid>,
    },
    /// It boots its own system again.
    Unrescue,
    /// It is deployed again.
    Rebuild,
    /// A server gets an interface.
    InterfaceAttach,
    /// A server loses an interface.
    InterfaceDetach,
}

/// Whether it begins, has ended, or has failed with this text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase<'a> {
    /// It begins.
    Start,
    /// It has ended.
    End,
    /// It has failed with this text.
    Error(&'a str),
}

/// Those who listen. Nothing here can fail an operation: errors are logged. A control plane whose scheduler
/// keeps no memory of its own has nothing to do for it.
#[async_trait]
pub trait Announcer: Send + Sync {
    /// A notification, if the operator wants them.
    async fn notify(&self, context: &RequestContext, instance: &Instance, event: Event, phase: Phase<'_>);

    /// The scheduler learns what an instance is now.
    async fn instance_changed(&self, _context: &RequestContext, _instance: &Instance) {}

    /// The scheduler forgets an instance.
    async fn instance_gone(&self, _context: &RequestContext, _instance: InstanceId) {}

    /// The scheduler compares its memory with ours.
    async fn sync(&self, _context: &RequestContext, _instances: &[InstanceId]) {}
}
