//! Rescuing a node and ending that: a ramdisk with a password on the machine in place of its own system.
//!
//! A node can be rescued again, with another password, and a rescue that failed can be repeated: the state alone does not tell
//! whether it is the outcome of this request or was there before. What tells is the state together with the time since when the
//! node is in it (`provision_updated_at`, which Ironic writes with each change of the state). Both are saved before the request
//! is made: a process that was killed compares, and neither takes a rescue with somebody's former password for its own nor boots
//! the rescue system twice. Conditions as in `rescue` and `unrescue` of Nova's driver.

use openstack::ironic::{Node, ProvisionState as S, ProvisionTarget};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::{
    Error, InstanceId, NodeId, Progress,
    ironic::{Ironic, last_error},
    plan::{self, Next, Perform, Plan, Repeat, Wait},
    setback::Setback,
    unseen::Unseen,
};

/// What rescuing looks at.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Observed {
    /// The node; `None` if it is proven gone.
    pub(crate) node: Option<Node>,
}

/// Where the node shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    /// In `rescue`.
    Rescued,
    /// In `active` again.
    Active,
}

/// What is wanted of the instance's node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The node.
    pub(crate) node: NodeId,
    /// The instance on it.
    pub(crate) instance: InstanceId,
    /// Where it shall be.
    pub(crate) goal: Goal,
}

/// What cannot be observed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// The request that was about to be made.
    pub(crate) asked: Option<Asked>,
    /// Ironic has accepted the last request of this run.
    #[serde(skip)]
    pub(crate) accepted: bool,
}

/// A request, and how the node was before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) goal: Goal,
    pub(crate) before: Stamp,
}

/// A provision state and since when the node is in it, as Ironic wrote them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Stamp(String, Option<String>);

impl Stamp {
    fn of(node: &Node) -> Self {
        Self(node.provision_state.to_string(), node.provision_updated_at.clone())
    }
}

impl Memory {
    /// Whether the state in which the node is follows from the request for this goal.
    fn is_outcome(&self, goal: Goal, node: &Node) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.goal == goal && asked.before != Stamp::of(node))
    }
}

/// Whether an earlier run of an operation has asked, or was about to ask, for the rescue.
pub(crate) async fn is_asked(progress: &dyn Progress) -> bool {
    let saved = progress.saved(Wanted::NAME).await;
    let memory = saved.and_then(|saved| serde_json::from_value::<Memory>(saved).ok());
    memory.and_then(|memory| memory.asked).is_some_and(|asked| asked.goal == Goal::Rescued)
}

/// The only step: `PUT …/states/provision` with target `rescue` or `unrescue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// `rescue`, with the password.
    Rescue,
    /// `unrescue`.
    Unrescue,
}

impl plan::Step for Step {
    fn name(&self) -> &'static str {
        match self {
            Self::Rescue => "rescue",
            Self::Unrescue => "unrescue",
        }
    }

    fn repeat(&self) -> Repeat {
        Repeat::AtMostOnce
    }
}

impl Wanted {
    /// Ironic's word for the request.
    fn what(&self) -> &'static str {
        match self.goal {
            Goal::Rescued => "rescue",
            Goal::Active => "unrescue",
        }
    }

    fn failed(&self, node: &Node) -> Next<Step> {
        let what = self.what();
        Next::Fail(Error::Retry(format!("Ironic failed to {what} node {}: {}", node.uuid, last_error(node))))
    }
}

impl Plan for Wanted {
    const NAME: &'static str = "rescue";
    type Observed = Observed;
    type Memory = Memory;
    type Step = Step;

    fn decide(&self, seen: &Observed, memory: &Memory) -> Next<Step> {
        let (id, instance) = (self.node, self.instance);
        let Some(node) = seen.node.as_ref().filter(|node| node.instance_uuid == Some(instance.0)) else {
            return Next::Fail(Error::Gone(format!("Node {id} does not carry instance {instance}")));
        };
        let state = &node.provision_state;
        let is_outcome = memory.is_outcome(self.goal, node);
        match (self.goal, state) {
            (Goal::Active, S::Active) => Next::Done,
            (Goal::Rescued, S::Rescue) if is_outcome => Next::Done,
            (Goal::Rescued, S::RescueFailed) | (Goal::Active, S::UnrescueFailed) if is_outcome => {
                self.failed(node)
            }
            (
                Goal::Rescued,
                S::Active | S::Rescue | S::RescueFailed | S::UnrescueFailed | S::ServiceFailed,
            )
            | (Goal::Active, S::Rescue | S::RescueFailed | S::UnrescueFailed) => {
                if memory.accepted {
                    return self.failed(node);
                }
                Next::Act(if self.goal == Goal::Rescued { Step::Rescue } else { Step::Unrescue })
            }
            (
                _,
                S::Rescuing
                | S::RescueWait
                | S::Unrescuing
                | S::Servicing
                | S::ServiceWait
                | S::ServiceHold
                | S::DeployHold
                | S::Deploying
                | S::WaitCallBack
                | S::DeployDone
                | S::Rebuild
                | S::Adopting
                | S::Other(_),
            ) => Next::Wait(Wait::provision(node, format!("Ironic works at the node ('{state}')"))),
            (
                _,
                S::NoState
                | S::Enroll
                | S::Verifying
                | S::Manageable
                | S::Inspecting
                | S::InspectWait
                | S::InspectFailed
                | S::Available
                | S::DeployFailed
                | S::Deleting
                | S::Deleted
                | S::Error
                | S::AdoptFailed
                | S::Cleaning
                | S::CleanWait
                | S::CleanFailed
                | S::CleanHold
                | S::ServiceFailed,
            ) => {
                let what = self.what();
                Next::Fail(Error::Retry(format!(
                    "Node {id} is in state '{state}', from which Ironic can not {what} it"
                )))
            }
        }
    }

    fn begin(&self, _step: &Step, seen: &Observed, memory: &mut Memory) {
        memory.accepted = false;
        let before = seen.node.as_ref().map(Stamp::of);
        memory.asked = before.map(|before| Asked { goal: self.goal, before });
    }

    fn accepted(&self, _step: &Step, memory: &mut Memory) {
        memory.accepted = true;
    }

    fn node<'a>(&self, seen: &'a Observed) -> Option<&'a Node> {
        seen.node.as_ref()
    }
}

/// The operation.
pub(crate) struct Rescue {
    pub(crate) ironic: Ironic,
    pub(crate) wanted: Wanted,
    /// For the rescue system; none to end it.
    pub(crate) password: Option<SecretString>,
}

impl Perform for Rescue {
    type Plan = Wanted;

    fn plan(&self) -> &Wanted {
        &self.wanted
    }

    async fn observe(&mut self, fresh: Option<Node>, _memory: &Memory) -> Result<Observed, Unseen> {
        Ok(Observed { node: self.ironic.fresh_or_read(fresh, self.wanted.node).await? })
    }

    async fn perform(&mut self, step: &Step, mut seen: Observed) -> Result<Option<Observed>, Setback> {
        let (target, state, leads_to) = match step {
            Step::Rescue => (ProvisionTarget::Rescue, S::Rescuing, S::Rescue),
            Step::Unrescue => (ProvisionTarget::Unrescue, S::Unrescuing, S::Active),
        };
        let Ironic { client, caller, .. } = &self.ironic;
        client.set_provision_state(caller, self.wanted.node, target, None, self.password.as_ref()).await?;
        if let Some(node) = seen.node.as_mut() {
            // Ironic has changed the state before it answers.
            (node.provision_state, node.target_provision_state) = (state, leads_to);
        }
        Ok(Some(seen))
    }
}

#[cfg(test)]
mod tests {
    use ironic_sim::machine::{self, Outcome, State, Verb};

    use super::*;
    use crate::testing::{
        model::{INSTANCE, World, check, moves, node},
        states,
    };

    fn wanted(goal: Goal) -> Wanted {
        Wanted { node: node(State::Active, true).uuid, instance: INSTANCE, goal }
    }

    #[test]
    fn another_instances_node_is_left_alone_in_every_state() {
        for state in states() {
            for goal in [Goal::Rescued, Goal::Active] {
                let other = Node { provision_state: state.clone(), ..node(State::Active, false) };
                let next = wanted(goal).decide(&Observed { node: Some(other) }, &Memory::default());
                assert!(matches!(next, Next::Fail(Error::Gone(_))), "{state}");
            }
        }
    }

    fn at(state: State, since: &str) -> Node {
        Node { provision_updated_at: Some(since.to_owned()), ..node(state, true) }
    }

    fn asked(goal: Goal, before: &Node) -> Memory {
        Memory { asked: Some(Asked { goal, before: Stamp::of(before) }), accepted: false }
    }

    fn next(node: Node, goal: Goal, memory: &Memory) -> Next<Step> {
        wanted(goal).decide(&Observed { node: Some(node) }, memory)
    }

    #[test]
    fn a_node_that_is_rescued_already_is_rescued_again_with_the_password_of_this_request() {
        let rescued = at(State::Rescue, "one");
        assert_eq!(next(rescued.clone(), Goal::Rescued, &Memory::default()), Next::Act(Step::Rescue));
        let memory = asked(Goal::Rescued, &rescued);
        assert_eq!(next(rescued, Goal::Rescued, &memory), Next::Act(Step::Rescue));
        assert_eq!(next(at(State::Rescue, "two"), Goal::Rescued, &memory), Next::Done);
    }

    #[test]
    fn a_failure_of_before_is_tried_again_and_ones_own_is_told() {
        for (goal, state, step) in [
            (Goal::Rescued, State::RescueFailed, Step::Rescue),
            (Goal::Active, State::UnrescueFailed, Step::Unrescue),
        ] {
            let memory = asked(goal, &at(state, "one"));
            assert_eq!(next(at(state, "one"), goal, &memory), Next::Act(step));
            let failed = Node { last_error: Some("the BMC hangs".to_owned()), ..at(state, "two") };
            let Next::Fail(Error::Retry(text)) = next(failed, goal, &memory) else { panic!("{state}") };
            assert!(text.contains("the BMC hangs"), "{text}");
        }
    }

    #[test]
    fn the_end_of_a_rescue_that_failed_begins_with_a_memory_of_the_rescue() {
        let memory = asked(Goal::Rescued, &at(State::Active, "one"));
        for state in [State::RescueFailed, State::UnrescueFailed, State::Rescue] {
            assert_eq!(next(at(state, "two"), Goal::Active, &memory), Next::Act(Step::Unrescue));
        }
        assert_eq!(next(at(State::Active, "one"), Goal::Active, &memory), Next::Done);
    }

    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    struct Rescuing {
        goal: Goal,
        state: State,
        /// How often the node has come to rest so far: only then does the time matter since when it is in its state.
        changes: u8,
        /// The rescue system was booted with the password of this request.
        ours: bool,
    }

    impl Rescuing {
        fn to(&self, state: State) -> Self {
            let rests = machine::next(state, Outcome::Ok) == state;
            Self { state, changes: self.changes + u8::from(rests), ..self.clone() }
        }
    }

    impl World for Rescuing {
        type Plan = Wanted;

        fn plan(&self) -> Wanted {
            wanted(self.goal)
        }

        fn observed(&self) -> Observed {
            Observed { node: Some(at(self.state, &self.changes.to_string())) }
        }

        fn take(&self, step: &Step) -> Vec<Self> {
            let verb = if *step == Step::Rescue { Verb::Rescue } else { Verb::Unrescue };
            let Ok(state) = machine::verb(self.state, verb) else { return vec![] };
            assert!(!self.ours, "asked twice: {self:?}");
            vec![Self { ours: true, ..self.to(state) }]
        }

        fn moves(&self) -> Vec<Self> {
            moves(self.state).into_iter().map(|state| self.to(state)).collect()
        }

        fn ends(&self, end: Result<(), Error>, _memory: &Memory) {
            match (end, self.goal) {
                (Ok(()), Goal::Rescued) => assert!(self.state == State::Rescue && self.ours, "{self:?}"),
                (Ok(()), Goal::Active) => assert_eq!(self.state, State::Active),
                (Err(Error::Retry(_)), _) => {}
                (Err(error), _) => panic!("{error:?} in {self:?}"),
            }
        }
    }

    #[test]
    fn every_rescue_and_every_end_of_one_ends_and_none_is_asked_for_twice() {
        let starts = [Goal::Rescued, Goal::Active].into_iter();
        let starts = starts.flat_map(|goal| {
            machine::ALL_STATES.map(|state| Rescuing { goal, state, changes: 0, ours: false })
        });
        check(starts, 100);
    }
}
