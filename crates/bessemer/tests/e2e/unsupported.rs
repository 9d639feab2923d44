//! What Ironic cannot do, and what this release does not do yet: refused at once, and written down where users look.

use std::time::Duration;

use oslo::context::RequestContext;
use oslo::rpc::{CallError, Failure};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::cloud::conductor::primitive;
use crate::cloud::{Cloud, compute};
use crate::until::{LONG, until_so};

/// Power states of Nova.
const RUNNING: i64 = 1;
const SHUTDOWN: i64 = 4;

async fn call(cloud: &Cloud, context: &RequestContext, id: &str, method: &str, more: Value) -> Failure {
    let mut args = crate::cloud::bus::map(more);
    args.insert("instance".to_owned(), primitive("Instance", cloud.tables().instance(id)));
    match cloud.bus.client().call(context, &compute(), method, args, LONG).await {
        Err(CallError::Remote(failure)) => failure,
        other => panic!("{method}: {other:?}"),
    }
}

/// Casts and waits for the end: no task, and the event over where there is one.
async fn cast(cloud: &Cloud, context: &RequestContext, id: &str, method: &str, more: Value) {
    let mut args = crate::cloud::bus::map(more);
    args.insert("instance".to_owned(), primitive("Instance", cloud.tables().instance(id)));
    cloud.bus.client().cast(context, &compute(), method, args, LONG).await.unwrap();
    until_so(method, || {
        let tables = cloud.tables();
        tables.state(id) == ("active".to_owned(), None) && !tables.outcomes(id).is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_refused_as_nova_expects_it() {
    let cloud = Cloud::new(1, "").await;
    let process = cloud.start().await;
    let error = || Some("Error".to_owned());

    // A cast: the fault, the event's error, the end of the task; the state stays.
    for (method, task) in [("pause_instance", "pausing"), ("suspend_instance", "suspending")] {
        let (id, context) = cloud.pretend_server(Some(task), RUNNING);
        cast(&cloud, &context, &id, method, json!({})).await;
        let tables = cloud.tables();
        assert_eq!(tables.outcomes(&id), [(format!("compute_{method}"), error())]);
        assert_eq!(tables.faults_of(&id), ["NotImplementedError"]);
        assert_eq!(tables.faults.last().unwrap()["code"], 500);
        assert_eq!(tables.events.last().unwrap().details.as_deref(), Some("NotImplementedError"));
    }

    // What this release does not do yet says so.
    let (id, context) = cloud.pretend_server(Some("shelving_offloading"), RUNNING);
    cast(&cloud, &context, &id, "shelve_offload_instance", json!({"clean_shutdown": true})).await;
    {
        let tables = cloud.tables();
        assert_eq!(tables.outcomes(&id), [("compute_shelve_offload_instance".to_owned(), error())]);
        assert!(tables.faults_of(&id)[0].len() > "NotImplementedError".len(), "{:?}", tables.faults_of(&id));
    }

    // The image of a snapshot goes.
    let (id, context) = cloud.pretend_server(Some("image_snapshot_pending"), RUNNING);
    let image = Uuid::new_v4().to_string();
    cloud.services.lock().images.insert(image.clone(), json!({}));
    cast(&cloud, &context, &id, "snapshot_instance", json!({"image_id": image})).await;
    assert!(cloud.services.lock().images.is_empty());

    // Calls: the failure becomes the HTTP status.
    let (id, context) = cloud.pretend_server(None, RUNNING);
    let failure = call(&cloud, &context, &id, "get_console_output", json!({"tail_length": null})).await;
    assert_eq!((&*failure.class, &*failure.module), ("NotImplementedError", "builtins"));
    assert_eq!(cloud.tables().faults_of(&id), ["NotImplementedError"]);
    assert!(cloud.tables().outcomes(&id).is_empty(), "no action, no event");
    let failure = call(&cloud, &context, &id, "get_diagnostics", json!({})).await;
    assert_eq!(failure.class, "NotImplementedError");
    let failure = call(&cloud, &context, &id, "get_serial_console", json!({"console_type": "serial"})).await;
    assert_eq!((&*failure.class, &*failure.module), ("ConsoleTypeUnavailable", "nova.exception"));
    assert_eq!(failure.kwargs["code"], 400);
    let checks =
        json!({"block_migration": false, "disk_over_commit": false, "migration": null, "limits": null});
    let failure = call(&cloud, &context, &id, "check_can_live_migrate_destination", checks).await;
    assert_eq!(failure.class, "MigrationPreCheckError");

    let (id, context) = cloud.pretend_server(Some("updating_password"), RUNNING);
    let failure = call(&cloud, &context, &id, "set_admin_password", json!({"new_pass": "x"})).await;
    assert_eq!(failure.class, "NotImplementedError");
    assert_eq!(cloud.tables().state(&id), ("active".to_owned(), None));
    let (id, context) = cloud.pretend_server(Some("updating_password"), SHUTDOWN);
    let failure = call(&cloud, &context, &id, "set_admin_password", json!({"new_pass": "x"})).await;
    assert_eq!(failure.class, "InstancePasswordSetFailed");
    assert_eq!(cloud.tables().outcomes(&id), [("compute_set_admin_password".to_owned(), error())]);
    let failure = call(&cloud, &context, &id, "get_diagnostics", json!({})).await;
    assert_eq!(failure.class, "InstanceInvalidState");

    // About the host, without an instance.
    let nobody = RequestContext::admin();
    let patience = Duration::from_secs(10);
    let uptime = cloud.bus.call(&nobody, &compute(), "get_host_uptime", json!({}), patience).await;
    assert!(uptime.is_err_and(|error| error.is("NotImplementedError")));
    let cached =
        cloud.bus.call(&nobody, &compute(), "cache_images", json!({"image_ids": ["a"]}), patience).await;
    assert_eq!(cached.unwrap(), json!({"a": "unsupported"}));
    let unknown = cloud.bus.call(&nobody, &compute(), "format_disk", json!({}), patience).await;
    assert!(unknown.is_err_and(|error| error.is("NoSuchMethod")));

    cloud.assert_understood();
    process.stop().await;
}
