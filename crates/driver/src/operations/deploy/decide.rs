//! Deploying: what comes next.

use std::collections::BTreeSet;

use openstack::ironic::{NewVolumeTarget, Node, ProvisionState as S, VolumeTarget};
use serde_json::{Map, Value};

use super::{Memory, Observed, Step, Wanted};
use crate::{
    Error,
    instance_info::{description, instance_info},
    ironic::last_error,
    plan::{Next, Wait},
};

/// The next step towards an `active` node.
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
        S::Available | S::NoState if memory.asked => gone("it was given back while it was being deployed"),
        S::Available | S::NoState => prepare(seen, memory, node, wanted),
        S::Deploying | S::WaitCallBack | S::DeployDone | S::Rebuild | S::Adopting => {
            Next::Wait(Wait::provision(node, format!("Ironic deploys the node ('{state}')")))
        }
        S::DeployHold => {
            Next::Wait(Wait::provision(node, "an operator's step holds the deployment ('deploy hold')"))
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
        S::DeployFailed | S::Error | S::AdoptFailed => Next::Fail(Error::AnotherNode(format!(
            "Ironic failed to deploy instance {instance} on node {id}: {}",
            last_error(node)
        ))),
        S::Deleting | S::Deleted | S::Cleaning | S::CleanWait | S::CleanFailed | S::CleanHold => {
            gone(&format!("it is being torn down ('{state}')"))
        }
        S::Enroll | S::Verifying | S::Manageable | S::Inspecting | S::InspectWait | S::InspectFailed => {
            Next::Fail(Error::AnotherNode(format!(
                "Node {id} was taken out of service ('{state}') before instance {instance} was deployed"
            )))
        }
        // A state of a newer Ironic, on a node that is ours: it leads somewhere.
        S::Other(_) => Next::Wait(Wait::provision(node, format!("Ironic is in state '{state}'"))),
    }
}

fn prepare(seen: &Observed, memory: &Memory, node: &Node, wanted: &Wanted) -> Next<Step> {
    if node.maintenance {
        return Next::Fail(Error::AnotherNode(format!("Node {} was put in maintenance", node.uuid)));
    }
    let patch = description(node, &instance_info(&wanted.server, node));
    if !memory.described && !patch.is_empty() {
        return Next::Act(Step::Describe(patch));
    }
    let same = |there: &VolumeTarget, target: &NewVolumeTarget| is_same(there, target, &memory.added);
    let is_wanted = |there: &VolumeTarget| wanted.targets.iter().any(|target| same(there, target));
    if let Some(other) = seen.targets.iter().find(|there| !is_wanted(there)) {
        return Next::Act(Step::RemoveTarget(other.uuid));
    }
    let is_there = |target: &&NewVolumeTarget| seen.targets.iter().any(|there| same(there, target));
    if let Some(missing) = wanted.targets.iter().find(|target| !is_there(target)) {
        return Next::Act(Step::AddTarget(missing.clone()));
    }
    Next::Act(if memory.valid { Step::Deploy } else { Step::Validate })
}

/// Whether a node's volume targets matter. Where no volumes are wanted, those matter that somebody left, and only on a node
/// whose storage interface makes use of them.
pub(crate) fn may_have_targets(node: &Node, wanted: &Wanted) -> bool {
    !wanted.targets.is_empty() || node.storage_interface.as_deref() != Some("noop")
}

/// Whether a target is the one wanted. What another than this operation has added must show the same connection.
fn is_same(there: &VolumeTarget, wanted: &NewVolumeTarget, added: &BTreeSet<String>) -> bool {
    let ids = there.volume_id == wanted.volume_id && there.boot_index == wanted.boot_index;
    let connection = || {
        !wanted.renewed
            && there.volume_type == wanted.volume_type
            && shows(&there.properties, &wanted.properties)
    };
    ids && (added.contains(&wanted.volume_id) || connection())
}

/// Whether properties as Ironic shows them can be these. It shows asterisks in place of secrets.
fn shows(shown: &Map<String, Value>, properties: &Map<String, Value>) -> bool {
    let is_masked = |value: &Value| value.as_str().is_some_and(|text| text.starts_with("***"));
    let is_shown = |(key, value)| shown.get(key).is_some_and(|there| there == value || is_masked(there));
    shown.len() == properties.len() && properties.iter().all(is_shown)
}

#[cfg(test)]
mod tests {
    use openstack::ironic::Patch;
    use serde_json::{Map, json};
    use uuid::Uuid;

    use super::*;
    use crate::{
        NodeId,
        instance_info::{instance_info, tests::captured},
        testing::states,
    };

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

    fn seen(node: Node) -> Observed {
        Observed { node: Some(node), targets: vec![] }
    }

    fn fresh(seen: &Observed, wanted: &Wanted) -> Next<Step> {
        decide(seen, &Memory::default(), wanted)
    }

    fn volume(id: &str, boot_index: i64) -> NewVolumeTarget {
        NewVolumeTarget {
            node_uuid: wanted().node,
            volume_type: "iscsi".into(),
            properties: Map::new(),
            boot_index: Some(boot_index),
            volume_id: id.into(),
            renewed: false,
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
            Next::Wait(_) => "wait",
            Next::Done => "done",
            Next::Fail(Error::AnotherNode(text)) if text.starts_with("Ironic failed") => "failed",
            Next::Fail(Error::AnotherNode(_)) => "unavailable",
            Next::Fail(Error::Gone(_)) => "gone",
            Next::Fail(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_state_of_a_node_that_is_ours_has_its_next_step() {
        for state in states() {
            let next = fresh(&seen(node(state.clone())), &wanted());
            assert_eq!(outcome(&next), expected(&state), "{state}");
        }
    }

    #[test]
    fn a_node_that_is_not_ours_is_gone_in_every_state() {
        for state in states() {
            for instance in [None, Some(Uuid::from_u128(9))] {
                let lost = Node { instance_uuid: instance, ..node(state.clone()) };
                assert_eq!(outcome(&fresh(&seen(lost), &wanted())), "gone", "{state}");
            }
        }
        assert_eq!(outcome(&fresh(&Observed::default(), &wanted())), "gone");
    }

    #[test]
    fn an_accepted_put_is_never_repeated() {
        for state in states() {
            let next = decide(
                &seen(node(state.clone())),
                &Memory { valid: true, asked: true, ..Memory::default() },
                &wanted(),
            );
            assert_ne!(outcome(&next), "deploy", "{state}");
        }
    }

    #[test]
    fn only_entries_that_differ_are_patched() {
        let mut bare = node(S::Available);
        bare.instance_info.remove("traits");
        bare.instance_info.insert("left_by_somebody".into(), json!(1));
        assert_eq!(
            fresh(&seen(bare), &wanted()),
            Next::Act(Step::Describe(vec![Patch::add("/instance_info/traits", json!(["CUSTOM_LAB"]))]))
        );
    }

    #[test]
    fn a_description_that_ironic_shows_in_another_form_is_not_written_again() {
        let mut changed = node(S::Available);
        changed.instance_info.insert("root_gb".into(), json!(100));
        let next = decide(&seen(changed), &Memory { described: true, ..Memory::default() }, &wanted());
        assert_eq!(next, Next::Act(Step::Validate));
    }

    #[test]
    fn targets_are_added_one_by_one_and_all_others_removed() {
        let wanted = Wanted { targets: vec![volume("a", 0), volume("b", 1)], ..wanted() };
        let step = |targets| fresh(&Observed { targets, ..seen(node(S::Available)) }, &wanted);
        assert_eq!(step(vec![]), Next::Act(Step::AddTarget(volume("a", 0))));
        assert_eq!(step(vec![there("a", 0, 5)]), Next::Act(Step::AddTarget(volume("b", 1))));
        assert_eq!(step(vec![there("old", 0, 5)]), Next::Act(Step::RemoveTarget(Uuid::from_u128(5))));
        assert_eq!(step(vec![there("a", 0, 5), there("b", 1, 6)]), Next::Act(Step::Validate));
        let left = there("left", 7, 7);
        let removal = Next::Act(Step::RemoveTarget(left.uuid));
        assert_eq!(step(vec![there("a", 0, 5), there("b", 1, 6), left.clone()]), removal);
        let none = Observed { targets: vec![left], ..seen(node(S::Available)) };
        assert_eq!(fresh(&none, &self::wanted()), removal);
    }

    #[test]
    fn a_target_with_another_connection_is_replaced_once() {
        let properties = |lun, password: &str| {
            Map::from_iter([
                ("target_lun".to_owned(), json!(lun)),
                ("auth_password".to_owned(), json!(password)),
            ])
        };
        let step = |target: NewVolumeTarget, shown, added: &[&str]| {
            let there = VolumeTarget { properties: shown, ..there("a", 0, 5) };
            let added = added.iter().map(|&id| id.to_owned()).collect();
            let seen = Observed { targets: vec![there], ..seen(node(S::Available)) };
            let memory = Memory { added, ..Memory::default() };
            outcome(&decide(&seen, &memory, &Wanted { targets: vec![target], ..wanted() }))
        };
        let target = NewVolumeTarget { properties: properties(1, "hunter2"), ..volume("a", 0) };
        let renewed = NewVolumeTarget { renewed: true, ..target.clone() };
        let fibre = NewVolumeTarget { volume_type: "fibre_channel".into(), ..target.clone() };
        assert_eq!(step(target.clone(), properties(1, "******"), &[]), "validate");
        assert_eq!(step(target.clone(), properties(2, "******"), &[]), "remove target");
        assert_eq!(step(target.clone(), Map::new(), &[]), "remove target");
        assert_eq!(step(fibre, properties(1, "******"), &[]), "remove target");
        assert_eq!(step(renewed.clone(), properties(1, "******"), &[]), "remove target");
        // As Ironic shows what it was told.
        assert_eq!(step(renewed, Map::new(), &["a"]), "validate");
    }

    #[test]
    fn maintenance_stops_a_deployment_only_before_it_began() {
        let maintenance = |state| seen(Node { maintenance: true, ..node(state) });
        assert_eq!(outcome(&fresh(&maintenance(S::Available), &wanted())), "unavailable");
        assert_eq!(outcome(&fresh(&maintenance(S::Deploying), &wanted())), "wait");
        assert_eq!(outcome(&fresh(&maintenance(S::Active), &wanted())), "done");
    }

    #[test]
    fn the_failure_repeats_what_ironic_says() {
        let Next::Fail(Error::AnotherNode(text)) = fresh(&seen(node(S::DeployFailed)), &wanted()) else {
            panic!()
        };
        assert!(text.ends_with("no disk"), "{text}");
    }
}
