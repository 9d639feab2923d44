//! The answer to a request whose caller waits for it.
//!
//! It lives as long as the process: a request that is read from the journal has nobody who waits.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

/// The end at which an answer of this type is given. Only the first one counts.
pub struct Answer<T> {
    sender: Arc<Mutex<Option<oneshot::Sender<T>>>>,
    given_up: CancellationToken,
}

impl<T> Clone for Answer<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), given_up: self.given_up.clone() }
    }
}

impl<T> std::fmt::Debug for Answer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answer(..)")
    }
}

/// The end at which it is waited for; dropped, nobody waits any more.
pub struct Awaited<T> {
    receiver: oneshot::Receiver<T>,
    _given_up: DropGuard,
}

impl<T> Answer<T> {
    /// Both ends.
    pub fn awaited() -> (Self, Awaited<T>) {
        let (sender, receiver) = oneshot::channel();
        let given_up = CancellationToken::new();
        let answer = Self { sender: Arc::new(Mutex::new(Some(sender))), given_up: given_up.clone() };
        (answer, Awaited { receiver, _given_up: given_up.drop_guard() })
    }

    /// Gives the answer. Nothing happens when one was given, or nobody waits.
    pub fn give(&self, answer: T) {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sender) = sender {
            // Who gave up meanwhile is not there to be told.
            let _ = sender.send(answer);
        }
    }

    /// Cancelled when nobody waits any more.
    pub fn given_up(&self) -> &CancellationToken {
        &self.given_up
    }
}

impl<T> Awaited<T> {
    /// Waits for the answer; `None`: the work ended without one.
    pub async fn received(mut self) -> Option<T> {
        (&mut self.receiver).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_answer_is_received_and_no_other() {
        let (answer, awaited) = Answer::awaited();
        assert!(!answer.given_up().is_cancelled());
        answer.give(1);
        answer.clone().give(2);
        assert_eq!(awaited.received().await, Some(1));
        assert!(answer.given_up().is_cancelled());
    }

    #[tokio::test]
    async fn an_end_without_an_answer_is_noticed_on_either_side() {
        let (answer, awaited) = Answer::<u8>::awaited();
        drop(answer);
        assert_eq!(awaited.received().await, None);
        let (answer, awaited) = Answer::<u8>::awaited();
        drop(awaited);
        answer.given_up().cancelled().await;
        answer.give(1);
    }
}
