//! Keeps the picture true: one look at Ironic's list and the instances each period, and only the differences written.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, hash_map};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use driver::{Driver, NodeId};
use openstack::Caller;
use openstack::ironic::{Node, NodeQuery};
use oslo::context::RequestContext;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::known::KnownFile;
use super::picture::Picture;
use super::provider_config::{Absent, ProviderConfig};
use super::{Ring, Rules, Usage, Wanted, wanted};
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

/// The pause before something that failed is tried again outside the period.
const RETRY: Duration = Duration::from_secs(10);

/// The pause after what is known was recorded: many changes make one file.
const RECORD_PAUSE: Duration = Duration::from_secs(5);

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
    disabled: AtomicBool,
    last_audit: Mutex<Option<Instant>>,
    absent: Absent,
    freed: (mpsc::UnboundedSender<NodeId>, Mutex<Option<mpsc::UnboundedReceiver<NodeId>>>),
    /// One look at a time.
    looking: tokio::sync::Mutex<()>,
    /// What is known changed and should be recorded.
    changed: Notify,
    /// Provision states that the metric last had.
    shown: Mutex<HashSet<String>>,
}

/// What one look found and wrote.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    pub nodes: usize,
    pub written: usize,
    pub failed: usize,
    pub removed: usize,
}

/// Why a look brought nothing; it is made again in the next period.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("Ironic could not be asked: {0}")]
    Ironic(#[from] openstack::Error),
    #[error(transparent)]
    ControlPlane(#[from] ports::Error),
    #[error("The node could not be reported: {0}")]
    NotWritten(ports::Error),
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
            looking: tokio::sync::Mutex::default(),
            changed: Notify::new(),
            shown: Mutex::default(),
        }))
    }

    /// Looks at once, then every period, until the shutdown. A look that fails is logged and made again.
    pub async fn run(&self, shutdown: CancellationToken) {
        tokio::join!(self.look_periodically(&shutdown), self.follow_freed(&shutdown), self.record(&shutdown));
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
        let settled = loop {
            match self.0.driver.settled(&Caller::default(), node).await {
                Ok(settled) => break settled,
                Err(driver::Error::Remote(error)) if error.is_transient() => {
                    tokio::time::sleep(RETRY).await;
                }
                Err(_) => break None,
            }
        };
        if settled.is_some()
            && let Err(error) = self.look_at(&RequestContext::admin(), node, None).await
        {
            tracing::debug!(%node, %error, "the freed node could not be reported at once; the next period will");
        }
    }

    /// Looks every period; without periods, until one look succeeded.
    async fn look_periodically(&self, shutdown: &CancellationToken) {
        let mut ticks = tokio::time::interval(self.0.options.interval.unwrap_or(RETRY));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let looked = tokio::select! {
                () = shutdown.cancelled() => return,
                looked = self.look_and_log() => looked,
            };
            if looked && self.0.options.interval.is_none() {
                tracing::info!("the periodic look at the nodes is switched off (update_resources_interval)");
                return;
            }
        }
    }

    /// Records what is known when it changed, and a last time at the shutdown.
    async fn record(&self, shutdown: &CancellationToken) {
        loop {
            let ends = tokio::select! {
                () = shutdown.cancelled() => true,
                () = self.0.changed.notified() => false,
            };
            let providers = self.picture().providers();
            let file = self.0.file.clone();
            let saved = tokio::task::spawn_blocking(move || file.save(&providers)).await;
            if let Ok(Err(error)) = saved {
                tracing::warn!(%error, "what is known of Placement could not be recorded; a restart will look again");
            }
            if ends {
                return;
            }
            shutdown.run_until_cancelled(tokio::time::sleep(RECORD_PAUSE)).await;
        }
    }

    async fn look_and_log(&self) -> bool {
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
                failed == 0
            }
            Err(error) => {
                tracing::error!(%error, "nodes not reported; the next period tries again");
                false
            }
        }
    }

    /// One look: lists the nodes and the instances, and writes what differs from what is known.
    pub async fn look(&self, context: &RequestContext) -> Result<Outcome, Error> {
        let inner = &self.0;
        let _one = inner.looking.lock().await;
        let began = Instant::now();
        let query = NodeQuery {
            fields: FIELDS,
            conductor_group: inner.options.conductor_group.clone(),
            shard: inner.options.shard.clone(),
            ..NodeQuery::default()
        };
        let nodes = inner.driver.nodes(&Caller::default(), &query).await?;
        let instances = inner.instances.on_this_host(context).await?;
        let (members, disabled) = inner.inventory.ring_members(context).await?;
        inner.disabled.store(disabled, Ordering::Relaxed);

        let listed: HashSet<NodeId> = nodes.iter().map(|node| node.uuid).collect();
        let ours = self.ours(nodes, &instances, &members);
        inner.absent.warn(&inner.options.providers, |node| ours.contains_key(&node));
        self.audit(context, &ours).await?;
        let mut outcome = Outcome { nodes: ours.len(), ..Outcome::default() };
        self.remove_gone(context, &listed, &ours, &instances, &mut outcome).await;
        let usage = usage_by_node(&instances);
        let queue = Mutex::new(ours.values());
        let writers = (0..inner.options.parallel).map(|_| self.write_all(context, &queue, &usage, began));
        for (written, failed) in futures_util::future::join_all(writers).await {
            outcome.written += written;
            outcome.failed += failed;
        }
        self.picture().keep_only(|node| ours.contains_key(&node));
        self.show_states();
        if outcome.written + outcome.removed > 0 {
            inner.changed.notify_one();
        }
        Ok(outcome)
    }

    /// Reports one node of ours as Ironic has it now, with the instance that is on it: after our own deploy and tear-down.
    /// A node that is not ours, or is another instance's by now, is left to whoever has it.
    pub async fn look_at(
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
        let found = self.0.driver.node(&Caller::default(), node).await?;
        if found.instance_uuid.is_some_and(|uuid| occupant.is_none_or(|occupant| occupant.id.0 != uuid)) {
            return Ok(());
        }
        if self.write(context, &found, &Usage::of(occupant), began).await? {
            self.0.changed.notify_one();
        }
        Ok(())
    }

    /// The number of a node's record, for a claim. `None`: the node is not ours.
    pub async fn record_of(&self, context: &RequestContext, node: NodeId) -> Result<Option<i64>, Error> {
        Ok(self.own_record(context, node).await?)
    }

    /// The number of a node's record if it is ours; one that was not looked at yet is read.
    async fn own_record(&self, context: &RequestContext, node: NodeId) -> ports::Result<Option<i64>> {
        if self.picture().record(node).is_none() {
            for record in self.0.inventory.records_of(context, &[node]).await? {
                let mut picture = self.picture();
                picture.set_record(record);
                picture.assume_provider(node);
            }
        }
        let picture = self.picture();
        Ok(picture.record(node).filter(|record| self.is_own(record)).map(|record| record.id))
    }

    fn is_own(&self, record: &Record) -> bool {
        !record.deleted && record.host.as_deref() == Some(self.0.options.host.as_str())
    }

    /// Whether Placement was told that nobody may book the node.
    pub fn is_reserved(&self, node: NodeId) -> bool {
        let (known, _) = self.picture().provider(node);
        known.is_some_and(|provider| {
            let mut stocks = provider.inventory.values();
            stocks.any(|stock| stock.total == 1 && stock.reserved == 1)
        })
    }

    /// Counts a build that ended on a node; the number reaches the control plane with the next look.
    pub fn build_ended(&self, node: NodeId, succeeded: bool) {
        self.picture().build_ended(node, succeeded);
    }

    /// Takes what an operator said of this service at once; the providers follow with the look that comes with it.
    pub fn set_disabled(&self, disabled: bool) {
        self.0.disabled.store(disabled, Ordering::Relaxed);
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

    /// Removes records and providers of nodes that Ironic no longer has. What fails is tried again in the next look.
    async fn remove_gone(
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
    async fn write_all(
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
    async fn write(
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

fn unix_now() -> f64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0.0, |elapsed| elapsed.as_secs_f64())
}
