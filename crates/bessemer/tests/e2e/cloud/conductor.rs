//! A nova-conductor with Nova's database in memory: what a compute service calls, with the database's own rules.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use oslo::context::{ReadDeleted, RequestContext};
use oslo::rpc::{Endpoint, Failure, Request, Server, ServerOptions, Transport};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_util::sync::CancellationToken;

/// What Nova 34 reports.
const VERSION: i64 = 74;

pub type Row = Map<String, Value>;

/// An event of an action.
#[derive(Clone, Debug)]
pub struct Event {
    pub instance: String,
    pub request: String,
    pub name: String,
    /// `Success` or `Error`; nothing while it is under way.
    pub result: Option<String>,
    pub details: Option<String>,
    pub traceback: Option<String>,
}

#[derive(Default)]
pub struct Tables {
    pub services: Vec<Row>,
    pub nodes: Vec<Row>,
    pub instances: BTreeMap<String, Row>,
    pub disks: Vec<Row>,
    pub ports: Vec<Row>,
    /// Instance and request of each action; its number is its place.
    pub actions: Vec<(String, String)>,
    pub events: Vec<Event>,
    pub faults: Vec<Row>,
    /// What was sent to `compute_task`.
    pub tasks: Vec<(String, Row)>,
    /// Calls that nobody expected.
    pub unknown: Vec<String>,
}

impl Tables {
    pub fn instance(&self, id: &str) -> &Row {
        &self.instances[id]
    }

    /// The instance's state and task.
    pub fn state(&self, id: &str) -> (String, Option<String>) {
        let text = |field: &str| self.instances[id][field].as_str().map(str::to_owned);
        (text("vm_state").unwrap_or_default(), text("task_state"))
    }

    /// Name and result of the instance's events.
    pub fn outcomes(&self, id: &str) -> Vec<(String, Option<String>)> {
        let of = self.events.iter().filter(|event| event.instance == id);
        of.map(|event| (event.name.clone(), event.result.clone())).collect()
    }

    /// The messages of the instance's faults.
    pub fn faults_of(&self, id: &str) -> Vec<String> {
        let of = self.faults.iter().filter(|fault| fault["instance_uuid"] == id);
        of.map(|fault| fault["message"].as_str().unwrap().to_owned()).collect()
    }
}

#[derive(Clone, Default)]
pub struct Conductor(Arc<Mutex<Tables>>);

impl Conductor {
    /// Serves until the runtime ends.
    pub async fn start(transport: &Transport) -> Self {
        let conductor = Self::default();
        let options = ServerOptions::new("conductor", "conductor1");
        let server = Server::new(transport.clone(), options, Arc::new(conductor.clone())).unwrap();
        let server = Arc::new(server);
        let serving = server.clone();
        tokio::spawn(async move { serving.run(CancellationToken::new()).await });
        server.ready().await;
        conductor
    }

    pub fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap()
    }
}

#[async_trait]
impl Endpoint for Conductor {
    async fn dispatch(&self, request: Request) -> Result<Value, Failure> {
        let args = &request.args;
        let mut tables = self.tables();
        match (request.namespace.as_deref(), request.method.as_str()) {
            (Some("baseapi"), "ping") => Ok(json!({"service": "conductor", "arg": args["arg"]})),
            (Some("compute_task"), method) => {
                tables.tasks.push((method.to_owned(), request.args));
                Ok(Value::Null)
            }
            (None, "object_class_action_versions") => {
                let (object, method) = (text(&args["objname"]), text(&args["objmethod"]));
                assert!(args["object_versions"][object].is_string(), "{object} is not in its own manifest");
                tables.class(&request.context, object, method, &args["args"], &args["kwargs"])
            }
            (None, "object_action") => {
                let object = &args["objinst"];
                assert_eq!(object["nova_object.namespace"], "nova");
                let name = text(&object["nova_object.name"]);
                let changes: Row = object["nova_object.changes"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|field| (text(field).to_owned(), object["nova_object.data"][text(field)].clone()))
                    .collect();
                let data = object["nova_object.data"].as_object().unwrap();
                let method = text(&args["objmethod"]);
                let updates = tables.act(&request.context, name, method, data, changes, &args["kwargs"])?;
                Ok(json!([updates, null]))
            }
            (_, method) => Err(tables.unknown(method)),
        }
    }
}

impl Tables {
    fn unknown(&mut self, method: &str) -> Failure {
        self.unknown.push(method.to_owned());
        Failure::no_such_method(method)
    }

    /// A class method.
    fn class(
        &mut self,
        context: &RequestContext,
        object: &str,
        method: &str,
        args: &Value,
        kwargs: &Value,
    ) -> Result<Value, Failure> {
        let deleted = context.read_deleted == ReadDeleted::Yes;
        let first = args[0].as_str().unwrap_or_default();
        let on_host = |row: &&Row| row["host"] == first && row["deleted"] == false;
        Ok(match (object, method) {
            ("Service", "get_minimum_version") => {
                json!(self.services.iter().filter_map(|row| row["version"].as_i64()).min().unwrap_or(0))
            }
            ("Service", "get_minimum_version_multi") => json!(VERSION),
            ("Service", "get_by_host_and_binary") => {
                let found = self.services.iter().find(|row| row["host"] == first && row["binary"] == args[1]);
                found.map_or(Value::Null, |row| primitive("Service", row))
            }
            ("ServiceList", "get_all_computes_by_hv_type") => {
                let has_nodes = |row: &&Row| self.nodes.iter().any(|node| node["service_id"] == row["id"]);
                list("ServiceList", "Service", self.services.iter().filter(has_nodes))
            }
            ("ComputeNodeList", "get_by_pagination") => {
                let (marker, limit) = (kwargs["marker"].as_u64(), kwargs["limit"].as_u64().unwrap());
                let after = |row: &&Row| row["id"].as_u64() > marker && row["deleted"] == false;
                let page = self.nodes.iter().filter(after).take(usize::try_from(limit).unwrap());
                list("ComputeNodeList", "ComputeNode", page)
            }
            ("ComputeNodeList", "get_all_by_uuids") => {
                let ids = args[0].as_array().unwrap();
                let wanted = |row: &&Row| ids.contains(&row["uuid"]) && (deleted || row["deleted"] == false);
                list("ComputeNodeList", "ComputeNode", self.nodes.iter().filter(wanted))
            }
            ("Instance", "get_by_uuid") => {
                let found = self.instances.get(first).filter(|row| deleted || row["deleted"] == false);
                primitive("Instance", found.ok_or_else(|| not_found(first))?)
            }
            ("InstanceList", "get_by_filters") => {
                let filters = &args[0];
                assert_eq!((&filters["deleted"], &filters["soft_deleted"]), (&json!(false), &json!(true)));
                assert_eq!((&kwargs["sort_keys"], &kwargs["sort_dirs"]), (&json!(["uuid"]), &json!(["asc"])));
                let marker = kwargs["marker"].as_str().unwrap_or_default();
                let limit = usize::try_from(kwargs["limit"].as_u64().unwrap()).unwrap();
                let here = |row: &&Row| row["host"] == filters["host"] && row["deleted"] == false;
                let page = self.instances.values().filter(here).filter(|row| text(&row["uuid"]) > marker);
                list("InstanceList", "Instance", page.take(limit))
            }
            ("InstanceList", "get_uuids_by_host") => {
                self.instances.values().filter(on_host).map(|row| row["uuid"].clone()).collect()
            }
            ("BlockDeviceMappingList", "get_by_instance_uuid") => {
                let of = self.disks.iter().filter(|row| row["instance_uuid"] == first);
                list("BlockDeviceMappingList", "BlockDeviceMapping", of)
            }
            ("VirtualInterfaceList", "get_by_instance_uuid") => {
                let of = self.ports.iter().filter(|row| row["instance_uuid"] == first);
                list("VirtualInterfaceList", "VirtualInterface", of)
            }
            ("VirtualInterface", "delete_by_instance_uuid") => {
                self.ports.retain(|row| row["instance_uuid"] != first);
                Value::Null
            }
            ("InstanceAction", "get_by_request_id") => {
                let found = self.actions.iter().position(|(of, by)| of == first && args[1] == **by);
                found.map_or(Value::Null, |at| primitive("InstanceAction", &row(json!({"id": at}))))
            }
            ("InstanceActionEventList", "get_by_action") => {
                let (instance, request) =
                    self.actions[usize::try_from(args[0].as_u64().unwrap()).unwrap()].clone();
                let of =
                    self.events.iter().filter(|event| event.instance == instance && event.request == request);
                let rows: Vec<Row> = of
                    .map(|event| {
                        row(json!({"event": event.name, "finish_time": event.result.as_ref().map(|_| now())}))
                    })
                    .collect();
                list("InstanceActionEventList", "InstanceActionEvent", rows.iter())
            }
            ("InstanceActionEvent", "event_start") => {
                self.action(first, context)?;
                self.events.push(Event {
                    instance: first.to_owned(),
                    request: context.request_id.clone(),
                    name: text(&args[1]).to_owned(),
                    result: None,
                    details: None,
                    traceback: None,
                });
                Value::Null
            }
            ("InstanceActionEvent", "event_finish_with_failure") => {
                self.action(first, context)?;
                let event = self.events.iter_mut().rev().find(|event| {
                    event.instance == first && event.request == context.request_id && args[1] == *event.name
                });
                let event =
                    event.ok_or_else(|| raised("InstanceActionEventNotFound", "no event".to_owned()))?;
                event.traceback = kwargs["exc_tb"].as_str().map(str::to_owned);
                event.details = kwargs["exc_val"].as_str().map(str::to_owned);
                event.result = Some(if event.traceback.is_some() { "Error" } else { "Success" }.to_owned());
                Value::Null
            }
            ("ConsoleAuthToken", method) if method.starts_with("clean_") => Value::Null,
            _ => return Err(self.unknown(&format!("{object}.{method}"))),
        })
    }

    fn action(&self, instance: &str, context: &RequestContext) -> Result<(), Failure> {
        let is_there = self.actions.iter().any(|(of, by)| of == instance && *by == context.request_id);
        is_there.then_some(()).ok_or_else(|| raised("InstanceActionNotFound", "no action".to_owned()))
    }

    /// A method of an object; returns the updates.
    fn act(
        &mut self,
        context: &RequestContext,
        object: &str,
        method: &str,
        data: &Row,
        changes: Row,
        kwargs: &Value,
    ) -> Result<Row, Failure> {
        let deleted = context.read_deleted == ReadDeleted::Yes;
        let mut updates = row(json!({"obj_what_changed": []}));
        match (object, method) {
            ("Service", "create") => {
                let id = 1 + self.services.len();
                updates.extend(row(
                    json!({"id": id, "disabled": false, "forced_down": false, "created_at": now(),
                    "last_seen_up": null, "deleted": false}),
                ));
                let mut service = changes;
                service.extend(updates.clone());
                self.services.push(service);
            }
            ("Service", "save") => {
                let service = find(&mut self.services, "id", &data["id"]).unwrap();
                if changes.contains_key("report_count") {
                    service.insert("last_seen_up".to_owned(), json!(now()));
                }
                service.extend(changes);
            }
            ("ComputeNode", "create") => {
                updates.extend(row(json!({"id": 100 + self.nodes.len(), "deleted": false, "mapped": 0})));
                let mut node = changes;
                node.extend(updates.clone());
                self.nodes.push(node);
            }
            ("ComputeNode", "save") => {
                find(&mut self.nodes, "id", &data["id"]).unwrap().extend(changes);
            }
            ("Instance", "save") => self.save(data, changes, kwargs, deleted)?,
            ("Instance", "destroy") => {
                let id = text(&data["uuid"]).to_owned();
                let instance = self.instances.get_mut(&id).ok_or_else(|| not_found(&id))?;
                assert_eq!(data["id"], instance["id"]);
                instance.extend(row(json!({"deleted": true, "deleted_at": now()})));
            }
            ("InstanceInfoCache", "save") => {
                let id = text(&data["instance_uuid"]).to_owned();
                let instance = self.instances.get_mut(&id).ok_or_else(|| not_found(&id))?;
                instance["info_cache"]["nova_object.data"]["network_info"] = changes["network_info"].clone();
            }
            ("InstanceFault", "create") => self.faults.push(changes),
            ("VirtualInterface", "create") => {
                if self.ports.iter().any(|row| row["uuid"] == changes["uuid"]) {
                    return Err(raised("VirtualInterfaceCreateException", "it is there".to_owned()));
                }
                self.ports.push(changes);
            }
            ("BlockDeviceMapping", "save") => {
                find(&mut self.disks, "id", &data["id"]).unwrap().extend(changes);
            }
            _ => return Err(self.unknown(&format!("{object}.{method}"))),
        }
        Ok(updates)
    }

    /// The database's compare and set.
    fn save(&mut self, data: &Row, changes: Row, kwargs: &Value, deleted: bool) -> Result<(), Failure> {
        let id = text(&data["uuid"]).to_owned();
        let instance = self.instances.get_mut(&id).filter(|row| deleted || row["deleted"] == false);
        let instance = instance.ok_or_else(|| not_found(&id))?;
        let task = instance["task_state"].clone();
        let expected = match &kwargs["expected_task_state"] {
            Value::Null => None,
            Value::Array(any) => Some(any.clone()),
            one => Some(vec![one.clone()]),
        };
        if expected.is_some_and(|expected| !expected.contains(&task)) {
            let class = if task == "deleting" {
                "UnexpectedDeletingTaskStateError"
            } else {
                "UnexpectedTaskStateError"
            };
            return Err(raised(class, format!("Conflict updating instance {id}. Actual: {task}")));
        }
        if changes.contains_key("node") && !changes.contains_key("compute_id") {
            return Err(raised("ObjectActionError", "node without compute_id".to_owned()));
        }
        instance.extend(changes);
        Ok(())
    }
}

fn find<'a>(rows: &'a mut [Row], field: &str, value: &Value) -> Option<&'a mut Row> {
    rows.iter_mut().find(|row| row.get(field) == Some(value))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub fn row(value: Value) -> Row {
    super::bus::map(value)
}

fn now() -> String {
    OffsetDateTime::now_utc().replace_nanosecond(0).unwrap().format(&Rfc3339).unwrap()
}

/// An object with all that its row has.
pub fn primitive(name: &str, data: &Row) -> Value {
    let version = match name {
        "Instance" => "2.8",
        "InstanceList" => "2.6",
        "Service" => "1.22",
        "ServiceList" | "ComputeNode" => "1.19",
        "ComputeNodeList" => "1.17",
        "BlockDeviceMapping" => "1.21",
        "BlockDeviceMappingList" => "1.18",
        "InstanceActionEvent" => "1.4",
        "VirtualInterface" => "1.3",
        "InstanceAction" => "1.2",
        "InstanceActionEventList" => "1.1",
        _ => "1.0",
    };
    json!({"nova_object.name": name, "nova_object.namespace": "nova", "nova_object.version": version,
        "nova_object.data": data})
}

/// A list object of such objects.
pub fn list<'a>(name: &str, member: &str, rows: impl Iterator<Item = &'a Row>) -> Value {
    let objects: Vec<Value> = rows.map(|data| primitive(member, data)).collect();
    primitive(name, &row(json!({ "objects": objects })))
}

fn raised(class: &str, message: String) -> Failure {
    Failure::nova(class, message, Map::new())
}

fn not_found(id: &str) -> Failure {
    raised("InstanceNotFound", format!("Instance {id} could not be found."))
}
