//! Consoles in the model of Ironic.

use std::time::Duration;

use openstack::ironic::Node;

use ironic_sim::State;

use super::{ConsoleKind, Memory, Observed, Step, Wanted};
use crate::{
    Error,
    testing::model::{INSTANCE, World, check, node},
};

#[expect(clippy::struct_excessive_bools, reason = "they are independent facts")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Machine {
    kind: ConsoleKind,
    has_console: bool,
    was_on: bool,
    is_on: bool,
    /// The change under way: where it leads.
    target: Option<bool>,
    has_failed: bool,
}

impl World for Machine {
    type Plan = Wanted;

    fn plan(&self) -> Wanted {
        Wanted {
            node: node(State::Active, true).uuid,
            instance: INSTANCE,
            kind: self.kind,
            limit: Some(Duration::from_secs(10)),
        }
    }

    fn observed(&self) -> Observed {
        let node = Node {
            console_enabled: self.is_on,
            reservation: self.target.map(|_| "conductor".to_owned()),
            last_error: self.has_failed.then(|| "no such port".to_owned()),
            ..node(State::Active, true)
        };
        Observed { node: Some(node) }
    }

    fn take(&self, step: &Step) -> Vec<Self> {
        let on = *step == Step::On;
        if self.kind == ConsoleKind::Serial {
            assert!(self.was_on, "the operator keeps it off: {self:?}");
        }
        match self.target {
            _ if self.refuses(step) => vec![],
            // Ironic compares with what is, before it takes the lock.
            _ if self.is_on == on => vec![self.clone()],
            Some(_) => vec![],
            None => vec![Self { target: Some(on), has_failed: false, ..self.clone() }],
        }
    }

    fn refuses(&self, _step: &Step) -> bool {
        !self.has_console
    }

    fn moves(&self) -> Vec<Self> {
        let Some(target) = self.target else { return vec![] };
        let still = Self { target: None, ..self.clone() };
        vec![Self { is_on: target, ..still.clone() }, Self { has_failed: true, ..still }]
    }

    fn ends(&self, end: Result<(), Error>, memory: &Memory) {
        match end {
            Ok(()) => assert!(self.is_on, "{self:?}"),
            // Unless Ironic fails to switch it on, a console is never left off that was on.
            Err(Error::Retry(_)) => {
                let is_left = self.was_on && !self.is_on && self.target.is_none();
                assert!(!is_left || memory.asked.is_none() || self.has_failed, "{self:?} {memory:?}");
            }
            Err(error) => panic!("{error:?} in {self:?}"),
        }
    }
}

#[test]
fn every_request_ends_and_a_console_that_its_operator_keeps_off_stays_off() {
    let starts = [ConsoleKind::Serial, ConsoleKind::Graphical].into_iter().flat_map(|kind| {
        [true, false].map(|is_on| Machine {
            kind,
            has_console: true,
            was_on: is_on,
            is_on,
            target: None,
            has_failed: false,
        })
    });
    check(starts, 100);
}
