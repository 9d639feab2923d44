//! The end of servers that were deleted so that they could be restored, once nobody may restore them any more (in stock:
//! `_reclaim_queued_deletes` of `nova/compute/manager.py`).

use std::time::{Duration, SystemTime};

use oslo::context::RequestContext;
use tokio_util::sync::CancellationToken;

use super::Manager;
use crate::instance::{Expect, Instance, InstanceUpdate, TaskState, VmState};
use crate::ports::{Error, Result};

/// How often the service looks for them, as in stock.
const PERIOD: Duration = Duration::from_mins(1);

impl Manager {
    /// Deletes every period the servers whose time is over, until the shutdown.
    pub async fn reclaim(&self, shutdown: CancellationToken) {
        let Some(after) = self.shared().options.reclaim_after else { return };
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let reclaiming = async {
            loop {
                ticks.tick().await;
                if let Err(error) = Box::pin(self.reclaim_once(after)).await {
                    tracing::warn!(%error, "the servers that are to be reclaimed are not known; the next period looks again");
                }
            }
        };
        shutdown.run_until_cancelled(reclaiming).await.unwrap_or(());
    }

    async fn reclaim_once(&self, after: Duration) -> Result<()> {
        let instances = self.shared().ports.instances.clone();
        for instance in instances.soft_deleted_here(&RequestContext::admin()).await? {
            if self.shared().registry.is_at_work(instance.id) {
                continue;
            }
            let id = instance.id;
            match self.reclaim_or_wait(instance, after).await {
                Ok(()) => {}
                Err(error @ (Error::InstanceGone(_) | Error::Deleting(_) | Error::UnexpectedTask(_))) => {
                    tracing::debug!(instance = %id, %error, "not reclaimed; another request has the server");
                }
                Err(error) => {
                    tracing::warn!(instance = %id, %error, "not reclaimed; the next period tries again");
                }
            }
        }
        Ok(())
    }

    async fn reclaim_or_wait(&self, mut instance: Instance, after: Duration) -> Result<()> {
        let (instances, context) = (&self.shared().ports.instances, RequestContext::admin());
        let Some(deleted_at) = instance.deleted_at else {
            // A restore that failed took the time away. Its user has not asked for the end of the server.
            tracing::warn!(instance = %instance.id, "a deleted server does not say since when; its time begins anew");
            let anew = InstanceUpdate { deleted_now: true, ..InstanceUpdate::default() };
            return instances.update(&context, &mut instance, anew, Expect::Task(vec![None])).await;
        };
        let age = SystemTime::now().duration_since(deleted_at).unwrap_or_default();
        if age < after {
            return Ok(());
        }
        // From here on nobody can restore it: the control plane compares and sets the task at once.
        let task = |task| InstanceUpdate { task_state: Some(task), ..InstanceUpdate::default() };
        let deleting = Some(TaskState::Deleting);
        instances.update(&context, &mut instance, task(deleting.clone()), Expect::Task(vec![None])).await?;
        if instance.vm_state != VmState::SoftDeleted {
            // It was restored since the list.
            return instances.update(&context, &mut instance, task(None), Expect::Task(vec![deleting])).await;
        }
        tracing::info!(instance = %instance.id, days = age.as_secs() / 86400, "a deleted server is reclaimed");
        let request = self.shared().ports.requests.own_delete(&context, &instance);
        self.ask_itself(request).await;
        Ok(())
    }
}
