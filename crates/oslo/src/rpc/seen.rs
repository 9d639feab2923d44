//! Which requests were admitted already: a request comes twice when a confirmation or an acknowledgement was
//! lost.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Mutex as AsyncMutex;

/// How many requests are remembered. oslo.messaging remembers 16, too few for a redelivery of all that was
/// prefetched.
const REMEMBERED: usize = 8192;

/// Whether a request was admitted. The lock is held while it is being admitted, so that a second copy waits
/// for the outcome.
pub(super) type Admission = Arc<AsyncMutex<bool>>;

/// The last requests by their `_unique_id`.
#[derive(Default)]
pub(super) struct Seen(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    by_id: HashMap<String, Admission>,
    order: VecDeque<String>,
}

impl Seen {
    /// The admission of a request, new if it was not seen before.
    pub(super) fn admission(&self, unique_id: &str) -> Admission {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(admission) = inner.by_id.get(unique_id) {
            return Arc::clone(admission);
        }
        let admission = Admission::default();
        inner.by_id.insert(unique_id.to_owned(), Arc::clone(&admission));
        inner.order.push_back(unique_id.to_owned());
        if inner.order.len() > REMEMBERED
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.by_id.remove(&oldest);
        }
        admission
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_copy_finds_what_became_of_the_first() {
        let seen = Seen::default();
        *seen.admission("a").lock().await = true;
        assert!(*seen.admission("a").lock().await);
        assert!(!*seen.admission("b").lock().await);
    }

    #[tokio::test]
    async fn only_the_last_are_remembered() {
        let seen = Seen::default();
        *seen.admission("first").lock().await = true;
        for id in 0..REMEMBERED {
            seen.admission(&id.to_string());
        }
        assert!(!*seen.admission("first").lock().await);
        assert_eq!(seen.0.lock().unwrap().by_id.len(), REMEMBERED);
    }
}
