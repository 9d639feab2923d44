//! A scripted cloud in process: Keystone that counts the tokens it gives, and one service whose answers a
//! test decides.

#![allow(dead_code, clippy::unwrap_used, clippy::missing_panics_doc)]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::State,
    http::{HeaderMap, Request, Response},
};
use openstack::{
    Adapter, AdapterOptions, Auth, Domain, Named, RetryOptions, Scope, Service, Session, SessionOptions,
};
use serde_json::{Value, json};

pub const PASSWORD: &str = "hunter2-password";

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn line(&self) -> String {
        let query = if self.query.is_empty() { String::new() } else { format!("?{}", self.query) };
        format!("{} {}{query}", self.method, self.path)
    }
}

/// An answer.
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

impl Reply {
    pub fn json(status: u16, body: &Value) -> Self {
        let body = body.to_string();
        Self { status, headers: vec![("content-type", "application/json".into())], body }
    }

    pub fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: String::new() }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

type Script = dyn Fn(&Seen, usize) -> Reply + Send + Sync;

struct Inner {
    base: String,
    tokens: AtomicUsize,
    life: Mutex<i64>,
    keystone_status: AtomicUsize,
    seen: Mutex<Vec<Seen>>,
    script: Box<Script>,
}

/// The cloud. `script` gets each request to a path outside Keystone and its number, from 0.
#[derive(Clone)]
pub struct Cloud(Arc<Inner>);

impl Cloud {
    pub async fn start(script: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let cloud = Self(Arc::new(Inner {
            base,
            tokens: AtomicUsize::new(0),
            life: Mutex::new(3600),
            keystone_status: AtomicUsize::new(201),
            seen: Mutex::default(),
            script: Box::new(script),
        }));
        let router = Router::new().fallback(answer).with_state(cloud.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        cloud
    }

    pub fn base(&self) -> &str {
        &self.0.base
    }

    /// Times Keystone gave a token.
    pub fn tokens(&self) -> usize {
        self.0.tokens.load(Ordering::SeqCst)
    }

    /// Seconds that tokens live from now on.
    pub fn set_token_life(&self, seconds: i64) {
        *self.0.life.lock().unwrap() = seconds;
    }

    /// What Keystone answers from now on.
    pub fn set_keystone_status(&self, status: u16) {
        self.0.keystone_status.store(usize::from(status), Ordering::SeqCst);
    }

    /// Requests to the service so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.0.seen.lock().unwrap().clone()
    }

    pub fn lines(&self) -> Vec<String> {
        self.seen().iter().map(Seen::line).collect()
    }

    pub fn auth(&self) -> Auth {
        Auth::Password {
            auth_url: self.0.base.clone(),
            user: Named::Name { name: "nova".into(), domain: Domain::Name("Default".into()) },
            password: PASSWORD.into(),
            scope: Scope::Project(Named::Id("own-project".into())),
        }
    }

    pub fn session(&self) -> Session {
        Session::new(SessionOptions::new(self.auth())).unwrap()
    }

    /// An adapter whose retries do not wait.
    pub fn adapter(&self, service: Service) -> Adapter {
        Adapter::new(self.session(), service, quick())
    }
}

/// Adapter options whose retries do not wait.
pub fn quick() -> AdapterOptions {
    let retry = RetryOptions {
        connect_retry_delay: Some(Duration::from_millis(1)),
        status_code_retry_delay: Some(Duration::from_millis(1)),
        ..RetryOptions::default()
    };
    AdapterOptions { retry, ..AdapterOptions::default() }
}

async fn answer(State(cloud): State<Cloud>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let seen = Seen {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body: to_bytes(body, usize::MAX).await.unwrap().to_vec(),
    };
    let reply = if seen.path == "/v3/auth/tokens" {
        keystone(&cloud)
    } else {
        let number = {
            let mut all = cloud.0.seen.lock().unwrap();
            all.push(seen.clone());
            all.len() - 1
        };
        (cloud.0.script)(&seen, number)
    };
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(reply.body)).unwrap()
}

fn keystone(cloud: &Cloud) -> Reply {
    let number = cloud.0.tokens.fetch_add(1, Ordering::SeqCst) + 1;
    let status = u16::try_from(cloud.0.keystone_status.load(Ordering::SeqCst)).unwrap();
    if status != 201 {
        return Reply::json(status, &json!({"error": {"code": status, "message": "no", "title": "No"}}));
    }
    let base = cloud.base();
    let entry = |kind: &str, url: String| {
        json!({"type": kind, "name": kind, "endpoints": [
            {"interface": "public", "region": "one", "region_id": "one", "url": url},
            {"interface": "admin", "region": "one", "region_id": "one", "url": "http://192.0.2.1:1"}]})
    };
    let life = *cloud.0.life.lock().unwrap();
    let issued = time::OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_000);
    let text =
        |when: time::OffsetDateTime| when.format(&time::format_description::well_known::Rfc3339).unwrap();
    let body = json!({"token": {
    "issued_at": text(issued),
    "expires_at": text(issued + time::Duration::seconds(life)),
    "project": {"id": "own-project", "name": "service", "domain": {"id": "default", "name": "Default"}},
    "catalog": [
        entry("baremetal", format!("{base}/baremetal")),
        entry("placement", format!("{base}/placement")),
        entry("network", format!("{base}/networking")),
        entry("image", format!("{base}/image")),
        entry("volumev3", format!("{base}/volume/v3/own-project")),
    ]}});
    Reply::json(201, &body).with("x-subject-token", format!("secret-token-{number}"))
}

/// Ironic's version document.
pub fn ironic_root(newest: &str) -> Reply {
    let entry = json!({"id": "v1", "min_version": "1.1", "version": newest});
    Reply::json(200, &json!({"name": "OpenStack Ironic API", "default_version": entry, "versions": [entry]}))
}
