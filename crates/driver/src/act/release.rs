//! Releasing: the calls.

use std::collections::BTreeSet;

use openstack::ironic::{Node, Patch};
use serde_json::{Value, json};
use tracing::warn;
use uuid::Uuid;

use super::{Ironic, Setback, Unseen};
use crate::{
    InstanceId, Next, NodeId,
    drive::{Named, Operation},
    release::{Seen, Step, decide},
};

/// The operation.
pub(crate) struct Release {
    pub(crate) ironic: Ironic,
    pub(crate) node: NodeId,
    pub(crate) instance: InstanceId,
    /// Volume targets that Ironic refuses to delete: they are not asked for again.
    pub(crate) refused: BTreeSet<Uuid>,
}

impl Named for Step {
    fn name(&self) -> &'static str {
        match self {
            Self::DeleteTarget(_) => "delete_volume_target",
            Self::DetachVif(_) => "detach_vif",
            Self::Clear => "clear",
        }
    }
}

impl Release {
    /// What else must be known of a node that is to be released.
    pub(crate) async fn look(&self, node: Option<Node>) -> Result<Seen, Unseen> {
        let mut seen = Seen { node, targets: BTreeSet::new(), vifs: BTreeSet::new() };
        let bare = Seen { targets: BTreeSet::new(), ..seen.clone() };
        if let (Some(node), Next::Act(_)) = (&seen.node, decide(&bare, self.instance)) {
            let targets = self.ironic.client.volume_targets(&self.ironic.caller, node.uuid).await?;
            seen.targets = targets.into_iter().map(|target| target.uuid).collect();
            seen.targets.retain(|target| !self.refused.contains(target));
            seen.vifs = self.ironic.vifs(node.uuid).await?.unwrap_or_default();
        }
        Ok(seen)
    }
}

impl Operation for Release {
    const NAME: &'static str = "release";
    type Seen = Seen;
    type Step = Step;

    async fn observe(&mut self, fresh: Option<Node>) -> Result<Seen, Unseen> {
        let node = match fresh {
            Some(node) => Some(node),
            None => self.ironic.node(self.node).await?,
        };
        self.look(node).await
    }

    fn decide(&self, seen: &Seen) -> Next<Step> {
        decide(seen, self.instance)
    }

    async fn act(&mut self, step: Step, mut seen: Seen) -> Result<Option<Seen>, Setback> {
        let Ironic { client, caller, .. } = &self.ironic;
        match step {
            Step::DeleteTarget(target) => {
                match client.delete_volume_target(caller, target).await {
                    Ok(()) => {}
                    Err(error) if error.is_not_found() => {}
                    // Ironic deletes a target only while the machine is off. Nova goes on all the same; no deployment
                    // begins with a target that is not its own.
                    Err(error) if error.is_bad_request() => {
                        warn!(node = %self.node, instance = %self.instance, %target, %error, "volume target stays");
                        self.refused.insert(target);
                    }
                    Err(error) => return Err(error.into()),
                }
                seen.targets.remove(&target);
            }
            Step::DetachVif(vif) => {
                self.ironic.detach_vif(self.node, &vif).await?;
                seen.vifs.remove(&vif);
            }
            Step::Clear => {
                let patch = [
                    Patch::replace("/instance_uuid", Value::Null),
                    Patch::replace("/instance_info", json!({})),
                ];
                seen.node = Some(client.patch_node(caller, self.node, &patch).await?);
            }
        }
        Ok(Some(seen))
    }

    fn node<'a>(&self, seen: &'a Seen) -> Option<&'a Node> {
        seen.node.as_ref()
    }
}
