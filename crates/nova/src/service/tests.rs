//! The service record against a scripted conductor.

use oslo::rpc::CallError;
use serde_json::{Value, json};

use super::*;
use crate::conductor::testing::{Script, raised};

fn options() -> Options {
    Options {
        host: "lab-ironic".into(),
        report_interval: Some(Duration::from_secs(10)),
        tolerate_old_computes: false,
    }
}

fn known(version: i64) -> Value {
    json!({"nova_object.name": "Service", "nova_object.namespace": "nova", "nova_object.version": "1.22",
        "nova_object.data": {"id": 4, "report_count": 100, "disabled": true, "version": version}})
}

async fn start(script: &Script) -> Result<Service, Error> {
    Service::start(script.conductor(), options(), &CancellationToken::new()).await
}

#[test]
fn the_version_is_one_that_the_control_plane_knows() {
    assert_eq!(version(67, 0), 67);
    assert_eq!(version(74, 66), 74);
    assert_eq!(version(80, 74), 74);
    assert_eq!(version(72, 74), 74);
    assert_eq!(version(0, 0), OURS);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_was_never_heard_of_is_entered_as_stock_does() {
    let script = Script::default()
        .then(Err(CallError::Timeout))
        .then(Ok(json!({})))
        .then(Ok(json!(0)))
        .then(Ok(json!(72)))
        .then(Ok(Value::Null))
        .then(Ok(json!([{"id": 5, "disabled": false, "obj_what_changed": []}, null])));
    let service = start(&script).await.unwrap();
    assert_eq!((service.id(), service.version()), (5, 72));
    assert!(service.is_new() && !service.is_disabled());
    let made = &script.sent()[5];
    assert_eq!(made.what, "Service.create");
    assert_eq!(
        made.args["objinst"]["nova_object.data"],
        json!({"host": "lab-ironic", "binary": "nova-compute", "topic": "compute", "report_count": 0, "version": 72})
    );
}

#[tokio::test(start_paused = true)]
async fn a_record_with_another_version_is_brought_up_to_date_by_a_save_of_the_version() {
    let script = Script::default()
        .then(Ok(json!({})))
        .then(Ok(json!(67)))
        .then(Ok(json!(67)))
        .then(Ok(known(74)))
        .then(Ok(json!([{}, null])));
    let service = start(&script).await.unwrap();
    assert!(service.is_disabled() && !service.is_new());
    assert_eq!(script.sent()[4].args["objinst"]["nova_object.changes"], json!(["version"]));
}

#[tokio::test(start_paused = true)]
async fn we_do_not_start_beside_a_compute_that_is_too_old() {
    let script = Script::default().then(Ok(json!({}))).then(Ok(json!(65)));
    assert!(matches!(start(&script).await, Err(Error::ComputeTooOld { found: 65 })));
}

#[tokio::test(start_paused = true)]
async fn a_record_that_somebody_made_meanwhile_is_taken() {
    let script = Script::default()
        .then(Ok(json!({})))
        .then(Ok(json!(74)))
        .then(Ok(json!(74)))
        .then(Ok(Value::Null))
        .then(raised("ServiceTopicExists"))
        .then(Ok(known(74)));
    assert_eq!(start(&script).await.unwrap().id(), 4);
}

#[tokio::test(start_paused = true)]
async fn the_first_report_is_made_at_once_and_a_failed_one_does_not_end_them() {
    let script = Script::default()
        .then(Ok(json!({})))
        .then(Ok(json!(74)))
        .then(Ok(json!(74)))
        .then(Ok(known(74)))
        .then(Ok(json!([{}, null])))
        .then(Err(CallError::Timeout))
        .then(Ok(json!([{}, null])));
    let service = start(&script).await.unwrap();
    let shutdown = CancellationToken::new();
    let reports = tokio::spawn(service.run(shutdown.clone()));
    tokio::time::advance(Duration::from_millis(1)).await;
    while script.sent().len() < 7 {
        tokio::time::advance(Duration::from_secs(1)).await;
        tokio::task::yield_now().await;
    }
    shutdown.cancel();
    reports.await.unwrap();
    let counts: Vec<i64> = script.sent()[4..7]
        .iter()
        .map(|sent| sent.args["objinst"]["nova_object.data"]["report_count"].as_i64().unwrap())
        .collect();
    assert_eq!(counts, [101, 102, 103]);
    let first = &script.sent()[4].args["objinst"];
    assert_eq!(first["nova_object.changes"], json!(["report_count"]));
    assert_eq!(first["nova_object.data"]["version"], 74);
}
/// A script whose service starts with the record `known(version)`, beside conductors of the same version.
fn started(version: i64) -> Script {
    Script::default()
        .then(Ok(json!({})))
        .then(Ok(json!(version)))
        .then(Ok(json!(version)))
        .then(Ok(known(version)))
}

#[tokio::test(start_paused = true)]
async fn the_version_rises_with_the_control_planes_while_we_run() {
    let mut script = started(72);
    for _ in 0..=30 {
        script = script.then(Ok(json!([{}, null])));
    }
    let script = script.then(Ok(json!(74))).then(Ok(json!([{}, null])));
    let service = start(&script).await.unwrap();
    let shutdown = CancellationToken::new();
    let reports = tokio::spawn(service.run(shutdown.clone()));
    while script.sent().len() < 37 {
        tokio::time::advance(Duration::from_secs(1)).await;
        tokio::task::yield_now().await;
    }
    shutdown.cancel();
    reports.await.unwrap();
    let sent = script.sent();
    assert_eq!(sent[35].what, "Service.get_minimum_version_multi");
    let told = &sent[36].args["objinst"];
    assert_eq!(told["nova_object.data"]["version"], 74);
    let mut changes: Vec<_> = told["nova_object.changes"].as_array().unwrap().clone();
    changes.sort_by_key(Value::to_string);
    assert_eq!(changes, ["report_count", "version"]);
}

#[tokio::test(start_paused = true)]
async fn an_interval_of_0_means_no_reports_and_no_end() {
    for interval in [None, Some(Duration::ZERO)] {
        let options = Options { report_interval: interval, ..options() };
        let script = started(74);
        let service = Service::start(script.conductor(), options, &CancellationToken::new()).await.unwrap();
        let shutdown = CancellationToken::new();
        let reports = tokio::spawn(service.run(shutdown.clone()));
        tokio::time::advance(Duration::from_mins(10)).await;
        assert!(!reports.is_finished());
        shutdown.cancel();
        reports.await.unwrap();
        assert_eq!(script.sent().len(), 4);
    }
}
