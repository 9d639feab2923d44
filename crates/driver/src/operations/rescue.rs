//! Rescuing a node and ending that: a ramdisk with a password on the machine in place of its own system.
//!
//! All of it can be observed but that Ironic has accepted the request, which matters only for what a failed state means: the
//! outcome of this request, or what was there before. Conditions as in `rescue` and `unrescue` of Nova's driver.

use openstack::ironic::{Node, ProvisionState as S, ProvisionTarget};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::{
    Error, InstanceId, NodeId,
    ironic::{Ironic, Unseen, last_error},
    plan::{self, Next, Perform, Plan, Wait},
    setback::Setback,
};

/// What rescuing looks at.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Observed {
    /// The node; `None` if it is proven gone.
    pub(crate) node: Option<Node>,
}

/// Where the node shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// Ironic has accepted our `PUT`.
    pub(crate) asked: bool,
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
        match (self.goal, state) {
            (Goal::Rescued, S::Rescue) | (Goal::Active, S::Active) => Next::Done,
            (Goal::Rescued, S::RescueFailed) | (Goal::Active, S::UnrescueFailed) if memory.asked => {
                let what = if self.goal == Goal::Rescued { "rescue" } else { "unrescue" };
                Next::Fail(Error::Retry(format!("Ironic failed to {what} node {id}: {}", last_error(node))))
            }
            (Goal::Rescued, S::Active | S::RescueFailed | S::UnrescueFailed) => Next::Act(Step::Rescue),
            (Goal::Active, S::Rescue | S::RescueFailed | S::UnrescueFailed) => Next::Act(Step::Unrescue),
            (
                _,
                S::Rescuing
                | S::RescueWait
                | S::Unrescuing
                | S::Servicing
                | S::ServiceWait
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
                | S::DeployHold
                | S::Deleting
                | S::Deleted
                | S::Error
                | S::AdoptFailed
                | S::Cleaning
                | S::CleanWait
                | S::CleanFailed
                | S::CleanHold
                | S::ServiceFailed
                | S::ServiceHold,
            ) => Next::Fail(Error::Retry(format!(
                "Node {id} is in state '{state}', in which no server can be rescued"
            ))),
        }
    }

    fn accepted(&self, _step: &Step, memory: &mut Memory) {
        memory.asked = true;
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
    use ironic_sim::machine::{self, State, Verb};

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

    #[test]
    fn what_is_so_already_is_done_and_a_failure_of_before_is_tried_again() {
        let next = |state, goal, asked| {
            let seen = Observed { node: Some(node(state, true)) };
            wanted(goal).decide(&seen, &Memory { asked })
        };
        assert_eq!(next(State::Rescue, Goal::Rescued, false), Next::Done);
        assert_eq!(next(State::Active, Goal::Active, false), Next::Done);
        assert_eq!(next(State::RescueFailed, Goal::Rescued, false), Next::Act(Step::Rescue));
        assert_eq!(next(State::RescueFailed, Goal::Active, true), Next::Act(Step::Unrescue));
        assert!(matches!(next(State::RescueFailed, Goal::Rescued, true), Next::Fail(Error::Retry(_))));
        assert!(matches!(next(State::UnrescueFailed, Goal::Active, true), Next::Fail(Error::Retry(_))));
    }

    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    struct Rescuing {
        goal: Goal,
        state: State,
    }

    impl World for Rescuing {
        type Plan = Wanted;

        fn plan(&self) -> Wanted {
            wanted(self.goal)
        }

        fn observed(&self) -> Observed {
            Observed { node: Some(node(self.state, true)) }
        }

        fn take(&self, step: &Step) -> Vec<Self> {
            let verb = if *step == Step::Rescue { Verb::Rescue } else { Verb::Unrescue };
            machine::verb(self.state, verb).map(|state| Self { state, ..self.clone() }).into_iter().collect()
        }

        fn moves(&self) -> Vec<Self> {
            moves(self.state).into_iter().map(|state| Self { state, ..self.clone() }).collect()
        }

        fn ends(&self, end: Result<(), Error>, _memory: &Memory) {
            match end {
                Ok(()) => {
                    let there = if self.goal == Goal::Rescued { State::Rescue } else { State::Active };
                    assert_eq!(self.state, there);
                }
                Err(Error::Retry(_)) => {}
                Err(error) => panic!("{error:?} in {self:?}"),
            }
        }
    }

    #[test]
    fn every_rescue_and_every_end_of_one_ends() {
        let starts = [Goal::Rescued, Goal::Active].into_iter();
        let starts = starts.flat_map(|goal| machine::ALL_STATES.map(|state| Rescuing { goal, state }));
        check(starts, 100);
    }
}
