//! Tearing down: from whatever state the instance's node is in to a node that does not carry the instance.
//!
//! The states that are torn down and those that are only released are Nova's (`_UNPROVISION_STATES` of its driver, and every unknown state). Beyond Nova:
//! - a state that Ironic's machine has no way out of but its own progress (`deploying`, `rescuing`, …) is waited for as long as Ironic works
//!   at it, rather than asked again and again;
//! - a deployment or service that an operator's step holds is aborted first: Ironic does not delete from `deploy hold` and `service hold`;
//! - `deleting` is waited for in the same way: it ends in cleaning or in `error` by Ironic's own timeouts. A tear-down that fails ends in two
//!   steps (`_do_node_tear_down` of Ironic's conductor): the state is `error` first, and the node still locked; then the instance leaves it all the
//!   same, and the lock goes.

use openstack::ironic::{Node, ProvisionState as S};

use crate::{Failure, InstanceId, Next, deploy::last_error, release};

/// What tearing down looks at.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The node that carries the instance, or carried it when we began, and what else must be known to release it.
    pub release: release::Seen,
    /// Ironic has accepted our `PUT` of target `deleted`.
    pub asked: bool,
    /// Ironic has accepted our `PUT` of target `abort`.
    pub aborted: bool,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `PUT …/states/provision` with target `abort`.
    Abort,
    /// `PUT …/states/provision` with target `deleted`.
    Undeploy,
    /// The node carries no deployment: release it.
    Release(release::Step),
}

/// The next step towards a node without the instance.
pub fn decide(seen: &Seen, instance: InstanceId) -> Next<Step> {
    let Some(node) = seen.release.node.as_ref().filter(|node| node.instance_uuid == Some(instance.0)) else {
        return Next::Done;
    };
    match &node.provision_state {
        S::Error if seen.asked && node.reservation.is_some() => Next::Wait,
        S::Active
        | S::WaitCallBack
        | S::DeployFailed
        | S::Rescue
        | S::RescueWait
        | S::RescueFailed
        | S::UnrescueFailed
        | S::ServiceWait
        | S::ServiceFailed
        | S::Error => {
            if seen.asked {
                failed(node, instance)
            } else {
                Next::Act(Step::Undeploy)
            }
        }
        // A state of a newer Ironic: Nova asks, and so do we; whatever it is after that, it is on its way.
        S::Other(_) => {
            if seen.asked {
                Next::Wait
            } else {
                Next::Act(Step::Undeploy)
            }
        }
        S::DeployHold | S::ServiceHold => {
            if seen.aborted {
                Next::Wait
            } else {
                Next::Act(Step::Abort)
            }
        }
        S::Deleting
        | S::Deleted
        | S::Deploying
        | S::DeployDone
        | S::Rebuild
        | S::Rescuing
        | S::Unrescuing
        | S::Servicing => Next::Wait,
        S::NoState | S::Available | S::Cleaning | S::CleanWait | S::CleanFailed | S::CleanHold
            if seen.asked =>
        {
            Next::Done
        }
        S::NoState
        | S::Available
        | S::Cleaning
        | S::CleanWait
        | S::CleanFailed
        | S::CleanHold
        | S::Enroll
        | S::Verifying
        | S::Manageable
        | S::Inspecting
        | S::InspectWait
        | S::InspectFailed
        | S::Adopting
        | S::AdoptFailed => release::decide(&seen.release, instance).map(Step::Release),
    }
}

/// Whether Ironic is at work on our request, so that waiting needs no limit.
pub fn under_way(seen: &Seen) -> bool {
    let state = seen.release.node.as_ref().map(|node| &node.provision_state);
    matches!(
        state,
        Some(
            S::Deleting
                | S::Deleted
                | S::Deploying
                | S::DeployDone
                | S::Rebuild
                | S::Rescuing
                | S::Unrescuing
                | S::Servicing
        )
    )
}

fn failed(node: &Node, instance: InstanceId) -> Next<Step> {
    let (id, state) = (node.uuid, &node.provision_state);
    Next::Fail(Failure::TearDownFailed(format!(
        "Ironic failed to tear down instance {instance} on node {id} (now '{state}'): {}",
        last_error(node)
    )))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use uuid::Uuid;

    use super::*;
    use crate::{NodeId, act::tests::states};

    const OURS: InstanceId = InstanceId(Uuid::from_u128(2));

    fn seen(state: S) -> Seen {
        let node = Node {
            provision_state: state,
            instance_uuid: Some(OURS.0),
            last_error: Some("power is stuck".into()),
            ..Node::new(NodeId(Uuid::from_u128(1)))
        };
        Seen {
            release: release::Seen { node: Some(node), targets: BTreeSet::new(), vifs: BTreeSet::new() },
            asked: false,
            aborted: false,
        }
    }

    /// What each state leads to at first, and after Ironic took our request.
    fn expected(state: &S) -> (&'static str, &'static str) {
        match state.as_str() {
            "active" | "wait call-back" | "deploy failed" | "error" | "rescue" | "rescue wait"
            | "rescue failed" | "unrescue failed" | "service wait" | "service failed" => {
                ("undeploy", "failed")
            }
            "polishing" => ("undeploy", "wait"),
            "deploy hold" | "service hold" => ("abort", "abort"),
            "deleting" | "deleted" | "deploying" | "deploy complete" | "rebuild" | "rescuing"
            | "unrescuing" | "servicing" => ("wait", "wait"),
            "" | "available" | "cleaning" | "clean wait" | "clean failed" | "clean hold" => ("clear", "done"),
            "enroll" | "verifying" | "manageable" | "inspecting" | "inspect wait" | "inspect failed"
            | "adopting" | "adopt failed" => ("clear", "clear"),
            other => panic!("no expectation for '{other}'"),
        }
    }

    fn outcome(next: &Next<Step>) -> &'static str {
        match next {
            Next::Act(Step::Undeploy) => "undeploy",
            Next::Act(Step::Abort) => "abort",
            Next::Act(Step::Release(release::Step::Clear)) => "clear",
            Next::Wait => "wait",
            Next::Done => "done",
            Next::Fail(Failure::TearDownFailed(_)) => "failed",
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_state_has_its_next_step() {
        for state in states() {
            let first = decide(&seen(state.clone()), OURS);
            let asked = decide(&Seen { asked: true, ..seen(state.clone()) }, OURS);
            assert_eq!((outcome(&first), outcome(&asked)), expected(&state), "{state}");
        }
    }

    #[test]
    fn a_node_without_the_instance_is_done_in_every_state() {
        for state in states() {
            let mut other = seen(state.clone());
            if let Some(node) = other.release.node.as_mut() {
                node.instance_uuid = Some(Uuid::from_u128(9));
            }
            assert_eq!(decide(&other, OURS), Next::Done, "{state}");
        }
        let mut none = seen(S::Active);
        none.release.node = None;
        assert_eq!(decide(&none, OURS), Next::Done);
    }

    #[test]
    fn an_abort_that_was_accepted_is_not_repeated() {
        for state in [S::DeployHold, S::ServiceHold] {
            assert_eq!(decide(&Seen { aborted: true, ..seen(state) }, OURS), Next::Wait);
        }
    }

    #[test]
    fn a_failed_tear_down_has_ended_when_the_lock_is_gone() {
        let mut failing = Seen { asked: true, ..seen(S::Error) };
        let lock = |seen: &mut Seen, host: Option<&str>| {
            if let Some(node) = seen.release.node.as_mut() {
                node.reservation = host.map(str::to_owned);
            }
        };
        lock(&mut failing, Some("conductor"));
        assert_eq!(decide(&failing, OURS), Next::Wait);
        assert!(!under_way(&failing));
        lock(&mut failing, None);
        assert_eq!(outcome(&decide(&failing, OURS)), "failed");
    }

    #[test]
    fn the_states_that_are_torn_down_are_those_of_nova() {
        // _UNPROVISION_STATES of nova/virt/ironic/driver.py 34.0.0; all others are only released there.
        let nova = [
            "active",
            "deploy failed",
            "error",
            "wait call-back",
            "deploying",
            "deploy hold",
            "rescue",
            "rescuing",
            "rescue wait",
            "rescue failed",
            "unrescuing",
            "unrescue failed",
            "servicing",
            "service wait",
            "service failed",
            "service hold",
            "polishing",
            // Not states that a node is ever found in, or under way already:
            "deleting",
            "deleted",
            "deploy complete",
            "rebuild",
        ];
        for state in states() {
            let released = matches!(decide(&seen(state.clone()), OURS), Next::Act(Step::Release(_)));
            assert_eq!(released, !nova.contains(&state.as_str()), "{state}");
        }
    }
}
