//! Power changes in the model of Ironic.

use std::time::Duration;

use openstack::ironic::{Node, PowerState};
use serde_json::json;

use ironic_sim::State;

use super::{Memory, Observed, PowerChange, Step, Wanted};
use crate::{
    Error,
    testing::model::{INSTANCE, World, check, node},
};

#[expect(clippy::struct_excessive_bools, reason = "they are independent facts")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Machine {
    change: PowerChange,
    knows_soft: bool,
    is_on: bool,
    /// The power change under way: where it leads.
    target: Option<bool>,
    /// The change under way is a restart.
    restarting: bool,
    /// Restarts that were begun; Ironic's stamp changes with each.
    stamp: u8,
    /// A restart has succeeded.
    restarted: bool,
    has_failed: bool,
}

fn state(is_on: bool) -> PowerState {
    if is_on { PowerState::On } else { PowerState::Off }
}

impl World for Machine {
    type Plan = Wanted;

    fn plan(&self) -> Wanted {
        Wanted { node: node(State::Active, true).uuid, instance: INSTANCE, change: self.change }
    }

    fn observed(&self) -> Observed {
        let mut node = Node {
            power_state: state(self.is_on),
            target_power_state: self.target.map_or(PowerState::NoState, state),
            reservation: self.target.map(|_| "conductor".to_owned()),
            last_error: self.has_failed.then(|| "the BMC hangs".to_owned()),
            ..node(State::Active, true)
        };
        node.driver_internal_info.insert("last_power_state_change".into(), json!(self.stamp.to_string()));
        Observed { node: Some(node) }
    }

    fn take(&self, step: &Step) -> Vec<Self> {
        if self.target.is_some() || self.refuses(step) {
            return vec![];
        }
        let restarting = matches!(step, Step::Reboot | Step::SoftReboot);
        assert!(!(restarting && self.restarted), "restarted twice: {self:?}");
        vec![Self {
            target: Some(restarting || *step == Step::On),
            restarting,
            stamp: self.stamp + u8::from(restarting),
            has_failed: false,
            ..self.clone()
        }]
    }

    fn refuses(&self, step: &Step) -> bool {
        !self.knows_soft && matches!(step, Step::SoftOff(_) | Step::SoftReboot)
    }

    fn moves(&self) -> Vec<Self> {
        let Some(target) = self.target else { return vec![] };
        let still = Self { target: None, restarting: false, ..self.clone() };
        let done = Self { is_on: target, restarted: self.restarted || self.restarting, ..still.clone() };
        vec![done, Self { has_failed: true, ..still }]
    }

    fn ends(&self, end: Result<(), Error>, _memory: &Memory) {
        match (end, self.change) {
            (Ok(()), PowerChange::On) => assert!(self.is_on, "{self:?}"),
            (Ok(()), PowerChange::Off { .. }) => assert!(!self.is_on, "{self:?}"),
            (Ok(()), PowerChange::Reboot { .. }) => assert!(self.restarted && self.is_on, "{self:?}"),
            (Err(Error::Retry(_)), _) => {}
            (Err(error), _) => panic!("{error:?} in {self:?}"),
        }
    }
}

#[test]
fn every_change_ends_and_no_machine_is_restarted_twice() {
    let soft = Duration::from_mins(1);
    let changes = [
        PowerChange::On,
        PowerChange::Off { soft: None },
        PowerChange::Off { soft: Some(soft) },
        PowerChange::Reboot { soft: false },
        PowerChange::Reboot { soft: true },
    ];
    let starts = changes.into_iter().flat_map(|change| {
        [(true, true), (true, false), (false, true), (false, false)].map(|(is_on, knows_soft)| Machine {
            change,
            knows_soft,
            is_on,
            target: None,
            restarting: false,
            stamp: 0,
            restarted: false,
            has_failed: false,
        })
    });
    check(starts, 200);
}
