//! An operation from its turn to its end: in the span of its request, again whenever a service was away.

use std::panic::AssertUnwindSafe;

use driver::InstanceId;
use futures_util::FutureExt;
use tracing::Instrument;

use super::abandon::after_panic;
use super::table::attempt;
use super::{RETRY, Retry, Try};
use crate::locks::Queued;
use crate::request::Request;

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
        let ended = attempt(this, request).await;
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
