//! What is removed of nodes that are gone: records and providers, never an allocation.
//!
//! That Ironic does not show a node proves little: a role, a policy, a wrong endpoint or an empty database hide nodes too. Expected
//! flow: a list that lacks few of our nodes is believed; each of those that it lacks is looked up and not found; when that has been
//! so in [`CONFIRMATIONS`] reports in a row, and no server is on the node, the provider goes and then the record. What fails is
//! tried again in the next report.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use driver::{InstanceId, NodeId, is_believable};
use futures_util::StreamExt;
use openstack::Caller;
use openstack::ironic::NodeQuery;
use oslo::context::RequestContext;
use tokio::time::Instant;

use super::Reporter;
use compute::instance::Instance;
use compute::ports::{self, Published};

/// In how many reports in a row Ironic must not show a node before anything of it is removed.
const CONFIRMATIONS: u32 = 3;

/// How long after an alarm the same one sounds again.
const ALARM_PAUSE: Duration = Duration::from_mins(1);

/// What operators are told of nodes that are missing, each at most once a minute.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    hidden: Alarm,
    in_use: Alarm,
}

#[derive(Debug, Default)]
struct Alarm(Mutex<Option<Instant>>);

impl Alarm {
    fn is_due(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| last.elapsed() >= ALARM_PAUSE);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }
}

/// What became of what is left of a node.
enum Removal {
    Removed,
    /// It is there after all, or not missing for long enough.
    NotYet,
    /// Placement has allocations or other providers under its provider.
    InUse,
    Failed,
}

impl Reporter {
    /// Tells the driver which nodes are ours, shown or not: what it takes for gone is measured by them.
    pub(super) fn know_our_nodes(&self) {
        let own = self.picture().own();
        self.0.driver.sight().know(own, self.scope().max_node_removals);
    }

    /// Removes what is left of nodes that are proven gone; `shown` are the nodes of the list, `tracked` those of them that
    /// matter to us.
    pub(super) async fn remove_gone(
        &self,
        context: &RequestContext,
        shown: &HashSet<NodeId>,
        tracked: &HashSet<NodeId>,
        instances: &[Instance],
        outcome: &mut Published,
    ) {
        let untracked = self.picture().recorded().into_iter().filter(|node| !tracked.contains(node));
        let (elsewhere, absent): (Vec<_>, Vec<_>) = untracked.partition(|node| shown.contains(node));
        self.forget(elsewhere);
        let absent = match self.not_in_scope(absent).await {
            Ok(absent) => absent,
            Err(error) => {
                tracing::warn!(%error, "nodes that are not in the list could not be looked for");
                outcome.failed += 1;
                return;
            }
        };
        let own = self.picture().own();
        let (absent, others): (Vec<_>, Vec<_>) = absent.into_iter().partition(|node| own.contains(node));
        self.forget(others);
        #[allow(clippy::cast_precision_loss)] // a count of machines
        metrics::gauge!("bessemer_nodes_missing").set(absent.len() as f64);
        if absent.is_empty() {
            return;
        }
        if !is_believable(own.len(), absent.len(), self.scope().max_node_removals) {
            self.withhold(own.len(), &absent);
            return;
        }
        let (used, absent) = with_servers(absent, instances);
        let removals = absent.into_iter().map(|node| self.remove_if_gone(context, node));
        let removals = futures_util::stream::iter(removals).buffer_unordered(self.0.options.parallel.max(1));
        let removals: Vec<Removal> = removals.collect().await;
        let count = |which: fn(&Removal) -> bool| removals.iter().filter(|removal| which(removal)).count();
        outcome.removed += count(|removal| matches!(removal, Removal::Removed));
        outcome.failed += count(|removal| matches!(removal, Removal::Failed));
        let in_use = count(|removal| matches!(removal, Removal::InUse));
        if let Some((node, instance)) = used.first()
            && self.0.alarms.in_use.is_due()
        {
            tracing::error!(
                nodes = used.len(),
                %node,
                %instance,
                "Ironic does not show nodes that servers are on; their records, providers and allocations stay. Check the roles of \
                 the user in [ironic] and Ironic's policy; if a node is really gone, delete its server"
            );
        } else if in_use > 0 && self.0.alarms.in_use.is_due() {
            tracing::error!(
                nodes = in_use,
                "nodes are gone whose providers are in use in Placement; their records and providers stay. See openstack resource \
                 provider show --allocations, and the warnings before this"
            );
        }
    }

    /// A list that lacks so many nodes is no proof: nothing is removed, and what was missing before counts no more.
    fn withhold(&self, known: usize, absent: &[NodeId]) {
        self.picture().begin_missing_anew(absent);
        if self.0.alarms.hidden.is_due() {
            tracing::error!(
                known,
                missing = absent.len(),
                "Ironic does not show many of the nodes that are ours; nothing of them is removed, and builds and deletes on them \
                 wait. Check the roles of the user in [ironic], Ironic's policy, its endpoint and its database. If so many were \
                 really removed, set [bessemer] max_node_removals to at least this number and reload"
            );
        }
    }

    fn forget(&self, nodes: Vec<NodeId>) {
        let mut picture = self.picture();
        for node in nodes {
            picture.forget(node);
        }
    }

    /// Of the nodes that the list of our conductor group and shard has not, those that Ironic shows nowhere else. The others are
    /// forgotten: whoever has them now writes their records.
    async fn not_in_scope(&self, absent: Vec<NodeId>) -> Result<Vec<NodeId>, openstack::Error> {
        let is_scoped = self.0.options.shard.is_some() || self.scope().conductor_group.is_some();
        if absent.is_empty() || !is_scoped {
            return Ok(absent);
        }
        let query = NodeQuery { fields: &["uuid"], ..NodeQuery::default() };
        let everywhere = self.0.driver.nodes(&Caller::default(), &query).await?;
        let everywhere: HashSet<NodeId> = everywhere.iter().map(|node| node.uuid).collect();
        let (elsewhere, absent) = absent.into_iter().partition::<Vec<_>, _>(|node| everywhere.contains(node));
        self.forget(elsewhere);
        Ok(absent)
    }

    /// Removes what is left of a node that is ours and has been missing for long enough.
    async fn remove_if_gone(&self, context: &RequestContext, node: NodeId) -> Removal {
        let _only_writer = self.0.busy.lock(node).await;
        match self.0.driver.node(&Caller::default(), node).await {
            Ok(_) => {
                self.picture().forget(node);
                return Removal::NotYet;
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                tracing::warn!(%node, %error, "a node that is not in the list could not be looked up");
                return Removal::Failed;
            }
        }
        if self.picture().missed(node) < CONFIRMATIONS {
            return Removal::NotYet;
        }
        let Some(id) = self.picture().record(node).filter(|record| record.is_own).map(|record| record.id)
        else {
            return Removal::NotYet;
        };
        match self.remove(context, id, node).await {
            Ok(true) => {
                self.picture().forget(node);
                Removal::Removed
            }
            Ok(false) => Removal::InUse,
            Err(error) => {
                tracing::error!(%node, %error, "the record and provider of a node that is gone could not be removed");
                Removal::Failed
            }
        }
    }

    /// The provider goes first: as long as the record is there, the next report comes back to it. `false`: the provider is in
    /// use, and both stay.
    async fn remove(&self, context: &RequestContext, id: i64, node: NodeId) -> ports::Result<bool> {
        if !self.0.placement.remove(node).await? {
            return Ok(false);
        }
        match self.0.inventory.destroy_record(context, id, node).await {
            Err(ports::Error::Taken(_)) => return Ok(true),
            destroyed => destroyed?,
        }
        tracing::info!(%node, "node is gone from Ironic; its record and provider are removed");
        Ok(true)
    }
}

/// The nodes that servers are on, each with one of them, and the others.
fn with_servers(nodes: Vec<NodeId>, instances: &[Instance]) -> (Vec<(NodeId, InstanceId)>, Vec<NodeId>) {
    let servers: HashMap<NodeId, InstanceId> =
        instances.iter().filter_map(|instance| Some((instance.node?, instance.id))).collect();
    let (mut used, mut free) = (Vec::new(), Vec::new());
    for node in nodes {
        match servers.get(&node) {
            Some(instance) => used.push((node, *instance)),
            None => free.push(node),
        }
    }
    (used, free)
}
