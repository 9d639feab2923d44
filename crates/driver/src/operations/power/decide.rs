//! Power: what comes next.

use openstack::ironic::{Node, PowerState};

use super::{Memory, Observed, PowerChange, Stamp, Step, Wanted};
use crate::{
    Error,
    ironic::last_error,
    operations::lock,
    plan::{Next, Wait},
    watch::Until,
};

/// The next step towards the wanted power.
pub(crate) fn decide(seen: &Observed, memory: &Memory, wanted: &Wanted) -> Next<Step> {
    let (id, instance) = (wanted.node, wanted.instance);
    let Some(node) = seen.node.as_ref().filter(|node| node.instance_uuid == Some(instance.0)) else {
        return Next::Fail(Error::Gone(format!("Node {id} does not carry instance {instance}")));
    };
    if node.target_power_state != PowerState::NoState {
        let because = format!("Ironic changes the machine's power to '{}'", node.target_power_state);
        return Next::Wait(Wait { until: power(node), ..Wait::provision(node, because) });
    }
    if let Some(wait) = lock::wait(node) {
        return Next::Wait(wait);
    }
    match wanted.change {
        PowerChange::On if node.power_state == PowerState::On => Next::Done,
        PowerChange::On if memory.accepted => failed(node, "switch on"),
        PowerChange::On => Next::Act(Step::On),
        PowerChange::Off { .. } if node.power_state == PowerState::Off => Next::Done,
        PowerChange::Off { soft: Some(timeout) } if !memory.hard => Next::Act(Step::SoftOff(timeout)),
        PowerChange::Off { .. } if memory.accepted => failed(node, "switch off"),
        PowerChange::Off { .. } => Next::Act(Step::Off),
        PowerChange::Reboot { soft } => reboot(node, memory, soft),
    }
}

fn reboot(node: &Node, memory: &Memory, soft: bool) -> Next<Step> {
    let step = if soft && !memory.hard { Step::SoftReboot } else { Step::Reboot };
    let has_begun = !memory.before.contains(&stamp(node));
    match step {
        _ if memory.before.is_empty() => Next::Act(step),
        _ if !has_begun && memory.accepted => failed(node, "restart"),
        // The request that was saved never arrived.
        _ if !has_begun => Next::Act(step),
        _ if node.power_state == PowerState::On && node.last_error.is_none() => Next::Done,
        Step::SoftReboot => Next::Act(Step::Reboot),
        _ => failed(node, "restart"),
    }
}

/// When Ironic last began to change the node's power.
pub(super) fn stamp(node: &Node) -> Stamp {
    let stamp = node.driver_internal_info.get("last_power_state_change");
    Stamp(stamp.and_then(serde_json::Value::as_str).map(str::to_owned))
}

fn power(node: &Node) -> Until {
    Until::LeavesPower {
        power: node.power_state.clone(),
        target: node.target_power_state.clone(),
        provision: node.provision_state.clone(),
    }
}

fn failed(node: &Node, what: &str) -> Next<Step> {
    Next::Fail(Error::Retry(format!("Ironic failed to {what} node {}: {}", node.uuid, last_error(node))))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use openstack::ironic::{NodeId, ProvisionState as S};
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::{InstanceId, testing::states};

    const CHANGES: [PowerChange; 5] = [
        PowerChange::On,
        PowerChange::Off { soft: None },
        PowerChange::Off { soft: Some(Duration::from_mins(1)) },
        PowerChange::Reboot { soft: false },
        PowerChange::Reboot { soft: true },
    ];

    fn wanted(change: PowerChange) -> Wanted {
        Wanted { node: NodeId(Uuid::from_u128(1)), instance: InstanceId(Uuid::from_u128(2)), change }
    }

    fn node(power: PowerState) -> Node {
        Node {
            instance_uuid: Some(Uuid::from_u128(2)),
            provision_state: S::Active,
            power_state: power,
            ..Node::new(NodeId(Uuid::from_u128(1)))
        }
    }

    fn next(node: Node, memory: &Memory, change: PowerChange) -> Next<Step> {
        decide(&Observed { node: Some(node) }, memory, &wanted(change))
    }

    fn stamped(power: PowerState, at: &str) -> Node {
        let mut node = node(power);
        node.driver_internal_info.insert("last_power_state_change".into(), json!(at));
        node
    }

    #[test]
    fn what_is_so_already_is_done_but_a_reboot_always_happens() {
        let on = || node(PowerState::On);
        let fresh = Memory::default();
        assert_eq!(next(on(), &fresh, PowerChange::On), Next::Done);
        assert_eq!(next(node(PowerState::Off), &fresh, PowerChange::Off { soft: None }), Next::Done);
        assert_eq!(next(on(), &fresh, PowerChange::Reboot { soft: true }), Next::Act(Step::SoftReboot));
        assert_eq!(next(on(), &fresh, PowerChange::Reboot { soft: false }), Next::Act(Step::Reboot));
    }

    #[test]
    fn a_change_under_way_is_waited_for_in_every_state_and_none_is_asked_for() {
        for state in states() {
            for change in CHANGES {
                let node = Node {
                    provision_state: state.clone(),
                    target_power_state: PowerState::On,
                    ..node(PowerState::Off)
                };
                let Next::Wait(wait) = next(node, &Memory::default(), change) else { panic!("{state}") };
                assert_eq!(wait.limit, None);
            }
        }
    }

    #[test]
    fn a_soft_change_that_did_not_succeed_becomes_a_hard_one() {
        let hard = Memory { hard: true, ..Memory::default() };
        let soft = PowerChange::Off { soft: Some(Duration::from_secs(9)) };
        assert_eq!(
            next(node(PowerState::On), &Memory::default(), soft),
            Next::Act(Step::SoftOff(Duration::from_secs(9)))
        );
        assert_eq!(next(node(PowerState::On), &hard, soft), Next::Act(Step::Off));
        let soft = PowerChange::Reboot { soft: true };
        assert_eq!(next(node(PowerState::On), &hard, soft), Next::Act(Step::Reboot));
    }

    #[test]
    fn a_reboot_that_was_saved_is_done_when_ironics_stamp_is_another_and_asked_for_again_when_it_is_the_same()
    {
        let saved = Memory { before: vec![Stamp(Some("one".into()))], ..Memory::default() };
        let change = PowerChange::Reboot { soft: false };
        assert_eq!(next(stamped(PowerState::On, "two"), &saved, change), Next::Done);
        assert_eq!(next(stamped(PowerState::On, "one"), &saved, change), Next::Act(Step::Reboot));
        let accepted = Memory { accepted: true, ..saved };
        assert!(matches!(
            next(stamped(PowerState::On, "one"), &accepted, change),
            Next::Fail(Error::Retry(_))
        ));
    }

    #[test]
    fn a_reboot_that_ironic_failed_says_why() {
        let saved = Memory { before: vec![Stamp(None)], ..Memory::default() };
        let node = Node { last_error: Some("the BMC hangs".into()), ..stamped(PowerState::On, "two") };
        let Next::Fail(error) = next(node, &saved, PowerChange::Reboot { soft: false }) else { panic!() };
        assert!(error.to_string().contains("the BMC hangs"), "{error}");
    }

    #[test]
    fn another_instances_node_is_left_alone() {
        for change in CHANGES {
            let other = Node { instance_uuid: Some(Uuid::from_u128(9)), ..node(PowerState::On) };
            assert!(matches!(next(other, &Memory::default(), change), Next::Fail(Error::Gone(_))));
        }
    }
}
