//! Tokens: fetched once, shared, renewed in time, renewed once after a refusal, and never shown.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    fmt::Write,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use common::{Cloud, PASSWORD, Reply, quick};
use openstack::{Adapter, Auth, Caller, Error, Service, Session, SessionOptions, glance, ironic, placement};
use secrecy::ExposeSecret;
use serde_json::json;
use tokio::task::JoinSet;
use tracing::{
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
};
use uuid::Uuid;

fn empty_allocations() -> Reply {
    Reply::json(200, &json!({"allocations": {}}))
}

#[tokio::test]
async fn concurrent_first_calls_authenticate_once() {
    let cloud = Cloud::start(|_, _| empty_allocations()).await;
    let client = placement::Client::new(cloud.adapter(Service::Placement));
    let mut calls = JoinSet::new();
    for _ in 0..50 {
        let client = client.clone();
        calls.spawn(async move { client.allocations(&Caller::default(), Uuid::nil()).await.unwrap() });
    }
    calls.join_all().await;
    assert_eq!(cloud.tokens(), 1);
    assert_eq!(cloud.seen().len(), 50);
}

#[tokio::test]
async fn a_storm_of_refusals_authenticates_once_more() {
    let revoked = Arc::new(AtomicBool::new(false));
    let script_revoked = Arc::clone(&revoked);
    let cloud = Cloud::start(move |seen, _| {
        let refused =
            script_revoked.load(Ordering::SeqCst) && seen.header("x-auth-token") == Some("secret-token-1");
        if refused { Reply::empty(401) } else { empty_allocations() }
    })
    .await;
    let client = placement::Client::new(cloud.adapter(Service::Placement));
    client.allocations(&Caller::default(), Uuid::nil()).await.unwrap();
    revoked.store(true, Ordering::SeqCst);
    let mut calls = JoinSet::new();
    for _ in 0..50 {
        let client = client.clone();
        calls.spawn(async move { client.allocations(&Caller::default(), Uuid::nil()).await.unwrap() });
    }
    calls.join_all().await;
    assert_eq!(cloud.tokens(), 2);
}

#[tokio::test]
async fn a_service_that_refuses_every_token_is_given_two() {
    let cloud = Cloud::start(|_, _| Reply::empty(401)).await;
    let client = placement::Client::new(cloud.adapter(Service::Placement));
    let error = client.allocations(&Caller::default(), Uuid::nil()).await.unwrap_err();
    assert!(error.is_unauthorized());
    assert_eq!((cloud.tokens(), cloud.seen().len()), (2, 2));
}

#[tokio::test]
async fn a_refused_user_token_is_not_renewed() {
    let cloud = Cloud::start(|_, _| Reply::empty(401)).await;
    let client = glance::Client::new(cloud.adapter(Service::Image).with_service_token(cloud.session()));
    let caller = Caller { user_token: Some("user-token".into()), ..Caller::default() };
    assert!(client.image(&caller, "x").await.unwrap_err().is_unauthorized());
    let seen = cloud.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].header("x-auth-token"), Some("user-token"));
    // One token for the catalog, one for the service user: neither again.
    assert_eq!(cloud.tokens(), 2);
}

#[tokio::test]
async fn a_token_near_its_end_is_renewed_before_use_whatever_the_clocks_say() {
    let cloud = Cloud::start(|_, _| empty_allocations()).await;
    let session = cloud.session();
    // `issued_at` of the fake lies years back: only the difference counts.
    assert_eq!(session.token().await.unwrap().unwrap().expose_secret(), "secret-token-1");
    assert_eq!(session.token().await.unwrap().unwrap().expose_secret(), "secret-token-1");
    cloud.set_token_life(0);
    let dying = cloud.session();
    dying.token().await.unwrap();
    assert_eq!(dying.token().await.unwrap().unwrap().expose_secret(), "secret-token-3");
}

/// Lets time pass, for clocks only: sockets do not notice.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn an_hours_token_is_used_until_half_a_minute_before_its_end() {
    let cloud = Cloud::start(|_, _| empty_allocations()).await;
    let session = cloud.session();
    session.token().await.unwrap();
    pass(3560).await;
    session.token().await.unwrap();
    assert_eq!(cloud.tokens(), 1);
    pass(15).await;
    session.token().await.unwrap();
    assert_eq!(cloud.tokens(), 2);
}

#[tokio::test]
async fn a_service_token_that_may_be_to_blame_for_a_refusal_is_renewed() {
    // The service user's first token is no good, its second is.
    let cloud = Cloud::start(|seen, _| {
        let refused = seen.header("x-service-token") == Some("secret-token-1");
        if refused { Reply::empty(401) } else { Reply::json(200, &json!({"id": "x"})) }
    })
    .await;
    let service_user = cloud.session();
    service_user.token().await.unwrap();
    let client = glance::Client::new(cloud.adapter(Service::Image).with_service_token(service_user));
    let caller = Caller { user_token: Some("user-token".into()), ..Caller::default() };
    // A fresh one is not blamed: it is the user's that has ended.
    assert!(client.image(&caller, "x").await.unwrap_err().is_unauthorized());
    pass(120).await;
    client.image(&caller, "x").await.unwrap();
    let last = cloud.seen().pop().unwrap();
    assert_eq!(last.header("x-auth-token"), Some("user-token"));
    assert_eq!(last.header("x-service-token"), Some("secret-token-3"));
}

#[tokio::test]
async fn a_refusal_of_keystone_is_shared_by_those_who_waited_and_forgotten_by_those_who_come_later() {
    let cloud = Cloud::start(|_, _| empty_allocations()).await;
    cloud.set_keystone_status(401);
    let session = cloud.session();
    let mut calls = JoinSet::new();
    for _ in 0..20 {
        let session = session.clone();
        calls.spawn(async move { session.token().await.unwrap_err() });
    }
    for error in calls.join_all().await {
        assert!(matches!(error, Error::Auth { status: 401, .. }), "{error}");
    }
    let asked = cloud.tokens();
    assert!(asked < 20, "{asked}");
    cloud.set_keystone_status(201);
    session.token().await.unwrap();
    assert_eq!(cloud.tokens(), asked + 1);
}

#[tokio::test]
async fn the_service_token_goes_with_own_and_with_user_calls() {
    let cloud = Cloud::start(|_, _| Reply::json(200, &json!({"id": "x"}))).await;
    let client = glance::Client::new(cloud.adapter(Service::Image).with_service_token(cloud.session()));
    client.image(&Caller::own("req-1"), "x").await.unwrap();
    let user = Caller { user_token: Some("user-token".into()), ..Caller::default() };
    client.image(&user, "x").await.unwrap();
    let seen = cloud.seen();
    assert_eq!(seen[0].header("x-auth-token"), Some("secret-token-1"));
    assert_eq!(seen[0].header("x-service-token"), Some("secret-token-2"));
    assert_eq!(seen[0].header("x-openstack-request-id"), Some("req-1"));
    assert_eq!(seen[1].header("x-auth-token"), Some("user-token"));
    assert_eq!(seen[1].header("x-service-token"), Some("secret-token-2"));
    assert!(seen[1].header("x-openstack-request-id").unwrap().starts_with("req-"));
}

#[tokio::test]
async fn without_keystone_there_is_no_token_and_with_http_basic_a_password() {
    let cloud = Cloud::start(|_, number| {
        if number % 2 == 0 { common::ironic_root("1.115") } else { Reply::json(200, &json!({"nodes": []})) }
    })
    .await;
    for (auth, expected) in [
        (Auth::None { endpoint: Some(cloud.base().to_owned()) }, None),
        (
            Auth::HttpBasic {
                username: "u".into(),
                password: "p".into(),
                endpoint: Some(cloud.base().to_owned()),
            },
            Some("Basic dTpw"),
        ),
    ] {
        let session = Session::new(SessionOptions::new(auth)).unwrap();
        let client = ironic::Client::new(Adapter::new(session, Service::Baremetal, quick()));
        client.nodes(&Caller::default(), &ironic::NodeQuery::default()).await.unwrap();
        let last = cloud.seen().pop().unwrap();
        assert_eq!(last.header("x-auth-token"), None);
        assert_eq!(last.header("authorization"), expected);
    }
    assert_eq!(cloud.tokens(), 0);
}

/// Keeps every field of every span and event.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Visit for Log {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        writeln!(self.0.lock().unwrap(), "{field}={value:?}").unwrap();
    }
}

impl<S: tracing::Subscriber> Layer<S> for Log {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        attributes.record(&mut self.clone());
    }

    fn on_record(&self, _: &Id, values: &Record<'_>, _: Context<'_, S>) {
        values.record(&mut self.clone());
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        event.record(&mut self.clone());
    }
}

#[tokio::test]
async fn a_token_that_a_refusal_repeats_is_hidden_whatever_the_status() {
    for status in [401, 403, 406] {
        let cloud = Cloud::start(move |seen, _| match seen.path.as_str() {
            "/baremetal" => common::ironic_root("1.115"),
            _ => Reply::json(status, &json!({"error_message": "refused user-hunter5"})),
        })
        .await;
        let client = ironic::Client::new(cloud.adapter(Service::Baremetal));
        let caller = Caller { user_token: Some("user-hunter5".into()), ..Caller::own("req-seen") };
        let error = client.node_by_instance(&caller, Uuid::nil(), &[]).await.unwrap_err().to_string();
        assert!(error.contains("refused ***"), "{status}: {error}");
    }
}

#[tokio::test]
async fn secrets_reach_neither_debug_nor_errors_nor_the_log_at_its_loudest() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(log.clone()));

    let cloud = Cloud::start(|seen, _| match seen.path.as_str() {
        "/baremetal" => common::ironic_root("1.115"),
        path if path.ends_with("provision") => Reply::json(
            400,
            &json!({"error_message": "refused user-hunter5 at https://admin:hunter3@bmc/?token=hunter4"}),
        ),
        _ => Reply::empty(401),
    })
    .await;
    let session = cloud.session();
    let adapter =
        Adapter::new(session.clone(), Service::Baremetal, quick()).with_service_token(cloud.session());
    let client = ironic::Client::new(adapter);
    let caller = Caller { user_token: Some("user-hunter5".into()), ..Caller::own("req-seen") };
    let drive = secrecy::SecretString::from("drive-hunter6");
    let node = ironic::NodeId(Uuid::nil());
    let target = ironic::ProvisionTarget::Rescue;
    let error =
        client.set_provision_state(&caller, node, target, Some(&drive), Some(&drive)).await.unwrap_err();
    let unauthorized = client.node_by_instance(&caller, Uuid::nil(), &[]).await.unwrap_err();

    let shown = format!("{session:?}{client:?}{caller:?}{error:?}{error}{unauthorized}");
    let logged = log.0.lock().unwrap().clone();
    assert!(logged.contains("req-seen") && logged.contains("/nodes/"), "{logged}");
    for secret in ["hunter", "secret-token", PASSWORD] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
        assert!(!logged.contains(secret), "{secret} in {logged}");
    }
}
