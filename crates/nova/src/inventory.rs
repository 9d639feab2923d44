//! The compute node records of a stock Nova, and who shares the nodes with us.
//!
//! Facts: `nova/objects/compute_node.py`, `nova/virt/ironic/driver.py` (`_refresh_hash_ring`).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use compute::ports::{self, Record, RecordFields};
use driver::NodeId;
use oslo::context::{ReadDeleted, RequestContext};
use oslo::object::Object;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::warn;

use crate::conductor::{Conductor, Error, Repeat};
use crate::instances::save::object;

/// How many records one question names, and how many one answer of a list holds: some 2 KiB each.
const PAGE: usize = 200;

/// Which services share the nodes.
#[derive(Debug, Clone)]
pub struct Options {
    /// `[DEFAULT] host`.
    pub host: String,
    /// `[DEFAULT] service_down_time`: a service that has not reported for longer is down.
    pub service_down_time: Duration,
    /// Whether `[ironic] shard` is set: the nodes are ours alone then.
    pub sharded: bool,
    /// `[ironic] peer_list`, when `conductor_group` is set: the others of the group. Ours must be in it.
    pub peers: Option<Vec<String>>,
}

impl Default for Options {
    fn default() -> Self {
        Self { host: String::new(), service_down_time: Duration::from_mins(1), sharded: false, peers: None }
    }
}

/// The port to the compute node records.
#[derive(Clone)]
pub struct Inventory {
    conductor: Conductor,
    options: Options,
    /// `options.peers` as of the last reload.
    peers: Arc<Mutex<Option<Vec<String>>>>,
    /// The number of our service's record.
    service: i64,
}

impl Inventory {
    /// The records of the service whose own record has the number `service`.
    pub fn new(conductor: Conductor, options: Options, service: i64) -> Self {
        let peers = Arc::new(Mutex::new(options.peers.clone()));
        Self { conductor, options, peers, service }
    }

    /// Takes a changed `peer_list`; it holds from the next look on.
    pub fn set_peers(&self, peers: Option<Vec<String>>) {
        *self.peers.lock().unwrap_or_else(PoisonError::into_inner) = peers;
    }

    async fn is_disabled(&self, context: &RequestContext) -> ports::Result<bool> {
        let own = self
            .conductor
            .read_object(
                context,
                "Service",
                "get_by_host_and_binary",
                json!([self.options.host, "nova-compute"]),
                json!({}),
            )
            .await?;
        Ok(own.and_then(|own| own.bool("disabled")).unwrap_or_default())
    }
}

#[async_trait]
impl ports::Inventory for Inventory {
    async fn records_of_this_host(&self, context: &RequestContext) -> ports::Result<Vec<Record>> {
        // Nova lists the records of a host only all at once, in an answer that grows with the nodes; those of the whole cell
        // it gives in pages.
        let mut found = Vec::new();
        let mut marker = Value::Null;
        let mut is_second_try = false;
        loop {
            let kwargs = json!({"limit": PAGE, "marker": marker});
            let page = self
                .conductor
                .read_list(context, "ComputeNodeList", "get_by_pagination", json!([]), kwargs)
                .await;
            let mut page = match page {
                Ok(page) => page,
                // The last record of the page before is gone meanwhile.
                Err(error) if error.is("MarkerNotFound") && !is_second_try => {
                    is_second_try = true;
                    found.clear();
                    marker = Value::Null;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let is_last = page.len() < PAGE;
            marker = page.last().and_then(|last| last.get("id")).cloned().unwrap_or_default();
            page.retain(|record| record.str("host") == Some(&self.options.host));
            found.extend(records(page));
            if is_last {
                return Ok(found);
            }
        }
    }

    async fn records_of(&self, context: &RequestContext, nodes: &[NodeId]) -> ports::Result<Vec<Record>> {
        let context = context.with_read_deleted(ReadDeleted::Yes);
        let mut found = Vec::with_capacity(nodes.len());
        for chunk in nodes.chunks(PAGE) {
            let ids: Vec<String> = chunk.iter().map(ToString::to_string).collect();
            let list = self
                .conductor
                .read_list(&context, "ComputeNodeList", "get_all_by_uuids", json!([ids]), json!({}))
                .await?;
            found.extend(records(list));
        }
        Ok(found)
    }

    async fn create_record(
        &self,
        context: &RequestContext,
        node: NodeId,
        fields: &RecordFields,
    ) -> ports::Result<i64> {
        let primitive = creation(node, &self.options.host, self.service, fields);
        let made = self.conductor.act(context, primitive, "create", json!({}), Repeat::IfNotDone).await;
        let error = match made {
            Ok(acted) => {
                let id = acted.updates.get("id").and_then(Value::as_i64);
                return id.ok_or_else(|| Error::Malformed("ComputeNode.create".into()).into());
            }
            Err(error) => error,
        };
        // Never answered, or there already: the record itself says which.
        if error.is_transient() || error.is("DuplicateRecord") {
            let there = self.records_of(context, &[node]).await?;
            let ours = there.iter().find(|record| {
                record.node == node && !record.deleted && record.host.as_deref() == Some(&self.options.host)
            });
            if let Some(record) = ours {
                return Ok(record.id);
            }
        }
        Err(error.into())
    }

    async fn save_record(
        &self,
        context: &RequestContext,
        id: i64,
        node: NodeId,
        changed: &RecordFields,
        take: bool,
    ) -> ports::Result<()> {
        let owner = take.then_some((self.options.host.as_str(), self.service));
        let Some(primitive) = change(id, node, changed, owner) else { return Ok(()) };
        let context = if take { context.with_read_deleted(ReadDeleted::Yes) } else { context.clone() };
        match self.conductor.act(&context, primitive, "save", json!({}), Repeat::Freely).await {
            Ok(_) => Ok(()),
            Err(error) if error.is("ComputeHostNotFound") => Err(ports::Error::Taken(error.to_string())),
            Err(error) => Err(error.into()),
        }
    }

    async fn destroy_record(&self, context: &RequestContext, id: i64, node: NodeId) -> ports::Result<()> {
        let mut primitive = object("ComputeNode");
        primitive.insert("id", id);
        primitive.insert("uuid", node.to_string());
        // The record goes only while it is still this host's.
        primitive.insert("host", self.options.host.as_str());
        match self.conductor.act(context, primitive, "destroy", json!({}), Repeat::Freely).await {
            Ok(_) => Ok(()),
            Err(error) if error.is("ComputeHostNotFound") => Ok(()),
            Err(error) if error.is("ObjectActionError") => Err(ports::Error::Taken(error.to_string())),
            Err(error) => Err(error.into()),
        }
    }

    async fn ring_members(&self, context: &RequestContext) -> ports::Result<(BTreeSet<String>, bool)> {
        let services = self
            .conductor
            .read_list(context, "ServiceList", "get_all_computes_by_hv_type", json!(["ironic"]), json!({}))
            .await?;
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let options = Options { peers, ..self.options.clone() };
        let members = members(&services, &options, OffsetDateTime::now_utc());
        // The list has enabled services with nodes only: one that is in it is not disabled.
        let listed = services.iter().any(|service| service.str("host") == Some(&self.options.host));
        let disabled = !listed && self.is_disabled(context).await?;
        Ok((members, disabled))
    }
}

/// The services that are up and share the nodes, lower-cased as in the ring; ours is always one.
fn members(services: &[Object], options: &Options, now: OffsetDateTime) -> BTreeSet<String> {
    let shares = |host: &str| match (&options.peers, options.sharded) {
        (_, true) => host == options.host,
        (Some(peers), false) => peers.iter().any(|peer| peer == host),
        (None, false) => true,
    };
    let up = services.iter().filter(|service| is_up(service, now, options.service_down_time));
    let mut members: BTreeSet<String> = up
        .filter_map(|service| service.str("host"))
        .filter(|host| shares(host))
        .map(str::to_lowercase)
        .collect();
    members.insert(options.host.to_lowercase());
    members
}

/// Nova's rule (`nova/servicegroup/drivers/db.py`): not forced down, and seen, or made, not longer ago than this.
fn is_up(service: &Object, now: OffsetDateTime, down_time: Duration) -> bool {
    if service.bool("forced_down") == Some(true) {
        return false;
    }
    let seen = service.str("last_seen_up").or_else(|| service.str("created_at"));
    let seen = seen.and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    seen.is_some_and(|seen| (now - seen).abs() <= down_time)
}

fn records(list: Vec<Object>) -> Vec<Record> {
    list.into_iter()
        .filter_map(|object| {
            let record = record(&object);
            if record.is_none() {
                warn!(uuid = object.str("uuid"), "a compute node record without id and uuid is left alone");
            }
            record
        })
        .collect()
}

fn record(object: &Object) -> Option<Record> {
    Some(Record {
        id: object.int("id")?,
        node: object.str("uuid")?.parse().ok()?,
        host: object.str("host").map(str::to_owned),
        deleted: object.bool("deleted").unwrap_or_default(),
        fields: object.data().iter().map(|(name, value)| (name.clone(), plain(name, value))).collect(),
    })
}

/// A field's value without objects: specs are `[arch, hypervisor, mode]`, pools are what the list holds.
fn plain(field: &str, value: &Value) -> Value {
    match field {
        "supported_hv_specs" => {
            let specs = value.as_array().into_iter().flatten();
            specs
                .filter_map(|spec| Object::from_value(spec.clone()).ok())
                .map(|spec| json!([spec.str("arch"), spec.str("hv_type"), spec.str("vm_mode")]))
                .collect()
        }
        "pci_device_pools" => match Object::from_value(value.clone()) {
            Ok(list) => list.get("objects").cloned().unwrap_or_else(|| json!([])),
            Err(_) => value.clone(),
        },
        _ => value.clone(),
    }
}

/// The objects of a plain value.
fn wire(field: &str, value: &Value) -> Value {
    match (field, value) {
        ("supported_hv_specs", Value::Array(specs)) => specs.iter().map(spec).collect(),
        ("pci_device_pools", Value::Array(pools)) => {
            let mut list = object("PciDevicePoolList");
            list.set("objects", pools.clone());
            list.into_value()
        }
        _ => value.clone(),
    }
}

fn spec(plain: &Value) -> Value {
    let mut spec = object("HVSpec");
    for (at, field) in ["arch", "hv_type", "vm_mode"].into_iter().enumerate() {
        spec.set(field, plain.get(at).cloned().unwrap_or_default());
    }
    spec.into_value()
}

fn creation(node: NodeId, host: &str, service: i64, fields: &RecordFields) -> Object {
    let mut primitive = object("ComputeNode");
    primitive.set("uuid", node.to_string());
    primitive.set("service_id", service);
    primitive.set("host", host);
    for (name, value) in fields.iter().filter(|(name, _)| is_writable(name)) {
        primitive.set(name, wire(name, value));
    }
    primitive
}

fn change(id: i64, node: NodeId, changed: &RecordFields, owner: Option<(&str, i64)>) -> Option<Object> {
    let mut primitive = object("ComputeNode");
    primitive.insert("id", id);
    primitive.insert("uuid", node.to_string());
    for (name, value) in changed.iter().filter(|(name, _)| is_writable(name)) {
        primitive.set(name, wire(name, value));
    }
    if let Some((host, service)) = owner {
        primitive.set("deleted", false);
        primitive.set("deleted_at", Value::Null);
        primitive.set("host", host);
        primitive.set("service_id", service);
    }
    (!primitive.changes().is_empty()).then_some(primitive)
}

/// The database keeps these by itself.
fn is_writable(field: &str) -> bool {
    !matches!(field, "id" | "uuid" | "created_at" | "updated_at" | "mapped")
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NODE: &str = "3aab6bf4-d3d1-4adb-a773-0cfc2bc497dc";
    const NOW: OffsetDateTime = datetime!(2026-11-23 02:18:00 UTC);

    fn service(host: &str, seen: &str, forced_down: bool) -> Object {
        let mut service = object("Service");
        service.insert("host", host);
        service.insert("last_seen_up", seen);
        service.insert("forced_down", forced_down);
        service
    }

    fn options() -> Options {
        Options { host: "Own".into(), ..Options::default() }
    }

    fn names(members: &BTreeSet<String>) -> Vec<&str> {
        members.iter().map(String::as_str).collect()
    }

    #[test]
    fn services_that_are_up_share_the_ring_and_ours_always_does() {
        let services = [
            service("Fresh", "2026-11-23T02:17:00Z", false),
            service("stale", "2026-11-23T02:16:59Z", false),
            service("forced", "2026-11-23T02:17:59Z", true),
        ];
        assert_eq!(names(&members(&services, &options(), NOW)), ["fresh", "own"]);
    }

    #[test]
    fn a_service_that_never_reported_is_as_old_as_its_record() {
        let mut fresh = object("Service");
        fresh.insert("last_seen_up", Value::Null);
        fresh.insert("created_at", "2026-11-23T02:17:30Z");
        assert!(is_up(&fresh, NOW, Duration::from_mins(1)));
        assert!(!is_up(&fresh, NOW, Duration::from_secs(20)));
    }

    #[test]
    fn a_shard_is_ours_alone_and_a_conductor_group_is_shared_with_its_peers() {
        let services =
            [service("peer", "2026-11-23T02:17:59Z", false), service("other", "2026-11-23T02:17:59Z", false)];
        let sharded = Options { sharded: true, ..options() };
        assert_eq!(names(&members(&services, &sharded, NOW)), ["own"]);
        let grouped = Options { peers: Some(vec!["Own".into(), "peer".into()]), ..options() };
        assert_eq!(names(&members(&services, &grouped, NOW)), ["own", "peer"]);
    }

    fn captured() -> Object {
        let list: Value = serde_json::from_str(include_str!("../tests/data/compute_node_list.json")).unwrap();
        Object::from_value(list).unwrap().into_items().remove(0)
    }

    #[test]
    fn a_captured_record_is_read_with_plain_values() {
        let record = record(&captured()).unwrap();
        assert_eq!((record.id, record.node.to_string().as_str()), (6, NODE));
        assert_eq!(record.host.as_deref(), Some("lab-ironic"));
        assert!(!record.deleted);
        assert_eq!(record.fields["supported_hv_specs"], json!([["x86_64", "baremetal", "hvm"]]));
        assert_eq!(record.fields["pci_device_pools"], json!([]));
        assert_eq!(record.fields["stats"]["uptime"], Value::Null);
    }

    #[test]
    fn the_specs_that_are_written_are_the_objects_that_stock_writes() {
        let specs = json!([["x86_64", "baremetal", "hvm"]]);
        let written = wire("supported_hv_specs", &specs);
        assert_eq!(
            written,
            json!([{
                "nova_object.name": "HVSpec", "nova_object.namespace": "nova", "nova_object.version": "1.2",
                "nova_object.data": {"arch": "x86_64", "hv_type": "baremetal", "vm_mode": "hvm"},
                "nova_object.changes": ["arch", "hv_type", "vm_mode"],
            }])
        );
        assert_eq!(plain("supported_hv_specs", &written), specs);
    }

    #[test]
    fn a_save_names_the_record_and_writes_only_what_changed() {
        let changed = RecordFields::from([("memory_mb_used".to_owned(), json!(512))]);
        let node = NODE.parse().unwrap();
        let save = change(6, node, &changed, None).unwrap();
        assert_eq!(save.changes(), ["memory_mb_used"]);
        assert_eq!((save.int("id"), save.str("uuid")), (Some(6), Some(NODE)));
        assert!(change(6, node, &RecordFields::new(), None).is_none());
    }

    #[test]
    fn taking_a_record_brings_it_back_and_makes_it_ours() {
        let save = change(6, NODE.parse().unwrap(), &RecordFields::new(), Some(("own", 4))).unwrap();
        assert_eq!(save.changes(), ["deleted", "deleted_at", "host", "service_id"]);
        assert_eq!(save.get("deleted_at"), Some(&Value::Null));
        assert_eq!((save.bool("deleted"), save.int("service_id")), (Some(false), Some(4)));
    }

    #[test]
    fn a_new_record_is_made_whole_in_one_call() {
        let fields = record(&captured()).unwrap().fields;
        let made = creation(NODE.parse().unwrap(), "own", 4, &fields);
        assert_eq!(made.str("uuid"), Some(NODE));
        for database in ["id", "created_at", "mapped"] {
            assert!(!made.is_set(database), "{database}");
        }
        assert!(made.changes().iter().any(|field| field == "free_ram_mb"));
    }
}
