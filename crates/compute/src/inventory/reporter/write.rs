//! The differences, written: records and providers, and the removal of what is gone.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use driver::NodeId;
use futures_util::StreamExt;
use openstack::Caller;
use openstack::ironic::{Node, NodeQuery};
use oslo::context::RequestContext;
use tokio::time::Instant;

use super::{Error, Outcome, Reporter};
use crate::instance::Instance;
use crate::inventory::fingerprint::Fingerprint;
use crate::inventory::picture::KnownRecord;
use crate::inventory::{Usage, Wanted, wanted};
use crate::ports;

impl Reporter {
    /// Removes records and providers of nodes that Ironic no longer has, several at once. What fails is tried again in the
    /// next look.
    pub(super) async fn remove_gone(
        &self,
        context: &RequestContext,
        listed: &HashSet<NodeId>,
        ours: &HashSet<NodeId>,
        instances: &[Instance],
        outcome: &mut Outcome,
    ) {
        let missing: Vec<NodeId> =
            self.picture().recorded().into_iter().filter(|node| !ours.contains(node)).collect();
        let (elsewhere, absent): (Vec<_>, Vec<_>) =
            missing.into_iter().partition(|node| listed.contains(node));
        for node in elsewhere {
            self.picture().forget(node);
        }
        if absent.is_empty() {
            return;
        }
        let absent = match self.not_in_scope(absent).await {
            Ok(absent) => absent,
            Err(error) => {
                tracing::warn!(%error, "nodes that are not in the list could not be looked for");
                outcome.failed += 1;
                return;
            }
        };
        let removals = absent.into_iter().map(|node| self.remove_if_gone(context, node, instances));
        let removals = futures_util::stream::iter(removals).buffer_unordered(self.0.options.parallel.max(1));
        let removed: Vec<Option<bool>> = removals.collect().await;
        outcome.removed += removed.iter().filter(|removed| **removed == Some(true)).count();
        outcome.failed += removed.iter().filter(|removed| removed.is_none()).count();
    }

    /// Of the nodes that the list of our conductor group and shard has not, those that Ironic has nowhere else. The others are
    /// forgotten: whoever has them now writes their records.
    async fn not_in_scope(&self, absent: Vec<NodeId>) -> Result<Vec<NodeId>, openstack::Error> {
        if self.0.options.shard.is_none() && self.scope().conductor_group.is_none() {
            return Ok(absent);
        }
        let query = NodeQuery { fields: &["uuid"], ..NodeQuery::default() };
        let everywhere = self.0.driver.nodes(&Caller::default(), &query).await?;
        let everywhere: HashSet<NodeId> = everywhere.iter().map(|node| node.uuid).collect();
        let (elsewhere, absent) = absent.into_iter().partition::<Vec<_>, _>(|node| everywhere.contains(node));
        let mut picture = self.picture();
        for node in elsewhere {
            picture.forget(node);
        }
        Ok(absent)
    }

    /// Removes what is left of a node unless it is there after all; answers whether it was removed. `None`: it failed.
    async fn remove_if_gone(
        &self,
        context: &RequestContext,
        node: NodeId,
        instances: &[Instance],
    ) -> Option<bool> {
        let _only_writer = self.0.busy.lock(node).await;
        let is_there = match self.0.driver.node(&Caller::default(), node).await {
            Ok(_) => true,
            Err(error) if error.is_not_found() => false,
            Err(error) => {
                tracing::warn!(%node, %error, "a node that is not in the list could not be looked up");
                return None;
            }
        };
        let own = self.picture().record(node).filter(|record| record.is_own).map(|record| record.id);
        let removes = own.filter(|_| !is_there);
        if let Some(id) = removes
            && let Err(error) = self.remove(context, id, node, instances).await
        {
            tracing::error!(%node, %error, "the record and provider of a node that is gone could not be removed");
            return None;
        }
        self.picture().forget(node);
        Some(removes.is_some())
    }

    /// The provider goes first: as long as the record is there, the next look comes back to it.
    async fn remove(
        &self,
        context: &RequestContext,
        id: i64,
        node: NodeId,
        instances: &[Instance],
    ) -> ports::Result<()> {
        let left: Vec<_> = instances
            .iter()
            .filter(|instance| instance.node == Some(node))
            .map(|instance| instance.id)
            .collect();
        self.0.placement.remove(node, &left).await?;
        match self.0.inventory.destroy_record(context, id, node).await {
            Err(ports::Error::Taken(_)) => return Ok(()),
            destroyed => destroyed?,
        }
        tracing::info!(%node, "node is gone from Ironic; its record and provider are removed");
        Ok(())
    }

    /// One of the writers: takes nodes off the queue until it is empty; answers how many were written and how many failed.
    pub(super) async fn write_all(
        &self,
        context: &RequestContext,
        queue: &Mutex<std::vec::IntoIter<Node>>,
        usage: &HashMap<NodeId, Usage>,
        began: Instant,
    ) -> (usize, usize) {
        let idle = Usage::default();
        let (mut written, mut failed) = (0, 0);
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(node) = next else { return (written, failed) };
            let _only_writer = self.0.busy.lock(node.uuid).await;
            match self.write(context, &node, usage.get(&node.uuid).unwrap_or(&idle), began).await {
                Ok(wrote) => written += usize::from(wrote),
                Err(_) => failed += 1,
            }
        }
    }

    /// Writes what differs of one node, read at `began`, unless it was read later already; answers whether anything did.
    /// The caller is the only writer of the node. What fails is logged and tried in the next look.
    pub(super) async fn write(
        &self,
        context: &RequestContext,
        node: &Node,
        usage: &Usage,
        began: Instant,
    ) -> Result<bool, Error> {
        let id = node.uuid;
        if !self.picture().saw(node, began) {
            return Ok(false);
        }
        let recorded = self.write_record(context, node, usage).await;
        let provided = self.write_provider(node).await;
        if let Err(error) = &recorded {
            tracing::error!(node = %id, %error, "the node's record could not be written");
        }
        if let Err(error) = &provided {
            tracing::error!(node = %id, %error, "the node's provider could not be written");
        }
        Ok(recorded.map_err(Error::NotWritten)? | provided.map_err(Error::NotWritten)?)
    }

    async fn write_record(
        &self,
        context: &RequestContext,
        node: &Node,
        usage: &Usage,
    ) -> Result<bool, ports::Error> {
        let (fields, known) = {
            let picture = self.picture();
            let known = picture.record(node.uuid);
            let failed_builds = picture.failed_builds(node.uuid);
            let fields = wanted::record(node, usage, failed_builds, &self.0.options.rules, known.is_none());
            let known = known.map(|record| (record.id, !record.is_own, record.fields.changed(&fields)));
            (fields, known)
        };
        let id = match known {
            None => self.0.inventory.create_record(context, node.uuid, &fields).await?,
            Some((_, false, changed)) if changed.is_empty() => return Ok(false),
            Some((id, take, changed)) => {
                match self.0.inventory.save_record(context, id, node.uuid, &changed, take).await {
                    Err(ports::Error::Taken(owner)) => {
                        tracing::info!(node = %node.uuid, owner, "the node's record is gone or another service's now");
                        self.picture().forget_record(node.uuid);
                        return Ok(false);
                    }
                    saved => saved?,
                }
                id
            }
        };
        let record = KnownRecord { id, is_own: true, fields: Fingerprint::of(&fields) };
        self.picture().set_record(node.uuid, record);
        Ok(true)
    }

    async fn write_provider(&self, node: &Node) -> ports::Result<bool> {
        let id = node.uuid;
        let disabled = self.0.disabled.load(Ordering::Relaxed);
        let wanted = wanted::wanted(node, &self.0.options.rules, disabled)
            .and_then(|wanted| self.0.options.providers.merge(wanted));
        let reason = wanted.as_ref().err().map(String::as_str);
        if self.picture().refuse(id, reason) {
            tracing::warn!(node = %id, reason, "the node cannot be offered");
        }
        let (known, exists) = self.picture().provider(id);
        let wanted = match wanted {
            Ok(wanted) => wanted,
            Err(_) if exists || known.is_some() => return Ok(false),
            // Stock leaves an empty provider for such a node.
            Err(_) => Wanted { node: id, inventory: BTreeMap::new(), traits: BTreeSet::new() },
        };
        if known.as_ref().is_some_and(|k| k.inventory == wanted.inventory && k.traits == wanted.traits) {
            return Ok(false);
        }
        match self.0.placement.report(&wanted, known, exists).await {
            Ok(now) => {
                self.picture().set_provider(id, Some(now));
                Ok(true)
            }
            Err(error) => {
                self.picture().set_provider(id, None);
                Err(error)
            }
        }
    }
}
