//! Names (resource classes, traits) that Placement must have before a provider can use them: made once per process, however
//! many providers need them at the same time.

use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};

use openstack::Error;
use tokio::sync::Mutex;

/// The names that are known to be there.
#[derive(Debug, Default)]
pub struct Ensured {
    known: RwLock<BTreeSet<String>>,
    making: Mutex<()>,
}

impl Ensured {
    /// Makes those of `names` exist that are not known to; one caller makes them while the others wait.
    pub async fn ensure<'a, F>(
        &self,
        names: &BTreeSet<String>,
        make: impl FnOnce(BTreeSet<String>) -> F,
    ) -> Result<(), Error>
    where
        F: Future<Output = Result<(), Error>> + 'a,
    {
        if self.missing(names).is_empty() {
            return Ok(());
        }
        let _alone = self.making.lock().await;
        let missing = self.missing(names);
        if missing.is_empty() {
            return Ok(());
        }
        make(missing.clone()).await?;
        self.known.write().unwrap_or_else(PoisonError::into_inner).extend(missing);
        Ok(())
    }

    /// These may not be there after all.
    pub fn forget<'a>(&self, names: impl IntoIterator<Item = &'a String>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            known.remove(name);
        }
    }

    fn missing(&self, names: &BTreeSet<String>) -> BTreeSet<String> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        names.difference(&known).cloned().collect()
    }
}
