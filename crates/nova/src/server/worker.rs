//! Who does what the requests ask for.

use std::io;

use async_trait::async_trait;
use compute::Manager;
use compute::request::{BuildRequest, DeleteRequest};
use driver::InstanceId;
use oslo::context::RequestContext;
use uuid::Uuid;

/// The compute manager, as the server sees it.
#[async_trait]
pub trait Worker: Send + Sync {
    /// Keeps a build for after a crash.
    async fn admit_build(&self, request: &BuildRequest) -> io::Result<()>;

    /// Keeps a delete for after a crash.
    async fn admit_delete(&self, request: &DeleteRequest) -> io::Result<()>;

    /// Begins a build that was admitted.
    fn build(&self, request: BuildRequest);

    /// Begins a delete that was admitted.
    fn delete(&self, request: DeleteRequest);

    /// A port of an instance changed, or all of them.
    async fn network_changed(&self, context: &RequestContext, id: InstanceId, port: Option<Uuid>);

    /// A port of an instance is gone.
    async fn vif_deleted(&self, context: &RequestContext, id: InstanceId, port: Uuid);

    /// A machine was switched by somebody else.
    async fn power_update(&self, context: &RequestContext, id: InstanceId, on: bool);

    /// An operator enabled or disabled the service.
    async fn set_enabled(&self, enabled: bool);
}

#[async_trait]
impl Worker for Manager {
    async fn admit_build(&self, request: &BuildRequest) -> io::Result<()> {
        Manager::admit_build(self, request).await
    }

    async fn admit_delete(&self, request: &DeleteRequest) -> io::Result<()> {
        Manager::admit_delete(self, request).await
    }

    fn build(&self, request: BuildRequest) {
        Manager::build(self, request);
    }

    fn delete(&self, request: DeleteRequest) {
        Manager::delete(self, request);
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

    async fn set_enabled(&self, enabled: bool) {
        Manager::set_enabled(self, enabled).await;
    }
}
