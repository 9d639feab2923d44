//! The compute manager as seen by the RPC server.

use std::io;

use async_trait::async_trait;
use compute::Manager;
use compute::manager::consoles;
use compute::request::Request;
use driver::{ConsoleAddress, ConsoleKind, InstanceId, NodeId};
use oslo::context::RequestContext;
use uuid::Uuid;

/// The compute manager, as the server sees it.
#[async_trait]
pub trait Worker: Send + Sync {
    /// Keeps a request for after a crash.
    async fn admit(&self, request: &Request) -> io::Result<()>;

    /// Starts the operation of a request that was admitted.
    fn start(&self, request: Request);

    /// Hands a build back that was not admitted, for this reason.
    fn hand_back(&self, request: Request, reason: String);

    /// A port of an instance changed, or all of them.
    async fn network_changed(&self, context: &RequestContext, id: InstanceId, port: Option<Uuid>);

    /// A port of an instance is gone.
    async fn vif_deleted(&self, context: &RequestContext, id: InstanceId, port: Uuid);

    /// A machine was switched by somebody else.
    async fn power_update(&self, context: &RequestContext, id: InstanceId, on: bool);

    /// Where the console of an instance is, switched on for it.
    async fn console(
        &self,
        context: &RequestContext,
        id: InstanceId,
        node: Option<NodeId>,
        kind: ConsoleKind,
    ) -> Result<ConsoleAddress, consoles::Error>;

    /// Whether the console of an instance is still at this port.
    async fn is_console_at(
        &self,
        context: &RequestContext,
        id: InstanceId,
        node: Option<NodeId>,
        kind: ConsoleKind,
        port: u16,
    ) -> Result<bool, consoles::Error>;

    /// An operator enabled or disabled the service.
    async fn set_enabled(&self, enabled: bool);
}

#[async_trait]
impl Worker for Manager {
    async fn admit(&self, request: &Request) -> io::Result<()> {
        Manager::admit(self, request).await
    }

    fn start(&self, request: Request) {
        Manager::start(self, request);
    }

    fn hand_back(&self, request: Request, reason: String) {
        Manager::hand_back(self, request, reason);
    }

    async fn network_changed(&self, context: &RequestContext, id: InstanceId, port: Option<Uuid>) {
        Manager::network_changed(self, context, id, port).await;
    }

    async fn vif_deleted(&self, context: &RequestContext, id: InstanceId, port: Uuid) {
        Manager::vif_deleted(self, context, id, port).await;
    }

    async fn power_update(&self, context: &RequestContext, id: InstanceId, on: bool) {
        Manager::power_update(self, context, id, on).await;
    }

    async fn console(
        &self,
        context: &RequestContext,
        id: InstanceId,
        node: Option<NodeId>,
        kind: ConsoleKind,
    ) -> Result<ConsoleAddress, consoles::Error> {
        Manager::console(self, context, id, node, kind).await
    }

    async fn is_console_at(
        &self,
        context: &RequestContext,
        id: InstanceId,
        node: Option<NodeId>,
        kind: ConsoleKind,
        port: u16,
    ) -> Result<bool, consoles::Error> {
        Manager::is_console_at(self, context, id, node, kind, port).await
    }

    async fn set_enabled(&self, enabled: bool) {
        Manager::set_enabled(self, enabled).await;
    }
}
