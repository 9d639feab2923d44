//! Something that is fetched when first needed, kept, and fetched again when it is no good any more; by one
//! caller for all. Those who wait for a fetch share its outcome, an error as well: when a service does not
//! answer, its callers wait for one deadline and not in a queue of them.

use std::sync::{
    PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::Mutex;

use crate::Error;

/// See the module.
#[derive(Debug)]
pub(crate) struct Shared<T> {
    kept: RwLock<Option<T>>,
    /// Held during a fetch; the error of the last one.
    turn: Mutex<Option<Error>>,
    /// Fetches that came to their end.
    fetched: AtomicU64,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self { kept: RwLock::default(), turn: Mutex::default(), fetched: AtomicU64::new(0) }
    }
}

impl<T: Clone> Shared<T> {
    fn kept(&self) -> Option<T> {
        self.kept.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Drops what is kept.
    pub(crate) fn forget(&self) {
        *self.kept.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What is kept, if it is `good`; else what `fetch` brings. A fetch whose caller goes away is abandoned,
    /// and the next in the queue begins anew.
    pub(crate) async fn get(
        &self,
        good: impl Fn(&T) -> bool,
        fetch: impl AsyncFnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        if let Some(kept) = self.kept().filter(&good) {
            return Ok(kept);
        }
        let before = self.fetched.load(Ordering::Acquire);
        let mut failed = self.turn.lock().await;
        if let Some(kept) = self.kept().filter(&good) {
            return Ok(kept);
        }
        if self.fetched.load(Ordering::Acquire) != before
            && let Some(error) = &*failed
        {
            return Err(error.clone());
        }
        let result = fetch().await;
        self.fetched.fetch_add(1, Ordering::Release);
        *failed = result.as_ref().err().cloned();
        if let Ok(fresh) = &result {
            *self.kept.write().unwrap_or_else(PoisonError::into_inner) = Some(fresh.clone());
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::time::{Duration, Instant, sleep};

    use super::*;

    fn dead() -> Error {
        Error::Timeout { service: "x", after: Duration::from_mins(1) }
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_wait_share_one_fetch_and_its_error() {
        let (shared, fetches) = (Shared::<u32>::default(), AtomicUsize::new(0));
        let started = Instant::now();
        let call = || {
            shared.get(
                |_| true,
                async || {
                    fetches.fetch_add(1, Ordering::SeqCst);
                    sleep(Duration::from_mins(1)).await;
                    Err(dead())
                },
            )
        };
        let (a, b, c) = tokio::join!(call(), call(), call());
        assert!(a.is_err() && b.is_err() && c.is_err());
        assert_eq!(fetches.load(Ordering::SeqCst), 1);
        assert_eq!(started.elapsed(), Duration::from_mins(1));
        // Who comes later tries again.
        assert_eq!(shared.get(|_| true, async || Ok(7)).await.unwrap(), 7);
        assert_eq!(shared.get(|_| true, async || Err(dead())).await.unwrap(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_that_is_abandoned_is_begun_anew() {
        let shared = Shared::<u32>::default();
        let abandoned = tokio::time::timeout(
            Duration::from_secs(1),
            shared.get(
                |_| true,
                async || {
                    sleep(Duration::from_mins(1)).await;
                    Ok(1)
                },
            ),
        );
        let (first, second) = tokio::join!(abandoned, shared.get(|_| true, async || Ok(2)));
        assert!(first.is_err());
        assert_eq!(second.unwrap(), 2);
    }

    #[tokio::test]
    async fn what_is_no_good_any_more_is_fetched_again() {
        let shared = Shared::<u32>::default();
        shared.get(|_| true, async || Ok(1)).await.unwrap();
        assert_eq!(shared.get(|kept| *kept > 1, async || Ok(2)).await.unwrap(), 2);
        shared.forget();
        assert_eq!(shared.get(|_| true, async || Ok(3)).await.unwrap(), 3);
    }
}
