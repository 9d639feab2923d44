//! The RPC server: what nova-api, nova-conductor and others ask of a compute service. Serves the topics `compute` and
//! `compute-alt` alike.
//!
//! An operation is kept in the journal before its request is acknowledged ([`Endpoint::admit`]); from then on it is this
//! service's to bring to an end. A delete that the journal does not take is begun all the same: its trace is the
//! instance's task, which a start looks for. Everything else is done or refused at once. A request that cannot be read gets a
//! failure, and, where its instance can be read, a fault that the user sees: nothing is lost in silence.

mod calls;
mod consoles;
mod events;
mod methods;
mod outcome;
mod rebuild;
mod refuse;
mod undo;
mod worker;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use compute::ending::Ending;
use compute::instance::{Expect, Instance};
use compute::ports::{Instances, Machines};
use compute::request::Kind;
use oslo::context::RequestContext;
use oslo::rpc::{Failure, Request, can_serve};
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;
use tracing::{Instrument, error, warn};

use self::methods::{FAULT, Refusal, Route, route};
use self::outcome::{nova, recorded};
pub use self::undo::{Elsewhere, Undo};
pub use self::worker::Worker;
use crate::consoles::Consoles;
use crate::objects::parse::{self, Malformed};
use crate::requests::{Unjournalled, method};

/// The newest version of the compute API that we serve, and the newest of the one before it.
const VERSIONS: [&str; 2] = ["6.5", "5.13"];
/// The version of the namespace `baseapi`.
const BASE_VERSION: &str = "1.1";

/// What the server works with.
#[derive(Clone)]
pub struct Ports {
    /// Does what is asked.
    pub worker: Arc<dyn Worker>,
    /// Where faults and events of refused requests are written.
    pub instances: Arc<dyn Instances>,
    /// Where claims of requests that cannot begin are released.
    pub machines: Arc<dyn Machines>,
    /// Takes back what callers prepared for refused requests.
    pub undo: Arc<dyn Undo>,
    /// The proxies through which users reach consoles.
    pub consoles: Consoles,
}

/// The compute API.
pub struct Endpoint {
    ports: Ports,
    /// How long an answer may take.
    patience: Duration,
    /// Requests that the journal did not take, with the reason, until they are refused.
    refused: Mutex<HashMap<String, String>>,
    /// What of refused requests is still being taken back.
    behind: Mutex<JoinSet<()>>,
}

impl Endpoint {
    /// An endpoint for any number of topics.
    /// `patience`: how long a caller waits for the answer to what is asked of us.
    pub fn new(ports: Ports, patience: Duration) -> Self {
        Self {
            ports,
            patience: patience.saturating_sub(MARGIN.min(patience / 2)),
            refused: Mutex::default(),
            behind: Mutex::default(),
        }
    }

    /// Journals a request that must survive us. One that cannot be read is refused later, in dispatch.
    async fn keep(&self, request: &Request) {
        let route = route(&request.method, &request.args);
        let Some(kind) = route.and_then(Route::journalled) else { return };
        let method = method(kind);
        let Ok(operation) = method.read(&request.args, &request.context) else { return };
        let Err(error) = self.ports.worker.admit(&operation).await else { return };
        metrics::counter!("bessemer_requests_not_journalled_total", "operation" => kind.name()).increment(1);
        match method.unjournalled {
            Unjournalled::HandedBack | Unjournalled::Refused => {
                error!(method = request.method, %error, "the request cannot be journalled and is not begun; see [DEFAULT] state_path");
                let reason = format!("the request could not be journalled: {error}");
                let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
                refused.insert(request.unique_id.clone(), reason);
            }
            Unjournalled::Begun => {
                let operation = kind.name();
                error!(operation, %error, "the request cannot be journalled and is begun without; see [DEFAULT] state_path");
            }
        }
    }

    async fn operation(&self, kind: Kind, request: &Request) -> Result<Value, Failure> {
        let (method, worker) = (method(kind), &*self.ports.worker);
        match (self.kept(request), method.read(&request.args, &request.context)) {
            (Ok(()), Ok(compute::request::Request::Attach(attach))) => {
                calls::attach(worker, attach, self.patience).await
            }
            (Ok(()), Ok(operation)) => {
                worker.start(operation);
                Ok(Value::Null)
            }
            (Err(reason), Ok(operation)) if method.unjournalled == Unjournalled::HandedBack => {
                worker.hand_back(operation, reason);
                Ok(Value::Null)
            }
            (Err(reason), _) => self.give_up(kind, request, reason).await,
            (_, Err(malformed)) => self.give_up(kind, request, text(malformed)).await,
        }
    }

    /// Whether the request was journalled, or else why not.
    fn kept(&self, request: &Request) -> Result<(), String> {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.remove(&request.unique_id).map_or(Ok(()), Err)
    }

    /// Ends an operation that cannot even begin: the server gets a fault and, where it could not go on, the state ERROR; the
    /// claim of a create goes.
    async fn give_up(&self, kind: Kind, request: &Request, reason: String) -> Result<Value, Failure> {
        let failure = nova("NovaException", 500, &reason, &[]);
        let Ok(mut instance) = instance_of(request) else { return Err(failure) };
        error!(instance = %instance.id, operation = kind.name(), reason, "the request cannot be worked on");
        let (instances, context) = (&*self.ports.instances, &request.context);
        let method = method(kind);
        let mut ending = Ending::failure(kind, reason.clone(), reason, method.given_up);
        if let Err(error) = instances.start_event(context, instance.id, &kind.into(), false).await {
            warn!(instance = %instance.id, %error, "the operation ends without its event");
            ending.event = None;
        }
        while let Err(left) = ending.write(instances, context, &mut instance, Expect::Anything).await {
            ending = left;
            tokio::time::sleep(RETRY).await;
        }
        if method.holds_claim
            && let Err(error) = patiently(|| self.ports.machines.release(context, instance.id)).await
        {
            warn!(instance = %instance.id, %error, "the claim of a build that cannot begin stays in Placement");
        }
        Err(failure)
    }

    async fn refuse(&self, refusal: Refusal, request: &Request) -> Result<Value, Failure> {
        let instance = match instance_of(request) {
            Ok(instance) => Some(instance),
            // Some methods are about the host and have none.
            Err(_) if !request.args.contains_key("instance") => None,
            Err(malformed) => return Err(nova("Invalid", 400, &malformed.to_string(), &[])),
        };
        let failure = refuse::failure(refusal.reason, request, instance.as_ref());
        let Some(mut instance) = instance else {
            self.take_back(refusal, request, None).await;
            return Err(failure);
        };
        let seen = instance.clone();
        let work = async {
            self.take_back(refusal, request, Some(seen)).await;
            Err(failure)
        };
        let (instances, context) = (&*self.ports.instances, &request.context);
        let (result, ending) =
            recorded(instances, context, &instance, &request.method, refusal.record, work).await;
        if let Err(left) = ending.write(instances, context, &mut instance, Expect::Anything).await {
            self.write_later(context.clone(), instance, left);
        }
        result
    }

    /// Writes what is left of a refusal behind its answer, as long as this process lives; a start ends what is then left
    /// of its task.
    fn write_later(&self, context: RequestContext, mut instance: Instance, mut ending: Ending) {
        let instances = self.ports.instances.clone();
        self.do_behind(async move {
            loop {
                tokio::time::sleep(RETRY).await;
                match ending.write(&*instances, &context, &mut instance, Expect::Anything).await {
                    Ok(()) => return,
                    Err(left) => ending = left,
                }
            }
        });
    }

    fn do_behind(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        while behind.try_join_next().is_some() {}
        behind.spawn(work.in_current_span());
    }

    /// Takes back what was prepared for a refused request. A caller who waits for the refusal has it soon, even where a
    /// service is away: the rest is done behind it, as long as this process lives.
    async fn take_back(&self, refusal: Refusal, request: &Request, instance: Option<Instance>) {
        let (undo, machines) = (self.ports.undo.clone(), self.ports.machines.clone());
        let (wants_reply, request) = (request.wants_reply, request.clone());
        let (done, is_done) = tokio::sync::oneshot::channel();
        let work = async move {
            refuse::take_back(refusal, &request, instance.as_ref(), &*undo, &*machines).await;
            // Who asked may wait no longer.
            let _ = done.send(());
        };
        self.do_behind(work);
        let patience = if wants_reply { REPLY } else { Duration::MAX };
        if tokio::time::timeout(patience, is_done).await.is_err() {
            warn!("the refusal is answered before everything is taken back");
        }
    }

    /// Answers about a console. A failure is recorded as a fault, as in stock.
    async fn console(&self, route: Route, request: &Request) -> Result<Value, Failure> {
        let mut instance = instance_of(request).map_err(|error| nova("Invalid", 400, &text(error), &[]))?;
        let (worker, tokens) = (&*self.ports.worker, &self.ports.consoles);
        let seen = instance.clone();
        let work = async {
            match route {
                Route::Console(protocol) => consoles::get(worker, tokens, protocol, request, &seen).await,
                _ => consoles::validate(worker, request, &seen).await,
            }
        };
        let (instances, context) = (&*self.ports.instances, &request.context);
        let (result, ending) = recorded(instances, context, &instance, &request.method, FAULT, work).await;
        if let Err(left) = ending.write(instances, context, &mut instance, Expect::Anything).await {
            self.write_later(context.clone(), instance, left);
        }
        result
    }

    async fn manager(&self, request: Request) -> Result<Value, Failure> {
        let Some(route) = route(&request.method, &request.args) else {
            return Err(Failure::no_such_method(&request.method));
        };
        let worker = &*self.ports.worker;
        match route {
            Route::Operation(kind) => self.operation(kind, &request).await,
            Route::Events => {
                events::external(worker, &*self.ports.instances, &request.context, &request.args).await
            }
            Route::InjectNetworkInfo => {
                let instance =
                    instance_of(&request).map_err(|error| nova("Invalid", 400, &text(error), &[]))?;
                worker.network_changed(&request.context, instance.id, None).await;
                Ok(Value::Null)
            }
            Route::SetHostEnabled => {
                let enabled = request.args.get("enabled").and_then(Value::as_bool).ok_or_else(|| {
                    let malformed = Malformed { argument: "enabled", expected: "a boolean" };
                    nova("Invalid", 400, &malformed.to_string(), &[])
                })?;
                worker.set_enabled(enabled).await;
                Ok(json!(if enabled { "enabled" } else { "disabled" }))
            }
            Route::CacheImages => Ok(cached_images(&request.args)),
            Route::Console(_) | Route::ValidateConsolePort => self.console(route, &request).await,
            Route::Refuse(refusal) => self.refuse(refusal, &request).await,
        }
    }
}

#[async_trait]
impl oslo::rpc::Endpoint for Endpoint {
    async fn admit(&self, request: &Request) -> Result<(), Failure> {
        if is_served(request) && request.namespace.is_none() {
            self.keep(request).await;
        }
        Ok(())
    }

    async fn dispatch(&self, request: Request) -> Result<Value, Failure> {
        if !is_served(&request) {
            return Err(Failure::unsupported_version(&request.version, &request.method));
        }
        match request.namespace {
            None => self.manager(request).await,
            Some(_) => base(&request),
        }
    }
}

/// Whether the namespace and the version are ones that we serve.
fn is_served(request: &Request) -> bool {
    match request.namespace.as_deref() {
        None => VERSIONS.iter().any(|served| can_serve(served, &request.version)),
        Some("baseapi") => can_serve(BASE_VERSION, &request.version),
        Some(_) => false,
    }
}

/// The API that every service of Nova has.
fn base(request: &Request) -> Result<Value, Failure> {
    match request.method.as_str() {
        "ping" => Ok(json!({ "service": "compute", "arg": request.args.get("arg") })),
        "get_backdoor_port" => Ok(Value::Null),
        method => Err(Failure::no_such_method(method)),
    }
}

/// Nothing is cached on a bare metal host.
fn cached_images(args: &Map<String, Value>) -> Value {
    let ids = args.get("image_ids").and_then(Value::as_array).into_iter().flatten();
    Value::Object(ids.filter_map(Value::as_str).map(|id| (id.to_owned(), json!("unsupported"))).collect())
}

fn instance_of(request: &Request) -> Result<Instance, Malformed> {
    parse::instance(request.args.get("instance").unwrap_or(&Value::Null))
}

/// How long the caller of a refused request waits until everything is taken back.
const REPLY: Duration = Duration::from_secs(10);

/// What of a caller's time is left for the way of the answer.
const MARGIN: Duration = Duration::from_secs(5);

/// The pause before something is asked for again that was away.
const RETRY: Duration = Duration::from_secs(30);

/// Does something for a request that is not answered to anybody, until what it needs is there and answers.
async fn patiently<F: Future<Output = compute::ports::Result<()>>>(
    act: impl Fn() -> F,
) -> compute::ports::Result<()> {
    loop {
        match act().await {
            Err(error @ compute::ports::Error::Unavailable(_)) => {
                warn!(%error, seconds = RETRY.as_secs(), "a service is away; the end of a refused request waits for it");
                tokio::time::sleep(RETRY).await;
            }
            answered => return answered,
        }
    }
}

#[allow(clippy::needless_pass_by_value)] // for `map_err`
fn text(error: Malformed) -> String {
    error.to_string()
}
