//! Deploying: the calls.

use openstack::ironic::{Node, ProvisionTarget};
use uuid::Uuid;

use super::{Memory, Observed, Step, Wanted, decide, decide::may_have_targets};
use crate::{
    Error,
    gate::Limited,
    ironic::Ironic,
    operations::deploy_request::DeployRequest,
    plan::{self, Next, Perform, Plan},
    setback::Setback,
    unseen::Unseen,
};

/// What Ironic's validation must find usable, as Nova asks.
const VALIDATED: [&str; 3] = ["deploy", "power", "storage"];

/// The operation.
pub(crate) struct Deploy<'a> {
    ironic: Ironic,
    wanted: Wanted,
    request: DeployRequest<'a>,
}

impl plan::Step for Step {
    fn name(&self) -> &'static str {
        match self {
            Self::Describe(_) => "describe",
            Self::RemoveTarget(_) => "remove_volume_target",
            Self::AddTarget(_) => "add_volume_target",
            Self::Validate => "validate",
            Self::Deploy => "deploy",
        }
    }

    fn limited(&self) -> Option<Limited> {
        matches!(self, Self::Deploy).then_some(Limited::Deployments)
    }
}

impl Plan for Wanted {
    const NAME: &'static str = "deploy";
    type Observed = Observed;
    type Memory = Memory;
    type Step = Step;

    fn decide(&self, seen: &Observed, memory: &Memory) -> Next<Step> {
        decide(seen, memory, self)
    }

    fn begin(&self, step: &Step, _seen: &Observed, memory: &mut Memory) {
        // Before the answer, which may be lost.
        if let Step::AddTarget(target) = step {
            memory.added.insert(target.volume_id.clone());
        }
    }

    fn accepted(&self, step: &Step, memory: &mut Memory) {
        match step {
            Step::Describe(_) => (memory.described, memory.valid) = (true, false),
            Step::Validate => memory.valid = true,
            Step::Deploy => memory.asked = true,
            Step::RemoveTarget(_) | Step::AddTarget(_) => {}
        }
    }

    fn node<'a>(&self, seen: &'a Observed) -> Option<&'a Node> {
        seen.node.as_ref()
    }
}

impl<'a> Deploy<'a> {
    /// The deployment of a node that is reserved.
    pub(crate) fn new(ironic: Ironic, wanted: Wanted, request: DeployRequest<'a>) -> Self {
        Self { ironic, wanted, request }
    }
}

impl Perform for Deploy<'_> {
    type Plan = Wanted;

    fn plan(&self) -> &Wanted {
        &self.wanted
    }

    async fn observe(&mut self, fresh: Option<Node>, memory: &Memory) -> Result<Observed, Unseen> {
        let node = self.ironic.fresh_or_read(fresh, self.wanted.node).await?;
        let may_have_targets = node.as_ref().is_some_and(|node| may_have_targets(node, &self.wanted));
        let mut seen = Observed { node, targets: Vec::new() };
        if may_have_targets && matches!(self.wanted.decide(&seen, memory), Next::Act(_)) {
            seen.targets = self.ironic.client.volume_targets(&self.ironic.caller, self.wanted.node).await?;
        }
        Ok(seen)
    }

    async fn perform(&mut self, step: &Step, mut seen: Observed) -> Result<Option<Observed>, Setback> {
        let Ironic { client, caller, .. } = &self.ironic;
        match step {
            Step::Describe(patch) => {
                seen.node = Some(client.patch_node(caller, self.wanted.node, patch).await?);
            }
            Step::RemoveTarget(target) => {
                self.remove_target(*target).await?;
                seen.targets.retain(|there| there.uuid != *target);
            }
            Step::AddTarget(target) => {
                seen.targets.push(client.create_volume_target(caller, target).await?);
            }
            Step::Validate => self.validate().await?,
            Step::Deploy => {
                let Some(node) = seen.node.as_mut() else { return Ok(None) };
                let asked = self.request.send(&self.ironic, node, ProvisionTarget::Active).await;
                asked.map_err(|setback| match setback {
                    Setback::Over(Error::Retry(text)) => Setback::Over(Error::AnotherNode(text)),
                    other => other,
                })?;
            }
        }
        Ok(Some(seen))
    }
}

impl Deploy<'_> {
    async fn remove_target(&self, target: Uuid) -> Result<(), Setback> {
        let (node, instance) = (self.wanted.node, self.wanted.server.instance);
        match self.ironic.client.delete_volume_target(&self.ironic.caller, target).await {
            Ok(()) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            // Ironic deletes a target only while the machine is off.
            Err(error) if error.is_bad_request() => Err(Setback::Over(Error::AnotherNode(format!(
                "Node {node} has volume target {target} from before instance {instance}, which Ironic does not delete; switch the node \
                 off and delete it before a server can be there: {}",
                error.message()
            )))),
            Err(error) => Err(error.into()),
        }
    }

    async fn validate(&self) -> Result<(), Setback> {
        let validation = self.ironic.client.validate(&self.ironic.caller, self.wanted.node).await?;
        let faults: Vec<String> = VALIDATED
            .iter()
            .filter(|interface| !validation.is_ok(interface))
            .map(|interface| {
                format!("{interface}: {}", validation.reason(interface).unwrap_or("no reason given"))
            })
            .collect();
        if faults.is_empty() {
            return Ok(());
        }
        Err(Setback::Over(Error::AnotherNode(format!(
            "Ironic finds node {} not fit to be deployed for instance {} ({})",
            self.wanted.node,
            self.wanted.server.instance,
            faults.join("; ")
        ))))
    }
}
