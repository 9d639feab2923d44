//! Brokers that stop and start, connections that are cut, processes that are killed: what was promised is
//! kept.

#![allow(clippy::unwrap_used)] // all of this is test

mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{
    Broker, Cable, LONG, Raw, Running, Serving, Steered, call, map, options, shared_broker, unique,
};
use futures_util::future::join_all;
use lapin::options::QueueDeleteOptions;
use oslo::context::RequestContext;
use oslo::rpc::{CallError, RabbitOptions, ServerOptions, Target};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stops_and_starts_costs_no_call_no_cast_and_no_answer() {
    let broker = tokio::task::spawn_blocking(Broker::start).await.unwrap();
    let topic = unique("topic");
    let options = options(&unique("exchange"));
    let (ours, theirs) = (Running::new(&broker.url, options.clone()), Running::new(&broker.url, options));
    let endpoint = Steered::new();
    let _serving =
        Serving::start(&ours.transport, ServerOptions::new(&topic, "host"), endpoint.clone()).await;
    let client = theirs.client();

    // Fifty calls are being worked on when the broker stops; their answers are ready while it is away.
    let before = (0..50).map(|n| call(&client, &topic, "wait", json!({"n": n}), LONG));
    let outage = async {
        endpoint.waiting(50).await;
        broker.ctl(&["stop_app"]).await;
        endpoint.open();
        // Fifty calls and a cast are made while it is away.
        let during = (50..100).map(|n| call(&client, &topic, "echo", json!({"n": n}), LONG));
        let target = Target { server: Some("host".into()), ..Target::topic(&topic, "6.0") };
        let context = RequestContext::admin();
        let cast = client.cast(&context, &target, "wait", map(json!({})), LONG);
        let (during, cast, ()) = tokio::join!(join_all(during), cast, broker.ctl(&["start_app"]));
        cast.unwrap();
        during
    };
    let (before, during) = tokio::join!(join_all(before), outage);
    for (n, answer) in before.into_iter().chain(during).enumerate() {
        assert_eq!(answer.unwrap()["n"], n);
    }
    assert!(endpoint.dispatched.load(Ordering::SeqCst) >= 100);
    endpoint.waiting(51).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cable_that_is_cut_again_and_again_costs_no_call() {
    let cable = Cable::lay(&shared_broker()).await;
    let topic = unique("topic");
    // Queues must outlive the consumer that is cut off.
    let options = RabbitOptions { amqp_auto_delete: false, ..options(&unique("exchange")) };
    let running = Running::new(&cable.url, options);
    let endpoint = Steered::new();
    let _serving =
        Serving::start(&running.transport, ServerOptions::new(&topic, "host"), endpoint.clone()).await;
    let client = running.client();
    for round in 0..3 {
        let calls = (0..100).map(|n| call(&client, &topic, "echo", json!({"n": n}), LONG));
        let cut = async {
            while endpoint.dispatched.load(Ordering::SeqCst) < round * 100 + 20 {
                tokio::task::yield_now().await;
            }
            cable.cut();
        };
        let (answers, ()) = tokio::join!(join_all(calls), cut);
        for (n, answer) in answers.into_iter().enumerate() {
            assert_eq!(answer.unwrap()["n"], n);
        }
    }
    // Nothing was done twice, although much was published or delivered twice.
    assert_eq!(endpoint.dispatched.load(Ordering::SeqCst), 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_not_acknowledged_before_it_is_admitted() {
    let topic = unique("topic");
    let options = RabbitOptions { amqp_auto_delete: false, ..options(&unique("exchange")) };
    let theirs = Running::new(&shared_broker(), options.clone());

    // The first process is killed while it admits the request.
    let first = Running::new(&shared_broker(), options.clone());
    let dying = Steered::new();
    dying.admit_gate.send_replace(false);
    let serving = Serving::start(&first.transport, ServerOptions::new(&topic, "host"), dying.clone()).await;
    let client = theirs.client();
    let answer = call(&client, &topic, "echo", json!({"n": 1}), LONG);
    let next_process = async {
        dying.in_admit.notified().await;
        serving.task.abort();
        let _ = serving.task.await;
        first.kill();
        let second = Running::new(&shared_broker(), options);
        let endpoint = Steered::new();
        let serving =
            Serving::start(&second.transport, ServerOptions::new(&topic, "host"), endpoint.clone()).await;
        (second, endpoint, serving)
    };
    let (answer, (_second, endpoint, _serving)) = tokio::join!(answer, next_process);
    assert_eq!(answer.unwrap()["n"], 1);
    assert_eq!((dying.admitted.load(Ordering::SeqCst), endpoint.admitted.load(Ordering::SeqCst)), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_lost_while_admitting_makes_nothing_happen_twice() {
    let cable = Cable::lay(&shared_broker()).await;
    let topic = unique("topic");
    let options = RabbitOptions { amqp_auto_delete: false, ..options(&unique("exchange")) };
    let ours = Running::new(&cable.url, options.clone());
    let theirs = Running::new(&shared_broker(), options);
    let endpoint = Steered::new();
    endpoint.admit_gate.send_replace(false);
    let _serving =
        Serving::start(&ours.transport, ServerOptions::new(&topic, "host"), endpoint.clone()).await;
    let client = theirs.client();
    let answer = call(&client, &topic, "echo", json!({"n": 1}), LONG);
    let loss = async {
        endpoint.in_admit.notified().await;
        cable.cut();
        while ours.transport.is_connected() {
            tokio::task::yield_now().await;
        }
        endpoint.admit_gate.send_replace(true);
    };
    let (answer, ()) = tokio::join!(answer, loss);
    assert_eq!(answer.unwrap()["n"], 1);
    // The broker delivers the request again; when a later one is answered, that copy has been dropped.
    call(&client, &topic, "echo", json!({"n": 2}), LONG).await.unwrap();
    assert_eq!(endpoint.admitted.load(Ordering::SeqCst), 2);
    assert_eq!(endpoint.dispatched.load(Ordering::SeqCst), 2);
    let raw = Raw::connect(&shared_broker()).await;
    assert_eq!(raw.depth(&format!("{topic}.host")).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_somebody_deletes_comes_back() {
    let topic = unique("topic");
    let running = Running::new(&shared_broker(), options(&unique("exchange")));
    let endpoint = Steered::new();
    let _serving = Serving::start(&running.transport, ServerOptions::new(&topic, "host"), endpoint).await;
    let raw = Raw::connect(&shared_broker()).await;
    raw.channel
        .queue_delete(format!("{topic}.host").as_str().into(), QueueDeleteOptions::default())
        .await
        .unwrap();
    assert_eq!(call(&running.client(), &topic, "echo", json!({"n": 1}), LONG).await.unwrap()["n"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transport_that_is_shut_down_ends_its_calls() {
    let running = Running::new(&shared_broker(), options(&unique("exchange")));
    let client = running.client();
    let topic = unique("nobody");
    let shut = async {
        while !running.transport.is_connected() {
            tokio::task::yield_now().await;
        }
        running.shutdown.cancel();
    };
    let (answer, ()) = tokio::join!(call(&client, &topic, "echo", json!({}), LONG), shut);
    assert!(matches!(answer, Err(CallError::Unreachable(_))), "{answer:?}");
    running.task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_said_without_the_password() {
    let url = shared_broker().replace("guest:guest", "guest:wr0ng");
    let running = Running::new(&url, options(&unique("exchange")));
    let answer = call(&running.client(), "topic", "echo", json!({}), Duration::from_secs(4)).await;
    let Err(CallError::Unreachable(why)) = answer else { panic!("{answer:?}") };
    assert!(why.contains("ACCESS") && !why.contains("wr0ng"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_broker_of_the_list_is_taken_when_one_does_not_answer() {
    let broker = shared_broker();
    let authority = broker.trim_start_matches("amqp://").trim_end_matches('/');
    let url = format!("rabbit://guest:guest@127.0.0.1:1,{authority}/");
    let running = Running::new(&url, options(&unique("exchange")));
    let topic = unique("topic");
    let _serving =
        Serving::start(&running.transport, ServerOptions::new(&topic, "host"), Steered::new()).await;
    call(&running.client(), &topic, "echo", json!({}), LONG).await.unwrap();
}
