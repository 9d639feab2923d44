//! The port to the machines as the control plane offers them: which can be booked, and who has which.

use std::collections::HashSet;

use async_trait::async_trait;
use driver::{InstanceId, NodeId};
use oslo::context::RequestContext;

use super::Result;
use crate::instance::{Home, Instance};

/// What one report of all machines found and wrote.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Published {
    /// Nodes of this service.
    pub nodes: usize,
    /// Nodes of which something was written.
    pub written: usize,
    /// Nodes of which something could not be written; the next report tries again.
    pub failed: usize,
    /// Nodes that are gone and of which nothing is left.
    pub removed: usize,
    /// What the lists show that no report is there for.
    pub found: Found,
}

/// What the lists of a report show of servers, read at different moments: a reason to look, and no more.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Found {
    /// Servers without a task whose machine's power is not as the control plane shows it
    /// ([`crate::machines::shows_other_power`]).
    pub other_power: HashSet<InstanceId>,
    /// Nodes of this service that carry an instance which no server of it is.
    pub strangers: HashSet<(NodeId, InstanceId)>,
}

/// The machines of this service in the control plane.
///
/// Guarantees to the manager: a node that was published while it was in use or being cleaned cannot be booked, whatever becomes of
/// its claim; a node that Ironic does not show, and that is not proven gone, is [`super::Error::Unavailable`].
#[async_trait]
pub trait Machines: Send + Sync {
    /// Compares all nodes and instances of this service with what the control plane has, and writes what differs.
    async fn publish(&self, context: &RequestContext) -> Result<Published>;

    /// Publishes one node as Ironic has it now, with the instance that is on it. A node that is another service's is left to it.
    async fn publish_one(
        &self,
        context: &RequestContext,
        node: NodeId,
        occupant: Option<&Instance>,
    ) -> Result<()>;

    /// Whether the control plane was last told that nobody may book the node.
    fn is_withheld(&self, node: NodeId) -> bool;

    /// An instance's home on a node; `None`: the node is not this service's.
    async fn home(&self, context: &RequestContext, node: NodeId) -> Result<Option<Home>>;

    /// The nodes that an instance holds.
    async fn held_by(&self, instance: InstanceId) -> Result<Vec<NodeId>>;

    /// Deletes what an instance holds; no error when it holds nothing.
    async fn release(&self, context: &RequestContext, instance: InstanceId) -> Result<()>;

    /// Counts a build that ended on a node; published with the next report.
    fn build_ended(&self, node: NodeId, succeeded: bool);

    /// Takes what an operator said of this service; published with the next report.
    fn set_enabled(&self, enabled: bool);
}
