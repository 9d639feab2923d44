//! What an operation on a node is: a plan that decides, purely, and the calls that carry its steps out.
//!
//! A [`Plan`] looks at what was observed and at what the operation remembers, and says what comes next. It does no I/O and
//! reads no clock, so that every state of Ironic's machine can be tried against it. [`Perform`] is the other half: it observes
//! and makes one call at a time. The [`Runner`](crate::runner::Runner) knows both only by these traits.
//!
//! # What an implementer promises
//!
//! - A step that may be repeated ([`Repeat::Freely`]) does no harm when its first call took effect and the answer was lost.
//! - A step that must not be repeated ([`Repeat::AtMostOnce`]) writes what it needs to know afterwards into the memory in
//!   [`Plan::begin`]. The runner saves the memory before it makes the call, and a process that was killed in between is
//!   started again with that memory.
//! - `decide` has an arm for every provision state, unknown ones too.
//! - [`Plan::begin`], [`Plan::accepted`], [`Plan::postponed`] and [`Plan::refused`] are the only places where the memory changes.

use std::borrow::Cow;
use std::{future::Future, time::Duration};

use openstack::ironic::Node;
use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, NodeId, gate::Limited, setback::Setback, unseen::Unseen, watch::Until};

/// One call to Ironic.
pub(crate) trait Step {
    /// Its name in metrics and logs, in snake case.
    fn name(&self) -> &'static str;

    /// The work of which Ironic takes only so much at once, if this step begins such work.
    fn limited(&self) -> Option<Limited> {
        None
    }

    /// Whether the call may be made again when its first answer was lost.
    fn repeat(&self) -> Repeat {
        Repeat::Freely
    }
}

/// Whether a call may be made again when its first answer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Idempotent, or refused by Ironic the second time.
    Freely,
    /// A second call would do it twice: what was observed before it is saved first.
    AtMostOnce,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Next<S> {
    /// Make this call, then decide again.
    Act(S),
    /// Nothing to do until this has come true.
    Wait(Wait),
    /// The operation has reached its end.
    Done,
    /// The operation cannot reach its end.
    Fail(Error),
}

/// What is waited for, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    /// The node that is watched.
    pub(crate) node: NodeId,
    /// What ends the wait. It ends, too, when the node changes hands or disappears.
    pub(crate) until: Until,
    /// Why, for the operator: a clause such as "Ironic deploys the node".
    pub(crate) because: Cow<'static, str>,
    /// How long at most; `None` as long as it takes.
    pub(crate) limit: Option<Limit>,
}

/// How long a wait may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// As long as a node may stay locked: `[ironic] api_max_retries` × `api_retry_interval`, counted from the first such wait after
    /// the last step.
    Lock,
    /// So long, counted from the first such wait after the last step.
    Within(Duration),
}

impl Wait {
    /// Until the node has left the provision state in which it is now.
    pub(crate) fn provision(node: &Node, because: impl Into<Cow<'static, str>>) -> Self {
        let until = Until::LeavesProvision {
            state: node.provision_state.clone(),
            target: node.target_provision_state.clone(),
        };
        Self { node: node.uuid, until, because: because.into(), limit: None }
    }

    /// The same wait with a limit.
    pub(crate) fn at_most(self, limit: Limit) -> Self {
        Self { limit: Some(limit), ..self }
    }
}

/// The pure half of an operation on one node.
pub(crate) trait Plan: Send + Sync {
    /// Its name in metrics, logs and what is saved.
    const NAME: &'static str;
    /// What its decisions look at.
    type Observed: Send;
    /// What it knows and cannot observe. The default is what a run begins with that was never cut off.
    type Memory: Clone + Default + Serialize + DeserializeOwned + Send;
    /// One call.
    type Step: Step + Send;

    /// What comes next.
    fn decide(&self, seen: &Self::Observed, memory: &Self::Memory) -> Next<Self::Step>;

    /// What comes when a wait has reached its limit and the node is as it was. Fails unless the plan knows better.
    fn overdue(&self, seen: &Self::Observed, _memory: &Self::Memory) -> Next<Self::Step> {
        let stuck = match self.node(seen) {
            Some(node) => format!(
                "Node {} stays in state '{}'; ask again when it has left it",
                node.uuid, node.provision_state
            ),
            None => "The node does not change; ask again later".to_owned(),
        };
        Next::Fail(Error::Retry(stuck))
    }

    /// What is remembered before a step is taken.
    fn begin(&self, _step: &Self::Step, _seen: &Self::Observed, _memory: &mut Self::Memory) {}

    /// What is remembered when Ironic has taken a step.
    fn accepted(&self, _step: &Self::Step, _memory: &mut Self::Memory) {}

    /// What is remembered when a step was put off, to be tried again later: what [`Perform::perform`] answered says whether the call
    /// may have taken effect.
    fn postponed(&self, _step: &Self::Step, _memory: &mut Self::Memory) {}

    /// What is remembered when Ironic has refused a step for good; true if the plan knows another way.
    fn refused(&self, _step: &Self::Step, _memory: &mut Self::Memory) -> bool {
        false
    }

    /// The node, for logs.
    fn node<'a>(&self, seen: &'a Self::Observed) -> Option<&'a Node>;
}

/// The other half: observes and calls.
pub(crate) trait Perform: Send {
    /// The half that decides.
    type Plan: Plan;

    /// The half that decides.
    fn plan(&self) -> &Self::Plan;

    /// Observes. `fresh` is the node where the watcher has just seen it.
    fn observe(
        &mut self,
        fresh: Option<Node>,
        memory: &<Self::Plan as Plan>::Memory,
    ) -> impl Future<Output = Result<<Self::Plan as Plan>::Observed, Unseen>> + Send;

    /// Makes one call. Returns what is to be seen now as far as the answer tells, or `None` to observe again.
    fn perform(
        &mut self,
        step: &<Self::Plan as Plan>::Step,
        seen: <Self::Plan as Plan>::Observed,
    ) -> impl Future<Output = Result<Option<<Self::Plan as Plan>::Observed>, Setback>> + Send;
}
