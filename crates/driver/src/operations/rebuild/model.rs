//! Rebuilding in the model of Ironic.

use ironic_sim::machine::{self, Outcome, State, Verb};

use super::{Memory, Observed, Step, Wanted};
use crate::{
    Error, Server,
    instance_info::{instance_info, tests::captured},
    testing::model::{INSTANCE, World, check, moves, node},
};

#[expect(clippy::struct_excessive_bools, reason = "they are independent facts")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Rebuilding {
    state: State,
    ours: bool,
    /// The node shows the description as we want it.
    described: bool,
    /// Rebuilds that were begun; Ironic's time of the last change of state changes with each.
    begun: u8,
    /// A rebuild that was begun has succeeded.
    rebuilt: bool,
    has_failed: bool,
}

fn server() -> Server {
    Server { instance: INSTANCE, ..captured() }
}

impl World for Rebuilding {
    type Plan = Wanted;

    fn plan(&self) -> Wanted {
        Wanted { node: node(self.state, true).uuid, server: server() }
    }

    fn observed(&self) -> Observed {
        let mut node = node(self.state, self.ours);
        if self.described {
            node.instance_info = instance_info(&server(), &node).into_iter().collect();
        }
        node.provision_updated_at = Some(self.begun.to_string());
        node.last_error = self.has_failed.then(|| "no disk".to_owned());
        Observed { node: Some(node) }
    }

    fn take(&self, step: &Step) -> Vec<Self> {
        match step {
            // Ironic may show it in another form than we wrote it.
            Step::Describe(_) if machine::verb(self.state, Verb::Rebuild).is_ok() => {
                vec![Self { described: true, ..self.clone() }, self.clone()]
            }
            Step::Rebuild => machine::verb(self.state, Verb::Rebuild)
                .map(|state| {
                    assert!(!self.rebuilt, "written twice: {self:?}");
                    Self { state, begun: self.begun + 1, has_failed: false, ..self.clone() }
                })
                .into_iter()
                .collect(),
            // After a late answer.
            Step::Describe(_) => vec![],
        }
    }

    fn moves(&self) -> Vec<Self> {
        let moved = |state| Self {
            state,
            ours: self.ours && self.state != State::Deleting,
            rebuilt: self.rebuilt || (self.begun > 0 && state == State::Active),
            has_failed: state == machine::next(self.state, Outcome::Fail),
            ..self.clone()
        };
        moves(self.state).into_iter().map(moved).collect()
    }

    fn ends(&self, end: Result<(), Error>, _memory: &Memory) {
        match end {
            Ok(()) => assert!(self.ours && self.rebuilt, "done without a rebuild: {self:?}"),
            Err(Error::Retry(text)) if text.starts_with("Ironic failed") => {
                assert!(self.begun > 0 && self.state == State::DeployFailed, "{self:?}");
            }
            Err(_) => {}
        }
    }
}

#[test]
fn every_rebuild_ends_and_no_disk_is_written_twice() {
    let starts = machine::ALL_STATES.into_iter().flat_map(|state| {
        [true, false].map(|ours| Rebuilding {
            state,
            ours,
            described: false,
            begun: 0,
            rebuilt: false,
            has_failed: false,
        })
    });
    check(starts, 150);
}
