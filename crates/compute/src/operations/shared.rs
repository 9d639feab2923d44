//! What all operations work with.

use std::sync::Arc;

use driver::{Driver, InstanceId};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::journal::Journal;
use crate::locks::Locks;
use crate::machines::Publisher;
use crate::options::Options;
use crate::ports::{Announcer, Instances, Machines, Networks, Requests, VendorDataSource, Volumes};
use crate::registry::Registry;
use crate::resets::Resets;

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
