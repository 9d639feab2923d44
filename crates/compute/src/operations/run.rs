//! The frame of every operation: its turn, its span and its event, its outcome and what is written of it, and that it is tried
//! again.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use driver::InstanceId;
use futures_util::FutureExt;
use tracing::Instrument;

use super::abandon::{after_panic, is_under_way};
use super::create::Create;
use super::delete::Delete;
use super::power::{self, Power};
use super::{Operation, Retry, Start, Try};
use crate::ending::Ending;
use crate::instance::Expect;
use crate::locks::Queued;
use crate::ports;
use crate::request::{Kind, Request};

/// How long an operation that met a service that is away waits before it is tried again.
pub(crate) const RETRY: Duration = Duration::from_secs(30);

/// Runs an operation until it has ended: in its turn, again whenever it could not be ended.
pub(crate) async fn until_ended(mut this: Try, request: Request, place: Queued<InstanceId>) {
    let mut place = Some(place);
    loop {
        let turn = place.take().unwrap_or_else(|| this.shared.locks.line_up(this.key.instance));
        let alone = turn.held().await;
        let once = once(this.clone(), request.clone());
        let Retry { start, why } = match AssertUnwindSafe(once).catch_unwind().await {
            Ok(Ok(())) => return,
            Ok(Err(retry)) => retry,
            Err(_) => return after_panic(&this.shared, &this.key).await,
        };
        if start != this.start {
            this.note(&start).await;
            this.start = start;
        }
        drop(alone);
        this.tracker.waits("waiting to be retried", why);
        tokio::time::sleep(RETRY).await;
        this.tracker.phase("waiting for another operation on the server");
    }
}

/// One try, within the span of its request.
async fn once(this: Try, request: Request) -> Result<(), Retry> {
    let (outer, instance) = (oslo::log::request_span(&this.context), this.key.instance);
    let operation = this.key.kind.name();
    let span = outer.in_scope(|| oslo::log::instance_span(instance));
    async move {
        let ended = match request {
            Request::Create(request) => Box::pin(framed(this.clone(), Create::new(this, request))).await,
            Request::Power(request) => Box::pin(framed(this.clone(), Power::new(this, request))).await,
            Request::Delete(request) => Box::pin(framed(this.clone(), Delete::new(this, request))).await,
        };
        if let Err(Retry { why, .. }) = &ended {
            tracing::warn!(
                operation,
                why,
                seconds = RETRY.as_secs(),
                "a service is away; the operation is retried"
            );
        }
        ended
    }
    .instrument(span)
    .await
}

async fn framed<O: Operation>(this: Try, mut operation: O) -> Result<(), Retry> {
    if let Start::Ending(ending) = this.start.clone() {
        let left = still_to_be_written(&this, &mut operation, ending).await?;
        return write(&this, &mut operation, left).await;
    }
    operation.ready().await;
    if !begin_event(&this, this.key.kind).await? {
        return Ok(());
    }
    let ending = operation.work().await?;
    let outcome = if ending.failure.is_none() { "ended" } else { "failed" };
    let labels = [("operation", this.key.kind.name()), ("outcome", outcome)];
    metrics::counter!("bessemer_operations_total", &labels).increment(1);
    metrics::histogram!("bessemer_operation_seconds", &labels).record(this.tracker.running().as_secs_f64());
    if ending.change.is_some() {
        // A restart must not begin anew: the server may be another's concern by then.
        this.note(&Start::Ending(ending.clone())).await;
    }
    write(&this, &mut operation, ending).await
}

/// Begins the event that users see; `false`: what was to be done has lost its purpose.
async fn begin_event(this: &Try, kind: Kind) -> Result<bool, Retry> {
    let instances = &this.shared.ports.instances;
    let begun =
        instances.start_event(&this.context, this.key.instance, &kind.into(), this.is_resumed()).await;
    match (begun, kind) {
        (Ok(()), _) => {}
        (Err(ports::Error::Unavailable(why)), _) => return Err(Retry { start: this.start.clone(), why }),
        // A create of which nothing is there yet.
        (Err(ports::Error::InstanceGone(_)), Kind::Create) if !this.is_resumed() => return Ok(false),
        // The action may be unknown (the operation was found by the instance's task): the work counts.
        (Err(error), Kind::Create | Kind::Stop | Kind::Start | Kind::Reboot | Kind::Delete) => {
            tracing::info!(%error, operation = kind.name(), "the operation goes on without its event");
        }
    }
    Ok(true)
}

/// Of an ending that was interrupted what still holds: another operation may have changed the instance since.
async fn still_to_be_written<O: Operation>(
    this: &Try,
    operation: &mut O,
    ending: Ending,
) -> Result<Ending, Retry> {
    if ending.change.is_none() {
        return Ok(ending);
    }
    match this.shared.ports.instances.get(&this.context, this.key.instance).await {
        Err(ports::Error::Unavailable(why)) => Err(Retry { start: Start::Ending(ending), why }),
        Ok(Some(found)) if is_under_way(&this.key, &found, &this.shared.options.host) => {
            *operation.instance() = found;
            Ok(ending)
        }
        _ => Ok(Ending { fault: false, change: None, ..ending }),
    }
}

async fn write<O: Operation>(this: &Try, operation: &mut O, ending: Ending) -> Result<(), Retry> {
    this.tracker.phase("writing the outcome");
    let instances = this.shared.ports.instances.clone();
    let expect = match this.key.kind {
        Kind::Create => super::create::any_task(),
        Kind::Stop | Kind::Start | Kind::Reboot => Expect::Task(power::tasks(this.key.kind)),
        Kind::Delete => Expect::Anything,
    };
    let written = ending.write(&*instances, &this.context, operation.instance(), expect).await;
    written.map_err(|left| Retry {
        start: Start::Ending(left),
        why: "the outcome could not be written: the control plane is away".to_owned(),
    })
}
