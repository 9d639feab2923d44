//! Tearing down: the calls.

use std::collections::BTreeSet;

use openstack::ironic::{Node, ProvisionState, ProvisionTarget};

use super::{Ironic, Release, Setback, Unseen};
use crate::{
    Error, InstanceId, Next, NodeId,
    drive::{Named, Operation},
    gate::{Gate, Gates},
    release,
    teardown::{Seen, Step, decide, under_way},
};

/// The operation.
pub(crate) struct TearDown {
    ironic: Ironic,
    instance: InstanceId,
    /// The node that carries the instance, once it is known.
    id: Option<NodeId>,
    /// Whether the instance may be on another node than the one named.
    anywhere: bool,
    /// The node as we saw it last.
    last: Option<Node>,
    /// What Ironic refused while releasing.
    refused: BTreeSet<uuid::Uuid>,
    asked: bool,
    aborted: bool,
}

impl Named for Step {
    fn name(&self) -> &'static str {
        match self {
            Self::Abort => "abort",
            Self::Undeploy => "undeploy",
            Self::Release(step) => step.name(),
        }
    }
}

impl TearDown {
    /// Of the instance's node, which is looked for first where the hint says.
    pub(crate) fn anywhere(ironic: Ironic, instance: InstanceId, hint: Option<NodeId>) -> Self {
        Self { anywhere: true, id: hint, ..Self::on(ironic, instance, None) }
    }

    /// Of this node, if it carries the instance.
    pub(crate) fn on(ironic: Ironic, instance: InstanceId, node: Option<NodeId>) -> Self {
        Self {
            ironic,
            instance,
            id: node,
            anywhere: false,
            last: None,
            refused: BTreeSet::new(),
            asked: false,
            aborted: false,
        }
    }

    /// The node as we saw it last; `None` if no node carried the instance.
    pub(crate) fn into_last(self) -> Option<Node> {
        self.last
    }

    fn carries(&self, node: &Node) -> bool {
        node.instance_uuid == Some(self.instance.0)
    }

    /// The node that carries the instance; `None` where none does. That takes proof: a node that Ironic may only hide is an error.
    async fn find(&mut self, fresh: Option<Node>) -> Result<Option<Node>, Unseen> {
        let named = match (fresh, self.id) {
            (Some(node), _) => Ok(Some(node)),
            (None, Some(id)) => self.ironic.node(id).await,
            (None, None) => Ok(None),
        };
        match &named {
            Ok(Some(node)) if self.last.is_some() || self.carries(node) => return named,
            Ok(_) | Err(Unseen::Hidden(_)) => {}
            Err(Unseen::Failed(_)) => return named,
        }
        if self.last.is_none() && self.anywhere {
            // No hint, or a wrong one.
            if let Some(node) = self.ironic.node_of(self.instance).await? {
                self.id = Some(node.uuid);
                return Ok(Some(node));
            }
            if self.id.is_none() {
                self.ironic.sees_our_nodes().await?;
            }
        }
        named.map(|_| None)
    }

    fn release(&mut self, node: NodeId) -> Release {
        let refused = std::mem::take(&mut self.refused);
        Release { ironic: self.ironic.clone(), node, instance: self.instance, refused }
    }
}

impl Operation for TearDown {
    const NAME: &'static str = "tear_down";
    type Seen = Seen;
    type Step = Step;

    async fn observe(&mut self, fresh: Option<Node>) -> Result<Seen, Unseen> {
        let node = self.find(fresh).await?;
        if node.is_some() {
            self.last.clone_from(&node);
        }
        let seen = |release| Seen { release, asked: self.asked, aborted: self.aborted };
        let Some(id) = node.as_ref().map(|node| node.uuid) else {
            return Ok(seen(release::Seen { node: None, targets: BTreeSet::new(), vifs: BTreeSet::new() }));
        };
        let bare =
            seen(release::Seen { node: node.clone(), targets: BTreeSet::new(), vifs: BTreeSet::new() });
        if !matches!(decide(&bare, self.instance), Next::Act(Step::Release(_))) {
            return Ok(bare);
        }
        let release = self.release(id);
        let looked = release.look(node).await;
        self.refused = release.refused;
        Ok(Seen { release: looked?, ..bare })
    }

    fn decide(&self, seen: &Seen) -> Next<Step> {
        decide(seen, self.instance)
    }

    async fn act(&mut self, step: Step, mut seen: Seen) -> Result<Option<Seen>, Setback> {
        let Some(node) = seen.release.node.as_mut() else { return Ok(None) };
        let target = match step {
            Step::Abort => ProvisionTarget::Abort,
            Step::Undeploy => ProvisionTarget::Deleted,
            Step::Release(step) => {
                let mut release = self.release(node.uuid);
                let result = release.act(step, seen.release).await;
                self.refused = release.refused;
                let Some(released) = result? else { return Ok(None) };
                self.last.clone_from(&released.node);
                return Ok(Some(Seen { release: released, asked: self.asked, aborted: self.aborted }));
            }
        };
        let Ironic { client, caller, .. } = &self.ironic;
        let put = client.set_provision_state(caller, node.uuid, target, None, None);
        put.await.map_err(|error| refusal(error, node))?;
        if target == ProvisionTarget::Abort {
            self.aborted = true;
            return Ok(None);
        }
        self.asked = true;
        seen.asked = true;
        // Ironic has changed the state before it answers.
        node.provision_state = ProvisionState::Deleting;
        node.target_provision_state = ProvisionState::Available;
        Ok(Some(seen))
    }

    fn gate<'a>(&self, gates: &'a Gates, step: &Step) -> Option<&'a Gate> {
        matches!(step, Step::Undeploy).then_some(&gates.tear_downs)
    }

    fn node<'a>(&self, seen: &'a Seen) -> Option<&'a Node> {
        seen.release.node.as_ref()
    }

    fn is_bounded(&self, seen: &Seen) -> bool {
        !under_way(seen)
    }
}

/// What Ironic answers for good, in words that name the node.
fn refusal(error: openstack::Error, node: &Node) -> Setback {
    match Setback::from(error) {
        Setback::Over(Error::Remote(error)) => Setback::Over(Error::TearDownFailed(format!(
            "Ironic refuses to tear node {} down: {}",
            node.uuid,
            error.message()
        ))),
        other => other,
    }
}
