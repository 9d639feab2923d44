//! The instances of a stock Nova: records, faults and events, all through nova-conductor.

pub(crate) mod actions;
#[cfg(test)]
mod conformance;
mod disks;
mod groups;
pub mod reschedule;
pub mod save;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use compute::instance::{BlockDevice, Expect, Home, Instance, InstanceUpdate, VmState};
use compute::ports::{self, Action, Fault};
use compute::request::{BuildRequest, Kind};
use configdrive::network::NetworkInfo;
use driver::InstanceId;
use oslo::context::{ReadDeleted, RequestContext};
use oslo::object::Object;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::warn;
use uuid::Uuid;

use crate::conductor::{Conductor, Error, Pause, Repeat};
use crate::inventory::RecordIds;
use crate::objects::parse;

/// The attributes of an instance that work on it needs, beyond its own columns.
const NEEDED: [&str; 7] =
    ["flavor", "info_cache", "metadata", "system_metadata", "keypairs", "ec2_ids", "trusted_certs"];

/// How many instances one answer of a list holds: some 5 KiB each, and up to 64 KiB of user data.
const PAGE: usize = 200;

/// The port to the instances' records.
#[derive(Clone)]
pub struct Instances {
    conductor: Conductor,
    host: String,
    records: RecordIds,
}

impl Instances {
    /// The instances of the service on `host`, whose nodes have these records.
    pub fn new(conductor: Conductor, host: impl Into<String>, records: RecordIds) -> Self {
        Self { conductor, host: host.into(), records }
    }

    /// The number of the record of the node that an instance gets its home on.
    fn record_of(&self, home: &Home) -> ports::Result<i64> {
        self.records.get(home.node).ok_or_else(|| {
            ports::Error::Unavailable(format!("the record of node {} is not known yet", home.node))
        })
    }

    /// Saves a change. A call that was never answered is settled by reading the record: it was done, or it is done again.
    ///
    /// So is one that found the instance in another state than it expects: that may be this very change, of which an
    /// earlier copy was done after we gave up waiting for it, or which the broker has twice.
    async fn save(
        &self,
        context: &RequestContext,
        before: &Instance,
        change: &Object,
        expect: &Expect,
    ) -> ports::Result<Map<String, Value>> {
        let id = before.id;
        let mut pause = Pause::new(Instant::now() + self.conductor.options().patience);
        loop {
            let saved = self
                .conductor
                .act(context, change.clone(), "save", save::expected(expect), Repeat::Never)
                .await;
            let error = match saved {
                Ok(acted) => return Ok(save::columns(acted.updates)),
                Err(error) => error,
            };
            let is_final = error.is_other_state();
            if !is_final && (!error.is_transient() || !pause.wait().await) {
                return Err(error.about(id));
            }
            warn!(instance = %id, %error, "looking whether the change was saved");
            let now = self.record(context, id, &["system_metadata"]).await?;
            let now = now.ok_or(ports::Error::InstanceGone(id))?;
            if save::is_done(change, before, &now) {
                return Ok(now.data().clone());
            }
            if is_final {
                return Err(error.about(id));
            }
        }
    }

    /// The instances that these filters let through, with their flavors, page by page.
    async fn list(&self, context: &RequestContext, filters: Value) -> ports::Result<Vec<Instance>> {
        let mut found = Vec::new();
        let mut marker = Value::Null;
        loop {
            let page = self.page(context, &filters, marker, PAGE, "flavor").await?;
            let is_last = page.len() < PAGE;
            marker = page.last().and_then(|last| last.get("uuid")).cloned().unwrap_or_default();
            found.extend(page.iter().filter_map(|object| {
                parse::from_object(object)
                    .inspect_err(|error| warn!(%error, "an instance of this host is unreadable"))
                    .ok()
            }));
            if is_last {
                return Ok(found);
            }
        }
    }

    /// Instances that these filters let through, by their uuids, after this one, with one of the attributes that belong to them.
    async fn page(
        &self,
        context: &RequestContext,
        filters: &Value,
        marker: Value,
        limit: usize,
        attribute: &str,
    ) -> ports::Result<Vec<Object>> {
        let list = self.conductor.read_list(
            context,
            "InstanceList",
            "get_by_filters",
            json!([filters]),
            json!({"sort_keys": ["uuid"], "sort_dirs": ["asc"], "limit": limit, "marker": marker,
                "expected_attrs": [attribute]}),
        );
        Ok(list.await?)
    }

    /// The filters for those that live on this host.
    fn here(&self) -> Value {
        json!({"host": self.host, "deleted": false, "soft_deleted": true})
    }

    async fn record(
        &self,
        context: &RequestContext,
        id: InstanceId,
        attributes: &[&str],
    ) -> ports::Result<Option<Object>> {
        let answer = self
            .conductor
            .read_object(
                &context.with_read_deleted(ReadDeleted::Yes),
                "Instance",
                "get_by_uuid",
                json!([id.0.to_string()]),
                json!({ "expected_attrs": attributes }),
            )
            .await;
        match answer {
            Ok(object) => Ok(object),
            Err(error) if error.is("InstanceNotFound") => Ok(None),
            Err(error) => Err(error.about(id)),
        }
    }
}

#[async_trait]
impl ports::Instances for Instances {
    async fn get(&self, context: &RequestContext, id: InstanceId) -> ports::Result<Option<Instance>> {
        let Some(object) = self.record(context, id, &NEEDED).await? else { return Ok(None) };
        let instance = parse::from_object(&object);
        instance.map(Some).map_err(|error| ports::Error::Broken(error.to_string()))
    }

    async fn on_this_host(&self, context: &RequestContext) -> ports::Result<Vec<Instance>> {
        self.list(context, self.here()).await
    }

    async fn soft_deleted_here(&self, context: &RequestContext) -> ports::Result<Vec<Instance>> {
        let mut filters = json!({"host": self.host, "deleted": false, "soft_deleted": true});
        filters["vm_state"] = json!(VmState::SoftDeleted);
        filters["task_state"] = Value::Null;
        self.list(context, filters).await
    }

    async fn deleted_here(
        &self,
        context: &RequestContext,
        ids: &[InstanceId],
    ) -> ports::Result<Vec<Instance>> {
        let context = context.with_read_deleted(ReadDeleted::Yes);
        let filters = json!({"uuid": ids, "host": self.host, "deleted": true, "soft_deleted": false});
        self.list(&context, filters).await
    }

    async fn rescued_here(&self, context: &RequestContext) -> ports::Result<Vec<Instance>> {
        let rescued = json!(VmState::Rescued);
        let filters = json!({"host": self.host, "deleted": false, "vm_state": rescued, "task_state": null});
        self.list(context, filters).await
    }

    async fn networks_on_this_host(
        &self,
        context: &RequestContext,
        after: Option<InstanceId>,
        limit: usize,
    ) -> ports::Result<Vec<Instance>> {
        let marker = after.map_or(Value::Null, |after| after.to_string().into());
        let page = self.page(context, &self.here(), marker, limit, "info_cache").await?;
        let instances = page.iter().map(parse::from_object).collect::<Result<_, _>>();
        instances.map_err(|error| ports::Error::Broken(error.to_string()))
    }

    async fn ids_on_this_host(&self, context: &RequestContext) -> ports::Result<Vec<InstanceId>> {
        let ids = self
            .conductor
            .read(context, "InstanceList", "get_uuids_by_host", json!([self.host]), json!({}))
            .await?;
        serde_json::from_value::<Vec<Uuid>>(ids)
            .map(|ids| ids.into_iter().map(InstanceId).collect())
            .map_err(|_| Error::Malformed("InstanceList.get_uuids_by_host".to_owned()).into())
    }

    async fn update(
        &self,
        context: &RequestContext,
        instance: &mut Instance,
        update: InstanceUpdate,
        expect: Expect,
    ) -> ports::Result<()> {
        let record = match &update.home {
            Some(Some(home)) => Some(self.record_of(home)?),
            _ => None,
        };
        let Some(change) = save::primitive(instance, &update, record, OffsetDateTime::now_utc()) else {
            return Ok(());
        };
        let columns = self.save(context, instance, &change, &expect).await?;
        // The answer leaves out what it has in common with the change.
        parse::absorb(instance, change.data());
        parse::absorb(instance, &columns);
        Ok(())
    }

    async fn save_network(
        &self,
        context: &RequestContext,
        instance: &mut Instance,
        network: NetworkInfo,
    ) -> ports::Result<()> {
        let text = network.to_text().map_err(|error| ports::Error::Broken(error.to_string()))?;
        let mut cache = save::object("InstanceInfoCache");
        cache.insert("instance_uuid", instance.id.0.to_string());
        cache.set("network_info", text);
        match self.conductor.act(context, cache, "save", json!({}), Repeat::Freely).await {
            Ok(_) => {
                instance.network = network;
                Ok(())
            }
            Err(error) if error.is("InstanceInfoCacheNotFound") => {
                Err(ports::Error::InstanceGone(instance.id))
            }
            Err(error) => Err(error.about(instance.id)),
        }
    }

    async fn destroy(&self, context: &RequestContext, instance: &Instance) -> ports::Result<()> {
        let Some(record) = self.record(context, instance.id, &[]).await? else { return Ok(()) };
        if record.bool("deleted") == Some(true) {
            return Ok(());
        }
        let mut object = save::object("Instance");
        for field in ["id", "uuid", "host"] {
            // Without a host the record goes only while it still has none.
            if let Some(value) = record.get(field).filter(|value| !value.is_null()) {
                object.insert(field, value.clone());
            }
        }
        match self.conductor.act(context, object, "destroy", json!({}), Repeat::Freely).await {
            Ok(_) => Ok(()),
            Err(error) if error.is("InstanceNotFound") => Ok(()),
            Err(error) if error.is("ObjectActionError") => Err(ports::Error::Taken(error.to_string())),
            Err(error) => Err(error.about(instance.id)),
        }
    }

    async fn block_devices(
        &self,
        context: &RequestContext,
        id: InstanceId,
    ) -> ports::Result<Vec<BlockDevice>> {
        disks::list(&self.conductor, context, id).await
    }

    async fn save_device_name(
        &self,
        context: &RequestContext,
        device: &mut BlockDevice,
        name: &str,
    ) -> ports::Result<()> {
        let fields = Map::from_iter([("device_name".to_owned(), name.into())]);
        let (change, changed) = disks::change(device, fields)?;
        disks::send(&self.conductor, context, change).await?;
        *device = changed;
        Ok(())
    }

    async fn record_fault(
        &self,
        context: &RequestContext,
        id: InstanceId,
        fault: &Fault,
    ) -> ports::Result<()> {
        actions::record_fault(&self.conductor, context, &self.host, id, fault).await
    }

    async fn record_action(&self, context: &RequestContext, id: InstanceId, kind: Kind) -> ports::Result<()> {
        actions::record(&self.conductor, context, id, kind).await
    }

    async fn start_event(
        &self,
        context: &RequestContext,
        id: InstanceId,
        action: &Action,
        resumed: bool,
    ) -> ports::Result<()> {
        let event = actions::event(action);
        actions::start_event(&self.conductor, context, &self.host, id, event, resumed).await
    }

    async fn finish_event(
        &self,
        context: &RequestContext,
        id: InstanceId,
        action: &Action,
        failure: Option<(&str, &str)>,
    ) -> ports::Result<()> {
        actions::finish_event(&self.conductor, context, id, actions::event(action), failure).await
    }

    async fn clean_console_tokens(&self, context: &RequestContext, id: InstanceId) -> ports::Result<()> {
        self.conductor
            .class(
                context,
                "ConsoleAuthToken",
                "clean_console_auths_for_instance",
                json!([id.0.to_string()]),
                json!({}),
                Repeat::Freely,
            )
            .await
            .map(drop)
            .map_err(|error| error.about(id))
    }

    async fn check_group_policy(
        &self,
        context: &RequestContext,
        instance: &Instance,
        group: &str,
    ) -> ports::Result<()> {
        groups::check(&self.conductor, context, &self.host, instance, group).await
    }

    async fn reschedule(&self, request: &BuildRequest, reason: &str, details: &str) -> ports::Result<()> {
        reschedule::reschedule(&self.conductor, request, reason, details).await
    }
}
