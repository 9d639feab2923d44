//! The operations that run, or wait to be tried again: what each does, and what it waits for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use driver::{InstanceId, NodeId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::request::{Kind, OperationKey, Request};

/// An operation as an operator sees it. It holds no secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationStatus {
    /// What it does.
    pub kind: Kind,
    /// To which instance.
    pub instance: InstanceId,
    /// Where the operation is about one.
    pub node: Option<NodeId>,
    /// The id of the request.
    pub request: String,
    /// What it does at the moment, in a few words.
    pub phase: &'static str,
    /// Why it waits, where that is known.
    pub reason: Option<String>,
    /// For how long it has been in this phase.
    pub in_phase: Duration,
    /// For how long it has been running in this process.
    pub running: Duration,
}

/// The table; a cheap handle.
#[derive(Clone, Default)]
pub(crate) struct Registry(Arc<Mutex<HashMap<OperationKey, Running>>>);

struct Running {
    node: Option<NodeId>,
    cancel: CancellationToken,
    /// The ports that the user brought.
    brought: Vec<Uuid>,
    began: Instant,
    phase: &'static str,
    reason: Option<String>,
    since: Instant,
}

/// An operation's own line in the table.
#[derive(Clone)]
pub(crate) struct Tracker {
    key: OperationKey,
    registry: Registry,
    began: Instant,
}

impl Registry {
    /// Enters an operation; `None`: it runs already.
    pub fn enter(&self, key: &OperationKey, request: &Request, cancel: CancellationToken) -> Option<Tracker> {
        let now = Instant::now();
        let mut table = self.table();
        if table.contains_key(key) {
            return None;
        }
        let running = Running {
            node: key.node.or(request.instance().node),
            cancel,
            brought: request.brought_ports(),
            began: now,
            phase: "waiting for another operation on the server",
            reason: None,
            since: now,
        };
        table.insert(key.clone(), running);
        Some(Tracker { key: key.clone(), registry: self.clone(), began: now })
    }

    pub fn remove(&self, key: &OperationKey) {
        self.table().remove(key);
    }

    pub fn contains(&self, key: &OperationKey) -> bool {
        self.table().contains_key(key)
    }

    /// Whether anything runs for an instance.
    pub fn is_at_work(&self, instance: InstanceId) -> bool {
        self.table().keys().any(|key| key.instance == instance)
    }

    /// Whether an interface is being attached to an instance, or detached.
    pub fn changes_interfaces(&self, instance: InstanceId) -> bool {
        let changes = |kind| matches!(kind, Kind::AttachInterface | Kind::DetachInterface);
        self.table().keys().any(|key| key.instance == instance && changes(key.kind))
    }

    /// Tells the operations that run for an instance that it is not wanted any more.
    pub fn cancel_all(&self, instance: InstanceId) {
        for (key, running) in self.table().iter() {
            if key.instance == instance {
                running.cancel.cancel();
            }
        }
    }

    /// The ports that the user brought to creates of an instance that have not ended. A delete goes before a create that
    /// could not give them back, or not even write down whose they are: it must know.
    pub fn brought_ports(&self, instance: InstanceId) -> Vec<Uuid> {
        let table = self.table();
        let of_instance = table.iter().filter(|(key, _)| key.instance == instance);
        of_instance.flat_map(|(_, running)| running.brought.iter().copied()).collect()
    }

    /// All operations, the oldest first.
    pub fn statuses(&self) -> Vec<OperationStatus> {
        let now = Instant::now();
        let mut statuses: Vec<OperationStatus> = self
            .table()
            .iter()
            .map(|(key, running)| OperationStatus {
                kind: key.kind,
                instance: key.instance,
                node: running.node,
                request: key.request.clone(),
                phase: running.phase,
                reason: running.reason.clone(),
                in_phase: now - running.since,
                running: now - running.began,
            })
            .collect();
        statuses.sort_by(|one, other| other.running.cmp(&one.running).then(one.request.cmp(&other.request)));
        statuses
    }

    fn table(&self) -> MutexGuard<'_, HashMap<OperationKey, Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tracker {
    /// The operation does this now.
    pub fn phase(&self, phase: &'static str) {
        self.show(phase, None);
    }

    /// The operation waits like this, for this reason.
    pub fn waits(&self, phase: &'static str, reason: String) {
        self.show(phase, Some(reason));
    }

    /// The operation waits within its phase, for this reason; `None`: it goes on.
    pub fn waits_for(&self, because: Option<&str>) {
        if let Some(running) = self.registry.table().get_mut(&self.key) {
            running.reason = because.map(str::to_owned);
        }
    }

    fn show(&self, phase: &'static str, reason: Option<String>) {
        if let Some(running) = self.registry.table().get_mut(&self.key) {
            (running.phase, running.reason, running.since) = (phase, reason, Instant::now());
        }
    }

    /// For how long the operation has been running in this process.
    pub fn running(&self) -> Duration {
        self.began.elapsed()
    }
}
