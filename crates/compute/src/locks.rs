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
pub struct Place<K> {
    key: K,
    locks: Table<K>,
    line: Pin<Box<dyn Future<Output = OwnedMutexGuard<()>> + Send>>,
    first: Option<OwnedMutexGuard<()>>,
}

impl<K: Hash + Eq + Clone> Locks<K> {
    /// Takes a place in the line: whoever lines up later is served later, whenever they begin to wait.
    pub fn line_up(&self, key: K) -> Place<K> {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            locks.entry(key.clone()).or_default().clone()
        };
        let mut line: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(lock.lock_owned());
        // The lock queues a waiter when it is first polled.
        let first = line.as_mut().now_or_never();
        Place { key, locks: self.0.clone(), line, first }
    }

    /// Waits for the lock of a key.
    pub async fn lock(&self, key: K) -> Held<K> {
        self.line_up(key).held().await
    }
}

impl<K: Hash + Eq + Clone> Place<K> {
    /// Waits for its turn.
    pub async fn held(self) -> Held<K> {
        let guard = match self.first {
            Some(guard) => guard,
            None => self.line.await,
        };
        Held { key: self.key, locks: self.locks, guard: Some(guard) }
    }
}

impl<K: Hash + Eq + Clone> Drop for Held<K> {
    fn drop(&mut self) {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        self.guard.take();
        if locks.get(&self.key).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            locks.remove(&self.key);
        }
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
        second.await;
    }
}
