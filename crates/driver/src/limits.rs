//! How often and how long an operation puts up with setbacks.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tracing::{error, warn};

use crate::{
    Error, InstanceId, Options, gate,
    plan::Limit,
    setback::{Setback, is_away, needs_operator, refused},
    unseen::Unseen,
};

/// The setbacks of one operation so far.
pub(crate) struct Limits<'a> {
    options: &'a Options,
    alarm: &'a Alarm,
    /// 0.75 … 1.25, different for each instance, so that not all come back at the same moment after an outage.
    spread: f32,
    /// Since when, and how often, observing has failed.
    observing: Option<Outage>,
    /// How often a node was looked for that Ironic does not show.
    hidden: u32,
    /// Since when, and how often, the present step has found Ironic away.
    acting: Option<Outage>,
    /// How often the present step has found the node busy.
    busy: u32,
    /// The step that was refused after the last observation.
    refused: Option<&'static str>,
    /// When the waits with a limit began.
    waiting: Option<Instant>,
}

/// A time without Ironic.
struct Outage {
    since: Instant,
    tries: u32,
}

impl<'a> Limits<'a> {
    pub(crate) fn new(options: &'a Options, alarm: &'a Alarm, instance: InstanceId) -> Self {
        let spread = 0.75 + f32::from(instance.0.as_bytes()[15]) / 510.0;
        Self {
            options,
            alarm,
            spread,
            observing: None,
            hidden: 0,
            acting: None,
            busy: 0,
            refused: None,
            waiting: None,
        }
    }

    /// Observing succeeded.
    pub(crate) fn observed(&mut self) {
        (self.observing, self.hidden) = (None, 0);
    }

    /// The operation waits for the node: the steps so far are over, however they went.
    pub(crate) fn moving(&mut self) {
        (self.acting, self.busy, self.refused) = (None, 0, None);
    }

    /// A step succeeded.
    pub(crate) fn progress(&mut self) {
        self.moving();
        self.waiting = None;
    }

    /// When a wait with this limit ends, counted from the first such wait since the last step.
    pub(crate) fn deadline(&mut self, limit: Limit) -> Instant {
        let limit = match limit {
            Limit::Lock => self.options.lock_limit(),
            Limit::Within(limit) => limit,
        };
        *self.waiting.get_or_insert_with(Instant::now) + limit
    }

    /// How long to pause after an observation that showed nothing.
    pub(crate) fn unseen(&mut self, unseen: Unseen) -> Result<Duration, Error> {
        match unseen {
            Unseen::Hidden(text) => Ok(self.hidden(&text)),
            Unseen::Failed(error) if is_away(&error) => self.cannot_observe(error),
            Unseen::Failed(error) => Err(refused(&error)),
        }
    }

    /// How long to pause while Ironic does not show the node. Why it is not taken for gone is said by [`crate::Sight`].
    fn hidden(&mut self, text: &str) -> Duration {
        // Ironic answers, and what was refused or limited before is no measure of a node that is not shown.
        self.progress();
        self.observing = None;
        if self.hidden == 0 {
            warn!(
                answer = text,
                "Ironic does not show the node; retrying until it does, or the node is proven gone"
            );
        }
        let pause = self.options.api_retry_interval * (1 << self.hidden.min(3));
        self.hidden += 1;
        pause.mul_f32(self.spread)
    }

    fn cannot_observe(&mut self, error: openstack::Error) -> Result<Duration, Error> {
        self.alarm.sound(&error);
        away(&mut self.observing, error.into(), self.options.patience, self.spread)
    }

    /// How long to pause before the next observation after a step that did not happen.
    pub(crate) fn setback(&mut self, step: &'static str, setback: Setback) -> Result<Duration, Error> {
        match setback {
            Setback::Away(error) => {
                if let Error::Unreachable(error) = &error {
                    self.alarm.sound(error);
                }
                away(&mut self.acting, error, self.options.patience, self.spread)
            }
            Setback::Full => {
                // Ironic answers: no outage goes on, and a place in the queue is no wait for the node.
                self.progress();
                Ok(gate::PAUSE)
            }
            Setback::Hidden(text) => Ok(self.hidden(&text)),
            Setback::Over(error) => Err(error),
            Setback::Refused(error) => {
                if self.refused.replace(step) == Some(step) {
                    return Err(refused(&error));
                }
                Ok(self.options.api_retry_interval)
            }
            Setback::Busy(error) => {
                self.busy += 1;
                if self.busy > self.options.api_max_retries {
                    let text = format!("Gave up on a busy node after {} attempts: {error}", self.busy);
                    return Err(Error::Retry(text));
                }
                Ok(self.options.api_retry_interval)
            }
        }
    }
}

/// What only an operator can put right, and every operation meets, is logged once a minute.
#[derive(Default)]
pub(crate) struct Alarm(Mutex<Option<Instant>>);

impl Alarm {
    fn sound(&self, error: &openstack::Error) {
        if needs_operator(error) && self.is_due() {
            error!(%error, "Ironic is unreachable until its credentials, catalog or endpoint are fixed; all operations wait");
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
    patience: Option<Duration>,
    spread: f32,
) -> Result<Duration, Error> {
    let outage = outage.get_or_insert_with(|| Outage { since: Instant::now(), tries: 0 });
    if patience.is_some_and(|patience| outage.since.elapsed() >= patience) {
        return Err(error);
    }
    if outage.tries == 0 {
        warn!(%error, "a service that the operation needs is unavailable; retrying");
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
