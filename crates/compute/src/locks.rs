//! One lock a key, made when needed and dropped when nobody holds it.

use std::collections::HashMap;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use tokio::sync::OwnedMutexGuard;

type Table<K> = Arc<Mutex<HashMap<K, Arc<tokio::sync::Mutex<()>>>>>;

/// Locks by key. Waiters are served in the order in which they came.
pub struct Locks<K>(Table<K>);

impl<K> Default for Locks<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// A lock that is held; dropped, the next waiter has it.
pub struct Held<K: Hash + Eq + Clone> {
    key: K,
    locks: Table<K>,
    guard: Option<OwnedMutexGuard<()>>,
}

/// A place in the line for a lock.
pub struct Queued<K: Hash + Eq + Clone> {
    key: K,
    locks: Table<K>,
    line: Line,
}

/// Where in the line a place is.
enum Line {
    First(OwnedMutexGuard<()>),
    Behind(Pin<Box<dyn Future<Output = OwnedMutexGuard<()>> + Send>>),
    Left,
}

impl<K: Hash + Eq + Clone> Locks<K> {
    /// Takes a place in the line: whoever lines up later is served later, whenever they begin to wait.
    pub fn line_up(&self, key: K) -> Queued<K> {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            locks.entry(key.clone()).or_default().clone()
        };
        let mut line: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(lock.lock_owned());
        // The lock queues a waiter when it is first polled.
        let line = match line.as_mut().now_or_never() {
            Some(guard) => Line::First(guard),
            None => Line::Behind(line),
        };
        Queued { key, locks: self.0.clone(), line }
    }

    /// Waits for the lock of a key.
    pub async fn lock(&self, key: K) -> Held<K> {
        self.line_up(key).held().await
    }
}

impl<K: Hash + Eq + Clone> Queued<K> {
    /// Waits for its turn.
    pub async fn held(mut self) -> Held<K> {
        if let Line::Behind(line) = &mut self.line {
            self.line = Line::First(line.await);
        }
        let guard = match std::mem::replace(&mut self.line, Line::Left) {
            Line::First(guard) => Some(guard),
            Line::Behind(_) | Line::Left => None,
        };
        Held { key: self.key.clone(), locks: self.locks.clone(), guard }
    }
}

impl<K: Hash + Eq + Clone> Drop for Queued<K> {
    fn drop(&mut self) {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        self.line = Line::Left;
        sweep(&mut locks, &self.key);
    }
}

/// Forgets a lock that nobody has or waits for.
fn sweep<K: Hash + Eq>(locks: &mut HashMap<K, Arc<tokio::sync::Mutex<()>>>, key: &K) {
    if locks.get(key).is_some_and(|lock| Arc::strong_count(lock) == 1) {
        locks.remove(key);
    }
}

impl<K: Hash + Eq + Clone> Drop for Held<K> {
    fn drop(&mut self) {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        self.guard.take();
        sweep(&mut locks, &self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_holder_waits_for_the_first_and_nothing_is_left_behind() {
        let locks = Locks::default();
        let first = locks.lock(1).await;
        let mut second = Box::pin(locks.lock(1));
        assert!(futures_util::poll!(&mut second).is_pending());
        let other = locks.lock(2).await;
        drop(first);
        let second = second.await;
        drop((second, other));
        assert!(locks.0.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn who_lined_up_first_is_served_first() {
        let locks = Locks::default();
        let held = locks.lock(1).await;
        let (first, second) = (locks.line_up(1), locks.line_up(1));
        let mut second = Box::pin(second.held());
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(held);
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(first.held().await);
        drop(second.await);
        drop(locks.line_up(1));
        assert!(locks.0.lock().unwrap().is_empty());
    }
}
