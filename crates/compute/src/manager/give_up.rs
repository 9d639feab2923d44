//! Work that cannot go on: the instance is taken out of it, and the user reads why.

use oslo::context::RequestContext;

use super::Inner;
use crate::instance::{Expect, Instance, InstanceUpdate, TaskState, VmState};
use crate::journal::Work;
use crate::ports::Fault;

/// What the user reads of a bug.
const BUG: &str =
    "The compute service hit a bug and gave the request up; its log says more. The server can be deleted.";

impl Inner {
    /// Takes the task off an instance, if it is as it was seen, and says why in a fault.
    pub(super) async fn set_back(
        &self,
        context: &RequestContext,
        mut instance: Instance,
        vm_state: Option<VmState>,
        message: &str,
    ) {
        let instances = &self.ports.instances;
        let fault = Fault { code: 500, message: message.to_owned(), details: message.to_owned() };
        let update = InstanceUpdate { vm_state, task_state: Some(None), ..InstanceUpdate::default() };
        let id = instance.id;
        // Only as it was seen: the work on it may have ended, or begun, meanwhile.
        let seen = Expect::Task(vec![instance.task_state.clone()]);
        let is_same = |now: Instance| {
            !now.deleted && now.vm_state == instance.vm_state && now.task_state == instance.task_state
        };
        let now = instances.get(context, id).await.ok().flatten();
        if !now.is_some_and(is_same) {
            return;
        }
        tracing::error!(instance = %id, "{message}");
        if let Err(error) = instances.update(context, &mut instance, update, seen).await {
            tracing::error!(instance = %id, %error, "the task of the instance could not be ended");
            return;
        }
        if let Err(error) = instances.record_fault(context, id, &fault).await {
            tracing::warn!(instance = %id, %error, "the fault could not be recorded");
        }
    }

    /// Ends a work that panicked: to repeat it would be to repeat the panic, at every start. What it did on the node stays
    /// for the user's delete.
    pub(super) async fn give_up_after_panic(&self, work: &Work) {
        let context = RequestContext::admin();
        tracing::error!(?work, "the work hit a bug: it panicked, and is given up");
        let instance = match self.ports.instances.get(&context, work.instance()).await {
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
