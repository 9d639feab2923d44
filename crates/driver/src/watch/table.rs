//! Who waits, and when they are looked after next.
//!
//! Waiters are kept by what one request can answer: all that wait for nodes to leave one provision state share a list of the
//! nodes in that state; whoever waits for anything else (a power state, a console, a lock) has the node looked up.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use openstack::ironic::{Node, ProvisionState};
use tokio::{sync::oneshot, time::Instant};

use super::{Watched, class::Class, pace};
use crate::NodeId;

/// The waiters of one class.
struct Group {
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
    watched: Watched,
    since: Instant,
    found: oneshot::Sender<Option<Node>>,
}

impl Group {
    fn new(now: Instant) -> Self {
        Self { waiters: BTreeMap::new(), last: now, cost: Duration::ZERO, failures: 0 }
    }

    fn due(&self, class: &Class) -> Option<Instant> {
        let youngest = self.waiters.last_key_value()?.1.since;
        let pause = match self.failures {
            0 => pace::pause(class, self.last.saturating_duration_since(youngest), self.cost),
            failures => pace::back_off(failures),
        };
        Some(self.last + pause)
    }
}

/// The next work of the watcher.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Round {
    /// List the nodes in this provision state.
    List(ProvisionState),
    /// Look these nodes up.
    LookUp(HashSet<NodeId>),
}

#[derive(Default)]
pub(super) struct Table {
    last_ticket: u64,
    groups: HashMap<Class, Group>,
    /// The same waiters by node: where to find them in `groups`.
    by_node: HashMap<NodeId, Vec<(Class, u64)>>,
    poked: HashSet<NodeId>,
}

/// Where a waiter is found again.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    pub(super) class: Class,
    pub(super) number: u64,
}

impl Table {
    pub(super) fn insert(&mut self, watched: Watched, found: oneshot::Sender<Option<Node>>) -> Ticket {
        self.last_ticket += 1;
        let (number, now) = (self.last_ticket, Instant::now());
        let class = Class::of(&watched);
        waiters_gauge(&class).increment(1);
        self.by_node.entry(watched.node).or_default().push((class.clone(), number));
        let group = self.groups.entry(class.clone()).or_insert_with(|| Group::new(now));
        group.waiters.insert(number, Waiter { watched, since: now, found });
        Ticket { class, number }
    }

    pub(super) fn remove(&mut self, ticket: &Ticket) {
        drop(self.take(&ticket.class, ticket.number));
    }

    fn take(&mut self, class: &Class, number: u64) -> Option<Waiter> {
        let group = self.groups.get_mut(class)?;
        let waiter = group.waiters.remove(&number)?;
        if group.waiters.is_empty() {
            self.groups.remove(class);
        }
        if let Some(tickets) = self.by_node.get_mut(&waiter.watched.node) {
            tickets.retain(|(_, other)| *other != number);
            if tickets.is_empty() {
                self.by_node.remove(&waiter.watched.node);
            }
        }
        waiters_gauge(class).decrement(1);
        Some(waiter)
    }

    /// The youngest ticket now. A look that begins after this answers those up to it, and none that comes later.
    pub(super) fn youngest(&self) -> u64 {
        self.last_ticket
    }

    /// Answers all that wait for this node, up to a ticket, for something that has come true.
    pub(super) fn settle(&mut self, id: NodeId, node: Option<&Node>, up_to: u64) {
        let tickets = self.by_node.get(&id).cloned().unwrap_or_default();
        for (class, number) in tickets.into_iter().filter(|(_, number)| *number <= up_to) {
            let waiter = self.groups.get(&class).and_then(|group| group.waiters.get(&number));
            if waiter.is_none_or(|waiter| node.is_some_and(|node| waiter.watched.holds(node))) {
                continue;
            }
            if let Some(waiter) = self.take(&class, number) {
                // A waiter that has just gone away does not mind.
                let _ = waiter.found.send(node.cloned());
            }
        }
    }

    /// Of a fresh list of the nodes in a state: those whose waiters, up to a ticket, wait for what is not so any more.
    pub(super) fn left(&self, state: &ProvisionState, nodes: &[Node], up_to: u64) -> HashSet<NodeId> {
        let there: HashMap<NodeId, &Node> = nodes.iter().map(|node| (node.uuid, node)).collect();
        self.waiters(&Class::Listed(state.clone()))
            .filter(|(number, _)| *number <= up_to)
            .map(|(_, waiter)| &waiter.watched)
            .filter(|watched| !there.get(&watched.node).is_some_and(|node| watched.holds(node)))
            .map(|watched| watched.node)
            .collect()
    }

    /// The nodes that are waited for in a state.
    pub(super) fn nodes_in(&self, state: &ProvisionState) -> HashSet<NodeId> {
        self.waiters(&Class::Listed(state.clone())).map(|(_, waiter)| waiter.watched.node).collect()
    }

    fn waiters(&self, class: &Class) -> impl Iterator<Item = (u64, &Waiter)> {
        let group = self.groups.get(class).into_iter();
        group.flat_map(|group| group.waiters.iter().map(|(number, waiter)| (*number, waiter)))
    }

    pub(super) fn poke(&mut self, node: NodeId) {
        self.poked.insert(node);
    }

    /// What is to be done now, or when it is.
    pub(super) fn next_round(&mut self, now: Instant) -> Result<Round, Option<Instant>> {
        if !self.poked.is_empty() {
            return Ok(Round::LookUp(std::mem::take(&mut self.poked)));
        }
        let due = self.groups.iter().filter_map(|(class, group)| Some((group.due(class)?, class)));
        let Some((at, class)) = due.min_by_key(|(at, _)| *at) else { return Err(None) };
        if at > now {
            return Err(Some(at));
        }
        Ok(match class {
            Class::Listed(state) => Round::List(state.clone()),
            // All that are due, so that they are looked up beside each other.
            Class::Single(_) => Round::LookUp(
                self.groups
                    .iter()
                    .filter_map(|(class, group)| match class {
                        Class::Single(node) if group.due(class)? <= now => Some(*node),
                        _ => None,
                    })
                    .collect(),
            ),
        })
    }

    /// Takes down how a round went; answers how many rounds had failed before.
    pub(super) fn ended(&mut self, class: &Class, ok: bool, cost: Duration) -> u32 {
        let Some(group) = self.groups.get_mut(class) else { return 0 };
        let before = group.failures;
        group.failures = if ok { 0 } else { before + 1 };
        group.cost = cost;
        group.last = Instant::now();
        before
    }

    pub(super) fn len(&self) -> usize {
        self.groups.values().map(|group| group.waiters.len()).sum()
    }
}

fn waiters_gauge(class: &Class) -> metrics::Gauge {
    metrics::gauge!("bessemer_driver_waiters", "state" => class.label())
}
