//! A cloud in process: Nova's records, Neutron, Placement as plain tables behind the ports, and a simulated Ironic. A
//! compute service in it can be killed at its n-th remote call, before or after the call took effect.

mod instances;
mod machines;
mod networks;
mod port;
mod process;
mod servers;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use compute::instance::{BlockDevice, Instance};
use compute::ports::{self, Action, Event};
use compute::request::{Kind, Request};
use driver::{InstanceId, NodeId};
use ironic_sim::Sim;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use port::Port;
pub use process::Process;
pub use servers::{
    IMAGE, addresses, attach, crash_dump, delete, detach, placed_again, power, rebuild, rescue, server,
    with_port, with_volume,
};

pub const HOST: &str = "compute1";

/// When the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kill {
    /// At which remote call, counted from 0.
    pub call: usize,
    /// The call took effect, but its answer was never seen.
    pub after: bool,
}

/// An event of an action, as users see it: `None` while it is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    pub instance: InstanceId,
    pub action: Action,
    pub failure: Option<Option<String>>,
}

#[derive(Default)]
pub struct Tables {
    pub instances: HashMap<InstanceId, Instance>,
    /// What was asked for, by the origin of the request.
    pub requests: HashMap<String, Request>,
    /// Neutron's ports, by the instance they are for.
    pub neutron: Vec<(Uuid, InstanceId)>,
    /// Those of them that are made and have no owner yet.
    pub unowned: BTreeSet<Uuid>,
    /// Their addresses.
    pub addresses: BTreeMap<Uuid, BTreeSet<String>>,
    /// Ports that the user made.
    pub users_ports: BTreeSet<Uuid>,
    pub allocations: HashMap<InstanceId, NodeId>,
    /// The machines as they were published, and whether nobody may book them.
    pub machines: HashMap<NodeId, bool>,
    pub events: Vec<Recorded>,
    /// Actions that the service recorded for itself.
    pub actions: Vec<(InstanceId, Kind)>,
    pub faults: Vec<(InstanceId, String)>,
    pub rescheduled: Vec<InstanceId>,
    /// Notifications of failed builds.
    pub failures_told: Vec<InstanceId>,
    /// All notifications.
    pub told: Vec<(InstanceId, Event, &'static str)>,
    pub disks: HashMap<InstanceId, Vec<BlockDevice>>,
    /// Cinder's volumes, and which instance each is attached to.
    pub volumes: BTreeMap<Uuid, Option<InstanceId>>,
    /// Volumes that were taken from a machine which was still there.
    pub torn_off: Vec<Uuid>,
    /// Nodes that somebody could book while they were being cleaned.
    pub let_go_dirty: Vec<NodeId>,
    /// Remote calls by name, for the tests that count them.
    pub calls: BTreeMap<&'static str, usize>,
}

type OnCall = (&'static str, Box<dyn FnOnce() + Send + Sync>);

pub struct World {
    pub sim: Sim,
    tables: Mutex<Tables>,
    made: Mutex<usize>,
    kill: Mutex<Option<(Kill, CancellationToken)>>,
    rescheduled: Mutex<Option<Box<dyn Fn() + Send + Sync>>>,
    bug: Mutex<Option<&'static str>>,
    on_call: Mutex<Option<OnCall>>,
    trouble: Mutex<Vec<(&'static str, Trouble)>>,
    conductor: tokio_util::task::TaskTracker,
    /// A process was killed in what its shutdown would wait for.
    died_in_hand_over: tokio::sync::Notify,
}

/// What a service behind a port answers in place of its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    Unavailable,
    Refused,
    Broken,
}

impl Trouble {
    fn error(self) -> ports::Error {
        match self {
            Self::Unavailable => ports::Error::Unavailable("cannot connect at 10.0.0.5:9696".to_owned()),
            Self::Broken => ports::Error::Broken("10.0.0.5:9696 makes no sense".to_owned()),
            Self::Refused => {
                ports::Error::Refused { why: ports::Refusal::PortQuota, message: "no more ports".to_owned() }
            }
        }
    }
}

impl Tables {
    /// Keeps a request, for when it is read from the journal.
    fn keep(&mut self, request: &(impl Clone + Into<Request>)) {
        let request: Request = request.clone().into();
        self.requests.insert(request.origin().0.as_str().unwrap().to_owned(), request);
    }
}

impl World {
    pub fn new(sim: Sim) -> Arc<Self> {
        let world = Arc::new(Self {
            sim,
            tables: Mutex::default(),
            made: Mutex::new(0),
            kill: Mutex::new(None),
            rescheduled: Mutex::new(None),
            bug: Mutex::new(None),
            on_call: Mutex::new(None),
            trouble: Mutex::default(),
            conductor: tokio_util::task::TaskTracker::new(),
            died_in_hand_over: tokio::sync::Notify::new(),
        });
        let hook = Arc::downgrade(&world);
        world.sim.on_request(Box::new(move |request| {
            let Some(world) = hook.upgrade() else { return ironic_sim::Action::Go };
            let dies = if request.is_before() { world.dies(true, false) } else { world.dies(false, true) };
            if dies { ironic_sim::Action::Hang } else { ironic_sim::Action::Go }
        }));
        world
    }

    pub fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap()
    }

    /// How many remote calls were made since the last process began.
    pub fn calls_made(&self) -> usize {
        *self.made.lock().unwrap()
    }

    /// Does this whenever a request goes back to the control plane.
    pub fn on_reschedule(&self, act: impl Fn() + Send + Sync + 'static) {
        *self.rescheduled.lock().unwrap() = Some(Box::new(act));
    }

    /// Does this, once, when this call is made.
    pub fn on_call(&self, call: &'static str, act: impl FnOnce() + Send + Sync + 'static) {
        *self.on_call.lock().unwrap() = Some((call, Box::new(act)));
    }

    /// How often a call of this name was made.
    pub fn count(&self, name: &str) -> usize {
        self.tables().calls.get(name).copied().unwrap_or_default()
    }

    /// Waits until a call of this name was made so often.
    pub async fn counted(&self, name: &str, times: usize) {
        while self.count(name) < times {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
    }

    /// All is well from now on.
    pub fn end_trouble(&self) {
        self.trouble.lock().unwrap().clear();
    }

    /// Panics, once, when this call is made.
    pub fn panic_at(&self, call: &'static str) {
        *self.bug.lock().unwrap() = Some(call);
    }

    /// The next call of this name meets with trouble, and each further one that was asked for.
    pub fn trouble(&self, name: &'static str, trouble: Trouble) {
        self.trouble.lock().unwrap().push((name, trouble));
    }

    /// Waits until the conductor has done what it was asked for.
    pub async fn conducted(&self) {
        self.conductor.close();
        self.conductor.wait().await;
        self.conductor.reopen();
    }

    /// Counts a call when it begins, and says whether the process dies here.
    fn dies(&self, begins: bool, after: bool) -> bool {
        let mut made = self.made.lock().unwrap();
        if begins {
            *made += 1;
        }
        let now = *made - 1;
        match &*self.kill.lock().unwrap() {
            Some((kill, process)) if kill.call == now && kill.after == after => {
                process.cancel();
                true
            }
            _ => false,
        }
    }

    async fn call<T>(
        &self,
        name: &'static str,
        effect: impl FnOnce(&mut Tables) -> ports::Result<T>,
    ) -> ports::Result<T> {
        if self.dies(true, false) {
            self.death(name).await;
        }
        let is_buggy = self.bug.lock().unwrap().take_if(|call| *call == name).is_some();
        assert!(!is_buggy, "a bug at {name}");
        let act = self.on_call.lock().unwrap().take_if(|(call, _)| *call == name);
        if let Some((_, act)) = act {
            act();
        }
        let trouble = {
            let mut troubles = self.trouble.lock().unwrap();
            let due = troubles.iter().position(|(whose, _)| *whose == name);
            due.map(|due| troubles.remove(due).1)
        };
        let result = {
            let mut tables = self.tables();
            *tables.calls.entry(name).or_default() += 1;
            match trouble {
                Some(trouble) => Err(trouble.error()),
                None => effect(&mut tables),
            }
        };
        if self.dies(false, true) {
            self.death(name).await;
        }
        result
    }

    /// What a killed process does: nothing. The work is dropped with it, but for the hand-over, which a shutdown waits for.
    async fn death(&self, name: &str) {
        if name == "reschedule" {
            self.died_in_hand_over.notify_one();
        }
        std::future::pending::<()>().await;
    }
}
