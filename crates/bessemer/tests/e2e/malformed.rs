//! Messages that are not what they should be.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::cloud::{Cloud, HOST};
use crate::until::until_so;

/// Bodies that are no message, and messages that are no request.
fn garbage() -> Vec<Vec<u8>> {
    let huge = "A".repeat(4 << 20);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let inner = |text: &str| json!({"oslo.version": "2.0", "oslo.message": text}).to_string();
    let mut bodies: Vec<Vec<u8>> = [
        "",
        "x",
        "{",
        "[]",
        "null",
        "7",
        "\"text\"",
        "{}",
        "[[[]]]",
        "{\"oslo.version\": \"2.0\"}",
        "{\"oslo.message\": \"{}\"}",
        "{\"oslo.version\": 2, \"oslo.message\": {}}",
        "{\"oslo.version\": \"9.0\", \"oslo.message\": \"{}\"}",
        &deep,
        &huge,
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    bodies.extend(
        ["", "null", "[]", "{", "7", "{\"method\": 7}", "{\"args\": {}}", &deep]
            .map(|text| inner(text).into_bytes()),
    );
    bodies.push(vec![0xff; 64]);
    bodies.push(b"\x1f\x8b\x08\x00broken".to_vec());
    bodies
}

/// Values that are not what they should be, whatever that is.
fn odd() -> [Value; 12] {
    [
        json!(null),
        json!(true),
        json!(-1),
        json!(1e300),
        json!(""),
        json!("\u{0}\u{202e}"),
        json!([]),
        json!([[]]),
        json!({}),
        json!({"nova_object.name": 7}),
        json!({"nova_object.name": "Instance", "nova_object.namespace": "nova", "nova_object.version": "9.9.9",
                "nova_object.data": [], "nova_object.changes": {}}),
        json!({"nova_object.name": "Instance", "nova_object.namespace": "cinder", "nova_object.version": "2.8",
                "nova_object.data": {}}),
    ]
}

/// Requests that no method takes as they are.
fn requests(whole: &Value) -> Vec<Value> {
    [around(whole), inside(whole), for_others(whole)].concat()
}

/// Wrong around the arguments.
fn around(whole: &Value) -> Vec<Value> {
    let mut requests = Vec::new();
    for (field, values) in [
        (
            "method",
            vec![
                json!("no_such_method"),
                json!("_private"),
                json!("__init__"),
                json!(""),
                json!("x".repeat(1 << 20)),
            ],
        ),
        (
            "version",
            vec![
                json!("7.0"),
                json!("6.99"),
                json!("-1.-1"),
                json!("six"),
                json!(6),
                json!("999999999999999999999.0"),
            ],
        ),
        ("namespace", vec![json!("baseapi"), json!("no such"), json!(7)]),
        ("args", odd().to_vec()),
        ("_unique_id", odd().to_vec()),
        ("_msg_id", odd().to_vec()),
        ("_reply_q", odd().to_vec()),
        ("_timeout", odd().to_vec()),
        ("_context_roles", odd().to_vec()),
        ("_context_request_id", odd().to_vec()),
        ("_context_service_catalog", odd().to_vec()),
    ] {
        for value in values {
            let mut request = fresh(whole);
            request[field] = value;
            requests.push(request);
        }
    }
    requests
}

/// Wrong in one argument, or in one field of the instance.
fn inside(whole: &Value) -> Vec<Value> {
    let mut requests = Vec::new();
    let arguments: Vec<String> = whole["args"].as_object().unwrap().keys().cloned().collect();
    for argument in &arguments {
        for value in odd() {
            let mut request = fresh(whole);
            request["args"][argument] = value;
            requests.push(request);
        }
        let mut request = fresh(whole);
        request["args"].as_object_mut().unwrap().remove(argument);
        requests.push(request);
    }
    let fields: Vec<String> =
        whole["args"]["instance"]["nova_object.data"].as_object().unwrap().keys().cloned().collect();
    for (at, field) in fields.iter().enumerate() {
        let values = odd();
        for value in [&values[at % values.len()], &values[(at + 5) % values.len()]] {
            let mut request = fresh(whole);
            request["args"]["instance"]["nova_object.data"][field] = value.clone();
            requests.push(request);
        }
    }
    requests
}

/// Wrong arguments for methods that take others.
fn for_others(whole: &Value) -> Vec<Value> {
    let mut requests = Vec::new();
    for method in [
        "terminate_instance",
        "external_instance_event",
        "set_host_enabled",
        "inject_network_info",
        "cache_images",
        "validate_console_port",
        "stop_instance",
        "reserve_block_device_name",
        "prep_resize",
        "get_console_output",
        "get_serial_console",
        "get_vnc_console",
        "attach_volume",
        "ping",
    ] {
        for value in odd() {
            let mut request = fresh(whole);
            request["method"] = json!(method);
            request["args"] = json!({"instance": value, "instances": value, "events": value, "bdms": value,
                "enabled": value, "image_ids": value, "migration": value, "bdm": value});
            requests.push(request);
        }
    }
    requests
}

/// The same request under an id of its own.
fn fresh(whole: &Value) -> Value {
    let mut request = whole.clone();
    request["_unique_id"] = json!(Uuid::new_v4().simple().to_string());
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_messages_are_dropped_or_refused_and_the_service_serves_on() {
    let cloud = Cloud::new(1, "").await;
    let mut process = cloud.start().await;
    let captured: Value =
        serde_json::from_str(include_str!("../../../nova/tests/data/build_and_run_instance.json")).unwrap();
    let keys = [format!("compute.{HOST}"), format!("compute-alt.{HOST}")];
    for key in &keys {
        for body in garbage() {
            cloud.bus.publish(key, &body).await;
        }
    }
    for (at, request) in requests(&captured).iter().enumerate() {
        cloud.bus.send(&keys[at % 2], request).await;
    }
    // A build that can be read as far as its instance is given up where the user sees it.
    let (id, context) = cloud.pretend_server(Some("scheduling"), 0);
    cloud.services.lock().placement.claim(&id, &cloud.nodes[0].to_string());
    let mut request = fresh(&captured);
    request["_context_request_id"] = json!(context.request_id);
    request["args"]["instance"]["nova_object.data"]["uuid"] = json!(id);
    request["args"]["node"] = json!(["no", "node"]);
    cloud.bus.send(&keys[0], &request).await;
    cloud.in_error(&id).await;
    assert!(cloud.tables().faults_of(&id)[0].contains("node"));
    until_so("the claim goes", || !cloud.services.lock().placement.allocations.contains_key(&id)).await;

    assert_eq!(cloud.ping().await.unwrap(), json!({"service": "compute", "arg": "1.21 GigaWatts"}));
    // What looked like builds is given up, too: there is no such instance.
    until_so("the journal is empty", || cloud.journal().is_empty()).await;
    assert!(process.is_alive());
    let said = std::fs::read_to_string(cloud.folder().join("stderr")).unwrap();
    assert!(!said.contains("panicked") && !cloud.log().contains("panicked"), "{said}");
    assert_eq!(cloud.sim.node(cloud.nodes[0]).deploys, 0);
    process.stop().await;
}
