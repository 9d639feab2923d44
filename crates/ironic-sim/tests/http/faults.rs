//! What goes wrong when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ironic_sim::{Action, Call, Fault, Kind, Matcher, Sim};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::Client;

fn claim() -> Value {
    json!([{"op": "replace", "path": "/instance_uuid", "value": Uuid::from_u128(7)}])
}

#[tokio::test]
async fn a_cut_connection_leaves_the_work_undone_or_done_as_asked() {
    let sim = Sim::builder().start().await;
    let node = sim.enroll(1)[0];
    let client = Client::of(&sim);
    let path = format!("/nodes/{node}");
    let claims = || Matcher::call(Call::PatchNode).node(node).detail("/instance_uuid");
    sim.fault(Fault::once(claims(), Kind::Drop));
    sim.fault(Fault::once(claims(), Kind::DropAfter));
    assert!(client.send("PATCH", &path, &claim()).await.is_err());
    assert_eq!(sim.node(node).instance_uuid, None);
    assert!(client.send("PATCH", &path, &claim()).await.is_err());
    assert_eq!(sim.node(node).instance_uuid, Some(Uuid::from_u128(7)));
    assert_eq!(client.ask("PATCH", &path, claim()).await.0, 200, "faults wear off");
    let statuses: Vec<_> = sim.requests().iter().map(|r| r.status).collect();
    assert_eq!(statuses, [None, Some(200), Some(200)]);
}

#[tokio::test]
async fn answers_are_replaced_for_the_requests_that_match() {
    let sim = Sim::builder().start().await;
    let nodes = sim.enroll(2);
    let client = Client::of(&sim);
    let down = Kind::Status(503, ironic_sim::error_body(503, "no free worker"));
    sim.fault(Fault {
        matcher: Matcher::any().method("GET").path("/validate").after(1),
        times: 2,
        kind: down,
    });
    sim.fault(Fault::once(Matcher::any().node(nodes[1]).when(|r| r.call == Call::AttachVif), Kind::Locked));
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(client.ask("GET", &format!("/nodes/{}/validate", nodes[0]), Value::Null).await.0);
    }
    assert_eq!(statuses, [200, 503, 503, 200]);
    let attach = |n: Uuid| (format!("/nodes/{n}/vifs"), json!({"id": "a"}));
    let (path, body) = attach(nodes[0]);
    assert_eq!(client.ask("POST", &path, body).await.0, 204);
    let (path, body) = attach(nodes[1]);
    let (status, text) = client.ask("POST", &path, body).await;
    assert_eq!(status, 409);
    assert!(text.as_str().unwrap().contains("is locked by host"), "{text}");
    assert_eq!(sim.shapes()["GET /v1/nodes/{}/validate"], 4);
}

#[tokio::test]
async fn a_locked_node_refuses_writes_and_answers_reads() {
    let sim = Sim::builder().start().await;
    let node = sim.enroll(1)[0];
    let client = Client::of(&sim);
    sim.lock(node);
    let path = format!("/nodes/{node}");
    assert_eq!(client.ask("PATCH", &path, claim()).await.0, 409);
    assert_eq!(client.ask("POST", &format!("{path}/vifs"), json!({"id": "a"})).await.0, 409);
    assert_eq!(client.get(&path).await["reservation"], "127.0.0.1");
    sim.unlock(node);
    assert_eq!(client.ask("PATCH", &path, claim()).await.0, 200);
}

#[tokio::test]
async fn a_hook_sees_each_request_twice_and_may_cut_it() {
    let sim = Sim::builder().start().await;
    let node = sim.enroll(1)[0];
    let client = Client::of(&sim);
    let visits = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&visits);
    sim.on_request(Box::new(move |request| {
        counter.fetch_add(1, Ordering::SeqCst);
        if request.number == 2 && !request.is_before() { Action::Drop } else { Action::Go }
    }));
    let path = format!("/nodes/{node}");
    client.get(&path).await;
    assert!(client.send("PATCH", &path, &claim()).await.is_err());
    assert!(sim.node(node).instance_uuid.is_some(), "the work was done, the answer lost");
    client.get(&path).await;
    assert_eq!(visits.load(Ordering::SeqCst), 6);
}

#[tokio::test]
async fn a_hung_request_is_never_answered() {
    let sim = Sim::builder().start().await;
    let client = Client::of(&sim);
    let came = Arc::new(tokio::sync::Notify::new());
    let arrival = Arc::clone(&came);
    sim.on_request(Box::new(move |_| {
        arrival.notify_one();
        Action::Hang
    }));
    tokio::select! {
        answer = client.send("GET", "/nodes", &Value::Null) => panic!("{answer:?}"),
        () = came.notified() => {}
    }
    assert_eq!(sim.requests()[0].status, None);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_request_is_done_later() {
    let sim = Sim::builder().start().await;
    let client = Client::of(&sim);
    sim.fault(Fault::once(Matcher::call(Call::ListNodes), Kind::Delay(Duration::from_secs(30))));
    let begin = tokio::time::Instant::now();
    client.get("/nodes").await;
    assert_eq!(begin.elapsed().as_secs(), 30);
}
