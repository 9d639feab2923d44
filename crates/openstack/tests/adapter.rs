//! Endpoints, versions, retries, redirects and errors, as they are on the wire.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Cloud, Reply, ironic_root, quick};
use openstack::{
    Adapter, AdapterOptions, Auth, Caller, Error, Interface, Request, RetryOptions, Service, Session,
    SessionOptions, cinder, glance, ironic, neutron, placement,
};
use serde_json::json;
use uuid::Uuid;

fn nodes() -> Reply {
    Reply::json(200, &json!({"nodes": []}))
}

#[tokio::test]
async fn the_version_is_agreed_once_and_sent_in_both_headers() {
    let cloud =
        Cloud::start(|seen, _| if seen.path == "/baremetal" { ironic_root("1.95") } else { nodes() }).await;
    let client = ironic::Client::new(cloud.adapter(Service::Baremetal));
    for _ in 0..3 {
        client.nodes(&Caller::default(), &ironic::NodeQuery::default()).await.unwrap();
    }
    let seen = cloud.seen();
    assert_eq!(cloud.lines()[..2], ["GET /baremetal", "GET /baremetal/v1/nodes?limit=1000"]);
    assert_eq!(seen.len(), 4);
    assert_eq!(seen[0].header("x-auth-token"), None);
    assert_eq!(seen[1].header("openstack-api-version"), Some("baremetal 1.95"));
    assert_eq!(seen[1].header("x-openstack-ironic-api-version"), Some("1.95"));
    assert_eq!(seen[1].header("x-auth-token"), Some("secret-token-1"));
}

#[tokio::test]
async fn an_endpoint_with_the_version_in_it_works_as_well() {
    let cloud =
        Cloud::start(|seen, _| if seen.path == "/v1/" { ironic_root("1.115") } else { nodes() }).await;
    let options = AdapterOptions { endpoint_override: Some(format!("{}/v1", cloud.base())), ..quick() };
    let client = ironic::Client::new(Adapter::new(cloud.session(), Service::Baremetal, options));
    client.nodes(&Caller::default(), &ironic::NodeQuery::default()).await.unwrap();
    assert_eq!(cloud.lines(), ["GET /v1/", "GET /v1/nodes?limit=1000"]);
    assert_eq!(cloud.seen()[1].header("openstack-api-version"), Some("baremetal 1.109"));
}

#[tokio::test]
async fn a_call_that_the_service_is_too_old_for_is_not_sent() {
    let cloud = Cloud::start(|_, _| ironic_root("1.80")).await;
    let client = ironic::Client::new(cloud.adapter(Service::Baremetal));
    let query = ironic::NodeQuery { shard: Some("s".into()), ..ironic::NodeQuery::default() };
    let error = client.nodes(&Caller::default(), &query).await.unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    assert_eq!(cloud.lines(), ["GET /baremetal"]);
}

#[tokio::test]
async fn a_service_that_was_downgraded_is_asked_for_its_version_again() {
    let cloud = Cloud::start(|seen, number| match number {
        0 => ironic_root("1.109"),
        2 => ironic_root("1.95"),
        _ if seen.header("openstack-api-version") == Some("baremetal 1.95") => nodes(),
        _ => {
            Reply::json(406, &json!({"error_message": "Version 1.109 was requested but the maximum is 1.95"}))
        }
    })
    .await;
    let client = ironic::Client::new(cloud.adapter(Service::Baremetal));
    client.nodes(&Caller::default(), &ironic::NodeQuery::default()).await.unwrap();
    assert_eq!(cloud.seen().len(), 4);
}

#[tokio::test]
async fn the_interface_region_and_name_choose_the_endpoint() {
    let cloud = Cloud::start(|_, _| Reply::json(200, &json!({"id": "x"}))).await;
    let image = |options| glance::Client::new(Adapter::new(cloud.session(), Service::Image, options));
    // There is no internal interface in the catalog: public is next.
    image(quick()).image(&Caller::default(), "x").await.unwrap();
    for wrong in [
        AdapterOptions { interfaces: vec![Interface::Internal], ..quick() },
        AdapterOptions { region_name: Some("two".into()), ..quick() },
        AdapterOptions { service_name: Some("other".into()), ..quick() },
        AdapterOptions { service_type: Some("images".into()), ..quick() },
    ] {
        let error = image(wrong).image(&Caller::default(), "x").await.unwrap_err();
        assert!(matches!(error, Error::Endpoint { .. }), "{error}");
    }
    assert_eq!(cloud.lines(), ["GET /image/v2/images/x"]);
}

#[tokio::test]
async fn a_read_is_repeated_and_a_write_is_not() {
    let cloud = Cloud::start(|_, number| match number {
        1 => Reply::empty(504),
        2 => Reply::json(200, &json!({"allocations": {}})),
        _ => Reply::empty(503),
    })
    .await;
    let client = placement::Client::new(cloud.adapter(Service::Placement));
    client.allocations(&Caller::default(), Uuid::nil()).await.unwrap();
    assert_eq!(cloud.seen().len(), 3);
    let body = placement::Allocations::default();
    let error = client.put_allocations(&Caller::default(), Uuid::nil(), &body).await.unwrap_err();
    assert!(error.is_transient() && error.status() == Some(503));
    assert_eq!(cloud.seen().len(), 4);
}

#[tokio::test]
async fn a_service_that_stays_away_is_a_transient_error_without_its_address_path() {
    // A port that was free a moment ago and that nobody listens on.
    let port = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let options = AdapterOptions {
        endpoint_override: Some(format!("http://user:hunter2@127.0.0.1:{port}/x")),
        ..quick()
    };
    let session = Session::new(SessionOptions::new(Auth::None { endpoint: None })).unwrap();
    let client = placement::Client::new(Adapter::new(session, Service::Placement, options));
    let error = client.allocations(&Caller::default(), Uuid::nil()).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error:?}");
    assert!(error.is_transient());
    let text = format!("{error}{error:?}{client:?}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_given_up_at_the_deadline() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let mut options = SessionOptions::new(Auth::None { endpoint: Some(endpoint) });
    options.timeout = Some(Duration::from_millis(50));
    let adapter = Adapter::new(Session::new(options).unwrap(), Service::Placement, quick());
    let client = placement::Client::new(adapter.clone());
    let error = client.allocations(&Caller::default(), Uuid::nil()).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
    // A call that takes its time by nature has a later one.
    let slow = Request::get(&["slow"]).deadline(Duration::from_millis(100));
    let error = adapter.empty(&Caller::default(), slow).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { after, .. } if after.as_millis() == 100), "{error:?}");
}

#[tokio::test]
async fn a_connection_that_breaks_is_repeated_for_a_read_only() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let connections = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            // Take the request, then hang up without an answer.
            let mut buffer = [0; 4096];
            let _ = tokio::io::AsyncReadExt::read(&mut socket, &mut buffer).await;
        }
    });
    let session = Session::new(SessionOptions::new(Auth::None { endpoint: Some(endpoint) })).unwrap();
    let client = placement::Client::new(Adapter::new(session, Service::Placement, quick()));
    let read = client.allocations(&Caller::default(), Uuid::nil()).await.unwrap_err();
    assert!(matches!(read, Error::Lost { .. }), "{read:?}");
    assert_eq!(connections.swap(0, std::sync::atomic::Ordering::SeqCst), 4);
    let body = placement::Allocations::default();
    client.put_allocations(&Caller::default(), Uuid::nil(), &body).await.unwrap_err();
    assert_eq!(connections.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn configured_status_retries_hold_for_writes_too() {
    let cloud =
        Cloud::start(|_, number| if number < 2 { Reply::empty(409) } else { Reply::empty(204) }).await;
    let retry = RetryOptions {
        status_code_retries: Some(5),
        status_code_retry_delay: Some(Duration::from_millis(1)),
        retriable_status_codes: vec![409],
        ..RetryOptions::default()
    };
    let adapter = Adapter::new(cloud.session(), Service::Network, AdapterOptions { retry, ..quick() });
    adapter.empty(&Caller::default(), Request::post(&["ports"])).await.unwrap();
    assert_eq!(cloud.seen().len(), 3);
}

#[tokio::test]
async fn a_redirect_keeps_method_and_body_and_stays_on_the_host() {
    let cloud = Cloud::start(|seen, number| match number {
        0 => Reply::empty(301).with("location", format!("{}/", seen.path)),
        1 => Reply::empty(204),
        _ => Reply::empty(307).with("location", "http://192.0.2.1/stolen"),
    })
    .await;
    let adapter = cloud.adapter(Service::Network);
    let request = Request::put(&["ports", "p"]).json(&json!({"a": 1})).unwrap();
    adapter.empty(&Caller::default(), request.clone()).await.unwrap();
    let seen = cloud.seen();
    assert_eq!(
        (seen[1].line(), seen[1].json()),
        ("PUT /networking/v2.0/ports/p/".to_owned(), json!({"a": 1}))
    );
    let error = adapter.empty(&Caller::default(), request).await.unwrap_err();
    assert_eq!(error.status(), Some(307));
}

#[tokio::test]
async fn cinder_is_called_in_the_callers_project() {
    let cloud = Cloud::start(|_, _| Reply::json(200, &json!({"attachments": []}))).await;
    let client = cinder::Client::new(cloud.adapter(Service::BlockStorage));
    let user = Caller {
        user_token: Some("user".into()),
        project_id: Some("user-project".into()),
        ..Caller::default()
    };
    client.instance_attachments(&Caller::default(), Uuid::nil()).await.unwrap();
    client.instance_attachments(&user, Uuid::nil()).await.unwrap();
    let template = format!("{}/template/v3/%(project_id)s", cloud.base());
    let session = Session::new(SessionOptions::new(Auth::None { endpoint: None })).unwrap();
    let options = AdapterOptions { endpoint_override: Some(template), ..quick() };
    let by_template = cinder::Client::new(Adapter::new(session.clone(), Service::BlockStorage, options));
    by_template.instance_attachments(&user, Uuid::nil()).await.unwrap();
    let without_auth = cinder::Client::new(Adapter::new(session, Service::BlockStorage, quick()));
    let with_catalog = user.with_catalog(&json!([{"type": "volumev3", "name": "cinderv3", "endpoints": [
        {"region": "one", "publicURL": format!("{}/user-catalog/v3/user-project", cloud.base())}]}]));
    without_auth.instance_attachments(&with_catalog, Uuid::nil()).await.unwrap();
    let query = format!("attachments?instance_id={}", Uuid::nil());
    assert_eq!(
        cloud.lines(),
        [
            format!("GET /volume/v3/own-project/{query}"),
            format!("GET /volume/v3/user-project/{query}"),
            format!("GET /template/v3/user-project/{query}"),
            format!("GET /user-catalog/v3/user-project/{query}"),
        ]
    );
    assert_eq!(cloud.seen()[0].header("openstack-api-version"), Some("volume 3.44"));
}

#[tokio::test]
async fn errors_carry_what_the_service_said() {
    let cloud = Cloud::start(|seen, _| {
        if seen.path.contains("placement") {
            Reply::json(
                409,
                &json!({"errors": [{"status": 409, "title": "Conflict", "detail": "generation conflict",
                    "code": "placement.concurrent_update"}]}),
            )
            .with("x-openstack-request-id", "req-theirs")
        } else {
            Reply::json(
                409,
                &json!({"NeutronError": {"type": "OverQuota", "message": "Quota exceeded", "detail": ""}}),
            )
        }
    })
    .await;
    let placement = placement::Client::new(cloud.adapter(Service::Placement));
    let wanted = placement::Inventories { generation: 1, inventories: [].into() };
    let error = placement.put_inventories(&Caller::default(), Uuid::nil(), &wanted).await.unwrap_err();
    assert!(placement::is_concurrent_update(&error) && !placement::is_inventory_in_use(&error));
    assert!(error.to_string().ends_with("generation conflict [req-theirs]"), "{error}");
    let neutron = neutron::Client::new(cloud.adapter(Service::Network));
    let error = neutron.create_port(&Caller::default(), &neutron::NewPort::default()).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Some("OverQuota"), "Quota exceeded"));
}

#[tokio::test]
async fn an_answer_that_is_not_json_is_not_understood() {
    let cloud = Cloud::start(|_, _| Reply { status: 200, headers: vec![], body: "<html>".into() }).await;
    let client = placement::Client::new(cloud.adapter(Service::Placement));
    let error = client.allocations(&Caller::default(), Uuid::nil()).await.unwrap_err();
    assert!(matches!(error, Error::Decode { .. }) && !error.is_transient(), "{error}");
}
