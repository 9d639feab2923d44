//! The one loop that runs every operation: observe → decide → act or wait.
//!
//! It knows nothing of what it runs. What it gives: each wait is cancelled at once, reported to the caller, and warned of once
//! when it takes longer than usual; a call that was sent is never abandoned half way; an outage is waited for; what must not be
//! done twice is saved before it is done, and observed once more before it is tried again; a failure that contradicts what
//! Ironic accepted is observed once more.

use std::{future::Future, time::Duration};

use openstack::ironic::Node;
use tokio::time::Instant;
use tracing::{Instrument, debug, info, info_span, warn};

use crate::{
    Error, Options, Run,
    gate::{Gate, Gates, Turn},
    limits::{Alarm, Limits},
    plan::{Next, Perform, Plan, Repeat, Step as _, Wait},
    setback::Setback,
    unseen::Unseen,
    watch::{Watched, Watcher},
};

/// How long Ironic stays away, or at its limit, as a rule; a wait that takes longer is warned of once.
const USUAL: Duration = Duration::from_mins(5);

/// How an operation has gone so far.
struct Course<'a, P: Plan> {
    limits: Limits<'a>,
    memory: P::Memory,
    /// What the last call's answer told.
    known: Option<P::Observed>,
    /// The node as the watcher has just seen it.
    fresh: Option<Node>,
    /// From when it is our turn to when the step is done; the node is observed in between.
    turn: Option<Turn<'a>>,
    /// Ironic has accepted a step since the last failure was doubted.
    accepted: bool,
    /// A step that must not be taken twice may have been taken already: an answer may still show the node of before it.
    in_doubt: bool,
}

impl<'a, P: Plan> Course<'a, P> {
    /// The beginning, or where an earlier run was cut off that saved what it remembered. What cannot be read is as good as
    /// nothing: it was written by a release whose plan was another.
    fn new(limits: Limits<'a>, saved: Option<serde_json::Value>) -> Self {
        let in_doubt = saved.is_some();
        let memory = saved.map_or_else(P::Memory::default, |saved| {
            serde_json::from_value(saved).unwrap_or_else(|error| {
                warn!(operation = P::NAME, %error, "the saved progress cannot be read; observing anew");
                P::Memory::default()
            })
        });
        Self { limits, memory, known: None, fresh: None, turn: None, accepted: false, in_doubt }
    }
}

/// The memory could not be saved, for this reason.
struct Unsaved(String);

impl From<Unsaved> for Setback {
    fn from(Unsaved(error): Unsaved) -> Self {
        warn!(error, "the journal cannot be written; the step is postponed");
        Self::Away(Error::Retry("The compute service cannot write its journal".to_owned()))
    }
}

/// What the loop needs beside the operation.
pub(crate) struct Runner<'a> {
    pub(crate) watcher: &'a Watcher,
    pub(crate) gates: &'a Gates,
    pub(crate) options: &'a Options,
    pub(crate) alarm: &'a Alarm,
    pub(crate) run: Run<'a>,
}

impl Runner<'_> {
    /// Runs an operation to its end; returns what was observed there.
    pub(crate) async fn run<O: Perform>(
        &self,
        operation: &mut O,
    ) -> Result<<O::Plan as Plan>::Observed, Error> {
        let span =
            info_span!("operation", operation = <O::Plan as Plan>::NAME, instance = %self.run.instance);
        self.run_in_span(operation).instrument(span).await
    }

    /// Reads, again and again while Ironic cannot be reached or does not show what is looked for.
    pub(crate) async fn read<T, F>(&self, mut look: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Unseen>>,
    {
        let mut limits = self.limits();
        loop {
            match self.unless_cancelled(Box::pin(look())).await? {
                Ok(found) => return Ok(found),
                Err(unseen) => self.pause_for(&mut limits, unseen).await?,
            }
        }
    }

    async fn run_in_span<O: Perform<Plan = P>, P: Plan>(
        &self,
        operation: &mut O,
    ) -> Result<P::Observed, Error> {
        let mut course = Course::<P>::new(self.limits(), self.run.progress.saved(P::NAME).await);
        loop {
            let Some(seen) = self.observe(operation, &mut course).await? else { continue };
            if self.run.cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let mut next = operation.plan().decide(&seen, &course.memory);
            if let Next::Wait(wait) = &next
                && wait.limit.is_some_and(|limit| course.limits.deadline(limit) <= Instant::now())
            {
                next = operation.plan().overdue(&seen, &course.memory);
            }
            match next {
                Next::Done => return Ok(seen),
                Next::Fail(error) if course.accepted => {
                    debug!(operation = P::NAME, instance = %self.run.instance, %error, "failure observed; observing once more");
                    course.accepted = false;
                    self.pause(self.options.api_retry_interval).await?;
                }
                Next::Fail(error) => {
                    info!(operation = P::NAME, instance = %self.run.instance, %error, "operation failed");
                    return Err(error);
                }
                Next::Wait(wait) => {
                    drop(seen);
                    course.turn = None;
                    course.limits.moving();
                    course.fresh = Box::pin(self.wait(wait, &mut course.limits)).await?;
                }
                Next::Act(step) if step.repeat() == Repeat::AtMostOnce && course.in_doubt => {
                    course.in_doubt = false;
                    self.pause(self.options.api_retry_interval).await?;
                }
                Next::Act(step) => match step.limited().map(|work| self.gates.of(work)) {
                    Some(gate) if course.turn.is_none() && !gate.is_open() => {
                        drop(seen);
                        course.turn =
                            Some(self.waiting(AT_LIMIT, USUAL, Box::pin(gate.queue().turn())).await?);
                    }
                    gate => Box::pin(self.act(operation, step, seen, gate, &mut course)).await?,
                },
            }
        }
    }

    /// What is to be seen now; `None` when Ironic could not be reached or did not show it, after a pause.
    async fn observe<O: Perform<Plan = P>, P: Plan>(
        &self,
        operation: &mut O,
        course: &mut Course<'_, P>,
    ) -> Result<Option<P::Observed>, Error> {
        if let Some(seen) = course.known.take() {
            return Ok(Some(seen));
        }
        // Calls are boxed, so that thousands that wait do not each keep room for a call.
        let observing = Box::pin(operation.observe(course.fresh.take(), &course.memory));
        match self.unless_cancelled(observing).await? {
            Ok(seen) => {
                course.limits.observed();
                Ok(Some(seen))
            }
            Err(unseen) => {
                course.turn = None;
                self.pause_for(&mut course.limits, unseen).await?;
                Ok(None)
            }
        }
    }

    /// Takes one step, and pauses or queues if it did not happen.
    async fn act<'a, O: Perform<Plan = P>, P: Plan>(
        &'a self,
        operation: &mut O,
        step: P::Step,
        seen: P::Observed,
        gate: Option<&'a Gate>,
        course: &mut Course<'a, P>,
    ) -> Result<(), Error> {
        let (name, instance) = (step.name(), self.run.instance);
        let node = operation.plan().node(&seen).map(|node| tracing::field::display(node.uuid));
        operation.plan().begin(&step, &seen, &mut course.memory);
        let result = match self.save::<P>(&step, &course.memory).await {
            // Not raced with the cancellation: a request that was sent is waited for, so that whoever cleans up after us does not
            // look before it has taken effect.
            Ok(()) => operation.perform(&step, seen).await,
            Err(unsaved) => Err(unsaved.into()),
        };
        let outcome = result.as_ref().err().map_or("ok", Setback::name);
        metrics::counter!("bessemer_driver_steps_total", "operation" => P::NAME, "step" => name, "outcome" => outcome)
            .increment(1);
        let setback = match result {
            Ok(now) => {
                info!(operation = P::NAME, step = name, %instance, node, "step done");
                operation.plan().accepted(&step, &mut course.memory);
                self.save_after::<P>(&step, &course.memory).await;
                course.limits.progress();
                course.accepted = true;
                course.known = now;
                course.turn = course.turn.take().filter(|_| gate.is_none());
                return Ok(());
            }
            Err(Setback::Refused(error)) if operation.plan().refused(&step, &mut course.memory) => {
                info!(operation = P::NAME, step = name, %instance, node, %error, "Ironic refuses the step; trying another way");
                return Ok(());
            }
            Err(Setback::Over(error)) => {
                info!(operation = P::NAME, step = name, %instance, node, %error, "step failed");
                return Err(error);
            }
            Err(setback) => setback,
        };
        course.turn = None;
        operation.plan().postponed(&step, &mut course.memory);
        self.save_after::<P>(&step, &course.memory).await;
        course.in_doubt |= step.repeat() == Repeat::AtMostOnce;
        let queued = gate.filter(|_| matches!(setback, Setback::Full)).map(Gate::refused);
        let because = setback.reason(name);
        let pause = course.limits.setback(name, setback)?;
        debug!(operation = P::NAME, step = name, %instance, node, outcome, "step postponed");
        match queued {
            Some(queued) => course.turn = Some(self.waiting(AT_LIMIT, USUAL, queued.turn()).await?),
            None => self.waiting(&because, USUAL, tokio::time::sleep(pause)).await?,
        }
        Ok(())
    }

    fn limits(&self) -> Limits<'_> {
        Limits::new(self.options, self.alarm, self.run.instance)
    }

    /// Saves the memory before a step that must not be taken twice. Where it cannot be saved the step is not taken.
    async fn save<P: Plan>(&self, step: &P::Step, memory: &P::Memory) -> Result<(), Unsaved> {
        if step.repeat() == Repeat::Freely {
            return Ok(());
        }
        let memory = serde_json::to_value(memory).map_err(|error| Unsaved(error.to_string()))?;
        self.run.progress.save(P::NAME, memory).await.map_err(|error| Unsaved(error.to_string()))
    }

    /// Saves what came of such a step. Where that cannot be saved, a restart goes on with what is known of before.
    async fn save_after<P: Plan>(&self, step: &P::Step, memory: &P::Memory) {
        if let Err(Unsaved(error)) = self.save::<P>(step, memory).await {
            warn!(operation = P::NAME, step = step.name(), instance = %self.run.instance, %error, "the journal cannot be written; a restart would not know what came of the step");
        }
    }

    async fn wait(&self, wait: Wait, limits: &mut Limits<'_>) -> Result<Option<Node>, Error> {
        let Wait { node, until, because, limit } = wait;
        debug!(instance = %self.run.instance, %node, %until, %because, "waiting");
        let (usual, deadline) = (until.usual(), limit.map(|limit| limits.deadline(limit)));
        let watched = Watched { node, instance: Some(self.run.instance), until };
        let watching = self.watcher.wait(watched, self.run.cancel);
        let waiting = async {
            match deadline {
                None => watching.await,
                // A last look at the end: not everything that a decision looks at is watched.
                Some(deadline) => tokio::time::timeout_at(deadline, watching).await.unwrap_or(Ok(None)),
            }
        };
        self.waiting(&because, usual, waiting).await?
    }

    /// Waits for something: the caller knows why, and the log when it takes longer than usual.
    async fn waiting<T>(
        &self,
        because: &str,
        usual: Duration,
        work: impl Future<Output = T>,
    ) -> Result<T, Error> {
        self.run.progress.waits(Some(because));
        let mut work = std::pin::pin!(self.unless_cancelled(work));
        let ended = if let Ok(ended) = tokio::time::timeout(usual, &mut work).await {
            ended
        } else {
            warn!(instance = %self.run.instance, minutes = usual.as_secs() / 60, %because, "an operation waits for longer than usual; it goes on waiting");
            work.await
        };
        self.run.progress.waits(None);
        ended
    }

    async fn pause_for(&self, limits: &mut Limits<'_>, unseen: Unseen) -> Result<(), Error> {
        let because = if matches!(unseen, Unseen::Hidden(_)) { HIDDEN } else { UNREACHABLE };
        let pause = limits.unseen(unseen)?;
        self.waiting(because, USUAL, tokio::time::sleep(pause)).await
    }

    async fn pause(&self, pause: Duration) -> Result<(), Error> {
        self.unless_cancelled(tokio::time::sleep(pause)).await
    }

    async fn unless_cancelled<T>(&self, work: impl Future<Output = T>) -> Result<T, Error> {
        self.run.cancel.run_until_cancelled(work).await.ok_or(Error::Cancelled)
    }
}

/// Why an operation waits that Ironic's limits keep back.
const AT_LIMIT: &str = "Ironic is at its concurrency limit";

/// Why an operation waits that cannot observe.
const UNREACHABLE: &str = "Ironic cannot be reached";

/// Why an operation waits whose node is hidden.
const HIDDEN: &str = "Ironic does not show the node";
