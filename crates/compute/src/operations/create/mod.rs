//! The creation of a server: from the control plane's request to an active server on a node, or to a failure that leaves
//! nothing behind (in stock: `nova/compute/manager.py`, `nova/virt/ironic/driver.py`).
//!
//! Every step looks at what is there before it acts, so that a build that was killed anywhere is run again from the
//! beginning and finds its own work done: the claim by the instance's record, ports by the id they carry, the node by its
//! instance, the deployment by the node's state. Only the order of the steps is fixed.

mod connector;
mod failure;
mod slot;
mod steps;

use driver::NodeId;

use super::{Operation, Retry, Rules, Start, Try};
use crate::ending::Ending;
use crate::instance::{Expect, Instance, TaskState, VmState};
use crate::journal::Stage;
use crate::request::{BuildRequest, Kind};
use failure::Failure;
use slot::Slot;

/// A delete that came meanwhile waits for the create, and takes the instance as it is. After a hand-over the instance may be built
/// elsewhere.
pub(super) const RULES: Rules = Rules {
    stops_others: false,
    outlives_instance: false,
    has: |key, instance, host| {
        let is_here = instance.host.as_ref().is_none_or(|other| other == host)
            && instance.node.is_none_or(|at| key.node.is_none_or(|node| node == at));
        !instance.deleted && instance.is_being_built() && !instance.is_being_deleted() && is_here
    },
    expect: |_| any_task(),
};

/// One creation of a server.
pub(crate) struct Create {
    this: Try,
    request: BuildRequest,
    instance: Instance,
    /// How it would go on if it stopped now.
    start: Start,
    /// Its slot, held as long as it does work of ours.
    slot: Slot,
    /// Something may be there to be undone.
    claimed: bool,
    /// Those who listen know that it began.
    announced: bool,
    /// Its failure was counted and announced.
    failure_announced: bool,
}

impl Operation for Create {
    async fn ready(&mut self) {
        self.this.tracker.phase("waiting for a build slot");
        self.slot.take(&self.this.cancel).await;
    }

    async fn work(&mut self) -> Result<Ending, Retry> {
        match self.build().await {
            Ok(Finish::Active) => {
                let seconds = self.this.tracker.running().as_secs_f64();
                tracing::info!(node = %self.node(), seconds, "server active");
                Ok(Ending::success(Kind::Create))
            }
            Ok(Finish::Elsewhere) => {
                tracing::info!("the build goes on elsewhere, or has ended");
                Ok(Ending::success(Kind::Create))
            }
            Err(failure) => self.end_failed(failure).await,
        }
    }

    fn instance(&mut self) -> &mut Instance {
        &mut self.instance
    }
}

impl Create {
    pub(crate) fn new(this: Try, request: BuildRequest) -> Self {
        let (instance, start) = (request.instance.clone(), this.start.clone());
        let claimed = start != Start::Fresh;
        let announced = matches!(start, Start::Announced(_));
        let failure_announced = matches!(&start, Start::Failed(verdict) if verdict.stage != Stage::Failed);
        let slot = Slot::new(this.shared.slots.clone());
        Self { this, request, instance, start, slot, claimed, announced, failure_announced }
    }

    /// The build; a failure that comes out of here is undone already.
    async fn build(&mut self) -> Result<Finish, Failure> {
        if let Start::Failed(verdict) = self.start.clone() {
            self.this.tracker.phase("undoing what was done");
            // From here on it waits for others.
            self.slot.leave();
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
        let instances = &self.this.shared.ports.instances;
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
        let instances = &self.this.shared.ports.instances;
        self.request.block_devices = instances.block_devices(&self.request.context, self.instance.id).await?;
        Ok(())
    }

    /// The tasks in which the next change may find the instance: as stock expects them, or, after a restart, any that a
    /// build passes through.
    fn expect(&self, tasks: &[Option<TaskState>]) -> Expect {
        match self.start {
            Start::Fresh => Expect::Task(tasks.to_vec()),
            _ => any_task(),
        }
    }

    /// Whether the instance is at home on another node or with another service: it was built again there.
    fn is_elsewhere(&self) -> bool {
        let other_host =
            self.instance.host.as_ref().is_some_and(|host| *host != self.this.shared.options.host);
        other_host || self.instance.node.is_some_and(|node| node != self.node())
    }

    fn node(&self) -> NodeId {
        self.request.node
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

/// How a build that did not fail ended.
enum Finish {
    Active,
    /// Somebody else has it.
    Elsewhere,
}
