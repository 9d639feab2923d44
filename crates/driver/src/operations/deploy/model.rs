//! Deploying in the model of Ironic.

use ironic_sim::machine::{self, State, Verb};

use super::{Memory, Observed, Step, Wanted};
use crate::{
    Error, Server,
    instance_info::{instance_info, tests::captured},
    testing::model::{INSTANCE, World, check, moves, node},
};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Deploying {
    state: State,
    ours: bool,
    /// The node shows the description as we want it.
    described: bool,
    /// Deployments that Ironic accepted since the node was last given back.
    deploys: u8,
}

fn server() -> Server {
    Server { instance: INSTANCE, ..captured() }
}

impl World for Deploying {
    type Plan = Wanted;

    fn plan(&self) -> Wanted {
        Wanted { node: node(self.state, true).uuid, server: server(), targets: vec![] }
    }

    fn observed(&self) -> Observed {
        let mut node = node(self.state, self.ours);
        if self.described {
            node.instance_info = instance_info(&server(), &node).into_iter().collect();
        }
        Observed { node: Some(node), targets: vec![] }
    }

    fn take(&self, step: &Step) -> Vec<Self> {
        match step {
            // Ironic may show it in another form than we wrote it.
            Step::Describe(_) if self.state == State::Available => {
                vec![Self { described: true, ..self.clone() }, self.clone()]
            }
            Step::Validate => vec![self.clone()],
            Step::Deploy if self.state == State::Available => {
                assert_eq!(self.deploys, 0, "deployed twice: {self:?}");
                let state = machine::verb(self.state, Verb::Deploy).unwrap();
                vec![Self { state, deploys: 1, ..self.clone() }]
            }
            // After a late answer.
            Step::Describe(_) | Step::Deploy => vec![],
            other @ (Step::RemoveTarget(_) | Step::AddTarget(_)) => panic!("{other:?} was not asked for"),
        }
    }

    fn moves(&self) -> Vec<Self> {
        let moved = |state| Self {
            state,
            ours: self.ours && self.state != State::Deleting,
            deploys: if state == State::Available { 0 } else { self.deploys },
            ..self.clone()
        };
        moves(self.state).into_iter().map(moved).collect()
    }

    fn ends(&self, end: Result<(), Error>, _memory: &Memory) {
        match end {
            Ok(()) => assert!(self.ours, "done without the node: {self:?}"),
            Err(Error::AnotherNode(text)) if text.starts_with("Ironic failed") => assert!(
                matches!(self.state, State::DeployFailed | State::Error | State::AdoptFailed),
                "{self:?}"
            ),
            Err(_) => {}
        }
    }
}

#[test]
fn every_deployment_ends_and_none_is_asked_for_twice() {
    let starts = machine::ALL_STATES.into_iter().flat_map(|state| {
        [true, false].map(|ours| Deploying {
            state,
            ours,
            described: false,
            deploys: u8::from(state != State::Available),
        })
    });
    check(starts, 150);
}
