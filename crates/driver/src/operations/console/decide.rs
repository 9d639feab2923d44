//! A console: what comes next.

use openstack::ironic::Node;

use super::{ConsoleKind, Memory, Observed, Step, Wanted};
use crate::{
    Error,
    ironic::last_error,
    plan::{Limit, Next, Wait},
    watch::Until,
};

/// How often Ironic is asked to switch a console on that it failed to switch on.
const TRIES: u8 = 2;

/// The next step towards the wanted console.
pub(crate) fn decide(seen: &Observed, memory: &Memory, wanted: &Wanted) -> Next<Step> {
    let (id, instance) = (wanted.node, wanted.instance);
    let Some(node) = seen.node.as_ref().filter(|node| node.instance_uuid == Some(instance.0)) else {
        return Next::Fail(Error::Gone(format!("Node {id} does not carry instance {instance}")));
    };
    let (is_on, is_locked) = (node.console_enabled, node.reservation.is_some());
    match (wanted.kind, memory.asked, is_on) {
        (ConsoleKind::Graphical, _, true) | (ConsoleKind::Serial, Some(Step::On), true) => Next::Done,
        (ConsoleKind::Serial, None, false) => {
            Next::Fail(Error::Retry(format!("The console of node {id} is switched off")))
        }
        (_, None | Some(Step::Off), false) | (ConsoleKind::Serial, None, true) if is_locked => {
            let because = format!("the node is locked by a conductor ('{}')", node.provision_state);
            let wait = Wait { until: Until::Unlocked, ..Wait::provision(node, because) };
            Next::Wait(wait.at_most(Limit::Lock))
        }
        (ConsoleKind::Serial, None, true) => Next::Act(Step::Off),
        (_, None | Some(Step::Off), false) => Next::Act(Step::On),
        (ConsoleKind::Serial, Some(Step::Off), true) if is_locked => {
            Next::Wait(console(node, false, "Ironic switches the console off"))
        }
        (ConsoleKind::Serial, Some(Step::Off), true) if !memory.accepted => Next::Act(Step::Off),
        (ConsoleKind::Serial, Some(Step::Off), true) => failed(node, "off"),
        (_, Some(Step::On), false) if is_locked => {
            let wait = console(node, true, "Ironic switches the console on");
            let limit = wanted.limit.map(Limit::Within);
            Next::Wait(Wait { limit, ..wait })
        }
        (_, Some(Step::On), false) if !memory.accepted || memory.ons < TRIES => Next::Act(Step::On),
        (_, Some(Step::On), false) => failed(node, "on"),
    }
}

fn console(node: &Node, on: bool, because: &'static str) -> Wait {
    Wait { until: Until::Console(on), ..Wait::provision(node, because) }
}

fn failed(node: &Node, what: &str) -> Next<Step> {
    let (id, why) = (node.uuid, last_error(node));
    Next::Fail(Error::Retry(format!("Ironic failed to switch the console of node {id} {what}: {why}")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use openstack::ironic::NodeId;
    use uuid::Uuid;

    use super::*;
    use crate::{InstanceId, testing::states};

    fn wanted(kind: ConsoleKind) -> Wanted {
        Wanted {
            node: NodeId(Uuid::from_u128(1)),
            instance: InstanceId(Uuid::from_u128(2)),
            kind,
            limit: Some(Duration::from_secs(10)),
        }
    }

    fn node(is_on: bool, is_locked: bool) -> Node {
        Node {
            instance_uuid: Some(Uuid::from_u128(2)),
            console_enabled: is_on,
            reservation: is_locked.then(|| "conductor".to_owned()),
            ..Node::new(NodeId(Uuid::from_u128(1)))
        }
    }

    fn next(kind: ConsoleKind, node: Node, memory: &Memory) -> Next<Step> {
        decide(&Observed { node: Some(node) }, memory, &wanted(kind))
    }

    fn asked(step: Step) -> Memory {
        Memory { asked: Some(step), ..Memory::default() }
    }

    #[test]
    fn a_graphical_console_is_switched_on_and_left_alone_when_it_is() {
        let kind = ConsoleKind::Graphical;
        assert_eq!(next(kind, node(false, false), &Memory::default()), Next::Act(Step::On));
        assert_eq!(next(kind, node(true, false), &Memory::default()), Next::Done);
    }

    #[test]
    fn a_serial_console_that_is_off_stays_off_and_one_that_is_on_is_reset() {
        let kind = ConsoleKind::Serial;
        let none = Memory::default();
        assert!(matches!(next(kind, node(false, false), &none), Next::Fail(Error::Retry(_))));
        assert_eq!(next(kind, node(true, false), &none), Next::Act(Step::Off));
        assert_eq!(next(kind, node(false, false), &asked(Step::Off)), Next::Act(Step::On));
        assert_eq!(next(kind, node(true, false), &asked(Step::On)), Next::Done);
    }

    #[test]
    fn what_ironic_failed_to_switch_on_is_tried_once_more() {
        for kind in [ConsoleKind::Serial, ConsoleKind::Graphical] {
            let once = Memory { accepted: true, ons: 1, ..asked(Step::On) };
            assert_eq!(next(kind, node(false, false), &once), Next::Act(Step::On));
            let twice = Memory { ons: 2, ..once };
            let seen = Node { last_error: Some("no such port".into()), ..node(false, false) };
            let Next::Fail(error) = next(kind, seen, &twice) else { panic!("{kind:?}") };
            assert!(error.to_string().contains("no such port"), "{error}");
        }
    }

    #[test]
    fn the_state_of_the_machine_does_not_matter() {
        for state in states() {
            let node = Node { provision_state: state.clone(), ..node(false, false) };
            assert_eq!(
                next(ConsoleKind::Graphical, node, &Memory::default()),
                Next::Act(Step::On),
                "{state}"
            );
        }
    }

    #[test]
    fn another_instances_node_is_left_alone() {
        for kind in [ConsoleKind::Serial, ConsoleKind::Graphical] {
            let other = Node { instance_uuid: Some(Uuid::from_u128(9)), ..node(true, false) };
            assert!(matches!(next(kind, other, &Memory::default()), Next::Fail(Error::Gone(_))));
        }
    }
}
