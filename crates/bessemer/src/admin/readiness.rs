//! What is missing until the service does its work.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Probe = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// The conditions under which the service does its work; a cheap handle.
#[derive(Clone, Default)]
pub struct Readiness(Arc<Mutex<Conditions>>);

#[derive(Default)]
struct Conditions {
    missing: BTreeMap<&'static str, String>,
    probes: BTreeMap<&'static str, Probe>,
}

impl Readiness {
    /// This is missing, for this reason.
    pub fn lacks(&self, what: &'static str, why: &str) {
        self.conditions().missing.insert(what, why.to_owned());
    }

    /// This is not missing any more.
    pub fn has(&self, what: &'static str) {
        self.conditions().missing.remove(what);
    }

    /// This is asked whenever somebody wants to know: the reason why it is missing, if it is.
    pub fn ask(&self, what: &'static str, probe: impl Fn() -> Option<String> + Send + Sync + 'static) {
        self.conditions().probes.insert(what, Box::new(probe));
    }

    /// All that is missing, with the reasons. Empty: the service is ready.
    pub fn missing(&self) -> BTreeMap<&'static str, String> {
        let conditions = self.conditions();
        let mut missing = conditions.missing.clone();
        missing.extend(conditions.probes.iter().filter_map(|(what, probe)| Some((*what, probe()?))));
        missing
    }

    fn conditions(&self) -> MutexGuard<'_, Conditions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_until_it_is_there() {
        let readiness = Readiness::default();
        readiness.lacks("requests", "the service is starting");
        readiness.ask("message bus", || Some("not connected".to_owned()));
        readiness.ask("reports", || None);
        let names: Vec<_> = readiness.missing().into_keys().collect();
        assert_eq!(names, ["message bus", "requests"]);
        readiness.has("requests");
        readiness.ask("message bus", || None);
        assert!(readiness.missing().is_empty());
    }
}
