//! Messages that a stock Nova 34.0.0 sent, byte for byte but for the tokens: read, and written back the same.

#![allow(clippy::unwrap_used)] // all of this is test

use std::path::Path;

use oslo::context::RequestContext;
use oslo::object::Object;
use oslo::rpc::Request;
use serde_json::{Map, Value};

/// A captured message: its body as it was, and the message in it.
struct Captured {
    body: String,
    message: Map<String, Value>,
}

fn captured(file: &str, part: &str) -> Captured {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(file);
    let document: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let body = document.pointer(part).unwrap()["body"].as_str().unwrap().to_owned();
    let envelope: Value = serde_json::from_str(&body).unwrap();
    let message = serde_json::from_str(envelope["oslo.message"].as_str().unwrap()).unwrap();
    Captured { body, message }
}

const REQUESTS: [&str; 4] = [
    "conductor-ping.json",
    "scheduler_fanout-sync_instance_info.json",
    "conductor-object_action-Service.save.01.json",
    "compute-external_instance_event.01.json",
];

#[test]
fn the_context_of_every_request_is_written_as_it_came() {
    for file in REQUESTS {
        let captured = captured(file, "/request");
        let mut written = Map::new();
        RequestContext::from_message(&captured.message).write_message(&mut written);
        let came: Map<_, _> =
            captured.message.into_iter().filter(|(key, _)| key.starts_with("_context_")).collect();
        assert_eq!(Value::Object(written), Value::Object(came), "{file}");
    }
}

#[test]
fn every_request_is_read() {
    for file in REQUESTS {
        let captured = captured(file, "/request");
        let request = Request::decode(captured.body.as_bytes()).unwrap();
        assert_eq!(request.method, captured.message["method"], "{file}");
        assert_eq!(Some(&Value::from(request.version.clone())), captured.message.get("version"), "{file}");
        assert_eq!(request.unique_id, captured.message["_unique_id"], "{file}");
        assert_eq!(request.wants_reply, captured.message.contains_key("_msg_id"), "{file}");
        assert_eq!(Value::Object(request.args), captured.message["args"], "{file}");
    }
}

#[test]
fn a_saved_service_takes_over_what_the_conductor_says() {
    let file = "conductor-object_action-Service.save.01.json";
    let request = captured(file, "/request");
    let primitive = &request.message["args"]["objinst"];
    let mut service = Object::from_value(primitive.clone()).unwrap();
    assert_eq!(service.clone().into_value(), *primitive);
    assert_eq!((service.name(), service.version()), ("Service", "1.22"));
    assert!(!service.changes().is_empty());

    let reply = captured(file, "/replies/0");
    let updates = reply.message["result"][0].as_object().unwrap();
    service.apply(updates);
    assert!(service.changes().is_empty());
    assert_eq!(service.get("last_seen_up"), updates.get("last_seen_up"));
}

#[test]
fn an_object_call_is_counted_by_class_and_method() {
    let request = captured("conductor-object_action-Service.save.01.json", "/request");
    assert_eq!(Request::decode(request.body.as_bytes()).unwrap().label(), "Service.save");
}
