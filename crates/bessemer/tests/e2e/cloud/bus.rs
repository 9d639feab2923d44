//! The message bus: a virtual host and a user of one test alone, at the broker that all tests share.

use std::process::Command;
use std::time::Duration;

use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use oslo::context::RequestContext;
use oslo::rpc::{CallError, Client, RabbitOptions, Target, Transport, TransportUrl};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

/// Nova's exchange.
const EXCHANGE: &str = "nova";
/// Where versioned notifications go.
const NOTIFICATIONS: [&str; 2] = ["versioned_notifications.info", "versioned_notifications.error"];

pub struct Bus {
    name: String,
    /// As it stands in `nova.conf`.
    pub url: String,
    pub transport: Transport,
    channel: Channel,
    _connection: Connection,
}

impl Bus {
    /// A virtual host that a user may use who has this password.
    pub async fn new(password: &str) -> Self {
        let broker = std::env::var("BESSEMER_TEST_AMQP_URL").expect(
            "BESSEMER_TEST_AMQP_URL is not set: these tests need a RabbitMQ; run `make test`, or \
             `export BESSEMER_TEST_AMQP_URL=$(tools/rabbitmq start)` first",
        );
        let name = format!("e2e-{}", uuid::Uuid::new_v4().simple());
        broker_does(&format!(
            r#"rabbit_vhost:add(<<"{name}">>, <<"e2e">>),
               rabbit_auth_backend_internal:add_user(<<"{name}">>, <<"{password}">>, <<"e2e">>),
               rabbit_auth_backend_internal:set_permissions(<<"{name}">>, <<"{name}">>, <<".*">>, <<".*">>, <<".*">>, <<"e2e">>)."#
        ));
        let place = broker.rsplit('@').next().unwrap().trim_end_matches('/');
        let url = format!("rabbit://{name}:{}@{place}/{name}", percent(password));
        let connection =
            Connection::connect(&url.replace("rabbit://", "amqp://"), ConnectionProperties::default())
                .await
                .unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let options = RabbitOptions { control_exchange: EXCHANGE.to_owned(), ..RabbitOptions::default() };
        let transport = Transport::new(TransportUrl::parse(&url).unwrap(), options).unwrap();
        let running = transport.clone();
        tokio::spawn(async move { running.run(CancellationToken::new()).await });
        let bus = Self { name, url, transport, channel, _connection: connection };
        bus.listen().await;
        bus
    }

    /// From now on notifications are kept for us.
    async fn listen(&self) {
        let table = FieldTable::default;
        let (exchange, queue) = (ExchangeDeclareOptions::default(), QueueDeclareOptions::default());
        self.channel.exchange_declare(EXCHANGE.into(), ExchangeKind::Topic, exchange, table()).await.unwrap();
        for name in NOTIFICATIONS {
            self.channel.queue_declare(name.into(), queue, table()).await.unwrap();
            let bind = QueueBindOptions::default();
            self.channel.queue_bind(name.into(), EXCHANGE.into(), name.into(), bind, table()).await.unwrap();
        }
    }

    /// The notifications that came since the last look, in the order of each priority.
    pub async fn notifications(&self) -> Vec<Value> {
        let mut found = Vec::new();
        for name in NOTIFICATIONS {
            let options = BasicGetOptions { no_ack: true };
            while let Some(message) = self.channel.basic_get(name.into(), options).await.unwrap() {
                let envelope: Value = serde_json::from_slice(&message.delivery.data).unwrap();
                found.push(serde_json::from_str(envelope["oslo.message"].as_str().unwrap()).unwrap());
            }
        }
        found
    }

    /// Makes a queue that the service cannot consume: it is durable.
    pub async fn occupy(&self, queue: &str) {
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        self.channel.queue_declare(queue.into(), durable, FieldTable::default()).await.unwrap();
    }

    /// Deletes a queue.
    pub async fn free(&self, queue: &str) {
        self.channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
    }

    /// Sends bytes, whatever they are.
    pub async fn publish(&self, key: &str, body: &[u8]) {
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_content_encoding("utf-8".into())
            .with_delivery_mode(2);
        let options = BasicPublishOptions::default();
        let sent =
            self.channel.basic_publish(EXCHANGE.into(), key.into(), options, body, properties).await.unwrap();
        sent.await.unwrap();
    }

    /// Sends a message as oslo.messaging does: as a text in an envelope.
    pub async fn send(&self, key: &str, message: &Value) {
        let envelope = json!({"oslo.version": "2.0", "oslo.message": message.to_string()});
        self.publish(key, envelope.to_string().as_bytes()).await;
    }

    pub fn client(&self) -> Client {
        self.transport.client()
    }

    /// Calls a method of the compute service.
    pub async fn call(
        &self,
        context: &RequestContext,
        target: &Target,
        method: &str,
        args: Value,
        timeout: Duration,
    ) -> Result<Value, CallError> {
        self.client().call(context, target, method, map(args), timeout).await
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let name = &self.name;
        broker_does(&format!(
            r#"rabbit_vhost:delete(<<"{name}">>, <<"e2e">>), rabbit_auth_backend_internal:delete_user(<<"{name}">>, <<"e2e">>)."#
        ));
    }
}

pub fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("no object: {other}"),
    }
}

/// One expression, because each run of `rabbitmqctl` costs half a second.
fn broker_does(expression: &str) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tools/rabbitmq");
    let output = Command::new(script).args(["ctl", "eval", expression]).output().unwrap();
    assert!(output.status.success(), "tools/rabbitmq ctl: {}", String::from_utf8_lossy(&output.stderr));
}

/// A password as it stands in a URL.
fn percent(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
