//! Deploying: the calls.

use std::collections::BTreeSet;

use openstack::ironic::{Node, ProvisionState, ProvisionTarget};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Ironic, Setback, Unseen, is_bad_image};
use crate::{
    ConfigDrive, Error, Next,
    deploy::{Seen, Step, Wanted, decide, may_have_targets},
    drive::{Named, Operation},
    gate::{Gate, Gates},
};

/// What Ironic's validation must find usable, as Nova asks.
const VALIDATED: [&str; 3] = ["deploy", "power", "storage"];

/// A config drive that was asked for; empty for a deployment without.
pub(crate) struct Built(Option<SecretString>);

/// The operation.
pub(crate) struct Deploy<'a> {
    pub(crate) ironic: Ironic,
    pub(crate) wanted: Wanted,
    pub(crate) config_drive: &'a dyn ConfigDrive,
    pub(crate) cancel: &'a CancellationToken,
    /// The config drive, from when it is built until Ironic has it.
    pub(crate) built: Option<Built>,
    /// The volumes whose targets we have asked for.
    pub(crate) added: BTreeSet<String>,
    pub(crate) described: bool,
    pub(crate) valid: bool,
    pub(crate) asked: bool,
}

impl Named for Step {
    fn name(&self) -> &'static str {
        match self {
            Self::Describe(_) => "describe",
            Self::RemoveTarget(_) => "remove_volume_target",
            Self::AddTarget(_) => "add_volume_target",
            Self::Validate => "validate",
            Self::Deploy => "deploy",
        }
    }
}

impl Operation for Deploy<'_> {
    const NAME: &'static str = "deploy";
    type Seen = Seen;
    type Step = Step;

    async fn observe(&mut self, fresh: Option<Node>) -> Result<Seen, Unseen> {
        let node = match fresh {
            Some(node) => Some(node),
            None => self.ironic.node(self.wanted.node).await?,
        };
        let mut seen = Seen {
            node,
            targets: Vec::new(),
            added: self.added.clone(),
            described: self.described,
            valid: self.valid,
            asked: self.asked,
        };
        let may_have_targets = seen.node.as_ref().is_some_and(|node| may_have_targets(node, &self.wanted));
        if may_have_targets && matches!(self.decide(&seen), Next::Act(_)) {
            seen.targets = self.ironic.client.volume_targets(&self.ironic.caller, self.wanted.node).await?;
        }
        Ok(seen)
    }

    fn decide(&self, seen: &Seen) -> Next<Step> {
        decide(seen, &self.wanted)
    }

    async fn act(&mut self, step: Step, mut seen: Seen) -> Result<Option<Seen>, Setback> {
        let Ironic { client, caller, .. } = &self.ironic;
        match step {
            Step::Describe(patch) => {
                seen.node = Some(client.patch_node(caller, self.wanted.node, &patch).await?);
                (self.described, seen.described) = (true, true);
                (self.valid, seen.valid) = (false, false);
            }
            Step::RemoveTarget(target) => {
                self.remove_target(target).await?;
                seen.targets.retain(|there| there.uuid != target);
            }
            Step::AddTarget(target) => {
                // Before the answer, which may be lost.
                self.added.insert(target.volume_id.clone());
                seen.targets.push(client.create_volume_target(caller, &target).await?);
                seen.added = self.added.clone();
            }
            Step::Validate => {
                self.validate().await?;
                (self.valid, seen.valid) = (true, true);
            }
            Step::Deploy => {
                let Some(node) = seen.node.as_mut() else { return Ok(None) };
                self.put(node).await?;
                self.asked = true;
                self.built = None;
                seen.asked = true;
                // Ironic has changed the state before it answers.
                node.provision_state = ProvisionState::Deploying;
                node.target_provision_state = ProvisionState::Active;
            }
        }
        Ok(Some(seen))
    }

    fn gate<'a>(&self, gates: &'a Gates, step: &Step) -> Option<&'a Gate> {
        matches!(step, Step::Deploy).then_some(&gates.deployments)
    }

    fn node<'a>(&self, seen: &'a Seen) -> Option<&'a Node> {
        seen.node.as_ref()
    }
}

impl Deploy<'_> {
    async fn remove_target(&self, target: Uuid) -> Result<(), Setback> {
        let (node, instance) = (self.wanted.node, self.wanted.server.instance);
        match self.ironic.client.delete_volume_target(&self.ironic.caller, target).await {
            Ok(()) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            // Ironic deletes a target only while the machine is off.
            Err(error) if error.is_bad_request() => Err(Setback::Over(Error::Unavailable(format!(
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
        Err(Setback::Over(Error::Invalid(format!(
            "Ironic finds node {} not fit to be deployed for instance {} ({})",
            self.wanted.node,
            self.wanted.server.instance,
            faults.join("; ")
        ))))
    }

    async fn put(&mut self, node: &Node) -> Result<(), Setback> {
        if self.built.is_none() {
            let building = self.cancel.run_until_cancelled(self.config_drive.build(node));
            let drive = building.await.ok_or(Setback::Over(Error::Cancelled))??;
            self.built = Some(Built(drive));
        }
        if self.cancel.is_cancelled() {
            return Err(Setback::Over(Error::Cancelled));
        }
        let Ironic { client, caller, .. } = &self.ironic;
        let drive = self.built.as_ref().and_then(|built| built.0.as_ref());
        let put = client.set_provision_state(caller, node.uuid, ProvisionTarget::Active, drive, None);
        put.await.map_err(|error| {
            if is_bad_image(&error) {
                let text = format!("Ironic refuses the image of the instance: {}", error.message());
                return Setback::Over(Error::Rejected(text));
            }
            match Setback::from(error) {
                Setback::Over(Error::Remote(error)) => Setback::Over(Error::DeployFailed(format!(
                    "Ironic refuses to deploy node {}: {}",
                    node.uuid,
                    error.message()
                ))),
                other => other,
            }
        })
    }
}
