//! The way of one request through a server: decode, drop a second copy, admit, acknowledge, do, answer.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{Instrument, debug, error, info, info_span, warn};

use super::consume::Taken;
use super::endpoint::{Endpoint, ServerOptions};
use super::seen::Seen;
use super::transport::compression;
use super::{Failure, ReplyTo, Request, Transport, can_serve, envelope, reply};

/// How long an answer is kept, at least, for a caller whose broker is away.
const REPLY_KEPT: Duration = Duration::from_mins(1);

/// What all requests of a server share.
pub(super) struct Work {
    pub transport: Transport,
    pub options: ServerOptions,
    pub endpoint: Arc<dyn Endpoint>,
    pub seen: Seen,
}

/// A caller that wants to hear every so often that its call is being worked on.
struct Monitor {
    to: ReplyTo,
    every: Duration,
}

impl Monitor {
    /// A caller that gives up after N seconds of silence hears every N/2, if that is a second or more
    /// (oslo.messaging).
    fn of(request: &Request) -> Option<Self> {
        let every = request.monitor? / 2;
        let to = request.reply_to.clone()?;
        (every >= Duration::from_secs(1)).then_some(Self { to, every })
    }
}

impl Work {
    /// One delivery from its arrival to its answer.
    pub(super) async fn take(self: Arc<Self>, taken: Taken) {
        let delivery = &taken.delivery;
        let kept = delivery.properties.expiration().as_ref().and_then(|text| text.as_str().parse().ok());
        let kept = kept.map_or(REPLY_KEPT, Duration::from_millis).max(REPLY_KEPT);
        let arrived = Instant::now();

        let body = envelope::unfold(&delivery.data, compression(delivery).as_deref());
        let request = match body.map_err(Into::into).and_then(|body| Request::decode(&body)) {
            Ok(request) => request,
            Err(malformed) => {
                warn!(problem = %malformed.problem, size = delivery.data.len(), "malformed message dropped");
                count("unknown", "malformed");
                taken.acknowledge().await;
                if let Some(to) = &malformed.reply_to {
                    let failure =
                        Failure::builtin("ValueError", format!("malformed request: {}", malformed.problem));
                    self.reply(to, Err(failure), arrived + kept).await;
                }
                return;
            }
        };
        let span = info_span!(
            "rpc",
            method = %request.method,
            request_id = %request.context.request_id,
            unique_id = %request.unique_id
        );
        self.serve(&taken, request, arrived + kept).instrument(span).await;
    }

    async fn serve(&self, taken: &Taken, request: Request, give_up: Instant) {
        let label = request.label();
        let reply_to = request.reply_to.clone();
        debug!(version = %request.version, size = request.size, call = request.wants_reply, "request");

        let admission = self.seen.admission(&request.unique_id);
        let mut admitted = admission.lock().await;
        if *admitted {
            debug!("duplicate request dropped");
            count(&label, "duplicate");
            return taken.acknowledge().await;
        }
        let monitor = Monitor::of(&request);
        let result = self.while_beating(monitor.as_ref(), self.admit(&request)).await;
        *admitted = true;
        drop(admitted);
        // If this fails the broker delivers the request again, and that copy is dropped; this one goes on.
        taken.acknowledge().await;

        let result = match result {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => self.while_beating(monitor.as_ref(), self.dispatch(request)).await,
            Err(failure) => Err(failure),
        };
        match &result {
            Ok(_) => count(&label, "ok"),
            Err(failure) if failure.is("NoSuchMethod") || failure.is("UnsupportedVersion") => {
                info!(failure = %failure, "request refused");
                // Anybody can make up methods: they do not become labels.
                count("unknown", "refused");
            }
            Err(failure) => {
                info!(class = %failure.class, call = reply_to.is_some(), "request failed");
                count(&label, "failure");
            }
        }
        if let Some(to) = &reply_to {
            self.reply(to, result, give_up).await;
        }
    }
    /// Admits a request, or answers at once what needs no endpoint.
    async fn admit(&self, request: &Request) -> Result<Option<Value>, Failure> {
        if self.options.ping
            && request.method == "oslo_rpc_server_ping"
            && request.namespace.is_none()
            && can_serve("1.0", &request.version)
        {
            return Ok(Some(json!("pong")));
        }
        if request.method.starts_with('_') {
            return Err(Failure::no_such_method(&request.method));
        }
        unwinding(self.endpoint.admit(request)).await.map(|()| None)
    }

    async fn dispatch(&self, request: Request) -> Result<Value, Failure> {
        unwinding(self.endpoint.dispatch(request)).await
    }

    async fn while_beating<T>(&self, monitor: Option<&Monitor>, work: impl Future<Output = T>) -> T {
        let Some(monitor) = monitor else { return work.await };
        match select(pin!(work), pin!(self.beat(monitor))).await {
            Either::Left((done, _)) => done,
            Either::Right((never, _)) => match never {},
        }
    }

    async fn beat(&self, monitor: &Monitor) -> Infallible {
        loop {
            tokio::time::sleep(monitor.every).await;
            // One that is late is of no use: the next one follows.
            let deadline = Instant::now() + monitor.every;
            let body = reply::heartbeat(&monitor.to);
            let send = self.transport.0.reply(&monitor.to, &body, deadline);
            let _ = tokio::time::timeout_at(deadline, send).await;
        }
    }

    async fn reply(&self, to: &ReplyTo, result: Result<Value, Failure>, give_up: Instant) {
        let body = reply::encode(to, result);
        // However long the work took, the answer gets its chance.
        let deadline = give_up.max(Instant::now() + REPLY_KEPT);
        let sent = self.transport.0.reply(to, &body, deadline).await;
        debug!(queue = %to.queue, msg_id = %to.msg_id, size = body.len(), ?sent, "reply");
    }
}

/// A panic in an endpoint is a failed request, and no more than that.
async fn unwinding<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| {
        error!("bug: the handler of a request panicked");
        Err(Failure::builtin("RuntimeError", "internal error of the compute service; its log says more"))
    })
}

fn count(label: &str, outcome: &'static str) {
    metrics::counter!("bessemer_rpc_requests_total", "method" => label.to_owned(), "outcome" => outcome)
        .increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::RequestContext;

    fn monitored(seconds: f64) -> Option<Monitor> {
        let mut request = Request::new("m", serde_json::Map::new(), RequestContext::admin());
        request.monitor = Some(Duration::from_secs_f64(seconds));
        request.reply_to = Some(ReplyTo { queue: "q".into(), msg_id: "i".into() });
        Monitor::of(&request)
    }

    #[test]
    fn a_monitored_call_beats_twice_in_its_time_but_not_faster_than_every_second() {
        assert_eq!(monitored(60.0).unwrap().every, Duration::from_secs(30));
        assert!(monitored(1.9).is_none() && monitored(2.0).is_some());
    }

    #[tokio::test]
    async fn a_panic_is_a_failure() {
        let failed = unwinding(async { if true { panic!("bug") } else { Ok(()) } }).await;
        assert!(failed.unwrap_err().is("RuntimeError"));
    }
}
