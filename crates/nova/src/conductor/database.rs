//! A conductor with Nova's rows of instances in memory, for tests: the methods that the port to the instances
//! calls, with the database's own rules (`nova/db/main/api.py`, `nova/objects/`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use oslo::context::{ReadDeleted, RequestContext};
use oslo::rpc::{CallError, Failure, Target};
use serde_json::{Map, Value, json};

use super::{Conductor, Options, Rpc};

/// The fields of a row.
pub type Row = Map<String, Value>;

/// An event of an action: `finish_time` is null while it is under way.
pub struct Event {
    pub instance: String,
    pub request: String,
    pub name: String,
    pub finish_time: Value,
}

/// The rows.
#[derive(Default)]
pub struct Tables {
    /// By uuid; deleted ones included.
    pub instances: BTreeMap<String, Row>,
    /// `info_cache` of each instance: its `network_info`.
    pub networks: BTreeMap<String, Value>,
    pub disks: Vec<Row>,
    pub events: Vec<Event>,
    pub faults: Vec<Row>,
}

/// The conductor and its database. Cheap to clone.
#[derive(Clone, Default)]
pub struct Database(Arc<Mutex<Tables>>);

impl Database {
    /// The client of this conductor.
    pub fn conductor(&self) -> Conductor {
        Conductor::new(Arc::new(self.clone()), Options::default())
    }

    /// The rows.
    pub fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap()
    }
}

#[async_trait]
impl Rpc for Database {
    async fn call(
        &self,
        context: &RequestContext,
        _: &Target,
        method: &str,
        args: Row,
        _: Duration,
    ) -> Result<Value, CallError> {
        let mut tables = self.tables();
        let done = if method == "object_action" {
            let object = &args["objinst"];
            let data = object["nova_object.data"].as_object().unwrap();
            let changes = object["nova_object.changes"].as_array().into_iter().flatten();
            let changes = changes.map(|field| (text(field).to_owned(), data[text(field)].clone())).collect();
            let name = format!("{}.{}", text(&object["nova_object.name"]), text(&args["objmethod"]));
            let acted = tables.act(context, &name, data, changes, &args["kwargs"]);
            acted.map(|()| json!([{"obj_what_changed": []}, null]))
        } else {
            let name = format!("{}.{}", text(&args["objname"]), text(&args["objmethod"]));
            tables.class(context, &name, &args["args"], &args["kwargs"])
        };
        done.map_err(CallError::Remote)
    }

    async fn cast(
        &self,
        _: &RequestContext,
        _: &Target,
        method: &str,
        _: Row,
        _: Duration,
    ) -> Result<(), CallError> {
        panic!("{method} has no answer here")
    }
}

impl Tables {
    /// A class method.
    fn class(
        &mut self,
        context: &RequestContext,
        name: &str,
        args: &Value,
        kwargs: &Value,
    ) -> Result<Value, Failure> {
        let first = text(&args[0]);
        let lives = |row: &&Row| row["deleted"] == false;
        Ok(match name {
            "Instance.get_by_uuid" => {
                let deleted = context.read_deleted == ReadDeleted::Yes;
                let found = self.instances.get(first).filter(|row| deleted || lives(row));
                let row = found.ok_or_else(|| not_found(first))?;
                primitive("Instance", &self.joined(row, &kwargs["expected_attrs"]))
            }
            "InstanceList.get_by_filters" => {
                let deleted = args[0]["deleted"] == true && context.read_deleted == ReadDeleted::Yes;
                let here = self.instances.values().filter(|row| lives(row) != deleted);
                let asked = args[0].get("uuid").and_then(Value::as_array);
                let here = here.filter(|row| asked.is_none_or(|asked| asked.contains(&row["uuid"])));
                let exact = ["host", "vm_state", "task_state"];
                let wanted = exact.iter().filter_map(|field| Some((*field, args[0].get(field)?)));
                let here = here.filter(|row| wanted.clone().all(|(field, value)| row[field] == *value));
                let marker = kwargs["marker"].as_str().unwrap_or_default();
                let limit = kwargs["limit"].as_u64().and_then(|limit| usize::try_from(limit).ok());
                let here = here.filter(|row| text(&row["uuid"]) > marker).take(limit.unwrap_or(usize::MAX));
                let joined = here.map(|row| self.joined(row, &kwargs["expected_attrs"]));
                list("Instance", &joined.collect::<Vec<_>>())
            }
            "InstanceList.get_uuids_by_host" => {
                let here = self.instances.values().filter(lives).filter(|row| row["host"] == first);
                here.map(|row| row["uuid"].clone()).collect()
            }
            "BlockDeviceMappingList.get_by_instance_uuid" => {
                let of = self.disks.iter().filter(|row| row["instance_uuid"] == first);
                list("BlockDeviceMapping", &of.cloned().collect::<Vec<_>>())
            }
            // The API makes the action of each request that it sends; its number does not matter here.
            "InstanceAction.get_by_request_id" => primitive("InstanceAction", &row(json!({"id": 1}))),
            "InstanceActionEventList.get_by_action" => {
                let of = self.events.iter().filter(|event| event.request == context.request_id);
                let rows =
                    of.map(|event| row(json!({"event": event.name, "finish_time": event.finish_time})));
                list("InstanceActionEvent", &rows.collect::<Vec<_>>())
            }
            "InstanceAction.action_start" => Value::Null,
            "InstanceActionEvent.event_start" => {
                self.events.push(Event {
                    instance: first.to_owned(),
                    request: context.request_id.clone(),
                    name: text(&args[1]).to_owned(),
                    finish_time: Value::Null,
                });
                Value::Null
            }
            "InstanceActionEvent.event_finish_with_failure" => {
                let is_it = |event: &&mut Event| event.instance == first && event.name == text(&args[1]);
                let event = self.events.iter_mut().rev().find(is_it);
                let event = event.ok_or_else(|| raised("InstanceActionEventNotFound"))?;
                event.finish_time = json!("2026-11-23T02:18:59Z");
                Value::Null
            }
            other => panic!("{other} is not expected"),
        })
    }

    /// A method of an object.
    fn act(
        &mut self,
        context: &RequestContext,
        name: &str,
        data: &Row,
        changes: Row,
        kwargs: &Value,
    ) -> Result<(), Failure> {
        match name {
            "Instance.save" => self.save(context, data, changes, kwargs),
            "Instance.destroy" => {
                let id = text(&data["uuid"]);
                let instance = self.instances.get_mut(id).filter(|row| row["deleted"] == false);
                instance.ok_or_else(|| not_found(id))?.insert("deleted".to_owned(), json!(true));
                Ok(())
            }
            "InstanceInfoCache.save" => {
                self.networks
                    .insert(text(&data["instance_uuid"]).to_owned(), changes["network_info"].clone());
                Ok(())
            }
            "InstanceFault.create" => {
                // The column is a foreign key: a row that is purged is missed, one that is deleted is not.
                let is_there = self.instances.contains_key(text(&changes["instance_uuid"]));
                is_there.then_some(()).ok_or_else(|| raised("DBReferenceError"))?;
                self.faults.push(changes);
                Ok(())
            }
            "BlockDeviceMapping.save" => {
                let disk = self.disks.iter_mut().find(|row| row["id"] == data["id"]);
                disk.unwrap().extend(changes);
                Ok(())
            }
            other => panic!("{other} is not expected"),
        }
    }

    /// Compares and sets. What is in `system_metadata` is written as it comes: what is missing in it is
    /// deleted.
    fn save(
        &mut self,
        context: &RequestContext,
        data: &Row,
        changes: Row,
        kwargs: &Value,
    ) -> Result<(), Failure> {
        let (id, deleted) = (text(&data["uuid"]), context.read_deleted == ReadDeleted::Yes);
        let instance = self.instances.get_mut(id).filter(|row| deleted || row["deleted"] == false);
        let instance = instance.ok_or_else(|| not_found(id))?;
        let task = &instance["task_state"];
        if let Value::Array(expected) = &kwargs["expected_task_state"]
            && !expected.contains(task)
        {
            let is_deleting = task == "deleting";
            return Err(raised(if is_deleting {
                "UnexpectedDeletingTaskStateError"
            } else {
                "UnexpectedTaskStateError"
            }));
        }
        if changes.contains_key("node") && !changes.contains_key("compute_id") {
            return Err(raised("ObjectActionError"));
        }
        instance.extend(changes);
        Ok(())
    }

    /// The row with those of its attributes that were asked for.
    fn joined(&self, row: &Row, attributes: &Value) -> Row {
        let wanted = |name: &str| attributes.as_array().is_some_and(|list| list.contains(&json!(name)));
        let mut row = row.clone();
        if !wanted("system_metadata") {
            row.remove("system_metadata");
        }
        if wanted("info_cache") {
            let text = self.networks.get(text(&row["uuid"])).cloned().unwrap_or(json!("[]"));
            let cache = primitive("InstanceInfoCache", &self::row(json!({ "network_info": text })));
            row.insert("info_cache".to_owned(), cache);
        }
        row
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The fields of a `json!({…})`.
pub fn row(value: Value) -> Row {
    super::arguments(value)
}

fn primitive(name: &str, data: &Row) -> Value {
    json!({"nova_object.name": name, "nova_object.namespace": "nova",
        "nova_object.version": super::version_of(name).unwrap_or("1.0"), "nova_object.data": data})
}

fn list(member: &str, rows: &[Row]) -> Value {
    let objects: Vec<Value> = rows.iter().map(|data| primitive(member, data)).collect();
    primitive(&format!("{member}List"), &row(json!({ "objects": objects })))
}

fn raised(class: &str) -> Failure {
    Failure::nova(class, format!("{class} was raised"), Map::new())
}

fn not_found(id: &str) -> Failure {
    Failure::nova("InstanceNotFound", format!("Instance {id} could not be found."), Map::new())
}
