//! A delete: from the control plane's request to a node that is free again.
//!
//! As in a build, every step looks first, so that a delete that was killed anywhere is run again from the beginning.

use std::sync::Arc;

use configdrive::network::NetworkInfo;
use oslo::context::RequestContext;
use tracing::Instrument;

use crate::instance::{Expect, Instance, InstanceUpdate, Power, VmState};
use crate::manager::{End, Inner, Start, caller};
use crate::ports::{self, Action, Event, Fault, Phase};
use crate::request::DeleteRequest;
use crate::told;

/// What users see of a delete.
const EVENT: Action = Action::Delete;

/// One delete.
pub(crate) struct Delete {
    manager: Arc<Inner>,
    request: DeleteRequest,
    instance: Instance,
    start: Start,
}

/// Why a delete did not end.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Somebody else ended the instance: nothing is left to do.
    #[error("the instance is gone")]
    Gone,
    /// The control plane is away: the delete is neither failed nor ended.
    #[error("{0}")]
    Away(String),
    /// The server is in error and can be deleted again.
    #[error("{0}")]
    Failed(String),
}

impl From<ports::Error> for Failure {
    fn from(error: ports::Error) -> Self {
        match error {
            ports::Error::InstanceGone(_) => Self::Gone,
            ports::Error::Unavailable(text) => Self::Away(text),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl Delete {
    pub(crate) fn new(manager: Arc<Inner>, request: DeleteRequest, start: Start) -> Self {
        let instance = request.instance.clone();
        Self { manager, request, instance, start }
    }

    /// Runs the delete and records how it ended.
    pub(crate) async fn run(self) -> End {
        let (request, instance) = (oslo::log::request_span(&self.request.context), self.instance.id);
        let span = request.in_scope(|| oslo::log::instance_span(instance));
        self.run_in_span().instrument(span).await
    }

    async fn run_in_span(mut self) -> End {
        let started = std::time::Instant::now();
        let instances = self.manager.ports.instances.clone();
        let (context, id) = (self.request.context.clone(), self.instance.id);
        let resumed = self.start != Start::Fresh;
        match instances.start_event(&context, id, EVENT, resumed).await {
            Ok(()) => {}
            Err(ports::Error::Unavailable(_)) => return End::Unsettled(self.start),
            // The action may be unknown (the delete was found by the instance's task): the work counts.
            Err(error) => tracing::debug!(%error, "the delete goes on without its event"),
        }
        let failure = match self.delete().await {
            Ok(()) => {
                tracing::info!(seconds = started.elapsed().as_secs_f64(), "server deleted");
                None
            }
            Err(Failure::Gone) => {
                tracing::info!("the instance is gone already");
                None
            }
            Err(Failure::Away(why)) => {
                tracing::warn!(%why, "the control plane is away; the delete rests");
                return End::Unsettled(Start::Resumed);
            }
            Err(Failure::Failed(text)) => match self.fail(text).await {
                Some(text) => Some(text),
                None => return End::Unsettled(Start::Resumed),
            },
        };
        let outcome = if failure.is_none() { "ended" } else { "failed" };
        metrics::counter!("bessemer_deletes_total", "outcome" => outcome).increment(1);
        let failure = failure.as_ref().map(|text| (text.as_str(), text.as_str()));
        if let Err(error) = instances.finish_event(&context, id, EVENT, failure).await {
            tracing::debug!(%error, "the end of the delete could not be recorded");
        }
        End::Ended
    }

    async fn delete(&mut self) -> Result<(), Failure> {
        let ports = self.manager.ports.clone();
        let context = self.request.context.clone();
        self.look_again(&context).await?;
        if self.instance.vm_state != VmState::Deleted {
            self.notify(Event::Delete, Phase::Start).await;
            self.notify(Event::Shutdown, Phase::Start).await;
            self.take_down(&context).await?;
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
        }
        ports.placement.release(&context, self.instance.id).await?;
        ports.instances.clean_console_tokens(&context, self.instance.id).await?;
        ports.announcer.instance_gone(&context, self.instance.id).await;
        ports.instances.destroy(&context, &self.instance).await?;
        self.notify(Event::Delete, Phase::End).await;
        Ok(())
    }

    /// Reads the instance and its disks as they are now: the request was made before a build that it stopped.
    async fn look_again(&mut self, context: &RequestContext) -> Result<(), Failure> {
        let id = self.instance.id;
        let instances = &self.manager.ports.instances;
        let found = instances.get(context, id).await?.ok_or(Failure::Gone)?;
        self.request.block_devices = instances.block_devices(context, id).await?;
        let deleted = found.deleted;
        self.instance = found;
        if deleted {
            // Only the last words were left to be said, or an API that found us dead deleted the record itself. Then
            // the machine is still there.
            // Nobody can ask again for a server that is gone: what fails is tried until it succeeds.
            self.take_down(context).await.map_err(|failure| Failure::Away(failure.to_string()))?;
            let ports = &self.manager.ports;
            ports.volumes.detach(context, &self.instance, &self.request.block_devices, true).await;
            ports.placement.release(context, id).await?;
            return Err(Failure::Gone);
        }
        Ok(())
    }

    /// Takes the machine down and the ports away, and makes sure that nobody can book the node while it is being cleaned:
    /// the allocation goes after this. When cleaning ends the node is bookable at once.
    ///
    /// The ports are given back even when the machine cannot be taken down: they are the user's, and the delete can be
    /// asked for again.
    async fn take_down(&mut self, context: &RequestContext) -> Result<(), Failure> {
        let ports = self.manager.ports.clone();
        let torn_down = ports.driver.tear_down(&caller(context), self.instance.id, self.instance.node).await;
        let networks = ports.networks.deallocate(context, &self.instance, &[]).await;
        let node = torn_down.map_err(|error| Failure::Failed(told::of_driver(error)))?;
        match networks {
            Err(ports::Error::Unavailable(why)) => {
                tracing::error!(%why, "the ports could not be given back");
                return Err(Failure::Failed("The ports of the server could not be given back.".to_owned()));
            }
            other => other?,
        }
        if !self.instance.network.0.is_empty() && !self.instance.deleted {
            let _only_writer = self.manager.network_locks.lock(self.instance.id).await;
            let empty = NetworkInfo::default();
            ports.instances.save_network(context, &mut self.instance, empty).await?;
        }
        if let Some(node) = node.map(|node| node.uuid).or(self.instance.node) {
            ports.reporter.follow(node);
            if let Err(error) = ports.reporter.look_at(context, node, None).await
                && !ports.reporter.is_reserved(node)
            {
                if error.is_transient() {
                    return Err(Failure::Away(error.to_string()));
                }
                // What refuses the report may be the very allocation that goes next.
                tracing::warn!(%node, %error, "the node could not be reported before its allocation goes");
            }
        }
        Ok(())
    }

    /// The server is in error and can be deleted again. `None`: the control plane could not be told.
    async fn fail(&mut self, text: String) -> Option<String> {
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
        match instances.update(&context, &mut self.instance, update, Expect::Anything).await {
            Err(ports::Error::Unavailable(error)) => {
                tracing::warn!(%error, "the instance could not be set to error");
                None
            }
            Err(error) => {
                tracing::error!(%error, "the instance could not be set to error");
                Some(text)
            }
            Ok(()) => Some(text),
        }
    }

    async fn notify(&self, event: Event, phase: Phase<'_>) {
        self.manager.ports.announcer.notify(&self.request.context, &self.instance, event, phase).await;
    }
}
