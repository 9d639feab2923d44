//! Calls, casts, fanouts, failures and notifications against a real RabbitMQ.

#![allow(clippy::unwrap_used)] // all of this is test

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::{LONG, Raw, Running, Serving, Steered, call, map, next, options, shared_broker, unique};
use futures_util::future::join_all;
use lapin::options::BasicConsumeOptions;
use lapin::types::FieldTable;
use oslo::context::RequestContext;
use oslo::notify::{Driver, Notifier, NotifierOptions, Priority};
use oslo::rpc::{CallError, RabbitOptions, ServerOptions, Target};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

struct Setup {
    running: Running,
    serving: Serving,
    endpoint: Arc<Steered>,
    topic: String,
}

async fn setup_with(
    rabbit: impl FnOnce(&mut RabbitOptions),
    server: impl FnOnce(&mut ServerOptions),
) -> Setup {
    let topic = unique("topic");
    let mut rabbit_options = options(&unique("exchange"));
    rabbit(&mut rabbit_options);
    let running = Running::new(&shared_broker(), rabbit_options);
    let endpoint = Steered::new();
    let mut server_options = ServerOptions::new(&topic, "host");
    server(&mut server_options);
    let serving = Serving::start(&running.transport, server_options, endpoint.clone()).await;
    Setup { running, serving, endpoint, topic }
}

async fn setup() -> Setup {
    setup_with(|_| {}, |_| {}).await
}

fn raw_call(method: &str, reply_queue: &str, msg_id: &str) -> Value {
    json!({"method": method, "args": {}, "version": "6.0", "_msg_id": msg_id, "_reply_q": reply_queue, "_unique_id": unique("id")})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_gives_its_result_back() {
    let setup = setup().await;
    let args = json!({"text": "Grüße", "nothing": null, "list": [1, {"a": 2.5}]});
    assert_eq!(call(&setup.running.client(), &setup.topic, "echo", args.clone(), LONG).await.unwrap(), args);
    setup.serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shared_queue_and_the_fanout_reach_the_server_too() {
    let setup = setup().await;
    let client = setup.running.client();
    let anyone = Target::topic(&setup.topic, "6.0");
    let everyone = Target { fanout: true, ..anyone.clone() };
    client.call(&RequestContext::admin(), &anyone, "echo", map(json!({})), LONG).await.unwrap();
    client.cast(&RequestContext::admin(), &everyone, "wait", map(json!({})), LONG).await.unwrap();
    client.cast(&RequestContext::admin(), &anyone, "wait", map(json!({})), LONG).await.unwrap();
    setup.endpoint.waiting(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_keeps_class_message_and_arguments() {
    let setup = setup().await;
    let error = call(&setup.running.client(), &setup.topic, "fail", json!({}), LONG).await.unwrap_err();
    assert!(error.is("InstanceNotFound"));
    let failure = error.failure().unwrap();
    assert_eq!(failure.message, "Instance u could not be found.");
    assert_eq!(failure.kwargs["code"], 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_an_unknown_and_a_private_method_are_failures_and_no_more() {
    let setup = setup().await;
    let client = setup.running.client();
    for (method, class) in
        [("panic", "RuntimeError"), ("unknown", "NoSuchMethod"), ("_private", "NoSuchMethod")]
    {
        let error = call(&client, &setup.topic, method, json!({}), LONG).await.unwrap_err();
        assert!(error.is(class), "{method}: {error}");
    }
    call(&client, &setup.topic, "echo", json!({}), LONG).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ping_of_operators_is_answered_where_it_is_enabled() {
    let enabled = setup_with(|_| {}, |server| server.ping = true).await;
    let target = Target::topic(&enabled.topic, "1.0");
    let client = enabled.running.client();
    let answer =
        client.call(&RequestContext::admin(), &target, "oslo_rpc_server_ping", map(json!({})), LONG).await;
    assert_eq!(answer.unwrap(), "pong");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_not_answered_in_time_ends() {
    let setup = setup().await;
    let error = call(&setup.running.client(), &setup.topic, "wait", json!({}), Duration::from_secs(1)).await;
    assert!(matches!(error, Err(CallError::Timeout)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_to_nobody_says_so() {
    let setup = setup().await;
    let nobody = unique("nobody");
    let error = call(&setup.running.client(), &nobody, "echo", json!({}), Duration::from_secs(1)).await;
    let Err(CallError::Unreachable(why)) = error else { panic!("{error:?}") };
    assert!(why.contains(&format!("{nobody}.host")), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fanout_to_nobody_is_no_error() {
    let setup = setup().await;
    let everyone = Target { fanout: true, ..Target::topic(&unique("nobody"), "6.0") };
    setup
        .running
        .client()
        .cast(&RequestContext::admin(), &everyone, "echo", map(json!({})), LONG)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_calls_at_once_do_not_wait_for_each_other() {
    let setup = setup().await;
    let client = setup.running.client();
    let started = Instant::now();
    let calls = (0..1000).map(|number| call(&client, &setup.topic, "wait", json!({"number": number}), LONG));
    let open = async {
        setup.endpoint.waiting(1000).await;
        setup.endpoint.open();
    };
    let (answers, ()) = tokio::join!(join_all(calls), open);
    for (number, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.unwrap()["number"], number);
    }
    eprintln!("1000 calls: {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_copy_of_a_request_is_not_done_again() {
    let setup = setup().await;
    let raw = Raw::connect(&shared_broker()).await;
    let queue = unique("reply");
    raw.declare(&queue).await;
    let mut replies = raw.consume(&queue).await;
    let host_queue = format!("{}.host", setup.topic);
    let twice = raw_call("echo", &queue, "1").to_string();
    raw.publish(&host_queue, twice.as_bytes()).await;
    assert_eq!(next(&mut replies).await["_msg_id"], "1");
    raw.publish(&host_queue, twice.as_bytes()).await;
    raw.publish(&host_queue, raw_call("echo", &queue, "2").to_string().as_bytes()).await;
    assert_eq!(next(&mut replies).await["_msg_id"], "2");
    assert_eq!(setup.endpoint.dispatched.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_monitored_call_hears_that_it_is_being_worked_on() {
    let setup = setup().await;
    let raw = Raw::connect(&shared_broker()).await;
    let queue = unique("reply");
    raw.declare(&queue).await;
    let mut replies = raw.consume(&queue).await;
    let mut request = raw_call("wait", &queue, "1");
    request["_timeout"] = json!(2);
    raw.publish(&format!("{}.host", setup.topic), request.to_string().as_bytes()).await;
    let beat = next(&mut replies).await;
    assert_eq!(
        (&beat["ending"], &beat["result"], &beat["failure"]),
        (&json!(false), &Value::Null, &Value::Null)
    );
    setup.endpoint.open();
    loop {
        let reply = next(&mut replies).await;
        if reply["ending"] == true {
            assert_eq!(reply["result"], json!({}));
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_waits_for_a_reply_queue_that_comes_late() {
    let setup = setup().await;
    let raw = Raw::connect(&shared_broker()).await;
    let queue = unique("reply");
    raw.publish(&format!("{}.host", setup.topic), raw_call("wait", &queue, "1").to_string().as_bytes()).await;
    setup.endpoint.waiting(1).await;
    setup.endpoint.open();
    // A call on the same server: its answer passes the one that waits.
    call(&setup.running.client(), &setup.topic, "echo", json!({}), LONG).await.unwrap();
    raw.declare(&queue).await;
    assert_eq!(next(&mut raw.consume(&queue).await).await["_msg_id"], "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_queue_that_never_comes_is_given_up_and_remembered() {
    let patience = Duration::from_millis(500);
    let setup = setup_with(|rabbit| rabbit.kombu_missing_consumer_retry_timeout = patience, |_| {}).await;
    let raw = Raw::connect(&shared_broker()).await;
    let (queue, host_queue) = (unique("reply"), format!("{}.host", setup.topic));
    raw.publish(&host_queue, raw_call("echo", &queue, "1").to_string().as_bytes()).await;
    // The server ends only when its request is over: the reply was given up within the drain.
    let transport = setup.running.transport.clone();
    let started = Instant::now();
    while setup.endpoint.dispatched.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    setup.serving.stop().await;
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());

    // From now on the queue is there, and the reply of another server of this transport is dropped all the
    // same.
    raw.declare(&queue).await;
    let endpoint = Steered::new();
    let serving =
        Serving::start(&transport, ServerOptions::new(&setup.topic, "host"), endpoint.clone()).await;
    raw.publish(&host_queue, raw_call("echo", &queue, "2").to_string().as_bytes()).await;
    while endpoint.dispatched.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    serving.stop().await;
    assert_eq!(raw.depth(&queue).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_messages_are_dropped_or_answered_and_the_server_goes_on() {
    let setup = setup().await;
    let raw = Raw::connect(&shared_broker()).await;
    let (queue, host_queue) = (unique("reply"), format!("{}.host", setup.topic));
    raw.declare(&queue).await;
    let mut replies = raw.consume(&queue).await;
    for body in [
        "",
        "junk",
        "[]",
        "{}",
        "{\"oslo.version\": \"9.0\", \"oslo.message\": \"{}\"}",
        "{\"oslo.version\": \"2.0\", \"oslo.message\": 1}",
    ] {
        raw.publish(&host_queue, body.as_bytes()).await;
    }
    let mut unanswerable = raw_call("echo", "x", "1");
    unanswerable["_reply_q"] = json!("x".repeat(300));
    raw.publish(&host_queue, unanswerable.to_string().as_bytes()).await;
    let mut addressed = raw_call("echo", &queue, "2");
    addressed["args"] = json!([1]);
    raw.publish(&host_queue, addressed.to_string().as_bytes()).await;
    let reply = next(&mut replies).await;
    assert!(reply["failure"].as_str().unwrap().contains("field args is no object"), "{reply:?}");
    call(&setup.running.client(), &setup.topic, "echo", json!({}), LONG).await.unwrap();
    assert_eq!(raw.depth(&host_queue).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_durable_client_gives_way_to_what_is_there() {
    let plain = setup().await;
    let exchange = plain.running.transport.options().control_exchange.clone();
    let durable = RabbitOptions { amqp_durable_queues: true, ..options(&exchange) };
    let other = Running::new(&shared_broker(), durable);
    call(&other.client(), &plain.topic, "echo", json!({}), LONG).await.unwrap();
    let endpoint = Steered::new();
    let serving = Serving::start(&other.transport, ServerOptions::new(&plain.topic, "host"), endpoint).await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quorum_queues_serve_as_well() {
    let setup = setup_with(
        |rabbit| {
            rabbit.amqp_auto_delete = false;
            rabbit.rabbit_quorum_queue = true;
            rabbit.rabbit_transient_quorum_queue = true;
            rabbit.rabbit_quorum_delivery_limit = 3;
        },
        |_| {},
    )
    .await;
    call(&setup.running.client(), &setup.topic, "echo", json!({}), LONG).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_carries_fanouts() {
    let setup = setup_with(
        |rabbit| {
            rabbit.rabbit_transient_quorum_queue = true;
            rabbit.rabbit_stream_fanout = true;
            rabbit.rabbit_qos_prefetch_count = 10;
        },
        |_| {},
    )
    .await;
    let everyone = Target { fanout: true, ..Target::topic(&setup.topic, "6.0") };
    setup
        .running
        .client()
        .cast(&RequestContext::admin(), &everyone, "wait", map(json!({})), LONG)
        .await
        .unwrap();
    setup.endpoint.waiting(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_server_finishes_its_work_and_returns_the_rest() {
    // The queue must outlive its consumer.
    let setup = setup_with(|rabbit| rabbit.amqp_auto_delete = false, |server| server.concurrency = 1).await;
    let client = setup.running.client();
    let first = call(&client, &setup.topic, "wait", json!({"n": 1}), LONG);
    let rest = async {
        setup.endpoint.waiting(1).await;
        let second = call(&client, &setup.topic, "wait", json!({"n": 2}), LONG);
        let stop = async {
            setup.serving.shutdown.cancel();
            setup.endpoint.open();
            setup.serving.task.await.unwrap();
            let endpoint = Steered::new();
            endpoint.open();
            Serving::start(&setup.running.transport, ServerOptions::new(&setup.topic, "host"), endpoint).await
        };
        tokio::join!(second, stop)
    };
    let (first, (second, serving)) = tokio::join!(first, rest);
    assert_eq!(first.unwrap()["n"], 1);
    assert_eq!(second.unwrap()["n"], 2);
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_waits_in_its_queue_without_token() {
    let topic = unique("versioned");
    let running = Running::new(&shared_broker(), options(&unique("exchange")));
    let notifier = Notifier::new(
        running.transport.clone(),
        NotifierOptions {
            drivers: vec![Driver::MessagingV2],
            topics: vec![topic.clone()],
            ..NotifierOptions::new("h")
        },
    );
    let shutdown = CancellationToken::new();
    let task = tokio::spawn({
        let (notifier, shutdown) = (notifier.clone(), shutdown.clone());
        async move { notifier.run(shutdown).await }
    });
    let context = RequestContext::from_message(&map(json!({"_context_auth_token": "s3cret"})));
    notifier.notify(&context, Priority::Info, "instance.create.end", json!({"nova_object.name": "P"}));
    notifier.notify(&context, Priority::Info, "instance.create.end", json!({"nova_object.name": "Q"}));
    let queue = format!("{topic}.info");
    // The queue is declared by the publisher: the raw peer retries on a channel of its own until it is there.
    let mut consumer = loop {
        let peer = Raw::connect(&shared_broker()).await;
        let consumer = peer
            .channel
            .basic_consume(
                queue.as_str().into(),
                "n".into(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            )
            .await;
        if let Ok(consumer) = consumer {
            break (peer, consumer);
        }
    };
    for name in ["P", "Q"] {
        let message = next(&mut consumer.1).await;
        assert_eq!(message["event_type"], "instance.create.end");
        assert_eq!(message["publisher_id"], "nova-compute:h");
        assert_eq!(message["payload"]["nova_object.name"], name);
        assert_eq!(message["_context_auth_token"], Value::Null);
    }
    shutdown.cancel();
    task.await.unwrap();
}
