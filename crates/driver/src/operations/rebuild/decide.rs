//! Rebuilding: what comes next.

use openstack::ironic::{Node, ProvisionState as S};

use super::{Memory, Observed, Stamp, Step, Wanted};
use crate::{
    Error,
    instance_info::{instance_info, new_description},
    ironic::last_error,
    plan::{Next, Wait},
};

/// The next step towards a node that is deployed anew.
pub(crate) fn decide(seen: &Observed, memory: &Memory, wanted: &Wanted) -> Next<Step> {
    let (id, instance) = (wanted.node, wanted.server.instance);
    let gone = |why: &str| Next::Fail(Error::Gone(format!("Instance {instance} lost node {id}: {why}")));
    let Some(node) = &seen.node else {
        return gone("Ironic does not have it any more");
    };
    if node.instance_uuid != Some(instance.0) {
        return gone("it does not carry the instance's uuid any more");
    }
    let state = &node.provision_state;
    match state {
        S::Active if has_begun(node, memory) => Next::Done,
        S::DeployFailed | S::Error if has_begun(node, memory) => Next::Fail(Error::Retry(format!(
            "Ironic failed to rebuild instance {instance} on node {id}: {}",
            last_error(node)
        ))),
        S::Active | S::DeployFailed | S::Error => ask(node, memory, wanted),
        S::Deploying | S::WaitCallBack | S::DeployDone | S::Rebuild | S::Adopting => {
            Next::Wait(Wait::provision(node, format!("Ironic deploys the node ('{state}')")))
        }
        S::DeployHold | S::ServiceHold => {
            Next::Wait(Wait::provision(node, format!("an operator's step holds the node ('{state}')")))
        }
        S::Rescuing | S::RescueWait | S::Unrescuing | S::Servicing | S::ServiceWait => {
            Next::Wait(Wait::provision(node, format!("Ironic works at the node ('{state}')")))
        }
        // A state of a newer Ironic, on a node that is ours: it leads somewhere.
        S::Other(_) => Next::Wait(Wait::provision(node, format!("Ironic is in state '{state}'"))),
        S::Rescue
        | S::RescueFailed
        | S::UnrescueFailed
        | S::ServiceFailed
        | S::AdoptFailed
        | S::Enroll
        | S::Verifying
        | S::Manageable
        | S::Inspecting
        | S::InspectWait
        | S::InspectFailed => Next::Fail(Error::Retry(format!(
            "Ironic cannot rebuild node {id} while it is in state '{state}'"
        ))),
        S::NoState | S::Available => gone(&format!("it was given back ('{state}')")),
        S::Deleting | S::Deleted | S::Cleaning | S::CleanWait | S::CleanFailed | S::CleanHold => {
            gone(&format!("it is being torn down ('{state}')"))
        }
    }
}

/// Whether Ironic has begun a rebuild that was asked for.
fn has_begun(node: &Node, memory: &Memory) -> bool {
    !memory.before.is_empty() && !memory.before.contains(&stamp(node)) && !was_put_back(node)
}

/// Whether Ironic had no worker for the request and put the node back where it was: its state has changed twice
/// (`provisioning_error_handler` of its conductor).
fn was_put_back(node: &Node) -> bool {
    node.last_error.as_deref().is_some_and(|text| text.contains("No free conductor workers"))
}

/// When Ironic last changed the node's provision state.
pub(super) fn stamp(node: &Node) -> Stamp {
    Stamp(node.provision_updated_at.clone())
}

/// The steps to a rebuild of a node at rest.
fn ask(node: &Node, memory: &Memory, wanted: &Wanted) -> Next<Step> {
    let id = node.uuid;
    if memory.accepted {
        return Next::Fail(Error::Retry(format!(
            "Ironic accepted the rebuild of node {id}, but has not begun it: {}",
            last_error(node)
        )));
    }
    if node.maintenance {
        return Next::Fail(Error::Retry(format!("Node {id} is in maintenance; Ironic cannot rebuild it")));
    }
    let patch = new_description(node, &instance_info(&wanted.server, node));
    if !memory.described && !patch.is_empty() {
        return Next::Act(Step::Describe(patch));
    }
    Next::Act(Step::Rebuild)
}

#[cfg(test)]
mod tests {
    use openstack::ironic::{NodeId, Patch};
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::{instance_info::tests::captured, testing::states};

    fn wanted() -> Wanted {
        Wanted { node: NodeId(Uuid::from_u128(1)), server: captured() }
    }

    fn node(state: S) -> Node {
        Node {
            provision_state: state,
            provision_updated_at: Some("10:00:00".into()),
            instance_uuid: Some(wanted().server.instance.0),
            instance_info: instance_info(&captured(), &Node::new(wanted().node)).into_iter().collect(),
            ..Node::new(wanted().node)
        }
    }

    fn next(node: Node, memory: &Memory) -> Next<Step> {
        decide(&Observed { node: Some(node) }, memory, &wanted())
    }

    /// A request was about to be made at this time.
    fn asked_at(time: &str) -> Memory {
        Memory { before: vec![Stamp(Some(time.into()))], ..Memory::default() }
    }

    /// What each state leads to; a state that is missing here fails the test below.
    fn expected(state: &S) -> &'static str {
        match state.as_str() {
            "active" | "deploy failed" | "error" => "rebuild",
            "deploying" | "wait call-back" | "deploy hold" | "deploy complete" | "rebuild" | "adopting"
            | "rescuing" | "rescue wait" | "unrescuing" | "servicing" | "service wait" | "service hold"
            | "polishing" => "wait",
            "rescue" | "rescue failed" | "unrescue failed" | "service failed" | "adopt failed" | "enroll"
            | "verifying" | "manageable" | "inspecting" | "inspect wait" | "inspect failed" => "failed",
            "" | "available" | "deleting" | "deleted" | "cleaning" | "clean wait" | "clean failed"
            | "clean hold" => "gone",
            other => panic!("no expectation for '{other}'"),
        }
    }

    fn outcome(next: &Next<Step>) -> &'static str {
        match next {
            Next::Act(Step::Describe(_)) => "describe",
            Next::Act(Step::Rebuild) => "rebuild",
            Next::Wait(_) => "wait",
            Next::Done => "done",
            Next::Fail(Error::Retry(_)) => "failed",
            Next::Fail(Error::Gone(_)) => "gone",
            Next::Fail(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_state_of_a_node_that_is_ours_has_its_next_step() {
        for state in states() {
            assert_eq!(outcome(&next(node(state.clone()), &Memory::default())), expected(&state), "{state}");
        }
    }

    #[test]
    fn a_node_that_is_not_ours_is_gone_in_every_state() {
        for state in states() {
            for instance in [None, Some(Uuid::from_u128(9))] {
                let lost = Node { instance_uuid: instance, ..node(state.clone()) };
                assert_eq!(outcome(&next(lost, &Memory::default())), "gone", "{state}");
            }
        }
        assert_eq!(outcome(&decide(&Observed::default(), &Memory::default(), &wanted())), "gone");
    }

    #[test]
    fn a_request_that_arrived_is_never_repeated() {
        for state in states() {
            let next = next(node(state.clone()), &asked_at("09:59:59"));
            let expected = match state {
                S::Active => "done",
                S::DeployFailed | S::Error => "failed",
                ref other => expected(other),
            };
            assert_eq!(outcome(&next), expected, "{state}");
        }
    }

    #[test]
    fn a_request_that_never_arrived_is_made_again() {
        for state in [S::Active, S::DeployFailed, S::Error] {
            assert_eq!(next(node(state), &asked_at("10:00:00")), Next::Act(Step::Rebuild));
        }
    }

    #[test]
    fn a_node_that_ironic_put_back_for_want_of_workers_is_asked_for_again() {
        let put_back =
            Node { last_error: Some("No free conductor workers available".into()), ..node(S::Active) };
        assert_eq!(next(put_back, &asked_at("09:59:59")), Next::Act(Step::Rebuild));
    }

    #[test]
    fn only_entries_that_differ_are_patched_and_once() {
        let mut other = node(S::Active);
        other.instance_info.insert("image_source".into(), json!("another"));
        other.instance_info.insert("boot_iso".into(), json!("stale"));
        let patch = vec![
            Patch::add("/instance_info/image_source", captured().image_ref.unwrap()),
            Patch::remove("/instance_info/boot_iso"),
        ];
        assert_eq!(next(other.clone(), &Memory::default()), Next::Act(Step::Describe(patch)));
        let described = Memory { described: true, ..Memory::default() };
        assert_eq!(next(other, &described), Next::Act(Step::Rebuild));
    }

    #[test]
    fn maintenance_stops_a_rebuild_only_before_it_began() {
        let maintenance = |state| Node { maintenance: true, ..node(state) };
        assert_eq!(outcome(&next(maintenance(S::Active), &Memory::default())), "failed");
        assert_eq!(outcome(&next(maintenance(S::WaitCallBack), &asked_at("09:59:59"))), "wait");
        assert_eq!(outcome(&next(maintenance(S::Active), &asked_at("09:59:59"))), "done");
    }

    #[test]
    fn the_failure_repeats_what_ironic_says() {
        let failed = Node { last_error: Some("no disk".into()), ..node(S::DeployFailed) };
        let Next::Fail(Error::Retry(text)) = next(failed, &asked_at("09:59:59")) else { panic!() };
        assert!(text.ends_with("no disk"), "{text}");
    }
}
