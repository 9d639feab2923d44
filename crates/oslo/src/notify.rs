//! Notifications: what happened to a server, published for whoever listens.
//!
//! By default nothing is published, as in stock Nova (`[oslo_messaging_notifications] driver` is empty). A
//! notification never delays or fails the operation it tells of: it is queued, and published by
//! [`Notifier::run`].

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use uuid::Uuid;

use crate::context::RequestContext;
use crate::rpc::{Transport, Unconfirmed, bare, wrap};

/// Notifications that may wait for the broker; more are dropped.
const BACKLOG: usize = 10_000;

/// How long what is queued may take to leave at the shutdown.
const FLUSH: Duration = Duration::from_secs(5);

/// How a notification leaves (`[oslo_messaging_notifications] driver`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// To the broker, in the envelope that RPC uses.
    MessagingV2,
    /// To the broker, without envelope.
    Messaging,
    /// One line of the log; what happened, not the payload.
    Log,
    /// Nowhere.
    Noop,
}

impl Driver {
    /// The driver of a name, as the option has it.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "messagingv2" => Some(Self::MessagingV2),
            "messaging" => Some(Self::Messaging),
            "log" => Some(Self::Log),
            // `test` keeps them in the memory of a test of oslo.messaging's own.
            "noop" | "test" => Some(Self::Noop),
            _ => None,
        }
    }
}

/// What is published where.
#[derive(Clone, Debug)]
pub struct NotifierOptions {
    /// Empty: nothing at all.
    pub drivers: Vec<Driver>,
    /// `[notifications] versioned_notifications_topics`.
    pub topics: Vec<String>,
    /// Who speaks: `nova-compute:<host>`.
    pub publisher_id: String,
    /// How long one notification may wait for the broker before it is dropped; absent: forever (`retry =
    /// -1`).
    pub patience: Option<Duration>,
}

impl NotifierOptions {
    /// Nova's defaults for a compute host: nothing is published.
    pub fn new(host: &str) -> Self {
        Self {
            drivers: Vec::new(),
            topics: vec!["versioned_notifications".to_owned()],
            publisher_id: format!("nova-compute:{host}"),
            patience: None,
        }
    }
}

/// How grave it is; part of the queue's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Something happened as intended.
    Info,
    /// Something failed.
    Error,
}

impl Priority {
    fn upper(self) -> &'static str {
        match self {
            Self::Info => "INFO",
            Self::Error => "ERROR",
        }
    }

    fn lower(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Error => "error",
        }
    }
}

/// A cheap handle to publish notifications.
#[derive(Clone)]
pub struct Notifier(Arc<Inner>);

struct Inner {
    transport: Transport,
    options: NotifierOptions,
    queue: mpsc::Sender<Queued>,
    queued: Mutex<mpsc::Receiver<Queued>>,
}

struct Queued {
    message: Map<String, Value>,
    priority: Priority,
}

impl Notifier {
    /// A notifier over a transport. Nothing leaves unless [`run`](Self::run) runs.
    pub fn new(transport: Transport, options: NotifierOptions) -> Self {
        let (queue, queued) = mpsc::channel(BACKLOG);
        Self(Arc::new(Inner { transport, options, queue, queued: Mutex::new(queued) }))
    }

    /// Whether anything would be published: a payload need not be made otherwise.
    pub fn is_enabled(&self) -> bool {
        self.0.options.drivers.iter().any(|driver| *driver != Driver::Noop)
    }

    /// Tells what happened, e.g. `instance.create.end`. `payload` is an object primitive without changes.
    /// Returns at once.
    pub fn notify(&self, context: &RequestContext, priority: Priority, event_type: &str, payload: Value) {
        if !self.is_enabled() {
            return;
        }
        let message = message(context, &self.0.options.publisher_id, priority, event_type, payload);
        if self.0.options.drivers.contains(&Driver::Log) {
            info!(event_type, request_id = %context.request_id, priority = priority.lower(), "notification");
        }
        if self.0.queue.try_send(Queued { message, priority }).is_err() {
            warn!(
                event_type,
                backlog = BACKLOG,
                "notification dropped: the broker was unreachable for too long"
            );
        }
    }

    /// Publishes what is queued, in order, until the shutdown; what is queued then may leave, too, when it
    /// can at once.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut queued = self.0.queued.lock().await;
        let over = async {
            shutdown.cancelled().await;
            tokio::time::sleep(FLUSH).await;
        };
        tokio::pin!(over);
        loop {
            let next = tokio::select! {
                biased;
                next = queued.recv() => next,
                () = shutdown.cancelled() => return,
            };
            let Some(next) = next else { return };
            tokio::select! {
                () = self.publish(&next) => {}
                () = &mut over => {
                    warn!(
                        count = queued.len() + 1,
                        "notifications dropped: the broker did not accept them before the service stopped"
                    );
                    return;
                }
            }
        }
    }

    async fn publish(&self, notification: &Queued) {
        let inner = &self.0;
        for driver in &inner.options.drivers {
            let body = match driver {
                Driver::MessagingV2 => wrap(&notification.message),
                Driver::Messaging => bare(&notification.message).into_bytes(),
                Driver::Log | Driver::Noop => continue,
            };
            let body: Arc<[u8]> = body.into();
            for topic in &inner.options.topics {
                let queue = format!("{topic}.{}", notification.priority.lower());
                let deadline = inner.options.patience.map(|patience| Instant::now() + patience);
                match inner.transport.publish_to_queue(&queue, Arc::clone(&body), deadline).await {
                    Ok(()) => debug!(queue, size = body.len(), "notified"),
                    Err(Unconfirmed::Closed) => return,
                    Err(error) => warn!(queue, %error, "notification dropped"),
                }
            }
        }
    }
}

fn message(
    context: &RequestContext,
    publisher_id: &str,
    priority: Priority,
    event_type: &str,
    payload: Value,
) -> Map<String, Value> {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:6]");
    let now = OffsetDateTime::now_utc().format(&format).unwrap_or_default();
    let mut message = Map::new();
    message.insert("message_id".to_owned(), json!(Uuid::new_v4()));
    message.insert("publisher_id".to_owned(), json!(publisher_id));
    message.insert("event_type".to_owned(), json!(event_type));
    message.insert("priority".to_owned(), json!(priority.upper()));
    message.insert("payload".to_owned(), payload);
    message.insert("timestamp".to_owned(), json!(now));
    message.insert("_unique_id".to_owned(), json!(Uuid::new_v4().simple().to_string()));
    context.redacted().write_message(&mut message);
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::{RabbitOptions, TransportUrl};

    fn notifier(drivers: Vec<Driver>) -> Notifier {
        let url = TransportUrl::parse("rabbit://guest:guest@127.0.0.1:1/").unwrap();
        let transport = Transport::new(url, RabbitOptions::default()).unwrap();
        Notifier::new(transport, NotifierOptions { drivers, ..NotifierOptions::new("h") })
    }

    #[test]
    fn nothing_is_published_by_default() {
        let notifier = notifier(NotifierOptions::new("h").drivers);
        notifier.notify(&RequestContext::admin(), Priority::Info, "instance.create.end", json!({}));
        assert!(!notifier.is_enabled() && notifier.0.queue.capacity() == BACKLOG);
    }

    #[test]
    fn a_backlog_is_bounded() {
        let notifier = notifier(vec![Driver::MessagingV2]);
        for _ in 0..=BACKLOG {
            notifier.notify(&RequestContext::admin(), Priority::Info, "instance.create.end", json!({}));
        }
        assert_eq!(notifier.0.queue.capacity(), 0);
    }

    #[tokio::test]
    async fn what_is_queued_at_the_shutdown_leaves() {
        let notifier = notifier(vec![Driver::Log]);
        for _ in 0..100 {
            notifier.notify(&RequestContext::admin(), Priority::Info, "instance.create.end", json!({}));
        }
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        notifier.run(shutdown).await;
        assert_eq!(notifier.0.queue.capacity(), BACKLOG);
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_is_away_does_not_keep_the_process() {
        let notifier = notifier(vec![Driver::MessagingV2]);
        notifier.notify(&RequestContext::admin(), Priority::Info, "instance.create.end", json!({}));
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        let began = Instant::now();
        notifier.run(shutdown).await;
        assert_eq!(began.elapsed(), FLUSH);
    }

    #[test]
    fn the_token_stays_here() {
        let mut asked = Map::new();
        asked.insert("_context_auth_token".into(), json!("s3cret"));
        asked.insert("_context_service_catalog".into(), json!([{"type": "image"}]));
        let context = RequestContext::from_message(&asked);
        let message =
            message(&context, "nova-compute:h", Priority::Error, "compute.exception", json!({"a": 1}));
        assert!(!Value::Object(message.clone()).to_string().contains("s3cret"));
        assert_eq!(message["_context_service_catalog"], json!([]));
        assert_eq!(
            (message["priority"].as_str(), message["event_type"].as_str()),
            (Some("ERROR"), Some("compute.exception"))
        );
    }

    #[test]
    fn drivers_have_the_names_of_oslo() {
        assert_eq!(Driver::parse("messagingv2"), Some(Driver::MessagingV2));
        assert_eq!(Driver::parse("noop"), Some(Driver::Noop));
        assert_eq!(Driver::parse("test"), Some(Driver::Noop));
        assert_eq!(Driver::parse("carrier-pigeon"), None);
    }
}
