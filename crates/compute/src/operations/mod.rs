//! Operations: what the compute manager does to an instance. One file or folder for each, in the frame that all share
//! ([`run`]).
//!
//! **Flow.** The manager journals a request and starts it. The frame takes the instance's lock, begins the event that users
//! see, lets the operation work, writes how it ended, and erases the journal entry.
//!
//! **What the frame gives.** One operation an instance at a time, in the order in which they came. A span, an event, metrics,
//! a line in the list of operations. An operation that meets a service that is away is tried again until that service
//! answers, here and after a restart. One that panics is ended with a fault, once.
//!
//! **What an operation promises.** [`Operation::work`] may be called any number of times, after being dropped at any
//! `await`: each of its steps looks at what is there before it acts. What cannot be observed and decides how it goes on is in
//! [`Start`], written into the journal before it counts. It answers [`Retry`] only for a service that is away.
//!
//! **A new operation** is a file here with a type that implements [`Operation`], a kind and a request in
//! `crate::request`, and its arms in [`table`].

pub(crate) mod abandon;
mod config_drive;
mod crash_dump;
pub mod create;
mod delete;
mod existing;
mod frame;
mod interfaces;
pub(crate) mod network;
mod power;
mod rebuild;
mod rescue;
mod run;
mod server;
mod shared;
pub(crate) mod table;

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use driver::{InstanceId, Progress, Run, Unfollowed};
use openstack::Caller;
use oslo::context::RequestContext;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::ending::Ending;
use crate::instance::{Expect, Instance};
use crate::journal::{Announced, Entry, Record, Verdict};
use crate::registry::Tracker;
use crate::request::{Kind, OperationKey};

pub(crate) use run::until_ended;
pub use shared::Ports;
pub(crate) use shared::Shared;

/// How long an operation that met a service that is away waits before it is tried again.
pub(crate) const RETRY: Duration = Duration::from_secs(30);

/// Whether an operation begins or goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Start {
    Fresh,
    /// After a restart, or after a try that could not be ended.
    Resumed,
    /// As resumed; those who listen know this of it.
    Announced(Announced),
    /// It had failed for this reason; what is left is to undo it and to say so.
    Failed(Verdict),
    /// An outcome that could not be written to its end.
    Ending(Ending),
}

impl Start {
    /// How the operation of an entry goes on after a restart.
    pub fn of(entry: &Entry) -> Self {
        match entry {
            Entry { ending: Some(ending), .. } => Self::Ending(ending.clone()),
            Entry { verdict: Some(verdict), .. } => Self::Failed(verdict.clone()),
            Entry { announced: Announced::Nothing, .. } => Self::Resumed,
            Entry { announced, .. } => Self::Announced(*announced),
        }
    }

    /// Writes into an entry that a restart goes on like this.
    fn enter(&self, entry: &mut Entry) {
        match self.clone() {
            Self::Fresh | Self::Resumed => {}
            Self::Announced(announced) => entry.announced = announced,
            Self::Failed(verdict) => entry.verdict = Some(verdict),
            Self::Ending(ending) => entry.ending = Some(ending),
        }
    }
}

/// A service is away without which the operation can neither go on nor end: it is tried again, like this.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Retry {
    pub start: Start,
    pub why: String,
}

/// One try of an operation: everything that it needs beside its request.
#[derive(Clone)]
pub(crate) struct Try {
    pub shared: std::sync::Arc<Shared>,
    pub key: OperationKey,
    pub context: RequestContext,
    pub record: Record,
    pub tracker: Tracker,
    pub start: Start,
    /// Cancelled when the instance is not wanted any more.
    pub cancel: CancellationToken,
}

impl Try {
    /// Writes down how the operation goes on from here, whatever happens.
    pub async fn note(&self, start: &Start) {
        if let Err(error) = self.record.write(|entry| start.enter(entry)).await {
            tracing::error!(%error, "the journal cannot be written; a restart would go on with what it has");
        }
    }

    /// What an operation of the driver's runs within: it is cancelled with this one, shows here what it waits for, and keeps here
    /// what must survive a crash.
    pub fn run<'a>(&'a self, caller: &'a Caller) -> Run<'a> {
        Run { caller, instance: self.key.instance, cancel: &self.cancel, progress: self }
    }

    /// Whether it may have begun before.
    pub fn is_resumed(&self) -> bool {
        self.start != Start::Fresh
    }
}

#[async_trait]
impl Progress for Try {
    fn waits(&self, because: Option<&str>) {
        self.tracker.waits_for(because);
    }

    async fn saved(&self, plan: &str) -> Option<Value> {
        self.record.progress(plan).await
    }

    async fn save(&self, plan: &str, memory: Value) -> io::Result<()> {
        let plan = plan.to_owned();
        self.record
            .write(move |entry| {
                entry.progress.insert(plan, memory);
            })
            .await
    }
}

/// What the frame must know of a kind of operation, when there is no request of it at hand either.
pub(crate) struct Rules {
    /// It stops every other operation of its server.
    pub stops_others: bool,
    /// It has work left when its instance is gone.
    pub outlives_instance: bool,
    /// Whether an instance is in the hands of this operation, on the host of this name.
    pub has: fn(&OperationKey, &Instance, &str) -> bool,
    /// The tasks of an instance in which the outcome may be written.
    pub expect: fn(Kind) -> Expect,
}

/// What is done to an instance.
pub(crate) trait Operation: Send {
    /// Waits until the work may begin.
    fn ready(&mut self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Does the work, and answers what is to be written of its outcome.
    fn work(&mut self) -> impl Future<Output = Result<Ending, Retry>> + Send;

    /// The instance as the operation has it.
    fn instance(&mut self) -> &mut Instance;

    /// Whether users see an event of it.
    fn has_event(&self) -> bool {
        true
    }

    /// What is to be written of the outcome was written, or cannot be now: who waits for the outcome may have it.
    fn written(&mut self) {}
}

/// Whom a call to Ironic is made for: the service itself, in the name of the request.
pub(crate) fn caller(context: &RequestContext) -> Caller {
    Caller { request_id: Some(context.global_id().to_owned()), ..Caller::default() }
}

/// What short work of the driver's runs within that is no operation.
pub(crate) fn unfollowed<'a>(
    caller: &'a Caller,
    instance: InstanceId,
    cancel: &'a CancellationToken,
) -> Run<'a> {
    Run { caller, instance, cancel, progress: &Unfollowed }
}
