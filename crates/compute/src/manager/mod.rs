//! The compute manager: takes requests, runs each to its end, and takes up after a restart what was under way.

mod abandon;
mod ending;
mod events;
mod resume;

use std::collections::{HashMap, HashSet};
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use driver::{Driver, InstanceId, Run, Unfollowed};
use futures_util::FutureExt;
use openstack::Caller;
use oslo::context::RequestContext;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::journal::{Announced, Ending, Entry, Journal, Verdict, Work};
use crate::locks::{Locks, Place};
use crate::machines::Publisher;
use crate::operations::create::{self, Build};
use crate::operations::delete::Delete;
use crate::ports::{Announcer, Instances, Machines, Networks, VendorDataSource, Volumes};
use crate::request::{BuildRequest, DeleteRequest, Origin};

/// How long work that could not be ended (the control plane was away for longer than a call waits) rests before it is
/// tried again.
const RETRY: Duration = Duration::from_secs(30);

/// Whether work begins or goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Start {
    Fresh,
    /// After a restart, or after a try that could not be ended.
    Resumed,
    /// A build that had failed for this reason; what is left is to undo it and to say so.
    Failed(Verdict),
    /// As resumed; those who listen know this of it.
    Announced(Announced),
    /// Work with an outcome that could not be written to its end.
    Ending(Ending),
}

impl Start {
    /// How the work of an entry goes on after a restart.
    fn of(entry: &Entry) -> Self {
        match entry {
            Entry { ending: Some(ending), .. } => Self::Ending(ending.clone()),
            Entry { verdict: Some(verdict), .. } => Self::Failed(verdict.clone()),
            Entry { announced: Announced::Nothing, .. } => Self::Resumed,
            Entry { announced, .. } => Self::Announced(*announced),
        }
    }

    /// The entry from which a restart goes on like this.
    pub(crate) fn entry(&self, work: Work, origin: Origin) -> Entry {
        let mut entry = Entry::new(work, origin);
        match self.clone() {
            Self::Fresh | Self::Resumed => {}
            Self::Failed(verdict) => entry.verdict = Some(verdict),
            Self::Announced(announced) => entry.announced = announced,
            Self::Ending(ending) => entry.ending = Some(ending),
        }
        entry
    }
}

/// Whether work is over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    Ended,
    /// It is to be tried again, like this.
    Unsettled(Start),
}

/// How the manager works.
#[derive(Debug, Clone)]
pub struct Options {
    /// This service's host name, as it stands in the configuration.
    pub host: String,
    /// `[DEFAULT] state_path`; ours is a folder in it.
    pub state_path: PathBuf,
    /// `max_concurrent_builds`: how many builds do work of ours at once; those that wait for Ironic do not count. 0 is
    /// no bound.
    pub max_concurrent_builds: usize,
    /// `scheduler_instance_sync_interval`: how often the scheduler compares its memory with ours; `None`: never.
    pub sync_interval: Option<Duration>,
    pub build: create::Options,
}

/// Everything that the manager speaks to.
#[derive(Clone)]
pub struct Ports {
    pub driver: Driver,
    pub machines: Arc<dyn Machines>,
    pub publisher: Publisher,
    pub instances: Arc<dyn Instances>,
    pub networks: Arc<dyn Networks>,
    pub volumes: Arc<dyn Volumes>,
    pub announcer: Arc<dyn Announcer>,
    pub vendor_data: Arc<dyn VendorDataSource>,
}

/// The compute manager; a cheap handle.
#[derive(Clone)]
pub struct Manager(Arc<Inner>);

/// Work that is under way, or waits to be tried again.
struct Running {
    cancel: CancellationToken,
    /// The ports that the user brought to a build.
    brought: Vec<Uuid>,
}

pub(crate) struct Inner {
    pub(crate) options: Options,
    pub(crate) ports: Ports,
    pub(crate) journal: Journal,
    /// One work an instance.
    pub(crate) locks: Locks<InstanceId>,
    /// One writer an instance's network information.
    pub(crate) network_locks: Locks<InstanceId>,
    pub(crate) builds: Arc<Semaphore>,
    /// One at a time takes a request into the journal or ends its work.
    entries: Locks<Work>,
    running: Mutex<HashMap<Work, Running>>,
    /// What this start took up. The broker may deliver these requests once more, at a time when they have ended: one that
    /// failed here may be at work on another node by then.
    taken_up: Mutex<HashSet<Work>>,
    /// What a shutdown waits for.
    pub(crate) tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Manager {
    /// `shutdown` stops all work where it stands; it is taken up at the next start.
    pub fn new(options: Options, ports: Ports, shutdown: CancellationToken) -> Self {
        let permits = match options.max_concurrent_builds {
            0 => Semaphore::MAX_PERMITS,
            some => some,
        };
        let journal = Journal::new(options.state_path.join("bessemer").join("journal"));
        Self(Arc::new(Inner {
            options,
            ports,
            journal,
            locks: Locks::default(),
            network_locks: Locks::default(),
            builds: Arc::new(Semaphore::new(permits)),
            entries: Locks::default(),
            running: Mutex::default(),
            taken_up: Mutex::default(),
            tasks: TaskTracker::new(),
            shutdown,
        }))
    }

    /// Keeps a build request for after a crash. Only then may it be acknowledged.
    pub async fn admit_build(&self, request: &BuildRequest) -> io::Result<()> {
        self.admit(build_work(request), request.origin.clone()).await
    }

    /// Keeps a delete request for after a crash. Only then may it be acknowledged.
    pub async fn admit_delete(&self, request: &DeleteRequest) -> io::Result<()> {
        self.admit(delete_work(request), request.origin.clone()).await
    }

    /// A request that came again changes nothing of the work that it is about.
    async fn admit(&self, work: Work, origin: Origin) -> io::Result<()> {
        let _alone = self.0.entries.lock(work.clone()).await;
        if self.running().contains_key(&work) || self.taken_up().contains(&work) {
            return Ok(());
        }
        self.0.journal.keep(Entry::new(work, origin)).await
    }

    /// Begins a build that was admitted and returns at once. One that runs already is not begun again.
    pub fn build(&self, request: BuildRequest) {
        self.start_build(build_work(&request), request, Start::Fresh);
    }

    /// Begins a delete that was admitted and returns at once. It stops a build of the instance.
    pub fn delete(&self, request: DeleteRequest) {
        self.start_delete(delete_work(&request), request, Start::Fresh);
    }

    fn start_build(&self, work: Work, request: BuildRequest, start: Start) {
        let (inner, known) = (self.0.clone(), work.clone());
        let (origin, brought) = (request.origin.clone(), request.brought_ports());
        self.begin(work, origin, brought, start, move |start, cancel| {
            Box::pin(Build::new(inner.clone(), known.clone(), request.clone(), start, cancel).run())
        });
    }

    fn start_delete(&self, work: Work, request: DeleteRequest, start: Start) {
        self.stop_builds(request.instance.id);
        let (inner, origin) = (self.0.clone(), request.origin.clone());
        self.begin(work, origin, Vec::new(), start, move |start, _| {
            Box::pin(Delete::new(inner.clone(), request.clone(), start).run())
        });
    }

    /// Runs a work, unless it runs already, after all that was begun for the same instance before. Its journal entry is
    /// erased when it has ended, and only then: work that could not be settled because something was away is tried
    /// again, here and after a restart.
    fn begin<F>(&self, work: Work, origin: Origin, brought: Vec<Uuid>, start: Start, run: F)
    where
        F: Fn(Start, CancellationToken) -> Pin<Box<dyn Future<Output = End> + Send>> + Send + 'static,
    {
        let cancel = CancellationToken::new();
        {
            let mut running = self.running();
            let came_again = start == Start::Fresh && self.taken_up().contains(&work);
            if running.contains_key(&work) || came_again {
                tracing::info!(
                    ?work,
                    "a request that was taken already arrived again; it is not begun twice"
                );
                return;
            }
            running.insert(work.clone(), Running { cancel: cancel.clone(), brought });
        }
        gauge(&work, 1.0);
        let (manager, inner) = (self.clone(), self.0.clone());
        let place = inner.locks.line_up(work.instance());
        self.0.tasks.spawn(async move {
            let ended = tokio::select! {
                biased;
                () = inner.shutdown.cancelled() => false,
                () = settle(&inner, &work, &origin, place, start, cancel, run) => true,
            };
            let _alone = inner.entries.lock(work.clone()).await;
            if ended && let Err(error) = inner.journal.erase(&work).await {
                tracing::error!(?work, %error, "a journal entry could not be erased; the work will be looked at again at the next start");
            }
            manager.running().remove(&work);
            gauge(&work, -1.0);
        });
    }

    fn running(&self) -> MutexGuard<'_, HashMap<Work, Running>> {
        self.0.running()
    }

    fn taken_up(&self) -> MutexGuard<'_, HashSet<Work>> {
        self.0.taken_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the builds of an instance that it is not wanted any more.
    fn stop_builds(&self, id: InstanceId) {
        for (work, running) in self.running().iter() {
            if matches!(work, Work::Build { instance, .. } if *instance == id) {
                running.cancel.cancel();
            }
        }
    }

    /// Whether a build or a delete of an instance is under way.
    fn is_at_work(&self, id: InstanceId) -> bool {
        self.running().keys().any(|work| work.instance() == id)
    }

    /// Takes what an operator said of this service (enabled or not) and publishes it.
    pub async fn set_enabled(&self, enabled: bool) {
        self.0.ports.machines.set_enabled(enabled);
        if let Err(error) = self.0.ports.machines.publish(&RequestContext::admin()).await {
            tracing::warn!(%error, "the machines could not be published at once; the next report tries again");
        }
    }

    /// Tells the scheduler every period which instances are here, until the shutdown.
    pub async fn sync_scheduler(&self, shutdown: CancellationToken) {
        let Some(interval) = self.0.options.sync_interval else { return };
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
        match self.0.ports.instances.ids_on_this_host(&context).await {
            Ok(ids) => self.0.ports.announcer.sync(&context, &ids).await,
            Err(error) => {
                tracing::warn!(%error, "the scheduler could not be told which instances are here");
            }
        }
    }

    /// Waits until every work has ended or, after the shutdown was called, has stopped where it stood.
    pub async fn drained(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

impl Inner {
    fn running(&self) -> MutexGuard<'_, HashMap<Work, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ports that the user brought to builds of an instance that have not ended. A delete goes before a build that
    /// could not give them back, or not even write down whose they are: it must know.
    pub(crate) fn brought_ports(&self, id: InstanceId) -> Vec<Uuid> {
        let running = self.running();
        let of_instance = running.iter().filter(|(work, _)| work.instance() == id);
        of_instance.flat_map(|(_, running)| running.brought.iter().copied()).collect()
    }
}

/// Runs a work until it has ended.
async fn settle<F>(
    inner: &Inner,
    work: &Work,
    origin: &Origin,
    place: Place<InstanceId>,
    mut start: Start,
    cancel: CancellationToken,
    run: F,
) where
    F: Fn(Start, CancellationToken) -> Pin<Box<dyn Future<Output = End> + Send>>,
{
    let mut place = Some(place);
    loop {
        let turn = place.take().unwrap_or_else(|| inner.locks.line_up(work.instance()));
        let alone = turn.held().await;
        match AssertUnwindSafe(run(start.clone(), cancel.clone())).catch_unwind().await {
            Ok(End::Ended) => return,
            Ok(End::Unsettled(next)) => {
                if next != start {
                    inner.write_down(work, origin, &next).await;
                }
                start = next;
            }
            Err(_) => return inner.give_up_after_panic(work).await,
        }
        drop(alone);
        tracing::warn!(?work, seconds = RETRY.as_secs(), "the work could not be ended; trying again");
        tokio::time::sleep(RETRY).await;
    }
}

fn build_work(request: &BuildRequest) -> Work {
    Work::Build {
        instance: request.instance.id,
        node: request.node,
        request: request.context.request_id.clone(),
    }
}

fn delete_work(request: &DeleteRequest) -> Work {
    Work::Delete { instance: request.instance.id, request: request.context.request_id.clone() }
}

fn gauge(work: &Work, by: f64) {
    let name = match work {
        Work::Build { .. } => "build",
        Work::Delete { .. } => "delete",
    };
    metrics::gauge!("bessemer_operations_in_flight", "operation" => name).increment(by);
}

/// What an operation of the driver's runs within.
pub(crate) fn run<'a>(caller: &'a Caller, instance: InstanceId, cancel: &'a CancellationToken) -> Run<'a> {
    Run { caller, instance, cancel, progress: &Unfollowed }
}

/// Whom a call to Ironic is made for: the service itself, in the name of the request.
pub(crate) fn caller(context: &RequestContext) -> Caller {
    Caller { request_id: Some(context.global_id().to_owned()), ..Caller::default() }
}
