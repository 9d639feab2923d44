//! How a build that failed ends: who is told, what is undone, and whether the control plane tries another node
//! (`nova-wire/05` §3, failure table).

use driver::Error as DriverError;

use super::Build;
use crate::instance::{Expect, InstanceUpdate, TaskState, VmState};
use crate::journal::{Entry, Work};
use crate::manager::caller;
use crate::ports::{self, Event, Fault, Phase};
use crate::request::NetworkRequests;

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
}

impl From<ports::Error> for Failure {
    fn from(error: ports::Error) -> Self {
        match error {
            ports::Error::InstanceGone(_) => Self::Gone,
            ports::Error::Deleting(text) | ports::Error::UnexpectedTask(text) => Self::Superseded(text),
            other => Self::Abort(other.to_string()),
        }
    }
}

impl Failure {
    /// What a failed deployment means (`nova-wire/05` §3, rows of step 17).
    pub(super) fn of_deployment(error: DriverError) -> Self {
        match error {
            DriverError::Gone(_) => Self::Gone,
            DriverError::Cancelled => Self::Superseded("the instance is being deleted".to_owned()),
            DriverError::Rejected(text) => Self::Abort(text),
            other => Self::Reschedule { reason: other.to_string(), by_policy: false },
        }
    }

    /// What a failure before the deployment means (rows of steps 12 to 15).
    pub(super) fn of_preparation(error: DriverError) -> Self {
        match error {
            DriverError::Unavailable(reason) => Self::Reschedule { reason, by_policy: false },
            DriverError::Gone(_) => Self::Gone,
            DriverError::Cancelled => Self::Superseded("the instance is being deleted".to_owned()),
            other => Self::Abort(format!("Failure prepping block device. {other}")),
        }
    }
}

impl Build {
    /// Ends a build that failed. `Err` holds what the event shows: the message and the longer story.
    pub(super) async fn end_failed(&mut self, failure: Failure) -> Result<(), (String, String)> {
        let id = self.instance.id;
        self.count_failure(&failure);
        match failure {
            Failure::Gone => {
                tracing::info!("the instance is gone; the build ends");
                self.deallocate_networks().await;
                self.release_allocation().await;
                Ok(())
            }
            Failure::Superseded(why) => {
                // The allocation stays with the instance: whoever has it now gives it back when the node is free.
                tracing::info!(%why, "the build ends; the instance is in other hands");
                Ok(())
            }
            Failure::Reschedule { reason, by_policy } if self.request.may_reschedule => {
                self.notify(Phase::Error(&reason)).await;
                let text = format!("Build of instance {id} was re-scheduled: {reason}");
                tracing::warn!(%reason, by_policy, "the build failed on this node and goes back to be tried on another");
                match self.hand_back(&reason, &text).await {
                    Ok(()) => Ok(()),
                    Err(Failure::Gone) => {
                        self.release_allocation().await;
                        Ok(())
                    }
                    Err(Failure::Superseded(_)) => Ok(()),
                    Err(Failure::Abort(why) | Failure::Reschedule { reason: why, .. }) => {
                        self.fail(&format!("{reason} (and could not be re-scheduled: {why})"), text).await
                    }
                }
            }
            Failure::Reschedule { reason, .. } => {
                self.notify(Phase::Error(&reason)).await;
                let text = format!("Build of instance {id} was re-scheduled: {reason}");
                self.fail(&reason, text).await
            }
            Failure::Abort(reason) => {
                self.notify(Phase::Error(&reason)).await;
                let text = format!("Build of instance {id} aborted: {reason}");
                self.fail(&text, text.clone()).await
            }
        }
    }

    /// The server is in error: everything is given back, the user reads why.
    async fn fail(&mut self, message: &str, details: String) -> Result<(), (String, String)> {
        tracing::error!(reason = %message, "the build failed");
        self.deallocate_networks().await;
        let ports = self.manager.ports.clone();
        let context = self.request.context.clone();
        ports.volumes.detach(&context, &self.instance, &self.request.block_devices, true).await;
        let fault = Fault { code: 500, message: message.to_owned(), details: details.clone() };
        if let Err(error) = ports.instances.record_fault(&context, self.instance.id, &fault).await {
            tracing::warn!(%error, "the fault could not be recorded");
        }
        let update = InstanceUpdate {
            vm_state: Some(VmState::Error),
            task_state: Some(None),
            home: Some(None),
            availability_zone: Some(None),
            ..InstanceUpdate::default()
        };
        if let Err(error) =
            ports.instances.update(&context, &mut self.instance, update, Expect::Anything).await
        {
            tracing::error!(%error, "the instance could not be set to error");
        }
        self.release_allocation().await;
        Err((message.to_owned(), details))
    }

    /// Writes down that the build failed here and goes back, before anything is undone: that cannot be observed, and a
    /// restart must not try this node again.
    pub(super) async fn mark(&self, failure: &Failure) {
        let Failure::Reschedule { reason, .. } = failure else { return };
        if !self.request.may_reschedule {
            return;
        }
        let work = Work::Build { instance: self.instance.id, node: self.node() };
        let origin = self.request.origin.clone();
        let entry = Entry { work, origin, handing_back: Some(reason.clone()) };
        if let Err(error) = self.manager.journal.write(entry).await {
            tracing::warn!(%error, "the journal could not be written; a restart would try this node again");
        }
    }

    /// Gives the request back to the control plane, which tries another node. The instance keeps nothing.
    async fn hand_back(&mut self, reason: &str, details: &str) -> Result<(), Failure> {
        let ports = self.manager.ports.clone();
        let work = Work::Build { instance: self.instance.id, node: self.node() };
        if matches!(self.start, super::Start::HandingBack(_)) {
            if self.was_handed_back().await? {
                return Ok(());
            }
        } else {
            let entry =
                Entry { work, origin: self.request.origin.clone(), handing_back: Some(reason.to_owned()) };
            if let Err(error) = self.manager.journal.write(entry).await {
                tracing::warn!(%error, "the journal could not be written");
            }
        }
        self.deallocate_networks().await;
        let mut system_metadata = self.instance.system_metadata.clone();
        system_metadata.insert("network_allocated".to_owned(), Some("False".to_owned()));
        let update = InstanceUpdate {
            task_state: Some(Some(TaskState::Scheduling)),
            home: Some(None),
            availability_zone: Some(None),
            system_metadata: Some(system_metadata),
            ..InstanceUpdate::default()
        };
        let expect = self.expect(&[
            None,
            Some(TaskState::Networking),
            Some(TaskState::BlockDeviceMapping),
            Some(TaskState::Spawning),
        ]);
        ports.instances.update(&self.request.context, &mut self.instance, update, expect).await?;
        ports.placement.release(&self.request.context, self.instance.id).await?;
        ports.instances.reschedule(&self.request, reason, details).await?;
        Ok(())
    }

    /// Whether the control plane has the request again: then the instance failed for good, holds another node, or is at
    /// home somewhere.
    async fn was_handed_back(&mut self) -> Result<bool, Failure> {
        let ports = &self.manager.ports;
        let found = ports.instances.get(&self.request.context, self.instance.id).await?;
        let Some(found) = found.filter(|instance| !instance.deleted) else { return Err(Failure::Gone) };
        if found.task_state == Some(TaskState::Deleting) {
            return Err(Failure::Superseded("the instance is being deleted".to_owned()));
        }
        let elsewhere = found.node.is_some_and(|node| node != self.node());
        let held = ports.placement.held_by(self.instance.id).await?;
        Ok(found.vm_state != VmState::Building || elsewhere || held.iter().any(|node| *node != self.node()))
    }

    /// Undoes what was done before the deployment: VIFs, the node's reservation.
    pub(super) async fn undo_preparation(&mut self) {
        let (context, node) = (&self.request.context, self.node());
        if let Err(error) = self.manager.ports.driver.release(&caller(context), self.instance.id, node).await
        {
            tracing::error!(%error, "the node could not be given back");
        }
    }

    /// Undoes a deployment that failed; a failure to do so ends the build for good.
    pub(super) async fn undo_deployment(&mut self, failure: Failure) -> Result<(), Failure> {
        let context = self.request.context.clone();
        if let Failure::Superseded(_) = failure {
            // The delete that follows takes the server down from whatever state it is in.
            return Err(failure);
        }
        let ports = self.manager.ports.clone();
        ports.volumes.detach(&context, &self.instance, &self.request.block_devices, false).await;
        let torn_down = ports.driver.tear_down(&caller(&context), self.instance.id, Some(self.node())).await;
        if let Err(error) = ports.reporter.look_at(&context, self.node(), None).await {
            tracing::debug!(%error, "the node could not be reported at once");
        }
        match (torn_down, failure) {
            (Err(error), Failure::Reschedule { reason, .. }) => {
                tracing::error!(%error, "the failed deployment could not be undone");
                Err(Failure::Abort(reason))
            }
            (_, failure) => Err(failure),
        }
    }

    /// Takes the ports from the instance; a failure is logged and leaves the ports to the delete.
    async fn deallocate_networks(&mut self) {
        if self.request.networks == NetworkRequests::None {
            return;
        }
        let ports = &self.manager.ports;
        if let Err(error) =
            ports.networks.deallocate(&self.request.context, &self.instance, &self.requested_ports()).await
        {
            tracing::error!(%error, "the networks could not be given back");
        }
    }

    pub(super) async fn release_allocation(&self) {
        let ports = &self.manager.ports;
        if let Err(error) = ports.placement.release(&self.request.context, self.instance.id).await {
            tracing::error!(%error, "the allocation could not be deleted");
        }
    }

    fn count_failure(&self, failure: &Failure) {
        let by_policy = matches!(failure, Failure::Reschedule { by_policy: true, .. });
        if self.manager.options.build.count_failures && !by_policy {
            self.manager.ports.reporter.build_ended(self.node(), false);
        }
    }

    async fn notify(&self, phase: Phase<'_>) {
        let announcer = &self.manager.ports.announcer;
        announcer.notify(&self.request.context, &self.instance, Event::Create, phase).await;
    }
}
