//! Servers and what is asked for them.

use std::collections::BTreeMap;

use compute::instance::{BlockDevice, Flavor, Instance, TaskState};
use compute::origin::Origin;
use compute::request::{
    AddressChange, AddressRequest, AttachRequest, BuildRequest, CrashDumpRequest, DeleteRequest,
    DetachRequest, NetworkRequest, NetworkRequests, PowerAction, PowerRequest, RebuildRequest, Request,
    RescueAction, RescueRequest,
};
use driver::{InstanceId, NodeId};
use oslo::context::RequestContext;
use serde_json::json;
use uuid::Uuid;

use super::World;

/// A server that the scheduler has just placed on a node.
pub fn server(world: &World, number: u128, node: NodeId, may_reschedule: bool) -> BuildRequest {
    let id = InstanceId(Uuid::from_u128(number));
    let instance = Instance {
        project_id: "project".to_owned(),
        user_id: "user".to_owned(),
        task_state: Some(TaskState::Scheduling),
        hostname: "server".to_owned(),
        display_name: "server".to_owned(),
        availability_zone: Some("nova".to_owned()),
        image_ref: Some(Uuid::from_u128(7).to_string()),
        flavor: Flavor {
            name: "bm".to_owned(),
            vcpus: 8,
            memory_mb: 16384,
            root_gb: 100,
            ..Flavor::default()
        },
        config_drive: Some("True".to_owned()),
        ..Instance::new(id)
    };
    let key = format!("{id} {node}");
    let request = BuildRequest {
        context: RequestContext::admin(),
        instance: instance.clone(),
        node,
        image_traits: Vec::new(),
        image_id: Some(Uuid::from_u128(7)),
        admin_password: Some("admin-password".into()),
        injected_files: Vec::new(),
        networks: NetworkRequests::Default,
        security_groups: Vec::new(),
        block_devices: Vec::new(),
        provider_mapping: BTreeMap::new(),
        server_group: None,
        may_reschedule,
        origin: Origin(json!(key)),
    };
    let mut tables = world.tables();
    tables.instances.insert(id, instance);
    tables.allocations.insert(id, node);
    tables.keep(&request);
    request
}

/// The same server with a volume that goes with it.
pub fn with_volume(world: &World, mut request: BuildRequest) -> BuildRequest {
    let volume = Uuid::from_u128(0xC0DE);
    request.block_devices = vec![BlockDevice {
        id: Uuid::from_u128(0xB000),
        source: "volume".to_owned(),
        destination: "volume".to_owned(),
        device_name: Some("/dev/sdb".to_owned()),
        volume_id: Some(volume),
        delete_on_termination: true,
        ..BlockDevice::default()
    }];
    let mut tables = world.tables();
    tables.volumes.insert(volume, None);
    tables.disks.insert(request.instance.id, request.block_devices.clone());
    tables.keep(&request);
    request
}

/// The same server with a port that the user made.
pub fn with_port(world: &World, mut request: BuildRequest) -> BuildRequest {
    let port = Uuid::from_u128(0xB047);
    let brought = NetworkRequest { port_id: Some(port), ..NetworkRequest::default() };
    request.networks = NetworkRequests::These(vec![brought]);
    let mut tables = world.tables();
    tables.users_ports.insert(port);
    tables.keep(&request);
    request
}

/// A server that came back and was placed on another node.
pub fn placed_again(world: &World, id: InstanceId, node: NodeId) -> BuildRequest {
    let mut tables = world.tables();
    let instance = tables.instances[&id].clone();
    let key = format!("{id} {node}");
    let create = |request: &Request| match request {
        Request::Create(request) => Some(request.clone()),
        _ => None,
    };
    let request = tables.requests.values().find_map(create).unwrap();
    let request = BuildRequest { instance, node, origin: Origin(json!(key)), ..request };
    tables.allocations.insert(id, node);
    tables.keep(&request);
    request
}

/// The request to delete a server, after the API has set its task.
pub fn delete(world: &World, id: InstanceId) -> DeleteRequest {
    let mut tables = world.tables();
    let instance = tables.instances.get_mut(&id).unwrap();
    instance.task_state = Some(TaskState::Deleting);
    let request = DeleteRequest {
        context: RequestContext::admin(),
        instance: instance.clone(),
        block_devices: Vec::new(),
        is_own: false,
        origin: Origin(json!(format!("delete {id}"))),
    };
    tables.keep(&request);
    request
}

/// The request for a crash dump.
pub fn crash_dump(world: &World, id: InstanceId) -> CrashDumpRequest {
    let mut tables = world.tables();
    let instance = tables.instances[&id].clone();
    let origin = Origin(json!(format!("crash dump {id}")));
    let request = CrashDumpRequest { context: RequestContext::admin(), instance, origin };
    tables.keep(&request);
    request
}

/// The request to change the power of a server's machine, after the API has set its task.
pub fn power(world: &World, id: InstanceId, action: PowerAction) -> PowerRequest {
    let task = match action {
        PowerAction::Stop { .. } => TaskState::PoweringOff,
        PowerAction::Start => TaskState::PoweringOn,
        PowerAction::Reboot { hard: false } => TaskState::Rebooting,
        PowerAction::Reboot { hard: true } => TaskState::RebootingHard,
        PowerAction::SoftDelete => TaskState::SoftDeleting,
        PowerAction::Restore => TaskState::Restoring,
    };
    let mut tables = world.tables();
    let instance = tables.instances.get_mut(&id).unwrap();
    instance.task_state = Some(task);
    let origin = Origin(json!(format!("{} {id}", action.kind().name())));
    let request =
        PowerRequest { context: RequestContext::admin(), instance: instance.clone(), action, origin };
    tables.keep(&request);
    request
}

/// The request to rescue a server or to end that, after the API has set its task.
pub fn rescue(world: &World, id: InstanceId, action: RescueAction) -> RescueRequest {
    let mut tables = world.tables();
    let instance = tables.instances.get_mut(&id).unwrap();
    let task = match action {
        RescueAction::Rescue { .. } => TaskState::Rescuing,
        RescueAction::Unrescue => TaskState::Unrescuing,
    };
    instance.task_state = Some(task);
    let origin = Origin(json!(format!("{} {id}", action.kind().name())));
    let request =
        RescueRequest { context: RequestContext::admin(), instance: instance.clone(), action, origin };
    tables.keep(&request);
    request
}

/// The image of a rebuild.
pub const IMAGE: Uuid = Uuid::from_u128(8);

/// The request to rebuild a server from [`IMAGE`], after the API has set its task and all that changes.
pub fn rebuild(world: &World, id: InstanceId) -> RebuildRequest {
    let mut tables = world.tables();
    let instance = tables.instances.get_mut(&id).unwrap();
    instance.task_state = Some(TaskState::Rebuilding);
    instance.image_ref = Some(IMAGE.to_string());
    let request = RebuildRequest {
        context: RequestContext::admin(),
        instance: instance.clone(),
        image_id: Some(IMAGE),
        image_traits: Vec::new(),
        admin_password: Some("another-password".into()),
        injected_files: Vec::new(),
        preserve_ephemeral: false,
        origin: Origin(json!(format!("rebuild {id}"))),
    };
    tables.keep(&request);
    request
}

/// The request for one more interface; nobody waits for it.
pub fn attach(world: &World, id: InstanceId, wanted: NetworkRequest) -> AttachRequest {
    let mut tables = world.tables();
    let (context, instance) = (RequestContext::admin(), tables.instances[&id].clone());
    let origin = Origin(json!(format!("attach {id}")));
    let request = AttachRequest { context, instance, wanted, answer: None, origin };
    tables.keep(&request);
    request
}

/// The request to take an interface away.
pub fn detach(world: &World, id: InstanceId, port: Uuid) -> DetachRequest {
    let mut tables = world.tables();
    let (context, instance) = (RequestContext::admin(), tables.instances[&id].clone());
    let origin = Origin(json!(format!("detach {id}")));
    let request = DetachRequest { context, instance, port: port.to_string(), origin };
    tables.keep(&request);
    request
}

/// The request to change the addresses of a server's port.
pub fn addresses(world: &World, id: InstanceId, change: AddressChange) -> AddressRequest {
    let mut tables = world.tables();
    let (context, instance) = (RequestContext::admin(), tables.instances[&id].clone());
    let origin = Origin(json!(format!("{} {id}", change.kind().name())));
    let request = AddressRequest { context, instance, change, origin };
    tables.keep(&request);
    request
}
