//! A build: from the control plane's request to an active server on a node, or to a failure that leaves nothing behind
//! (`nova-wire/05` §3, §4).
//!
//! Every step looks at what is there before it acts, so that a build that was killed anywhere is run again from the
//! beginning and finds its own work done: the claim by the instance's record, ports by the id they carry, the node by its
//! instance, the deployment by the node's state. Only the order of the steps is fixed.

mod config_drive;
mod connector;
mod failure;
mod server;
mod steps;

use std::sync::Arc;

use configdrive::Format;
use driver::NodeId;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::instance::{Expect, Instance, TaskState, VmState};
use crate::manager::Inner;
use crate::request::BuildRequest;
use failure::Failure;

/// The event that users see of a build (two underscores: it is stock's name).
const EVENT: &str = "compute__do_build_and_run_instance";

/// What the operator configured about builds.
#[derive(Debug, Clone)]
pub struct Options {
    /// `network_allocate_retries`.
    pub network_retries: u32,
    /// `default_access_ip_network_name`.
    pub access_network: Option<String>,
    /// `default_ephemeral_format`.
    pub ephemeral_format: Option<String>,
    /// `[compute] consecutive_build_service_disable_threshold` is not 0.
    pub count_failures: bool,
    /// `[workarounds] disable_group_policy_check_upcall` is false.
    pub check_group_policy: bool,
    pub config_drive: ConfigDriveOptions,
}

/// What the operator configured about config drives (`nova-wire/08`).
#[derive(Debug, Clone)]
pub struct ConfigDriveOptions {
    /// `force_config_drive`.
    pub force: bool,
    /// `config_drive_format`.
    pub format: Format,
    /// Written into the image as its publisher.
    pub publisher: String,
    /// `[api] dhcp_domain`.
    pub dhcp_domain: String,
    /// `[api] config_drive_skip_versions`.
    pub skip_versions: Vec<String>,
    /// Whether `injected_network_template` is set.
    pub inject_network: bool,
}

/// Whether a build begins or goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    Fresh,
    /// After a restart.
    Resumed,
    /// After a restart, when it had failed here for this reason and was being handed back.
    HandingBack(String),
}

/// One build.
pub(crate) struct Build {
    manager: Arc<Inner>,
    request: BuildRequest,
    instance: Instance,
    start: Start,
    cancel: CancellationToken,
    permit: Option<OwnedSemaphorePermit>,
}

impl Build {
    pub(crate) fn new(
        manager: Arc<Inner>,
        request: BuildRequest,
        start: Start,
        cancel: CancellationToken,
    ) -> Self {
        let instance = request.instance.clone();
        Self { manager, request, instance, start, cancel, permit: None }
    }

    /// Runs the build to its end and records how it ended. Nothing can fail outwards.
    pub(crate) async fn run(self) {
        let span = oslo::log::request_span(&self.request.context);
        let instance = self.instance.id;
        let inner = tracing::info_span!(parent: &span, "build", %instance, node = %self.request.node);
        self.run_in_span().instrument(inner).await;
    }

    async fn run_in_span(mut self) {
        self.permit = self.manager.builds.clone().acquire_owned().await.ok();
        let started = std::time::Instant::now();
        let ports = self.manager.ports.clone();
        let (context, id) = (self.request.context.clone(), self.instance.id);
        let resumed = self.start != Start::Fresh;
        if let Err(error) = ports.instances.start_event(&context, id, EVENT, resumed).await {
            // Nothing was done yet: the instance is gone, or its action is not known.
            tracing::warn!(%error, "the build cannot be recorded and is not begun");
            return;
        }
        let ended = match self.build().await {
            Ok(()) => {
                tracing::info!(seconds = started.elapsed().as_secs_f64(), "server active");
                Ok(())
            }
            Err(failure) => self.end_failed(failure).await,
        };
        let outcome = if ended.is_ok() { "ended" } else { "failed" };
        metrics::counter!("bessemer_builds_total", "outcome" => outcome).increment(1);
        let failure = ended.as_ref().err().map(|(message, details)| (message.as_str(), details.as_str()));
        if let Err(error) = ports.instances.finish_event(&context, id, EVENT, failure).await {
            tracing::warn!(%error, "the end of the build could not be recorded");
        }
    }

    /// The steps in their order.
    async fn build(&mut self) -> Result<(), Failure> {
        if let Start::HandingBack(reason) = self.start.clone() {
            return self.undo_deployment(Failure::Reschedule { reason, by_policy: false }).await;
        }
        if self.start == Start::Resumed && self.look_again().await? == Progress::Ended {
            return Ok(());
        }
        self.begin().await?;
        self.refuse_unsupported()?;
        self.claim().await?;
        let deployed = match self.prepare().await {
            Ok(volumes) => self.deploy(volumes).await,
            Err(failure) => {
                self.mark(&failure).await;
                self.undo_preparation().await;
                return Err(failure);
            }
        };
        match deployed {
            Ok(node) => self.finish(&node).await,
            Err(failure) => {
                self.mark(&failure).await;
                self.undo_deployment(failure).await
            }
        }
    }

    /// Reads the instance again after a restart: the build may be over, or its purpose gone.
    async fn look_again(&mut self) -> Result<Progress, Failure> {
        let found = self.manager.ports.instances.get(&self.request.context, self.instance.id).await?;
        let Some(found) = found.filter(|instance| !instance.deleted) else {
            self.undo_preparation().await;
            return Err(Failure::Gone);
        };
        self.instance.vm_state = found.vm_state.clone();
        self.instance.task_state = found.task_state.clone();
        self.instance.host = found.host;
        self.instance.node = found.node;
        self.instance.system_metadata = found.system_metadata;
        self.instance.network = found.network;
        self.instance.config_drive = found.config_drive;
        self.instance.launched_at = found.launched_at;
        match (&found.vm_state, &found.task_state) {
            (_, Some(TaskState::Deleting)) => {
                Err(Failure::Superseded("the instance is being deleted".to_owned()))
            }
            (VmState::Building, _) => Ok(Progress::UnderWay),
            (VmState::Active, _) => {
                self.announce_end().await;
                Ok(Progress::Ended)
            }
            (VmState::Error, _) => {
                // It had failed and all was undone but, perhaps, the last step.
                self.release_allocation().await;
                Ok(Progress::Ended)
            }
            (state, _) => Err(Failure::Superseded(format!("the instance is {state:?}"))),
        }
    }

    /// The tasks in which the next change may find the instance: as stock expects them, or, after a restart, any that a
    /// build passes through.
    fn expect(&self, tasks: &[Option<TaskState>]) -> Expect {
        Expect::Task(match self.start {
            Start::Fresh => tasks.to_vec(),
            _ => vec![
                None,
                Some(TaskState::Scheduling),
                Some(TaskState::Networking),
                Some(TaskState::BlockDeviceMapping),
                Some(TaskState::Spawning),
            ],
        })
    }

    fn node(&self) -> NodeId {
        self.request.node
    }
}

#[derive(PartialEq, Eq)]
enum Progress {
    UnderWay,
    Ended,
}
