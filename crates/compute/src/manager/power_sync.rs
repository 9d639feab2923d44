//! The power of the machines, held against what the control plane shows (in stock: `_sync_power_states` of
//! `nova/compute/manager.py`).
//!
//! The reports of the machines compare it by the way; only a server that two of them in a row show to differ is read afresh, itself
//! and its node. Ironic's own word on a change comes sooner, as an event. A node that Ironic, an operator or an operation of ours is
//! at work on is left alone.

use driver::InstanceId;
use openstack::ironic::{Node, PowerState, ProvisionState};
use oslo::context::RequestContext;
use tokio_util::sync::CancellationToken;

use super::Manager;
use crate::instance::{Expect, Instance, InstanceUpdate, Power, TaskState, VmState};
use crate::operations::{caller, network};
use crate::ports::{Error, Result};
use crate::request::Kind;

impl Manager {
    /// Compares every period, until the shutdown.
    pub async fn sync_power(&self, shutdown: CancellationToken) {
        let Some(interval) = self.shared().options.power_sync_interval else { return };
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let syncing = async {
            loop {
                ticks.tick().await;
                let publisher = &self.shared().ports.publisher;
                for id in publisher.found_twice(|found| found.other_power.clone()).await {
                    Box::pin(self.sync_power_of(id)).await;
                }
            }
        };
        shutdown.run_until_cancelled(syncing).await.unwrap_or(());
    }

    async fn sync_power_of(&self, id: InstanceId) {
        if self.shared().registry.is_at_work(id) {
            return;
        }
        let _alone = self.shared().locks.lock(id).await;
        match self.compare_power(&RequestContext::admin(), id).await {
            Ok(()) => {}
            Err(error @ (Error::InstanceGone(_) | Error::Deleting(_) | Error::UnexpectedTask(_))) => {
                tracing::debug!(instance = %id, %error, "the power is not compared; another request has the server");
            }
            Err(error) => {
                tracing::warn!(instance = %id, %error, "the power could not be compared; the next period tries again");
            }
        }
    }

    async fn compare_power(&self, context: &RequestContext, id: InstanceId) -> Result<()> {
        let ports = &self.shared().ports;
        let is_ours = |instance: &Instance| {
            instance.host.as_ref() == Some(&self.shared().options.host) && instance.task_state.is_none()
        };
        let Some(mut instance) = network::living(self.shared(), context, id).await?.filter(is_ours) else {
            return Ok(());
        };
        let Some(node) = instance.node else { return Ok(()) };
        let found = ports.driver.node(&caller(context), node).await;
        let found = found.map_err(|error| Error::Unavailable(error.to_string()))?;
        if found.instance_uuid != Some(id.0) || !is_at_rest(&found) {
            return Ok(());
        }
        let now = Power::from(&found.power_state);
        if now != instance.power {
            tracing::info!(instance = %id, shown = ?instance.power, machine = ?now, "the machine's power is another than shown; it is shown now");
            let update = InstanceUpdate { power: Some(now), ..InstanceUpdate::default() };
            ports.instances.update(context, &mut instance, update, Expect::Task(vec![None])).await?;
        }
        match (&instance.vm_state, now) {
            (VmState::Active, Power::Shutdown) => {
                tracing::warn!(instance = %id, "the machine of a running server is off; the server is stopped");
                self.stop(context, instance).await
            }
            (VmState::Stopped, Power::Running) => {
                tracing::warn!(instance = %id, "the machine of a stopped server is on; it is switched off");
                self.stop(context, instance).await
            }
            (VmState::SoftDeleted, Power::Running) => {
                tracing::warn!(instance = %id, "the machine of a deleted server is on");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What the API does for a user who stops a server. The request is journalled before the task shows it: a stop without its task ends
    /// by itself, a task without its stop would be left to a start to end.
    async fn stop(&self, context: &RequestContext, mut instance: Instance) -> Result<()> {
        let ports = &self.shared().ports;
        let request = ports.requests.own_stop(context, &instance);
        self.keep(&request).await;
        let task = Some(Some(TaskState::PoweringOff));
        let update = InstanceUpdate { task_state: task, ..InstanceUpdate::default() };
        match ports.instances.update(context, &mut instance, update, Expect::Task(vec![None])).await {
            // The task may have been set: the stop looks.
            Ok(()) | Err(Error::Unavailable(_)) => {}
            Err(error) => {
                self.withdraw(&request).await;
                return Err(error);
            }
        }
        if let Err(error) = ports.instances.record_action(context, instance.id, Kind::Stop).await {
            tracing::warn!(instance = %instance.id, %error, "the stop is in no list of actions");
        }
        self.start(request);
        Ok(())
    }
}

/// Whether nothing is done to a node by Ironic, nor by an operator.
fn is_at_rest(node: &Node) -> bool {
    matches!(node.provision_state, ProvisionState::Active | ProvisionState::Rescue)
        && node.target_power_state == PowerState::NoState
        && node.reservation.is_none()
        && !node.maintenance
}
