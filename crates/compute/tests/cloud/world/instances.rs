//! The records of instances, in the world's tables.

use super::{HOST, Port, Recorded, Tables};
use async_trait::async_trait;
use compute::instance::{BlockDevice, BuildNetworks, Expect, Instance, InstanceUpdate, TaskState, VmState};
use compute::ports::{Action, Error, Fault, Instances, Result};
use compute::request::{BuildRequest, Kind};
use configdrive::network::NetworkInfo;
use driver::{InstanceId, NodeId};
use oslo::context::RequestContext;
use std::time::SystemTime;

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
