//! A crash dump: what comes next.

use super::{Interrupt, Memory, Observed, Wanted};
use crate::{Error, operations::lock, plan::Next};

/// The next step towards an interrupt that the machine gets once.
pub(crate) fn decide(seen: &Observed, memory: Memory, wanted: &Wanted) -> Next<Interrupt> {
    match memory {
        Memory::Sent => return Next::Done,
        Memory::Asked => return Next::Fail(unknown(None)),
        Memory::Unasked => {}
    }
    let (id, instance) = (wanted.node, wanted.instance);
    match seen.node.as_ref().filter(|node| node.instance_uuid == Some(instance.0)) {
        None => Next::Fail(Error::Gone(format!("Node {id} does not carry instance {instance}"))),
        Some(node) => lock::wait(node).map_or(Next::Act(Interrupt), Next::Wait),
    }
}

/// It is not known whether the machine got the interrupt; Ironic's own words, where it had any.
pub(super) fn unknown(told: Option<&str>) -> Error {
    let told = told.map(|text| format!(" (Ironic says: {text})")).unwrap_or_default();
    Error::Retry(format!(
        "It is not known whether the machine got the interrupt{told}; it is not sent a second time by itself"
    ))
}

#[cfg(test)]
mod tests {
    use ironic_sim::State;
    use openstack::ironic::Node;

    use super::*;
    use crate::testing::{
        model::{INSTANCE, node},
        states,
    };

    fn next(node: Node, memory: Memory) -> Next<Interrupt> {
        let wanted = Wanted { node: node.uuid, instance: INSTANCE };
        decide(&Observed { node: Some(node) }, memory, &wanted)
    }

    #[test]
    fn a_machine_is_interrupted_in_every_state_unless_the_node_is_locked_or_anothers() {
        for state in states() {
            let ours = Node { provision_state: state.clone(), ..node(State::Active, true) };
            assert_eq!(next(ours.clone(), Memory::Unasked), Next::Act(Interrupt), "{state}");
            let locked = Node { reservation: Some("conductor".into()), ..ours.clone() };
            assert!(matches!(next(locked, Memory::Unasked), Next::Wait(_)), "{state}");
            let other = Node { instance_uuid: None, ..ours };
            assert!(matches!(next(other, Memory::Unasked), Next::Fail(Error::Gone(_))), "{state}");
        }
    }

    #[test]
    fn what_was_asked_for_is_not_asked_for_again() {
        let ours = || node(State::Active, true);
        assert_eq!(next(ours(), Memory::Sent), Next::Done);
        let Next::Fail(Error::Retry(text)) = next(ours(), Memory::Asked) else { panic!() };
        assert!(text.contains("not known"), "{text}");
    }
}
