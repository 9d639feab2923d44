//! Where operations line up while Ironic takes no more of their kind.
//!
//! Ironic refuses a deployment beyond `[conductor] max_concurrent_deploy` (250), a tear-down beyond
//! `max_concurrent_clean` (50), and whatever its workers have no room for; it does not queue. One try then stands for
//! all that wait: the first in the line tries, and while it is refused nobody does so again for [`PAUSE`]; when it is
//! taken the next one tries at once. With nobody left in the line the gate is open.
//!
//! Who was refused goes to the end of the line: the limits may be those of one conductor, and the next node may be another's.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tracing::{info, warn};

/// How long after a refusal the next one tries. A deployment takes minutes, so that with hundreds of them one ends
/// every few seconds.
pub(crate) const PAUSE: Duration = Duration::from_secs(5);

/// The gates of a driver: what Ironic limits apart from each other.
pub(crate) struct Gates {
    pub(crate) deployments: Gate,
    pub(crate) tear_downs: Gate,
}

impl Gates {
    pub(crate) fn new() -> Self {
        Self { deployments: Gate::new("deployments"), tear_downs: Gate::new("tear-downs") }
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
    /// How many are in the line, the one whose turn it is included.
    line: usize,
}

/// The turn to try; ends when dropped.
pub(crate) struct Turn<'a> {
    // In this order: the next one's turn begins when the count is right.
    _place: InLine<'a>,
    _turn: tokio::sync::MutexGuard<'a, ()>,
}

/// A place in the line; given up when dropped.
pub(crate) struct InLine<'a>(&'a Gate);

impl<'a> InLine<'a> {
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

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.line -= 1;
        if state.line == 0 && state.next.take().is_some() {
            info!(what = self.0.what, "nobody waits for Ironic's limit any more");
        }
    }
}

impl Gate {
    fn new(what: &'static str) -> Self {
        Self { what, state: Mutex::default(), turn: tokio::sync::Mutex::new(()) }
    }

    /// Whether one may try without lining up.
    pub(crate) fn is_open(&self) -> bool {
        self.state().next.is_none()
    }

    /// Ironic refused: it takes no more. Answers a new place in the line.
    pub(crate) fn refused(&self) -> InLine<'_> {
        if self.state().next.replace(Instant::now() + PAUSE).is_none() {
            warn!(what = self.what, "Ironic takes no more at once; the others wait for their turn");
        }
        self.line_up()
    }

    /// Takes a place in the line.
    pub(crate) fn line_up(&self) -> InLine<'_> {
        self.state().line += 1;
        InLine(self)
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
        let (mut second, mut third) = (Box::pin(gate.line_up().turn()), Box::pin(gate.line_up().turn()));
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
    async fn who_leaves_the_line_stops_nobody() {
        let gate = Gate::new("tests");
        let (mut first, mut second) = (Box::pin(gate.refused().turn()), Box::pin(gate.line_up().turn()));
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        drop(first);
        drop(second.await);
        assert!(gate.is_open());
    }
}
