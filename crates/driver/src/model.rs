//! The decisions against a model of Ironic, walked exhaustively: every state that can be reached by our steps (done, done with the
//! answer lost, refused), by Ironic's own moves and by killing the process at any moment.
//!
//! Shown for each of them: from there, an Ironic that goes on working brings the operation to its end within a few steps; and nothing that is
//! not idempotent is done twice.

use std::{
    collections::{BTreeSet, HashSet, VecDeque},
    fmt::Debug,
    hash::Hash,
};

use ironic_sim::machine::{self, Outcome, State, Verb};
use openstack::ironic::{Node, ProvisionState};

use crate::{
    Failure, Next, NodeId, deploy, release,
    server::{instance_info, tests::captured},
    teardown,
};

/// Steps after which an operation must have ended.
const BOUND: usize = 24;

/// A world: Ironic's node, and what the operation remembers of what it did.
trait World: Copy + Debug + Eq + Hash {
    /// What the operation does now: the worlds that one call may lead to, the undisturbed one first; none if it waits. `Err` at its end.
    fn step(self) -> Result<Vec<Self>, ()>;
    /// The process is killed and started again.
    fn killed(self) -> Self;
    /// Where Ironic, or the operator who holds the node, may move by itself; the good outcome first.
    fn moves(self) -> Vec<Self>;
}

fn node(state: State, ours: bool) -> Node {
    let server = captured();
    Node {
        provision_state: ProvisionState::from(state.as_str()),
        instance_uuid: ours.then_some(server.instance.0),
        power_state: openstack::ironic::PowerState::Off,
        ..Node::new(NodeId(uuid::Uuid::from_u128(1)))
    }
}

fn moves(state: State) -> Vec<State> {
    let mut to = vec![machine::next(state, Outcome::Ok), machine::next(state, Outcome::Fail)];
    to.extend(machine::waiting(state));
    // An operator who holds a node lets it go at last.
    to.extend(machine::verb(state, Verb::Unhold));
    to.retain(|next| *next != state);
    to
}

/// All worlds that can be reached.
fn reachable<W: World>(starts: impl IntoIterator<Item = W>) -> HashSet<W> {
    let mut queue: VecDeque<W> = starts.into_iter().collect();
    let mut seen: HashSet<W> = queue.iter().copied().collect();
    while let Some(world) = queue.pop_front() {
        let Ok(mut next) = world.step() else { continue };
        next.extend(world.moves());
        next.push(world.killed());
        queue.extend(next.into_iter().filter(|world| seen.insert(*world)));
    }
    seen
}

/// Runs undisturbed, while Ironic's work ends well or always ends badly; true if it ends within the bound.
fn ends<W: World>(mut world: W, outcome: Outcome) -> bool {
    for _ in 0..BOUND {
        let Ok(next) = world.step() else { return true };
        let changed = next.first().filter(|next| **next != world).copied();
        let moved = || {
            let moves = world.moves();
            let pick = if outcome == Outcome::Ok { moves.first() } else { moves.get(1).or(moves.first()) };
            pick.copied().unwrap_or(world)
        };
        world = changed.unwrap_or_else(moved);
    }
    false
}

fn everything_ends<W: World>(starts: impl IntoIterator<Item = W>, at_least: usize) {
    let worlds = reachable(starts);
    assert!(worlds.len() >= at_least, "only {} worlds", worlds.len());
    for world in worlds {
        assert!(ends(world, Outcome::Ok), "does not end: {world:?}");
        assert!(ends(world, Outcome::Fail), "does not end while everything fails: {world:?}");
    }
}

#[expect(clippy::struct_excessive_bools, reason = "they are independent facts")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Deploying {
    state: State,
    ours: bool,
    /// The node is described as we want it.
    described: bool,
    /// We have written the description; Ironic shows it as it was or, where `described` stays false, in another form.
    told: bool,
    valid: bool,
    asked: bool,
    /// Deployments that Ironic accepted since the node was last given back; not known to the operation.
    deploys: u8,
}

impl Deploying {
    fn decide(self) -> Next<deploy::Step> {
        let mut node = node(self.state, self.ours);
        if self.described {
            node.instance_info = instance_info(&captured(), &node).into_iter().collect();
        }
        let wanted = deploy::Wanted { node: node.uuid, server: captured(), targets: vec![] };
        let Self { told: described, valid, asked, .. } = self;
        let seen = deploy::Seen {
            node: Some(node),
            targets: vec![],
            added: BTreeSet::new(),
            described,
            valid,
            asked,
        };
        deploy::decide(&seen, &wanted)
    }

    fn moved(self, state: State) -> Self {
        let given_back = state == State::Available;
        Self {
            state,
            ours: self.ours && !matches!(self.state, State::Deleting),
            deploys: if given_back { 0 } else { self.deploys },
            ..self
        }
    }
}

impl World for Deploying {
    fn step(self) -> Result<Vec<Self>, ()> {
        Ok(match self.decide() {
            Next::Done => {
                assert!(self.ours, "done without the node: {self:?}");
                return Err(());
            }
            Next::Fail(Failure::DeployFailed(_)) => {
                assert!(
                    matches!(self.state, State::DeployFailed | State::Error | State::AdoptFailed),
                    "{self:?}"
                );
                return Err(());
            }
            Next::Fail(_) => return Err(()),
            Next::Wait => vec![],
            Next::Act(deploy::Step::Describe(_)) => {
                let told = Self { told: true, valid: false, ..self };
                vec![Self { described: true, ..told }, told, Self { described: true, ..self }, self]
            }
            Next::Act(deploy::Step::Validate) => vec![Self { valid: true, ..self }, self],
            Next::Act(deploy::Step::Deploy) => {
                assert_eq!(self.state, State::Available, "{self:?}");
                assert_eq!(self.deploys, 0, "deployed twice: {self:?}");
                assert!((self.described || self.told) && self.valid, "{self:?}");
                let state = machine::verb(self.state, Verb::Deploy).unwrap();
                let done = Self { state, deploys: 1, ..self };
                vec![Self { asked: true, ..done }, done, self]
            }
            Next::Act(other) => panic!("{other:?} was not asked for"),
        })
    }

    fn killed(self) -> Self {
        Self { told: false, valid: false, asked: false, ..self }
    }

    fn moves(self) -> Vec<Self> {
        moves(self.state).into_iter().map(|state| self.moved(state)).collect()
    }
}

#[test]
fn every_deployment_ends_and_none_is_asked_for_twice() {
    let starts = machine::ALL_STATES.into_iter().flat_map(|state| {
        [true, false].map(|ours| Deploying {
            state,
            ours,
            described: false,
            told: false,
            valid: false,
            asked: false,
            deploys: u8::from(state != State::Available),
        })
    });
    everything_ends(starts, 70);
}

#[expect(clippy::struct_excessive_bools, reason = "they are independent facts")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct TearingDown {
    state: State,
    ours: bool,
    attached: bool,
    asked: bool,
    aborted: bool,
    /// Ironic has failed to tear down, and holds the node's lock until the instance is off it.
    failing: bool,
    /// Whether this Ironic keeps the instance's uuid on a node that it failed to tear down.
    keeps: bool,
    /// Tear-downs that Ironic accepted since the process was last started; not known to the operation.
    tear_downs: u8,
}

impl TearingDown {
    fn decide(self) -> Next<teardown::Step> {
        let vifs = if self.attached { BTreeSet::from(["vif".to_owned()]) } else { BTreeSet::new() };
        let mut node = node(self.state, self.ours);
        node.reservation = self.failing.then(|| "conductor".to_owned());
        let seen = teardown::Seen {
            release: release::Seen { node: Some(node), targets: BTreeSet::new(), vifs },
            asked: self.asked,
            aborted: self.aborted,
        };
        teardown::decide(&seen, captured().instance)
    }

    /// Ironic's rule for changes of a node's record.
    fn may_change(self) -> bool {
        !self.failing
            && !self.state.is_locked()
            && (self.state.target().is_none() || self.state.allows_update())
    }
}

impl World for TearingDown {
    fn step(self) -> Result<Vec<Self>, ()> {
        Ok(match self.decide() {
            Next::Done => {
                let undeployed = self.asked
                    && matches!(
                        self.state,
                        State::Cleaning
                            | State::CleanWait
                            | State::CleanFailed
                            | State::CleanHold
                            | State::Available
                    );
                assert!(!self.ours || undeployed, "done too early: {self:?}");
                return Err(());
            }
            Next::Fail(Failure::TearDownFailed(_)) => {
                assert!(self.asked && !self.failing, "failed without trying, or too early: {self:?}");
                return Err(());
            }
            Next::Fail(failure) => panic!("{failure:?} in {self:?}"),
            Next::Wait => vec![],
            // Ironic answers that the node is locked.
            Next::Act(teardown::Step::Undeploy) if self.failing => vec![],
            Next::Act(teardown::Step::Undeploy) => {
                assert!(self.tear_downs == 0 || !self.asked, "torn down twice: {self:?}");
                match machine::verb(self.state, Verb::Delete) {
                    Ok(state) => {
                        let done = Self { state, tear_downs: 1, ..self };
                        vec![Self { asked: true, ..done }, done, self]
                    }
                    Err(refused) => panic!("asked for what is never possible: {refused:?}"),
                }
            }
            Next::Act(teardown::Step::Abort) => {
                let state = machine::verb(self.state, Verb::Abort).unwrap();
                // A step that cannot be aborted goes on, and ends in the aborted state later.
                vec![
                    Self { state, aborted: true, ..self },
                    Self { state, ..self },
                    Self { aborted: true, ..self },
                    self,
                ]
            }
            Next::Act(teardown::Step::Release(_)) if !self.may_change() => vec![],
            Next::Act(teardown::Step::Release(release::Step::Clear)) => {
                assert!(!self.attached, "left a VIF: {self:?}");
                vec![Self { ours: false, ..self }, self]
            }
            Next::Act(teardown::Step::Release(_)) => vec![Self { attached: false, ..self }, self],
        })
    }

    fn killed(self) -> Self {
        Self { asked: false, aborted: false, tear_downs: 0, ..self }
    }

    fn moves(self) -> Vec<Self> {
        let left = |to: Self| Self { ours: false, attached: false, ..to };
        if self.failing {
            let ended = Self { failing: false, ..self };
            return vec![if self.keeps { ended } else { left(ended) }];
        }
        let moved = |state| {
            let to = Self { state, failing: self.state == State::Deleting && state == State::Error, ..self };
            if self.state == State::Deleting && !to.failing { left(to) } else { to }
        };
        moves(self.state).into_iter().map(moved).collect()
    }
}

#[test]
fn every_tear_down_ends_and_leaves_nothing() {
    let starts = machine::ALL_STATES.into_iter().flat_map(|state| {
        [(true, true, false), (true, false, true), (false, false, false)].map(|(ours, attached, keeps)| {
            TearingDown {
                state,
                ours,
                attached,
                keeps,
                asked: false,
                aborted: false,
                failing: false,
                tear_downs: 0,
            }
        })
    });
    everything_ends(starts, 140);
}
