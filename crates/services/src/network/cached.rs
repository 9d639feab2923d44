//! What hardly ever changes, asked once in a while: whoever finds it old asks, and all who come meanwhile
//! share the answer.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;

/// Values that are believed for a while.
pub struct Cached<K, V> {
    life: Duration,
    entries: Mutex<HashMap<K, Arc<Entry<V>>>>,
}

struct Entry<V> {
    since: Instant,
    value: OnceCell<V>,
}

impl<K: Eq + Hash, V: Clone> Cached<K, V> {
    /// Values that are believed this long.
    pub fn new(life: Duration) -> Self {
        Self { life, entries: Mutex::default() }
    }

    /// The value; `read` when there is none or it is too old. A failure is not kept.
    pub async fn get<F, E>(&self, key: K, read: impl FnOnce() -> F) -> Result<V, E>
    where
        F: Future<Output = Result<V, E>>,
    {
        let entry = {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            entries.retain(|_, entry| entry.since.elapsed() < self.life);
            let new = || Arc::new(Entry { since: Instant::now(), value: OnceCell::new() });
            Arc::clone(entries.entry(key).or_insert_with(new))
        };
        entry.value.get_or_try_init(read).await.cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_value_is_read_once_until_it_is_old_and_a_failure_is_not_kept() {
        let cached = Cached::<&str, u32>::new(Duration::from_mins(10));
        let reads = AtomicU32::new(0);
        let read = || async { Ok::<_, ()>(reads.fetch_add(1, Ordering::Relaxed)) };
        assert_eq!(cached.get("a", || async { Err(()) }).await, Err(()));
        assert_eq!(tokio::join!(cached.get("a", read), cached.get("a", read)), (Ok(0), Ok(0)));
        tokio::time::advance(Duration::from_secs(599)).await;
        assert_eq!(cached.get("a", read).await, Ok(0));
        assert_eq!(cached.get("b", read).await, Ok(1));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(cached.get("a", read).await, Ok(2));
    }
}
