//! Deploying: from a reserved node to an `active` one.
//!
//! Expected flow: describe the server in `instance_info`, add the volume targets, validate, `PUT` target `active`, wait.
//! All of it can be observed but three things, which an operation remembers for itself and which are asked for again after
//! a restart: that Ironic has taken the description, that it has validated, and that it has accepted our `PUT`. After a `PUT` whose answer was lost
//! the node tells: `deploying` means that it arrived.

use openstack::ironic::{NewVolumeTarget, Node, Patch, ProvisionState as S, VolumeTarget};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    Failure, Next, NodeId,
    server::{Server, instance_info},
};

/// What deploying looks at.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The node; `None` if Ironic does not have it.
    pub node: Option<Node>,
    /// Its volume targets; needs to be known only if some are wanted and the node is not deployed yet.
    pub targets: Vec<VolumeTarget>,
    /// Ironic has taken our description: should it show it in another form than we wrote it, that is its business.
    pub described: bool,
    /// Ironic has validated the node as it is described now.
    pub valid: bool,
    /// Ironic has accepted our `PUT` of target `active`.
    pub asked: bool,
}

/// What is wanted: the node deployed like this.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The node.
    pub node: NodeId,
    /// The server that `instance_info` shall describe; entries that do not come from it are left alone.
    pub server: Server,
    /// Volumes for it to connect to.
    pub targets: Vec<NewVolumeTarget>,
}

/// One call.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// `PATCH` those entries of `instance_info` that are not as wanted.
    Describe(Vec<Patch>),
    /// `DELETE` a volume target that somebody left and that stands in the way of one of ours.
    RemoveTarget(Uuid),
    /// `POST` a volume target.
    AddTarget(NewVolumeTarget),
    /// `GET …/validate`: deploy, power and storage must be usable.
    Validate,
    /// `PUT …/states/provision` with target `active` and the config drive.
    Deploy,
}

/// The next step towards an `active` node.
pub fn decide(seen: &Seen, wanted: &Wanted) -> Next<Step> {
    let (id, instance) = (wanted.node, wanted.server.instance);
    let gone = |why: &str| Next::Fail(Failure::Gone(format!("Instance {instance} lost node {id}: {why}")));
    let Some(node) = &seen.node else {
        return gone("Ironic does not have it any more");
    };
    if node.instance_uuid != Some(instance.0) {
        return gone("it does not carry the instance's uuid any more");
    }
    let state = &node.provision_state;
    match state {
        S::Available | S::NoState if seen.asked => gone("it was given back while it was being deployed"),
        S::Available | S::NoState => prepare(seen, node, wanted),
        S::Deploying | S::WaitCallBack | S::DeployHold | S::DeployDone | S::Rebuild | S::Adopting => {
            Next::Wait
        }
        // Whoever rescues or services a node finds it deployed.
        S::Active
        | S::Rescue
        | S::Rescuing
        | S::RescueWait
        | S::RescueFailed
        | S::Unrescuing
        | S::UnrescueFailed
        | S::Servicing
        | S::ServiceWait
        | S::ServiceFailed
        | S::ServiceHold => Next::Done,
        S::DeployFailed | S::Error | S::AdoptFailed => Next::Fail(Failure::DeployFailed(format!(
            "Ironic failed to deploy instance {instance} on node {id}: {}",
            last_error(node)
        ))),
        S::Deleting | S::Deleted | S::Cleaning | S::CleanWait | S::CleanFailed | S::CleanHold => {
            gone(&format!("it is being torn down ('{state}')"))
        }
        S::Enroll | S::Verifying | S::Manageable | S::Inspecting | S::InspectWait | S::InspectFailed => {
            Next::Fail(Failure::Unavailable(format!(
                "Node {id} was taken out of service ('{state}') before instance {instance} was deployed"
            )))
        }
        // A state of a newer Ironic, on a node that is ours: it leads somewhere.
        S::Other(_) => Next::Wait,
    }
}

/// Ironic's own word on what went wrong.
pub(crate) fn last_error(node: &Node) -> &str {
    node.last_error.as_deref().filter(|text| !text.is_empty()).unwrap_or("Ironic gives no reason")
}

fn prepare(seen: &Seen, node: &Node, wanted: &Wanted) -> Next<Step> {
    if node.maintenance {
        return Next::Fail(Failure::Unavailable(format!("Node {} was put in maintenance", node.uuid)));
    }
    let patch = description(node, &instance_info(&wanted.server, node));
    if !seen.described && !patch.is_empty() {
        return Next::Act(Step::Describe(patch));
    }
    for target in &wanted.targets {
        if seen.targets.iter().any(|there| same(there, target)) {
            continue;
        }
        let in_the_way = seen.targets.iter().find(|there| {
            there.volume_id == target.volume_id
                || (target.boot_index.is_some() && there.boot_index == target.boot_index)
        });
        return Next::Act(match in_the_way {
            Some(there) => Step::RemoveTarget(there.uuid),
            None => Step::AddTarget(target.clone()),
        });
    }
    Next::Act(if seen.valid { Step::Deploy } else { Step::Validate })
}

/// The patch that brings `instance_info` to what is wanted.
fn description(node: &Node, info: &[(String, Value)]) -> Vec<Patch> {
    info.iter()
        .filter(|(key, value)| node.instance_info.get(key) != Some(value))
        .map(|(key, value)| Patch::add(format!("/instance_info/{key}"), value.clone()))
        .collect()
}

/// Whether a target is the one wanted. Properties are not compared: Ironic masks the secrets in them.
fn same(there: &VolumeTarget, wanted: &NewVolumeTarget) -> bool {
    there.volume_id == wanted.volume_id && there.boot_index == wanted.boot_index
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::{act::tests::states, server::tests::captured};

    fn wanted() -> Wanted {
        Wanted { node: NodeId(Uuid::from_u128(1)), server: captured(), targets: vec![] }
    }

    fn node(state: S) -> Node {
        Node {
            provision_state: state,
            instance_uuid: Some(wanted().server.instance.0),
            instance_info: instance_info(&captured(), &Node::new(wanted().node)).into_iter().collect(),
            last_error: Some("no disk".into()),
            ..Node::new(wanted().node)
        }
    }

    fn seen(node: Node) -> Seen {
        Seen { node: Some(node), targets: vec![], described: false, valid: false, asked: false }
    }

    fn volume(id: &str, boot_index: i64) -> NewVolumeTarget {
        NewVolumeTarget {
            node_uuid: wanted().node,
            volume_type: "iscsi".into(),
            properties: Map::new(),
            boot_index: Some(boot_index),
            volume_id: id.into(),
        }
    }

    fn there(id: &str, boot_index: i64, uuid: u128) -> VolumeTarget {
        VolumeTarget {
            uuid: Uuid::from_u128(uuid),
            node_uuid: Some(wanted().node),
            volume_type: "iscsi".into(),
            boot_index: Some(boot_index),
            volume_id: id.into(),
            properties: Map::new(),
        }
    }

    /// What each state leads to; a state that is missing here fails the test below.
    fn expected(state: &S) -> &'static str {
        match state.as_str() {
            "" | "available" => "validate",
            "deploying" | "wait call-back" | "deploy hold" | "deploy complete" | "rebuild" | "adopting"
            | "polishing" => "wait",
            "active" | "rescue" | "rescuing" | "rescue wait" | "rescue failed" | "unrescuing"
            | "unrescue failed" | "servicing" | "service wait" | "service failed" | "service hold" => "done",
            "deploy failed" | "error" | "adopt failed" => "failed",
            "deleting" | "deleted" | "cleaning" | "clean wait" | "clean failed" | "clean hold" => "gone",
            "enroll" | "verifying" | "manageable" | "inspecting" | "inspect wait" | "inspect failed" => {
                "unavailable"
            }
            other => panic!("no expectation for '{other}'"),
        }
    }

    fn outcome(next: &Next<Step>) -> &'static str {
        match next {
            Next::Act(Step::Describe(_)) => "describe",
            Next::Act(Step::AddTarget(_)) => "add target",
            Next::Act(Step::RemoveTarget(_)) => "remove target",
            Next::Act(Step::Validate) => "validate",
            Next::Act(Step::Deploy) => "deploy",
            Next::Wait => "wait",
            Next::Done => "done",
            Next::Fail(Failure::DeployFailed(_)) => "failed",
            Next::Fail(Failure::Gone(_)) => "gone",
            Next::Fail(Failure::Unavailable(_)) => "unavailable",
            Next::Fail(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_state_of_a_node_that_is_ours_has_its_next_step() {
        for state in states() {
            let next = decide(&seen(node(state.clone())), &wanted());
            assert_eq!(outcome(&next), expected(&state), "{state}");
        }
    }

    #[test]
    fn a_node_that_is_not_ours_is_gone_in_every_state() {
        for state in states() {
            for instance in [None, Some(Uuid::from_u128(9))] {
                let lost = Node { instance_uuid: instance, ..node(state.clone()) };
                assert_eq!(outcome(&decide(&seen(lost), &wanted())), "gone", "{state}");
            }
        }
        let none = Seen { node: None, targets: vec![], described: false, valid: false, asked: false };
        assert_eq!(outcome(&decide(&none, &wanted())), "gone");
    }

    #[test]
    fn an_accepted_put_is_never_repeated() {
        for state in states() {
            let next = decide(&Seen { valid: true, asked: true, ..seen(node(state.clone())) }, &wanted());
            assert_ne!(outcome(&next), "deploy", "{state}");
        }
    }

    #[test]
    fn only_entries_that_differ_are_patched() {
        let mut bare = node(S::Available);
        bare.instance_info.remove("traits");
        bare.instance_info.insert("left_by_somebody".into(), json!(1));
        assert_eq!(
            decide(&seen(bare), &wanted()),
            Next::Act(Step::Describe(vec![Patch::add("/instance_info/traits", json!(["CUSTOM_LAB"]))]))
        );
    }

    #[test]
    fn a_description_that_ironic_shows_in_another_form_is_not_written_again() {
        let mut changed = node(S::Available);
        changed.instance_info.insert("root_gb".into(), json!(100));
        let next = decide(&Seen { described: true, ..seen(changed) }, &wanted());
        assert_eq!(next, Next::Act(Step::Validate));
    }

    #[test]
    fn targets_are_added_one_by_one_and_those_in_the_way_removed() {
        let wanted = Wanted { targets: vec![volume("a", 0), volume("b", 1)], ..wanted() };
        let step = |targets| decide(&Seen { targets, ..seen(node(S::Available)) }, &wanted);
        assert_eq!(step(vec![]), Next::Act(Step::AddTarget(volume("a", 0))));
        assert_eq!(step(vec![there("a", 0, 5)]), Next::Act(Step::AddTarget(volume("b", 1))));
        assert_eq!(step(vec![there("old", 0, 5)]), Next::Act(Step::RemoveTarget(Uuid::from_u128(5))));
        assert_eq!(
            step(vec![there("a", 0, 5), there("b", 1, 6), there("other", 7, 7)]),
            Next::Act(Step::Validate)
        );
    }

    #[test]
    fn maintenance_stops_a_deployment_only_before_it_began() {
        let maintenance = |state| seen(Node { maintenance: true, ..node(state) });
        assert_eq!(outcome(&decide(&maintenance(S::Available), &wanted())), "unavailable");
        assert_eq!(outcome(&decide(&maintenance(S::Deploying), &wanted())), "wait");
        assert_eq!(outcome(&decide(&maintenance(S::Active), &wanted())), "done");
    }

    #[test]
    fn the_failure_repeats_what_ironic_says() {
        let Next::Fail(Failure::DeployFailed(text)) = decide(&seen(node(S::DeployFailed)), &wanted()) else {
            panic!()
        };
        assert!(text.ends_with("no disk"), "{text}");
    }
}
