//! The healing of network information, for networks whose changes nobody announces (in stock: `_heal_instance_info_cache`).
//!
//! Each turn takes the next servers of this host, up to [`AT_ONCE`], and compares them with the network service: one page of
//! servers and a handful of lists, however many servers there are, where stock spends as much on one server. More is asked only of a
//! server whose information is wrong.

use driver::InstanceId;
use oslo::context::RequestContext;
use tokio_util::sync::CancellationToken;

use super::Manager;
use crate::instance::{Instance, TaskState, VmState};
use crate::operations::network;
use crate::ports::Result;

/// How many servers a turn compares.
const AT_ONCE: usize = 100;

impl Manager {
    /// Heals the servers of this host, some of them every period, until the shutdown.
    pub async fn heal_networks(&self, shutdown: CancellationToken) {
        let Some(interval) = self.shared().options.heal_interval else { return };
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let healing = async {
            let mut after = None;
            loop {
                ticks.tick().await;
                after = match self.heal_some(after).await {
                    Ok(next) => next,
                    Err(error) => {
                        tracing::warn!(%error, "the network information of the servers cannot be compared; the next turn tries again");
                        // The server that it would go on after may be gone.
                        None
                    }
                };
            }
        };
        shutdown.run_until_cancelled(healing).await.unwrap_or(());
    }

    /// Heals the servers after this one; answers after which to go on, `None`: from the first.
    async fn heal_some(&self, after: Option<InstanceId>) -> Result<Option<InstanceId>> {
        let (context, shared) = (RequestContext::admin(), self.shared());
        let page = shared.ports.instances.networks_on_this_host(&context, after, AT_ONCE).await?;
        let next = if page.len() < AT_ONCE { None } else { page.last().map(|last| last.id) };
        let quiet: Vec<Instance> = page.into_iter().filter(|instance| self.is_quiet(instance)).collect();
        let found = shared.ports.networks.heal(&context, &quiet).await?;
        for (instance, found) in quiet.iter().zip(found) {
            if found != instance.network
                && let Err(error) = self.heal_one(&context, instance).await
            {
                tracing::warn!(instance = %instance.id, %error, "the network information could not be healed");
            }
        }
        Ok(next)
    }

    /// Reads everything again, since others may have changed it meanwhile.
    async fn heal_one(&self, context: &RequestContext, seen: &Instance) -> Result<()> {
        let shared = self.shared();
        let _only_writer = shared.network_locks.lock(seen.id).await;
        let Some(mut now) = network::living(shared, context, seen.id).await? else { return Ok(()) };
        if now.network != seen.network || !self.is_quiet(&now) {
            return Ok(());
        }
        let found = shared.ports.networks.heal(context, std::slice::from_ref(&now)).await?;
        match found.into_iter().next() {
            Some(found) if found != now.network => {
                tracing::info!(instance = %now.id, "the network information differed from the network service's and is healed");
                shared.ports.instances.save_network(context, &mut now, found).await
            }
            _ => Ok(()),
        }
    }

    /// Whether nobody is changing the server's ports.
    fn is_quiet(&self, instance: &Instance) -> bool {
        instance.vm_state != VmState::Building
            && instance.task_state != Some(TaskState::Deleting)
            && !self.shared().registry.is_at_work(instance.id)
    }
}
