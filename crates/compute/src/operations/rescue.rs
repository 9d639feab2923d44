//! Rescue and unrescue (in stock: `rescue_instance` and `unrescue_instance` of `nova/compute/manager.py`, and `rescue` and `unrescue` of
//! its Ironic driver).
//!
//! Both end with the machine on, whatever the node's rescue interface leaves behind. A rescue that fails is undone: the machine
//! boots its own system again, or is off where the server was. The server is in error all the same, as in stock, so that its user
//! hears of it.

use driver::PowerChange;
use openstack::ironic::Node;
use secrecy::SecretString;
use uuid::Uuid;

use super::existing::{Existing, Failure};
use super::{Operation, Retry, Rules, Start, Try, caller};
use crate::ending::{Change, Ending};
use crate::instance::{Expect, Instance, InstanceUpdate, Power, TaskState, VmState};
use crate::journal::{Stage, Verdict};
use crate::ports::{Event, Phase};
use crate::request::{Kind, RescueAction, RescueRequest};

/// Both have their server by the task that the API set.
pub(super) const RULES: Rules = Rules {
    stops_others: false,
    outlives_instance: false,
    has: |key, instance, _| !instance.deleted && tasks(key.kind).contains(&instance.task_state),
    expect: |kind| Expect::Task(tasks(kind)),
};

/// The HTTP status class of a rescue that failed (`InstanceNotRescuable`).
const NOT_RESCUABLE: u16 = 400;

/// One rescue, or the end of one.
pub(crate) struct Rescue {
    server: Existing,
    action: RescueAction,
}

impl Operation for Rescue {
    async fn work(&mut self) -> Result<Ending, Retry> {
        if let Start::Failed(verdict) = self.server.this.start.clone() {
            return self.not_rescued(verdict.reason).await;
        }
        match self.action.clone() {
            RescueAction::Rescue { password, image, gracefully } => {
                match self.rescue(password, Event::Rescue { image }, gracefully).await {
                    Err(Failure::Failed(text)) => self.not_rescued(text).await,
                    outcome => self.server.ended(outcome),
                }
            }
            RescueAction::Unrescue => match self.unrescue().await {
                Err(Failure::Failed(text)) => {
                    tracing::warn!(reason = %text, "the rescue could not be ended; the server is in error");
                    let text = format!("Failed to unrescue instance: {text}");
                    Ok(Ending::failure(Kind::Unrescue, text.clone(), text, Change::Error))
                }
                outcome => self.server.ended(outcome),
            },
        }
    }

    fn instance(&mut self) -> &mut Instance {
        &mut self.server.instance
    }
}

impl Rescue {
    pub(crate) fn new(this: Try, request: RescueRequest) -> Self {
        Self { server: Existing::new(this, request.instance), action: request.action }
    }

    async fn rescue(
        &mut self,
        password: Option<SecretString>,
        event: Event,
        gracefully: bool,
    ) -> Result<(), Failure> {
        self.read_again().await?;
        let node = self.server.node()?;
        self.server.announce_start(event).await;
        let soft = self.server.shutdown_timeout().filter(|_| gracefully);
        // Nobody asked for it, so nobody has to know it.
        let password = password.unwrap_or_else(|| Uuid::new_v4().simple().to_string().into());
        let this = &self.server.this;
        this.tracker.phase("rescuing the machine");
        let (caller, driver) = (caller(&this.context), this.shared.ports.driver.clone());
        let rescued = driver.rescue(this.run(&caller), node, &password, soft).await?;
        self.finish(VmState::Rescued, &rescued).await?;
        self.server.notify(event, Phase::End).await;
        Ok(())
    }

    async fn unrescue(&mut self) -> Result<(), Failure> {
        self.read_again().await?;
        let node = self.server.node()?;
        self.server.announce_start(Event::Unrescue).await;
        let this = &self.server.this;
        this.tracker.phase("ending the rescue");
        let (caller, driver) = (caller(&this.context), this.shared.ports.driver.clone());
        driver.unrescue(this.run(&caller), node).await?;
        let on = driver.set_power(this.run(&caller), node, PowerChange::On).await?;
        self.finish(VmState::Active, &on).await?;
        self.server.notify(Event::Unrescue, Phase::End).await;
        Ok(())
    }

    async fn read_again(&mut self) -> Result<(), Failure> {
        let tasks = tasks(self.action.kind());
        self.server.read_again(|instance| tasks.contains(&instance.task_state)).await
    }

    async fn finish(&mut self, vm_state: VmState, node: &Node) -> Result<(), Failure> {
        let update = InstanceUpdate {
            // Since when it is rescued: `rescue_timeout` counts from here.
            launched_now: vm_state == VmState::Rescued,
            vm_state: Some(vm_state),
            power: Some(Power::from(&node.power_state)),
            task_state: Some(None),
            ..InstanceUpdate::default()
        };
        self.server.update(update, tasks(self.action.kind())).await
    }

    /// Puts the machine back as it was, and the server in error.
    async fn not_rescued(&mut self, reason: String) -> Result<Ending, Retry> {
        tracing::warn!(%reason, "the machine could not be rescued; it is put back, and the server is in error");
        let verdict =
            Verdict { reason: reason.clone(), reschedule: false, by_policy: false, stage: Stage::default() };
        let failed = Start::Failed(verdict);
        self.server.this.note(&failed).await;
        match self.put_back().await {
            Ok(()) => {}
            Err(Failure::Away(why)) => return Err(Retry { start: failed, why }),
            Err(Failure::Superseded(why)) => return self.server.ended(Err(Failure::Superseded(why))),
            Err(Failure::Failed(why)) => {
                tracing::warn!(reason = %why, "the machine could not be put back; see its node in Ironic");
            }
        }
        let text = format!(
            "Instance {} cannot be rescued: Driver Error: Failed to move instance to rescue mode: {reason}",
            self.server.instance.id
        );
        let mut ending = Ending::failure(Kind::Rescue, text.clone(), text, Change::Error);
        if let Some(failure) = &mut ending.failure {
            failure.code = NOT_RESCUABLE;
        }
        Ok(ending)
    }

    async fn put_back(&mut self) -> Result<(), Failure> {
        self.read_again().await?;
        let node = self.server.node()?;
        let this = &self.server.this;
        this.tracker.phase("putting the machine back");
        let (caller, driver) = (caller(&this.context), this.shared.ports.driver.clone());
        driver.unrescue(this.run(&caller), node).await?;
        let change = match self.server.instance.vm_state {
            VmState::Active => PowerChange::On,
            VmState::Stopped => PowerChange::Off { soft: self.server.shutdown_timeout() },
            // How the machine of a server in error was before is not known.
            _ => return Ok(()),
        };
        driver.set_power(this.run(&caller), node, change).await?;
        Ok(())
    }
}

/// The task of a server while one of these operations has it.
fn tasks(kind: Kind) -> Vec<Option<TaskState>> {
    let task = if kind == Kind::Rescue { TaskState::Rescuing } else { TaskState::Unrescuing };
    vec![Some(task)]
}
