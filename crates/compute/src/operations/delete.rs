//! A delete: from the control plane's request to a node that is free again.
//!
//! As in a build, every step looks first, so that a delete that was killed anywhere is run again from the beginning.

use configdrive::network::NetworkInfo;
use oslo::context::RequestContext;
use tokio_util::sync::CancellationToken;

use super::{Operation, Retry, Rules, Start, Try, caller};
use crate::ending::{Change, Ending};
use crate::instance::{Expect, Instance, InstanceUpdate, Power, VmState};
use crate::journal::Announced;
use crate::ports::{self, Event, Phase};
use crate::request::{DeleteRequest, Kind};
use crate::user_message;

/// The machine must be freed whatever becomes of the records.
pub(super) const RULES: Rules = Rules {
    stops_others: true,
    outlives_instance: true,
    has: |_, instance, _| !instance.deleted && instance.is_being_deleted(),
    expect: |_| Expect::Anything,
};

/// One delete.
pub(crate) struct Delete {
    this: Try,
    request: DeleteRequest,
    instance: Instance,
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

impl Operation for Delete {
    async fn work(&mut self) -> Result<Ending, Retry> {
        match self.delete().await {
            Ok(()) => {
                tracing::info!(seconds = self.this.tracker.running().as_secs_f64(), "server deleted");
                Ok(Ending::success(Kind::Delete))
            }
            Err(Failure::Gone) => {
                tracing::info!("the instance is gone already");
                Ok(Ending::success(Kind::Delete))
            }
            Err(Failure::Away(why)) => Err(Retry { start: self.resumed(), why }),
            Err(Failure::Failed(text)) => {
                if self.request.is_own {
                    tracing::warn!(reason = %text, "the delete failed; the server stays as it was, and the delete is tried again");
                    return Ok(Ending::failure(Kind::Delete, text.clone(), text, Change::TaskEnds));
                }
                tracing::warn!(reason = %text, "the delete failed; the server is in error and can be deleted again");
                Ok(Ending::failure(Kind::Delete, text.clone(), text, Change::Error))
            }
        }
    }

    fn instance(&mut self) -> &mut Instance {
        &mut self.instance
    }
}

impl Delete {
    pub(crate) fn new(this: Try, request: DeleteRequest) -> Self {
        let instance = request.instance.clone();
        let announced = match this.start {
            Start::Announced(announced) => announced,
            _ => Announced::Nothing,
        };
        Self { this, request, instance, announced }
    }

    /// How the delete goes on when it is tried again.
    fn resumed(&self) -> Start {
        match self.announced {
            Announced::Nothing => Start::Resumed,
            announced => Start::Announced(announced),
        }
    }

    async fn delete(&mut self) -> Result<(), Failure> {
        let ports = self.this.shared.ports.clone();
        let context = self.request.context.clone();
        self.look_again(&context).await?;
        if self.instance.vm_state != VmState::Deleted {
            if self.announced < Announced::Start {
                self.notify(Event::Delete, Phase::Start).await;
                self.notify(Event::Shutdown, Phase::Start).await;
                self.announced = Announced::Start;
            }
            self.take_down(&context).await?;
            self.this.tracker.phase("detaching volumes");
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
        self.this.tracker.phase("removing records");
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
        let instances = &self.this.shared.ports.instances;
        let found = instances.get(context, id).await?.ok_or(Failure::Gone)?;
        self.request.block_devices = instances.block_devices(context, id).await?;
        let deleted = found.deleted;
        self.instance = found;
        if deleted {
            // Only the last words were left to be said, or an API that found us dead deleted the record itself. Then
            // the machine is still there.
            // Nobody can ask again for a server that is gone: what fails is tried until it succeeds.
            self.take_down(context).await.map_err(|failure| Failure::Away(failure.to_string()))?;
            let ports = &self.this.shared.ports;
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
        let ports = self.this.shared.ports.clone();
        self.this.tracker.phase("taking the machine down");
        // Nothing stops a delete.
        let (caller, never) = (caller(context), CancellationToken::new());
        let run = driver::Run { cancel: &never, ..self.this.run(&caller) };
        let torn_down = ports.driver.tear_down(run, self.instance.node).await;
        self.this.tracker.phase("giving the ports back");
        let brought = self.this.shared.registry.brought_ports(self.instance.id);
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
            let _only_writer = self.this.shared.network_locks.lock(self.instance.id).await;
            let empty = NetworkInfo::default();
            ports.instances.save_network(context, &mut self.instance, empty).await?;
        }
        if let Some(node) = node.map(|node| node.uuid).or(self.instance.node) {
            ports.publisher.publish_freed(context, node).await.map_err(Failure::Away)?;
        }
        Ok(())
    }

    async fn notify(&self, event: Event, phase: Phase<'_>) {
        self.this.shared.ports.announcer.notify(&self.request.context, &self.instance, event, phase).await;
    }
}
