//! The port to the machines over the reporter: what the compute manager asks for, in Nova's records and in Placement.

use async_trait::async_trait;
use compute::instance::{Home, Instance};
use compute::ports::{self, Machines, Published};
use driver::{InstanceId, NodeId};
use oslo::context::RequestContext;

use super::Reporter;
use super::reporter::Error;

impl From<Error> for ports::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::ControlPlane(error) => error,
            error if error.is_transient() => Self::Unavailable(error.to_string()),
            error => Self::Broken(error.to_string()),
        }
    }
}

#[async_trait]
impl Machines for Reporter {
    async fn publish(&self, context: &RequestContext) -> ports::Result<Published> {
        Ok(self.report(context).await?)
    }

    async fn publish_one(
        &self,
        context: &RequestContext,
        node: NodeId,
        occupant: Option<&Instance>,
    ) -> ports::Result<()> {
        Ok(self.report_node(context, node, occupant).await?)
    }

    fn is_withheld(&self, node: NodeId) -> bool {
        self.is_reserved(node)
    }

    async fn home(&self, context: &RequestContext, node: NodeId) -> ports::Result<Option<Home>> {
        self.home_on(context, node).await
    }

    async fn held_by(&self, instance: InstanceId) -> ports::Result<Vec<NodeId>> {
        self.providers().held_by(instance).await
    }

    async fn release(&self, context: &RequestContext, instance: InstanceId) -> ports::Result<()> {
        self.providers().release(context, instance).await
    }

    fn build_ended(&self, node: NodeId, succeeded: bool) {
        self.count_build(node, succeeded);
    }

    fn set_enabled(&self, enabled: bool) {
        self.set_disabled(!enabled);
    }
}
