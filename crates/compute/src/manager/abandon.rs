//! Work that cannot go on: the instance is taken out of it, and the user reads why.

use driver::InstanceId;
use oslo::context::RequestContext;

use super::{Inner, RETRY};
use crate::instance::{Expect, Instance, InstanceUpdate, TaskState, VmState};
use crate::journal::Work;
use crate::ports::{Error, Fault, Result};

/// What the user reads of a bug.
const BUG: &str =
    "The compute service hit a bug and gave the request up; its log says more. The server can be deleted.";

impl Inner {
    /// Takes the task off an instance, if it is as it was seen, and says why in a fault. While the control plane is away it
    /// is waited for: a restart finds the task again.
    pub(super) async fn set_back(
        &self,
        context: &RequestContext,
        mut instance: Instance,
        vm_state: Option<VmState>,
        message: &str,
    ) {
        let (instances, id) = (&self.ports.instances, instance.id);
        let (seen_state, seen_task) = (instance.vm_state.clone(), instance.task_state.clone());
        // Only as it was seen: the work on it may have ended, or begun, meanwhile.
        let is_same =
            |now: &Instance| !now.deleted && now.vm_state == seen_state && now.task_state == seen_task;
        match patiently(id, || instances.get(context, id)).await {
            Ok(Some(now)) if is_same(&now) => {}
            _ => return,
        }
        tracing::error!(instance = %id, "{message}");
        let fault = Fault { code: 500, message: message.to_owned(), details: message.to_owned() };
        if let Err(error) = patiently(id, || instances.record_fault(context, id, &fault)).await {
            tracing::warn!(instance = %id, %error, "the fault could not be recorded");
        }
        let update = InstanceUpdate { vm_state, task_state: Some(None), ..InstanceUpdate::default() };
        loop {
            let expect = Expect::Task(vec![seen_task.clone()]);
            match instances.update(context, &mut instance, update.clone(), expect).await {
                Err(error @ Error::Unavailable(_)) => pause(id, &error).await,
                Err(error) => {
                    return tracing::error!(instance = %id, %error, "the task of the instance could not be ended");
                }
                Ok(()) => return,
            }
        }
    }

    /// Ends a work that panicked: to repeat it would be to repeat the panic, at every start. What it did on the node stays
    /// for the user's delete.
    pub(super) async fn give_up_after_panic(&self, work: &Work) {
        let context = RequestContext::admin();
        tracing::error!(?work, "the work hit a bug: it panicked, and is given up");
        let id = work.instance();
        let instance = match patiently(id, || self.ports.instances.get(&context, id)).await {
            Ok(found) => found,
            Err(error) => {
                return tracing::error!(?work, %error, "the instance could not be set to error");
            }
        };
        let is_under_way = |instance: &Instance| match work {
            // A delete that came meanwhile waits for this build, and takes the instance as it is. After a hand-over the
            // instance may be built elsewhere.
            Work::Build { node, .. } => {
                let is_here = instance.host.as_ref().is_none_or(|host| *host == self.options.host)
                    && instance.node.is_none_or(|at| at == *node);
                is_building(instance) && !is_ending(instance) && is_here
            }
            Work::Delete { .. } => is_ending(instance),
        };
        if let Some(instance) = instance.filter(is_under_way) {
            self.set_back(&context, instance, Some(VmState::Error), BUG).await;
        }
    }
}

/// Asks the control plane until it answers.
async fn patiently<T, F: Future<Output = Result<T>>>(id: InstanceId, ask: impl Fn() -> F) -> Result<T> {
    loop {
        match ask().await {
            Err(error @ Error::Unavailable(_)) => pause(id, &error).await,
            answered => return answered,
        }
    }
}

async fn pause(id: InstanceId, error: &Error) {
    tracing::warn!(instance = %id, %error, seconds = RETRY.as_secs(), "the task of the instance is ended when the control plane is back");
    tokio::time::sleep(RETRY).await;
}

pub(super) fn is_ending(instance: &Instance) -> bool {
    instance.task_state == Some(TaskState::Deleting) || instance.vm_state == VmState::Deleted
}

pub(super) fn is_building(instance: &Instance) -> bool {
    instance.vm_state == VmState::Building
        || matches!(
            instance.task_state,
            Some(
                TaskState::Scheduling
                    | TaskState::Networking
                    | TaskState::BlockDeviceMapping
                    | TaskState::Spawning
            )
        )
}

pub(super) fn is_rebuild(task: &TaskState) -> bool {
    matches!(
        task,
        TaskState::Other(name)
            if ["rebuilding", "rebuild_block_device_mapping", "rebuild_spawning"].contains(&name.as_str())
    )
}
