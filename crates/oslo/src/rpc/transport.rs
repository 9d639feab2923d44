//! The transport: the handle that clients, servers and notifiers share, and the service that keeps its
//! connections up.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use lapin::message::Delivery;
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::consume::{Subscription, Taken, Until};
use super::link::Link;
use super::publish::{self, Outgoing, Route, Unconfirmed};
use super::reply::{self, MissingQueues, Sent};
use super::{Client, Error, Failure, RabbitOptions, ReplyTo, TransportUrl, envelope, request};

/// A cheap handle of one broker cluster. Nothing is sent or received unless [`run`](Self::run) runs.
#[derive(Clone)]
pub struct Transport(pub(super) Arc<Inner>);

pub(super) struct Inner {
    url: TransportUrl,
    pub options: RabbitOptions,
    /// The connection that publishes.
    pub sender: Link,
    /// The connection that consumes.
    pub listener: Link,
    /// The name of the queue that answers to our calls come to; the same over every connection, so that an
    /// answer sent while we were away is found.
    pub reply_queue: String,
    pub calls: Calls,
    pub missing: MissingQueues,
}

impl Inner {
    /// Sends a reply, until `deadline`.
    pub(super) async fn reply(&self, to: &ReplyTo, body: &[u8], deadline: Instant) -> Sent {
        reply::send(&self.sender, &self.missing, to, body, deadline).await
    }
}

impl Transport {
    /// A transport to the brokers of a URL. The URL's query overrides the options. Fails when an option is no
    /// good.
    pub fn new(url: TransportUrl, options: RabbitOptions) -> Result<Self, Error> {
        let options = options.for_url(&url)?;
        options.topic_exchange().map_err(|error| Error::option("control_exchange", error.to_string()))?;
        let missing = MissingQueues::new(options.kombu_missing_consumer_retry_timeout);
        Ok(Self(Arc::new(Inner {
            url,
            options,
            sender: Link::new("publish"),
            listener: Link::new("consume"),
            reply_queue: format!("reply_{}", request::fresh_id()),
            calls: Calls::default(),
            missing,
        })))
    }

    /// A client of this transport.
    pub fn client(&self) -> Client {
        Client::new(self.clone())
    }

    /// The options, the URL's overrides included.
    pub fn options(&self) -> &RabbitOptions {
        &self.0.options
    }

    /// Whether both connections are up.
    pub fn is_connected(&self) -> bool {
        self.0.sender.is_up() && self.0.listener.is_up()
    }

    /// Keeps the connections up and receives the answers, until the shutdown. Stop servers first: what is
    /// still to be sent then, is lost.
    pub async fn run(&self, shutdown: CancellationToken) {
        let inner = &self.0;
        // The name is `reply_` and a UUID: it fits.
        let Ok(queue) = inner.options.reply_queue(&inner.reply_queue) else { return };
        let replies = Subscription { queue, prefetch: inner.options.rabbit_qos_prefetch_count };
        let until = Until { stop: shutdown.clone(), settled: shutdown.clone() };
        let (sink, mut taken) = mpsc::channel(64);
        tokio::join!(
            inner.sender.run(&inner.options, &inner.url, &shutdown),
            inner.listener.run(&inner.options, &inner.url, &shutdown),
            replies.run(&inner.listener, &until, &inner.calls.ready, sink),
            async {
                while let Some(delivery) = taken.recv().await {
                    inner.calls.receive(delivery).await;
                }
            },
        );
        inner.calls.close();
    }

    /// Publishes until the broker has the message, or until the deadline.
    pub(super) async fn publish(
        &self,
        message: &Outgoing,
        deadline: Option<Instant>,
    ) -> Result<(), Unconfirmed> {
        publish::publish(&self.0.sender, message, deadline).await
    }

    /// Puts a message into a queue that is bound to the topic exchange by its name; the queue is declared, so
    /// that the message is kept while nobody listens.
    pub(crate) async fn publish_to_queue(
        &self,
        queue: &str,
        body: Arc<[u8]>,
        deadline: Option<Instant>,
    ) -> Result<(), Unconfirmed> {
        let queue =
            self.0.options.topic_queue(queue).map_err(|error| Unconfirmed::Failed(error.to_string()))?;
        self.publish(&Outgoing { route: Route::Queue(Box::new(queue)), body, expires: None }, deadline).await
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("url", &self.0.url)
            .field("connected", &self.is_connected())
            .finish_non_exhaustive()
    }
}

/// The calls that wait for an answer, by message id.
pub(super) struct Calls {
    waiting: Mutex<HashMap<String, oneshot::Sender<Result<Value, Failure>>>>,
    /// Whether the reply queue is being consumed.
    pub ready: watch::Sender<bool>,
}

impl Default for Calls {
    fn default() -> Self {
        Self { waiting: Mutex::default(), ready: watch::Sender::new(false) }
    }
}

/// A call's place among those that wait; it is given up when this is dropped.
pub(super) struct Waiting<'a> {
    calls: &'a Calls,
    msg_id: String,
    pub answer: oneshot::Receiver<Result<Value, Failure>>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.calls.take(&self.msg_id);
    }
}

impl Calls {
    pub(super) fn register(&self, msg_id: &str) -> Waiting<'_> {
        let (answers, answer) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(msg_id.to_owned(), answers);
        Waiting { calls: self, msg_id: msg_id.to_owned(), answer }
    }

    fn take(&self, msg_id: &str) -> Option<oneshot::Sender<Result<Value, Failure>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(msg_id)
    }

    /// Nobody will answer any more.
    fn close(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    async fn receive(&self, taken: Taken) {
        let delivery = &taken.delivery;
        let compression = compression(delivery);
        let message =
            envelope::unfold(&delivery.data, compression.as_deref()).and_then(|body| envelope::unwrap(&body));
        match message {
            Ok(message) => self.answer(message),
            Err(error) => warn!(%error, size = delivery.data.len(), "malformed reply dropped"),
        }
        taken.acknowledge().await;
    }

    fn answer(&self, mut message: Map<String, Value>) {
        let msg_id = message.get("_msg_id").and_then(Value::as_str).unwrap_or_default().to_owned();
        // A heartbeat of a call that asked for none: it says nothing about the answer.
        if message.get("ending") == Some(&Value::Bool(false)) {
            return;
        }
        let Some(waiting) = self.take(&msg_id) else {
            // Its call ended in a timeout, or it is a second copy.
            debug!(msg_id, "reply dropped: its call has ended");
            return;
        };
        let answer = match message.remove("failure") {
            None | Some(Value::Null) => Ok(message.remove("result").unwrap_or_default()),
            Some(failure) => Err(Failure::from_wire(&failure)),
        };
        // The call may have ended this very moment.
        let _ = waiting.send(answer);
    }
}

/// How kombu says that it compressed a body.
pub(super) fn compression(delivery: &Delivery) -> Option<String> {
    let headers = delivery.properties.headers().as_ref()?;
    match headers.inner().get("compression")? {
        lapin::types::AMQPValue::LongString(name) => {
            Some(String::from_utf8_lossy(name.as_bytes()).into_owned())
        }
        lapin::types::AMQPValue::ShortString(name) => Some(name.as_str().to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[tokio::test]
    async fn an_answer_reaches_its_call_and_no_other() {
        let calls = Calls::default();
        let (mut one, mut two) = (calls.register("1"), calls.register("2"));
        calls.answer(message(&json!({"_msg_id": "2", "result": null, "failure": null, "ending": true})));
        assert_eq!((&mut two.answer).await.unwrap(), Ok(Value::Null));
        assert!(one.answer.try_recv().is_err());
    }

    #[test]
    fn a_heartbeat_is_no_answer_and_an_unknown_id_is_dropped() {
        let calls = Calls::default();
        let mut call = calls.register("1");
        calls.answer(message(&json!({"_msg_id": "1", "result": null, "failure": null, "ending": false})));
        calls.answer(message(&json!({"_msg_id": "9", "result": 1, "ending": true})));
        calls.answer(Map::new());
        assert!(call.answer.try_recv().is_err());
    }

    #[test]
    fn a_call_that_gave_up_leaves_nothing_behind() {
        let calls = Calls::default();
        drop(calls.register("1"));
        assert!(calls.waiting.lock().unwrap().is_empty());
    }
}
