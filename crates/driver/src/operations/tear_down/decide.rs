//! Tearing down: what comes next.

use openstack::ironic::{Node, ProvisionState as S};

use super::{Memory, Observed, Step};
use crate::{
    Error, InstanceId,
    ironic::last_error,
    plan::{Limit, Next, Wait},
    watch::Until,
};

/// The next step towards a node without the instance.
pub(crate) fn decide(seen: &Observed, memory: &Memory, instance: InstanceId) -> Next<Step> {
    let Some(node) = seen.node.as_ref().filter(|node| node.instance_uuid == Some(instance.0)) else {
        return Next::Done;
    };
    let state = &node.provision_state;
    match state {
        S::Error if memory.asked && node.reservation.is_some() => {
            let because = "Ironic has failed to tear the node down and still holds its lock";
            let unlocked = Wait { until: Until::Unlocked, ..Wait::provision(node, because) };
            Next::Wait(unlocked.at_most(Limit::Lock))
        }
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
            if memory.asked {
                failed(node, instance)
            } else {
                Next::Act(Step::Undeploy)
            }
        }
        // A state of a newer Ironic: Nova asks, and so do we; whatever it is after that, it is on its way.
        S::Other(_) => {
            if memory.asked {
                let wait = Wait::provision(node, format!("Ironic is in state '{state}'"));
                Next::Wait(wait.at_most(Limit::Lock))
            } else {
                Next::Act(Step::Undeploy)
            }
        }
        S::DeployHold | S::ServiceHold => {
            if memory.aborted {
                let wait = Wait::provision(node, format!("Ironic aborts what is held ('{state}')"));
                Next::Wait(wait.at_most(Limit::Lock))
            } else {
                Next::Act(Step::Abort)
            }
        }
        S::Deleting | S::Deleted => Next::Wait(Wait::provision(node, "Ironic tears the node down")),
        S::Deploying | S::DeployDone | S::Rebuild | S::Rescuing | S::Unrescuing | S::Servicing => {
            let because =
                format!("Ironic must end its present work before the node can be torn down ('{state}')");
            Next::Wait(Wait::provision(node, because))
        }
        S::NoState | S::Available | S::Cleaning | S::CleanWait | S::CleanFailed | S::CleanHold
            if memory.asked =>
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
        | S::AdoptFailed => Next::Act(release(seen)),
    }
}

/// The next step to set a node free that carries no deployment.
fn release(seen: &Observed) -> Step {
    let target = seen.targets.first().map(|id| Step::DeleteTarget(*id));
    target.or_else(|| seen.vifs.first().map(|vif| Step::DetachVif(vif.clone()))).unwrap_or(Step::Clear)
}

fn failed(node: &Node, instance: InstanceId) -> Next<Step> {
    let (id, state) = (node.uuid, &node.provision_state);
    Next::Fail(Error::Retry(format!(
        "Ironic failed to tear down instance {instance} on node {id} (now '{state}'): {}",
        last_error(node)
    )))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{NodeId, testing::states};

    const OURS: InstanceId = InstanceId(Uuid::from_u128(2));

    fn seen(state: S) -> Observed {
        let node = Node {
            provision_state: state,
            instance_uuid: Some(OURS.0),
            last_error: Some("power is stuck".into()),
            ..Node::new(NodeId(Uuid::from_u128(1)))
        };
        Observed { node: Some(node), ..Observed::default() }
    }

    fn first(seen: &Observed) -> Next<Step> {
        decide(seen, &Memory::default(), OURS)
    }

    fn asked(seen: &Observed) -> Next<Step> {
        decide(seen, &Memory { asked: true, ..Memory::default() }, OURS)
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
            Next::Act(Step::Clear) => "clear",
            Next::Wait(_) => "wait",
            Next::Done => "done",
            Next::Fail(Error::Retry(_)) => "failed",
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_state_has_its_next_step() {
        for state in states() {
            let seen = seen(state.clone());
            assert_eq!((outcome(&first(&seen)), outcome(&asked(&seen))), expected(&state), "{state}");
        }
    }

    #[test]
    fn a_node_without_the_instance_is_done_in_every_state() {
        for state in states() {
            let mut other = seen(state.clone());
            if let Some(node) = other.node.as_mut() {
                node.instance_uuid = Some(Uuid::from_u128(9));
            }
            assert_eq!(first(&other), Next::Done, "{state}");
        }
        assert_eq!(first(&Observed::default()), Next::Done);
    }

    #[test]
    fn an_abort_that_was_accepted_is_not_repeated() {
        for state in [S::DeployHold, S::ServiceHold] {
            let memory = Memory { aborted: true, ..Memory::default() };
            assert_eq!(outcome(&decide(&seen(state), &memory, OURS)), "wait");
        }
    }

    #[test]
    fn a_failed_tear_down_has_ended_when_the_lock_is_gone() {
        let mut failing = seen(S::Error);
        let lock = |seen: &mut Observed, host: Option<&str>| {
            if let Some(node) = seen.node.as_mut() {
                node.reservation = host.map(str::to_owned);
            }
        };
        lock(&mut failing, Some("conductor"));
        let Next::Wait(wait) = asked(&failing) else { panic!() };
        assert_eq!((wait.until, wait.limit), (Until::Unlocked, Some(Limit::Lock)));
        lock(&mut failing, None);
        assert_eq!(outcome(&asked(&failing)), "failed");
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
            let released = first(&seen(state.clone())) == Next::Act(Step::Clear);
            assert_eq!(released, !nova.contains(&state.as_str()), "{state}");
        }
    }

    #[test]
    fn what_ironic_works_at_is_waited_for_without_a_limit() {
        for state in states() {
            let limits = [first(&seen(state.clone())), asked(&seen(state.clone()))].map(|next| match next {
                Next::Wait(wait) => wait.limit.is_some(),
                _ => false,
            });
            // Only of a state that no release of ours knows is it unknown whether Ironic works at it.
            assert_eq!(limits.contains(&true), state == S::Other("polishing".into()), "{state}");
        }
    }

    #[test]
    fn the_reservation_goes_last() {
        let (target, vif) = (Uuid::from_u128(3), "vif".to_owned());
        let mut seen = seen(S::Available);
        seen.targets.insert(target);
        seen.vifs.insert(vif.clone());
        assert_eq!(first(&seen), Next::Act(Step::DeleteTarget(target)));
        seen.targets.clear();
        assert_eq!(first(&seen), Next::Act(Step::DetachVif(vif)));
        seen.vifs.clear();
        assert_eq!(first(&seen), Next::Act(Step::Clear));
    }
}
