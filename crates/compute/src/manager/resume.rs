//! What a start takes up: every request that was taken and not ended, and what others left of ours.

use oslo::context::RequestContext;

use super::{Manager, build};
use crate::instance::{Expect, Instance, InstanceUpdate, TaskState, VmState};
use crate::journal::Work;
use crate::ports::Fault;
use crate::request::{DeleteRequest, Origin};

impl Manager {
    /// Takes up what was under way when the process ended. Returns when everything runs, not when it has ended.
    ///
    /// Builds and deletes come from the journal. An instance of ours that is being deleted and is not in it (the request
    /// was lost with the process that took it) is deleted all the same; one that is being built and is not in it (stock
    /// nova-compute built it) cannot be taken up, because its request is lost: it fails, as it does with stock.
    pub async fn resume(&self, context: &RequestContext) -> Result<(), crate::ports::Error> {
        let mut builds = Vec::new();
        let mut deletes = Vec::new();
        match self.0.journal.entries() {
            Ok(entries) => {
                for entry in entries {
                    match entry.work {
                        Work::Build { instance, .. } => {
                            match self.0.ports.instances.decode_build(&entry.origin.0) {
                                Some(request) => {
                                    let start = entry
                                        .handing_back
                                        .map_or(build::Start::Resumed, build::Start::HandingBack);
                                    builds.push(instance);
                                    self.start_build(request, start);
                                }
                                None => tracing::error!(%instance, "a journalled build cannot be read"),
                            }
                        }
                        Work::Delete { instance } => {
                            match self.0.ports.instances.decode_delete(&entry.origin.0) {
                                Some(request) => {
                                    deletes.push(instance);
                                    self.start_delete(request, true);
                                }
                                None => tracing::error!(%instance, "a journalled delete cannot be read"),
                            }
                        }
                    }
                }
            }
            Err(error) => tracing::error!(%error, "the journal cannot be read"),
        }
        if !builds.is_empty() || !deletes.is_empty() {
            tracing::info!(builds = builds.len(), deletes = deletes.len(), "work taken up after a restart");
        }
        for instance in self.0.ports.instances.on_this_host(context).await? {
            if builds.contains(&instance.id) || deletes.contains(&instance.id) {
                continue;
            }
            if instance.task_state == Some(TaskState::Deleting) || instance.vm_state == VmState::Deleted {
                self.take_up_delete(context, instance).await?;
            } else if is_building(&instance) {
                self.give_up_build(context, instance).await;
            }
        }
        Ok(())
    }

    async fn take_up_delete(
        &self,
        context: &RequestContext,
        instance: Instance,
    ) -> Result<(), crate::ports::Error> {
        tracing::info!(instance = %instance.id, "a delete that nobody finished is taken up");
        let block_devices = self.0.ports.instances.block_devices(context, instance.id).await?;
        let origin = Origin(serde_json::Value::Null);
        let request = DeleteRequest { context: context.clone(), instance, block_devices, origin };
        self.start_delete(request, true);
        Ok(())
    }

    async fn give_up_build(&self, context: &RequestContext, mut instance: Instance) {
        let message =
            "The compute service was restarted, and the request for this server is not in its journal.";
        tracing::error!(instance = %instance.id, "{message}");
        let instances = &self.0.ports.instances;
        let fault = Fault { code: 500, message: message.to_owned(), details: message.to_owned() };
        let update = InstanceUpdate {
            vm_state: Some(VmState::Error),
            task_state: Some(None),
            ..InstanceUpdate::default()
        };
        let id = instance.id;
        if let Err(error) = instances.record_fault(context, id, &fault).await {
            tracing::warn!(instance = %id, %error, "the fault could not be recorded");
        }
        if let Err(error) = instances.update(context, &mut instance, update, Expect::Anything).await {
            tracing::error!(instance = %id, %error, "the instance could not be set to error");
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
