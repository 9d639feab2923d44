//! Releasing a node that was reserved but carries no deployment: what Nova does after a build that failed before Ironic was
//! asked to deploy. Volume targets go first, then VIFs, and the instance's uuid last, so that a release that was cut off can be resumed.

use std::collections::BTreeSet;

use openstack::ironic::{Node, ProvisionState as S};
use uuid::Uuid;

use crate::{Failure, InstanceId, Next};

/// What releasing looks at. Volume targets and VIFs need to be known only while the node is the instance's.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The node; `None` if it is proven gone.
    pub node: Option<Node>,
    /// Its volume targets, by Ironic's id.
    pub targets: BTreeSet<Uuid>,
    /// The VIFs attached to it.
    pub vifs: BTreeSet<String>,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `DELETE /v1/volume/targets/{id}`.
    DeleteTarget(Uuid),
    /// `DELETE /v1/nodes/{id}/vifs/{vif}`.
    DetachVif(String),
    /// `PATCH`: no `instance_uuid`, empty `instance_info`.
    Clear,
}

/// The next step to set the instance's node free.
pub fn decide(seen: &Seen, instance: InstanceId) -> Next<Step> {
    let Some(node) = seen.node.as_ref().filter(|node| node.instance_uuid == Some(instance.0)) else {
        return Next::Done;
    };
    match &node.provision_state {
        S::NoState
        | S::Available
        | S::Enroll
        | S::Verifying
        | S::Manageable
        | S::Inspecting
        | S::InspectWait
        | S::InspectFailed
        | S::Adopting
        | S::AdoptFailed
        | S::Cleaning
        | S::CleanWait
        | S::CleanFailed
        | S::CleanHold => Next::Act(step(seen)),
        state @ (S::Active
        | S::Deploying
        | S::WaitCallBack
        | S::DeployFailed
        | S::DeployHold
        | S::DeployDone
        | S::Rebuild
        | S::Deleting
        | S::Deleted
        | S::Error
        | S::Rescue
        | S::Rescuing
        | S::RescueWait
        | S::RescueFailed
        | S::Unrescuing
        | S::UnrescueFailed
        | S::Servicing
        | S::ServiceWait
        | S::ServiceFailed
        | S::ServiceHold
        | S::Other(_)) => Next::Fail(Failure::Deployed(format!(
            "Node {} of instance {instance} is '{state}': it must be torn down, not just released",
            node.uuid
        ))),
    }
}

fn step(seen: &Seen) -> Step {
    let target = seen.targets.first().map(|id| Step::DeleteTarget(*id));
    target.or_else(|| seen.vifs.first().map(|vif| Step::DetachVif(vif.clone()))).unwrap_or(Step::Clear)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NodeId, act::tests::states};

    const OURS: InstanceId = InstanceId(Uuid::from_u128(2));

    fn seen(state: S, instance: Option<InstanceId>) -> Seen {
        let node = Node {
            provision_state: state,
            instance_uuid: instance.map(|id| id.0),
            ..Node::new(NodeId(Uuid::from_u128(1)))
        };
        Seen { node: Some(node), targets: BTreeSet::new(), vifs: BTreeSet::new() }
    }

    #[test]
    fn a_node_that_is_not_ours_is_left_alone_in_every_state() {
        for state in states() {
            assert_eq!(decide(&seen(state.clone(), None), OURS), Next::Done);
            assert_eq!(decide(&seen(state, Some(InstanceId(Uuid::from_u128(9)))), OURS), Next::Done);
        }
        let none = Seen { node: None, targets: BTreeSet::new(), vifs: BTreeSet::new() };
        assert_eq!(decide(&none, OURS), Next::Done);
    }

    #[test]
    fn a_node_with_a_deployment_is_never_cleared() {
        let free = [
            S::NoState,
            S::Available,
            S::Enroll,
            S::Verifying,
            S::Manageable,
            S::Inspecting,
            S::InspectWait,
            S::InspectFailed,
            S::Adopting,
            S::AdoptFailed,
            S::Cleaning,
            S::CleanWait,
            S::CleanFailed,
            S::CleanHold,
        ];
        for state in states() {
            let next = decide(&seen(state.clone(), Some(OURS)), OURS);
            if free.contains(&state) {
                assert_eq!(next, Next::Act(Step::Clear), "{state}");
            } else {
                assert!(matches!(next, Next::Fail(Failure::Deployed(_))), "{state}");
            }
        }
    }

    #[test]
    fn the_reservation_goes_last() {
        let (target, vif) = (Uuid::from_u128(3), "vif".to_owned());
        let mut seen = seen(S::Available, Some(OURS));
        seen.targets.insert(target);
        seen.vifs.insert(vif.clone());
        assert_eq!(decide(&seen, OURS), Next::Act(Step::DeleteTarget(target)));
        seen.targets.clear();
        assert_eq!(decide(&seen, OURS), Next::Act(Step::DetachVif(vif)));
        seen.vifs.clear();
        assert_eq!(decide(&seen, OURS), Next::Act(Step::Clear));
    }
}
