//! Stop, start, reboot, soft delete and restore (in stock: `stop_instance`, `start_instance`, `reboot_instance`,
//! `soft_delete_instance` and `restore_instance` of `nova/compute/manager.py`, and the power functions of its Ironic driver).
//!
//! A soft delete is a stop after which the server can be restored until it is reclaimed; a restore is a start.
//!
//! The driver finds by itself how far a change had come that was cut off; here only the server's task says whether it is still
//! wanted.

use driver::PowerChange;
use openstack::ironic::Node;

use super::existing::{Existing, Failure};
use super::{Operation, Retry, Rules, Try, caller};
use crate::ending::{Change, Ending};
use crate::instance::{Expect, Instance, InstanceUpdate, Power as PowerState, TaskState, VmState};
use crate::ports::{Event, Phase};
use crate::request::{Kind, PowerAction, PowerRequest};

/// A power change has its server by the task that the API set.
pub(super) const RULES: Rules = Rules {
    stops_others: false,
    outlives_instance: false,
    has: |key, instance, _| !instance.deleted && tasks(key.kind).contains(&instance.task_state),
    expect: |kind| Expect::Task(tasks(kind)),
};

/// A soft delete is a delete to its user: whatever else goes on ends.
pub(super) const SOFT_DELETE: Rules = Rules { stops_others: true, ..RULES };

/// One change of a machine's power.
pub(crate) struct Power {
    server: Existing,
    action: PowerAction,
}

impl Operation for Power {
    async fn work(&mut self) -> Result<Ending, Retry> {
        match (self.change().await, self.action) {
            (Err(Failure::Failed(text)), PowerAction::Reboot { .. }) => self.not_rebooted(text).await,
            (Err(Failure::Failed(text)), PowerAction::SoftDelete) => {
                self.server.notify(Event::SoftDelete, Phase::End).await;
                self.server.ended(Err(Failure::Failed(text)))
            }
            (outcome, _) => self.server.ended(outcome),
        }
    }

    fn instance(&mut self) -> &mut Instance {
        &mut self.server.instance
    }
}

impl Power {
    pub(crate) fn new(this: Try, request: PowerRequest) -> Self {
        Self { server: Existing::new(this, request.instance), action: request.action }
    }

    async fn change(&mut self) -> Result<(), Failure> {
        let kind = self.action.kind();
        self.server
            .read_again(|instance| tasks(kind).contains(&instance.task_state) || is_idle_stop(kind, instance))
            .await?;
        let node = self.server.node()?;
        self.server.announce_start(self.event()).await;
        if let PowerAction::Reboot { hard } = self.action {
            self.begin_reboot(hard).await?;
        }
        let this = &self.server.this;
        this.tracker.phase("changing the machine's power");
        let (caller, driver) = (caller(&this.context), this.shared.ports.driver.clone());
        let changed = driver.set_power(this.run(&caller), node, self.wanted()).await?;
        self.finish(&changed).await?;
        self.server.notify(self.event(), Phase::End).await;
        Ok(())
    }

    /// What is shown of a reboot before the machine restarts.
    async fn begin_reboot(&mut self, hard: bool) -> Result<(), Failure> {
        let (pending, started) = if hard {
            (TaskState::RebootPendingHard, TaskState::RebootStartedHard)
        } else {
            (TaskState::RebootPending, TaskState::RebootStarted)
        };
        let task = |task| InstanceUpdate { task_state: Some(Some(task)), ..InstanceUpdate::default() };
        self.server.update(task(pending.clone()), tasks(Kind::Reboot)).await?;
        self.server.update(task(started), vec![Some(pending)]).await
    }

    fn wanted(&self) -> PowerChange {
        match self.action {
            PowerAction::Start | PowerAction::Restore => PowerChange::On,
            PowerAction::SoftDelete => PowerChange::Off { soft: None },
            PowerAction::Stop { gracefully } => {
                PowerChange::Off { soft: self.server.shutdown_timeout().filter(|_| gracefully) }
            }
            PowerAction::Reboot { hard } => PowerChange::Reboot { soft: !hard },
        }
    }

    async fn finish(&mut self, node: &Node) -> Result<(), Failure> {
        let (kind, instance) = (self.action.kind(), &self.server.instance);
        let vm_state = match kind {
            Kind::Stop => VmState::Stopped,
            Kind::SoftDelete => VmState::SoftDeleted,
            Kind::Reboot if instance.vm_state == VmState::Rescued => VmState::Rescued,
            _ => VmState::Active,
        };
        let update = InstanceUpdate {
            vm_state: Some(vm_state),
            power: Some(PowerState::from(&node.power_state)),
            task_state: Some(None),
            ..InstanceUpdate::default()
        };
        let mut expected = tasks(kind);
        if is_idle_stop(kind, instance) {
            expected.push(None);
        }
        self.server.update(update, expected).await
    }

    /// The machine is as it was, as far as Ironic knows. The server is in error unless the machine runs.
    async fn not_rebooted(&mut self, text: String) -> Result<Ending, Retry> {
        tracing::warn!(reason = %text, "the machine could not be rebooted");
        self.server.notify(Event::Reboot, Phase::Error(&text)).await;
        if self.is_running().await? {
            let ending = Ending::failure(Kind::Reboot, text.clone(), text, Change::TaskEnds);
            return Ok(ending.with_event_of_success());
        }
        Ok(Ending::failure(Kind::Reboot, text.clone(), text, Change::Error))
    }

    async fn is_running(&self) -> Result<bool, Retry> {
        let Some(node) = self.server.instance.node else { return Ok(false) };
        let this = &self.server.this;
        let (driver, caller) = (&this.shared.ports.driver, caller(&this.context));
        match driver.read(this.run(&caller), node, || driver.node(&caller, node)).await {
            Ok(node) => Ok(PowerState::from(&node.power_state) == PowerState::Running),
            Err(driver::Error::Unreachable(error)) => {
                Err(Retry { start: self.server.resumed(), why: error.to_string() })
            }
            Err(_) => Ok(false),
        }
    }

    fn event(&self) -> Event {
        match self.action {
            PowerAction::Start => Event::PowerOn,
            PowerAction::Stop { .. } => Event::PowerOff,
            PowerAction::Reboot { .. } => Event::Reboot,
            PowerAction::SoftDelete => Event::SoftDelete,
            PowerAction::Restore => Event::Restore,
        }
    }
}

/// A stop of a server that was off already may find no task: another stop has ended it.
fn is_idle_stop(kind: Kind, instance: &Instance) -> bool {
    kind == Kind::Stop
        && instance.task_state.is_none()
        && matches!(instance.power, PowerState::NoState | PowerState::Shutdown)
}

/// The tasks of a server while one of these operations has it.
fn tasks(kind: Kind) -> Vec<Option<TaskState>> {
    let tasks: &[TaskState] = match kind {
        Kind::Stop => &[TaskState::PoweringOff],
        Kind::Start => &[TaskState::PoweringOn],
        Kind::Reboot => &[
            TaskState::Rebooting,
            TaskState::RebootPending,
            TaskState::RebootStarted,
            TaskState::RebootingHard,
            TaskState::RebootPendingHard,
            TaskState::RebootStartedHard,
        ],
        Kind::SoftDelete => &[TaskState::SoftDeleting],
        Kind::Restore => &[TaskState::Restoring],
        // No change of power.
        _ => &[],
    };
    tasks.iter().cloned().map(Some).collect()
}
