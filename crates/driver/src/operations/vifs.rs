//! Attaching VIFs (Neutron ports) to a node and detaching them.

use std::collections::BTreeSet;

use openstack::ironic::Node;
use uuid::Uuid;

use crate::{
    Error, NodeId,
    ironic::{Ironic, Unseen},
    plan::{self, Next, Perform, Plan},
    setback::{Setback, is_attached, is_unattachable},
};

/// The VIFs that are attached to the node now; `None` if the node is proven gone.
pub(crate) type Observed = Option<BTreeSet<String>>;

/// What shall become of the VIFs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Attach these, in this order: Ironic gives the network cards away in the order of the calls.
    Attached(Vec<Uuid>),
    /// Detach these.
    Detached(Vec<Uuid>),
}

/// One call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// `POST /v1/nodes/{id}/vifs`.
    Attach(Uuid),
    /// `DELETE /v1/nodes/{id}/vifs/{vif}`.
    Detach(Uuid),
}

impl plan::Step for Step {
    fn name(&self) -> &'static str {
        match self {
            Self::Attach(_) => "attach_vif",
            Self::Detach(_) => "detach_vif",
        }
    }
}

impl Plan for Wanted {
    const NAME: &'static str = "vifs";
    type Observed = Observed;
    type Memory = ();
    type Step = Step;

    /// The first VIF that is not as wanted.
    fn decide(&self, seen: &Observed, (): &()) -> Next<Step> {
        let Some(seen) = seen else {
            return match self {
                Self::Attached(_) => {
                    Next::Fail(Error::AnotherNode("Ironic does not have the node any more".to_owned()))
                }
                Self::Detached(_) => Next::Done,
            };
        };
        let is_there = |vif: &&Uuid| seen.contains(&vif.to_string());
        let step = match self {
            Self::Attached(vifs) => vifs.iter().find(|vif| !is_there(vif)).map(|vif| Step::Attach(*vif)),
            Self::Detached(vifs) => vifs.iter().find(is_there).map(|vif| Step::Detach(*vif)),
        };
        step.map_or(Next::Done, Next::Act)
    }

    fn node<'a>(&self, _seen: &'a Observed) -> Option<&'a Node> {
        None
    }
}

/// The operation.
pub(crate) struct Vifs {
    pub(crate) ironic: Ironic,
    pub(crate) node: NodeId,
    pub(crate) wanted: Wanted,
}

impl Perform for Vifs {
    type Plan = Wanted;

    fn plan(&self) -> &Wanted {
        &self.wanted
    }

    async fn observe(&mut self, _fresh: Option<Node>, (): &()) -> Result<Observed, Unseen> {
        self.ironic.vifs(self.node).await
    }

    async fn perform(&mut self, step: &Step, mut seen: Observed) -> Result<Option<Observed>, Setback> {
        match step {
            Step::Attach(vif) => {
                match self.ironic.client.attach_vif(&self.ironic.caller, self.node, &vif.to_string()).await {
                    Ok(()) => {}
                    // Nova takes this for success too, wherever it is attached.
                    Err(error) if is_attached(&error) => {}
                    Err(error) if is_unattachable(&error) => {
                        return Err(Setback::Over(Error::NoNode(format!(
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vif(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn seen<const N: usize>(vifs: [u128; N]) -> BTreeSet<String> {
        vifs.into_iter().map(|n| vif(n).to_string()).collect()
    }

    #[test]
    fn missing_vifs_are_attached_in_order_and_others_left_alone() {
        let wanted = Wanted::Attached(vec![vif(3), vif(1), vif(2)]);
        assert_eq!(wanted.decide(&Some(seen([])), &()), Next::Act(Step::Attach(vif(3))));
        assert_eq!(wanted.decide(&Some(seen([3, 9])), &()), Next::Act(Step::Attach(vif(1))));
        assert_eq!(wanted.decide(&Some(seen([1, 2, 3, 9])), &()), Next::Done);
    }

    #[test]
    fn only_attached_vifs_are_detached() {
        let wanted = Wanted::Detached(vec![vif(1), vif(2)]);
        assert_eq!(wanted.decide(&Some(seen([2, 9])), &()), Next::Act(Step::Detach(vif(2))));
        assert_eq!(wanted.decide(&Some(seen([9])), &()), Next::Done);
    }

    #[test]
    fn a_node_that_is_gone_has_no_vifs_and_gets_none() {
        assert_eq!(Wanted::Detached(vec![vif(1)]).decide(&None, &()), Next::Done);
        let next = Wanted::Attached(vec![vif(1)]).decide(&None, &());
        assert!(matches!(next, Next::Fail(Error::AnotherNode(_))));
    }
}
