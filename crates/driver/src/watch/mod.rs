//! The watcher: waits for nodes to change, for all operations at once.
//!
//! For each provision state in which nodes are waited for, it lists the nodes in that state with a handful of fields (Ironic
//! filters; a full list of a thousand nodes costs it seconds) and looks a single node up only when it is not in the list any
//! more. So the requests depend on how many states are waited in and how long, not on how many wait. What no short list shows (a
//! power state, a console, a lock) is looked up node by node, several at once.
//!
//! How often it asks follows how long the youngest waiter has waited: a tenth of that, between one second (two where a machine
//! boots) and fifteen, and never so often that Ironic spends more than a fifth of its time on answering. [`Watcher::poke`] has a
//! node looked at once. A round that fails because Ironic cannot be reached is tried again later; no waiter learns of it. A list
//! that Ironic refuses is no outage: the nodes are looked up one by one.
//!
//! A look that began before a wait did not see what the waiter had done before it waited: it never answers that wait.

mod class;
mod pace;
mod table;
mod until;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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

use self::class::Class;
use self::table::{Round, Table, Ticket};
pub use self::until::{Until, Watched};
use crate::{Error, NodeId, setback::is_away};

/// Where the watcher looks.
#[async_trait]
pub trait Source: Send + Sync {
    /// All nodes in this state, with at least the fields `uuid`, `instance_uuid`, `provision_state` and `target_provision_state`.
    async fn nodes_in(&self, state: &ProvisionState) -> Result<Vec<Node>, openstack::Error>;

    /// One node with all its fields; `None` if Ironic does not show it.
    async fn node(&self, node: NodeId) -> Result<Option<Node>, openstack::Error>;
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

/// Single look-ups at a time.
const LOOK_UPS: usize = 8;

/// Takes the waiter out of the table when its wait ends, however it ends.
struct Waiting<'a> {
    watcher: &'a Watcher,
    ticket: Ticket,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.watcher.table().remove(&self.ticket);
    }
}

impl Watcher {
    /// A watcher that looks there.
    pub fn new(source: impl Source + 'static) -> Self {
        let shared = Shared { source: Box::new(source), table: Mutex::default(), changed: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Waits until what is waited for has come true, and returns the node as it is then; `None` if Ironic does not show it
    /// any more, which proves nothing. [`Watcher::run`] must be running.
    ///
    /// # Errors
    ///
    /// [`Error::Cancelled`], at once when `cancel` is.
    pub async fn wait(&self, watched: Watched, cancel: &CancellationToken) -> Result<Option<Node>, Error> {
        let (found, receiver) = oneshot::channel();
        let ticket = self.table().insert(watched, found);
        let _waiting = Waiting { watcher: self, ticket };
        self.shared.changed.notify_one();
        match cancel.run_until_cancelled(receiver).await {
            Some(Ok(node)) => Ok(node),
            // The sender lives in the table until it is used or `_waiting` is dropped.
            Some(Err(_)) | None => Err(Error::Cancelled),
        }
    }

    /// Has a node looked at now, because something is known to have happened to it.
    pub fn poke(&self, node: NodeId) {
        self.table().poke(node);
        self.shared.changed.notify_one();
    }

    /// How many wait.
    pub fn waiters(&self) -> usize {
        self.table().len()
    }

    /// Watches until shut down.
    pub async fn run(&self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.watch()).await;
    }

    async fn watch(&self) {
        loop {
            let next = self.table().next_round(Instant::now());
            match next {
                Ok(Round::List(state)) => self.list(state).await,
                Ok(Round::LookUp(nodes)) => drop(self.look_up(nodes).await),
                Err(Some(at)) => {
                    // Whichever comes first; both mean: see what is due.
                    let _ = tokio::time::timeout_at(at, self.shared.changed.notified()).await;
                }
                Err(None) => self.shared.changed.notified().await,
            }
        }
    }

    /// Looks after all that wait in one provision state.
    async fn list(&self, state: ProvisionState) {
        let up_to = self.table().youngest();
        let began = Instant::now();
        let listed = self.shared.source.nodes_in(&state).await;
        let cost = began.elapsed();
        let failure = match listed {
            Ok(nodes) => {
                let left = self.table().left(&state, &nodes, up_to);
                self.look_up(left).await.err()
            }
            Err(error) if is_away(&error) => Some(error),
            Err(error) => {
                debug!(%state, %error, "Ironic refuses the list of nodes; looking them up one by one");
                let nodes = self.table().nodes_in(&state);
                self.look_up(nodes).await.err()
            }
        };
        let before = self.table().ended(&Class::Listed(state.clone()), failure.is_none(), cost);
        match failure {
            None if before > 0 => {
                info!(%state, failures = before, "Ironic answers again; watching the nodes");
            }
            None => {}
            Some(error) if before == 0 => {
                warn!(%state, %error, "the nodes that are waited for cannot be read from Ironic; retrying");
            }
            Some(error) => {
                debug!(%state, %error, "the nodes that are waited for cannot be read from Ironic; retrying");
            }
        }
    }

    /// Looks single nodes up and answers those who wait for them. The last error, if a look failed; its waiters stay.
    async fn look_up(&self, nodes: HashSet<NodeId>) -> Result<(), openstack::Error> {
        let mut looks = futures_util::stream::iter(nodes)
            .map(|id| async move {
                let (up_to, began) = (self.table().youngest(), Instant::now());
                (id, up_to, self.shared.source.node(id).await, began.elapsed())
            })
            .buffer_unordered(LOOK_UPS);
        let mut outcome = Ok(());
        while let Some((id, up_to, result, cost)) = looks.next().await {
            let mut table = self.table();
            table.ended(&Class::Single(id), result.is_ok(), cost);
            match result {
                Ok(node) => table.settle(id, node.as_ref(), up_to),
                Err(error) => {
                    debug!(node = %id, %error, "the node cannot be read from Ironic; retrying");
                    outcome = Err(error);
                }
            }
        }
        outcome
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.shared.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
