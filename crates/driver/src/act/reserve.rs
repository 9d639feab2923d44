//! Reserving: the calls.

use openstack::ironic::{Node, Patch};

use super::{Ironic, Setback, Unseen, is_elsewhere};
use crate::{
    Error, Next,
    drive::{Named, Operation},
    reserve::{Seen, Step, Wanted, decide},
};

/// The operation.
pub(crate) struct Reserve {
    pub(crate) ironic: Ironic,
    pub(crate) wanted: Wanted,
}

impl Named for Step {
    fn name(&self) -> &'static str {
        match self {
            Self::Reserve => "reserve",
        }
    }
}

impl Operation for Reserve {
    const NAME: &'static str = "reserve";
    type Seen = Seen;
    type Step = Step;

    async fn observe(&mut self, fresh: Option<Node>) -> Result<Seen, Unseen> {
        let node = match fresh {
            Some(node) => Some(node),
            None => self.ironic.node(self.wanted.node).await?,
        };
        Ok(Seen { node })
    }

    fn decide(&self, seen: &Seen) -> Next<Step> {
        decide(seen, &self.wanted)
    }

    async fn act(&mut self, Step::Reserve: Step, _seen: Seen) -> Result<Option<Seen>, Setback> {
        let patch = [Patch::replace("/instance_uuid", self.wanted.instance.to_string())];
        match self.ironic.client.patch_node(&self.ironic.caller, self.wanted.node, &patch).await {
            Ok(node) => Ok(Some(Seen { node: Some(node) })),
            Err(error) if is_elsewhere(&error) => {
                let Wanted { node, instance } = self.wanted;
                Err(Setback::Over(Error::Unavailable(format!(
                    "Node {node} cannot be reserved: instance {instance} still holds another node"
                ))))
            }
            // Taken by another instance in the meantime is a 409 too: the next look tells.
            Err(error) => Err(error.into()),
        }
    }

    fn node<'a>(&self, seen: &'a Seen) -> Option<&'a Node> {
        seen.node.as_ref()
    }
}
