//! Exchanges and queues: their names, flags and arguments, and how they are declared.
//!
//! The control plane declares the same things, so the rules are oslo.messaging's own (`impl_rabbit.py`). A
//! broker refuses a declaration that differs from what is there; of the differences only `durable` is given
//! way to.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};
use tracing::warn;

use super::RabbitOptions;

/// PRECONDITION_FAILED: what is declared exists and is different.
const PRECONDITION_FAILED: u16 = 406;

/// An exchange to declare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exchange {
    pub name: ShortString,
    pub fanout: bool,
    pub durable: bool,
    pub auto_delete: bool,
}

/// A queue to declare, and to bind if it has a binding.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    pub name: ShortString,
    pub durable: bool,
    pub auto_delete: bool,
    pub arguments: FieldTable,
    pub binding: Option<(Exchange, ShortString)>,
    /// Arguments of `basic.consume`.
    pub consume: FieldTable,
    /// Nobody else uses it: it goes when its consumer stops.
    pub own: bool,
}

/// A name that is too long for AMQP (255 bytes).
#[derive(Debug, thiserror::Error)]
#[error("a name of {0} bytes is too long for AMQP; 255 is the limit")]
pub(super) struct NameTooLong(usize);

/// A name on the wire. Names are made of host names and of what senders ask for, so their length is checked.
pub(super) fn name(text: &str) -> Result<ShortString, NameTooLong> {
    ShortString::try_new(text).map_err(|_| NameTooLong(text.len()))
}

impl RabbitOptions {
    fn durable(&self) -> bool {
        self.amqp_durable_queues || self.rabbit_quorum_queue
    }

    /// The exchange that topics and notifications go through.
    pub(super) fn topic_exchange(&self) -> Result<Exchange, NameTooLong> {
        Ok(Exchange {
            name: name(&self.control_exchange)?,
            fanout: false,
            durable: self.durable(),
            auto_delete: self.amqp_auto_delete,
        })
    }

    /// The exchange of a topic's fanouts.
    pub(super) fn fanout_exchange(&self, topic: &str) -> Result<Exchange, NameTooLong> {
        Ok(Exchange {
            name: name(&format!("{topic}_fanout"))?,
            fanout: true,
            durable: self.rabbit_transient_quorum_queue || self.rabbit_stream_fanout,
            auto_delete: true,
        })
    }

    /// A queue bound to the topic exchange by its own name.
    pub(super) fn topic_queue(&self, queue: &str) -> Result<Queue, NameTooLong> {
        Ok(Queue {
            name: name(queue)?,
            durable: self.durable(),
            auto_delete: self.amqp_auto_delete,
            arguments: self.queue_arguments(self.rabbit_quorum_queue),
            binding: Some((self.topic_exchange()?, name(queue)?)),
            consume: self.consume_arguments(),
            own: false,
        })
    }

    /// This process's queue of a topic's fanouts; `suffix` makes its name unique.
    pub(super) fn fanout_queue(&self, topic: &str, suffix: &str) -> Result<Queue, NameTooLong> {
        let exchange = self.fanout_exchange(topic)?;
        let mut consume = self.consume_arguments();
        let (queue, arguments) = if self.rabbit_stream_fanout {
            consume.insert("x-stream-offset".into(), text("last"));
            let mut arguments = FieldTable::default();
            arguments.insert("x-queue-type".into(), text("stream"));
            let age = format!("{}s", self.rabbit_transient_queues_ttl.as_secs());
            arguments.insert("x-max-age".into(), text(&age));
            (format!("{topic}_fanout"), arguments)
        } else {
            (format!("{topic}_fanout_{suffix}"), self.transient_arguments())
        };
        Ok(Queue {
            name: name(&queue)?,
            durable: exchange.durable,
            auto_delete: false,
            arguments,
            binding: Some((exchange, name(topic)?)),
            consume,
            own: !self.rabbit_stream_fanout,
        })
    }

    /// The queue that answers to this process come to. It is left to expire, so that it outlives a lost
    /// connection.
    pub(super) fn reply_queue(&self, queue: &str) -> Result<Queue, NameTooLong> {
        Ok(Queue {
            name: name(queue)?,
            durable: self.rabbit_transient_quorum_queue,
            auto_delete: false,
            arguments: self.transient_arguments(),
            binding: None,
            consume: self.consume_arguments(),
            own: false,
        })
    }

    fn queue_arguments(&self, quorum: bool) -> FieldTable {
        let mut arguments = FieldTable::default();
        if quorum {
            arguments.insert("x-queue-type".into(), text("quorum"));
            for (key, limit) in [
                ("x-delivery-limit", self.rabbit_quorum_delivery_limit),
                ("x-max-in-memory-length", self.rabbit_quorum_max_memory_length),
                ("x-max-in-memory-bytes", self.rabbit_quorum_max_memory_bytes),
            ] {
                if limit > 0 {
                    arguments.insert(key.into(), AMQPValue::LongLongInt(i64::from(limit)));
                }
            }
        }
        if self.rabbit_ha_queues {
            arguments.insert("x-ha-policy".into(), text("all"));
        }
        arguments
    }

    fn transient_arguments(&self) -> FieldTable {
        let mut arguments = self.queue_arguments(self.rabbit_transient_quorum_queue);
        let ttl = i64::try_from(self.rabbit_transient_queues_ttl.as_millis()).unwrap_or(i64::MAX);
        if ttl > 0 {
            arguments.insert("x-expires".into(), AMQPValue::LongLongInt(ttl));
        }
        arguments
    }

    fn consume_arguments(&self) -> FieldTable {
        let mut arguments = FieldTable::default();
        if self.enable_cancel_on_failover {
            arguments.insert("x-cancel-on-ha-failover".into(), AMQPValue::Boolean(true));
        }
        arguments
    }
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(value))
}

/// Declares an exchange; each attempt on a channel of its own, because a refusal closes the channel.
pub(super) async fn declare_exchange(connection: &Connection, exchange: &Exchange) -> lapin::Result<()> {
    let attempt = async |durable: bool| {
        let channel = connection.create_channel().await?;
        let kind = if exchange.fanout { ExchangeKind::Fanout } else { ExchangeKind::Topic };
        let options = ExchangeDeclareOptions {
            durable,
            auto_delete: exchange.auto_delete,
            ..ExchangeDeclareOptions::default()
        };
        channel.exchange_declare(exchange.name.clone(), kind, options, FieldTable::default()).await?;
        close(&channel).await;
        Ok(())
    };
    match attempt(exchange.durable).await {
        Err(error) if exchange.durable && only_durable_differs(&error) => {
            warn!(exchange = %exchange.name, "the exchange exists and is not durable; it is used as it is");
            attempt(false).await
        }
        result => result,
    }
}

/// Declares a queue, its exchange and its binding.
pub(super) async fn declare_queue(connection: &Connection, queue: &Queue) -> lapin::Result<()> {
    let attempt = async |durable: bool| {
        let channel = connection.create_channel().await?;
        let options =
            QueueDeclareOptions { durable, auto_delete: queue.auto_delete, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.name.clone(), options, queue.arguments.clone()).await?;
        if let Some((exchange, key)) = &queue.binding {
            let (queue, exchange, key) = (queue.name.clone(), exchange.name.clone(), key.clone());
            channel
                .queue_bind(queue, exchange, key, QueueBindOptions::default(), FieldTable::default())
                .await?;
        }
        close(&channel).await;
        Ok(())
    };
    if let Some((exchange, _)) = &queue.binding {
        declare_exchange(connection, exchange).await?;
    }
    match attempt(queue.durable).await {
        Err(error) if queue.durable && only_durable_differs(&error) => {
            warn!(queue = %queue.name, "the queue exists and is not durable; it is used as it is");
            attempt(false).await
        }
        result => result,
    }
}

/// Closes a channel that has done its work. That it is closed already is no news.
pub(super) async fn close(channel: &Channel) {
    if channel.status().connected() {
        let _ = channel.close(200, "done".into()).await;
    }
}

fn only_durable_differs(error: &lapin::Error) -> bool {
    match error.kind() {
        ErrorKind::ProtocolError(refusal) => {
            refusal.get_id() == PRECONDITION_FAILED
                && refusal.get_message().as_str().contains("inequivalent arg 'durable'")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn argument<'a>(queue: &'a Queue, key: &str) -> Option<&'a AMQPValue> {
        queue.arguments.inner().get(key)
    }

    #[test]
    fn by_default_nothing_is_durable_and_transient_queues_expire() {
        let options = RabbitOptions::default();
        let topic = options.topic_queue("compute.host").unwrap();
        assert!(!topic.durable && topic.arguments.inner().is_empty());
        let reply = options.reply_queue("reply_1").unwrap();
        assert_eq!(argument(&reply, "x-expires"), Some(&AMQPValue::LongLongInt(1_800_000)));
        assert!(reply.binding.is_none());
        let fanout = options.fanout_queue("compute", "1").unwrap();
        let (exchange, key) = fanout.binding.clone().unwrap();
        assert_eq!((exchange.name.as_str(), key.as_str()), ("compute_fanout", "compute"));
        assert!(exchange.auto_delete && !exchange.durable && fanout.own);
    }

    #[test]
    fn quorum_queues_are_durable_and_keep_their_limits() {
        let options = RabbitOptions {
            rabbit_quorum_queue: true,
            rabbit_quorum_delivery_limit: 3,
            rabbit_transient_queues_ttl: Duration::ZERO,
            ..RabbitOptions::default()
        };
        let topic = options.topic_queue("compute").unwrap();
        assert!(topic.durable && options.topic_exchange().unwrap().durable);
        assert_eq!(argument(&topic, "x-queue-type"), Some(&text("quorum")));
        assert_eq!(argument(&topic, "x-delivery-limit"), Some(&AMQPValue::LongLongInt(3)));
        let reply = options.reply_queue("reply_1").unwrap();
        assert!(!reply.durable && reply.arguments.inner().is_empty());
    }

    #[test]
    fn a_stream_fanout_is_one_queue_for_all() {
        let options = RabbitOptions { rabbit_stream_fanout: true, ..RabbitOptions::default() };
        let fanout = options.fanout_queue("compute", "1").unwrap();
        assert_eq!(fanout.name.as_str(), "compute_fanout");
        assert_eq!(argument(&fanout, "x-max-age"), Some(&text("1800s")));
        assert!(fanout.durable && !fanout.own);
    }

    #[test]
    fn a_name_too_long_is_an_error_and_no_panic() {
        assert!(RabbitOptions::default().topic_queue(&"x".repeat(256)).is_err());
    }
}
