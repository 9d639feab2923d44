//! What others tell us of our instances: Neutron of their ports, Ironic of their power.

use driver::InstanceId;
use oslo::context::RequestContext;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Manager;
use crate::instance::{Expect, Instance, InstanceUpdate, Power, VmState};
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
        let (before, after) = if on {
            ((VmState::Stopped, Power::Shutdown), (VmState::Active, Power::Running))
        } else {
            ((VmState::Active, Power::Running), (VmState::Stopped, Power::Shutdown))
        };
        let is_news = (instance.vm_state.clone(), instance.power) == before && instance.task_state.is_none();
        let (true, Some(node)) = (is_news, instance.node) else { return Ok(()) };
        let (vm_state, power) = after;
        // Events may come late and in any order: the machine has the last word. Where it cannot be asked the event is
        // believed; the sync of the power comes behind it.
        match self.shared().ports.driver.node(&caller(context), node).await {
            Ok(found) if Power::from(&found.power_state) != power => return Ok(()),
            Ok(_) => {}
            Err(error) => {
                tracing::info!(instance = %id, %error, "Ironic's word on the power is taken as it came");
            }
        }
        let update =
            InstanceUpdate { vm_state: Some(vm_state), power: Some(power), ..InstanceUpdate::default() };
        let instances = &self.shared().ports.instances;
        instances.update(context, &mut instance, update, Expect::Task(vec![None])).await
    }
}
