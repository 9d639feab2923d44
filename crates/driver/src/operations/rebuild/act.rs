//! Rebuilding: the calls.

use openstack::ironic::{Node, ProvisionTarget};

use super::{Memory, Observed, Step, Wanted, decide::decide, decide::stamp};
use crate::{
    gate::Limited,
    ironic::Ironic,
    operations::deploy_request::DeployRequest,
    plan::{self, Next, Perform, Plan, Repeat},
    setback::Setback,
    unseen::Unseen,
};

/// The operation.
pub(crate) struct Rebuild<'a> {
    pub(crate) ironic: Ironic,
    pub(crate) wanted: Wanted,
    pub(crate) request: DeployRequest<'a>,
}

impl plan::Step for Step {
    fn name(&self) -> &'static str {
        match self {
            Self::Describe(_) => "describe",
            Self::Rebuild => "rebuild",
        }
    }

    fn limited(&self) -> Option<Limited> {
        matches!(self, Self::Rebuild).then_some(Limited::Deployments)
    }

    fn repeat(&self) -> Repeat {
        match self {
            Self::Describe(_) => Repeat::Freely,
            Self::Rebuild => Repeat::AtMostOnce,
        }
    }
}

impl Plan for Wanted {
    const NAME: &'static str = "rebuild";
    type Observed = Observed;
    type Memory = Memory;
    type Step = Step;

    fn decide(&self, seen: &Observed, memory: &Memory) -> Next<Step> {
        decide(seen, memory, self)
    }

    fn begin(&self, step: &Step, seen: &Observed, memory: &mut Memory) {
        memory.accepted = false;
        if *step == Step::Rebuild {
            let now = seen.node.as_ref().map(stamp).filter(|now| !memory.before.contains(now));
            memory.before.extend(now);
        }
    }

    fn accepted(&self, step: &Step, memory: &mut Memory) {
        match step {
            Step::Describe(_) => memory.described = true,
            Step::Rebuild => memory.accepted = true,
        }
    }

    fn node<'a>(&self, seen: &'a Observed) -> Option<&'a Node> {
        seen.node.as_ref()
    }
}

impl Perform for Rebuild<'_> {
    type Plan = Wanted;

    fn plan(&self) -> &Wanted {
        &self.wanted
    }

    async fn observe(&mut self, fresh: Option<Node>, _memory: &Memory) -> Result<Observed, Unseen> {
        Ok(Observed { node: self.ironic.fresh_or_read(fresh, self.wanted.node).await? })
    }

    async fn perform(&mut self, step: &Step, mut seen: Observed) -> Result<Option<Observed>, Setback> {
        let Some(node) = seen.node.as_mut() else { return Ok(None) };
        match step {
            Step::Describe(patch) => {
                *node = self.ironic.client.patch_node(&self.ironic.caller, self.wanted.node, patch).await?;
            }
            Step::Rebuild => self.request.send(&self.ironic, node, ProvisionTarget::Rebuild).await?,
        }
        Ok(Some(seen))
    }
}
