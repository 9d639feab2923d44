//! The differences, written: records and providers, and the removal of what is gone.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, hash_map};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use driver::NodeId;
use openstack::Caller;
use openstack::ironic::Node;
use oslo::context::RequestContext;
use tokio::time::Instant;

use super::{Error, Outcome, Reporter};
use crate::instance::Instance;
use crate::inventory::{Usage, Wanted, wanted};
use crate::ports::{self, Record};

impl Reporter {
    /// Removes records and providers of nodes that Ironic no longer has. What fails is tried again in the next look.
    pub(super) async fn remove_gone(
        &self,
        context: &RequestContext,
        listed: &HashSet<NodeId>,
        ours: &HashMap<NodeId, Node>,
        instances: &[Instance],
        outcome: &mut Outcome,
    ) {
        let missing: Vec<NodeId> =
            self.picture().recorded().into_iter().filter(|node| !ours.contains_key(node)).collect();
        for node in missing {
            let _only_writer = self.0.busy.lock(node).await;
            let still_there = listed.contains(&node)
                || match self.0.driver.node(&Caller::default(), node).await {
                    Ok(_) => true,
                    Err(error) if error.is_not_found() => false,
                    Err(error) => {
                        tracing::warn!(%node, %error, "a node that is not in the list could not be looked up");
                        outcome.failed += 1;
                        continue;
                    }
                };
            let record = self.picture().record(node).filter(|record| self.is_own(record)).cloned();
            if let (false, Some(record)) = (still_there, record) {
                if let Err(error) = self.remove(context, &record, instances).await {
                    tracing::error!(%node, %error, "the record and provider of a node that is gone could not be removed");
                    outcome.failed += 1;
                    continue;
                }
                outcome.removed += 1;
            }
            // Still in Ironic, but not ours: whoever has it now writes its record.
            self.picture().forget(node);
        }
    }

    async fn remove(
        &self,
        context: &RequestContext,
        record: &Record,
        instances: &[Instance],
    ) -> ports::Result<()> {
        let node = record.node;
        match self.0.inventory.destroy_record(context, record).await {
            Err(ports::Error::Taken(_)) => return Ok(()),
            destroyed => destroyed?,
        }
        let left: Vec<_> = instances
            .iter()
            .filter(|instance| instance.node == Some(node))
            .map(|instance| instance.id)
            .collect();
        self.0.placement.remove(node, &left).await?;
        tracing::info!(%node, "node is gone from Ironic; its record and provider are removed");
        Ok(())
    }

    /// One of the writers: takes nodes off the queue until it is empty; answers how many were written and how many failed.
    pub(super) async fn write_all(
        &self,
        context: &RequestContext,
        queue: &Mutex<hash_map::Values<'_, NodeId, Node>>,
        usage: &HashMap<NodeId, Usage>,
        began: Instant,
    ) -> (usize, usize) {
        let idle = Usage::default();
        let (mut written, mut failed) = (0, 0);
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(node) = next else { return (written, failed) };
            let _only_writer = self.0.busy.lock(node.uuid).await;
            match self.write(context, node, usage.get(&node.uuid).unwrap_or(&idle), began).await {
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
        let (known, failed_builds) = {
            let picture = self.picture();
            (picture.record(node.uuid).cloned(), picture.failed_builds(node.uuid))
        };
        let rules = &self.0.options.rules;
        let host = &self.0.options.host;
        let mut fields = wanted::record(node, usage, failed_builds, rules, known.is_none());
        let id = match known {
            None => self.0.inventory.create_record(context, node.uuid, &fields).await?,
            Some(record) => {
                let take = !self.is_own(&record);
                let changed = wanted::changed(&fields, &record.fields);
                if changed.is_empty() && !take {
                    return Ok(false);
                }
                match self.0.inventory.save_record(context, record.id, node.uuid, &changed, take).await {
                    Err(ports::Error::Taken(owner)) => {
                        tracing::info!(node = %node.uuid, owner, "the node's record is another service's now");
                        self.picture().forget_record(node.uuid);
                        return Ok(false);
                    }
                    saved => saved?,
                }
                for (name, value) in record.fields {
                    fields.entry(name).or_insert(value);
                }
                record.id
            }
        };
        self.picture().set_record(Record {
            id,
            node: node.uuid,
            host: Some(host.clone()),
            deleted: false,
            fields,
        });
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
