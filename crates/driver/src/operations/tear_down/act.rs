//! Tearing down: the calls.

use std::collections::BTreeSet;

use openstack::ironic::{Node, Patch, ProvisionState, ProvisionTarget};
use serde_json::{Value, json};
use tracing::warn;
use uuid::Uuid;

use super::{Memory, Observed, Step, Wanted, decide::decide};
use crate::{
    Error, InstanceId, NodeId,
    gate::Limited,
    ironic::Ironic,
    plan::{self, Next, Perform, Plan},
    setback::Setback,
    unseen::Unseen,
};

/// The operation.
pub(crate) struct TearDown {
    ironic: Ironic,
    wanted: Wanted,
    /// The node that carries the instance, once it is known.
    id: Option<NodeId>,
    /// Whether the instance may be on another node than the one named.
    anywhere: bool,
    /// The node as it was observed last.
    last: Option<Node>,
    /// Volume targets that Ironic refuses to delete: they are not asked for again.
    refused: BTreeSet<Uuid>,
}

impl plan::Step for Step {
    fn name(&self) -> &'static str {
        match self {
            Self::Abort => "abort",
            Self::Undeploy => "undeploy",
            Self::DeleteTarget(_) => "delete_volume_target",
            Self::DetachVif(_) => "detach_vif",
            Self::Clear => "clear",
        }
    }

    fn limited(&self) -> Option<Limited> {
        matches!(self, Self::Undeploy).then_some(Limited::TearDowns)
    }
}

impl Plan for Wanted {
    const NAME: &'static str = "tear_down";
    type Observed = Observed;
    type Memory = Memory;
    type Step = Step;

    fn decide(&self, seen: &Observed, memory: &Memory) -> Next<Step> {
        decide(seen, memory, self.instance)
    }

    fn accepted(&self, step: &Step, memory: &mut Memory) {
        match step {
            Step::Abort => memory.aborted = true,
            Step::Undeploy => memory.asked = true,
            Step::DeleteTarget(_) | Step::DetachVif(_) | Step::Clear => {}
        }
    }

    fn node<'a>(&self, seen: &'a Observed) -> Option<&'a Node> {
        seen.node.as_ref()
    }
}

impl TearDown {
    /// Of the instance's node, which is looked for first where the hint says.
    pub(crate) fn anywhere(ironic: Ironic, instance: InstanceId, hint: Option<NodeId>) -> Self {
        Self { anywhere: true, ..Self::on(ironic, instance, hint) }
    }

    /// Of this node, if it carries the instance.
    pub(crate) fn on(ironic: Ironic, instance: InstanceId, node: Option<NodeId>) -> Self {
        let (wanted, refused) = (Wanted { instance }, BTreeSet::new());
        Self { ironic, wanted, id: node, anywhere: false, last: None, refused }
    }

    /// The node as it was observed last; `None` if no node carried the instance.
    pub(crate) fn into_last(self) -> Option<Node> {
        self.last
    }

    /// The node that carries the instance; `None` where none does. That takes proof: a node that Ironic may only hide is an error.
    async fn find(&mut self, fresh: Option<Node>) -> Result<Option<Node>, Unseen> {
        let named = match (fresh, self.id) {
            (Some(node), _) => Ok(Some(node)),
            (None, Some(id)) => self.ironic.node(id).await,
            (None, None) => Ok(None),
        };
        let carries = |node: &Node| node.instance_uuid == Some(self.wanted.instance.0);
        match &named {
            Ok(Some(node)) if self.last.is_some() || carries(node) => return named,
            Ok(_) | Err(Unseen::Hidden(_)) => {}
            Err(Unseen::Failed(_)) => return named,
        }
        if self.last.is_none() && self.anywhere {
            // No hint, or a wrong one.
            if let Some(node) = self.ironic.node_of(self.wanted.instance).await? {
                self.id = Some(node.uuid);
                return Ok(Some(node));
            }
            if self.id.is_none() {
                self.ironic.sees_our_nodes().await?;
            }
        }
        named.map(|_| None)
    }

    /// Ironic deletes a target only while the machine is off. Nova goes on all the same; no deployment begins with a target that
    /// is not its own.
    async fn delete_target(&mut self, node: NodeId, target: Uuid) -> Result<(), Setback> {
        match self.ironic.client.delete_volume_target(&self.ironic.caller, target).await {
            Ok(()) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) if error.is_bad_request() => {
                warn!(%node, instance = %self.wanted.instance, %target, %error, "Ironic does not delete the volume target; it stays on the node until it is switched off");
                self.refused.insert(target);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    async fn set_state(&self, node: &Node, target: ProvisionTarget) -> Result<(), Setback> {
        let Ironic { client, caller, .. } = &self.ironic;
        client.set_provision_state(caller, node.uuid, target, None, None).await.map_err(|error| {
            let text = format!("Ironic refuses to tear node {} down: {}", node.uuid, error.message());
            match Setback::from(error) {
                Setback::Over(_) => Setback::Over(Error::Retry(text)),
                other => other,
            }
        })
    }
}

impl Perform for TearDown {
    type Plan = Wanted;

    fn plan(&self) -> &Wanted {
        &self.wanted
    }

    async fn observe(&mut self, fresh: Option<Node>, memory: &Memory) -> Result<Observed, Unseen> {
        let node = self.find(fresh).await?;
        if node.is_some() {
            self.last.clone_from(&node);
        }
        let mut seen = Observed { node, ..Observed::default() };
        if let (Some(node), Next::Act(Step::Clear)) = (&seen.node, self.wanted.decide(&seen, memory)) {
            let targets = self.ironic.client.volume_targets(&self.ironic.caller, node.uuid).await?;
            let vifs = self.ironic.vifs(node.uuid).await?.unwrap_or_default();
            seen.targets = targets.into_iter().map(|target| target.uuid).collect();
            seen.targets.retain(|target| !self.refused.contains(target));
            seen.vifs = vifs;
        }
        Ok(seen)
    }

    async fn perform(&mut self, step: &Step, mut seen: Observed) -> Result<Option<Observed>, Setback> {
        let Some(node) = seen.node.as_mut() else { return Ok(None) };
        match step {
            Step::Abort => {
                self.set_state(node, ProvisionTarget::Abort).await?;
                return Ok(None);
            }
            Step::Undeploy => {
                self.set_state(node, ProvisionTarget::Deleted).await?;
                // Ironic has changed the state before it answers.
                node.provision_state = ProvisionState::Deleting;
                node.target_provision_state = ProvisionState::Available;
            }
            Step::DeleteTarget(target) => {
                self.delete_target(node.uuid, *target).await?;
                seen.targets.remove(target);
            }
            Step::DetachVif(vif) => {
                self.ironic.detach_vif(node.uuid, vif).await?;
                seen.vifs.remove(vif);
            }
            Step::Clear => {
                let patch = [
                    Patch::replace("/instance_uuid", Value::Null),
                    Patch::replace("/instance_info", json!({})),
                ];
                let Ironic { client, caller, .. } = &self.ironic;
                *node = client.patch_node(caller, node.uuid, &patch).await?;
                self.last = Some(node.clone());
            }
        }
        Ok(Some(seen))
    }
}
