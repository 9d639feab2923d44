//! One lock a key, made when needed and dropped when nobody holds it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

/// Locks by key. Waiters are served in the order in which they came.
pub struct Locks<K>(Arc<Mutex<HashMap<K, Arc<tokio::sync::Mutex<()>>>>>);

impl<K> Default for Locks<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// A lock that is held; dropped, the next waiter has it.
pub struct Held<K: Hash + Eq + Clone> {
    key: K,
    locks: Arc<Mutex<HashMap<K, Arc<tokio::sync::Mutex<()>>>>>,
    guard: Option<OwnedMutexGuard<()>>,
}

impl<K: Hash + Eq + Clone> Locks<K> {
    /// Waits for the lock of a key.
    pub async fn lock(&self, key: K) -> Held<K> {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            locks.entry(key.clone()).or_default().clone()
        };
        let guard = lock.lock_owned().await;
        Held { key, locks: self.0.clone(), guard: Some(guard) }
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
}
