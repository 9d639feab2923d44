//! Attaching and detaching VIFs: the calls.

use openstack::ironic::Node;

use super::{Ironic, Setback, Unseen, is_attached, is_unattachable};
use crate::{
    Error, Next, NodeId,
    drive::{Named, Operation},
    vifs::{Seen, Step, Wanted, decide},
};

/// The operation.
pub(crate) struct Vifs {
    pub(crate) ironic: Ironic,
    pub(crate) node: NodeId,
    pub(crate) wanted: Wanted,
}

impl Named for Step {
    fn name(&self) -> &'static str {
        match self {
            Self::Attach(_) => "attach_vif",
            Self::Detach(_) => "detach_vif",
        }
    }
}

impl Operation for Vifs {
    const NAME: &'static str = "vifs";
    type Seen = Seen;
    type Step = Step;

    async fn observe(&mut self, _fresh: Option<Node>) -> Result<Seen, Unseen> {
        self.ironic.vifs(self.node).await
    }

    fn decide(&self, seen: &Seen) -> Next<Step> {
        decide(seen, &self.wanted)
    }

    async fn act(&mut self, step: Step, mut seen: Seen) -> Result<Option<Seen>, Setback> {
        match step {
            Step::Attach(vif) => {
                match self.ironic.client.attach_vif(&self.ironic.caller, self.node, &vif.to_string()).await {
                    Ok(()) => {}
                    // Nova takes this for success too, wherever it is attached.
                    Err(error) if is_attached(&error) => {}
                    Err(error) if is_unattachable(&error) => {
                        return Err(Setback::Over(Error::Vif(format!(
                            "VIF {vif} cannot be attached to node {}: {}",
                            self.node,
                            error.message()
                        ))));
                    }
                    Err(error) => return Err(error.into()),
                }
                seen.get_or_insert_default().insert(vif.to_string());
            }
            Step::Detach(vif) => {
                let vif = vif.to_string();
                self.ironic.detach_vif(self.node, &vif).await?;
                seen.get_or_insert_default().remove(&vif);
            }
        }
        Ok(Some(seen))
    }

    fn node<'a>(&self, _seen: &'a Seen) -> Option<&'a Node> {
        None
    }
}
