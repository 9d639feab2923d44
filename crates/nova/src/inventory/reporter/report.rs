//! The report: what Ironic and the control plane say, held against what is known.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use driver::{InstanceId, NodeId};
use openstack::Caller;
use openstack::ironic::{NODE_FIELDS, Node, NodeQuery};
use oslo::context::RequestContext;
use tokio::time::Instant;

use super::audits::Audits;
use super::claims;
use super::{Error, Reporter};
use crate::inventory::books::Record;
use crate::inventory::fingerprint::Fingerprint;
use crate::inventory::picture::KnownRecord;
use crate::inventory::{Ring, Usage};
use compute::instance::{Home, Instance};
use compute::machines::shows_other_power;
use compute::ports::{self, Found, Published};

impl Reporter {
    /// One report: lists the nodes and the instances, and writes what differs from what is known.
    pub(in crate::inventory) async fn report(&self, context: &RequestContext) -> Result<Published, Error> {
        let inner = &self.0;
        let mut audits = inner.reporting.lock().await;
        let began = Instant::now();
        let scope = self.scope();
        let query = NodeQuery {
            fields: NODE_FIELDS,
            conductor_group: scope.conductor_group.clone(),
            shard: inner.options.shard.clone(),
            ..NodeQuery::default()
        };
        let mut nodes = inner.driver.nodes(&Caller::default(), &query).await?;
        let instances = inner.instances.on_this_host(context).await?;
        let (members, disabled) = inner.inventory.ring_members(context).await?;
        inner.disabled.store(disabled, Ordering::Relaxed);

        let listed: HashSet<NodeId> = nodes.iter().map(|node| node.uuid).collect();
        let mut held = self.keep_ours(&mut nodes, &instances, &members);
        let ours: HashSet<NodeId> = nodes.iter().map(|node| node.uuid).collect();
        inner.absent.warn(&inner.options.providers, |node| ours.contains(&node));
        self.audit(context, &ours, members, &mut audits).await?;
        // Who has the others' records writes their providers, too.
        let own = self.picture().own();
        held.retain(|node| own.contains(&node.uuid));
        self.know_our_nodes();
        let found = found(&nodes, &held, &instances);
        let mut outcome = Published { nodes: ours.len(), found, ..Published::default() };
        let usage = usage_by_node(&instances);
        let free = claims::free(&nodes);
        let queue = Mutex::new(nodes.into_iter());
        let writers = (0..inner.options.parallel).map(|_| self.write_all(context, &queue, &usage, began));
        for (written, failed) in futures_util::future::join_all(writers).await {
            outcome.written += written;
            outcome.failed += failed;
        }
        for node in &held {
            let _only_writer = inner.busy.lock(node.uuid).await;
            match self.write_held(node, began).await {
                Ok(wrote) => outcome.written += usize::from(wrote),
                Err(_) => outcome.failed += 1,
            }
        }
        let tracked = ours.iter().copied().chain(held.iter().map(|node| node.uuid)).collect();
        self.remove_gone(context, &listed, &tracked, &instances, &mut outcome).await;
        self.audit_claims(context, free, &mut audits.claims).await;
        self.picture().keep_only(|node| ours.contains(&node));
        self.know_our_nodes();
        self.show_states();
        if outcome.written + outcome.removed > 0 {
            inner.changed.notify_one();
        }
        Ok(outcome)
    }

    /// Reports one node of ours as Ironic has it now, with the instance that is on it: after our own deploy and tear-down.
    /// A node that is not ours is left to whoever has it; of one that is another instance's by now only the provider is written.
    pub(in crate::inventory) async fn report_node(
        &self,
        context: &RequestContext,
        node: NodeId,
        occupant: Option<&Instance>,
    ) -> Result<(), Error> {
        let _only_writer = self.0.busy.lock(node).await;
        if self.own_record(context, node).await?.is_none() {
            return Ok(());
        }
        let began = Instant::now();
        let found = match self.0.driver.node(&Caller::default(), node).await {
            // The next reports remove what is left of it.
            Err(error) if error.is_not_found() => {
                let is_gone = self.0.driver.is_gone(&Caller::default(), node).await?;
                return if is_gone { Ok(()) } else { Err(Error::Hidden(node)) };
            }
            found => found?,
        };
        let is_held =
            found.instance_uuid.is_some_and(|uuid| occupant.is_none_or(|occupant| occupant.id.0 != uuid));
        let wrote = if is_held {
            self.write_held(&found, began).await?
        } else {
            self.write(context, &found, &Usage::of(occupant), began).await?
        };
        if wrote {
            self.0.changed.notify_one();
        }
        Ok(())
    }

    /// The home of an instance that claims a node. `None`: the node is not ours.
    pub(in crate::inventory) async fn home_on(
        &self,
        context: &RequestContext,
        node: NodeId,
    ) -> ports::Result<Option<Home>> {
        let Some(id) = self.own_record(context, node).await? else { return Ok(None) };
        self.0.ids.set(node, id);
        Ok(Some(Home { host: self.0.options.host.clone(), node }))
    }

    /// The number of a node's record if it is ours; one that was not looked at yet is read.
    async fn own_record(&self, context: &RequestContext, node: NodeId) -> ports::Result<Option<i64>> {
        if self.picture().record(node).is_none() {
            self.adopt(self.0.inventory.records_of(context, &[node]).await?);
        }
        let picture = self.picture();
        Ok(picture.record(node).filter(|record| record.is_own).map(|record| record.id))
    }

    /// Takes records that were looked up by their nodes, whoever has them: the write of a node that is ours takes them over.
    fn adopt(&self, records: Vec<Record>) {
        let mut picture = self.picture();
        for record in records {
            let node = record.node;
            picture.set_record(node, self.known(&record));
            picture.assume_provider(node);
        }
    }

    fn known(&self, record: &Record) -> KnownRecord {
        let is_own = !record.deleted && record.host.as_deref() == Some(self.0.options.host.as_str());
        KnownRecord { id: record.id, is_own, fields: Fingerprint::of(&record.fields) }
    }

    /// Whether Placement was told that nobody may book the node.
    pub(in crate::inventory) fn is_reserved(&self, node: NodeId) -> bool {
        let (known, _) = self.picture().provider(node);
        known.is_some_and(|provider| {
            // An operator may have added other classes to the node's own.
            let mut machines = provider.inventory.values().filter(|stock| stock.total == 1).peekable();
            machines.peek().is_some() && machines.all(|stock| stock.reserved == 1)
        })
    }

    /// Counts a build that ended on a node; the number reaches the control plane with the next report.
    pub(in crate::inventory) fn count_build(&self, node: NodeId, succeeded: bool) {
        self.picture().build_ended(node, succeeded);
    }

    /// Takes what an operator said of this service at once; the providers follow with the report that comes with it.
    pub(in crate::inventory) fn set_disabled(&self, disabled: bool) {
        self.0.disabled.store(disabled, Ordering::Relaxed);
    }

    /// Keeps the nodes that are ours: those of our instances, and the free ones that the ring gives us. Answers those that somebody
    /// else has.
    fn keep_ours(
        &self,
        nodes: &mut Vec<Node>,
        instances: &[Instance],
        members: &BTreeSet<String>,
    ) -> Vec<Node> {
        let own: HashSet<uuid::Uuid> = instances.iter().map(|instance| instance.id.0).collect();
        let host = self.0.options.host.to_lowercase();
        let ring = Ring::new(members);
        let mut held = Vec::new();
        for node in std::mem::take(nodes) {
            match node.instance_uuid {
                Some(instance) if own.contains(&instance) => nodes.push(node),
                Some(_) => held.push(node),
                None if ring.host(node.uuid) == Some(host.as_str()) => nodes.push(node),
                None => {}
            }
        }
        held
    }

    /// Holds what is known against the control plane's own lists, when it is time; adopts records of nodes that are
    /// new to us.
    async fn audit(
        &self,
        context: &RequestContext,
        ours: &HashSet<NodeId>,
        members: BTreeSet<String>,
        audits: &mut Audits,
    ) -> Result<(), Error> {
        let interval = self.scope().audit_interval;
        if audits.records_are_due(interval, members) {
            match self.0.inventory.records_of_this_host(context).await {
                Ok(records) => {
                    let records = records.iter().map(|record| (record.node, self.known(record)));
                    self.picture().set_records(records);
                    audits.records = Some(Instant::now());
                }
                Err(error) => audits.records_failed(error)?,
            }
        }
        if audits.providers_are_due(interval) {
            match self.0.placement.heads().await {
                Ok(mut heads) => {
                    let own = self.picture().own();
                    heads.retain(|node, _| ours.contains(node) || own.contains(node));
                    let forgotten = self.picture().compare(&heads);
                    tracing::debug!(
                        providers = heads.len(),
                        forgotten,
                        "what is known was held against Placement"
                    );
                    audits.providers = Some(Instant::now());
                }
                Err(error) => audits.providers_failed(error)?,
            }
        }
        let strangers: Vec<NodeId> = {
            let picture = self.picture();
            ours.iter().copied().filter(|node| picture.record(*node).is_none()).collect()
        };
        if !strangers.is_empty() {
            self.adopt(self.0.inventory.records_of(context, &strangers).await?);
        }
        Ok(())
    }

    #[allow(clippy::cast_precision_loss)] // a count of machines
    fn show_states(&self) {
        let states = self.picture().by_state();
        let mut shown = self.0.shown.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in shown.iter().filter(|state| !states.contains_key(*state)) {
            metrics::gauge!("bessemer_nodes", "state" => gone.clone()).set(0.0);
        }
        for (state, count) in &states {
            metrics::gauge!("bessemer_nodes", "state" => state.clone()).set(*count as f64);
        }
        shown.extend(states.into_keys());
    }
}

/// What the lists show of servers, by the way: machines with another power, and `held` nodes that carry no server of ours.
fn found(nodes: &[Node], held: &[Node], instances: &[Instance]) -> Found {
    let by_id: HashMap<_, _> = instances.iter().map(|instance| (instance.id.0, instance)).collect();
    let differs = |node: &Node| {
        let instance = by_id.get(&node.instance_uuid?)?;
        shows_other_power(instance, node).then_some(instance.id)
    };
    let carries = |node: &Node| node.instance_uuid.map(|id| (node.uuid, InstanceId(id)));
    Found {
        other_power: nodes.iter().filter_map(differs).collect(),
        strangers: held.iter().filter_map(carries).collect(),
    }
}

fn usage_by_node(instances: &[Instance]) -> HashMap<NodeId, Usage> {
    let mut by_node: HashMap<NodeId, Vec<&Instance>> = HashMap::new();
    for instance in instances {
        if let Some(node) = instance.node {
            by_node.entry(node).or_default().push(instance);
        }
    }
    by_node.into_iter().map(|(node, instances)| (node, Usage::of(instances))).collect()
}
