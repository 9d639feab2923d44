//! Calls and casts.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;
use tracing::debug;

use super::publish::{Outgoing, Route, Unconfirmed};
use super::request::{fresh_id, label};
use super::topology::{self, NameTooLong};
use super::{Failure, Transport, envelope};
use crate::context::RequestContext;

/// Who is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The topic, e.g. `conductor`.
    pub topic: String,
    /// One server of the topic, its name verbatim; absent: whichever takes it first.
    pub server: Option<String>,
    /// All servers of the topic; casts only.
    pub fanout: bool,
    /// The API; absent for a topic's main one.
    pub namespace: Option<String>,
    /// The version the arguments are made for, e.g. `3.0`.
    pub version: String,
}

impl Target {
    /// Any server of a topic.
    pub fn topic(topic: &str, version: &str) -> Self {
        Self { topic: topic.to_owned(), version: version.to_owned(), ..Self::default() }
    }
}

/// Why a call has no result, or a cast was not taken.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The broker took the request and no answer came in time. Whether it was done is unknown.
    #[error("no answer in time")]
    Timeout,
    /// The other side answered with a failure.
    #[error("remote failure {0}")]
    Remote(Failure),
    /// The broker did not take the request in time, or had no queue for it, or the transport is shut down.
    /// Most likely it was not done.
    #[error("{0}")]
    Unreachable(String),
    /// The target cannot be addressed: a name is too long, or a call was made to all servers at once.
    #[error("target of {method}: {problem}")]
    Target {
        /// The method called.
        method: String,
        /// What is wrong with the target.
        problem: String,
    },
}

impl CallError {
    /// The failure that the other side answered with.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Remote(failure) => Some(failure),
            _ => None,
        }
    }

    /// Whether the other side answered with a failure of this class.
    pub fn is(&self, class: &str) -> bool {
        self.failure().is_some_and(|failure| failure.is(class))
    }

    /// Whether the same call may succeed later: nothing was answered at all.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Timeout | Self::Unreachable(_))
    }

    fn outcome(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Remote(_) => "failure",
            Self::Unreachable(_) => "unreachable",
            Self::Target { .. } => "target",
        }
    }
}

impl From<Unconfirmed> for CallError {
    fn from(error: Unconfirmed) -> Self {
        Self::Unreachable(error.to_string())
    }
}

/// A cheap handle that calls and casts over a [`Transport`]. Any number of calls may be under way at once.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Transport,
}

impl Client {
    pub(super) fn new(transport: Transport) -> Self {
        Self { transport }
    }

    /// The timeout that the operator chose for calls (`rpc_response_timeout`).
    pub fn response_timeout(&self) -> Duration {
        self.transport.options().response_timeout
    }

    /// Calls a method and waits for its result. Until the broker confirms the request it is published again
    /// after a lost connection, with the same `_unique_id`. One worker of a server drops a second copy by it;
    /// another one does not know it: a request may be done twice, and a caller to whom that matters looks
    /// what was done.
    pub async fn call(
        &self,
        context: &RequestContext,
        target: &Target,
        method: &str,
        args: Map<String, Value>,
        timeout: Duration,
    ) -> Result<Value, CallError> {
        let label = label(method, &args);
        let started = Instant::now();
        let result = self.try_call(context, target, method, args, started + timeout).await;
        let outcome = result.as_ref().err().map_or("ok", CallError::outcome);
        metrics::histogram!("bessemer_rpc_call_seconds", "method" => label.clone())
            .record(started.elapsed().as_secs_f64());
        metrics::counter!("bessemer_rpc_calls_total", "method" => label, "outcome" => outcome).increment(1);
        result
    }

    async fn try_call(
        &self,
        context: &RequestContext,
        target: &Target,
        method: &str,
        args: Map<String, Value>,
        deadline: Instant,
    ) -> Result<Value, CallError> {
        if target.fanout {
            let problem = "a fanout has no answer; cast it".to_owned();
            return Err(CallError::Target { method: method.to_owned(), problem });
        }
        let route = self.route(target, method)?;
        let inner = &self.transport.0;
        let msg_id = fresh_id();
        let mut message = message(context, target, method, args);
        message.insert("_msg_id".to_owned(), json!(msg_id));
        message.insert("_reply_q".to_owned(), json!(inner.reply_queue));
        message.insert("_timeout".to_owned(), Value::Null);
        let outgoing = Outgoing { route, body: envelope::wrap(&message).into(), expires: Some(deadline) };
        debug!(method, request_id = %context.request_id, msg_id, size = outgoing.body.len(), "call");

        let mut waiting = inner.calls.register(&msg_id);
        // An answer may be faster than the broker's confirmation, and may come although that was lost.
        let publishing = async {
            let mut ready = inner.calls.ready.subscribe();
            if tokio::time::timeout_at(deadline, ready.wait_for(|ready| *ready)).await.is_err() {
                let why = inner.listener.session(Some(Instant::now())).await.err();
                let why = why
                    .map_or_else(|| "the reply queue cannot be consumed".to_owned(), |why| why.to_string());
                return Err(CallError::Unreachable(why));
            }
            Ok(self.transport.publish(&outgoing, Some(deadline)).await?)
        };
        let answer = tokio::select! {
            biased;
            answer = &mut waiting.answer => answer,
            published = publishing => {
                published?;
                tokio::time::timeout_at(deadline, &mut waiting.answer).await.map_err(|_| CallError::Timeout)?
            }
        };
        match answer {
            Ok(answer) => answer.map_err(CallError::Remote),
            Err(_) => Err(Unconfirmed::Closed.into()),
        }
    }

    /// Sends a request that is not answered. Returns when the broker has it; tries until then, no longer than
    /// `timeout`.
    pub async fn cast(
        &self,
        context: &RequestContext,
        target: &Target,
        method: &str,
        args: Map<String, Value>,
        timeout: Duration,
    ) -> Result<(), CallError> {
        let deadline = Instant::now() + timeout;
        let route = self.route(target, method)?;
        let message = message(context, target, method, args);
        let outgoing = Outgoing { route, body: envelope::wrap(&message).into(), expires: None };
        debug!(method, request_id = %context.request_id, size = outgoing.body.len(), "cast");
        Ok(self.transport.publish(&outgoing, Some(deadline)).await?)
    }

    fn route(&self, target: &Target, method: &str) -> Result<Route, CallError> {
        let options = self.transport.options();
        let route = || -> Result<Route, NameTooLong> {
            if target.fanout {
                return Ok(Route::Fanout(options.fanout_exchange(&target.topic)?));
            }
            let key = match &target.server {
                Some(server) => topology::name(&format!("{}.{server}", target.topic))?,
                None => topology::name(&target.topic)?,
            };
            Ok(Route::Topic(options.topic_exchange()?, key))
        };
        route().map_err(|error| CallError::Target { method: method.to_owned(), problem: error.to_string() })
    }
}

/// The fields that calls and casts share.
fn message(
    context: &RequestContext,
    target: &Target,
    method: &str,
    args: Map<String, Value>,
) -> Map<String, Value> {
    let mut message = Map::new();
    message.insert("method".to_owned(), json!(method));
    message.insert("args".to_owned(), Value::Object(args));
    if let Some(namespace) = &target.namespace {
        message.insert("namespace".to_owned(), json!(namespace));
    }
    message.insert("version".to_owned(), json!(target.version));
    message.insert("_unique_id".to_owned(), json!(fresh_id()));
    context.write_message(&mut message);
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::{RabbitOptions, TransportUrl};

    fn client() -> Client {
        let url = TransportUrl::parse("rabbit://guest:guest@127.0.0.1:1/").unwrap();
        Transport::new(url, RabbitOptions::default()).unwrap().client()
    }

    #[test]
    fn the_namespace_is_absent_for_a_main_api() {
        let context = RequestContext::admin();
        let plain = message(&context, &Target::topic("conductor", "3.0"), "m", Map::new());
        assert!(!plain.contains_key("namespace") && plain["version"] == "3.0");
        let target = Target { namespace: Some("baseapi".into()), ..Target::topic("conductor", "1.0") };
        assert_eq!(message(&context, &target, "ping", Map::new())["namespace"], "baseapi");
    }

    #[test]
    fn a_server_is_part_of_the_routing_key_and_a_fanout_has_none() {
        let client = client();
        let key = |target: &Target| match client.route(target, "m").unwrap() {
            Route::Topic(exchange, key) => (exchange.name.to_string(), key.to_string()),
            Route::Fanout(exchange) => (exchange.name.to_string(), String::new()),
            Route::Queue(_) => panic!("requests go through an exchange"),
        };
        let topic = Target::topic("compute", "6.0");
        let server = Target { server: Some("Host.A".into()), ..topic.clone() };
        let fanout = Target { fanout: true, ..topic.clone() };
        assert_eq!(key(&topic), ("nova".into(), "compute".into()));
        assert_eq!(key(&server), ("nova".into(), "compute.Host.A".into()));
        assert_eq!(key(&fanout), ("compute_fanout".into(), String::new()));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_broker_a_call_ends_at_its_deadline_and_says_why() {
        let target = Target::topic("conductor", "3.0");
        let result = client()
            .call(&RequestContext::admin(), &target, "ping", Map::new(), Duration::from_secs(5))
            .await;
        let Err(CallError::Unreachable(why)) = result else { panic!("{result:?}") };
        assert!(why.contains("not connected yet"), "{why}");
    }

    #[tokio::test]
    async fn what_cannot_be_addressed_is_refused_at_once() {
        let context = RequestContext::admin();
        let fanout = Target { fanout: true, ..Target::topic("compute", "6.0") };
        let long = Target { server: Some("x".repeat(300)), ..Target::topic("compute", "6.0") };
        for target in [fanout, long] {
            let result = client().call(&context, &target, "m", Map::new(), Duration::from_secs(5)).await;
            assert!(matches!(result, Err(CallError::Target { .. })), "{result:?}");
        }
    }
}
