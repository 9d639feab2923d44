//! What a start takes up: every request that was taken and not ended, and what others left of ours.

use std::io;

use driver::InstanceId;
use oslo::context::RequestContext;
use serde_json::json;

use super::abandon::{is_building, is_ending, is_rebuild};
use super::{Manager, RETRY, Start};
use crate::instance::{Instance, VmState};
use crate::journal::Work;
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
            let Some(request) = self.0.ports.instances.decode_build(&entry.origin.0) else {
                self.0.journal.set_aside(&entry.work);
                continue;
            };
            journalled.builds.push(entry.work.instance());
            self.taken_up().insert(entry.work.clone());
            let start = Start::of(&entry);
            self.start_build(entry.work, request, start);
        }
        for entry in deletes {
            let Some(request) = self.0.ports.instances.decode_delete(&entry.origin.0) else {
                self.0.journal.set_aside(&entry.work);
                continue;
            };
            journalled.deletes.push(entry.work.instance());
            self.taken_up().insert(entry.work.clone());
            let start = Start::of(&entry);
            self.start_delete(entry.work, request, start);
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
        let mut others = Vec::new();
        for instance in here.into_iter().filter(|instance| !journalled.deletes.contains(&instance.id)) {
            if is_ending(&instance) {
                self.take_up_delete(&context, instance);
            } else if (instance.task_state.is_some() || is_building(&instance))
                && !journalled.builds.contains(&instance.id)
            {
                others.push(instance);
            }
        }
        if others.is_empty() {
            return;
        }
        // What waits in our queues is heard first.
        tokio::time::sleep(RETRY).await;
        for instance in others {
            if !self.is_at_work(instance.id) {
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
            self.0.set_back(context, instance, Some(VmState::Error), message).await;
        } else if let Some(task) = task {
            let message = format!(
                "The compute service was restarted while the task of this server was {}, and cannot go on with it.",
                json!(task)
            );
            let vm_state = is_rebuild(&task).then_some(VmState::Error);
            self.0.set_back(context, instance, vm_state, &message).await;
        }
    }
}
