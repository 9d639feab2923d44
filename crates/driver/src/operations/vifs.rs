//! Attaching VIFs (Neutron ports) to a node and detaching them.

use std::collections::BTreeSet;

use openstack::ironic::Node;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    Error, NodeId,
    ironic::Ironic,
    plan::{self, Next, Perform, Plan},
    setback::{Setback, is_attached, is_unattachable},
    unseen::Unseen,
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

/// What a look at the node does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// The VIFs that Ironic was asked to detach, and has.
    detached: BTreeSet<Uuid>,
}

impl Plan for Wanted {
    const NAME: &'static str = "vifs";
    type Observed = Observed;
    type Memory = Memory;
    type Step = Step;

    /// The first VIF that is not as wanted. A VIF that does not show may be about to: an attachment that was asked for before a
    /// restart, or whose answer was lost, holds the node's lock until it is done. So Ironic is asked once to detach it all the same;
    /// it answers after that.
    fn decide(&self, seen: &Observed, memory: &Memory) -> Next<Step> {
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
            Self::Detached(vifs) => {
                let is_left = |vif: &&Uuid| is_there(vif) || !memory.detached.contains(vif);
                vifs.iter().find(is_left).map(|vif| Step::Detach(*vif))
            }
        };
        step.map_or(Next::Done, Next::Act)
    }

    fn accepted(&self, step: &Step, memory: &mut Memory) {
        if let Step::Detach(vif) = step {
            memory.detached.insert(*vif);
        }
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

    async fn observe(&mut self, _fresh: Option<Node>, _memory: &Memory) -> Result<Observed, Unseen> {
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
    use crate::testing::model::{World, check};

    fn vif(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn seen<const N: usize>(vifs: [u128; N]) -> BTreeSet<String> {
        vifs.into_iter().map(|n| vif(n).to_string()).collect()
    }

    #[test]
    fn missing_vifs_are_attached_in_order_and_others_left_alone() {
        let wanted = Wanted::Attached(vec![vif(3), vif(1), vif(2)]);
        let next = |seen| wanted.decide(&Some(seen), &Memory::default());
        assert_eq!(next(seen([])), Next::Act(Step::Attach(vif(3))));
        assert_eq!(next(seen([3, 9])), Next::Act(Step::Attach(vif(1))));
        assert_eq!(next(seen([1, 2, 3, 9])), Next::Done);
    }

    #[test]
    fn each_vif_is_detached_whether_it_shows_or_not_and_others_are_left_alone() {
        let wanted = Wanted::Detached(vec![vif(1), vif(2)]);
        let next = |seen, detached: &[Uuid]| {
            wanted.decide(&Some(seen), &Memory { detached: detached.iter().copied().collect() })
        };
        assert_eq!(next(seen([2, 9]), &[]), Next::Act(Step::Detach(vif(1))));
        assert_eq!(next(seen([2, 9]), &[vif(1)]), Next::Act(Step::Detach(vif(2))));
        assert_eq!(next(seen([1, 9]), &[vif(1), vif(2)]), Next::Act(Step::Detach(vif(1))));
        assert_eq!(next(seen([9]), &[vif(1), vif(2)]), Next::Done);
    }

    #[test]
    fn a_node_that_is_gone_has_no_vifs_and_gets_none() {
        let memory = Memory::default();
        assert_eq!(Wanted::Detached(vec![vif(1)]).decide(&None, &memory), Next::Done);
        let next = Wanted::Attached(vec![vif(1)]).decide(&None, &memory);
        assert!(matches!(next, Next::Fail(Error::AnotherNode(_))));
    }

    /// A node with one VIF, or without.
    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    struct OneVif {
        attaches: bool,
        attached: bool,
        /// An attachment of before is under way, and holds the node's lock.
        arriving: bool,
    }

    impl World for OneVif {
        type Plan = Wanted;

        fn plan(&self) -> Wanted {
            let vifs = vec![vif(1)];
            if self.attaches { Wanted::Attached(vifs) } else { Wanted::Detached(vifs) }
        }

        fn observed(&self) -> Observed {
            Some(if self.attached { seen([1]) } else { seen([]) })
        }

        fn take(&self, step: &Step) -> Vec<Self> {
            let attached = matches!(step, Step::Attach(_));
            if self.arriving { vec![] } else { vec![Self { attached, ..self.clone() }] }
        }

        fn moves(&self) -> Vec<Self> {
            let ended = |attached| Self { arriving: false, attached, ..self.clone() };
            if self.arriving { vec![ended(true), ended(false)] } else { vec![] }
        }

        fn ends(&self, end: Result<(), Error>, memory: &Memory) {
            assert_eq!(end, Ok(()));
            assert!(self.attached == self.attaches, "ended too early: {self:?}");
            assert!(self.attaches || memory.detached.contains(&vif(1)));
        }
    }

    #[test]
    fn every_attachment_and_every_detachment_ends_whatever_is_still_under_way() {
        let starts =
            [(true, false), (false, false), (false, true)].into_iter().flat_map(|(attaches, attached)| {
                let world = OneVif { attaches, attached, arriving: false };
                [world.clone(), OneVif { arriving: !attached, ..world }]
            });
        check(starts, 15);
    }
}
