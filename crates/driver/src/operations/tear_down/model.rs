//! Tearing down in the model of Ironic.

use std::collections::BTreeSet;

use ironic_sim::machine::{self, State, Verb};

use super::{Memory, Observed, Step, Wanted};
use crate::{
    Error,
    testing::model::{INSTANCE, World, check, moves, node},
};

#[expect(clippy::struct_excessive_bools, reason = "they are independent facts")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct TearingDown {
    state: State,
    ours: bool,
    attached: bool,
    /// Ironic has failed to tear down, and holds the node's lock until the instance is off it.
    failing: bool,
    /// Whether this Ironic keeps the instance's uuid on a node that it failed to tear down.
    keeps: bool,
}

impl TearingDown {
    /// Ironic's rule for changes of a node's record.
    fn may_change(&self) -> bool {
        !self.failing
            && !self.state.is_locked()
            && (self.state.target().is_none() || self.state.allows_update())
    }
}

impl World for TearingDown {
    type Plan = Wanted;

    fn plan(&self) -> Wanted {
        Wanted { instance: INSTANCE }
    }

    fn observed(&self) -> Observed {
        let mut node = node(self.state, self.ours);
        node.reservation = self.failing.then(|| "conductor".to_owned());
        let vifs = if self.attached { BTreeSet::from(["vif".to_owned()]) } else { BTreeSet::new() };
        Observed { node: Some(node), targets: BTreeSet::new(), vifs }
    }

    fn take(&self, step: &Step) -> Vec<Self> {
        match step {
            // Ironic answers that the node is locked.
            Step::Undeploy if self.failing => vec![],
            // A second request is refused in whatever state the first has led to; after a failed tear-down it is meant.
            Step::Undeploy => machine::verb(self.state, Verb::Delete)
                .map(|state| Self { state, ..self.clone() })
                .into_iter()
                .collect(),
            // A step that cannot be aborted goes on, and ends in the aborted state later.
            Step::Abort => machine::verb(self.state, Verb::Abort)
                .map(|state| vec![Self { state, ..self.clone() }, self.clone()])
                .unwrap_or_default(),
            Step::DeleteTarget(_) | Step::DetachVif(_) | Step::Clear if !self.may_change() => vec![],
            Step::Clear => {
                assert!(!self.attached, "left a VIF: {self:?}");
                vec![Self { ours: false, ..self.clone() }]
            }
            Step::DetachVif(_) => vec![Self { attached: false, ..self.clone() }],
            Step::DeleteTarget(_) => panic!("there is no volume target: {self:?}"),
        }
    }

    fn moves(&self) -> Vec<Self> {
        let left = |to: Self| Self { ours: false, attached: false, ..to };
        if self.failing {
            let ended = Self { failing: false, ..self.clone() };
            return vec![if self.keeps { ended } else { left(ended) }];
        }
        let moved = |state| {
            let failing = self.state == State::Deleting && state == State::Error;
            let to = Self { state, failing, ..self.clone() };
            if self.state == State::Deleting && !to.failing { left(to) } else { to }
        };
        moves(self.state).into_iter().map(moved).collect()
    }

    fn ends(&self, end: Result<(), Error>, memory: &Memory) {
        use State::{Available, CleanFailed, CleanHold, CleanWait, Cleaning};
        match end {
            Ok(()) => {
                let undeployed = memory.asked
                    && matches!(self.state, Cleaning | CleanWait | CleanFailed | CleanHold | Available);
                assert!(!self.ours || undeployed, "done too early: {self:?}");
            }
            Err(Error::Retry(text)) if text.contains("failed to tear down") => {
                assert!(memory.asked && !self.failing, "failed without trying, or too early: {self:?}");
            }
            Err(Error::Retry(text)) => assert!(text.contains("stays in state"), "{text}"),
            Err(error) => panic!("{error:?} in {self:?}"),
        }
    }
}

#[test]
fn every_tear_down_ends_and_leaves_nothing() {
    let starts = machine::ALL_STATES.into_iter().flat_map(|state| {
        [(true, true, false), (true, false, true), (false, false, false)]
            .map(|(ours, attached, keeps)| TearingDown { state, ours, attached, keeps, failing: false })
    });
    check(starts, 300);
}
