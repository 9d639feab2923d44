//! The request to deploy a node, the first time or again: with a config drive that is made once, and kept until Ironic has it.

use openstack::ironic::{Node, ProvisionState, ProvisionTarget};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::{
    ConfigDrive, Error,
    ironic::Ironic,
    setback::{Setback, is_bad_image},
};

/// A config drive that was asked for; empty for a deployment without.
struct Built(Option<SecretString>);

/// `PUT …/states/provision` with target `active` or `rebuild`.
pub(crate) struct DeployRequest<'a> {
    config_drive: &'a dyn ConfigDrive,
    cancel: &'a CancellationToken,
    /// The config drive, from when it is built until Ironic has it.
    built: Option<Built>,
}

impl<'a> DeployRequest<'a> {
    /// A request that goes with this config drive, unless it is cancelled before.
    pub(crate) fn new(config_drive: &'a dyn ConfigDrive, cancel: &'a CancellationToken) -> Self {
        Self { config_drive, cancel, built: None }
    }

    /// Sends it; the node is then as Ironic has it. What Ironic refuses for good is an [`Error::Retry`], and an
    /// [`Error::NoNode`] where it refuses the image.
    pub(crate) async fn send(
        &mut self,
        ironic: &Ironic,
        node: &mut Node,
        target: ProvisionTarget,
    ) -> Result<(), Setback> {
        if self.built.is_none() {
            let building = self.cancel.run_until_cancelled(self.config_drive.build(node));
            let drive = building.await.ok_or(Setback::Over(Error::Cancelled))??;
            self.built = Some(Built(drive));
        }
        if self.cancel.is_cancelled() {
            return Err(Setback::Over(Error::Cancelled));
        }
        let Ironic { client, caller, .. } = ironic;
        let drive = self.built.as_ref().and_then(|built| built.0.as_ref());
        let sent = client.set_provision_state(caller, node.uuid, target, drive, None).await;
        sent.map_err(|error| refusal(node, target, error))?;
        self.built = None;
        // Ironic has changed the state before it answers.
        node.provision_state = ProvisionState::Deploying;
        node.target_provision_state = ProvisionState::Active;
        Ok(())
    }
}

fn refusal(node: &Node, target: ProvisionTarget, error: openstack::Error) -> Setback {
    if is_bad_image(&error) {
        let text = format!("Ironic refuses the image of the instance: {}", error.message());
        return Setback::Over(Error::NoNode(text));
    }
    let verb = if target == ProvisionTarget::Rebuild { "rebuild" } else { "deploy" };
    let text = format!("Ironic refuses to {verb} node {}: {}", node.uuid, error.message());
    match Setback::from(error) {
        Setback::Over(_) => Setback::Over(Error::Retry(text)),
        other => other,
    }
}
