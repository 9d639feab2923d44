//! Free nodes that nobody can book, because the allocation of a server that is deleted was left on them: by a delete of
//! nova-api's own while Placement was away, or by the nova-compute that was here before.
//!
//! Placement's list of the providers with room, one a resource class, is compared with the nodes that are reported as
//! bookable; only what is missing in it is asked about singly. Most of that is a build that has not begun yet. Nothing is
//! removed without proof: Nova itself says that the instance is deleted, twice, in two reports, and the allocation and the
//! node are the same both times.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use driver::{InstanceId, NodeId};
use openstack::Caller;
use openstack::ironic::Node;
use oslo::context::RequestContext;
use tokio::time::Instant;

use super::Reporter;
use crate::inventory::books::Claim;
use crate::inventory::wanted;
use compute::machines::is_available;
use compute::ports::Result;

/// The longest time between two comparisons. It costs a list for each resource class.
const INTERVAL: Duration = Duration::from_mins(5);

/// What is remembered from comparison to comparison.
#[derive(Debug, Default)]
pub(super) struct Claims {
    compared: Option<Instant>,
    /// Claims of deleted instances on free nodes, as the last comparison found them.
    stale: HashMap<(NodeId, InstanceId), Claim>,
    /// Consumers that Nova does not know, of which the operator was told.
    unknown: HashSet<InstanceId>,
}

impl Claims {
    /// Whether it is time: in the operator's interval, at least every five minutes, and in the report after the one that
    /// found something.
    fn are_due(&self, interval: Option<Duration>) -> bool {
        let interval = interval.map_or(INTERVAL, |interval| interval.min(INTERVAL));
        !self.stale.is_empty() || self.compared.is_none_or(|last| last.elapsed() >= interval)
    }
}

/// Of the nodes of one list those that anybody could book, by resource class.
pub(super) fn free(nodes: &[Node]) -> BTreeMap<String, Vec<NodeId>> {
    let mut free: BTreeMap<String, Vec<NodeId>> = BTreeMap::new();
    for node in nodes {
        if let (None, true, Some(class)) =
            (node.instance_uuid, is_available(node), node.resource_class.as_deref())
        {
            free.entry(wanted::resource_class(class)).or_default().push(node.uuid);
        }
    }
    free
}

impl Reporter {
    /// Compares free nodes with Placement's, when it is time. What fails is tried again in the next report.
    pub(super) async fn audit_claims(
        &self,
        context: &RequestContext,
        free: BTreeMap<String, Vec<NodeId>>,
        claims: &mut Claims,
    ) {
        if !claims.are_due(self.scope().audit_interval) {
            return;
        }
        if let Err(error) = self.compare_claims(context, free, claims).await {
            tracing::warn!(%error, "free nodes could not be compared with Placement's allocations; the next report tries again");
        }
    }

    async fn compare_claims(
        &self,
        context: &RequestContext,
        free: BTreeMap<String, Vec<NodeId>>,
        claims: &mut Claims,
    ) -> Result<()> {
        let before = std::mem::take(&mut claims.stale);
        claims.compared = None;
        let mut unknown = HashSet::new();
        for (class, nodes) in free {
            let with_room = self.0.placement.with_room(&class).await?;
            for node in nodes.into_iter().filter(|node| !with_room.contains(node)) {
                if !self.is_offered(node, &class) {
                    continue;
                }
                for instance in self.0.placement.holders(node).await? {
                    let found = self.0.instances.get(context, instance).await?;
                    match found.map(|found| found.deleted) {
                        Some(false) => {}
                        Some(true) => {
                            let Some(claim) = self.0.placement.claim(instance).await? else { continue };
                            if before.get(&(node, instance)) == Some(&claim) {
                                self.take(node, instance, &claim).await?;
                            } else {
                                claims.stale.insert((node, instance), claim);
                            }
                        }
                        None => {
                            if !claims.unknown.contains(&instance) {
                                tracing::warn!(%node, consumer = %instance, "a free node cannot be booked: its allocation in Placement belongs to a consumer that Nova does not know. It stays; delete it if it is not needed (openstack resource provider allocation delete)");
                            }
                            unknown.insert(instance);
                        }
                    }
                }
            }
        }
        claims.unknown = unknown;
        claims.compared = Some(Instant::now());
        Ok(())
    }

    /// Whether Placement was told that the node can be booked.
    fn is_offered(&self, node: NodeId, class: &str) -> bool {
        let (known, _) = self.picture().provider(node);
        known.and_then(|known| known.inventory.get(class).copied()).is_some_and(|stock| stock.reserved == 0)
    }

    /// Takes a node out of the claim of a deleted instance, if the node is still free.
    async fn take(&self, node: NodeId, instance: InstanceId, claim: &Claim) -> Result<()> {
        let _only_writer = self.0.busy.lock(node).await;
        match self.0.driver.node(&Caller::default(), node).await {
            Ok(now) if now.instance_uuid.is_none() && is_available(&now) => {}
            Ok(_) => return Ok(()),
            Err(error) => {
                tracing::debug!(%node, %error, "a free node could not be read again; its allocation stays for now");
                return Ok(());
            }
        }
        if self.0.placement.take_from(instance, node, claim).await? {
            metrics::counter!("bessemer_stale_allocations_removed_total").increment(1);
            tracing::warn!(%node, %instance, "the allocation of a deleted server kept a free node from being booked and was removed");
        }
        Ok(())
    }
}
