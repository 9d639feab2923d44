//! What others tell us of our instances: Neutron of their ports, Ironic of their power.

use driver::InstanceId;
use oslo::context::RequestContext;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Manager;
use crate::instance::{Expect, Instance, InstanceUpdate, Power, TaskState, VmState};
use crate::operations::{caller, network, unfollowed};
use crate::ports::{Action, Result};

impl Manager {
    /// A port of an instance changed: its addresses are read again.
    pub async fn network_changed(&self, context: &RequestContext, id: InstanceId, port: Option<Uuid>) {
        if let Err(error) = network::refresh(self.shared(), context, id, port).await {
            tracing::warn!(instance = %id, %error, "the network information could not be refreshed");
        }
    }

    /// A port of an instance was deleted: it leaves the node and the addresses.
    pub async fn vif_deleted(&self, context: &RequestContext, id: InstanceId, port: Uuid) {
        let shared = self.shared();
        // A detachment deletes its port by itself, and an attachment may be about to put a deleted one onto the node: what is
        // left to do shows after it.
        let _turn =
            if shared.registry.changes_interfaces(id) { Some(shared.locks.lock(id).await) } else { None };
        if let Err(error) = self.drop_vif(context, id, port).await {
            tracing::warn!(instance = %id, %port, %error, "the deleted port could not be taken off");
        }
    }

    async fn drop_vif(&self, context: &RequestContext, id: InstanceId, port: Uuid) -> Result<()> {
        let shared = self.shared();
        let has = |instance: &Instance| instance.network.0.iter().any(|vif| vif.id == port.to_string());
        let Some(instance) = network::living(shared, context, id).await?.filter(has) else { return Ok(()) };
        // A locked node may take minutes: nobody else waits for it.
        let (caller, never) = (caller(context), CancellationToken::new());
        if let Some(node) = instance.node
            && let Err(error) =
                shared.ports.driver.detach_vifs(unfollowed(&caller, id, &never), node, &[port]).await
        {
            tracing::warn!(instance = %id, %port, %error, "the port could not be taken off the node");
        }
        // The port is gone; the record of it goes now.
        shared.ports.networks.release_port(context, &instance, port, true).await?;
        network::forget(shared, context, id, &port.to_string()).await
    }

    /// A machine's power changed without the control plane: what the control plane shows follows, unless the change is
    /// our own doing or is over already.
    pub async fn power_update(&self, context: &RequestContext, id: InstanceId, on: bool) {
        let instances = &self.shared().ports.instances;
        if let Err(error) = instances.start_event(context, id, &Action::PowerUpdate, false).await {
            tracing::debug!(instance = %id, %error, "the power event cannot be recorded");
            return;
        }
        let failure = self.follow_power(context, id, on).await.err().map(|error| error.to_string());
        let failure = failure.as_deref().map(|text| (text, text));
        if let Err(error) = instances.finish_event(context, id, &Action::PowerUpdate, failure).await {
            tracing::debug!(instance = %id, %error, "the end of the power event could not be recorded");
        }
    }

    async fn follow_power(&self, context: &RequestContext, id: InstanceId, on: bool) -> Result<()> {
        if self.shared().registry.is_at_work(id) {
            return Ok(());
        }
        let Some(mut instance) = network::living(self.shared(), context, id).await? else { return Ok(()) };
        let news = if on {
            (instance.vm_state == VmState::Stopped && instance.power == Power::Shutdown).then_some((
                TaskState::PoweringOn,
                VmState::Active,
                Power::Running,
            ))
        } else {
            (instance.vm_state == VmState::Active && instance.power == Power::Running).then_some((
                TaskState::PoweringOff,
                VmState::Stopped,
                Power::Shutdown,
            ))
        };
        let (Some((task, vm_state, power)), None, Some(node)) = (news, &instance.task_state, instance.node)
        else {
            return Ok(());
        };
        // Events may come late and in any order: the machine has the last word.
        match self.shared().ports.driver.node(&caller(context), node).await {
            Ok(found) if Power::from(&found.power_state) == power => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(crate::ports::Error::Unavailable(error.to_string())),
        }
        let begin = InstanceUpdate { task_state: Some(Some(task.clone())), ..InstanceUpdate::default() };
        let end = InstanceUpdate {
            vm_state: Some(vm_state),
            task_state: Some(None),
            power: Some(power),
            ..InstanceUpdate::default()
        };
        let instances = &self.shared().ports.instances;
        instances.update(context, &mut instance, begin, Expect::Task(vec![None])).await?;
        instances.update(context, &mut instance, end, Expect::Task(vec![Some(task)])).await
    }
}
