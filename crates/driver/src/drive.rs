//! The one loop that runs every operation: observe → decide → act or wait.

use std::{
    future::Future,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use openstack::ironic::Node;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, info, info_span, warn};

use crate::{
    Error, InstanceId, Next, Options,
    act::{Setback, Unseen, is_away, needs_operator},
    gate::{self, Gate, Gates, Turn},
    watch::{Place, Watcher},
};

/// A kind of step, by name for metrics and logs.
pub(crate) trait Named {
    /// The name, in the snake case of a metric label.
    fn name(&self) -> &'static str;
}

/// An operation on one node: the parts that differ from one to the other.
///
/// It may remember what cannot be observed (that Ironic accepted our request) in itself; whatever it remembers must be
/// something it can do without after a restart.
pub(crate) trait Operation: Send {
    /// Its name in metrics and logs.
    const NAME: &'static str;
    /// What its decisions look at.
    type Seen: Send;
    /// One call.
    type Step: Named + Send;

    /// Looks. `fresh` is the node where the watcher has just seen it.
    fn observe(&mut self, fresh: Option<Node>) -> impl Future<Output = Result<Self::Seen, Unseen>> + Send;

    /// Decides, purely.
    fn decide(&self, seen: &Self::Seen) -> Next<Self::Step>;

    /// Performs one call. Returns what is seen now as far as the answer tells, or `None` to look again.
    fn act(
        &mut self,
        step: Self::Step,
        seen: Self::Seen,
    ) -> impl Future<Output = Result<Option<Self::Seen>, Setback>> + Send;

    /// The gate that a step goes through.
    fn gate<'a>(&self, _gates: &'a Gates, _step: &Self::Step) -> Option<&'a Gate> {
        None
    }

    /// The node whose change is waited for.
    fn node<'a>(&self, seen: &'a Self::Seen) -> Option<&'a Node>;

    /// Whether waiting in what is seen is bounded by the same limit as a locked node.
    fn is_bounded(&self, _seen: &Self::Seen) -> bool {
        false
    }
}

/// What the loop needs beside the operation.
pub(crate) struct Drive<'a> {
    pub(crate) watcher: &'a Watcher,
    pub(crate) gates: &'a Gates,
    pub(crate) options: &'a Options,
    pub(crate) alarm: &'a Alarm,
    pub(crate) instance: InstanceId,
    pub(crate) cancel: &'a CancellationToken,
}

impl Drive<'_> {
    /// Runs an operation to its end; returns what was seen there.
    pub(crate) async fn run<O: Operation>(&self, operation: &mut O) -> Result<O::Seen, Error> {
        let span = info_span!("operation", operation = O::NAME, instance = %self.instance);
        self.run_in_span(operation).instrument(span).await
    }

    /// Reads, again and again while Ironic is away or hides what is looked for.
    pub(crate) async fn read<T, F>(&self, mut look: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Unseen>>,
    {
        let mut limits = Limits::new(self.options, self.alarm, self.instance);
        loop {
            match self.unless_cancelled(look()).await? {
                Ok(found) => return Ok(found),
                Err(unseen) => self.pause(limits.unseen(unseen)?).await?,
            }
        }
    }

    async fn run_in_span<O: Operation>(&self, operation: &mut O) -> Result<O::Seen, Error> {
        let mut limits = Limits::new(self.options, self.alarm, self.instance);
        let mut known = None;
        let mut fresh = None;
        // From when it is our turn to when the step is done; the node is looked at in between.
        let mut turn: Option<Turn<'_>> = None;
        loop {
            let seen = match known.take() {
                Some(seen) => seen,
                // Calls are boxed, so that thousands that wait do not each keep room for a call.
                None => match self.unless_cancelled(Box::pin(operation.observe(fresh.take()))).await? {
                    Ok(seen) => {
                        limits.looking = None;
                        limits.hidden = 0;
                        seen
                    }
                    Err(unseen) => {
                        let pause = limits.unseen(unseen)?;
                        turn = None;
                        self.pause(pause).await?;
                        continue;
                    }
                },
            };
            if self.cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            match operation.decide(&seen) {
                Next::Done => return Ok(seen),
                Next::Fail(failure) => {
                    let error = Error::from(failure);
                    info!(operation = O::NAME, instance = %self.instance, %error, "operation ended");
                    return Err(error);
                }
                Next::Wait => {
                    let Some(node) = operation.node(&seen) else { continue };
                    let place = Place::of(node, Some(self.instance));
                    let bounded = operation.is_bounded(&seen);
                    drop(seen);
                    turn = None;
                    limits.moving();
                    fresh = self.wait(place, bounded, &mut limits).await?;
                }
                Next::Act(step) => {
                    let gate = operation.gate(self.gates, &step);
                    if let Some(gate) = gate.filter(|gate| turn.is_none() && !gate.is_open()) {
                        drop(seen);
                        turn = Some(self.unless_cancelled(Box::pin(gate.line_up().turn())).await?);
                        continue;
                    }
                    let name = step.name();
                    let node = operation.node(&seen).map(|node| node.uuid);
                    // Not raced with the cancellation: a request that is sent is waited for, so that whoever cleans up
                    // after us does not look before it has taken effect.
                    let result = Box::pin(operation.act(step, seen)).await;
                    let outcome = result.as_ref().err().map_or("ok", Setback::name);
                    metrics::counter!("bessemer_driver_steps_total", "operation" => O::NAME, "step" => name, "outcome" => outcome)
                        .increment(1);
                    let node = node.map(tracing::field::display);
                    match result {
                        Ok(now) => {
                            info!(operation = O::NAME, step = name, instance = %self.instance, node, "step done");
                            limits.progress();
                            known = now;
                            turn = turn.filter(|_| gate.is_none());
                        }
                        Err(Setback::Over(error)) => {
                            info!(operation = O::NAME, step = name, instance = %self.instance, node, %error, "step failed");
                            return Err(error);
                        }
                        Err(setback) => {
                            let place =
                                gate.filter(|_| matches!(setback, Setback::Full)).map(|gate| gate.refused());
                            let pause = limits.setback(name, setback)?;
                            debug!(operation = O::NAME, step = name, instance = %self.instance, node, outcome, "step put off");
                            turn = None;
                            match place {
                                Some(place) => {
                                    turn = Some(self.unless_cancelled(Box::pin(place.turn())).await?);
                                }
                                None => self.pause(pause).await?,
                            }
                        }
                    }
                }
            }
        }
    }

    async fn wait(
        &self,
        place: Place,
        bounded: bool,
        limits: &mut Limits<'_>,
    ) -> Result<Option<Node>, Error> {
        debug!(instance = %self.instance, node = %place.node, state = %place.state, "waiting");
        let stuck = format!(
            "Node {} of instance {} stays in state '{}'; ask again when it has left it",
            place.node, self.instance, place.state
        );
        let waiting = self.watcher.wait(place, self.cancel);
        if !bounded {
            return waiting.await;
        }
        let deadline = limits.deadline();
        if deadline <= Instant::now() {
            return Err(Error::LockedTooLong(stuck));
        }
        // A last look at the end: not everything that a decision looks at is watched.
        tokio::time::timeout_at(deadline, waiting).await.unwrap_or(Ok(None))
    }

    async fn pause(&self, pause: Duration) -> Result<(), Error> {
        self.unless_cancelled(tokio::time::sleep(pause)).await
    }

    async fn unless_cancelled<T>(&self, work: impl Future<Output = T>) -> Result<T, Error> {
        self.cancel.run_until_cancelled(work).await.ok_or(Error::Cancelled)
    }
}

/// How often and how long an operation puts up with setbacks.
struct Limits<'a> {
    options: &'a Options,
    alarm: &'a Alarm,
    /// 0.75 … 1.25, different for each instance, so that not all come back at the same moment after an outage.
    spread: f32,
    /// Since when, and how often, we have failed to look.
    looking: Option<Outage>,
    /// How often we have looked for a node that Ironic does not show.
    hidden: u32,
    /// Since when, and how often, the present step has found Ironic away.
    acting: Option<Outage>,
    /// How often the present step has found the node busy.
    busy: u32,
    /// The step that was refused at the last look.
    refused: Option<&'static str>,
    /// When bounded waiting ends.
    deadline: Option<Instant>,
}

/// A time without Ironic.
struct Outage {
    since: Instant,
    tries: u32,
}

impl<'a> Limits<'a> {
    fn new(options: &'a Options, alarm: &'a Alarm, instance: InstanceId) -> Self {
        let spread = 0.75 + f32::from(instance.0.as_bytes()[15]) / 510.0;
        let (looking, acting, refused, deadline) = (None, None, None, None);
        Self { options, alarm, spread, looking, hidden: 0, acting, busy: 0, refused, deadline }
    }

    /// The node is under way: the steps so far are over, however they went.
    fn moving(&mut self) {
        (self.acting, self.busy, self.refused) = (None, 0, None);
    }

    /// A step succeeded.
    fn progress(&mut self) {
        self.moving();
        self.deadline = None;
    }

    /// When bounded waiting ends, counted from its first moment.
    fn deadline(&mut self) -> Instant {
        let limit = self.options.lock_limit();
        *self.deadline.get_or_insert_with(|| Instant::now() + limit)
    }

    /// How long to pause after a look that showed nothing.
    fn unseen(&mut self, unseen: Unseen) -> Result<Duration, Error> {
        match unseen {
            Unseen::Hidden(text) => Ok(self.hidden(&text)),
            Unseen::Failed(error) if is_away(&error) => self.cannot_look(error),
            Unseen::Failed(error) => Err(error.into()),
        }
    }

    /// How long to pause while Ironic does not show the node. Why it is not taken for gone is said by [`crate::Sight`].
    fn hidden(&mut self, text: &str) -> Duration {
        // Ironic answers, and what was refused or limited before is no measure of a node that is not shown.
        self.progress();
        self.looking = None;
        if self.hidden == 0 {
            warn!(
                answer = text,
                "Ironic does not show the node; looking again until it does, or it is proven gone"
            );
        }
        let pause = self.options.api_retry_interval * (1 << self.hidden.min(3));
        self.hidden += 1;
        pause.mul_f32(self.spread)
    }

    /// How long to pause after a failed look.
    fn cannot_look(&mut self, error: openstack::Error) -> Result<Duration, Error> {
        self.alarm.sound(&error);
        away(&mut self.looking, error.into(), self.options.patience, self.spread)
    }

    /// How long to pause before the next look after a step that did not happen.
    fn setback(&mut self, step: &'static str, setback: Setback) -> Result<Duration, Error> {
        match setback {
            Setback::Away(error) => {
                if let Error::Remote(error) = &error {
                    self.alarm.sound(error);
                }
                away(&mut self.acting, error, self.options.patience, self.spread)
            }
            Setback::Full => {
                // Ironic answers: no outage goes on, and waiting in the line is no waiting for the node.
                self.progress();
                Ok(gate::PAUSE)
            }
            Setback::Hidden(text) => Ok(self.hidden(&text)),
            Setback::Over(error) => Err(error),
            Setback::Refused(error) => {
                if self.refused.replace(step) == Some(step) {
                    return Err(error.into());
                }
                Ok(self.options.api_retry_interval)
            }
            Setback::Busy(error) => {
                self.busy += 1;
                if self.busy > self.options.api_max_retries {
                    let text = format!("Gave up on a busy node after {} attempts: {error}", self.busy);
                    return Err(Error::LockedTooLong(text));
                }
                Ok(self.options.api_retry_interval)
            }
        }
    }
}

/// What keeps the log from drowning in what only an operator can put right, and every operation meets.
#[derive(Default)]
pub(crate) struct Alarm(Mutex<Option<Instant>>);

impl Alarm {
    fn sound(&self, error: &openstack::Error) {
        if needs_operator(error) && self.is_due() {
            error!(%error, "Ironic cannot be asked until an operator helps; all that is under way waits");
        }
    }

    fn is_due(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| last.elapsed() >= ALARM_PAUSE);
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}

/// How long after an alarm the next one sounds.
const ALARM_PAUSE: Duration = Duration::from_mins(1);

fn away(
    outage: &mut Option<Outage>,
    error: Error,
    patience: Duration,
    spread: f32,
) -> Result<Duration, Error> {
    let outage = outage.get_or_insert_with(|| Outage { since: Instant::now(), tries: 0 });
    if outage.since.elapsed() >= patience {
        return Err(error);
    }
    if outage.tries == 0 {
        warn!(%error, "what the operation needs is away; trying again");
    }
    let pause = Duration::from_secs(1 << outage.tries.min(4)).min(LONGEST_PAUSE);
    outage.tries += 1;
    Ok(pause.mul_f32(spread))
}

/// Longest pause between two attempts while Ironic is away.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_alarm_sounds_once_a_minute_however_many_meet_the_same() {
        let alarm = Alarm::default();
        assert!(alarm.is_due());
        assert!(!alarm.is_due());
        tokio::time::advance(ALARM_PAUSE).await;
        assert!(alarm.is_due());
        assert!(!alarm.is_due());
    }
}
