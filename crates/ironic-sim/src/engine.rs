//! What runs behind the API: the shared state, and the tasks that carry each node's work to its end.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::machine::State;
use crate::traffic::{Action, Fault, Kind, Recorded, strike};
use crate::world::World;

type SharedHook = Arc<dyn Fn(&Recorded) -> Action + Send + Sync>;

pub(crate) struct Engine {
    pub base: String,
    pub runtime: Handle,
    myself: Weak<Engine>,
    world: Mutex<World>,
    traffic: Mutex<Traffic>,
    gate: Gate,
}

#[derive(Default)]
struct Traffic {
    log: Vec<Recorded>,
    faults: Vec<Fault>,
    hook: Option<SharedHook>,
    /// Requests before the log was last cleared.
    before: u64,
}

impl Engine {
    pub fn new(base: String, world: World) -> Arc<Self> {
        Arc::new_cyclic(|myself| Self {
            base,
            runtime: Handle::current(),
            myself: myself.clone(),
            world: Mutex::new(world),
            traffic: Mutex::default(),
            gate: Gate::default(),
        })
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        locked(&self.world)
    }

    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Puts a request into the log and numbers it.
    pub fn record(&self, request: &mut Recorded) {
        let mut traffic = locked(&self.traffic);
        request.number = traffic.before + traffic.log.len() as u64 + 1;
        traffic.log.push(request.clone());
    }

    /// Writes the answer's status into the log.
    pub fn answered(&self, request: &Recorded) {
        let mut traffic = locked(&self.traffic);
        let at = request.number.checked_sub(traffic.before + 1).and_then(|i| usize::try_from(i).ok());
        if let Some(entry) = at.and_then(|i| traffic.log.get_mut(i)) {
            entry.status = request.status;
        }
    }

    pub fn log<T>(&self, read: impl FnOnce(&[Recorded]) -> T) -> T {
        read(&locked(&self.traffic).log)
    }

    pub fn clear_log(&self) {
        let mut traffic = locked(&self.traffic);
        traffic.before += traffic.log.len() as u64;
        traffic.log.clear();
    }

    pub fn set_hook(&self, hook: Option<SharedHook>) {
        locked(&self.traffic).hook = hook;
    }

    /// Asks the hook, without holding any lock: it may use the simulator.
    pub fn ask(&self, request: &Recorded) -> Action {
        let hook = locked(&self.traffic).hook.clone();
        hook.map_or(Action::Go, |hook| hook(request))
    }

    pub fn add_fault(&self, fault: Fault) {
        locked(&self.traffic).faults.push(fault);
    }

    pub fn clear_faults(&self) {
        locked(&self.traffic).faults.clear();
    }

    pub fn strike(&self, request: &Recorded) -> Option<Kind> {
        strike(&mut locked(&self.traffic).faults, request)
    }
}

/// A panic elsewhere is that test's failure, not a reason to hang here.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// States that nodes are held in.
#[derive(Default)]
pub(crate) struct Gate {
    held: Mutex<HashSet<(Option<Uuid>, State)>>,
    opened: Notify,
}

impl Gate {
    pub fn hold(&self, node: Option<Uuid>, state: State) {
        locked(&self.held).insert((node, state));
    }

    /// Lets go of what `which` names.
    pub fn release(&self, which: impl Fn(Option<Uuid>, State) -> bool) {
        locked(&self.held).retain(|(node, state)| !which(*node, *state));
        self.opened.notify_waiters();
    }

    async fn pass(&self, node: Uuid, state: State) {
        loop {
            let opened = self.opened.notified();
            {
                let held = locked(&self.held);
                if !held.contains(&(None, state)) && !held.contains(&(Some(node), state)) {
                    return;
                }
            }
            opened.await;
        }
    }
}

/// Carries the node's present work to its end, in a task of its own.
pub(crate) fn drive(engine: &Engine, node: Uuid) {
    let myself = engine.myself.clone();
    engine.runtime.spawn(async move {
        while let Some(engine) = myself.upgrade() {
            let Some(step) = engine.world().step(node) else { return };
            pause(step.duration).await;
            engine.gate.pass(node, step.state).await;
            if !engine.world().advance(node, step) {
                return;
            }
            tracing::debug!(%node, from = %step.state, "step done");
        }
    });
}

/// Carries a power action to its end.
pub(crate) fn drive_power(engine: &Engine, node: Uuid, duration: Duration) {
    let myself = engine.myself.clone();
    engine.runtime.spawn(async move {
        pause(duration).await;
        let Some(engine) = myself.upgrade() else { return };
        engine.world().edit(node, |record| {
            let target = record.node.target_power_state.take();
            record.node.reservation = None;
            if record.power_failures.is_empty() {
                record.node.power_state = target.or_else(|| record.node.power_state.take());
            } else {
                record.node.last_error = Some(record.power_failures.remove(0));
            }
        });
    });
}

/// Carries a change of the console to its end (`set_console_mode` of Ironic's conductor).
pub(crate) fn drive_console(engine: &Engine, node: Uuid, enabled: bool, duration: Duration) {
    let myself = engine.myself.clone();
    engine.runtime.spawn(async move {
        pause(duration).await;
        let Some(engine) = myself.upgrade() else { return };
        engine.world().edit(node, |record| {
            record.node.reservation = None;
            if record.console_failures.is_empty() {
                record.node.set_console(enabled);
            } else {
                record.node.last_error = Some(record.console_failures.remove(0));
            }
        });
    });
}

async fn pause(duration: Duration) {
    if duration.is_zero() {
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(duration).await;
    }
}
