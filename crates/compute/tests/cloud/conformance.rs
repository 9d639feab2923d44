//! The world keeps what every adapter keeps: what the tests in it show holds for a real control plane.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use compute::instance::{BlockDevice, Instance, TaskState};
use compute::ports::conformance::{instances, machines, networks, requests, vendor_data, volumes};
use compute::ports::{Action, Instances, Machines, Networks, Requests, VendorDataSource, Volumes};
use compute::request::{AddressChange, BuildRequest, NetworkRequest, PowerAction, Request, RescueAction};
use driver::{InstanceId, NodeId};
use ironic_sim::{Sim, State};
use oslo::context::RequestContext;
use uuid::Uuid;

use crate::world::{
    HOST, Port, Trouble, World, addresses, attach, crash_dump, delete, detach, power, rebuild, rescue, server,
};

/// A world, and its ports.
struct Cloud {
    world: Arc<World>,
    port: Port,
}

async fn cloud() -> Cloud {
    let world = World::new(Sim::builder().start().await);
    Cloud { port: Port(world.clone()), world }
}

impl Cloud {
    /// A new server on a node.
    fn server(&self) -> BuildRequest {
        let number = 1 + self.world.tables().instances.len() as u128;
        server(&self.world, number, NodeId(Uuid::from_u128(number)), true)
    }
}

#[async_trait]
impl instances::ControlPlane for Cloud {
    fn port(&self) -> &dyn Instances {
        &self.port
    }

    fn context(&self) -> RequestContext {
        RequestContext::admin()
    }

    fn host(&self) -> String {
        HOST.to_owned()
    }

    async fn has(&self, task: Option<TaskState>) -> InstanceId {
        let id = self.server().instance.id;
        let mut tables = self.world.tables();
        let instance = tables.instances.get_mut(&id).unwrap();
        (instance.host, instance.task_state) = (Some(HOST.to_owned()), task);
        tables.disks.insert(id, vec![BlockDevice { id: id.0, ..BlockDevice::default() }]);
        id
    }

    async fn manages(&self, node: NodeId) {
        self.world.tables().machines.insert(node, false);
    }

    async fn delete(&self, id: InstanceId) {
        self.world.tables().instances.get_mut(&id).unwrap().deleted = true;
    }

    async fn begun(&self, id: InstanceId, action: &Action) -> usize {
        let tables = self.world.tables();
        tables.events.iter().filter(|event| event.instance == id && event.action == *action).count()
    }

    async fn faults(&self, id: InstanceId) -> Vec<String> {
        let tables = self.world.tables();
        tables.faults.iter().filter(|(of, _)| *of == id).map(|(_, message)| message.clone()).collect()
    }
}

#[async_trait]
impl networks::Cloud for Cloud {
    fn port(&self) -> &dyn Networks {
        &self.port
    }

    async fn build(&self) -> BuildRequest {
        self.server()
    }

    async fn network(&self) -> Uuid {
        Uuid::from_u128(0xE7)
    }

    async fn bring(&self) -> Uuid {
        let port = Uuid::from_u128(0xB1);
        self.world.tables().users_ports.insert(port);
        port
    }

    async fn ports_of(&self, id: InstanceId) -> Vec<Uuid> {
        let tables = self.world.tables();
        tables.neutron.iter().filter(|(_, owner)| *owner == id).map(|(port, _)| *port).collect()
    }

    async fn has(&self, port: Uuid) -> bool {
        let tables = self.world.tables();
        tables.users_ports.contains(&port) || tables.neutron.iter().any(|(known, _)| *known == port)
    }
}

#[async_trait]
impl volumes::Cloud for Cloud {
    fn port(&self) -> &dyn Volumes {
        &self.port
    }

    async fn server(&self) -> (Instance, [BlockDevice; 2]) {
        let disks = [0xD1, 0xD2].map(|number| BlockDevice {
            id: Uuid::from_u128(number),
            source: "volume".to_owned(),
            destination: "volume".to_owned(),
            volume_id: Some(Uuid::from_u128(number)),
            delete_on_termination: number == 0xD1,
            ..BlockDevice::default()
        });
        self.world.tables().volumes.extend(disks.iter().map(|disk| (disk.volume_id.unwrap(), None)));
        (self.server().instance, disks)
    }

    async fn attached(&self) -> BTreeSet<Uuid> {
        let tables = self.world.tables();
        tables.volumes.iter().filter(|(_, to)| to.is_some()).map(|(volume, _)| *volume).collect()
    }

    async fn volumes(&self) -> BTreeSet<Uuid> {
        self.world.tables().volumes.keys().copied().collect()
    }
}

#[async_trait]
impl machines::Cloud for Cloud {
    fn port(&self) -> &dyn Machines {
        &self.port
    }

    async fn nodes(&self) -> Vec<NodeId> {
        let nodes = self.world.sim.enroll(4).into_iter().map(NodeId).collect();
        self.port.publish(&RequestContext::admin()).await.unwrap();
        nodes
    }

    async fn occupy(&self, node: NodeId, instance: Option<InstanceId>) {
        self.world.sim.update(node.0, |node| node.instance_uuid = instance.map(|id| id.0));
    }

    async fn clean(&self, node: NodeId, under_way: bool) {
        self.world.sim.hold(State::Cleaning);
        self.world.sim.set_state(node.0, if under_way { State::Cleaning } else { State::Available });
    }

    async fn hide(&self, node: NodeId) {
        self.world.sim.update(node.0, |node| node.hidden = true);
    }

    async fn hold(&self, instance: InstanceId, node: NodeId) {
        self.world.tables().allocations.insert(instance, node);
    }

    async fn is_offered(&self, node: NodeId) -> bool {
        self.world.tables().machines.get(&node) == Some(&false)
    }
}

#[async_trait]
impl requests::ControlPlane for Cloud {
    fn port(&self) -> &dyn Requests {
        &self.port
    }

    async fn ask(&self) -> Vec<Request> {
        let create = self.server();
        let id = create.instance.id;
        let mut asked =
            vec![create.into(), delete(&self.world, id).into(), crash_dump(&self.world, id).into()];
        for action in [
            PowerAction::Stop { gracefully: true },
            PowerAction::Start,
            PowerAction::Reboot { hard: true },
            PowerAction::SoftDelete,
            PowerAction::Restore,
        ] {
            asked.push(power(&self.world, id, action).into());
        }
        let rescues =
            [RescueAction::Rescue { password: None, image: None, gracefully: true }, RescueAction::Unrescue];
        asked.extend(rescues.map(|action| rescue(&self.world, id, action).into()));
        asked.push(rebuild(&self.world, id).into());
        let port = Uuid::from_u128(0xB1);
        asked.push(attach(&self.world, id, NetworkRequest::default()).into());
        asked.push(detach(&self.world, id, port).into());
        let changes =
            [AddressChange::Add { network: port }, AddressChange::Remove { address: "10.0.0.1".to_owned() }];
        asked.extend(changes.map(|change| addresses(&self.world, id, change).into()));
        asked
    }
}

#[async_trait]
impl vendor_data::Operator for Cloud {
    fn port(&self) -> &dyn VendorDataSource {
        &self.port
    }

    async fn is_away(&self) {
        self.world.trouble("vendor_data", Trouble::Unavailable);
    }
}

mod instances_of_the_world {
    compute::conformance!(instances, super::cloud());
}

mod machines_of_the_world {
    compute::conformance!(machines, super::cloud());
}

mod networks_of_the_world {
    compute::conformance!(networks, super::cloud());
}

mod requests_of_the_world {
    compute::conformance!(requests, super::cloud());
}

mod vendor_data_of_the_world {
    compute::conformance!(vendor_data, super::cloud());
}

mod volumes_of_the_world {
    compute::conformance!(volumes, super::cloud());
}
