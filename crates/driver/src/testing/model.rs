//! Plans against a model of Ironic, walked exhaustively: every situation that can be reached by a plan's steps (done, done with the
//! answer lost, never arrived, refused), by Ironic's own moves, by killing the process at any moment, and by late observations, which
//! show the node as it was some changes ago.
//!
//! Shown for each of them: from there, an Ironic that goes on working brings the operation to its end within a few steps. What
//! must not happen twice is asserted by the world when it takes a step ([`World::take`]), what must be so at the end by
//! [`World::ends`].

use std::{
    collections::{HashSet, VecDeque},
    fmt::Debug,
    hash::Hash,
};

use ironic_sim::machine::{self, Outcome, State, Verb};
use openstack::ironic::{Node, NodeId, PowerState, ProvisionState};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{
    Error, InstanceId,
    plan::{Next, Plan, Repeat, Step as _},
};

/// Steps after which an operation must have ended.
const BOUND: usize = 32;

/// The instance that a modelled node carries.
pub(crate) const INSTANCE: InstanceId = InstanceId(Uuid::from_u128(2));

/// Ironic's side of an operation.
pub(crate) trait World: Clone + Debug + Eq + Hash {
    /// What is run against it.
    type Plan: Plan<Memory: Debug + Eq + Hash>;

    /// The plan.
    fn plan(&self) -> Self::Plan;

    /// What the plan sees of this world.
    fn observed(&self) -> <Self::Plan as Plan>::Observed;

    /// The worlds to which a call may lead that Ironic takes, the usual one first; none if Ironic refuses it.
    fn take(&self, step: &<Self::Plan as Plan>::Step) -> Vec<Self>;

    /// Whether Ironic refuses this call for good.
    fn refuses(&self, _step: &<Self::Plan as Plan>::Step) -> bool {
        false
    }

    /// Where Ironic, or the operator who holds the node, may move by itself; the good outcome first.
    fn moves(&self) -> Vec<Self>;

    /// Asserts that an operation may end like this in this world.
    fn ends(&self, end: Result<(), Error>, memory: &<Self::Plan as Plan>::Memory);
}

/// A world, what a late answer may still show of it, and what the operation knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Situation<W, M> {
    world: W,
    before: Option<W>,
    memory: M,
    /// What a restart finds.
    saved: M,
    /// Ironic has accepted a step since the last failure was doubted.
    accepted: bool,
    /// A step that must not be taken twice may have been taken already.
    in_doubt: bool,
}

type SituationOf<W> = Situation<W, <<W as World>::Plan as Plan>::Memory>;

/// What one turn of the runner leads to.
enum Turn<S> {
    /// The calls' outcomes, the usual one first.
    To(Vec<S>),
    /// It waits, and what it does when that has taken too long, if there is a limit.
    Waits(Option<Vec<S>>),
    Ended,
}

impl<W: World> Situation<W, <W::Plan as Plan>::Memory> {
    fn new(world: W) -> Self {
        let memory = <W::Plan as Plan>::Memory::default();
        Self { world, before: None, saved: memory.clone(), memory, accepted: false, in_doubt: false }
    }

    /// One turn of the runner, with an observation of this world.
    fn turn(&self, observed: &W) -> Turn<Self> {
        let (plan, seen) = (observed.plan(), observed.observed());
        match plan.decide(&seen, &self.memory) {
            Next::Wait(wait) => {
                let is_late = observed != &self.world;
                let overdue = || match plan.overdue(&seen, &self.memory) {
                    _ if is_late => Vec::new(),
                    Next::Wait(_) => panic!("waits again for what is overdue: {self:?}"),
                    next => match self.go(&plan, observed, next) {
                        Turn::To(situations) => situations,
                        Turn::Waits(_) | Turn::Ended => Vec::new(),
                    },
                };
                Turn::Waits(wait.limit.map(|_| overdue()))
            }
            next => self.go(&plan, observed, next),
        }
    }

    fn go(&self, plan: &W::Plan, observed: &W, next: Next<<W::Plan as Plan>::Step>) -> Turn<Self> {
        match next {
            Next::Wait(_) => unreachable!("the caller has looked"),
            Next::Done => {
                observed.ends(Ok(()), &self.memory);
                Turn::Ended
            }
            // The runner observes once more, and time has passed.
            Next::Fail(_) if self.accepted => {
                Turn::To(vec![Self { accepted: false, before: None, ..self.clone() }])
            }
            Next::Fail(error) => {
                let is_late = observed != &self.world && self.memory != Default::default();
                let now = plan.decide(&self.world.observed(), &self.memory);
                assert!(
                    !is_late || matches!(now, Next::Fail(_)),
                    "failed by a late answer: {error:?} in {self:?}"
                );
                observed.ends(Err(error), &self.memory);
                Turn::Ended
            }
            Next::Act(step) => {
                let once = step.repeat() == Repeat::AtMostOnce;
                if once && self.in_doubt {
                    // The runner observes once more, and time has passed.
                    return Turn::To(vec![Self { in_doubt: false, before: None, ..self.clone() }]);
                }
                let mut asked = Self { in_doubt: self.in_doubt || once, ..self.clone() };
                plan.begin(&step, &observed.observed(), &mut asked.memory);
                if once {
                    asked.saved = saved(&asked.memory);
                }
                let mut outcomes = Vec::new();
                for world in self.world.take(&step) {
                    for before in self.late() {
                        let lost = Self { world: world.clone(), before: Some(before), ..asked.clone() };
                        let mut answered = Self { accepted: true, in_doubt: self.in_doubt, ..lost.clone() };
                        plan.accepted(&step, &mut answered.memory);
                        if once {
                            answered.saved = saved(&answered.memory);
                        }
                        outcomes.extend([answered, lost]);
                    }
                }
                let mut refused = asked.clone();
                if self.world.refuses(&step) && plan.refused(&step, &mut refused.memory) {
                    outcomes.push(refused);
                }
                // The node is locked: it is tried again later.
                let mut postponed = asked.clone();
                plan.postponed(&step, &mut postponed.memory);
                if once {
                    postponed.saved = saved(&postponed.memory);
                }
                // It never arrived, and no answer says so.
                outcomes.extend([postponed, asked]);
                Turn::To(outcomes)
            }
        }
    }

    /// What a late answer may show after the next change: this world, or what a late answer shows already.
    fn late(&self) -> Vec<W> {
        let mut late = vec![self.world.clone()];
        late.extend(self.before.clone());
        late
    }

    fn disturbed(&self) -> Vec<Self> {
        let mut all = Vec::new();
        for world in self.world.moves() {
            let late = self.late().into_iter();
            all.extend(late.map(|before| Self {
                world: world.clone(),
                before: Some(before),
                ..self.clone()
            }));
        }
        let in_doubt = self.saved != Default::default();
        all.push(Self { memory: self.saved.clone(), accepted: false, in_doubt, ..self.clone() });
        all
    }

    fn next(&self) -> Vec<Self> {
        let mut next = self.disturbed();
        for observed in [Some(&self.world), self.before.as_ref()].into_iter().flatten() {
            match self.turn(observed) {
                Turn::To(situations) => next.extend(situations),
                // No answer is so late that a limit has passed.
                Turn::Waits(Some(situations)) if observed == &self.world => next.extend(situations),
                Turn::Waits(_) | Turn::Ended => {}
            }
        }
        next
    }
}

/// A memory as a restart reads it.
fn saved<M: Serialize + DeserializeOwned>(memory: &M) -> M {
    serde_json::from_value(serde_json::to_value(memory).unwrap()).unwrap()
}

/// All situations that can be reached.
fn reachable<W: World>(starts: impl IntoIterator<Item = W>) -> HashSet<SituationOf<W>> {
    let mut queue: VecDeque<_> = starts.into_iter().map(Situation::new).collect();
    let mut seen: HashSet<_> = queue.iter().cloned().collect();
    while let Some(situation) = queue.pop_front() {
        queue.extend(situation.next().into_iter().filter(|next| seen.insert(next.clone())));
    }
    seen
}

/// Runs undisturbed, while Ironic's work ends well or always ends badly; true if it ends within the bound.
fn ends<W: World>(mut now: SituationOf<W>, outcome: Outcome) -> bool {
    for _ in 0..BOUND {
        let moves = now.world.moves();
        let pick = if outcome == Outcome::Ok { moves.first() } else { moves.get(1).or(moves.first()) };
        let after = pick.map(|world| Situation { world: world.clone(), before: None, ..now.clone() });
        now = match now.turn(&now.world) {
            Turn::Ended => return true,
            // Where nothing comes of a call, Ironic is at work on the node.
            Turn::To(situations) => match situations.into_iter().next() {
                Some(next) if next != now => next,
                _ => after.unwrap_or(now),
            },
            Turn::Waits(overdue) => match (after, overdue) {
                (Some(after), _) => after,
                (None, Some(overdue)) => match overdue.into_iter().next() {
                    Some(next) => next,
                    // What is overdue has failed.
                    None => return true,
                },
                (None, None) => return false,
            },
        };
    }
    false
}

/// Walks all situations from these worlds; there must be at least so many, or the model has become trivial.
pub(crate) fn check<W: World>(starts: impl IntoIterator<Item = W>, at_least: usize) {
    let situations = reachable(starts);
    assert!(situations.len() >= at_least, "only {} situations", situations.len());
    for situation in situations {
        assert!(ends(situation.clone(), Outcome::Ok), "does not end: {situation:?}");
        assert!(ends(situation.clone(), Outcome::Fail), "does not end while everything fails: {situation:?}");
    }
}

/// A node in this state, off, which carries [`INSTANCE`] or none.
pub(crate) fn node(state: State, ours: bool) -> Node {
    Node {
        provision_state: ProvisionState::from(state.as_str()),
        instance_uuid: ours.then_some(INSTANCE.0),
        power_state: PowerState::Off,
        ..Node::new(NodeId(Uuid::from_u128(1)))
    }
}

/// The states to which Ironic, or the operator who holds the node, may move a node by itself; the good outcome first.
pub(crate) fn moves(state: State) -> Vec<State> {
    let mut to = vec![machine::next(state, Outcome::Ok), machine::next(state, Outcome::Fail)];
    to.extend(machine::waiting(state));
    // An operator who holds a node lets it go at last.
    to.extend(machine::verb(state, Verb::Unhold));
    to.retain(|next| *next != state);
    to
}
