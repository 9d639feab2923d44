//! Waits for what is to come.

use std::time::{Duration, Instant};

/// Far more than anything here takes; a test that waits this long has failed.
pub const LONG: Duration = Duration::from_secs(30);

/// How often is looked.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks until there is something, and returns it. `what` names it for the test that waited in vain.
pub async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LONG;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Looks until it is so.
pub async fn until_so(what: &str, mut is_so: impl FnMut() -> bool) {
    until(what, || is_so().then_some(())).await;
}
