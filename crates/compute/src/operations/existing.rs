//! What operations on a server that exists share: it is read again under its task, those who listen are notified, and a failure
//! says whether it ends the work.

use std::time::Duration;

use super::{Retry, Start, Try};
use crate::ending::{Change, Ending};
use crate::instance::{Expect, Instance, InstanceUpdate, TaskState};
use crate::journal::Announced;
use crate::ports::{self, Event, Phase};

/// A server that exists, in the hands of an operation.
pub(super) struct Existing {
    pub this: Try,
    pub instance: Instance,
    announced: Announced,
}

/// Why an operation did not happen.
pub(super) enum Failure {
    /// Another request has the server now.
    Superseded(String),
    /// A service is away: the operation has neither failed nor ended.
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

impl Existing {
    pub fn new(this: Try, instance: Instance) -> Self {
        let announced = match this.start {
            Start::Announced(announced) => announced,
            _ => Announced::Nothing,
        };
        Self { this, instance, announced }
    }

    /// Reads the server as it is now. `is_ours`: it is still in the state that the API gave it for this request.
    pub async fn read_again(&mut self, is_ours: impl FnOnce(&Instance) -> bool) -> Result<(), Failure> {
        let (instances, id) = (&self.this.shared.ports.instances, self.instance.id);
        let found = instances.get(&self.this.context, id).await?;
        let gone = || Failure::Superseded("the server is gone".to_owned());
        self.instance = found.filter(|found| !found.deleted).ok_or_else(gone)?;
        if is_ours(&self.instance) {
            return Ok(());
        }
        let task = serde_json::json!(self.instance.task_state);
        Err(Failure::Superseded(format!("the task of the server is now {task}")))
    }

    /// The node that the server is on.
    pub fn node(&self) -> Result<driver::NodeId, Failure> {
        self.instance.node.ok_or_else(|| Failure::Failed("The server has no node.".to_owned()))
    }

    /// How long the operating system may take to shut down: the image says, or the operator. `None`: no time at all, the power is
    /// cut at once.
    pub fn shutdown_timeout(&self) -> Option<Duration> {
        let of_image = self.instance.image_property("os_shutdown_timeout");
        let of_image = of_image.and_then(|text| text.parse().ok());
        let timeout = of_image.map_or(self.this.shared.options.shutdown_timeout, Duration::from_secs);
        Some(timeout).filter(|timeout| !timeout.is_zero())
    }

    /// Writes a change under one of these tasks.
    pub async fn update(
        &mut self,
        update: InstanceUpdate,
        tasks: Vec<Option<TaskState>>,
    ) -> Result<(), Failure> {
        let instances = self.this.shared.ports.instances.clone();
        instances.update(&self.this.context, &mut self.instance, update, Expect::Task(tasks)).await?;
        Ok(())
    }

    /// Notifies those who listen that it begins, once.
    pub async fn announce_start(&mut self, event: Event) {
        if self.announced < Announced::Start {
            self.notify(event, Phase::Start).await;
            self.announced = Announced::Start;
        }
    }

    /// Notifies those who listen.
    pub async fn notify(&self, event: Event, phase: Phase<'_>) {
        self.this.shared.ports.announcer.notify(&self.this.context, &self.instance, event, phase).await;
    }

    /// How the operation goes on when it is tried again.
    pub fn resumed(&self) -> Start {
        match self.announced {
            Announced::Nothing => Start::Resumed,
            announced => Start::Announced(announced),
        }
    }

    /// What is written of an outcome: after a failure the server's task is over, and its fault says why.
    pub fn ended(&self, outcome: Result<(), Failure>) -> Result<Ending, Retry> {
        let kind = self.this.key.kind;
        match outcome {
            Ok(()) => {
                let seconds = self.this.tracker.running().as_secs_f64();
                tracing::info!(operation = kind.name(), seconds, "operation ended");
                Ok(Ending::success(kind))
            }
            Err(Failure::Superseded(why)) => {
                tracing::info!(operation = kind.name(), %why, "the operation ends; another request has the server");
                Ok(Ending::superseded(kind, why))
            }
            Err(Failure::Away(why)) => Err(Retry { start: self.resumed(), why }),
            Err(Failure::Failed(text)) => {
                tracing::warn!(operation = kind.name(), reason = %text, "the operation failed; the server stays as it is");
                Ok(Ending::failure(kind, text.clone(), text, Change::TaskEnds))
            }
        }
    }
}
