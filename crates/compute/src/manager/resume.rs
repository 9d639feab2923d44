//! What a start takes up: every request that was taken and not ended, and what others left of ours.

use std::io;

use driver::InstanceId;
use oslo::context::RequestContext;
use serde_json::json;

use super::{Manager, RETRY, Start};
use crate::instance::{Expect, Instance, InstanceUpdate, TaskState, VmState};
use crate::journal::Work;
use crate::ports::Fault;
use crate::request::{DeleteRequest, Origin};

/// The instances whose requests the journal holds.
#[derive(Default)]
struct Journalled {
    builds: Vec<InstanceId>,
    deletes: Vec<InstanceId>,
}

impl Manager {
    /// Takes up what was under way when the process ended. Returns when everything that the journal holds runs; the rest
    /// is looked for beside it, as soon as the control plane answers.
    ///
    /// An instance of ours that is being deleted and is not in the journal (the request was lost with the process that
    /// took it) is deleted all the same; one that is being built and is not in it (stock nova-compute built it) cannot be
    /// taken up, because its request is lost: it fails, as it does with stock. Any other task is ended.
    ///
    /// A journal that cannot be read is an error: a start without it would fail what it holds.
    pub fn resume(&self) -> io::Result<()> {
        let journalled = self.take_up_journal()?;
        let manager = self.clone();
        self.0.tasks.spawn(async move {
            let shutdown = manager.0.shutdown.clone();
            shutdown.run_until_cancelled(manager.take_up_rest(&journalled)).await;
        });
        Ok(())
    }

    fn take_up_journal(&self) -> io::Result<Journalled> {
        let mut journalled = Journalled::default();
        let (builds, deletes): (Vec<_>, Vec<_>) =
            self.0.journal.entries()?.into_iter().partition(|entry| matches!(entry.work, Work::Build { .. }));
        // Builds first: a delete of the same instance waits until the build has left it.
        for entry in builds {
            let instance = entry.work.instance();
            let Some(request) = self.0.ports.instances.decode_build(&entry.origin.0) else {
                tracing::error!(%instance, "a journalled build cannot be read");
                continue;
            };
            journalled.builds.push(instance);
            let start = entry.verdict.map_or(Start::Resumed, Start::Failed);
            self.start_build(entry.work, request, start);
        }
        for entry in deletes {
            let instance = entry.work.instance();
            let Some(request) = self.0.ports.instances.decode_delete(&entry.origin.0) else {
                tracing::error!(%instance, "a journalled delete cannot be read");
                continue;
            };
            journalled.deletes.push(instance);
            self.start_delete(entry.work, request, Start::Resumed);
        }
        let (builds, deletes) = (journalled.builds.len(), journalled.deletes.len());
        if builds + deletes > 0 {
            tracing::info!(builds, deletes, "work taken up after a restart");
        }
        Ok(journalled)
    }

    async fn take_up_rest(&self, journalled: &Journalled) {
        let context = RequestContext::admin();
        let here = loop {
            match self.0.ports.instances.on_this_host(&context).await {
                Ok(here) => break here,
                Err(error) => {
                    tracing::warn!(%error, "the instances of this host cannot be listed; trying again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        };
        for instance in here {
            let is_ending =
                instance.task_state == Some(TaskState::Deleting) || instance.vm_state == VmState::Deleted;
            if journalled.deletes.contains(&instance.id) {
                continue;
            }
            let id = instance.id;
            if is_ending {
                self.take_up_delete(&context, instance);
            } else if !journalled.builds.contains(&id) && !self.is_at_work(id) {
                self.give_up(&context, instance).await;
            }
        }
    }

    fn take_up_delete(&self, context: &RequestContext, instance: Instance) {
        tracing::info!(instance = %instance.id, "a delete that nobody finished is taken up");
        // The delete reads the disks itself.
        let (block_devices, origin) = (Vec::new(), Origin(serde_json::Value::Null));
        let request = DeleteRequest { context: context.clone(), instance, block_devices, origin };
        self.start_delete(super::delete_work(&request), request, Start::Resumed);
    }

    /// Gives up what nobody works on: whoever took the request, stock nova-compute or we who refuse it, did not live to end
    /// it, and the API allows no other as long as the task stands. What a rebuild that was cut off left on the disk is not
    /// known: the server is in error, as with stock (`nova/compute/manager.py`, `_init_instance`).
    async fn give_up(&self, context: &RequestContext, instance: Instance) {
        let task = instance.task_state.clone();
        if is_building(&instance) {
            let message =
                "The compute service was restarted, and the request for this server is not in its journal.";
            self.set_back(context, instance, Some(VmState::Error), message).await;
        } else if let Some(task) = task {
            let message = format!(
                "The compute service was restarted while the task of this server was {}, and cannot go on with it.",
                json!(task)
            );
            let vm_state = is_rebuild(&task).then_some(VmState::Error);
            self.set_back(context, instance, vm_state, &message).await;
        }
    }

    /// Takes the task off an instance, if it is as it was seen, and says why in a fault.
    async fn set_back(
        &self,
        context: &RequestContext,
        mut instance: Instance,
        vm_state: Option<VmState>,
        message: &str,
    ) {
        let instances = &self.0.ports.instances;
        let fault = Fault { code: 500, message: message.to_owned(), details: message.to_owned() };
        let update = InstanceUpdate { vm_state, task_state: Some(None), ..InstanceUpdate::default() };
        let id = instance.id;
        // Only as it was seen: the work on it may have ended, or begun, meanwhile.
        let seen = Expect::Task(vec![instance.task_state.clone()]);
        let is_same = |now: Instance| {
            !now.deleted && now.vm_state == instance.vm_state && now.task_state == instance.task_state
        };
        let now = instances.get(context, id).await.ok().flatten();
        if self.is_at_work(id) || !now.is_some_and(is_same) {
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
}

fn is_building(instance: &Instance) -> bool {
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

fn is_rebuild(task: &TaskState) -> bool {
    matches!(
        task,
        TaskState::Other(name)
            if ["rebuilding", "rebuild_block_device_mapping", "rebuild_spawning"].contains(&name.as_str())
    )
}
