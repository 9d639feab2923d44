//! What the tests against a real RabbitMQ share: the broker, transports, an endpoint that can be steered, a
//! raw peer, a cable to cut.

#![allow(dead_code)] // each test file uses its part
#![allow(clippy::unwrap_used)] // all of this is test

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer};
use oslo::context::RequestContext;
use oslo::rpc::{
    CallError, Client, Endpoint, Failure, RabbitOptions, Request, Server, ServerOptions, Target, Transport,
    TransportUrl,
};
use serde_json::{Map, Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::field::Field;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Far more than anything here takes; a test that waits this long has failed.
pub const LONG: Duration = Duration::from_mins(1);

/// The URL of the broker that all tests share. Tests that stop a broker start one of their own.
pub fn shared_broker() -> String {
    std::env::var("BESSEMER_TEST_AMQP_URL").expect(
        "BESSEMER_TEST_AMQP_URL is not set: these tests need a RabbitMQ; run `make test`, or \
         `export BESSEMER_TEST_AMQP_URL=$(tools/rabbitmq start)` first",
    )
}

/// A broker that belongs to one test.
pub struct Broker {
    directory: tempfile::TempDir,
    pub url: String,
}

impl Broker {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = tool(directory.path().into(), &["start"]);
        Self { directory, url: url.trim().to_owned() }
    }

    pub async fn ctl(&self, arguments: &[&str]) {
        let directory = self.directory.path().to_owned();
        let all: Vec<_> =
            std::iter::once("ctl").chain(arguments.iter().copied()).map(str::to_owned).collect();
        let run = move || tool(directory, &all.iter().map(String::as_str).collect::<Vec<_>>());
        tokio::task::spawn_blocking(run).await.unwrap();
    }

    /// Where the broker's files are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        tool(self.directory.path().into(), &["stop"]);
    }
}

fn tool(directory: PathBuf, arguments: &[&str]) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tools/rabbitmq");
    let output =
        Command::new(script).args(arguments).env("BESSEMER_TEST_RABBITMQ_DIR", directory).output().unwrap();
    assert!(
        output.status.success(),
        "tools/rabbitmq {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A name that no other test has.
pub fn unique(prefix: &str) -> String {
    format!("{prefix}-{}", uuid::Uuid::new_v4().simple())
}

/// Options under which nothing of a test stays at the broker.
pub fn options(exchange: &str) -> RabbitOptions {
    RabbitOptions {
        control_exchange: exchange.to_owned(),
        amqp_auto_delete: true,
        kombu_reconnect_delay: Duration::from_millis(100),
        ..RabbitOptions::default()
    }
}

/// Prints what happened, for a test that failed: `RUST_LOG=oslo=debug`.
struct Print;

impl<S: tracing::Subscriber> Layer<S> for Print {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut line = String::new();
        event.record(&mut |field: &Field, value: &dyn std::fmt::Debug| {
            let _ = write!(line, " {field}={value:?}");
        });
        eprintln!("{} {}{line}", event.metadata().level(), event.metadata().target());
    }
}

/// A transport that runs until it is dropped.
pub struct Running {
    pub transport: Transport,
    pub shutdown: CancellationToken,
    pub task: JoinHandle<()>,
}

impl Running {
    pub fn new(url: &str, options: RabbitOptions) -> Self {
        let print = Print.with_filter(tracing_subscriber::EnvFilter::from_default_env());
        let _ = tracing_subscriber::registry().with(print).try_init();
        let transport = Transport::new(TransportUrl::parse(url).unwrap(), options).unwrap();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn({
            let (transport, shutdown) = (transport.clone(), shutdown.clone());
            async move { transport.run(shutdown).await }
        });
        Self { transport, shutdown, task }
    }

    pub fn client(&self) -> Client {
        self.transport.client()
    }

    /// Ends as a killed process does: nothing is said to anybody.
    pub fn kill(self) {
        self.task.abort();
    }
}

/// A server that serves until it is dropped.
pub struct Serving {
    pub shutdown: CancellationToken,
    pub task: JoinHandle<()>,
}

impl Serving {
    pub async fn start(transport: &Transport, options: ServerOptions, endpoint: Arc<dyn Endpoint>) -> Self {
        let server = Arc::new(Server::new(transport.clone(), options, endpoint).unwrap());
        let shutdown = CancellationToken::new();
        let task = tokio::spawn({
            let (server, shutdown) = (Arc::clone(&server), shutdown.clone());
            async move { server.run(shutdown).await }
        });
        tokio::time::timeout(LONG, server.ready()).await.expect("the queues are consumed");
        Self { shutdown, task }
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }
}

/// An endpoint for tests: `echo` gives its arguments back, `fail` fails, `panic` panics, `wait` waits for
/// [`open`](Self::open).
pub struct Steered {
    pub admitted: AtomicUsize,
    pub dispatched: AtomicUsize,
    gate: watch::Sender<bool>,
    /// Called for in `admit` before it returns.
    pub in_admit: Notify,
    pub admit_gate: watch::Sender<bool>,
    waiting: watch::Sender<usize>,
}

impl Steered {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            admitted: AtomicUsize::new(0),
            dispatched: AtomicUsize::new(0),
            gate: watch::Sender::new(false),
            in_admit: Notify::new(),
            admit_gate: watch::Sender::new(true),
            waiting: watch::Sender::new(0),
        })
    }

    /// Lets those that `wait` go on.
    pub fn open(&self) {
        self.gate.send_replace(true);
    }

    /// Waits until so many `wait`.
    pub async fn waiting(&self, number: usize) {
        let mut waiting = self.waiting.subscribe();
        let reached = waiting.wait_for(|waiting| *waiting >= number);
        tokio::time::timeout(LONG, reached).await.expect("the requests arrive").unwrap();
    }
}

#[async_trait]
impl Endpoint for Steered {
    async fn admit(&self, _request: &Request) -> Result<(), Failure> {
        self.in_admit.notify_one();
        let _ = self.admit_gate.subscribe().wait_for(|open| *open).await;
        self.admitted.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    async fn dispatch(&self, request: Request) -> Result<Value, Failure> {
        self.dispatched.fetch_add(1, Ordering::SeqCst);
        match request.method.as_str() {
            "echo" => Ok(Value::Object(request.args)),
            "fail" => {
                let kwargs = json!({"instance_id": "u", "code": 404}).as_object().unwrap().clone();
                Err(Failure::nova("InstanceNotFound", "Instance u could not be found.", kwargs))
            }
            "panic" => panic!("as asked"),
            "wait" => {
                self.waiting.send_modify(|waiting| *waiting += 1);
                let _ = self.gate.subscribe().wait_for(|open| *open).await;
                Ok(Value::Object(request.args))
            }
            method => Err(Failure::no_such_method(method)),
        }
    }
}

/// Calls a method of the server `host`.
pub async fn call(
    client: &Client,
    topic: &str,
    method: &str,
    args: Value,
    timeout: Duration,
) -> Result<Value, CallError> {
    let target = Target { server: Some("host".into()), ..Target::topic(topic, "6.0") };
    client.call(&RequestContext::admin(), &target, method, map(args), timeout).await
}

pub fn map(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { panic!("arguments are an object") };
    map
}

/// A peer that speaks AMQP by hand.
pub struct Raw {
    _connection: Connection,
    pub channel: Channel,
}

impl Raw {
    pub async fn connect(url: &str) -> Self {
        // The URL of the broker ends in `/`, which is the empty virtual host for lapin.
        let uri = format!("{}%2f", url.replace("rabbit://", "amqp://"));
        let connection = Connection::connect(&uri, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        Self { _connection: connection, channel }
    }

    pub async fn declare(&self, queue: &str) {
        let options = QueueDeclareOptions { auto_delete: true, ..QueueDeclareOptions::default() };
        self.channel.queue_declare(queue.into(), options, FieldTable::default()).await.unwrap();
    }

    pub async fn consume(&self, queue: &str) -> Consumer {
        let options = BasicConsumeOptions::default();
        self.channel.basic_consume(queue.into(), "raw".into(), options, FieldTable::default()).await.unwrap()
    }

    pub async fn publish(&self, queue: &str, body: &[u8]) {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        self.channel.basic_publish("".into(), queue.into(), options, body, properties).await.unwrap();
    }

    /// Messages of a queue that wait for a consumer.
    pub async fn depth(&self, queue: &str) -> u32 {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        self.channel
            .queue_declare(queue.into(), options, FieldTable::default())
            .await
            .unwrap()
            .message_count()
    }
}

/// The next message of a raw consumer, decoded.
pub async fn next(consumer: &mut Consumer) -> Map<String, Value> {
    let delivery =
        tokio::time::timeout(LONG, consumer.next()).await.expect("a message comes").unwrap().unwrap();
    delivery.ack(BasicAckOptions::default()).await.unwrap();
    let envelope: Value = serde_json::from_slice(&delivery.data).unwrap();
    serde_json::from_str(envelope["oslo.message"].as_str().unwrap()).unwrap()
}

/// A cable to the broker that can be cut.
pub struct Cable {
    pub url: String,
    cut: watch::Sender<usize>,
    task: JoinHandle<()>,
}

impl Cable {
    pub async fn lay(broker: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let authority = broker.split('@').nth(1).unwrap().trim_end_matches('/').to_owned();
        let url = broker.replace(&authority, &format!("127.0.0.1:{port}"));
        let cut = watch::Sender::new(0);
        let cuts = cut.clone();
        let task = tokio::spawn(async move {
            while let Ok((mut here, _)) = listener.accept().await {
                let mut cuts = cuts.subscribe();
                let mut there = TcpStream::connect(&authority).await.unwrap();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = copy_bidirectional(&mut here, &mut there) => {}
                        _ = cuts.changed() => {}
                    }
                });
            }
        });
        Self { url, cut, task }
    }

    /// Cuts all connections; new ones are possible at once.
    pub fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.task.abort();
    }
}
