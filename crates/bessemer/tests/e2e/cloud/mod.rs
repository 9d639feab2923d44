//! A cloud for one test: its message bus, its services, its Ironic, and what users do in it.

pub mod bus;
pub mod conductor;
mod neutron;
mod nova_conf;
mod placement;
pub mod services;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ironic_sim::{Sim, State};
use oslo::context::RequestContext;
use oslo::rpc::{CallError, Target};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::process::Process;
use crate::secrets::Secrets;
use crate::until::{until, until_so};
use bus::Bus;
use conductor::{Conductor, Row, Tables, list, primitive, row};
use services::Services;

/// A build and a delete, as a stock Nova sent them; and the names in them that are other ones here.
const BUILD: &str = include_str!("../../../../nova/tests/data/build_and_run_instance.json");
const TERMINATE: &str = include_str!("../../../../nova/tests/data/terminate_instance.json");
const CAPTURED_INSTANCE: &str = "2f7cfcfd-4a5b-4cc2-b73c-9ac0dc18007d";
const CAPTURED_NODE: &str = "c6f082e5-e01c-4b7e-8489-e565b1177045";
const CAPTURED_HOST: &str = "lab-ironic";

/// `[DEFAULT] host`.
pub const HOST: &str = "compute1";

/// A ping is answered at once or not at all.
const PING: Duration = Duration::from_millis(500);

pub struct Cloud {
    pub secrets: Arc<Secrets>,
    pub bus: Bus,
    pub conductor: Conductor,
    pub services: Services,
    pub sim: Sim,
    pub nodes: Vec<Uuid>,
    pub admin_port: u16,
    folder: tempfile::TempDir,
}

impl Cloud {
    /// A cloud with so many nodes. `more` is added to `nova.conf`, which begins anew with `[DEFAULT]`.
    pub async fn new(nodes: usize, more: &str) -> Self {
        let secrets = Arc::new(Secrets::new());
        let bus = Bus::new(&secrets.of("amqp@/:")).await;
        let sim = Sim::builder().start().await;
        let ipmi = json!({"ipmi_address": "192.0.2.1", "ipmi_username": "admin", "ipmi_password": secrets.of("ipmi")});
        let enroll = |_| {
            sim.enroll_with(|node| {
                node.other.insert("driver_info".to_owned(), ipmi.clone());
            })
        };
        let nodes = (0..nodes).map(enroll).collect();
        let conductor = Conductor::start(&bus.transport).await;
        let services = Services::start(secrets.clone(), sim.url()).await;
        let admin_port = free_port();
        let folder = tempfile::tempdir().unwrap();
        let cloud = Self { secrets, bus, conductor, services, sim, nodes, admin_port, folder };
        for name in ["state", "log"] {
            std::fs::create_dir(cloud.folder().join(name)).unwrap();
        }
        std::fs::write(
            cloud.folder().join("vendor.json"),
            json!({"static": cloud.secrets.of("static-vendordata")}).to_string(),
        )
        .unwrap();
        std::fs::write(cloud.configuration(), format!("{}\n[DEFAULT]\n{more}\n", nova_conf::text(&cloud)))
            .unwrap();
        cloud
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn configuration(&self) -> PathBuf {
        self.folder().join("nova.conf")
    }

    pub fn state(&self) -> PathBuf {
        self.folder().join("state")
    }

    /// The entries of the journal.
    pub fn journal(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.state().join("bessemer/journal"));
        files.into_iter().flatten().map(|file| file.unwrap().path()).collect()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder().join("log/nova-compute.log")).unwrap_or_default()
    }

    /// Starts the service; it serves when this returns, and the nodes can be booked.
    pub async fn start(&self) -> Process {
        let mut process = Process::start(&self.configuration(), self.folder());
        self.served(&mut process).await;
        until_so("the nodes are in Placement", || {
            let cloud = self.services.lock();
            self.nodes.iter().all(|node| cloud.placement.reserved(&node.to_string()).is_some())
        })
        .await;
        process
    }

    /// Waits until the service answers.
    pub async fn served(&self, process: &mut Process) {
        while self.ping().await.is_err() {
            assert!(process.is_alive(), "the service ended at its start");
        }
    }

    pub async fn ping(&self) -> Result<Value, CallError> {
        let target = Target { namespace: Some("baseapi".into()), version: "1.0".into(), ..compute() };
        self.bus.call(&RequestContext::admin(), &target, "ping", json!({"arg": "1.21 GigaWatts"}), PING).await
    }

    pub fn tables(&self) -> std::sync::MutexGuard<'_, Tables> {
        self.conductor.tables()
    }

    /// What nova-api and nova-conductor do for a new server on a node, up to the message to its compute service. Returns its id.
    pub async fn create_server(&self, node: Uuid) -> String {
        let id = Uuid::new_v4().to_string();
        let mut message = self.message(BUILD, &id, node);
        let args = &mut message["args"];
        args["admin_password"] = json!(self.secrets.of("admin-password"));
        args["injected_files"] =
            json!([["/etc/injected", STANDARD.encode(self.secrets.of("injected-file"))]]);
        let script = format!("#!/bin/sh\necho {}\n", self.secrets.of("user-data"));
        self.secrets.keep(&STANDARD.encode(&script));
        let instance = &mut args["instance"]["nova_object.data"];
        instance["user_data"] = json!(STANDARD.encode(script));
        {
            let mut tables = self.tables();
            instance["id"] = json!(tables.instances.len() + 1);
            tables.instances.insert(id.clone(), row(instance.clone()));
            let mut disk =
                row(args["block_device_mapping"]["nova_object.data"]["objects"][0]["nova_object.data"]
                    .clone());
            disk.insert("id".to_owned(), json!(tables.disks.len() + 1));
            tables.disks.push(disk.clone());
            args["block_device_mapping"] =
                list("BlockDeviceMappingList", "BlockDeviceMapping", [disk].iter());
            tables.actions.push((id.clone(), request_id(&message)));
        }
        self.services.lock().placement.claim(&id, &node.to_string());
        self.bus.send(&format!("compute.{HOST}"), &message).await;
        id
    }

    /// What nova-api does to delete a server.
    pub async fn delete_server(&self, id: &str) {
        let mut message = self.message(TERMINATE, id, Uuid::nil());
        {
            let mut tables = self.tables();
            tables.actions.push((id.to_owned(), request_id(&message)));
            let instance = tables.instances.get_mut(id).unwrap();
            instance.insert("task_state".to_owned(), json!("deleting"));
            message["args"]["instance"] = primitive("Instance", instance);
            let disks: Vec<Row> =
                tables.disks.iter().filter(|disk| disk["instance_uuid"] == id).cloned().collect();
            message["args"]["bdms"] = list("BlockDeviceMappingList", "BlockDeviceMapping", disks.iter());
        }
        self.bus.send(&format!("compute.{HOST}"), &message).await;
    }

    /// What nova-api does to change the power of a server's machine.
    pub async fn act(&self, id: &str, method: &str, task: &str, arguments: Value) {
        let mut message = self.message(TERMINATE, id, Uuid::nil());
        {
            let mut tables = self.tables();
            tables.actions.push((id.to_owned(), request_id(&message)));
            let instance = tables.instances.get_mut(id).unwrap();
            instance.insert("task_state".to_owned(), json!(task));
            message["args"] = arguments;
            message["args"]["instance"] = primitive("Instance", instance);
        }
        message["method"] = json!(method);
        self.bus.send(&format!("compute.{HOST}"), &message).await;
    }

    /// A captured message with this cloud's names in it.
    fn message(&self, captured: &str, id: &str, node: Uuid) -> Value {
        let text = captured
            .replace(CAPTURED_INSTANCE, id)
            .replace(CAPTURED_NODE, &node.to_string())
            .replace(CAPTURED_HOST, HOST);
        let mut message: Value = serde_json::from_str(&text).unwrap();
        message["_unique_id"] = json!(Uuid::new_v4().simple().to_string());
        message["_context_request_id"] = json!(format!("req-{}", Uuid::new_v4()));
        message["_context_auth_token"] = json!(self.secrets.of("user-token"));
        message
    }

    /// A server that is active already, without anything behind it: for requests that touch nothing.
    pub fn pretend_server(&self, task: Option<&str>, power: i64) -> (String, RequestContext) {
        let id = Uuid::new_v4().to_string();
        let message = self.message(BUILD, &id, self.nodes[0]);
        let mut instance = row(message["args"]["instance"]["nova_object.data"].clone());
        let context = RequestContext::from_message(message.as_object().unwrap());
        let mut tables = self.tables();
        instance
            .extend(row(json!({"id": tables.instances.len() + 1, "vm_state": "active", "task_state": task,
            "power_state": power, "host": HOST, "node": self.nodes[0]})));
        tables.instances.insert(id.clone(), instance);
        tables.actions.push((id.clone(), context.request_id.clone()));
        (id, context)
    }

    /// Waits until the server is active, and its action has ended.
    pub async fn active(&self, id: &str) {
        let ended = until("the build ends", || {
            let tables = self.tables();
            let (state, task) = tables.state(id);
            let done = tables.outcomes(id).iter().all(|(_, result)| result.is_some());
            (task.is_none() && state != "building" && done).then_some(state)
        })
        .await;
        assert_eq!(ended, "active", "{:?}", self.tables().faults_of(id));
    }

    /// Waits until the server is in error, and its action has ended.
    pub async fn in_error(&self, id: &str) {
        until_so("the server fails", || {
            let tables = self.tables();
            tables.state(id) == ("error".to_owned(), None)
                && tables.outcomes(id).iter().all(|(_, result)| result.is_some())
        })
        .await;
    }

    /// Waits until the server is deleted, and its action has ended.
    pub async fn deleted(&self, id: &str) {
        until_so("the server is deleted", || {
            let tables = self.tables();
            tables.instance(id)["deleted"] == true
                && tables.outcomes(id).iter().all(|(_, result)| result.is_some())
        })
        .await;
    }

    /// Nothing anywhere is left of any server, and the node can be booked again.
    pub async fn clean(&self, node: Uuid) {
        until_so("the journal is empty", || self.journal().is_empty()).await;
        self.sim.wait_for_state(node, State::Available).await;
        let left = self.sim.node(node);
        assert_eq!((left.instance_uuid, left.vifs(), left.targets.len()), (None, Vec::new(), 0));
        assert!(left.instance_info.is_empty(), "{:?}", left.instance_info);
        {
            let cloud = self.services.lock();
            assert_eq!(cloud.neutron.ports, Vec::<Value>::new());
            assert!(cloud.placement.allocations.is_empty(), "{:?}", cloud.placement.allocations);
        }
        until_so("the node can be booked", || {
            self.services.lock().placement.reserved(&node.to_string()) == Some(0)
        })
        .await;
    }

    /// Every service understood whatever it was asked.
    pub fn assert_understood(&self) {
        assert_eq!(self.services.lock().unknown, Vec::<String>::new());
        assert_eq!(self.tables().unknown, Vec::<String>::new());
    }
}

/// The compute service's main API.
pub fn compute() -> Target {
    Target { server: Some(HOST.into()), ..Target::topic("compute", "6.0") }
}

fn request_id(message: &Value) -> String {
    message["_context_request_id"].as_str().unwrap().to_owned()
}

/// A port that nobody listened at a moment ago.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
