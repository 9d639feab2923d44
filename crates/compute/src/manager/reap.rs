//! The machines of servers that were deleted while this service was away (in stock: `_cleanup_running_deleted_instances` of
//! `nova/compute/manager.py`, whose list of nodes has none of them).
//!
//! A node that two reports in a row show with an instance which is no server of ours is a reason to ask. Something is done only where
//! the control plane has a deleted server of that very id that was on this host and on this node.

use std::time::SystemTime;

use driver::{NodeId, PowerChange};
use oslo::context::RequestContext;
use tokio_util::sync::CancellationToken;

use super::Manager;
use crate::instance::Instance;
use crate::operations::{caller, unfollowed};
use crate::options::{ReapAction, Reaping};

impl Manager {
    /// Looks for them every period, until the shutdown.
    pub async fn reap(&self, shutdown: CancellationToken) {
        let Some(reaping) = self.shared().options.reaping else { return };
        let mut ticks = tokio::time::interval(reaping.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let looking = async {
            loop {
                ticks.tick().await;
                let publisher = &self.shared().ports.publisher;
                let found = publisher.found_twice(|found| found.strangers.clone()).await;
                if !found.is_empty() {
                    Box::pin(self.reap_once(reaping, found.into_iter().collect())).await;
                }
            }
        };
        shutdown.run_until_cancelled(looking).await.unwrap_or(());
    }

    async fn reap_once(&self, reaping: Reaping, strangers: Vec<(NodeId, driver::InstanceId)>) {
        let context = RequestContext::admin();
        let ids: Vec<_> = strangers.iter().map(|(_, id)| *id).collect();
        let deleted = match self.shared().ports.instances.deleted_here(&context, &ids).await {
            Ok(deleted) => deleted,
            Err(error) => {
                tracing::warn!(%error, "deleted servers whose machines are left are not known; the next period looks again");
                return;
            }
        };
        for instance in deleted {
            let is_left = instance.deleted
                && instance.host.as_ref() == Some(&self.shared().options.host)
                && instance.node.is_some_and(|node| strangers.contains(&(node, instance.id)));
            let since =
                instance.deleted_at.map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
            if !is_left || since.is_none_or(|since| since < reaping.timeout) {
                continue;
            }
            if !self.shared().registry.is_at_work(instance.id) {
                self.reap_machine(reaping.action, instance).await;
            }
        }
    }

    async fn reap_machine(&self, action: ReapAction, instance: Instance) {
        let (Some(node), id) = (instance.node, instance.id) else { return };
        // Its own context for each: an operation is known by the id of its request.
        let context = RequestContext::admin();
        match action {
            ReapAction::Log => {
                tracing::warn!(instance = %id, %node, "the machine of a deleted server is left; nothing is done (running_deleted_instance_action)");
            }
            ReapAction::Shutdown => {
                tracing::warn!(instance = %id, %node, "the machine of a deleted server is left; it is switched off");
                let _alone = self.shared().locks.lock(id).await;
                let (caller, never) = (caller(&context), CancellationToken::new());
                let off = PowerChange::Off { soft: None };
                let driver = &self.shared().ports.driver;
                if let Err(error) = driver.set_power(unfollowed(&caller, id, &never), node, off).await {
                    tracing::warn!(instance = %id, %node, %error, "the machine could not be switched off; the next period tries again");
                }
            }
            ReapAction::Reap => {
                tracing::warn!(instance = %id, %node, "the machine of a deleted server is left; it is torn down");
                self.ask_itself(self.shared().ports.requests.own_delete(&context, &instance)).await;
            }
        }
    }
}
