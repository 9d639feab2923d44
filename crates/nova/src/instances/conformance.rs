//! The port keeps what every adapter keeps, over a conductor with Nova's rows.

use async_trait::async_trait;
use compute::instance::TaskState;
use compute::ports::conformance::instances::ControlPlane;
use compute::ports::{self, Action};
use driver::{InstanceId, NodeId};
use oslo::context::RequestContext;
use serde_json::json;
use uuid::Uuid;

use super::{Instances, actions};
use crate::conductor::database::{Database, row};
use crate::inventory::RecordIds;

const HOST: &str = "lab-ironic";

struct Cloud {
    database: Database,
    port: Instances,
    records: RecordIds,
    context: RequestContext,
}

fn cloud() -> Cloud {
    let database = Database::default();
    let records = RecordIds::default();
    let port = Instances::new(database.conductor(), HOST, records.clone());
    Cloud { database, port, records, context: RequestContext::admin() }
}

#[async_trait]
impl ControlPlane for Cloud {
    fn port(&self) -> &dyn ports::Instances {
        &self.port
    }

    fn context(&self) -> RequestContext {
        self.context.clone()
    }

    fn host(&self) -> String {
        HOST.to_owned()
    }

    async fn has(&self, task: Option<TaskState>) -> InstanceId {
        let mut tables = self.database.tables();
        let number = 1 + tables.instances.len();
        let id = Uuid::from_u128(number as u128);
        let instance = json!({"id": number, "uuid": id, "host": HOST, "node": null, "vm_state": "building",
            "task_state": task, "power_state": 0, "deleted": false,
            "system_metadata": {"old_vm_state": "active"}});
        tables.instances.insert(id.to_string(), row(instance));
        tables.disks.push(row(json!({"id": number, "uuid": id, "instance_uuid": id, "device_name": null,
            "source_type": "image", "destination_type": "local"})));
        InstanceId(id)
    }

    async fn manages(&self, node: NodeId) {
        self.records.set(node, 7);
    }

    async fn delete(&self, id: InstanceId) {
        let mut tables = self.database.tables();
        let instance = tables.instances.get_mut(&id.to_string()).unwrap();
        instance.insert("deleted".to_owned(), json!(true));
    }

    async fn begun(&self, id: InstanceId, action: &Action) -> usize {
        let tables = self.database.tables();
        let is_it = |event: &&crate::conductor::database::Event| {
            event.instance == id.to_string() && event.name == actions::event(action)
        };
        tables.events.iter().filter(is_it).count()
    }

    async fn faults(&self, id: InstanceId) -> Vec<String> {
        let tables = self.database.tables();
        let of = tables.faults.iter().filter(|fault| fault["instance_uuid"] == id.to_string());
        of.map(|fault| fault["message"].as_str().unwrap().to_owned()).collect()
    }
}

compute::conformance!(instances, std::future::ready(cloud()));
