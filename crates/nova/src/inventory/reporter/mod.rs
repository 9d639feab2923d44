//! Keeps the control plane's picture of the machines true.
//!
//! `report` reads and compares, `write` sends the differences, `removal` removes what is proven gone, `audits` says when what is
//! known is held against the control plane's own lists, `claims` finds free nodes that allocations of deleted servers keep from
//! everybody.

mod audits;
mod claims;
mod removal;
mod report;
mod write;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use driver::{Driver, NodeId};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::audits::Audits;
use self::removal::Alarms;
use super::books::{ComputeNodes, Providers, Residents};
use super::known::KnownFile;
use super::picture::Picture;
use super::provider_config::{Absent, ProviderConfig};
use super::{RecordIds, Rules};
use compute::locks::Locks;
use compute::ports;

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
    /// How many nodes are written at once.
    pub parallel: usize,
    /// How a node is described.
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
    instances: Arc<dyn Residents>,
    inventory: Arc<dyn ComputeNodes>,
    placement: Arc<dyn Providers>,
    ids: RecordIds,
    picture: Mutex<Picture>,
    file: KnownFile,
    /// One writer a node.
    busy: Locks<NodeId>,
    disabled: AtomicBool,
    scope: Mutex<Scope>,
    absent: Absent,
    alarms: Alarms,
    /// One report at a time.
    reporting: tokio::sync::Mutex<Audits>,
    /// What is known changed and should be recorded.
    changed: Notify,
    /// Provision states that the metric last had.
    shown: Mutex<HashSet<String>>,
}

/// Why a report brought nothing; it is made again in the next period.
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
    /// Whether the same may well succeed in a while. What Ironic cannot be asked is no answer of its.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Ironic(_) | Self::Hidden(_) => true,
            Self::ControlPlane(error) | Self::NotWritten(error) => {
                matches!(error, ports::Error::Unavailable(_))
            }
        }
    }
}

impl Reporter {
    /// A reporter that knows what its state file holds of Placement.
    pub fn new(
        options: Options,
        driver: Driver,
        instances: Arc<dyn Residents>,
        inventory: Arc<dyn ComputeNodes>,
        placement: Arc<dyn Providers>,
        ids: RecordIds,
    ) -> Self {
        let file = KnownFile::new(&options.state_file);
        let picture = Mutex::new(Picture::new(file.load()));
        let scope = Mutex::new(options.scope.clone());
        Self(Arc::new(Inner {
            scope,
            options,
            driver,
            instances,
            inventory,
            placement,
            ids,
            picture,
            file,
            busy: Locks::default(),
            disabled: false.into(),
            absent: Absent::default(),
            alarms: Alarms::default(),
            reporting: tokio::sync::Mutex::default(),
            changed: Notify::new(),
            shown: Mutex::default(),
        }))
    }

    /// Takes changed options; they hold from the next report on.
    pub fn set_scope(&self, scope: Scope) {
        *self.0.scope.lock().unwrap_or_else(PoisonError::into_inner) = scope;
    }

    fn scope(&self) -> Scope {
        self.0.scope.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records what is known of Placement when it changed, and a last time at the shutdown.
    pub async fn run(&self, shutdown: CancellationToken) {
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

    pub(super) fn providers(&self) -> &dyn Providers {
        &*self.0.placement
    }

    fn picture(&self) -> MutexGuard<'_, Picture> {
        self.0.picture.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
