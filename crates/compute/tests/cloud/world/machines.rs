//! The machines as the control plane offers them, in the world's tables.

use super::{HOST, Port, Tables};
use async_trait::async_trait;
use compute::instance::{Home, Instance};
use compute::machines::shows_other_power;
use compute::ports::{Error, Found, Machines, Published, Result};
use driver::{InstanceId, NodeId};
use ironic_sim::State;
use oslo::context::RequestContext;

#[async_trait]
impl Machines for Port {
    async fn publish(&self, _: &RequestContext) -> Result<Published> {
        self.0
            .call("publish", |t| {
                let mut written = 0;
                let nodes = self.0.sim.nodes();
                for node in &nodes {
                    let withheld = is_withheld(node);
                    written += usize::from(t.machines.insert(NodeId(node.uuid), withheld) != Some(withheld));
                }
                let found = found(t, &nodes);
                Ok(Published { nodes: nodes.len(), written, found, ..Published::default() })
            })
            .await
    }

    async fn publish_one(&self, _: &RequestContext, node: NodeId, _: Option<&Instance>) -> Result<()> {
        self.0
            .call("report", |t| {
                let found = self.0.sim.find(node.0);
                if found.as_ref().is_some_and(|node| node.hidden) {
                    return Err(Error::Unavailable("Ironic does not show the node".to_owned()));
                }
                if let Some(found) = found {
                    t.machines.insert(node, is_withheld(&found));
                }
                Ok(())
            })
            .await
    }

    fn is_withheld(&self, node: NodeId) -> bool {
        self.0.tables().machines.get(&node) == Some(&true)
    }

    async fn home(&self, _: &RequestContext, node: NodeId) -> Result<Option<Home>> {
        let home = || Home { host: HOST.to_owned(), node };
        self.0.call("home", |t| Ok(t.machines.contains_key(&node).then(home))).await
    }

    async fn held_by(&self, instance: InstanceId) -> Result<Vec<NodeId>> {
        self.0.call("held_by", |t| Ok(t.allocations.get(&instance).copied().into_iter().collect())).await
    }

    async fn release(&self, _: &RequestContext, instance: InstanceId) -> Result<()> {
        self.0
            .call("release", |t| {
                if let Some(node) = t.allocations.remove(&instance) {
                    let being_cleaned = self.0.sim.find(node.0).is_some_and(|node| {
                        matches!(node.provision_state, State::Deleting | State::Cleaning)
                    });
                    if being_cleaned && t.machines.get(&node) != Some(&true) {
                        t.let_go_dirty.push(node);
                    }
                }
                Ok(())
            })
            .await
    }

    fn build_ended(&self, _: NodeId, _: bool) {}

    fn set_enabled(&self, _: bool) {}
}

/// What Ironic's list and the servers' show by the way.
fn found(tables: &Tables, nodes: &[ironic_sim::Node]) -> Found {
    let mut found = Found::default();
    for node in nodes {
        let Some(id) = node.instance_uuid.map(InstanceId) else { continue };
        let shown = openstack::ironic::Node {
            power_state: node.power_state.as_deref().unwrap_or_default().into(),
            ..openstack::ironic::Node::new(NodeId(node.uuid))
        };
        match tables.instances.get(&id).filter(|instance| !instance.deleted) {
            Some(instance) if shows_other_power(instance, &shown) => drop(found.other_power.insert(id)),
            Some(_) => {}
            None => drop(found.strangers.insert((NodeId(node.uuid), id))),
        }
    }
    found
}

/// Whether nobody may book a machine.
fn is_withheld(node: &ironic_sim::Node) -> bool {
    node.instance_uuid.is_some() || node.maintenance || node.provision_state != State::Available
}
