//! The compute manager: takes requests, runs each to its end, and resumes after a restart what was under way.

pub mod consoles;
mod events;
mod healing;
mod overdue;
mod own;
mod power_sync;
mod reap;
mod reclaim;
mod resume;

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oslo::context::RequestContext;
use tokio_util::sync::CancellationToken;

use crate::journal::{Entry, Record, Stage, Verdict};
use crate::locks::Locks;
use crate::operations::table::rules;
use crate::operations::{Ports, Shared, Start, Try, until_ended};
use crate::options::Options;
use crate::origin::Origin;
use crate::registry::OperationStatus;
use crate::request::{OperationKey, Request};

/// The compute manager; a cheap handle.
#[derive(Clone)]
pub struct Manager(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    /// One at a time takes a request into the journal or ends its operation.
    entries: Locks<OperationKey>,
    /// What this start resumed. The broker may deliver these requests once more, at a time when they have ended: one that
    /// failed here may be at work on another node by then.
    resumed: Mutex<HashSet<OperationKey>>,
    shutdown: CancellationToken,
}

impl Manager {
    /// `shutdown` stops all operations where they stand; they are resumed at the next start.
    pub fn new(options: Options, ports: Ports, shutdown: CancellationToken) -> Self {
        Self(Arc::new(Inner {
            shared: Arc::new(Shared::new(options, ports)),
            entries: Locks::default(),
            resumed: Mutex::default(),
            shutdown,
        }))
    }

    /// Keeps a request for after a crash. Only then may it be acknowledged. One that came again changes nothing of the
    /// operation that it is about.
    pub async fn admit(&self, request: &Request) -> io::Result<()> {
        let key = request.key();
        let _alone = self.0.entries.lock(key.clone()).await;
        if self.shared().registry.contains(&key) || self.resumed().contains(&key) {
            return Ok(());
        }
        self.shared().journal.keep(Entry::new(key, request.origin().clone())).await
    }

    /// Starts the operation of a request that was admitted, and returns at once. One that runs already is not started again. A
    /// delete stops every other operation of its server.
    pub fn start(&self, request: Request) {
        let entry = Entry::new(request.key(), request.origin().clone());
        self.begin(request, entry, Start::Fresh);
    }

    /// Hands a create back that the journal does not take, for this reason: a crash would lose it here, and another host may take
    /// it. It counts as failed on its node.
    pub fn hand_back(&self, request: Request, reason: String) {
        // Nothing is written of an entry without an origin.
        let entry = Entry::new(request.key(), Origin::default());
        let verdict = Verdict { reason, reschedule: true, by_policy: false, stage: Stage::default() };
        self.begin(request, entry, Start::Failed(verdict));
    }

    /// The operations that run or wait to be tried again, the oldest first.
    pub fn operations(&self) -> Vec<OperationStatus> {
        self.shared().registry.statuses()
    }

    /// Runs an operation, unless it runs already, after all that were begun for the same instance before. Its journal entry
    /// is erased when it has ended, and only then.
    fn begin(&self, request: Request, entry: Entry, start: Start) {
        let (shared, key) = (self.0.shared.clone(), entry.key.clone());
        if rules(key.kind).stops_others {
            shared.registry.cancel_all(key.instance);
        }
        let came_again = start == Start::Fresh && self.resumed().contains(&key);
        let cancel = CancellationToken::new();
        let tracker = if came_again { None } else { shared.registry.enter(&key, &request, cancel.clone()) };
        let Some(tracker) = tracker else {
            tracing::info!(operation = key.kind.name(), instance = %key.instance, request = key.request, "duplicate request ignored");
            return;
        };
        let in_flight = metrics::gauge!("bessemer_operations_in_flight", "operation" => key.kind.name());
        in_flight.increment(1.0);
        let context = request.context().clone();
        let record = Record::new(shared.journal.clone(), entry);
        let this = Try { shared: shared.clone(), key, context, record, tracker, start, cancel };
        let place = shared.locks.line_up(this.key.instance);
        let inner = self.0.clone();
        shared.tasks.clone().spawn(async move {
            let (key, record) = (this.key.clone(), this.record.clone());
            let ended = tokio::select! {
                biased;
                () = inner.shutdown.cancelled() => false,
                () = until_ended(this, request, place) => true,
            };
            let _alone = inner.entries.lock(key.clone()).await;
            if ended && let Err(error) = record.erase().await {
                tracing::error!(operation = key.kind.name(), instance = %key.instance, %error, "the journal entry could not be erased; the next start looks at the operation again");
            }
            inner.shared.registry.remove(&key);
            in_flight.decrement(1.0);
        });
    }

    fn shared(&self) -> &Shared {
        &self.0.shared
    }

    fn resumed(&self) -> MutexGuard<'_, HashSet<OperationKey>> {
        self.0.resumed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what an operator said of this service (enabled or not) and publishes it.
    pub async fn set_enabled(&self, enabled: bool) {
        let machines = &self.shared().ports.machines;
        machines.set_enabled(enabled);
        if let Err(error) = machines.publish(&RequestContext::admin()).await {
            tracing::warn!(%error, "the machines could not be published at once; the next report tries again");
        }
    }

    /// Tells the scheduler every period which instances are here, until the shutdown.
    pub async fn sync_scheduler(&self, shutdown: CancellationToken) {
        let Some(interval) = self.shared().options.sync_interval else { return };
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let syncing = async {
            loop {
                ticks.tick().await;
                self.sync_once().await;
            }
        };
        shutdown.run_until_cancelled(syncing).await.unwrap_or(());
    }

    async fn sync_once(&self) {
        let context = RequestContext::admin();
        match self.shared().ports.instances.ids_on_this_host(&context).await {
            Ok(ids) => self.shared().ports.announcer.sync(&context, &ids).await,
            Err(error) => {
                tracing::warn!(%error, "the scheduler could not be told which instances are here");
            }
        }
    }

    /// Waits until every operation has ended or, after the shutdown was called, has stopped where it stood.
    pub async fn drained(&self) {
        self.shared().tasks.close();
        self.shared().tasks.wait().await;
    }
}
