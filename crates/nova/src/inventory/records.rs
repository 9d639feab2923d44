//! The compute node records of a stock Nova, and who shares the nodes with us.
//!
//! Facts: `nova/objects/compute_node.py`, `nova/virt/ironic/driver.py` (`_refresh_hash_ring`).

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use compute::ports;
use driver::NodeId;
use oslo::context::{ReadDeleted, RequestContext};
use oslo::object::Object;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::warn;

use super::books::{ComputeNodes, Record, RecordFields};
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
pub struct Records {
    conductor: Conductor,
    options: Options,
    /// `options.peers` as of the last reload.
    peers: Arc<Mutex<Option<Vec<String>>>>,
    /// The number of our service's record.
    service: i64,
}

impl Records {
    /// The records of the service whose own record has the number `service`.
    pub fn new(conductor: Conductor, options: Options, service: i64) -> Self {
        let peers = Arc::new(Mutex::new(options.peers.clone()));
        Self { conductor, options, peers, service }
    }

    /// Takes a changed `peer_list`; it holds from the next report on.
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
impl ComputeNodes for Records {
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
