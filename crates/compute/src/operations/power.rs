//! Stop, start and reboot (in stock: `stop_instance`, `start_instance` and `reboot_instance` of `nova/compute/manager.py`, and the
//! power functions of its Ironic driver).
//!
//! The driver finds by itself how far a change had come that was cut off; here only the server's task says whether it is still
//! wanted.

use std::time::Duration;

use driver::PowerChange;
use openstack::ironic::Node;

use super::{Operation, Retry, Start, Try, caller, power};
use crate::ending::{Change, Ending};
use crate::instance::{Expect, Instance, InstanceUpdate, Power as PowerState, TaskState, VmState};
use crate::journal::Announced;
use crate::ports::{self, Event, Phase};
use crate::request::{Kind, PowerAction, PowerRequest};

/// One change of a machine's power.
pub(crate) struct Power {
    this: Try,
    request: PowerRequest,
    instance: Instance,
    announced: Announced,
}

/// Why a change did not happen.
enum Failure {
    /// Another request has the server now.
    Superseded(String),
    /// A service is away: the change is neither failed nor ended.
    Away(String),
    /// The text is for the user.
    Failed(String),
}

impl From<ports::Error> for Failure {
    fn from(error: ports::Error) -> Self {
        match error {
            ports::Error::InstanceGone(_) | ports::Error::Deleting(_) | ports::Error::UnexpectedTask(_) => {
                Self::Superseded(error.to_string())
            }
            ports::Error::Unavailable(why) => Self::Away(why),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<driver::Error> for Failure {
    fn from(error: driver::Error) -> Self {
        match error {
            driver::Error::Cancelled => Self::Superseded("the server is being deleted".to_owned()),
            driver::Error::Unreachable(error) => Self::Away(error.to_string()),
            other => Self::Failed(other.user_message()),
        }
    }
}

impl Operation for Power {
    async fn work(&mut self) -> Result<Ending, Retry> {
        let kind = self.this.key.kind;
        match self.change().await {
            Ok(()) => {
                tracing::info!(
                    operation = kind.name(),
                    seconds = self.this.tracker.running().as_secs_f64(),
                    "power changed"
                );
                Ok(Ending::success(kind))
            }
            Err(Failure::Superseded(why)) => {
                tracing::info!(operation = kind.name(), %why, "the power change ends; another request has the server");
                Ok(Ending::superseded(kind, why))
            }
            Err(Failure::Away(why)) => Err(Retry { start: self.resumed(), why }),
            Err(Failure::Failed(text)) => self.failed(text).await,
        }
    }

    fn instance(&mut self) -> &mut Instance {
        &mut self.instance
    }
}

impl Power {
    pub(crate) fn new(this: Try, request: PowerRequest) -> Self {
        let instance = request.instance.clone();
        let announced = match this.start {
            Start::Announced(announced) => announced,
            _ => Announced::Nothing,
        };
        Self { this, request, instance, announced }
    }

    async fn change(&mut self) -> Result<(), Failure> {
        self.read_again().await?;
        let node = self.instance.node.ok_or_else(|| Failure::Failed("The server has no node.".to_owned()))?;
        if self.announced < Announced::Start {
            self.notify(Phase::Start).await;
            self.announced = Announced::Start;
        }
        if let PowerAction::Reboot { hard } = self.request.action {
            self.begin_reboot(hard).await?;
        }
        self.this.tracker.phase("changing the machine's power");
        let caller = caller(&self.this.context);
        let driver = self.this.shared.ports.driver.clone();
        let changed = driver.set_power(self.this.run(&caller), node, self.wanted()).await?;
        self.finish(&changed).await?;
        self.notify(Phase::End).await;
        Ok(())
    }

    /// Reads the server as it is now: its task must still be the one that the API gave it for this request.
    async fn read_again(&mut self) -> Result<(), Failure> {
        let (instances, id) = (&self.this.shared.ports.instances, self.instance.id);
        let found = instances.get(&self.this.context, id).await?;
        let gone = || Failure::Superseded("the server is gone".to_owned());
        self.instance = found.filter(|found| !found.deleted).ok_or_else(gone)?;
        if !tasks(self.this.key.kind).contains(&self.instance.task_state) && !self.is_idle_stop() {
            let task = serde_json::json!(self.instance.task_state);
            return Err(Failure::Superseded(format!("the task of the server is now {task}")));
        }
        Ok(())
    }

    /// A stop of a server that was off already may find no task: another stop has ended it.
    fn is_idle_stop(&self) -> bool {
        self.this.key.kind == Kind::Stop
            && self.instance.task_state.is_none()
            && matches!(self.instance.power, PowerState::NoState | PowerState::Shutdown)
    }

    /// What is shown of a reboot before the machine restarts.
    async fn begin_reboot(&mut self, hard: bool) -> Result<(), Failure> {
        let (pending, started) = if hard {
            (TaskState::RebootPendingHard, TaskState::RebootStartedHard)
        } else {
            (TaskState::RebootPending, TaskState::RebootStarted)
        };
        let expect = Expect::Task(tasks(Kind::Reboot));
        self.update(
            InstanceUpdate { task_state: Some(Some(pending.clone())), ..InstanceUpdate::default() },
            expect,
        )
        .await?;
        let expect = Expect::Task(vec![Some(pending)]);
        self.update(InstanceUpdate { task_state: Some(Some(started)), ..InstanceUpdate::default() }, expect)
            .await
    }

    fn wanted(&self) -> PowerChange {
        match self.request.action {
            PowerAction::Start => PowerChange::On,
            PowerAction::Stop { gracefully } => PowerChange::Off { soft: gracefully.then(|| self.timeout()) },
            PowerAction::Reboot { hard } => PowerChange::Reboot { soft: !hard },
        }
    }

    /// How long the operating system may take to shut down: the image says, or the operator.
    fn timeout(&self) -> Duration {
        let of_image = self.instance.image_property("os_shutdown_timeout").and_then(|text| text.parse().ok());
        of_image.map_or(self.this.shared.options.shutdown_timeout, Duration::from_secs)
    }

    async fn finish(&mut self, node: &Node) -> Result<(), Failure> {
        let kind = self.this.key.kind;
        let vm_state = match kind {
            Kind::Stop => VmState::Stopped,
            Kind::Reboot if self.instance.vm_state == VmState::Rescued => VmState::Rescued,
            _ => VmState::Active,
        };
        let update = InstanceUpdate {
            vm_state: Some(vm_state),
            power: Some(power(&node.power_state)),
            task_state: Some(None),
            ..InstanceUpdate::default()
        };
        let mut expected = tasks(kind);
        if self.is_idle_stop() {
            expected.push(None);
        }
        self.update(update, Expect::Task(expected)).await
    }

    /// The machine is as it was, as far as Ironic knows: the server's task ends with a fault. After a reboot the server is in
    /// error unless the machine runs.
    async fn failed(&mut self, text: String) -> Result<Ending, Retry> {
        let kind = self.this.key.kind;
        tracing::warn!(operation = kind.name(), reason = %text, "the machine's power could not be changed");
        if let PowerAction::Reboot { .. } = self.request.action {
            self.notify(Phase::Error(&text)).await;
            if !self.is_running().await? {
                return Ok(Ending::failure(kind, text.clone(), text, Change::Error));
            }
            return Ok(Ending::failure(kind, text.clone(), text, Change::TaskEnds).with_event_of_success());
        }
        Ok(Ending::failure(kind, text.clone(), text, Change::TaskEnds))
    }

    async fn is_running(&self) -> Result<bool, Retry> {
        let Some(node) = self.instance.node else { return Ok(false) };
        let (driver, caller) = (&self.this.shared.ports.driver, caller(&self.this.context));
        match driver.read(self.this.run(&caller), node, || driver.node(&caller, node)).await {
            Ok(node) => Ok(power(&node.power_state) == PowerState::Running),
            Err(driver::Error::Unreachable(error)) => {
                Err(Retry { start: self.resumed(), why: error.to_string() })
            }
            Err(_) => Ok(false),
        }
    }

    /// How the change goes on when it is tried again.
    fn resumed(&self) -> Start {
        match self.announced {
            Announced::Nothing => Start::Resumed,
            announced => Start::Announced(announced),
        }
    }

    async fn update(&mut self, update: InstanceUpdate, expect: Expect) -> Result<(), Failure> {
        let instances = self.this.shared.ports.instances.clone();
        instances.update(&self.this.context, &mut self.instance, update, expect).await?;
        Ok(())
    }

    async fn notify(&self, phase: Phase<'_>) {
        let event = match self.request.action {
            PowerAction::Start => Event::PowerOn,
            PowerAction::Stop { .. } => Event::PowerOff,
            PowerAction::Reboot { .. } => Event::Reboot,
        };
        self.this.shared.ports.announcer.notify(&self.this.context, &self.instance, event, phase).await;
    }
}

/// The tasks of a server while one of these operations has it.
pub(crate) fn tasks(kind: Kind) -> Vec<Option<TaskState>> {
    match kind {
        Kind::Stop => vec![Some(TaskState::PoweringOff)],
        Kind::Start => vec![Some(TaskState::PoweringOn)],
        Kind::Reboot => [
            TaskState::Rebooting,
            TaskState::RebootPending,
            TaskState::RebootStarted,
            TaskState::RebootingHard,
            TaskState::RebootPendingHard,
            TaskState::RebootStartedHard,
        ]
        .map(Some)
        .to_vec(),
        Kind::Create | Kind::Delete => Vec::new(),
    }
}
