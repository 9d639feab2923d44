//! When the machines are published: every period, and a freed node as soon as it is clean.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use driver::{Driver, NodeId};
use openstack::Caller;
use openstack::ironic::{Node, PowerState, ProvisionState};
use oslo::context::RequestContext;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::instance::{Instance, Power, VmState};
use crate::ports::{self, Found, Machines, Published};

/// The pause before something that failed is tried again outside the period.
const RETRY: Duration = Duration::from_secs(10);

/// Whether a node may be booked, as far as Ironic's states say; one with an instance is judged apart.
pub fn is_available(node: &Node) -> bool {
    let power_known = !matches!(node.power_state, PowerState::NoState | PowerState::Error);
    let provisionable = matches!(node.provision_state, ProvisionState::Available | ProvisionState::NoState);
    !node.maintenance && power_known && provisionable
}

/// Whether the power of a server's machine is another than the control plane shows, or than its state allows. While a task goes on
/// it may well be.
pub fn shows_other_power(instance: &Instance, node: &Node) -> bool {
    let power = Power::from(&node.power_state);
    let contradicts = match instance.vm_state {
        VmState::Active => power == Power::Shutdown,
        VmState::Stopped => power == Power::Running,
        _ => false,
    };
    instance.task_state.is_none() && (contradicts || power != instance.power)
}

/// Publishes the machines; a cheap handle.
#[derive(Clone)]
pub struct Publisher(Arc<Inner>);

struct Inner {
    driver: Driver,
    machines: Arc<dyn Machines>,
    /// `update_resources_interval`; `None` switches the periodic report off.
    interval: Option<Duration>,
    /// What the last report found.
    found: watch::Sender<Found>,
    freed: mpsc::UnboundedSender<NodeId>,
    /// The other end, until it runs.
    nodes: Mutex<Option<mpsc::UnboundedReceiver<NodeId>>>,
    /// Since when reports have failed, and why the last one did.
    failing: Mutex<Option<(Instant, String)>>,
}

impl Publisher {
    /// A publisher with this period; without one the machines are published once.
    pub fn new(driver: Driver, machines: Arc<dyn Machines>, interval: Option<Duration>) -> Self {
        let (freed, nodes) = mpsc::unbounded_channel();
        let (nodes, failing) = (Mutex::new(Some(nodes)), Mutex::default());
        let found = watch::Sender::default();
        Self(Arc::new(Inner { driver, machines, interval, found, freed, nodes, failing }))
    }

    /// Why the machines cannot be published at present, for the operator; `None`: the last report succeeded, or none was made yet.
    pub fn trouble(&self) -> Option<String> {
        let failing = self.failing();
        let (since, why) = failing.as_ref()?;
        Some(format!("the reports of the nodes have failed for {} s: {why}", since.elapsed().as_secs()))
    }

    /// Publishes at once, then every period, until the shutdown. A report that fails is logged and made again.
    pub async fn run(&self, shutdown: CancellationToken) {
        tokio::join!(self.publish_periodically(&shutdown), self.follow_freed(&shutdown));
    }

    /// Publishes a node that was freed, and again as soon as it is clean, without waiting for the period. `Err`: something is away, and
    /// that nobody may book the node while it is being cleaned is written nowhere; its claim must stay until it is.
    pub(crate) async fn publish_freed(&self, context: &RequestContext, node: NodeId) -> Result<(), String> {
        // Nobody listens only after the shutdown.
        let _ = self.0.freed.send(node);
        match self.0.machines.publish_one(context, node, None).await {
            Err(error) if !self.0.machines.is_withheld(node) => match error {
                ports::Error::Unavailable(why) => Err(why),
                // What refuses the report may be the very claim that goes next.
                error => {
                    tracing::warn!(%node, %error, "the node could not be reported before its allocation goes");
                    Ok(())
                }
            },
            _ => Ok(()),
        }
    }

    /// What the next two reports both find: what has been so for a period, and is no moment between two lists.
    pub(crate) async fn found_twice<T: Eq + Hash>(&self, pick: impl Fn(&Found) -> HashSet<T>) -> HashSet<T> {
        let mut reports = self.0.found.subscribe();
        let mut next = async || {
            // The sender lives as long as this handle.
            let _ = reports.changed().await;
            pick(&reports.borrow_and_update())
        };
        let mut found = next().await;
        let again = next().await;
        found.retain(|one| again.contains(one));
        found
    }

    async fn follow_freed(&self, shutdown: &CancellationToken) {
        let nodes = self.0.nodes.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut nodes) = nodes else { return };
        let mut following = JoinSet::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(node) = nodes.recv() => {
                    let publisher = self.clone();
                    following.spawn(async move { publisher.publish_when_clean(node).await });
                }
                Some(_) = following.join_next() => {}
            }
        }
    }

    async fn publish_when_clean(&self, node: NodeId) {
        let clean = loop {
            match self.0.driver.settled(&Caller::default(), node).await {
                Ok(clean) => break clean,
                Err(error) => {
                    tracing::warn!(%node, %error, "a freed node could not be looked at; trying again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        };
        if clean.is_none() {
            return;
        }
        while let Err(error) = self.0.machines.publish_one(&RequestContext::admin(), node, None).await {
            tracing::debug!(%node, %error, "the freed node could not be reported at once");
            if !matches!(error, ports::Error::Unavailable(_)) {
                return;
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Publishes every period; without periods, until one report succeeded.
    async fn publish_periodically(&self, shutdown: &CancellationToken) {
        let mut ticks = tokio::time::interval(self.0.interval.unwrap_or(RETRY));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let published = tokio::select! {
                () = shutdown.cancelled() => return,
                published = self.publish_and_log() => published,
            };
            if published && self.0.interval.is_none() {
                tracing::info!(
                    "the periodic report of the nodes is switched off (update_resources_interval)"
                );
                return;
            }
        }
    }

    async fn publish_and_log(&self) -> bool {
        let started = Instant::now();
        match self.0.machines.publish(&RequestContext::admin()).await {
            Ok(Published { nodes, written, failed, removed, found }) => {
                self.0.found.send_replace(found);
                let seconds = started.elapsed().as_secs_f64();
                self.failing().take();
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
                let mut failing = self.failing();
                let since = failing.take().map_or(started, |(since, _)| since);
                *failing = Some((since, error.to_string()));
                false
            }
        }
    }

    fn failing(&self) -> MutexGuard<'_, Option<(Instant, String)>> {
        self.0.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unix_now() -> f64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0.0, |elapsed| elapsed.as_secs_f64())
}
