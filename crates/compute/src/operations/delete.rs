//! A delete: from the control plane's request to a node that is free again.
//!
//! As in a build, every step looks first, so that a delete that was killed anywhere is run again from the beginning.

use std::sync::Arc;

use configdrive::network::NetworkInfo;
use oslo::context::RequestContext;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::instance::{Expect, Instance, InstanceUpdate, Power, VmState};
use crate::journal::{Announced, Ending, Left, Shown};
use crate::manager::{End, Inner, Start, caller, run};
use crate::ports::{self, Action, Event, Phase};
use crate::request::DeleteRequest;
use crate::user_message;

/// What users see of a delete.
const ACTION: Action = Action::Delete;

/// One delete.
pub(crate) struct Delete {
    manager: Arc<Inner>,
    request: DeleteRequest,
    instance: Instance,
    start: Start,
    announced: Announced,
}

/// Why a delete did not end.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Somebody else ended the instance: nothing is left to do.
    #[error("the instance is gone")]
    Gone,
    /// A service is away: the delete is neither failed nor ended.
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
        let announced = if let Start::Announced(announced) = start { announced } else { Announced::Nothing };
        Self { manager, request, instance, start, announced }
    }

    /// Runs the delete and records how it ended.
    pub(crate) async fn run(self) -> End {
        let (request, instance) = (oslo::log::request_span(&self.request.context), self.instance.id);
        let span = request.in_scope(|| oslo::log::instance_span(instance));
        self.run_in_span().instrument(span).await
    }

    async fn run_in_span(mut self) -> End {
        if let Start::Ending(ending) = self.start.clone() {
            return self.end(ending).await;
        }
        let started = std::time::Instant::now();
        let instances = self.manager.ports.instances.clone();
        let (context, id) = (self.request.context.clone(), self.instance.id);
        let resumed = self.start != Start::Fresh;
        match instances.start_event(&context, id, ACTION, resumed).await {
            Ok(()) => {}
            Err(ports::Error::Unavailable(_)) => return End::Unsettled(self.start),
            // The action may be unknown (the delete was found by the instance's task): the work counts.
            Err(error) => tracing::debug!(%error, "the delete goes on without its event"),
        }
        let ending = match self.delete().await {
            Ok(()) => {
                tracing::info!(seconds = started.elapsed().as_secs_f64(), "server deleted");
                Ending { failure: None, left: Left::Event }
            }
            Err(Failure::Gone) => {
                tracing::info!("the instance is gone already");
                Ending { failure: None, left: Left::Event }
            }
            Err(Failure::Away(why)) => {
                tracing::warn!(%why, "a service is away; the delete goes on when it is back");
                return End::Unsettled(self.resumed());
            }
            Err(Failure::Failed(text)) => {
                tracing::error!(error = %text, "the delete failed; the server is in error and can be deleted again");
                let failure = Some(Shown { message: text.clone(), details: text });
                Ending { failure, left: Left::Fault { homeless: false } }
            }
        };
        let outcome = if ending.failure.is_none() { "ended" } else { "failed" };
        metrics::counter!("bessemer_deletes_total", "outcome" => outcome).increment(1);
        self.end(ending).await
    }

    async fn end(&mut self, ending: Ending) -> End {
        let (manager, context) = (self.manager.clone(), self.request.context.clone());
        let written =
            manager.write_ending(&context, &mut self.instance, ACTION, Expect::Anything, ending).await;
        written.map_or_else(|left| End::Unsettled(Start::Ending(left)), |()| End::Ended)
    }

    /// How the delete goes on when it is tried again.
    fn resumed(&self) -> Start {
        match self.announced {
            Announced::Nothing => Start::Resumed,
            announced => Start::Announced(announced),
        }
    }

    async fn delete(&mut self) -> Result<(), Failure> {
        let ports = self.manager.ports.clone();
        let context = self.request.context.clone();
        self.look_again(&context).await?;
        if self.instance.vm_state != VmState::Deleted {
            if self.announced < Announced::Start {
                self.notify(Event::Delete, Phase::Start).await;
                self.notify(Event::Shutdown, Phase::Start).await;
                self.announced = Announced::Start;
            }
            self.take_down(&context).await?;
            ports.volumes.detach(&context, &self.instance, &self.request.block_devices, true).await?;
            if self.announced < Announced::Shutdown {
                self.notify(Event::Shutdown, Phase::End).await;
                self.announced = Announced::Shutdown;
            }
            let update = InstanceUpdate {
                vm_state: Some(VmState::Deleted),
                task_state: Some(None),
                power: Some(Power::NoState),
                terminated_now: true,
                ..InstanceUpdate::default()
            };
            ports.instances.update(&context, &mut self.instance, update, Expect::Anything).await?;
        }
        ports.machines.release(&context, self.instance.id).await?;
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
            ports.volumes.detach(context, &self.instance, &self.request.block_devices, true).await?;
            ports.machines.release(context, id).await?;
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
        let (caller, never) = (caller(context), CancellationToken::new());
        let torn_down =
            ports.driver.tear_down(run(&caller, self.instance.id, &never), self.instance.node).await;
        let brought = self.manager.brought_ports(self.instance.id);
        let networks = ports.networks.deallocate(context, &self.instance, &brought).await;
        let node = torn_down.map_err(|error| {
            if user_message::is_away(&error) {
                Failure::Away(error.to_string())
            } else {
                Failure::Failed(user_message::of_driver(&error))
            }
        })?;
        networks?;
        if !self.instance.network.0.is_empty() && !self.instance.deleted {
            let _only_writer = self.manager.network_locks.lock(self.instance.id).await;
            let empty = NetworkInfo::default();
            ports.instances.save_network(context, &mut self.instance, empty).await?;
        }
        if let Some(node) = node.map(|node| node.uuid).or(self.instance.node) {
            ports.publisher.publish_freed(context, node).await.map_err(Failure::Away)?;
        }
        Ok(())
    }

    async fn notify(&self, event: Event, phase: Phase<'_>) {
        self.manager.ports.announcer.notify(&self.request.context, &self.instance, event, phase).await;
    }
}
