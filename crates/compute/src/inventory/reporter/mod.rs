//! Keeps the picture true: when it is looked at, and who may ask for it.
//!
//! `look` reads and compares, `write` sends the differences, `removal` removes what is proven gone, `audits` says when what is
//! known is held against the control plane's own lists, `claims` finds free nodes that allocations of deleted servers keep from
//! everybody.

mod audits;
mod claims;
mod look;
mod removal;
mod write;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use driver::{Driver, NodeId};
use openstack::Caller;
use oslo::context::RequestContext;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::audits::Audits;
use self::removal::Alarms;
use super::Rules;
use super::known::KnownFile;
use super::picture::Picture;
use super::provider_config::{Absent, ProviderConfig};
use crate::locks::Locks;
use crate::ports::{self, Instances, Inventory, Placement};

/// The pause before something that failed is tried again outside the period.
const RETRY: Duration = Duration::from_secs(10);

/// The pause after what is known was recorded: many changes make one file.
const RECORD_PAUSE: Duration = Duration::from_secs(5);

/// How the picture is kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// This service's host name, as it stands in the configuration.
    pub host: String,
    /// What may change while the service runs.
    pub scope: Scope,
    /// `[ironic] shard`: then every node of the shard is ours.
    pub shard: Option<String>,
    /// `update_resources_interval`; `None` switches the periodic look off.
    pub interval: Option<Duration>,
    /// How many nodes are written at once.
    pub parallel: usize,
    pub rules: Rules,
    /// What operators add to the nodes, from `[compute] provider_config_location`.
    pub providers: ProviderConfig,
    /// Where what is known survives a restart.
    pub state_file: PathBuf,
}

/// What of the options may change while the service runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// `[ironic] conductor_group`; the empty string is the default group.
    pub conductor_group: Option<String>,
    /// `[compute] resource_provider_association_refresh`: how often what is known is held against Placement's own list.
    /// `None`: only at the start.
    pub audit_interval: Option<Duration>,
    /// `[bessemer] max_node_removals`: how many nodes may be missing from one list of Ironic's that is believed. `None`: a tenth of
    /// those that are ours, or three if that is more, and never more than half.
    pub max_node_removals: Option<usize>,
}

/// The keeper of the picture; a cheap handle.
#[derive(Clone)]
pub struct Reporter(Arc<Inner>);

struct Inner {
    options: Options,
    driver: Driver,
    instances: Arc<dyn Instances>,
    inventory: Arc<dyn Inventory>,
    placement: Arc<dyn Placement>,
    picture: Mutex<Picture>,
    file: KnownFile,
    /// One writer a node.
    busy: Locks<NodeId>,
    disabled: AtomicBool,
    scope: Mutex<Scope>,
    absent: Absent,
    alarms: Alarms,
    freed: (mpsc::UnboundedSender<NodeId>, Mutex<Option<mpsc::UnboundedReceiver<NodeId>>>),
    /// One look at a time.
    looking: tokio::sync::Mutex<Audits>,
    /// What is known changed and should be recorded.
    changed: Notify,
    /// Provision states that the metric last had.
    shown: Mutex<HashSet<String>>,
}

/// What one look found and wrote.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    pub nodes: usize,
    pub written: usize,
    pub failed: usize,
    pub removed: usize,
}

/// Why a look brought nothing; it is made again in the next period.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("Ironic could not be asked: {0}")]
    Ironic(#[from] openstack::Error),
    #[error(transparent)]
    ControlPlane(#[from] ports::Error),
    #[error("The node could not be reported: {0}")]
    NotWritten(ports::Error),
    /// A node that is ours is not shown, and not proven gone.
    #[error("Ironic does not show node {0}")]
    Hidden(NodeId),
}

impl Error {
    /// Whether the same may well succeed in a while.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Ironic(error) => error.is_transient(),
            Self::Hidden(_) => true,
            Self::ControlPlane(error) | Self::NotWritten(error) => {
                matches!(error, ports::Error::Unavailable(_))
            }
        }
    }
}

impl Reporter {
    pub fn new(
        options: Options,
        driver: Driver,
        instances: Arc<dyn Instances>,
        inventory: Arc<dyn Inventory>,
        placement: Arc<dyn Placement>,
    ) -> Self {
        let file = KnownFile::new(&options.state_file);
        let picture = Mutex::new(Picture::new(file.load()));
        let (freed, nodes) = mpsc::unbounded_channel();
        let scope = Mutex::new(options.scope.clone());
        Self(Arc::new(Inner {
            scope,
            options,
            driver,
            instances,
            inventory,
            placement,
            picture,
            file,
            busy: Locks::default(),
            disabled: false.into(),
            absent: Absent::default(),
            alarms: Alarms::default(),
            freed: (freed, Mutex::new(Some(nodes))),
            looking: tokio::sync::Mutex::default(),
            changed: Notify::new(),
            shown: Mutex::default(),
        }))
    }

    /// Looks at once, then every period, until the shutdown. A look that fails is logged and made again.
    pub async fn run(&self, shutdown: CancellationToken) {
        tokio::join!(self.look_periodically(&shutdown), self.follow_freed(&shutdown), self.record(&shutdown));
    }

    /// Takes changed options; they hold from the next look on.
    pub fn set_scope(&self, scope: Scope) {
        *self.0.scope.lock().unwrap_or_else(PoisonError::into_inner) = scope;
    }

    fn scope(&self) -> Scope {
        self.0.scope.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reports a node that is being cleaned as soon as it can be booked again, without waiting for the period.
    pub fn follow(&self, node: NodeId) {
        // Nobody listens only after the shutdown.
        let _ = self.0.freed.0.send(node);
    }

    async fn follow_freed(&self, shutdown: &CancellationToken) {
        let nodes = self.0.freed.1.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut nodes) = nodes else { return };
        let mut following = JoinSet::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(node) = nodes.recv() => {
                    let reporter = self.clone();
                    following.spawn(async move { reporter.report_when_settled(node).await });
                }
                Some(_) = following.join_next() => {}
            }
        }
    }

    async fn report_when_settled(&self, node: NodeId) {
        let settled = loop {
            match self.0.driver.settled(&Caller::default(), node).await {
                Ok(settled) => break settled,
                Err(error) => {
                    tracing::warn!(%node, %error, "a freed node could not be looked at; trying again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        };
        if settled.is_none() {
            return;
        }
        while let Err(error) = self.look_at(&RequestContext::admin(), node, None).await {
            tracing::debug!(%node, %error, "the freed node could not be reported at once");
            if !error.is_transient() {
                return;
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Looks every period; without periods, until one look succeeded.
    async fn look_periodically(&self, shutdown: &CancellationToken) {
        let mut ticks = tokio::time::interval(self.0.options.interval.unwrap_or(RETRY));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let looked = tokio::select! {
                () = shutdown.cancelled() => return,
                looked = self.look_and_log() => looked,
            };
            if looked && self.0.options.interval.is_none() {
                tracing::info!("the periodic look at the nodes is switched off (update_resources_interval)");
                return;
            }
        }
    }

    /// Records what is known when it changed, and a last time at the shutdown.
    async fn record(&self, shutdown: &CancellationToken) {
        loop {
            let ends = tokio::select! {
                () = shutdown.cancelled() => true,
                () = self.0.changed.notified() => false,
            };
            let providers = self.picture().providers();
            let file = self.0.file.clone();
            let saved = tokio::task::spawn_blocking(move || file.save(&providers)).await;
            if let Ok(Err(error)) = saved {
                tracing::warn!(%error, "what is known of Placement could not be recorded; a restart will look again");
            }
            if ends {
                return;
            }
            shutdown.run_until_cancelled(tokio::time::sleep(RECORD_PAUSE)).await;
        }
    }

    async fn look_and_log(&self) -> bool {
        let started = Instant::now();
        match self.look(&RequestContext::admin()).await {
            Ok(Outcome { nodes, written, failed, removed }) => {
                let seconds = started.elapsed().as_secs_f64();
                metrics::histogram!("bessemer_report_seconds").record(seconds);
                metrics::gauge!("bessemer_last_good_report_timestamp_seconds").set(unix_now());
                #[allow(clippy::cast_precision_loss)] // a count of machines
                metrics::gauge!("bessemer_nodes_not_reported").set(failed as f64);
                if written + failed + removed > 0 {
                    tracing::info!(nodes, written, failed, removed, seconds, "nodes reported");
                } else {
                    tracing::debug!(nodes, seconds, "nodes compared; nothing to report");
                }
                true
            }
            Err(error) => {
                tracing::error!(%error, "nodes not reported; the next period tries again");
                false
            }
        }
    }

    fn picture(&self) -> MutexGuard<'_, Picture> {
        self.0.picture.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unix_now() -> f64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0.0, |elapsed| elapsed.as_secs_f64())
}
