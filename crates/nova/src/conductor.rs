//! The conductor's client: Nova's objects are read and written through calls to nova-conductor, never in a database.
//!
//! Facts: `nova/conductor/rpcapi.py`, `nova/objects/base.py` (indirection), topic `conductor`, version 3.0.

#[cfg(test)]
pub(crate) mod database;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod versions;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use compute::ports;
use driver::InstanceId;
use oslo::context::RequestContext;
use oslo::object::Object;
use oslo::rpc::{CallError, Client, Failure, Target};
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use tracing::warn;

pub use versions::{manifest, version_of};

/// Classes of failures that go away by themselves: the conductor's database was not there for a moment.
const TRANSIENT: [&str; 2] = ["DBConnectionError", "DBDeadlock"];

/// Classes of failures of a save that compares and sets.
const OTHER_STATE: [&str; 3] =
    ["UnexpectedTaskStateError", "UnexpectedDeletingTaskStateError", "UnexpectedVMStateError"];

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How long to wait for the conductor.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// `[DEFAULT] rpc_response_timeout`: how long one call waits for its answer.
    pub timeout: Duration,
    /// How long to go on trying what may be tried again while the broker or the conductor is away.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { timeout: Duration::from_mins(1), patience: Duration::from_mins(10) }
    }
}

/// Why a call to the conductor brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The conductor raised this; its class says what to do.
    #[error("{}", said(.0))]
    Raised(Failure),
    /// The broker took the call, but no answer came: it is not known whether it was done.
    #[error("nova-conductor did not answer {0} in time")]
    Unanswered(String),
    /// The broker did not take the call: it was not done, as far as anybody can know.
    #[error("nova-conductor could not be reached: {0}")]
    Unreachable(String),
    /// The answer has not the form that the call has.
    #[error("nova-conductor answered {0} in an unknown form")]
    Malformed(String),
}

impl Error {
    /// Whether the conductor raised an exception of this class.
    pub fn is(&self, class: &str) -> bool {
        matches!(self, Self::Raised(failure) if failure.is(class))
    }

    /// The port's error, for a call about an instance.
    pub fn about(self, instance: InstanceId) -> ports::Error {
        let text = self.to_string();
        if self.is("InstanceNotFound") {
            ports::Error::InstanceGone(instance)
        } else if self.is("UnexpectedDeletingTaskStateError") {
            ports::Error::Deleting(text)
        } else if self.is_other_state() {
            ports::Error::UnexpectedTask(text)
        } else if self.is_transient() {
            ports::Error::Unavailable(text)
        } else {
            ports::Error::Broken(text)
        }
    }

    /// Whether the instance was not in the state in which the change expects it.
    pub fn is_other_state(&self) -> bool {
        OTHER_STATE.iter().any(|class| self.is(class))
    }

    /// Whether the same call may well succeed in a while.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unanswered(_) | Self::Unreachable(_) => true,
            Self::Raised(failure) => TRANSIENT.iter().any(|class| failure.is(class)),
            Self::Malformed(_) => false,
        }
    }
}

impl From<Error> for ports::Error {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        if error.is_transient() { Self::Unavailable(text) } else { Self::Broken(text) }
    }
}

/// A result of the conductor.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// When a call that brought nothing is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// As often as patience lasts: doing it twice is doing it once.
    Freely,
    /// Only when the broker did not take it.
    IfNotDone,
    /// Never: the caller comes back by itself.
    Never,
}

impl Repeat {
    fn allows(self, error: &Error) -> bool {
        match self {
            Self::Freely => error.is_transient(),
            Self::IfNotDone => matches!(error, Error::Unreachable(_)),
            Self::Never => false,
        }
    }
}

/// What calls and casts; `oslo::rpc::Client` does it over RabbitMQ.
#[async_trait]
pub trait Rpc: Send + Sync {
    /// Calls a method and waits for its result.
    async fn call(
        &self,
        context: &RequestContext,
        target: &Target,
        method: &str,
        args: Map<String, Value>,
        timeout: Duration,
    ) -> Result<Value, CallError>;

    /// Sends a request that has no answer; tries for `timeout` to hand it to the broker.
    async fn cast(
        &self,
        context: &RequestContext,
        target: &Target,
        method: &str,
        args: Map<String, Value>,
        timeout: Duration,
    ) -> Result<(), CallError>;
}

#[async_trait]
impl Rpc for Client {
    async fn call(
        &self,
        context: &RequestContext,
        target: &Target,
        method: &str,
        args: Map<String, Value>,
        timeout: Duration,
    ) -> Result<Value, CallError> {
        Client::call(self, context, target, method, args, timeout).await
    }

    async fn cast(
        &self,
        context: &RequestContext,
        target: &Target,
        method: &str,
        args: Map<String, Value>,
        timeout: Duration,
    ) -> Result<(), CallError> {
        Client::cast(self, context, target, method, args, timeout).await
    }
}

/// What an instance method did: the fields that the conductor changed, and what the method returned.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Acted {
    /// The fields that changed, as primitives.
    pub updates: Map<String, Value>,
    /// What the method returned.
    pub result: Value,
}

/// The conductor. Cheap to clone.
#[derive(Clone)]
pub struct Conductor {
    rpc: Arc<dyn Rpc>,
    options: Options,
}

impl Conductor {
    /// A conductor that is reached by `rpc`.
    pub fn new(rpc: Arc<dyn Rpc>, options: Options) -> Self {
        Self { rpc, options }
    }

    /// How this conductor is reached; for messages to others over the same broker.
    pub fn rpc(&self) -> &Arc<dyn Rpc> {
        &self.rpc
    }

    /// The limits under which this conductor is called.
    pub fn options(&self) -> Options {
        self.options
    }

    /// Calls a class method of an object: `args` is a list, `kwargs` a dictionary.
    pub async fn class(
        &self,
        context: &RequestContext,
        object: &str,
        method: &str,
        args: Value,
        kwargs: Value,
        repeat: Repeat,
    ) -> Result<Value> {
        let arguments = arguments(json!({
            "objname": object,
            "objmethod": method,
            "object_versions": manifest(object),
            "args": args,
            "kwargs": kwargs,
        }));
        self.attempt(
            context,
            &format!("{object}.{method}"),
            "object_class_action_versions",
            arguments,
            repeat,
        )
        .await
    }

    /// Reads by a class method: what [`Conductor::class`] does, as often as it takes.
    pub async fn read(
        &self,
        context: &RequestContext,
        object: &str,
        method: &str,
        args: Value,
        kwargs: Value,
    ) -> Result<Value> {
        self.class(context, object, method, args, kwargs, Repeat::Freely).await
    }

    /// Reads one object; `None` when the method returned null.
    pub async fn read_object(
        &self,
        context: &RequestContext,
        object: &str,
        method: &str,
        args: Value,
        kwargs: Value,
    ) -> Result<Option<Object>> {
        match self.read(context, object, method, args, kwargs).await? {
            Value::Null => Ok(None),
            value => Object::from_value(value)
                .map(Some)
                .map_err(|_| Error::Malformed(format!("{object}.{method}"))),
        }
    }

    /// Reads a list object's members.
    pub async fn read_list(
        &self,
        context: &RequestContext,
        object: &str,
        method: &str,
        args: Value,
        kwargs: Value,
    ) -> Result<Vec<Object>> {
        let list = self.read_object(context, object, method, args, kwargs).await?;
        Ok(list.map(Object::into_items).unwrap_or_default())
    }

    /// Calls a method of an object that is here.
    pub async fn act(
        &self,
        context: &RequestContext,
        object: Object,
        method: &str,
        kwargs: Value,
        repeat: Repeat,
    ) -> Result<Acted> {
        let what = format!("{}.{method}", object.name());
        let arguments = arguments(json!({
            "objinst": object.into_value(),
            "objmethod": method,
            "args": [],
            "kwargs": kwargs,
        }));
        let answer = self.attempt(context, &what, "object_action", arguments, repeat).await?;
        let Value::Array(pair) = answer else { return Err(Error::Malformed(what)) };
        let mut pair = pair.into_iter();
        match (pair.next(), pair.next()) {
            (Some(Value::Object(updates)), Some(result)) => Ok(Acted { updates, result }),
            _ => Err(Error::Malformed(what)),
        }
    }

    /// Asks the conductor whether it is there. One try, with its own limit.
    pub async fn ping(&self, context: &RequestContext, timeout: Duration) -> Result<()> {
        let target = Target { namespace: Some("baseapi".into()), ..target("1.0") };
        let args = arguments(json!({ "arg": "1.21 GigaWatts" }));
        let answer = self.rpc.call(context, &target, "ping", args, timeout).await;
        answer.map(drop).map_err(|error| named("ping", error))
    }

    /// Sends a task to the conductor (`compute_task`), which has no answer.
    pub async fn task(
        &self,
        context: &RequestContext,
        version: &str,
        method: &str,
        args: Map<String, Value>,
    ) -> Result<()> {
        let target = Target { namespace: Some("compute_task".into()), ..target(version) };
        let sent = self.rpc.cast(context, &target, method, args, self.options.patience).await;
        sent.map_err(|error| named(method, error))
    }

    async fn attempt(
        &self,
        context: &RequestContext,
        what: &str,
        method: &str,
        args: Map<String, Value>,
        repeat: Repeat,
    ) -> Result<Value> {
        let target = target("3.0");
        let mut pause = Pause::new(Instant::now() + self.options.patience);
        loop {
            let answer = self.rpc.call(context, &target, method, args.clone(), self.options.timeout).await;
            let error = match answer {
                Ok(value) => return Ok(value),
                Err(error) => named(what, error),
            };
            if !repeat.allows(&error) || !pause.wait().await {
                return Err(error);
            }
            warn!(method = what, %error, "calling the conductor again");
        }
    }
}

/// Pauses that grow, up to a deadline.
pub(crate) struct Pause {
    next: Duration,
    deadline: Instant,
}

impl Pause {
    pub(crate) fn new(deadline: Instant) -> Self {
        Self { next: Duration::from_secs(1), deadline }
    }

    /// Waits; `false` at once when the deadline would pass meanwhile.
    pub(crate) async fn wait(&mut self) -> bool {
        if Instant::now() + self.next > self.deadline {
            return false;
        }
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(LONGEST_PAUSE);
        true
    }
}

fn target(version: &str) -> Target {
    Target {
        topic: "conductor".into(),
        server: None,
        fanout: false,
        namespace: None,
        version: version.into(),
    }
}

/// The dictionary of a `json!({…})`.
pub(crate) fn arguments(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// What may be shown of a failure. Nova's own exceptions are written for others to read; one of a library may hold
/// anything: oslo.db's holds the statement and its parameters, and among them the secrets of volume connections.
fn said(failure: &Failure) -> &str {
    let is_novas = failure.module == "nova.exception" && !failure.message.is_empty();
    if is_novas { &failure.message } else { &failure.class }
}

fn named(what: &str, error: CallError) -> Error {
    match error {
        CallError::Timeout => Error::Unanswered(what.to_owned()),
        CallError::Remote(failure) => Error::Raised(failure),
        CallError::Unreachable(reason) => Error::Unreachable(reason),
        target @ CallError::Target { .. } => Error::Unreachable(target.to_string()),
    }
}
