//! How a build that failed ends: who is told, what is undone, and whether the control plane tries another node
//! (as `_do_build_and_run_instance` of `nova/compute/manager.py` decides it).

use std::time::Duration;

use configdrive::network::NetworkInfo;
use driver::Error as DriverError;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{Create, any_task};
use crate::ending::{Change, Ending};
use crate::instance::{BuildNetworks, InstanceUpdate, TaskState, VmState};
use crate::journal::{Announced, Stage, Verdict};
use crate::operations::{Retry, Start, caller};
use crate::ports::{self, Event, Phase};
use crate::request::Kind;
use crate::request::NetworkRequests;
use crate::user_message;

/// Why a build did not end in an active server.
#[derive(Debug)]
pub(super) enum Failure {
    /// The instance is not there any more.
    Gone,
    /// Somebody else changed what the instance is in: a delete, mostly.
    Superseded(String),
    /// This request fails on every node; the text is what the user reads.
    Abort(String),
    /// This node failed it; another may not.
    Reschedule { reason: String, by_policy: bool },
    /// It failed, and the node could not be freed: the server keeps it until somebody deletes it.
    Stuck(String),
    /// A service is away without which the build can neither go on nor end.
    Away(String),
}

/// What becomes of the volumes that go with the server when its build fails (as `_do_build_and_run_instance` decides it).
#[derive(PartialEq, Eq)]
enum Volumes {
    Deleted,
    /// Only another node was to be tried: the user may want what is on them.
    Kept,
}

/// How often, and how long after each other, an interrupted hand-over is looked at before the request is handed back
/// again. The control plane claims another node within seconds, unless it is away itself.
const HANDED_BACK_LOOKS: usize = 7;
const HANDED_BACK_PAUSE: Duration = Duration::from_secs(10);

impl From<ports::Error> for Failure {
    fn from(error: ports::Error) -> Self {
        match error {
            ports::Error::InstanceGone(_) => Self::Gone,
            ports::Error::Deleting(text) => Self::Superseded(text),
            ports::Error::Unavailable(text) => Self::Away(text),
            other => Self::Abort(other.to_string()),
        }
    }
}

impl From<Verdict> for Failure {
    fn from(verdict: Verdict) -> Self {
        let Verdict { reason, reschedule, by_policy, .. } = verdict;
        if reschedule { Self::Reschedule { reason, by_policy } } else { Self::Abort(reason) }
    }
}

impl Failure {
    /// The instance is not wanted any more.
    pub(super) fn deleting() -> Self {
        Self::Superseded("the instance is being deleted".to_owned())
    }

    /// What a failed deployment means (in stock: what `driver.spawn` raises).
    pub(super) fn of_deployment(error: DriverError) -> Self {
        match error {
            DriverError::Cancelled => Self::deleting(),
            DriverError::NoNode(text) => Self::Abort(text),
            other => Self::Reschedule { reason: user_message::of_driver(&other), by_policy: false },
        }
    }

    /// What a failure before the deployment means (in stock: what `_build_resources` raises).
    pub(super) fn of_preparation(error: DriverError) -> Self {
        match error {
            DriverError::AnotherNode(reason) => Self::Reschedule { reason, by_policy: false },
            DriverError::Cancelled => Self::deleting(),
            other => Self::Abort(format!("{} {}", user_message::NO_DISKS, user_message::of_driver(&other))),
        }
    }
}

impl Create {
    /// Gives up a build that has claimed its node.
    pub(super) async fn give_up(&mut self, failure: Failure) -> Failure {
        match &failure {
            Failure::Away(_) | Failure::Stuck(_) => failure,
            Failure::Superseded(_) => {
                // The delete takes the machine down, from whatever state, and ends with the ports. Giving them back here
                // is a courtesy to those that the user brought: where Neutron is away the delete does not wait for it.
                // This build is tried again, behind the delete, and as long as it has not ended the delete knows from it
                // which ports are the user's (`Registry::brought_ports`): whoever meets Neutron first gives them back.
                match self.deallocate_networks().await {
                    Err(why) => Failure::Away(why),
                    Ok(()) => failure,
                }
            }
            Failure::Gone => self.undo(failure).await,
            Failure::Abort(_) | Failure::Reschedule { .. } => {
                self.mark(&failure).await;
                self.undo(failure).await
            }
        }
    }

    /// What it means that a service was away for longer than a step waits: where it is the control plane, the build
    /// rests; where it is another one, the build fails, and the user reads `reason`.
    pub(super) async fn failed_unless_away(&self, why: String, reason: &str) -> Failure {
        let instances = &self.this.shared.ports.instances;
        let answer = instances.get(&self.request.context, self.instance.id).await;
        if let Err(ports::Error::Unavailable(why)) = answer {
            return Failure::Away(why);
        }
        tracing::warn!(%why, "{reason}");
        Failure::Abort(reason.to_owned())
    }

    /// Writes down why the build failed, before anything is undone: that cannot be observed, and a restart must not try
    /// this node again.
    pub(super) async fn mark(&mut self, failure: &Failure) {
        let (reason, reschedule, by_policy) = match failure {
            Failure::Abort(reason) => (reason.clone(), false, false),
            Failure::Reschedule { reason, by_policy } => (reason.clone(), true, *by_policy),
            _ => return,
        };
        self.write_down(Verdict { reason, reschedule, by_policy, stage: Stage::Failed }).await;
    }

    /// Counts the failure and tells whoever listens to notifications, once, whatever restarts come in between.
    async fn tell(&mut self, failure: &Failure) {
        if std::mem::replace(&mut self.failure_announced, true) {
            return;
        }
        self.count(failure);
        let (Failure::Abort(reason) | Failure::Reschedule { reason, .. } | Failure::Stuck(reason)) = failure
        else {
            // Only for the next try: a restart has forgotten the count as well.
            let (reason, stage) = ("The instance is gone.".to_owned(), Stage::Told);
            self.start = Start::Failed(Verdict { reason, reschedule: false, by_policy: false, stage });
            return;
        };
        let (announcer, context) = (&self.this.shared.ports.announcer, &self.request.context);
        announcer.notify(context, &self.instance, Event::Create, Phase::Error(reason)).await;
        if let Start::Failed(verdict) = self.start.clone() {
            self.write_down(Verdict { stage: Stage::Told, ..verdict }).await;
        }
    }

    async fn write_down(&mut self, verdict: Verdict) {
        self.start = Start::Failed(verdict);
        self.this.note(&self.start).await;
    }

    /// Undoes all that was done on the node, which is free afterwards and cannot be booked before it is clean: the
    /// allocation goes after this. The machine goes first: it may be writing to its volumes.
    pub(super) async fn undo(&mut self, failure: Failure) -> Failure {
        // From here on Ironic works, for as long as it takes.
        self.slot.leave();
        self.this.tracker.phase("freeing the node of a failed build");
        let (ports, context, node) =
            (self.this.shared.ports.clone(), self.request.context.clone(), self.node());
        // The build is over: no delete need wait for less than a free node.
        let (caller, never) = (caller(&context), CancellationToken::new());
        let run = driver::Run { cancel: &never, ..self.this.run(&caller) };
        if let Err(error) = ports.driver.tear_down_on(run, node).await {
            if user_message::is_away(&error) {
                return self.rest(&failure, error.to_string()).await;
            }
            tracing::error!(%error, "the node could not be freed");
            return match failure {
                Failure::Abort(reason) | Failure::Reschedule { reason, .. } => Failure::Stuck(reason),
                // Nobody can ask again for a server that is gone: it is tried until it succeeds.
                _ => Failure::Away(error.to_string()),
            };
        }
        // Nobody will ask for the volumes of a server that is gone.
        let delete = matches!(failure, Failure::Gone);
        if let Err(away) = self.detach_volumes(delete).await {
            return self.rest(&failure, away).await;
        }
        if let Err(away) = ports.publisher.publish_freed(&context, node).await {
            return self.rest(&failure, away).await;
        }
        failure
    }

    /// The failure is told before the build waits for whatever is away.
    async fn rest(&mut self, failure: &Failure, why: String) -> Failure {
        self.tell(failure).await;
        Failure::Away(why)
    }

    async fn detach_volumes(&self, delete: bool) -> Result<(), String> {
        let (volumes, context) = (&self.this.shared.ports.volumes, &self.request.context);
        let detached = volumes.detach(context, &self.instance, &self.request.block_devices, delete).await;
        detached.or_else(|error| match error {
            ports::Error::Unavailable(why) => Err(why),
            error => {
                tracing::warn!(%error, "not all volumes could be detached");
                Ok(())
            }
        })
    }

    /// Ends a build that failed and is undone: gives back what it has, and the request where another node is to be tried.
    /// Answers what is to be written of it; `Err`: something is away, and this is how to go on.
    pub(super) async fn end_failed(&mut self, failure: Failure) -> Result<Ending, Retry> {
        let id = self.instance.id;
        if !matches!(failure, Failure::Superseded(_) | Failure::Away(_)) {
            self.tell(&failure).await;
        }
        let rescheduled = |reason: &str| user_message::rescheduled(id, reason);
        let ended = match failure {
            Failure::Gone => {
                tracing::info!("the instance is gone; the build ends");
                self.give_back().await.map(|()| ended())
            }
            Failure::Superseded(why) => {
                // The allocation stays with the instance: whoever has it now gives it back when the node is free.
                tracing::info!(%why, "the build ends; another request has the instance");
                Ok(ended())
            }
            Failure::Away(why) => Err(why),
            Failure::Reschedule { reason, by_policy } if self.request.may_reschedule => {
                tracing::warn!(node = %self.node(), %reason, by_policy, "the build failed on this node and goes back to be tried on another");
                match self.hand_back(&reason, &rescheduled(&reason)).await {
                    Ok(()) | Err(Failure::Superseded(_)) => Ok(ended()),
                    Err(Failure::Gone) => self.release_allocation().await.map(|()| ended()),
                    Err(Failure::Away(why)) => Err(why),
                    Err(
                        Failure::Abort(why) | Failure::Stuck(why) | Failure::Reschedule { reason: why, .. },
                    ) => {
                        let message = format!("{reason} (and could not be re-scheduled: {why})");
                        self.fail(message, rescheduled(&reason), Volumes::Kept).await
                    }
                }
            }
            Failure::Reschedule { reason, .. } => {
                let details = rescheduled(&reason);
                self.fail(reason, details, Volumes::Kept).await
            }
            Failure::Abort(reason) => {
                let text = user_message::aborted(id, &reason);
                self.fail(text.clone(), text, Volumes::Deleted).await
            }
            Failure::Stuck(reason) => {
                let text =
                    format!("{reason} (and node {} could not be freed; delete the server)", self.node());
                Ok(self.failed(text.clone(), text, Change::Error))
            }
        };
        ended.map_err(|why| Retry { start: self.resumed(), why })
    }

    /// How an interrupted build goes on.
    fn resumed(&self) -> Start {
        match &self.start {
            failed @ Start::Failed(_) => failed.clone(),
            _ if self.announced => Start::Announced(Announced::Start),
            start if !self.claimed => start.clone(),
            _ => Start::Resumed,
        }
    }

    /// The server is to be in error: all that it has is given back before, its allocation, too.
    async fn fail(&mut self, message: String, details: String, volumes: Volumes) -> Result<Ending, String> {
        if volumes == Volumes::Deleted {
            self.detach_volumes(true).await?;
        }
        self.give_back().await?;
        Ok(self.failed(message, details, Change::ErrorWithoutNode))
    }

    fn failed(&self, message: String, details: String, change: Change) -> Ending {
        tracing::warn!(node = %self.node(), reason = %message, "the build failed");
        Ending::failure(Kind::Create, message, details, change)
    }

    /// Gives back the ports and the allocation. `Err`: a service is away.
    async fn give_back(&mut self) -> Result<(), String> {
        self.deallocate_networks().await?;
        self.release_allocation().await
    }

    /// Gives the request back to the control plane, which tries another node. The instance keeps nothing.
    async fn hand_back(&mut self, reason: &str, details: &str) -> Result<(), Failure> {
        let ports = self.this.shared.ports.clone();
        self.deallocate_networks().await.map_err(Failure::Away)?;
        let update = InstanceUpdate {
            task_state: Some(Some(TaskState::Scheduling)),
            home: Some(None),
            availability_zone: Some(None),
            build_networks: Some(BuildNetworks::Released),
            ..InstanceUpdate::default()
        };
        let expect = any_task();
        ports.instances.update(&self.request.context, &mut self.instance, update, expect).await?;
        ports.machines.release(&self.request.context, self.instance.id).await?;
        // From here on the request may be the control plane's; handing it back twice would build the server twice.
        if let Start::Failed(verdict) = self.start.clone() {
            self.write_down(Verdict { stage: Stage::HandingBack, ..verdict }).await;
        }
        // A shutdown does not come in between.
        let (this, request) = (self.this.clone(), self.request.clone());
        let (reason, details) = (reason.to_owned(), details.to_owned());
        let handing_back = self.this.shared.tasks.spawn(
            async move {
                this.shared.ports.instances.reschedule(&request, &reason, &details).await?;
                if let Err(error) = this.record.erase().await {
                    tracing::warn!(%error, "the journal entry could not be erased at once");
                }
                Ok(())
            }
            .in_current_span(),
        );
        match handing_back.await {
            Ok(ended) => ended,
            Err(error) => match error.try_into_panic() {
                Ok(bug) => std::panic::resume_unwind(bug),
                Err(error) => Err(Failure::Away(error.to_string())),
            },
        }
    }

    /// Whether the control plane has the request again. Where the process may have died right after it gave it back,
    /// the control plane is given time to show what it does with it.
    pub(super) async fn was_handed_back(&mut self, verdict: &Verdict) -> Result<bool, Failure> {
        let looks = if verdict.stage == Stage::HandingBack { HANDED_BACK_LOOKS } else { 1 };
        for look in 0..looks {
            if look > 0 {
                let slept = self.this.cancel.run_until_cancelled(tokio::time::sleep(HANDED_BACK_PAUSE)).await;
                slept.ok_or_else(Failure::deleting)?;
            }
            if self.is_elsewhere_again().await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the instance failed for good, holds another node, or is at home somewhere else.
    async fn is_elsewhere_again(&self) -> Result<bool, Failure> {
        let ports = &self.this.shared.ports;
        let found = ports.instances.get(&self.request.context, self.instance.id).await?;
        let found = found.filter(|instance| !instance.deleted).ok_or(Failure::Gone)?;
        if found.task_state == Some(TaskState::Deleting) {
            return Err(Failure::deleting());
        }
        let elsewhere = found.node.is_some_and(|node| node != self.node());
        let held = ports.machines.held_by(self.instance.id).await?;
        Ok(found.vm_state != VmState::Building || elsewhere || held.iter().any(|node| *node != self.node()))
    }

    /// Takes the ports from the instance, and the addresses from what users see. What is refused is logged and left to the
    /// delete; `Err`: something is away.
    async fn deallocate_networks(&mut self) -> Result<(), String> {
        if self.request.networks == NetworkRequests::None {
            return Ok(());
        }
        let (ports, context) = (self.this.shared.ports.clone(), self.request.context.clone());
        let requested = self.request.brought_ports();
        match ports.networks.deallocate(&context, &self.instance, &requested).await {
            Err(ports::Error::Unavailable(why)) => return Err(why),
            Err(error) => {
                tracing::error!(%error, "the networks could not be given back");
                return Ok(());
            }
            Ok(()) => {}
        }
        let _only_writer = self.this.shared.network_locks.lock(self.instance.id).await;
        let none = NetworkInfo::default();
        match ports.instances.save_network(&context, &mut self.instance, none).await {
            Err(ports::Error::Unavailable(why)) => Err(why),
            Err(error) => {
                tracing::debug!(%error, "the addresses could not be taken from the instance");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Deletes the allocation. What is refused is logged; `Err`: Placement is away.
    async fn release_allocation(&self) -> Result<(), String> {
        let ports = &self.this.shared.ports;
        match ports.machines.release(&self.request.context, self.instance.id).await {
            Err(ports::Error::Unavailable(why)) => Err(why),
            Err(error) => {
                tracing::error!(%error, "the allocation could not be deleted");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn count(&self, failure: &Failure) {
        let is_by_policy = matches!(failure, Failure::Reschedule { by_policy: true, .. });
        if self.this.shared.options.create.count_failures && !is_by_policy {
            self.this.shared.ports.machines.build_ended(self.node(), false);
        }
    }
}

/// A build that did not end in a server, and did not fail here.
fn ended() -> Ending {
    Ending::success(Kind::Create)
}
