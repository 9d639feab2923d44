//! A crash dump in the model of Ironic.

use ironic_sim::State;
use openstack::ironic::Node;

use super::{Interrupt, Memory, Observed, Wanted};
use crate::{
    Error,
    testing::model::{INSTANCE, World, check, node},
};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Machine {
    is_ours: bool,
    is_locked: bool,
    interrupted: bool,
}

impl World for Machine {
    type Plan = Wanted;

    fn plan(&self) -> Wanted {
        Wanted { node: node(State::Active, true).uuid, instance: INSTANCE }
    }

    fn observed(&self) -> Observed {
        let reservation = self.is_locked.then(|| "conductor".to_owned());
        Observed { node: Some(Node { reservation, ..node(State::Active, self.is_ours) }) }
    }

    fn take(&self, _step: &Interrupt) -> Vec<Self> {
        if self.is_locked {
            return vec![];
        }
        assert!(!self.interrupted, "interrupted twice: {self:?}");
        vec![Self { interrupted: true, ..self.clone() }]
    }

    fn moves(&self) -> Vec<Self> {
        vec![Self { is_locked: !self.is_locked, ..self.clone() }]
    }

    fn ends(&self, end: Result<(), Error>, memory: &Memory) {
        match end {
            // What is observed may be older than the interrupt, of which it tells nothing anyway.
            Ok(()) => assert_eq!(*memory, Memory::Sent, "{self:?}"),
            // It failed, or it is not known.
            Err(Error::Retry(_)) => {}
            Err(Error::Gone(_)) => assert!(!self.is_ours && !self.interrupted && *memory == Memory::Unasked),
            Err(error) => panic!("{error:?} in {self:?}"),
        }
    }
}

#[test]
fn no_machine_is_interrupted_twice() {
    let starts = [(true, true), (true, false), (false, false)];
    let starts = starts.map(|(is_ours, is_locked)| Machine { is_ours, is_locked, interrupted: false });
    check(starts, 30);
}
