//! The ports of the compute manager, onto the world's tables.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use compute::instance::{
    BlockDevice, BuildNetworks, Expect, Home, Instance, InstanceUpdate, TaskState, VmState,
};
use compute::machines::shows_other_power;
use compute::origin::Origin;
use compute::ports::{
    Action, Announcer, Connector, Error, Event, Fault, Found, Instances, Machines, Phase, Published,
    Requests, Result, VendorData, VendorDataSource, Volumes,
};
use compute::request::{
    BuildRequest, DeleteRequest, Kind, PowerAction, PowerRequest, Request, RescueAction, RescueRequest,
};
use configdrive::network::NetworkInfo;
use driver::{InstanceId, NodeId};
use ironic_sim::State;
use openstack::ironic::NewVolumeTarget;
use oslo::context::RequestContext;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{HOST, Recorded, Tables, World};

/// Every port at once.
pub struct Port(pub Arc<World>);

#[async_trait]
impl Instances for Port {
    async fn get(&self, _: &RequestContext, id: InstanceId) -> Result<Option<Instance>> {
        self.0.call("get", |t| Ok(t.instances.get(&id).cloned())).await
    }

    async fn on_this_host(&self, _: &RequestContext) -> Result<Vec<Instance>> {
        let here = |i: &&Instance| i.host.as_deref() == Some(HOST) && !i.deleted;
        self.0.call("on_this_host", |t| Ok(t.instances.values().filter(here).cloned().collect())).await
    }

    async fn soft_deleted_here(&self, _: &RequestContext) -> Result<Vec<Instance>> {
        let waits = |i: &&Instance| {
            i.host.as_deref() == Some(HOST)
                && !i.deleted
                && i.vm_state == VmState::SoftDeleted
                && i.task_state.is_none()
        };
        self.0.call("soft_deleted_here", |t| Ok(t.instances.values().filter(waits).cloned().collect())).await
    }

    async fn deleted_here(&self, _: &RequestContext, ids: &[InstanceId]) -> Result<Vec<Instance>> {
        let is_it = |i: &&Instance| ids.contains(&i.id) && i.deleted && i.host.as_deref() == Some(HOST);
        self.0.call("deleted_here", |t| Ok(t.instances.values().filter(is_it).cloned().collect())).await
    }

    async fn rescued_here(&self, _: &RequestContext) -> Result<Vec<Instance>> {
        let is_rescued = |i: &&Instance| {
            i.host.as_deref() == Some(HOST)
                && !i.deleted
                && i.vm_state == VmState::Rescued
                && i.task_state.is_none()
        };
        self.0.call("rescued_here", |t| Ok(t.instances.values().filter(is_rescued).cloned().collect())).await
    }

    async fn networks_on_this_host(
        &self,
        _: &RequestContext,
        after: Option<InstanceId>,
        limit: usize,
    ) -> Result<Vec<Instance>> {
        let page = |tables: &mut Tables| {
            let here = |i: &&Instance| {
                i.host.as_deref() == Some(HOST) && !i.deleted && after.is_none_or(|after| i.id.0 > after.0)
            };
            let mut here: Vec<Instance> = tables.instances.values().filter(here).cloned().collect();
            here.sort_by_key(|instance| instance.id.0);
            here.truncate(limit);
            Ok(here)
        };
        self.0.call("networks_on_this_host", page).await
    }

    async fn update(
        &self,
        _: &RequestContext,
        instance: &mut Instance,
        update: InstanceUpdate,
        expect: Expect,
    ) -> Result<()> {
        let id = instance.id;
        let updated = self
            .0
            .call("update", |t| {
                let stored =
                    t.instances.get_mut(&id).filter(|i| !i.deleted).ok_or(Error::InstanceGone(id))?;
                if let Expect::Task(tasks) = &expect
                    && !tasks.contains(&stored.task_state)
                {
                    let text = format!("task is {:?}", stored.task_state);
                    return Err(match stored.task_state {
                        Some(TaskState::Deleting) => Error::Deleting(text),
                        _ => Error::UnexpectedTask(text),
                    });
                }
                apply(stored, update);
                Ok(stored.clone())
            })
            .await?;
        *instance = updated;
        Ok(())
    }

    async fn save_network(
        &self,
        _: &RequestContext,
        instance: &mut Instance,
        network: NetworkInfo,
    ) -> Result<()> {
        let id = instance.id;
        instance.network = network.clone();
        self.0
            .call("save_network", |t| {
                t.instances.get_mut(&id).ok_or(Error::InstanceGone(id))?.network = network;
                Ok(())
            })
            .await
    }

    async fn destroy(&self, _: &RequestContext, instance: &Instance) -> Result<()> {
        let id = instance.id;
        self.0
            .call("destroy", |t| {
                if let Some(instance) = t.instances.get_mut(&id) {
                    instance.deleted = true;
                }
                Ok(())
            })
            .await
    }

    async fn block_devices(&self, _: &RequestContext, id: InstanceId) -> Result<Vec<BlockDevice>> {
        self.0.call("block_devices", |t| Ok(t.disks.get(&id).cloned().unwrap_or_default())).await
    }

    async fn save_device_name(&self, _: &RequestContext, device: &mut BlockDevice, name: &str) -> Result<()> {
        let named = BlockDevice { device_name: Some(name.to_owned()), ..device.clone() };
        self.0
            .call("save_device_name", |t| {
                let stored = t.disks.values_mut().flatten().find(|disk| disk.id == named.id);
                stored.unwrap().clone_from(&named);
                Ok(())
            })
            .await?;
        *device = named;
        Ok(())
    }

    async fn record_fault(&self, _: &RequestContext, id: InstanceId, fault: &Fault) -> Result<()> {
        let message = fault.message.clone();
        self.0
            .call("record_fault", |t| {
                t.faults.push((id, message));
                Ok(())
            })
            .await
    }

    async fn record_action(&self, _: &RequestContext, id: InstanceId, kind: Kind) -> Result<()> {
        self.0
            .call("record_action", |t| {
                t.actions.push((id, kind));
                Ok(())
            })
            .await
    }

    async fn start_event(
        &self,
        _: &RequestContext,
        id: InstanceId,
        action: &Action,
        resumed: bool,
    ) -> Result<()> {
        let event = Recorded { instance: id, action: action.clone(), failure: None };
        self.0
            .call("start_event", |t| {
                if !resumed || !t.events.contains(&event) {
                    t.events.push(event);
                }
                Ok(())
            })
            .await
    }

    async fn finish_event(
        &self,
        _: &RequestContext,
        id: InstanceId,
        action: &Action,
        failure: Option<(&str, &str)>,
    ) -> Result<()> {
        let failure = failure.map(|(message, _)| message.to_owned());
        self.0
            .call("finish_event", |t| {
                let open = |e: &&mut Recorded| e.instance == id && e.action == *action && e.failure.is_none();
                if let Some(event) = t.events.iter_mut().rev().find(open) {
                    event.failure = Some(failure);
                }
                Ok(())
            })
            .await
    }

    async fn clean_console_tokens(&self, _: &RequestContext, _: InstanceId) -> Result<()> {
        self.0.call("clean_console_tokens", |_| Ok(())).await
    }

    async fn reschedule(&self, request: &BuildRequest, _: &str, _: &str) -> Result<()> {
        let id = request.instance.id;
        if let Some(act) = &*self.0.rescheduled.lock().unwrap() {
            act();
        }
        let (world, node) = (self.0.clone(), request.node);
        self.0
            .call("reschedule", move |t| {
                t.rescheduled.push(id);
                let conductor = world.conductor.clone();
                conductor.spawn(async move {
                    // The conductor takes its time to claim another node, if there is one.
                    tokio::time::sleep(std::time::Duration::from_secs(35)).await;
                    let mut tables = world.tables();
                    let taken: Vec<NodeId> = tables.allocations.values().copied().collect();
                    let other = tables.machines.keys().find(|n| **n != node && !taken.contains(n)).copied();
                    if let Some(other) = other {
                        tables.allocations.insert(id, other);
                    }
                });
                Ok(())
            })
            .await
    }
}

impl Requests for Port {
    fn decode(&self, kind: Kind, origin: &Value) -> Option<Request> {
        let request = self.0.tables().requests.get(origin.as_str()?).cloned();
        request.filter(|request| request.kind() == kind)
    }

    fn own_delete(&self, context: &RequestContext, instance: &Instance) -> Request {
        let request = DeleteRequest {
            context: context.clone(),
            instance: instance.clone(),
            block_devices: Vec::new(),
            is_own: true,
            origin: Origin(json!(format!("own delete {}", instance.id))),
        };
        self.0.tables().keep(&request);
        request.into()
    }

    fn own_stop(&self, context: &RequestContext, instance: &Instance) -> Request {
        let request = PowerRequest {
            context: context.clone(),
            instance: instance.clone(),
            action: PowerAction::Stop { gracefully: true },
            origin: Origin(json!(format!("own stop {}", instance.id))),
        };
        self.0.tables().keep(&request);
        request.into()
    }

    fn own_unrescue(&self, context: &RequestContext, instance: &Instance) -> Request {
        let request = RescueRequest {
            context: context.clone(),
            instance: instance.clone(),
            action: RescueAction::Unrescue,
            origin: Origin(json!(format!("own unrescue {}", instance.id))),
        };
        self.0.tables().keep(&request);
        request.into()
    }
}

fn apply(stored: &mut Instance, update: InstanceUpdate) {
    if let Some(state) = update.vm_state {
        stored.vm_state = state;
    }
    if let Some(task) = update.task_state {
        stored.task_state = task;
    }
    if let Some(power) = update.power {
        stored.power = power;
    }
    if let Some(home) = update.home {
        stored.host = home.as_ref().map(|home| home.host.clone());
        stored.node = home.map(|home| home.node);
    }
    if let Some(roles) = update.boot_roles {
        stored.boot_roles = roles;
    }
    if let Some(networks) = update.build_networks {
        stored.networks_allocated = networks == BuildNetworks::Allocated;
    }
    if let Some(name) = update.root_device_name {
        stored.root_device_name = Some(name);
    }
    if update.deleted_now {
        stored.deleted_at = Some(SystemTime::now());
    }
    if update.launched_now {
        stored.launched_at = Some(SystemTime::now());
    }
}

#[async_trait]
impl Machines for Port {
    async fn publish(&self, _: &RequestContext) -> Result<Published> {
        self.0
            .call("publish", |t| {
                let mut written = 0;
                let nodes = self.0.sim.nodes();
                for node in &nodes {
                    let withheld = is_withheld(node);
                    written += usize::from(t.machines.insert(NodeId(node.uuid), withheld) != Some(withheld));
                }
                let found = found(t, &nodes);
                Ok(Published { nodes: nodes.len(), written, found, ..Published::default() })
            })
            .await
    }

    async fn publish_one(&self, _: &RequestContext, node: NodeId, _: Option<&Instance>) -> Result<()> {
        self.0
            .call("report", |t| {
                let found = self.0.sim.find(node.0);
                if found.as_ref().is_some_and(|node| node.hidden) {
                    return Err(Error::Unavailable("Ironic does not show the node".to_owned()));
                }
                if let Some(found) = found {
                    t.machines.insert(node, is_withheld(&found));
                }
                Ok(())
            })
            .await
    }

    fn is_withheld(&self, node: NodeId) -> bool {
        self.0.tables().machines.get(&node) == Some(&true)
    }

    async fn home(&self, _: &RequestContext, node: NodeId) -> Result<Option<Home>> {
        let home = || Home { host: HOST.to_owned(), node };
        self.0.call("home", |t| Ok(t.machines.contains_key(&node).then(home))).await
    }

    async fn held_by(&self, instance: InstanceId) -> Result<Vec<NodeId>> {
        self.0.call("held_by", |t| Ok(t.allocations.get(&instance).copied().into_iter().collect())).await
    }

    async fn release(&self, _: &RequestContext, instance: InstanceId) -> Result<()> {
        self.0
            .call("release", |t| {
                if let Some(node) = t.allocations.remove(&instance) {
                    let being_cleaned = self.0.sim.find(node.0).is_some_and(|node| {
                        matches!(node.provision_state, State::Deleting | State::Cleaning)
                    });
                    if being_cleaned && t.machines.get(&node) != Some(&true) {
                        t.let_go_dirty.push(node);
                    }
                }
                Ok(())
            })
            .await
    }

    fn build_ended(&self, _: NodeId, _: bool) {}

    fn set_enabled(&self, _: bool) {}
}

/// What Ironic's list and the servers' show by the way.
fn found(tables: &Tables, nodes: &[ironic_sim::Node]) -> Found {
    let mut found = Found::default();
    for node in nodes {
        let Some(id) = node.instance_uuid.map(InstanceId) else { continue };
        let shown = openstack::ironic::Node {
            power_state: node.power_state.as_deref().unwrap_or_default().into(),
            ..openstack::ironic::Node::new(NodeId(node.uuid))
        };
        match tables.instances.get(&id).filter(|instance| !instance.deleted) {
            Some(instance) if shows_other_power(instance, &shown) => drop(found.other_power.insert(id)),
            Some(_) => {}
            None => drop(found.strangers.insert((NodeId(node.uuid), id))),
        }
    }
    found
}

/// Whether nobody may book a machine.
fn is_withheld(node: &ironic_sim::Node) -> bool {
    node.instance_uuid.is_some() || node.maintenance || node.provision_state != State::Available
}

#[async_trait]
impl Volumes for Port {
    async fn attach(
        &self,
        _: &RequestContext,
        instance: &Instance,
        devices: &mut [BlockDevice],
        _: &Connector,
        _: bool,
        _: &CancellationToken,
    ) -> Result<Vec<NewVolumeTarget>> {
        let id = instance.id;
        self.0
            .call("attach_volumes", |t| {
                for device in devices.iter_mut() {
                    device.attachment_id = Some(Uuid::from_u128(0xA000));
                    t.volumes.insert(device.volume_id.unwrap(), Some(id));
                }
                t.disks.insert(id, devices.to_vec());
                Ok(Vec::new())
            })
            .await
    }

    async fn detach(
        &self,
        _: &RequestContext,
        instance: &Instance,
        devices: &[BlockDevice],
        delete: bool,
    ) -> Result<()> {
        let machine = self.0.sim.by_instance(instance.id.0);
        let detached = self.0.call("detach_volumes", |t| {
            for device in devices {
                let volume = device.volume_id.unwrap();
                if machine.is_some() && t.volumes.get(&volume).is_some_and(Option::is_some) {
                    t.torn_off.push(volume);
                }
                if delete && device.delete_on_termination {
                    t.volumes.remove(&volume);
                } else if device.attachment_id.is_some() {
                    t.volumes.insert(volume, None);
                }
            }
            Ok(())
        });
        detached.await
    }
}

#[async_trait]
impl Announcer for Port {
    async fn notify(&self, _: &RequestContext, instance: &Instance, event: Event, phase: Phase<'_>) {
        let mut tables = self.0.tables();
        if let Phase::Error(_) = phase {
            tables.failures_told.push(instance.id);
        }
        let phase = match phase {
            Phase::Start => "start",
            Phase::End => "end",
            Phase::Error(_) => "error",
        };
        tables.told.push((instance.id, event, phase));
    }

    async fn instance_changed(&self, _: &RequestContext, _: &Instance) {
        self.0.call("instance_changed", |_| Ok(())).await.unwrap_or(());
    }

    async fn instance_gone(&self, _: &RequestContext, _: InstanceId) {
        self.0.call("instance_gone", |_| Ok(())).await.unwrap_or(());
    }
}

#[async_trait]
impl VendorDataSource for Port {
    async fn vendor_data(&self, _: &RequestContext, _: &Instance, _: Option<Uuid>) -> Result<VendorData> {
        self.0.call("vendor_data", |_| Ok(VendorData { fixed: Some(json!({})), dynamic: None })).await
    }
}
