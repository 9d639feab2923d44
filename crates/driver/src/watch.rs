//! The watcher: waits for nodes to leave a provision state, for everybody at once.
//!
//! For each provision state that somebody waits in, it lists the nodes in that state with a handful of fields (Ironic filters;
//! a full list of a thousand nodes costs it seconds) and looks a single node up only when it is not in the list any more. So
//! the requests depend on how many states are waited in and how long, not on how many wait.
//!
//! How often it asks follows how long the youngest waiter of a state has waited: a tenth of that, between one second (two where
//! a machine boots) and fifteen, and never so often that Ironic spends more than a fifth of its time on answering. [`Watcher::poke`] has a
//! node looked at once. A round that fails because Ironic is away is tried again later; no waiter learns of it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use openstack::ironic::{Node, ProvisionState};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{Error, InstanceId, NodeId, act::same_place};

/// Where the watcher looks.
#[async_trait]
pub trait Source: Send + Sync {
    /// All nodes in this state, with at least the fields `uuid`, `instance_uuid`, `provision_state` and `target_provision_state`.
    async fn nodes_in(&self, state: &ProvisionState) -> Result<Vec<Node>, openstack::Error>;

    /// One node with all its fields; `None` if Ironic does not show it.
    async fn node(&self, node: NodeId) -> Result<Option<Node>, openstack::Error>;
}

/// Where a waiter left its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The node.
    pub node: NodeId,
    /// The instance on it; `None` waits for a node that carries none.
    pub instance: Option<InstanceId>,
    /// Its provision state.
    pub state: ProvisionState,
    /// The state it is going to.
    pub target: ProvisionState,
}

impl Place {
    /// Where this node is now.
    pub fn of(node: &Node, instance: Option<InstanceId>) -> Self {
        Self {
            node: node.uuid,
            instance,
            state: node.provision_state.clone(),
            target: node.target_provision_state.clone(),
        }
    }

    fn holds(&self, node: &Node) -> bool {
        node.instance_uuid == self.instance.map(|instance| instance.0)
            && same_place(node, &self.state, &self.target)
    }
}

/// The watcher. A cheap handle; its work is done by [`Watcher::run`].
#[derive(Clone)]
pub struct Watcher {
    shared: Arc<Shared>,
}

struct Shared {
    source: Box<dyn Source>,
    table: Mutex<Table>,
    changed: Notify,
}

#[derive(Default)]
struct Table {
    last_ticket: u64,
    classes: HashMap<ProvisionState, Class>,
    /// The same waiters by node: where to find them in `classes`.
    by_node: HashMap<NodeId, Vec<(ProvisionState, u64)>>,
    poked: HashSet<NodeId>,
}

/// All that wait in one provision state.
struct Class {
    /// By ticket; the last is the youngest.
    waiters: BTreeMap<u64, Waiter>,
    /// When the last round ended, or the first waiter came.
    last: Instant,
    /// How long the last round took.
    cost: Duration,
    /// Rounds that failed since the last good one.
    failures: u32,
}

struct Waiter {
    place: Place,
    since: Instant,
    found: oneshot::Sender<Option<Node>>,
}

const FASTEST: Duration = Duration::from_secs(1);
const FASTEST_BOOTING: Duration = Duration::from_secs(2);
const SLOWEST: Duration = Duration::from_secs(15);
/// Single look-ups at a time.
const LOOK_UPS: usize = 8;

/// How long after a round in `state` the next one is due, if the youngest waiter had waited for `waited` and the round took `cost`.
fn pace(state: &ProvisionState, waited: Duration, cost: Duration) -> Duration {
    use ProvisionState as S;
    let fastest = match state {
        S::WaitCallBack | S::CleanWait | S::RescueWait | S::ServiceWait | S::DeployHold | S::ServiceHold => {
            FASTEST_BOOTING
        }
        _ => FASTEST,
    };
    (waited / 10).max(4 * cost).clamp(fastest, SLOWEST)
}

/// How long after so many failed rounds the next one is due.
fn back_off(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.saturating_sub(1).min(4)).min(SLOWEST)
}

impl Class {
    fn due(&self, state: &ProvisionState) -> Option<Instant> {
        let youngest = self.waiters.last_key_value()?.1.since;
        let pause = match self.failures {
            0 => pace(state, self.last.saturating_duration_since(youngest), self.cost),
            failures => back_off(failures),
        };
        Some(self.last + pause)
    }
}

impl Table {
    /// The state whose round is due next, and when.
    fn next_round(&self) -> Option<(Instant, ProvisionState)> {
        let due = self.classes.iter().filter_map(|(state, class)| Some((class.due(state)?, state)));
        due.min_by_key(|(at, _)| *at).map(|(at, state)| (at, state.clone()))
    }

    fn insert(&mut self, place: Place, found: oneshot::Sender<Option<Node>>) -> u64 {
        self.last_ticket += 1;
        let (ticket, now) = (self.last_ticket, Instant::now());
        let state = place.state.clone();
        waiters_gauge(&state).increment(1);
        self.by_node.entry(place.node).or_default().push((state.clone(), ticket));
        let new = || Class { waiters: BTreeMap::new(), last: now, cost: Duration::ZERO, failures: 0 };
        let class = self.classes.entry(state).or_insert_with(new);
        class.waiters.insert(ticket, Waiter { place, since: now, found });
        ticket
    }

    fn remove(&mut self, state: &ProvisionState, ticket: u64) -> Option<Waiter> {
        let class = self.classes.get_mut(state)?;
        let waiter = class.waiters.remove(&ticket)?;
        if class.waiters.is_empty() {
            self.classes.remove(state);
        }
        if let Some(tickets) = self.by_node.get_mut(&waiter.place.node) {
            tickets.retain(|(_, other)| *other != ticket);
            if tickets.is_empty() {
                self.by_node.remove(&waiter.place.node);
            }
        }
        waiters_gauge(state).decrement(1);
        Some(waiter)
    }

    /// Answers everybody who waits for this node in a place where it is not any more.
    fn settle(&mut self, id: NodeId, node: Option<&Node>) {
        let tickets = self.by_node.get(&id).cloned().unwrap_or_default();
        for (state, ticket) in tickets {
            let waiter = self.classes.get(&state).and_then(|class| class.waiters.get(&ticket));
            if waiter.is_none_or(|waiter| node.is_some_and(|node| waiter.place.holds(node))) {
                continue;
            }
            if let Some(waiter) = self.remove(&state, ticket) {
                // A waiter that has just gone away does not mind.
                let _ = waiter.found.send(node.cloned());
            }
        }
    }
}

fn waiters_gauge(state: &ProvisionState) -> metrics::Gauge {
    metrics::gauge!("bessemer_driver_waiters", "state" => state.to_string())
}

/// Takes the waiter out of the table when its wait ends, however it ends.
struct Ticket<'a> {
    watcher: &'a Watcher,
    state: ProvisionState,
    number: u64,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.watcher.table().remove(&self.state, self.number);
    }
}

impl Watcher {
    /// A watcher that looks there.
    pub fn new(source: impl Source + 'static) -> Self {
        let shared = Shared { source: Box::new(source), table: Mutex::default(), changed: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Waits until the node is not in this place any more, and returns it as it is then; `None` if Ironic does not show it any
    /// more, which proves nothing. [`Watcher::run`] must be running.
    ///
    /// # Errors
    ///
    /// [`Error::Cancelled`], at once when `cancel` is.
    pub async fn wait(&self, place: Place, cancel: &CancellationToken) -> Result<Option<Node>, Error> {
        let (found, receiver) = oneshot::channel();
        let state = place.state.clone();
        let number = self.table().insert(place, found);
        let _ticket = Ticket { watcher: self, state, number };
        self.shared.changed.notify_one();
        match cancel.run_until_cancelled(receiver).await {
            Some(Ok(node)) => Ok(node),
            // The sender lives in the table until it is used or the ticket above is dropped.
            Some(Err(_)) | None => Err(Error::Cancelled),
        }
    }

    /// Has a node looked at now, because something is known to have happened to it.
    pub fn poke(&self, node: NodeId) {
        self.table().poked.insert(node);
        self.shared.changed.notify_one();
    }

    /// How many wait.
    pub fn waiters(&self) -> usize {
        self.table().classes.values().map(|class| class.waiters.len()).sum()
    }

    /// Watches until shut down.
    pub async fn run(&self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.watch()).await;
    }

    async fn watch(&self) {
        loop {
            let (poked, next) = {
                let mut table = self.table();
                (std::mem::take(&mut table.poked), table.next_round())
            };
            if !poked.is_empty() {
                self.look_up(poked).await;
                continue;
            }
            match next {
                Some((at, state)) if at <= Instant::now() => self.round(&state).await,
                Some((at, _)) => {
                    // Whichever comes first; both mean: see what is due.
                    let _ = tokio::time::timeout_at(at, self.shared.changed.notified()).await;
                }
                None => self.shared.changed.notified().await,
            }
        }
    }

    /// Looks at everybody who waits in one state.
    async fn round(&self, state: &ProvisionState) {
        let waiting: Vec<Place> = {
            let table = self.table();
            let class = table.classes.get(state).into_iter();
            class.flat_map(|class| class.waiters.values()).map(|waiter| waiter.place.clone()).collect()
        };
        let began = Instant::now();
        let result = self.shared.source.nodes_in(state).await;
        let cost = began.elapsed();
        let ok = match result {
            Ok(nodes) => {
                let there: HashMap<NodeId, &Node> = nodes.iter().map(|node| (node.uuid, node)).collect();
                let left = waiting
                    .iter()
                    .filter(|place| !there.get(&place.node).is_some_and(|node| place.holds(node)))
                    .map(|place| place.node)
                    .collect();
                self.look_up(left).await
            }
            Err(error) => {
                self.failed(state, &error);
                false
            }
        };
        let mut table = self.table();
        if let Some(class) = table.classes.get_mut(state) {
            if ok && class.failures > 0 {
                info!(%state, failures = class.failures, "watching again");
            }
            class.failures = if ok { 0 } else { class.failures + 1 };
            class.cost = cost;
            class.last = Instant::now();
        }
    }

    /// Looks single nodes up and answers those who wait for them. False if a look failed; its waiters stay.
    async fn look_up(&self, nodes: HashSet<NodeId>) -> bool {
        let mut looks = futures_util::stream::iter(nodes)
            .map(|id| async move { (id, self.shared.source.node(id).await) })
            .buffer_unordered(LOOK_UPS);
        let mut ok = true;
        while let Some((id, result)) = looks.next().await {
            match result {
                Ok(node) => self.table().settle(id, node.as_ref()),
                Err(error) => {
                    debug!(node = %id, %error, "a node could not be looked at; trying again");
                    ok = false;
                }
            }
        }
        ok
    }

    fn failed(&self, state: &ProvisionState, error: &openstack::Error) {
        let first = self.table().classes.get(state).is_some_and(|class| class.failures == 0);
        if first {
            warn!(%state, %error, "nodes could not be listed; trying again");
        } else {
            debug!(%state, %error, "nodes could not be listed; trying again");
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.shared.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
