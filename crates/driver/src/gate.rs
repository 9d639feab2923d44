//! Where operations queue while Ironic is at its concurrency limit.
//!
//! Ironic refuses a deployment beyond `[conductor] max_concurrent_deploy` (250), a tear-down beyond
//! `max_concurrent_clean` (50), and whatever its workers have no room for; it does not queue. One try then stands for
//! all that wait: the first in the queue tries, and while it is refused no other does so again for [`PAUSE`]; when it is
//! accepted the next one tries at once. With an empty queue the gate is open.
//!
//! A refused operation goes to the end of the queue: the limits may be those of one conductor, and the next node may be another's.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tracing::{info, warn};

/// How long after a refusal the next one tries. A deployment takes minutes, so that with hundreds of them one ends
/// every few seconds.
pub(crate) const PAUSE: Duration = Duration::from_secs(5);

/// Work of which Ironic takes only so much at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limited {
    /// `[conductor] max_concurrent_deploy`.
    Deployments,
    /// `[conductor] max_concurrent_clean`.
    TearDowns,
}

/// The gates of a driver: one for each limit.
pub(crate) struct Gates {
    deployments: Gate,
    tear_downs: Gate,
}

impl Gates {
    pub(crate) fn new() -> Self {
        Self { deployments: Gate::new("deployments"), tear_downs: Gate::new("tear-downs") }
    }

    /// The gate of a kind of work.
    pub(crate) fn of(&self, work: Limited) -> &Gate {
        match work {
            Limited::Deployments => &self.deployments,
            Limited::TearDowns => &self.tear_downs,
        }
    }
}

/// A gate.
pub(crate) struct Gate {
    /// What goes through it, for the log.
    what: &'static str,
    state: Mutex<State>,
    /// Whose turn it is; in the order in which they came.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    /// When the next one may try; `None` while the gate is open.
    next: Option<Instant>,
    /// How many are queued, the one whose turn it is included.
    queued: usize,
}

/// The turn to try; ends when dropped.
pub(crate) struct Turn<'a> {
    // In this order: the next one's turn begins when the count is right.
    _place: Queued<'a>,
    _turn: tokio::sync::MutexGuard<'a, ()>,
}

/// A place in the queue; given up when dropped.
pub(crate) struct Queued<'a>(&'a Gate);

impl<'a> Queued<'a> {
    /// Waits for the turn to try.
    pub(crate) async fn turn(self) -> Turn<'a> {
        let turn = self.0.turn.lock().await;
        loop {
            let next = self.0.state().next.filter(|next| *next > Instant::now());
            let Some(next) = next else { return Turn { _place: self, _turn: turn } };
            tokio::time::sleep_until(next).await;
        }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.queued -= 1;
        if state.queued == 0 && state.next.take().is_some() {
            info!(
                what = self.0.what,
                "Ironic's concurrency limit is not reached any more; the queue is empty"
            );
        }
    }
}

impl Gate {
    fn new(what: &'static str) -> Self {
        Self { what, state: Mutex::default(), turn: tokio::sync::Mutex::new(()) }
    }

    /// Whether one may try without queueing.
    pub(crate) fn is_open(&self) -> bool {
        self.state().next.is_none()
    }

    /// Ironic refused: it takes no more. Answers a new place in the queue.
    pub(crate) fn refused(&self) -> Queued<'_> {
        if self.state().next.replace(Instant::now() + PAUSE).is_none() {
            warn!(what = self.what, "Ironic is at its concurrency limit; queueing");
        }
        self.queue()
    }

    /// Takes a place in the queue.
    pub(crate) fn queue(&self) -> Queued<'_> {
        self.state().queued += 1;
        Queued(self)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_tries_for_all_and_the_next_at_once_when_it_was_taken() {
        let gate = Gate::new("tests");
        assert!(gate.is_open());
        let begin = Instant::now();
        let first = gate.refused().turn().await;
        assert_eq!(begin.elapsed(), PAUSE);
        let (mut second, mut third) = (Box::pin(gate.queue().turn()), Box::pin(gate.queue().turn()));
        assert!(poll!(&mut second).is_pending() && poll!(&mut third).is_pending());
        let mut again = Box::pin(gate.refused().turn());
        drop(first);
        let second = second.await;
        assert_eq!(begin.elapsed(), 2 * PAUSE);
        assert!(poll!(&mut third).is_pending() && poll!(&mut again).is_pending());
        drop(second);
        drop(third.await);
        drop(again.await);
        assert_eq!(begin.elapsed(), 2 * PAUSE);
        assert!(gate.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_leaves_the_queue_stops_no_other() {
        let gate = Gate::new("tests");
        let (mut first, mut second) = (Box::pin(gate.refused().turn()), Box::pin(gate.queue().turn()));
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        drop(first);
        drop(second.await);
        assert!(gate.is_open());
    }
}
