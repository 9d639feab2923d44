//! Publishing with confirms: many messages on the way at once, each kept until the broker has it in a queue.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lapin::Confirmation;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::protocol::basic::AMQPProperties;
use lapin::types::{FieldTable, ShortString};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::link::{Link, NoSession, Session};
use super::topology::{self, Exchange, Queue};

/// Pause between attempts to publish the same message.
pub(super) const RETRY: Duration = Duration::from_millis(250);

/// Where a message goes.
#[derive(Clone, Debug)]
pub(super) enum Route {
    /// Through the topic exchange into the queue of this name. When there is none, its server may be on its
    /// way back from the same outage: the message is published again until there is.
    Topic(Exchange, ShortString),
    /// To everybody who listens; nobody is fine.
    Fanout(Exchange),
    /// Into this queue, which is declared first, so that the message waits for a consumer.
    Queue(Box<Queue>),
}

/// A message, encoded, with its destination.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub route: Route,
    pub body: Arc<[u8]>,
    /// Nobody waits for what it causes after this: the broker forgets it then.
    pub expires: Option<Instant>,
}

/// A message that the broker does not have, or of which nobody knows whether it has.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Unconfirmed {
    /// The deadline passed, or the message cannot be addressed; the last thing that went wrong.
    #[error("{0}")]
    Failed(String),
    /// The transport was shut down.
    #[error("the transport to the message broker is shut down")]
    Closed,
}

/// What became of a message that the broker confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Confirmed {
    /// It is in its queue.
    Queued,
    /// There is no such queue: nobody has it.
    NoQueue,
}

/// Publishes until the message is in its queue, over as many connections as it takes, until the deadline. A
/// message may arrive twice when a confirmation was lost. A receiver drops the second by its `_unique_id`,
/// but only if it got the first too: of several workers at one queue each knows its own messages
/// (`_drivers/amqpdriver.py`).
pub(super) async fn publish(
    link: &Link,
    message: &Outgoing,
    deadline: Option<Instant>,
) -> Result<(), Unconfirmed> {
    let mut problem = String::from("the broker did not confirm the message in time");
    loop {
        let session = match link.session(deadline).await {
            Ok(session) => session,
            Err(NoSession::Closed) => return Err(Unconfirmed::Closed),
            Err(down @ NoSession::Down(_)) => return Err(Unconfirmed::Failed(down.to_string())),
        };
        let attempt = session.publish(message);
        let outcome = match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, attempt).await,
            None => Ok(attempt.await),
        };
        match outcome {
            Ok(Ok(Confirmed::Queued)) => return Ok(()),
            Ok(Ok(Confirmed::NoQueue)) => problem = message.route.without_queue(),
            Ok(Err(error)) => problem = error,
            Err(_) => return Err(Unconfirmed::Failed(problem)),
        }
        debug!(%problem, size = message.body.len(), "message not confirmed; publishing it again");
        if deadline.is_some_and(|deadline| Instant::now() + RETRY >= deadline) {
            return Err(Unconfirmed::Failed(problem));
        }
        tokio::time::sleep(RETRY).await;
    }
}

impl Route {
    fn without_queue(&self) -> String {
        match self {
            Self::Topic(_, key) => {
                format!("there is no queue {key} at the message broker; does its service run?")
            }
            Self::Fanout(_) | Self::Queue(_) => "the message broker has no queue for the message".to_owned(),
        }
    }
}

impl Session {
    /// Publishes once and waits for the confirmation, as long as the connection lasts.
    async fn publish(&self, message: &Outgoing) -> Result<Confirmed, String> {
        let (exchange, key, mandatory) = match &message.route {
            Route::Topic(exchange, key) => (exchange.name.clone(), key.clone(), true),
            Route::Fanout(exchange) => (exchange.name.clone(), ShortString::default(), false),
            Route::Queue(queue) => match &queue.binding {
                Some((exchange, key)) => (exchange.name.clone(), key.clone(), true),
                None => (ShortString::default(), queue.name.clone(), true),
            },
        };
        let published = async {
            self.declare(&message.route).await?;
            self.send(exchange, key, mandatory, &message.body, message.expires).await
        };
        let published = self.unless_lost(published).await;
        if !matches!(published, Ok(Confirmed::Queued)) {
            // Perhaps what was declared is not there any more.
            lock(&self.publishers.declared).clear();
        }
        published
    }

    /// Puts a message into a queue by the default exchange, and says if the queue is not there.
    pub(super) async fn publish_direct(&self, queue: &ShortString, body: &[u8]) -> Result<Confirmed, String> {
        self.unless_lost(self.send(ShortString::default(), queue.clone(), true, body, None)).await
    }

    /// What is said to a dead connection is never answered.
    async fn unless_lost(
        &self,
        work: impl Future<Output = Result<Confirmed, String>>,
    ) -> Result<Confirmed, String> {
        tokio::select! {
            result = work => result,
            () = self.lost.cancelled() => {
                Err("the connection was lost before the broker confirmed".to_owned())
            }
        }
    }

    async fn declare(&self, route: &Route) -> Result<(), String> {
        let name = match route {
            Route::Topic(exchange, _) | Route::Fanout(exchange) => &exchange.name,
            Route::Queue(queue) => &queue.name,
        };
        if lock(&self.publishers.declared).contains(name.as_str()) {
            return Ok(());
        }
        let declared = match route {
            Route::Topic(exchange, _) | Route::Fanout(exchange) => {
                topology::declare_exchange(&self.wire.connection, exchange).await
            }
            Route::Queue(queue) => topology::declare_queue(&self.wire.connection, queue).await,
        };
        if let Err(error) = declared {
            warn!(
                %name,
                %error,
                "the broker refuses the declaration; check that the durable and quorum options match the \
                 control plane's"
            );
            return Err(error.to_string());
        }
        lock(&self.publishers.declared).insert(name.to_string());
        Ok(())
    }

    async fn send(
        &self,
        exchange: ShortString,
        key: ShortString,
        mandatory: bool,
        body: &[u8],
        expires: Option<Instant>,
    ) -> Result<Confirmed, String> {
        let text = |error: lapin::Error| error.to_string();
        let Ok(_permit) = self.publishers.free.acquire().await else {
            return Err("the connection is closed".to_owned());
        };
        let idle = lock(&self.publishers.idle).pop();
        let channel = if let Some(channel) = idle.filter(|channel| channel.status().connected()) {
            channel
        } else {
            let channel = self.wire.connection.create_channel().await.map_err(text)?;
            channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(text)?;
            channel
        };
        let options = BasicPublishOptions { mandatory, ..BasicPublishOptions::default() };
        let published = channel.basic_publish(exchange, key, options, body, properties(expires)).await;
        let confirmation = published.map_err(text)?.await.map_err(text)?;
        lock(&self.publishers.idle).push(channel);
        match confirmation {
            Confirmation::Ack(None) => Ok(Confirmed::Queued),
            Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => Ok(Confirmed::NoQueue),
            Confirmation::Nack(None) | Confirmation::NotRequested => {
                Err("the broker refused the message".to_owned())
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What kombu sets on every message; and the time to live, in milliseconds, of one that expires.
fn properties(expires: Option<Instant>) -> AMQPProperties {
    let properties = AMQPProperties::default()
        .with_content_type("application/json".into())
        .with_content_encoding("utf-8".into())
        .with_delivery_mode(2)
        .with_priority(0)
        .with_headers(FieldTable::default());
    let Some(expires) = expires else { return properties };
    let left = expires.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
    properties.with_expiration(left.to_string().as_str().into())
}
