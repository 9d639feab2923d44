//! The differences, written: records and providers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use driver::NodeId;
use openstack::ironic::Node;
use oslo::context::RequestContext;
use tokio::time::Instant;

use super::{Error, Reporter};
use crate::inventory::fingerprint::Fingerprint;
use crate::inventory::picture::KnownRecord;
use crate::inventory::{Holder, Usage, Wanted, wanted};
use compute::ports;

impl Reporter {
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
    /// The caller is the only writer of the node. What fails is logged and tried in the next report.
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
        let provided = self.write_provider(node, Holder::of(node)).await;
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

    /// The same for a node that somebody else has, as long as its record is ours: nobody may book it, and whoever has it keeps
    /// the record.
    pub(super) async fn write_held(&self, node: &Node, began: Instant) -> Result<bool, Error> {
        if !self.picture().saw(node, began) {
            return Ok(false);
        }
        let written = self.write_provider(node, Holder::Other).await;
        if let Err(error) = &written {
            tracing::error!(node = %node.uuid, %error, "the provider of a node that somebody else has could not be written");
        }
        written.map_err(Error::NotWritten)
    }

    async fn write_provider(&self, node: &Node, holder: Holder) -> ports::Result<bool> {
        let id = node.uuid;
        let disabled = self.0.disabled.load(Ordering::Relaxed);
        let wanted = wanted::wanted(node, holder, &self.0.options.rules, disabled)
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
