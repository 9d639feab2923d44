//! What all operations work with.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use driver::{Driver, InstanceId};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::create;
use crate::journal::Journal;
use crate::locks::Locks;
use crate::machines::Publisher;
use crate::manager::consoles;
use crate::ports::{Announcer, Instances, Machines, Networks, Requests, VendorDataSource, Volumes};
use crate::registry::Registry;
use crate::resets::Resets;

/// What becomes of the machines of servers that were deleted without this service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reaping {
    /// `running_deleted_instance_poll_interval`: how often they are looked for.
    pub interval: Duration,
    /// `running_deleted_instance_timeout`: for how long the server must be deleted.
    pub timeout: Duration,
    /// `running_deleted_instance_action`.
    pub action: ReapAction,
}

/// What is done to the machine of a server that was deleted without this service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReapAction {
    /// An operator reads of it in the log.
    Log,
    /// It is switched off.
    Shutdown,
    /// It is torn down and cleaned like any other.
    Reap,
}

/// How the manager works.
#[derive(Debug, Clone)]
pub struct Options {
    /// This service's host name, as it stands in the configuration.
    pub host: String,
    /// `[DEFAULT] state_path`; ours is a folder in it.
    pub state_path: PathBuf,
    /// `max_concurrent_builds`: how many creates do work of ours at once; those that wait for Ironic do not count. 0 is
    /// no bound.
    pub max_concurrent_builds: usize,
    /// `scheduler_instance_sync_interval`: how often the scheduler compares its memory with ours; `None`: never.
    pub sync_interval: Option<Duration>,
    /// `reclaim_instance_interval`: how long a server that was deleted so can be restored; `None`: the service ends none.
    pub reclaim_after: Option<Duration>,
    /// `sync_power_state_interval`: how often the power of the machines is compared with what the control plane shows; `None`: never.
    pub power_sync_interval: Option<Duration>,
    /// What becomes of the machines of servers that were deleted without this service; `None`: nothing.
    pub reaping: Option<Reaping>,
    /// `heal_instance_info_cache_interval`: how often the network information of some servers is compared with the network
    /// service's; `None`: never.
    pub heal_interval: Option<Duration>,
    /// `shutdown_timeout`: how long an operating system may take to shut down, unless the image says otherwise.
    pub shutdown_timeout: Duration,
    /// `rescue_timeout`: how long a server may stay rescued; `None`: as long as its user likes.
    pub rescue_timeout: Option<Duration>,
    /// About builds.
    pub create: create::Options,
    /// About consoles.
    pub consoles: consoles::Options,
}

/// Everything that the manager speaks to.
#[derive(Clone)]
pub struct Ports {
    /// Ironic.
    pub driver: Driver,
    /// The machines as the control plane offers them.
    pub machines: Arc<dyn Machines>,
    /// When they are published.
    pub publisher: Publisher,
    /// The instances' records, faults and events.
    pub instances: Arc<dyn Instances>,
    /// Ports and addresses.
    pub networks: Arc<dyn Networks>,
    /// Volumes and their attachments.
    pub volumes: Arc<dyn Volumes>,
    /// Those who only listen.
    pub announcer: Arc<dyn Announcer>,
    /// What the operator adds to metadata.
    pub vendor_data: Arc<dyn VendorDataSource>,
    /// Reads journalled requests.
    pub requests: Arc<dyn Requests>,
}

/// What all operations of one process share.
pub(crate) struct Shared {
    pub options: Options,
    pub ports: Ports,
    pub journal: Journal,
    pub resets: Resets,
    pub registry: Registry,
    /// One operation an instance.
    pub locks: Locks<InstanceId>,
    /// One writer an instance's network information.
    pub network_locks: Locks<InstanceId>,
    /// One request for a console an instance.
    pub console_locks: Locks<InstanceId>,
    /// The slots of `max_concurrent_builds`.
    pub slots: Arc<Semaphore>,
    /// What a shutdown waits for.
    pub tasks: TaskTracker,
}

impl Shared {
    pub fn new(options: Options, ports: Ports) -> Self {
        let slots = match options.max_concurrent_builds {
            0 => Semaphore::MAX_PERMITS,
            some => some,
        };
        let state = options.state_path.join("bessemer");
        let (journal, resets) = (Journal::new(state.join("journal")), Resets::new(state.join("consoles")));
        Self {
            options,
            ports,
            journal,
            resets,
            registry: Registry::default(),
            locks: Locks::default(),
            network_locks: Locks::default(),
            console_locks: Locks::default(),
            slots: Arc::new(Semaphore::new(slots)),
            tasks: TaskTracker::new(),
        }
    }
}
