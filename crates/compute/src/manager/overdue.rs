//! The end of rescues that have lasted too long (in stock: `_poll_rescued_instances` of `nova/compute/manager.py`).

use std::time::Duration;

use oslo::context::RequestContext;
use tokio_util::sync::CancellationToken;

use super::Manager;
use crate::instance::{Expect, Instance, InstanceUpdate, TaskState, VmState};
use crate::ports::{Error, Result};
use crate::request::Kind;

/// How often the service looks for them, as in stock.
const PERIOD: Duration = Duration::from_mins(1);

impl Manager {
    /// Ends every period the rescues that have lasted too long, until the shutdown.
    pub async fn end_overdue_rescues(&self, shutdown: CancellationToken) {
        let Some(timeout) = self.shared().options.rescue_timeout else { return };
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let ending = async {
            loop {
                ticks.tick().await;
                self.end_those_over(timeout).await;
            }
        };
        shutdown.run_until_cancelled(ending).await.unwrap_or(());
    }

    async fn end_those_over(&self, timeout: Duration) {
        let rescued = match self.shared().ports.instances.rescued_here(&RequestContext::admin()).await {
            Ok(rescued) => rescued,
            Err(error) => {
                tracing::warn!(%error, "the rescued servers are not known; the next period looks again");
                return;
            }
        };
        for instance in rescued.into_iter().filter(|instance| is_over(instance, timeout)) {
            let id = instance.id;
            match self.unrescue(instance).await {
                Ok(()) => {}
                Err(error @ (Error::InstanceGone(_) | Error::Deleting(_) | Error::UnexpectedTask(_))) => {
                    tracing::debug!(instance = %id, %error, "not unrescued; another request has the server");
                }
                Err(error) => {
                    tracing::warn!(instance = %id, %error, "not unrescued; the next period tries again");
                }
            }
        }
    }

    /// As the API does it at a user's request: the task, the action, the operation.
    async fn unrescue(&self, mut instance: Instance) -> Result<()> {
        let (instances, context) = (&self.shared().ports.instances, RequestContext::admin());
        let begin =
            InstanceUpdate { task_state: Some(Some(TaskState::Unrescuing)), ..InstanceUpdate::default() };
        instances.update(&context, &mut instance, begin, Expect::Task(vec![None])).await?;
        tracing::info!(instance = %instance.id, "a server was rescued for too long; it is unrescued");
        if let Err(error) = instances.record_action(&context, instance.id, Kind::Unrescue).await {
            tracing::warn!(instance = %instance.id, %error, "the server is unrescued without an action in its list");
        }
        let request = self.shared().ports.requests.own_unrescue(&context, &instance);
        self.ask_itself(request).await;
        Ok(())
    }
}

/// Whether a server has been rescued for longer than this.
fn is_over(instance: &Instance, timeout: Duration) -> bool {
    let since = instance
        .launched_at
        .filter(|_| instance.vm_state == VmState::Rescued && instance.task_state.is_none());
    since.is_some_and(|since| since.elapsed().is_ok_and(|age| age > timeout))
}
