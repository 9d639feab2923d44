//! The port keeps what every adapter of the machines keeps.

use async_trait::async_trait;
use compute::ports::Machines;
use compute::ports::conformance::machines;
use driver::{InstanceId, NodeId};
use ironic_sim::{Sim, State};

use crate::reporting::Watched;

#[async_trait]
impl machines::Cloud for Watched {
    fn port(&self) -> &dyn Machines {
        &self.reporter
    }

    async fn nodes(&self) -> Vec<NodeId> {
        self.nodes.clone()
    }

    async fn occupy(&self, node: NodeId, instance: Option<InstanceId>) {
        self.sim().update(node.0, |node| node.instance_uuid = instance.map(|id| id.0));
    }

    async fn clean(&self, node: NodeId, under_way: bool) {
        self.sim().hold(State::Cleaning);
        self.sim().set_state(node.0, if under_way { State::Cleaning } else { State::Available });
    }

    async fn hide(&self, node: NodeId) {
        self.sim().update(node.0, |node| node.hidden = true);
    }

    async fn hold(&self, instance: InstanceId, node: NodeId) {
        self.world.tables().allocations.insert(instance, node);
    }

    async fn is_offered(&self, node: NodeId) -> bool {
        self.reserved(node) == 0
    }
}

impl Watched {
    fn sim(&self) -> &Sim {
        &self.world.sim
    }
}

compute::conformance!(machines, Watched::new(4));
