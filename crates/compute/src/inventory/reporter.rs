//! Keeps the picture true: one look at Ironic's list and the instances each period, and only the differences written.

use std::collections::{BTreeSet, HashMap, HashSet, hash_map};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use driver::{Driver, NodeId};
use openstack::Caller;
use openstack::ironic::{Node, NodeQuery};
use oslo::context::RequestContext;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::known::KnownFile;
use super::picture::Picture;
use super::provider_config::{Absent, ProviderConfig};
use super::{Ring, Rules, Usage, wanted};
use crate::instance::Instance;
use crate::locks::Locks;
use crate::ports::{self, Instances, Inventory, Placement, Record};

/// The node's fields that the picture is made of (`nova-wire/05` §11).
const FIELDS: &[&str] = &[
    "uuid",
    "power_state",
    "target_power_state",
    "provision_state",
    "target_provision_state",
    "last_error",
    "maintenance",
    "properties",
    "instance_uuid",
    "traits",
    "resource_class",
];

/// How the picture is kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// This service's host name, as it stands in the configuration.
    pub host: String,
    /// `[ironic] conductor_group`; the empty string is the default group.
    pub conductor_group: Option<String>,
    /// `[ironic] shard`: then every node of the shard is ours.
    pub shard: Option<String>,
    /// `update_resources_interval`; `None` switches the periodic look off.
    pub interval: Option<Duration>,
    /// `[compute] resource_provider_association_refresh`: how often what is known is held against the control
    /// plane's own lists. `None`: only at the start.
    pub audit_interval: Option<Duration>,
    /// How many nodes are written at once.
    pub parallel: usize,
    pub rules: Rules,
    /// What operators add to the nodes, from `[compute] provider_config_location`.
    pub providers: ProviderConfig,
    /// Where what is known survives a restart.
    pub state_file: PathBuf,
}

/// The keeper of the picture; a cheap handle.
#[derive(Clone)]
pub struct Reporter(Arc<Inner>);

struct Inner {
    options: Options,
    driver: Driver,
    instances: Arc<dyn Instances>,
    inventory: Arc<dyn Inventory>,
    placement: Arc<dyn Placement>,
    picture: Mutex<Picture>,
    file: KnownFile,
    /// One writer a node.
    busy: Locks<NodeId>,
    disabled: std::sync::atomic::AtomicBool,
    last_audit: Mutex<Option<Instant>>,
    absent: Absent,
    freed: (mpsc::UnboundedSender<NodeId>, Mutex<Option<mpsc::UnboundedReceiver<NodeId>>>),
}

/// What one look found and wrote.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    pub nodes: usize,
    pub written: usize,
    pub failed: usize,
    pub removed: usize,
}

/// Why a look could not be made at all; it is made again in the next period.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("Ironic's nodes could not be listed: {0}")]
    Ironic(#[from] openstack::Error),
    #[error(transparent)]
    ControlPlane(#[from] ports::Error),
}

impl Reporter {
    pub fn new(
        options: Options,
        driver: Driver,
        instances: Arc<dyn Instances>,
        inventory: Arc<dyn Inventory>,
        placement: Arc<dyn Placement>,
    ) -> Self {
        let file = KnownFile::new(&options.state_file);
        let picture = Mutex::new(Picture::new(file.load()));
        let (freed, nodes) = mpsc::unbounded_channel();
        Self(Arc::new(Inner {
            options,
            driver,
            instances,
            inventory,
            placement,
            picture,
            file,
            busy: Locks::default(),
            disabled: false.into(),
            last_audit: Mutex::new(None),
            absent: Absent::default(),
            freed: (freed, Mutex::new(Some(nodes))),
        }))
    }

    /// Looks at once, then every period, until the shutdown. A look that fails is logged and made again.
    pub async fn run(&self, shutdown: CancellationToken) {
        tokio::join!(self.look_periodically(&shutdown), self.follow_freed(&shutdown));
    }

    /// Reports a node that is being cleaned as soon as it can be booked again, without waiting for the period.
    pub fn follow(&self, node: NodeId) {
        // Nobody listens only after the shutdown.
        let _ = self.0.freed.0.send(node);
    }

    async fn follow_freed(&self, shutdown: &CancellationToken) {
        let nodes = self.0.freed.1.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut nodes) = nodes else { return };
        let mut following = JoinSet::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(node) = nodes.recv() => {
                    let reporter = self.clone();
                    following.spawn(async move { reporter.report_when_settled(node).await });
                }
                Some(_) = following.join_next() => {}
            }
        }
    }

    async fn report_when_settled(&self, node: NodeId) {
        let settled = self.0.driver.settled(&Caller::default(), node).await;
        if let Ok(Some(_)) = settled
            && let Err(error) = self.look_at(&RequestContext::admin(), node, None).await
        {
            tracing::debug!(%node, %error, "the freed node could not be reported at once; the next period will");
        }
    }

    async fn look_periodically(&self, shutdown: &CancellationToken) {
        let Some(interval) = self.0.options.interval else {
            tracing::info!("the periodic look at the nodes is switched off (update_resources_interval)");
            return;
        };
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.look_and_log() => {}
            }
        }
    }

    async fn look_and_log(&self) {
        let started = Instant::now();
        match self.look(&RequestContext::admin()).await {
            Ok(Outcome { nodes, written, failed, removed }) => {
                let seconds = started.elapsed().as_secs_f64();
                metrics::histogram!("bessemer_report_seconds").record(seconds);
                if failed == 0 {
                    metrics::gauge!("bessemer_last_good_report_timestamp_seconds").set(unix_now());
                }
                if written + failed + removed > 0 {
                    tracing::info!(nodes, written, failed, removed, seconds, "nodes reported");
                } else {
                    tracing::debug!(nodes, seconds, "nodes compared; nothing to report");
                }
            }
            Err(error) => tracing::error!(%error, "nodes not reported; the next period tries again"),
        }
    }

    /// One look: lists the nodes and the instances, and writes what differs from what is known.
    pub async fn look(&self, context: &RequestContext) -> Result<Outcome, Error> {
        let inner = &self.0;
        let query = NodeQuery {
            fields: FIELDS,
            conductor_group: inner.options.conductor_group.clone(),
            shard: inner.options.shard.clone(),
            ..NodeQuery::default()
        };
        let nodes = inner.driver.nodes(&Caller::default(), &query).await?;
        let instances = inner.instances.on_this_host(context).await?;
        let (members, disabled) = inner.inventory.ring_members(context).await?;
        inner.disabled.store(disabled, std::sync::atomic::Ordering::Relaxed);

        let listed: HashSet<NodeId> = nodes.iter().map(|node| node.uuid).collect();
        let ours = self.ours(nodes, &instances, &members);
        inner.absent.warn(&inner.options.providers, |node| ours.contains_key(&node));
        self.audit(context, &ours).await?;
        let mut outcome = Outcome { nodes: ours.len(), ..Outcome::default() };
        outcome.removed = self.remove_gone(context, &listed, &ours).await?;
        let usage = usage_by_node(&instances);
        let queue = Mutex::new(ours.values());
        let writers = (0..inner.options.parallel).map(|_| self.write_all(context, &queue, &usage));
        for (written, failed) in futures_util::future::join_all(writers).await {
            outcome.written += written;
            outcome.failed += failed;
        }
        {
            let mut picture = self.picture();
            picture.keep_only(|node| ours.contains_key(&node));
            for (_, node) in ours {
                picture.saw(node);
            }
            publish_states(&picture);
        }
        if outcome.written + outcome.removed > 0 {
            self.remember();
        }
        Ok(outcome)
    }

    /// Reports one node as Ironic has it now, with the instance that is on it: after our own deploy and tear-down.
    pub async fn look_at(
        &self,
        context: &RequestContext,
        node: NodeId,
        occupant: Option<&Instance>,
    ) -> Result<(), Error> {
        let found = self.0.driver.node(&Caller::default(), node).await?;
        if self.picture().record(node).is_none() {
            for record in self.0.inventory.records_of(context, &[node]).await? {
                self.picture().set_record(record);
            }
        }
        let usage = Usage::of(occupant);
        if self.write(context, &found, &usage).await == Ok(true) {
            self.remember();
        }
        self.picture().saw(found);
        Ok(())
    }

    /// The number of a node's record, for a claim; a node that was not looked at yet is looked at now. `None`: not ours.
    pub async fn record_of(&self, context: &RequestContext, node: NodeId) -> Result<Option<i64>, Error> {
        if let Some(record) = self.picture().record(node) {
            return Ok(Some(record.id));
        }
        match self.look_at(context, node, None).await {
            Err(Error::Ironic(error)) if error.is_not_found() => return Ok(None),
            other => other?,
        }
        Ok(self.picture().record(node).map(|record| record.id))
    }

    /// Counts a build that ended on a node; the number reaches the control plane with the next look.
    pub fn build_ended(&self, node: NodeId, succeeded: bool) {
        self.picture().build_ended(node, succeeded);
    }

    /// Takes what an operator said of this service at once; the providers follow with the look that comes with it.
    pub fn set_disabled(&self, disabled: bool) {
        self.0.disabled.store(disabled, std::sync::atomic::Ordering::Relaxed);
    }

    /// The nodes that are ours: those of our instances, and the free ones that the ring gives us.
    fn ours(
        &self,
        nodes: Vec<Node>,
        instances: &[Instance],
        members: &BTreeSet<String>,
    ) -> HashMap<NodeId, Node> {
        let own: HashSet<uuid::Uuid> = instances.iter().map(|instance| instance.id.0).collect();
        let host = self.0.options.host.to_lowercase();
        let ring = Ring::new(members);
        nodes
            .into_iter()
            .filter(|node| match node.instance_uuid {
                Some(instance) => own.contains(&instance),
                None => ring.host(node.uuid) == Some(host.as_str()),
            })
            .map(|node| (node.uuid, node))
            .collect()
    }

    /// Holds what is known against the control plane's own lists, when it is time; adopts records of nodes that are
    /// new to us.
    async fn audit(&self, context: &RequestContext, ours: &HashMap<NodeId, Node>) -> Result<(), Error> {
        let due = {
            let last = self.0.last_audit.lock().unwrap_or_else(PoisonError::into_inner);
            match (*last, self.0.options.audit_interval) {
                (None, _) => true,
                (Some(last), Some(interval)) => last.elapsed() >= interval,
                (Some(_), None) => false,
            }
        };
        if due {
            let records = self.0.inventory.records_of_this_host(context).await?;
            let heads = self.0.placement.heads().await?;
            let mut picture = self.picture();
            picture.set_records(records);
            let heads = heads.into_iter().filter(|(node, _)| ours.contains_key(node)).collect();
            let forgotten = picture.compare(&heads);
            tracing::debug!(
                providers = heads.len(),
                forgotten,
                "what is known was held against the control plane"
            );
            *self.0.last_audit.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        let strangers: Vec<NodeId> = {
            let picture = self.picture();
            ours.keys().copied().filter(|node| picture.record(*node).is_none()).collect()
        };
        if !strangers.is_empty() {
            // Found with another host or deleted: kept as they are; the write of the node takes them over.
            let records = self.0.inventory.records_of(context, &strangers).await?;
            let mut picture = self.picture();
            for record in records {
                picture.set_record(record);
            }
        }
        Ok(())
    }

    /// Removes records and providers of nodes that Ironic no longer has.
    async fn remove_gone(
        &self,
        context: &RequestContext,
        listed: &HashSet<NodeId>,
        ours: &HashMap<NodeId, Node>,
    ) -> Result<usize, Error> {
        let missing: Vec<NodeId> =
            self.picture().recorded().into_iter().filter(|node| !ours.contains_key(node)).collect();
        let mut removed = 0;
        for node in missing {
            let still_there = listed.contains(&node)
                || match self.0.driver.node(&Caller::default(), node).await {
                    Ok(_) => true,
                    Err(error) if error.is_not_found() => false,
                    Err(error) => return Err(error.into()),
                };
            let record = self.picture().record(node).cloned();
            if let (false, Some(record)) = (still_there, record) {
                self.remove(context, &record).await?;
                removed += 1;
            }
            // Still in Ironic, but not ours: whoever has it now writes its record.
            self.picture().forget(node);
        }
        Ok(removed)
    }

    async fn remove(&self, context: &RequestContext, record: &Record) -> Result<(), Error> {
        let node = record.node;
        match self.0.inventory.destroy_record(context, record).await {
            Ok(()) => {}
            Err(ports::Error::Taken(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let left: Vec<_> = self
            .0
            .instances
            .on_this_host(context)
            .await?
            .into_iter()
            .filter(|instance| instance.node == Some(node))
            .map(|instance| instance.id)
            .collect();
        self.0.placement.remove(node, &left).await?;
        tracing::info!(%node, "node is gone from Ironic; its record and provider are removed");
        Ok(())
    }

    /// One of the writers: takes nodes off the queue until it is empty; answers how many were written and how many failed.
    async fn write_all(
        &self,
        context: &RequestContext,
        queue: &Mutex<hash_map::Values<'_, NodeId, Node>>,
        usage: &HashMap<NodeId, Usage>,
    ) -> (usize, usize) {
        let idle = Usage::default();
        let (mut written, mut failed) = (0, 0);
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(node) = next else { return (written, failed) };
            match self.write(context, node, usage.get(&node.uuid).unwrap_or(&idle)).await {
                Ok(wrote) => written += usize::from(wrote),
                Err(()) => failed += 1,
            }
        }
    }

    /// Writes what differs of one node; answers whether anything did. What fails is logged and tried in the next look.
    async fn write(&self, context: &RequestContext, node: &Node, usage: &Usage) -> Result<bool, ()> {
        let id = node.uuid;
        let _only_writer = self.0.busy.lock(id).await;
        let recorded = self.write_record(context, node, usage).await.map_err(|error| {
            tracing::error!(node = %id, %error, "the node's record could not be written");
        })?;
        let provided = self.write_provider(node).await?;
        Ok(recorded || provided)
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
                let take = record.deleted || record.host.as_deref() != Some(host.as_str());
                let changed = wanted::changed(&fields, &record.fields);
                if changed.is_empty() && !take {
                    return Ok(false);
                }
                self.0.inventory.save_record(context, record.id, node.uuid, &changed, take).await?;
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

    async fn write_provider(&self, node: &Node) -> Result<bool, ()> {
        let id = node.uuid;
        let disabled = self.0.disabled.load(std::sync::atomic::Ordering::Relaxed);
        let wanted = wanted::wanted(node, &self.0.options.rules, disabled)
            .and_then(|wanted| self.0.options.providers.merge(wanted));
        let wanted = match wanted {
            Ok(wanted) => wanted,
            Err(reason) => {
                tracing::warn!(node = %id, %reason, "the node cannot be offered");
                return Err(());
            }
        };
        let (known, exists) = self.picture().provider(id);
        if known.as_ref().is_some_and(|k| k.inventory == wanted.inventory && k.traits == wanted.traits) {
            return Ok(false);
        }
        match self.0.placement.report(&wanted, known, exists).await {
            Ok(now) => {
                self.picture().set_provider(id, Some(now));
                Ok(true)
            }
            Err(error) => {
                tracing::error!(node = %id, %error, "the node's provider could not be written");
                self.picture().set_provider(id, None);
                Err(())
            }
        }
    }

    /// Records what is known, off the runtime's threads.
    fn remember(&self) {
        let providers = self.picture().providers();
        let file = self.0.file.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = file.save(&providers) {
                tracing::warn!(%error, "what is known of Placement could not be recorded; a restart will look again");
            }
        });
    }

    fn picture(&self) -> MutexGuard<'_, Picture> {
        self.0.picture.lock().unwrap_or_else(PoisonError::into_inner)
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

#[allow(clippy::cast_precision_loss)] // a count of machines
fn publish_states(picture: &Picture) {
    for (state, count) in picture.by_state() {
        metrics::gauge!("bessemer_nodes", "state" => state).set(count as f64);
    }
}

fn unix_now() -> f64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0.0, |elapsed| elapsed.as_secs_f64())
}
