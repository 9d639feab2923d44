//! Attaching VIFs (Neutron ports) to a node and detaching them.

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::{Failure, Next};

/// The VIFs that are attached to the node now; `None` if Ironic does not have the node.
pub type Seen = Option<BTreeSet<String>>;

/// What shall become of the VIFs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Attach these, in this order: Ironic gives the network cards away in the order of the calls.
    Attached(Vec<Uuid>),
    /// Detach these.
    Detached(Vec<Uuid>),
}

/// One call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// `POST /v1/nodes/{id}/vifs`.
    Attach(Uuid),
    /// `DELETE /v1/nodes/{id}/vifs/{vif}`.
    Detach(Uuid),
}

/// The next step: the first VIF that is not as wanted.
pub fn decide(seen: &Seen, wanted: &Wanted) -> Next<Step> {
    let Some(seen) = seen else {
        return match wanted {
            Wanted::Attached(_) => {
                Next::Fail(Failure::Unavailable("Ironic does not have the node any more".to_owned()))
            }
            Wanted::Detached(_) => Next::Done,
        };
    };
    let step = match wanted {
        Wanted::Attached(vifs) => {
            vifs.iter().find(|vif| !seen.contains(&vif.to_string())).map(|vif| Step::Attach(*vif))
        }
        Wanted::Detached(vifs) => {
            vifs.iter().find(|vif| seen.contains(&vif.to_string())).map(|vif| Step::Detach(*vif))
        }
    };
    step.map_or(Next::Done, Next::Act)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vif(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn seen<const N: usize>(vifs: [u128; N]) -> Seen {
        Some(vifs.into_iter().map(|n| vif(n).to_string()).collect())
    }

    #[test]
    fn missing_vifs_are_attached_in_order_and_others_left_alone() {
        let wanted = Wanted::Attached(vec![vif(3), vif(1), vif(2)]);
        assert_eq!(decide(&seen([]), &wanted), Next::Act(Step::Attach(vif(3))));
        assert_eq!(decide(&seen([3, 9]), &wanted), Next::Act(Step::Attach(vif(1))));
        assert_eq!(decide(&seen([1, 2, 3, 9]), &wanted), Next::Done);
    }

    #[test]
    fn only_attached_vifs_are_detached() {
        let wanted = Wanted::Detached(vec![vif(1), vif(2)]);
        assert_eq!(decide(&seen([2, 9]), &wanted), Next::Act(Step::Detach(vif(2))));
        assert_eq!(decide(&seen([9]), &wanted), Next::Done);
    }

    #[test]
    fn a_node_that_is_gone_has_no_vifs_and_gets_none() {
        assert_eq!(decide(&None, &Wanted::Detached(vec![vif(1)])), Next::Done);
        let next = decide(&None, &Wanted::Attached(vec![vif(1)]));
        assert!(matches!(next, Next::Fail(Failure::Unavailable(_))));
    }
}
