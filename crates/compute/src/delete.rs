//! A delete: from the control plane's request to a node that is free again (`nova-wire/05` §5).
//!
//! As in a build, every step looks first, so that a delete that was killed anywhere is run again from the beginning.

use std::sync::Arc;

use driver::NodeId;
use tracing::Instrument;

use crate::instance::{Expect, Instance, InstanceUpdate, Power, VmState};
use crate::manager::{Inner, caller};
use crate::ports::{self, Event, Fault, Phase};
use crate::request::DeleteRequest;

/// The event that users see of a delete.
const EVENT: &str = "compute_terminate_instance";

/// One delete.
pub(crate) struct Delete {
    manager: Arc<Inner>,
    request: DeleteRequest,
    instance: Instance,
    resumed: bool,
}

/// Why a delete did not end.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Port(#[from] ports::Error),
    #[error(transparent)]
    Driver(#[from] driver::Error),
}

impl Failure {
    /// Somebody else ended the instance: nothing is left to do.
    fn is_gone(&self) -> bool {
        matches!(self, Self::Port(ports::Error::InstanceGone(_)))
    }
}

impl Delete {
    pub(crate) fn new(manager: Arc<Inner>, request: DeleteRequest, resumed: bool) -> Self {
        let instance = request.instance.clone();
        Self { manager, request, instance, resumed }
    }

    /// Runs the delete to its end and records how it ended. Nothing can fail outwards.
    pub(crate) async fn run(self) {
        let span = oslo::log::request_span(&self.request.context);
        let instance = self.instance.id;
        self.run_in_span().instrument(tracing::info_span!(parent: &span, "delete", %instance)).await;
    }

    async fn run_in_span(mut self) {
        let started = std::time::Instant::now();
        let instances = self.manager.ports.instances.clone();
        let (context, id) = (self.request.context.clone(), self.instance.id);
        if let Err(error) = instances.start_event(&context, id, EVENT, self.resumed).await {
            if !self.resumed {
                tracing::warn!(%error, "the delete cannot be recorded and is not begun");
                return;
            }
            // After a restart the action may be unknown (the delete was found by the instance's task): the work counts.
            tracing::debug!(%error, "the delete goes on without its event");
        }
        let failure = match self.delete().await {
            Ok(()) => {
                tracing::info!(seconds = started.elapsed().as_secs_f64(), "server deleted");
                None
            }
            Err(failure) if failure.is_gone() => {
                tracing::info!("the instance is gone already");
                None
            }
            Err(failure) => Some(self.fail(&failure).await),
        };
        let outcome = if failure.is_none() { "ended" } else { "failed" };
        metrics::counter!("bessemer_deletes_total", "outcome" => outcome).increment(1);
        let failure = failure.as_ref().map(|text| (text.as_str(), text.as_str()));
        if let Err(error) = instances.finish_event(&context, id, EVENT, failure).await {
            tracing::debug!(%error, "the end of the delete could not be recorded");
        }
    }

    async fn delete(&mut self) -> Result<(), Failure> {
        let ports = self.manager.ports.clone();
        let context = self.request.context.clone();
        if self.resumed {
            self.look_again(&context).await?;
        }
        if self.instance.vm_state != VmState::Deleted {
            self.notify(Event::Delete, Phase::Start).await;
            self.notify(Event::Shutdown, Phase::Start).await;
            let node = self.take_down(&context).await?;
            ports.volumes.detach(&context, &self.instance, &self.request.block_devices, true).await;
            self.notify(Event::Shutdown, Phase::End).await;
            let update = InstanceUpdate {
                vm_state: Some(VmState::Deleted),
                task_state: Some(None),
                power: Some(Power::NoState),
                terminated_now: true,
                ..InstanceUpdate::default()
            };
            ports.instances.update(&context, &mut self.instance, update, Expect::Anything).await?;
            if let Some(node) = node {
                self.report(&context, node).await;
            }
        }
        ports.placement.release(&context, self.instance.id).await?;
        ports.instances.clean_console_tokens(&context, self.instance.id).await?;
        ports.announcer.instance_gone(&context, self.instance.id).await;
        ports.instances.destroy(&context, &self.instance).await?;
        self.notify(Event::Delete, Phase::End).await;
        Ok(())
    }

    /// Reads the instance again after a restart.
    async fn look_again(&mut self, context: &oslo::context::RequestContext) -> Result<(), Failure> {
        let id = self.instance.id;
        let found = self.manager.ports.instances.get(context, id).await?;
        let found = found.ok_or(ports::Error::InstanceGone(id))?;
        if found.deleted {
            // Only the last words were left to be said; what an API that found us dead deleted itself is taken down too.
            let node = self.take_down(context).await?;
            self.manager.ports.placement.release(context, id).await?;
            if let Some(node) = node {
                self.report(context, node).await;
            }
            return Err(ports::Error::InstanceGone(id).into());
        }
        self.instance.vm_state = found.vm_state;
        self.instance.host = found.host;
        self.instance.node = found.node;
        self.instance.network = found.network;
        Ok(())
    }

    /// Takes the machine down and the ports away. The ports are given back even when the machine cannot be taken down:
    /// they are the user's, and the delete can be asked for again.
    async fn take_down(
        &mut self,
        context: &oslo::context::RequestContext,
    ) -> Result<Option<NodeId>, Failure> {
        let ports = self.manager.ports.clone();
        let taken = ports.driver.tear_down(&caller(context), self.instance.id, self.instance.node).await;
        let networks = ports.networks.deallocate(context, &self.instance, &[]).await;
        let node = taken?;
        networks?;
        Ok(node.map(|node| node.uuid).or(self.instance.node))
    }

    /// Tells Placement what the node is now, before the allocation goes: a node that is being cleaned must not be
    /// booked. When cleaning ends the node is bookable at once.
    async fn report(&self, context: &oslo::context::RequestContext, node: NodeId) {
        let reporter = &self.manager.ports.reporter;
        match reporter.look_at(context, node, None).await {
            Ok(()) => reporter.follow(node),
            Err(error) => {
                tracing::warn!(%node, %error, "the node could not be reported at once; the next period will");
            }
        }
    }

    /// The server is in error and can be deleted again.
    async fn fail(&mut self, failure: &Failure) -> String {
        let text = failure.to_string();
        tracing::error!(error = %text, "the delete failed; the server is in error and can be deleted again");
        let instances = self.manager.ports.instances.clone();
        let context = self.request.context.clone();
        let update = InstanceUpdate {
            vm_state: Some(VmState::Error),
            task_state: Some(None),
            ..InstanceUpdate::default()
        };
        let fault = Fault { code: 500, message: text.clone(), details: text.clone() };
        if let Err(error) = instances.record_fault(&context, self.instance.id, &fault).await {
            tracing::warn!(%error, "the fault could not be recorded");
        }
        if let Err(error) = instances.update(&context, &mut self.instance, update, Expect::Anything).await {
            tracing::error!(%error, "the instance could not be set to error");
        }
        text
    }

    async fn notify(&self, event: Event, phase: Phase<'_>) {
        self.manager.ports.announcer.notify(&self.request.context, &self.instance, event, phase).await;
    }
}
