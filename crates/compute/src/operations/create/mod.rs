//! A build: from the control plane's request to an active server on a node, or to a failure that leaves nothing behind
//! (in stock: `nova/compute/manager.py`, `nova/virt/ironic/driver.py`).
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
use crate::journal::{Ending, Left, Stage, Work};
use crate::manager::{End, Inner, Start};
use crate::ports::{self, Action};
use crate::request::BuildRequest;
use failure::Failure;
pub(crate) use steps::power;

/// What users see of a build.
const ACTION: Action = Action::Create;

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

/// What the operator configured about config drives.
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

/// One build.
pub(crate) struct Build {
    manager: Arc<Inner>,
    work: Work,
    request: BuildRequest,
    instance: Instance,
    start: Start,
    cancel: CancellationToken,
    permit: Option<OwnedSemaphorePermit>,
    /// Something may be there to be undone.
    claimed: bool,
    /// Those who listen know that it began.
    announced: bool,
    /// Its failure was counted and told.
    told: bool,
}

impl Build {
    pub(crate) fn new(
        manager: Arc<Inner>,
        work: Work,
        request: BuildRequest,
        start: Start,
        cancel: CancellationToken,
    ) -> Self {
        let instance = request.instance.clone();
        let claimed = start != Start::Fresh;
        let told = matches!(&start, Start::Failed(verdict) if verdict.stage != Stage::Failed);
        let announced = matches!(start, Start::Announced(_));
        Self { manager, work, request, instance, start, cancel, permit: None, claimed, announced, told }
    }

    /// Runs the build and records how it ended.
    pub(crate) async fn run(self) -> End {
        let (request, instance) = (oslo::log::request_span(&self.request.context), self.instance.id);
        let span = request.in_scope(|| oslo::log::instance_span(instance));
        Box::pin(self.run_in_span()).instrument(span).await
    }

    async fn run_in_span(mut self) -> End {
        if let Start::Ending(ending) = self.start.clone() {
            return self.end_again(ending).await;
        }
        let builds = self.manager.builds.clone();
        self.permit = self.cancel.run_until_cancelled(builds.acquire_owned()).await.and_then(Result::ok);
        let started = std::time::Instant::now();
        let ports = self.manager.ports.clone();
        let (context, id) = (self.request.context.clone(), self.instance.id);
        let resumed = self.start != Start::Fresh;
        match ports.instances.start_event(&context, id, ACTION, resumed).await {
            Ok(()) => {}
            Err(ports::Error::Unavailable(_)) => return End::Unsettled(self.start),
            Err(ports::Error::InstanceGone(_)) if !resumed => return End::Ended,
            Err(error) => tracing::warn!(%error, "the build goes on without its event"),
        }
        let ending = match self.build().await {
            Ok(Finish::Active) => {
                tracing::info!(node = %self.node(), seconds = started.elapsed().as_secs_f64(), "server active");
                Ending { failure: None, left: Left::Event }
            }
            Ok(Finish::Elsewhere) => {
                tracing::info!("the build is not ours any more");
                Ending { failure: None, left: Left::Event }
            }
            Err(failure) => match self.end_failed(failure).await {
                Ok(ending) => ending,
                Err(next) => return End::Unsettled(next),
            },
        };
        let outcome = if ending.failure.is_none() { "ended" } else { "failed" };
        metrics::counter!("bessemer_builds_total", "outcome" => outcome).increment(1);
        self.end(ending).await
    }

    async fn end(&mut self, ending: Ending) -> End {
        if matches!(ending.left, Left::Fault { .. }) {
            // A restart must not undo the build anew: the server may be another's concern by then.
            let start = Start::Ending(ending.clone());
            self.manager.write_down(&self.work, &self.request.origin, &start).await;
        }
        let (manager, context) = (self.manager.clone(), self.request.context.clone());
        let written =
            manager.write_ending(&context, &mut self.instance, ACTION, Self::any_task(), ending).await;
        written.map_or_else(|left| End::Unsettled(Start::Ending(left)), |()| End::Ended)
    }

    /// Writes what is left of an ending, unless the instance is past it: a delete may have come.
    async fn end_again(&mut self, mut ending: Ending) -> End {
        let found = self.manager.ports.instances.get(&self.request.context, self.instance.id).await;
        match found {
            Err(ports::Error::Unavailable(_)) => return End::Unsettled(Start::Ending(ending)),
            Ok(Some(found)) if !found.deleted && found.vm_state == VmState::Building => self.instance = found,
            _ => ending.left = Left::Event,
        }
        self.end(ending).await
    }

    /// The build; a failure that comes out of here is undone already.
    async fn build(&mut self) -> Result<Finish, Failure> {
        if let Start::Failed(verdict) = self.start.clone() {
            // From here on it waits for others.
            self.permit = None;
            return match self.was_handed_back(&verdict).await {
                Ok(true) if verdict.reschedule && self.request.may_reschedule => Ok(Finish::Elsewhere),
                Ok(_) => {
                    if let Err(away @ Failure::Away(_)) = self.read_block_devices().await {
                        return Err(away);
                    }
                    Err(self.undo(verdict.into()).await)
                }
                Err(failure) => Err(self.give_up(failure).await),
            };
        }
        match self.steps().await {
            Err(failure) if self.claimed => Err(self.give_up(failure).await),
            Err(failure) => {
                self.mark(&failure).await;
                Err(failure)
            }
            ended => ended,
        }
    }

    /// The steps in their order.
    async fn steps(&mut self) -> Result<Finish, Failure> {
        if matches!(self.start, Start::Resumed | Start::Announced(_))
            && let Some(finish) = self.look_again().await?
        {
            return Ok(finish);
        }
        self.begin().await?;
        self.refuse_unsupported()?;
        self.claim().await?;
        let volumes = self.prepare().await?;
        let node = self.deploy(volumes).await?;
        self.finish(&node).await?;
        Ok(Finish::Active)
    }

    /// Reads the instance again after a restart: the build may be over, or its purpose gone.
    async fn look_again(&mut self) -> Result<Option<Finish>, Failure> {
        let instances = &self.manager.ports.instances;
        let found = instances.get(&self.request.context, self.instance.id).await?;
        let found = found.filter(|instance| !instance.deleted).ok_or(Failure::Gone)?;
        self.read_block_devices().await?;
        self.instance.host = found.host;
        self.instance.node = found.node;
        self.instance.boot_roles = found.boot_roles;
        self.instance.networks_allocated = found.networks_allocated;
        self.instance.origin = found.origin;
        self.instance.network = found.network;
        self.instance.config_drive = found.config_drive;
        self.instance.launched_at = found.launched_at;
        self.instance.vm_state = found.vm_state;
        self.instance.task_state = found.task_state;
        match (&self.instance.vm_state, &self.instance.task_state) {
            (_, Some(TaskState::Deleting)) => Err(Failure::deleting()),
            _ if self.is_elsewhere() => Ok(Some(Finish::Elsewhere)),
            (VmState::Building, _) => Ok(None),
            (VmState::Active, _) => {
                self.announce_end().await;
                Ok(Some(Finish::Active))
            }
            // Somebody else gave up on it, or it holds a node that could not be freed: the user's delete ends it.
            _ => Ok(Some(Finish::Elsewhere)),
        }
    }

    /// Reads the disks as the build left them before a restart: with the volumes that it made, and their attachments.
    async fn read_block_devices(&mut self) -> Result<(), Failure> {
        let instances = &self.manager.ports.instances;
        self.request.block_devices = instances.block_devices(&self.request.context, self.instance.id).await?;
        Ok(())
    }

    /// The tasks in which the next change may find the instance: as stock expects them, or, after a restart, any that a
    /// build passes through.
    fn expect(&self, tasks: &[Option<TaskState>]) -> Expect {
        match self.start {
            Start::Fresh => Expect::Task(tasks.to_vec()),
            _ => Self::any_task(),
        }
    }

    /// Any task that a build passes through.
    fn any_task() -> Expect {
        Expect::Task(vec![
            None,
            Some(TaskState::Scheduling),
            Some(TaskState::Networking),
            Some(TaskState::BlockDeviceMapping),
            Some(TaskState::Spawning),
        ])
    }

    /// Whether the instance is at home on another node or with another service: it was built again there.
    fn is_elsewhere(&self) -> bool {
        let other_host = self.instance.host.as_ref().is_some_and(|host| *host != self.manager.options.host);
        other_host || self.instance.node.is_some_and(|node| node != self.node())
    }

    fn node(&self) -> NodeId {
        self.request.node
    }
}

/// How a build that did not fail ended.
enum Finish {
    Active,
    /// Somebody else has it.
    Elsewhere,
}
