//! What a message holds reaches no log, at any level, ours or the AMQP library's.

#![allow(clippy::unwrap_used)] // all of this is test

mod common;

use std::fmt::Write;
use std::sync::{Arc, Mutex};

use common::{LONG, Raw, Running, Serving, Steered, call, options, shared_broker, unique};
use oslo::rpc::{RabbitOptions, ServerOptions};
use serde_json::json;
use tracing::field::Field;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

const SECRET: &str = "s3cret-in-a-message";

#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl<S: tracing::Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut log = self.0.lock().unwrap();
        write!(log, "{}", event.metadata().target()).unwrap();
        event.record(&mut |field: &Field, value: &dyn std::fmt::Debug| {
            write!(log, " {field}={value:?}").unwrap();
        });
        log.push('\n');
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_shows_what_a_message_holds() {
    let log = Log::default();
    tracing_subscriber::registry().with(log.clone()).init();

    let topic = unique("topic");
    let patience = std::time::Duration::from_millis(300);
    let rabbit =
        RabbitOptions { kombu_missing_consumer_retry_timeout: patience, ..options(&unique("exchange")) };
    let running = Running::new(&shared_broker(), rabbit);
    let serving =
        Serving::start(&running.transport, ServerOptions::new(&topic, "host"), Steered::new()).await;
    call(&running.client(), &topic, "echo", json!({"password": SECRET}), LONG).await.unwrap();
    // An answer that comes back because its queue is missing.
    let raw = Raw::connect(&shared_broker()).await;
    let request =
        json!({"method": "echo", "args": {"password": SECRET}, "_msg_id": "1", "_reply_q": unique("reply")});
    let before = log.0.lock().unwrap().len();
    raw.publish(&format!("{topic}.host"), request.to_string().as_bytes()).await;
    while !log.0.lock().unwrap()[before..].contains("its queue does not exist") {
        tokio::task::yield_now().await;
    }
    serving.stop().await;
    running.shutdown.cancel();
    running.task.await.unwrap();

    let log = log.0.lock().unwrap();
    let bytes = format!("{:?}", SECRET.as_bytes());
    let shown = [SECRET, bytes.trim_matches(['[', ']'])];
    // The raw peer of this test is lapin without our care: it shows what it publishes.
    let ours = log.lines().filter(|line| shown.iter().any(|secret| line.contains(secret)));
    assert_eq!(ours.map(|line| &line[..line.len().min(120)]).collect::<Vec<_>>(), Vec::<&str>::new());
}
