//! Answers: what they look like, and the rule for a reply queue that is not there.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::link::Link;
use super::publish::{Confirmed, RETRY};
use super::request::{ReplyTo, fresh_id};
use super::{Failure, envelope, topology};

/// How long a reply queue counts as missing once a reply gave up on it, and how many are remembered
/// (oslo.messaging's numbers).
const REMEMBERED: Duration = Duration::from_mins(1);
const REMEMBERED_QUEUES: usize = 200;

/// An answer, encoded.
pub(super) fn encode(to: &ReplyTo, result: Result<Value, Failure>) -> Vec<u8> {
    let (result, failure) = match result {
        Ok(result) => (result, Value::Null),
        Err(failure) => (Value::Null, json!(failure.to_wire())),
    };
    body(to, result, failure, true)
}

/// The news that a call is still being worked on.
pub(super) fn heartbeat(to: &ReplyTo) -> Vec<u8> {
    body(to, Value::Null, Value::Null, false)
}

fn body(to: &ReplyTo, result: Value, failure: Value, ending: bool) -> Vec<u8> {
    let mut message = Map::new();
    message.insert("result".to_owned(), result);
    message.insert("failure".to_owned(), failure);
    message.insert("ending".to_owned(), Value::Bool(ending));
    message.insert("_msg_id".to_owned(), json!(to.msg_id));
    message.insert("_unique_id".to_owned(), json!(fresh_id()));
    envelope::wrap(&message)
}

/// Reply queues that were not there for long enough to give up on them.
pub(super) struct MissingQueues {
    /// How long a queue may be missing (`kombu_missing_consumer_retry_timeout`).
    patience: Duration,
    known: Mutex<VecDeque<(String, Instant)>>,
}

impl MissingQueues {
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, known: Mutex::default() }
    }

    fn remember(&self, queue: &str) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(name, _)| name != queue);
        known.push_back((queue.to_owned(), Instant::now()));
        if known.len() > REMEMBERED_QUEUES {
            known.pop_front();
        }
    }

    fn is_known(&self, queue: &str) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().any(|(name, since)| name == queue && since.elapsed() < REMEMBERED)
    }
}

/// What became of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// The caller's queue has it.
    Delivered,
    /// Nobody can receive it any more.
    Dropped,
}

/// Sends a reply: again and again while the broker is away, until `deadline`; and while it is there but the
/// queue is not, every quarter of a second for as long as `missing` allows.
pub(super) async fn send(
    sender: &Link,
    missing: &MissingQueues,
    to: &ReplyTo,
    body: &[u8],
    deadline: Instant,
) -> Sent {
    let Ok(queue) = topology::name(&to.queue) else {
        warn!(msg_id = %to.msg_id, "reply dropped: the name of its queue is too long");
        return Sent::Dropped;
    };
    if missing.is_known(&to.queue) {
        info!(queue = %queue, msg_id = %to.msg_id, "reply dropped: its queue was missing before");
        return Sent::Dropped;
    }
    let mut missing_since: Option<Instant> = None;
    loop {
        let session = match sender.session(Some(deadline)).await {
            Ok(session) => session,
            Err(error) => {
                warn!(queue = %queue, msg_id = %to.msg_id, %error, "reply dropped");
                return Sent::Dropped;
            }
        };
        match session.publish_direct(&queue, body).await {
            Ok(Confirmed::Queued) => return Sent::Delivered,
            Ok(Confirmed::NoQueue) => {
                let since = *missing_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= missing.patience {
                    missing.remember(&to.queue);
                    info!(queue = %queue, msg_id = %to.msg_id, "reply dropped: its queue does not exist");
                    return Sent::Dropped;
                }
            }
            Err(error) => {
                debug!(queue = %queue, msg_id = %to.msg_id, %error, "reply not delivered; sending it again");
                // The caller has to come back to a broker that was away: its time begins anew.
                missing_since = None;
                if Instant::now() >= deadline {
                    warn!(queue = %queue, msg_id = %to.msg_id, %error, "reply dropped");
                    return Sent::Dropped;
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to() -> ReplyTo {
        ReplyTo { queue: "reply_1".into(), msg_id: "1".into() }
    }

    #[test]
    fn a_failure_travels_as_text_and_a_void_result_as_null() {
        let ok = envelope::unwrap(&encode(&to(), Ok(Value::Null))).unwrap();
        assert_eq!(
            (&ok["result"], &ok["failure"], &ok["ending"]),
            (&Value::Null, &Value::Null, &json!(true))
        );
        let failed = envelope::unwrap(&encode(&to(), Err(Failure::not_implemented()))).unwrap();
        assert!(failed["failure"].as_str().unwrap().contains("NotImplementedError"));
        assert_eq!(failed["_msg_id"], "1");
    }

    #[test]
    fn a_heartbeat_does_not_end_the_call() {
        assert_eq!(envelope::unwrap(&heartbeat(&to())).unwrap()["ending"], false);
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_queue_is_remembered_for_a_minute() {
        let missing = MissingQueues::new(Duration::from_mins(1));
        missing.remember("a");
        assert!(missing.is_known("a") && !missing.is_known("b"));
        tokio::time::advance(REMEMBERED).await;
        assert!(!missing.is_known("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_two_hundred_are_remembered() {
        let missing = MissingQueues::new(Duration::from_mins(1));
        for queue in 0..=REMEMBERED_QUEUES {
            missing.remember(&queue.to_string());
        }
        assert!(!missing.is_known("0") && missing.is_known("1"));
    }
}
