//! All nodes with their indexes, and what one step of Ironic's own work changes in them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use uuid::Uuid;

use crate::machine::{self, Outcome, State, Verb};
use crate::model::Node;

/// The name of the one conductor, as `reservation` and `conductor` show it.
pub(crate) const CONDUCTOR: &str = "127.0.0.1";

/// How the simulated Ironic is set up.
#[expect(clippy::struct_excessive_bools, reason = "they are independent of each other")]
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub durations: HashMap<State, Duration>,
    pub power_duration: Duration,
    pub console_duration: Duration,
    pub wait_states: bool,
    pub soft_power: bool,
    /// Whether the hardware can be sent a non-maskable interrupt.
    pub nmi: bool,
    pub fake_rescue: bool,
    pub max_limit: usize,
    /// `[conductor] max_concurrent_deploy`; `None` is no limit.
    pub max_deploys: Option<usize>,
    /// `[conductor] max_concurrent_clean`; `None` is no limit.
    pub max_cleans: Option<usize>,
    /// The newest microversion, 1.x.
    pub max_minor: u32,
}

/// A node and what the simulator knows beside it.
#[derive(Debug)]
pub(crate) struct Record {
    pub node: Node,
    /// Counts the changes of state, so that a step that was overtaken by a request notices.
    pub generation: u64,
    /// The present work has been in its waiting state already.
    waited: bool,
    /// A tear down failed: the state says so already, the instance leaves the node and the lock goes a little
    /// later.
    leaving: bool,
    /// Steps that will fail: once each, when the work of that state ends.
    pub failures: Vec<(State, String)>,
    pub power_failures: Vec<String>,
    pub console_failures: Vec<String>,
    /// Interfaces that `validate` finds fault with, and why.
    pub invalid: BTreeMap<String, String>,
    pub changed: Arc<Notify>,
}

/// A step of Ironic's own work about to be done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub generation: u64,
    pub state: State,
    pub duration: Duration,
}

#[derive(Debug)]
pub(crate) struct World {
    pub config: Config,
    nodes: BTreeMap<u64, Record>,
    ids: HashMap<Uuid, u64>,
    names: HashMap<String, u64>,
    instances: HashMap<Uuid, u64>,
    parts: HashMap<Uuid, u64>,
    addresses: HashMap<String, u64>,
    last: u64,
}

impl World {
    pub fn new(config: Config) -> Self {
        Self {
            config,
            nodes: BTreeMap::new(),
            ids: HashMap::new(),
            names: HashMap::new(),
            instances: HashMap::new(),
            parts: HashMap::new(),
            addresses: HashMap::new(),
            last: 0,
        }
    }

    /// An id that no run before and no other thing has: the same in every run.
    pub fn fresh_id(&mut self, kind: u16) -> Uuid {
        self.last += 1;
        Uuid::from_u128(u128::from(kind) << 112 | 0x4000_8000 << 48 | u128::from(self.last))
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn insert(&mut self, node: Node) {
        self.last += 1;
        let key = self.last;
        self.ids.insert(node.uuid, key);
        let record = Record {
            node,
            generation: 0,
            waited: false,
            leaving: false,
            failures: Vec::new(),
            power_failures: Vec::new(),
            console_failures: Vec::new(),
            invalid: BTreeMap::new(),
            changed: Arc::new(Notify::new()),
        };
        self.index(key, &record.node);
        self.nodes.insert(key, record);
    }

    pub fn remove(&mut self, id: Uuid) -> Option<Node> {
        let key = self.ids.remove(&id)?;
        let record = self.nodes.remove(&key)?;
        self.unindex(&record.node);
        record.changed.notify_waiters();
        Some(record.node)
    }

    pub fn get(&self, id: Uuid) -> Option<&Record> {
        self.nodes.get(self.ids.get(&id)?)
    }

    /// A node by its uuid or its name, as a path names it.
    pub fn find(&self, ident: &str) -> Option<&Record> {
        let key = match ident.parse::<Uuid>() {
            Ok(id) => self.ids.get(&id)?,
            Err(_) => self.names.get(ident)?,
        };
        self.nodes.get(key)
    }

    pub fn by_instance(&self, instance: Uuid) -> Option<&Record> {
        self.nodes.get(self.instances.get(&instance)?)
    }

    /// The node that has this port, port group, connector or target.
    pub fn by_part(&self, part: Uuid) -> Option<&Record> {
        self.nodes.get(self.parts.get(&part)?)
    }

    pub fn has_address(&self, address: &str) -> bool {
        self.addresses.contains_key(address)
    }

    /// All nodes in the order they were enrolled, after `marker` when given.
    pub fn after(&self, marker: Option<Uuid>) -> impl Iterator<Item = &Record> {
        let from = marker.and_then(|m| self.ids.get(&m)).map_or(0, |key| key + 1);
        self.nodes.range(from..).map(|(_, record)| record)
    }

    /// Changes a node's record, keeps the indexes right and wakes who waits for it.
    pub fn edit<T>(&mut self, id: Uuid, change: impl FnOnce(&mut Record) -> T) -> Option<T> {
        let key = *self.ids.get(&id)?;
        let mut record = self.nodes.remove(&key)?;
        self.unindex(&record.node);
        let before = record.node.provision_state;
        let result = change(&mut record);
        record.node.uuid = id;
        if record.node.provision_state != before {
            record.generation += 1;
            record.node.moves += 1;
        }
        self.index(key, &record.node);
        record.changed.notify_waiters();
        self.nodes.insert(key, record);
        Some(result)
    }

    fn index(&mut self, key: u64, node: &Node) {
        if let Some(name) = &node.name {
            self.names.insert(name.clone(), key);
        }
        if let Some(instance) = node.instance_uuid {
            self.instances.insert(instance, key);
        }
        self.parts.extend(node.parts().into_iter().map(|part| (part, key)));
        self.addresses.extend(node.ports.iter().map(|port| (port.address.clone(), key)));
    }

    fn unindex(&mut self, node: &Node) {
        if let Some(name) = &node.name {
            self.names.remove(name);
        }
        if let Some(instance) = node.instance_uuid {
            self.instances.remove(&instance);
        }
        for part in node.parts() {
            self.parts.remove(&part);
        }
        for port in &node.ports {
            self.addresses.remove(&port.address);
        }
    }

    /// What Ironic refuses to begin because it is at work on as much of it as it takes at once
    /// (`_concurrent_action_limit` of its conductor's manager): `None` when there is room.
    pub fn is_full(&self, verb: Verb) -> Option<&'static str> {
        let (what, limit, states): (_, _, &[State]) = match verb {
            Verb::Deploy | Verb::Rebuild => {
                ("provisioning", self.config.max_deploys?, &[State::Deploying, State::DeployWait])
            }
            Verb::Delete | Verb::Clean => {
                let what = if verb == Verb::Delete { "unprovisioning" } else { "cleaning" };
                (what, self.config.max_cleans?, &[State::Deleting, State::Cleaning, State::CleanWait])
            }
            _ => return None,
        };
        let busy = self.nodes.values().filter(|record| states.contains(&record.node.provision_state));
        (busy.count() >= limit).then_some(what)
    }

    /// Starts what a verb asks for. The caller has seen that the machine allows it.
    pub fn begin(&mut self, id: Uuid, verb: Verb, to: State) {
        self.edit(id, |record| {
            record.waited = false;
            let node = &mut record.node;
            node.last_error = (verb == Verb::Abort).then(|| "Aborted by request".to_owned());
            match verb {
                Verb::Deploy | Verb::Rebuild => node.deploys += 1,
                Verb::Delete => node.tear_downs += 1,
                Verb::Rescue => node.rescues += 1,
                _ => {}
            }
            let target = if verb == Verb::Clean { Some(State::Manageable) } else { to.target() };
            enter(record, to, target);
        });
    }

    /// The work Ironic has to do on a node by itself, if any.
    pub fn step(&self, id: Uuid) -> Option<Step> {
        let record = self.get(id)?;
        let state = record.node.provision_state;
        let duration = self.config.durations.get(&state).copied().unwrap_or_default();
        let works = record.leaving || machine::next(state, Outcome::Ok) != state;
        works.then_some(Step { generation: record.generation, state, duration })
    }

    /// Ends the step; false when a request overtook it.
    pub fn advance(&mut self, id: Uuid, step: Step) -> bool {
        let (wait_states, fake_rescue) = (self.config.wait_states, self.config.fake_rescue);
        let done = self.edit(id, |record| {
            if record.generation != step.generation {
                return false;
            }
            finish(record, step.state, wait_states, fake_rescue);
            true
        });
        done == Some(true)
    }
}

/// Puts the node in a state, with the target and the lock that go with it.
pub(crate) fn enter(record: &mut Record, to: State, target: Option<State>) {
    let node = &mut record.node;
    node.provision_state = to;
    node.target_provision_state = target;
    node.reservation = to.is_locked().then(|| CONDUCTOR.to_owned());
}

/// What changes when the work of `state` ends.
fn finish(record: &mut Record, state: State, wait_states: bool, fake_rescue: bool) {
    if std::mem::take(&mut record.leaving) {
        record.node.forget_instance();
        record.node.reservation = None;
        return;
    }
    let failure = record.failures.iter().position(|(s, _)| *s == state);
    let failure = failure.map(|at| record.failures.remove(at).1);
    if failure.is_none()
        && wait_states
        && !record.waited
        && let Some(wait) = machine::waiting(state)
    {
        record.waited = true;
        let target = record.node.target_provision_state;
        return enter(record, wait, target);
    }
    let outcome = if failure.is_some() { Outcome::Fail } else { Outcome::Ok };
    let manual_clean = record.node.target_provision_state == Some(State::Manageable);
    let mut to = machine::next(state, outcome);
    if state == State::Cleaning && to == State::Available && manual_clean {
        to = State::Manageable;
    }
    let node = &mut record.node;
    match (state, to) {
        // `_do_node_tear_down` of the conductor's manager saves the state first, and clears the node in the
        // end.
        (State::Deleting, State::Error) => record.leaving = true,
        (State::Deleting, _) => {
            node.forget_instance();
            node.power_state = Some("power off".into());
            record.waited = false;
        }
        (State::Rescuing | State::Unrescuing, State::Active | State::Rescue) if fake_rescue => {}
        (_, State::Active | State::Rescue) => node.power_state = Some("power on".into()),
        (State::Verifying, State::Manageable) if node.power_state.is_none() => {
            node.power_state = Some("power off".into());
        }
        (_, State::CleanFailed) => {
            node.maintenance = true;
            node.maintenance_reason.clone_from(&failure);
            node.fault = Some("clean failure".into());
        }
        _ => {}
    }
    if failure.is_some() {
        node.last_error = failure;
    }
    // A resumed clean keeps its target; everything else has its own.
    let target = if to == State::Cleaning && state == State::CleanWait {
        node.target_provision_state
    } else {
        to.target()
    };
    enter(record, to, target);
    if record.leaving {
        record.node.reservation = Some(CONDUCTOR.to_owned());
    }
}
