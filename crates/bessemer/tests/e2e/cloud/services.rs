//! The HTTP services of the cloud behind one port: who asks is checked, each asks its own part, faults strike.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Request, Response};
use serde_json::{Value, json};

use super::neutron::Neutron;
use super::placement::Placement;
use crate::secrets::Secrets;

/// Who may ask Keystone for a token: the users of the groups of `nova.conf`.
pub const GROUPS: [&str; 7] =
    ["ironic", "placement", "neutron", "cinder", "glance", "service_user", "vendordata_dynamic_auth"];

/// A request as a service sees it.
pub struct Ask<'a> {
    pub method: &'a str,
    pub path: &'a [&'a str],
    pub query: Vec<(String, String)>,
    pub body: Value,
}

/// An answer.
pub type Answer = (u16, Value);

/// A refusal that quotes what it was sent: token and all.
pub struct Fault {
    pub service: &'static str,
    pub method: &'static str,
    /// Part of the path.
    pub path: &'static str,
    pub status: u16,
    pub times: u32,
}

pub struct Cloud {
    secrets: Arc<Secrets>,
    ironic: String,
    /// Our own address.
    address: String,
    tokens: BTreeSet<String>,
    pub neutron: Neutron,
    pub placement: Placement,
    pub images: BTreeMap<String, Value>,
    pub faults: Vec<Fault>,
    /// Which services were asked how often.
    pub asked: BTreeMap<String, usize>,
    /// Requests that nobody expected.
    pub unknown: Vec<String>,
}

#[derive(Clone)]
pub struct Services(Arc<Mutex<Cloud>>);

impl Services {
    /// Listens until the runtime ends. `ironic`: the address of Ironic, for the catalog.
    pub async fn start(secrets: Arc<Secrets>, ironic: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let tokens = BTreeSet::from([secrets.of("user-token")]);
        let services = Self(Arc::new(Mutex::new(Cloud {
            secrets,
            ironic: ironic.to_owned(),
            address,
            tokens,
            neutron: Neutron::default(),
            placement: Placement::default(),
            images: BTreeMap::new(),
            faults: Vec::new(),
            asked: BTreeMap::new(),
            unknown: Vec::new(),
        })));
        let app = axum::Router::new().fallback(serve).with_state(services.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        services
    }

    pub fn lock(&self) -> MutexGuard<'_, Cloud> {
        self.0.lock().unwrap()
    }

    pub fn address(&self) -> String {
        self.lock().address.clone()
    }
}

async fn serve(State(services): State<Services>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 24).await.unwrap();
    let path = parts.uri.path().trim_matches('/').to_owned();
    let path: Vec<&str> = path.split('/').collect();
    let query = url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
    let ask = Ask {
        method: parts.method.as_str(),
        path: &path[1..],
        query: query.into_owned().collect(),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    };
    let mut response = Response::builder().header("content-type", "application/json");
    let (status, answer) = {
        let mut cloud = services.lock();
        if path[0] == "identity" {
            let (token, answer) = cloud.token(&ask.body);
            response = response.header("x-subject-token", token.unwrap_or_default());
            answer
        } else {
            cloud.answer(path[0], &ask, &parts.headers)
        }
    };
    let body = if status == 204 { Body::empty() } else { Body::from(answer.to_string()) };
    response.status(status).body(body).unwrap()
}

impl Cloud {
    /// Keystone: a token for one of the users, if the password is right.
    fn token(&mut self, body: &Value) -> (Option<String>, Answer) {
        let user = &body["auth"]["identity"]["password"]["user"];
        let name = user["name"].as_str().unwrap_or_default();
        let right =
            GROUPS.contains(&name) && user["password"] == *self.secrets.of(&format!("password-{name}"));
        if !right {
            self.unknown.push(format!("token for {name}"));
            return (
                None,
                (401, json!({"error": {"code": 401, "message": "The request requires authentication."}})),
            );
        }
        let token = self.secrets.of(&format!("token{}-{name}", self.tokens.len()));
        self.tokens.insert(token.clone());
        let endpoint = |kind: &str, url: String| {
            json!({"type": kind, "name": kind, "endpoints": [{"interface": "public", "region_id": "RegionOne",
                "region": "RegionOne", "url": url}]})
        };
        let here = |name: &str| format!("{}/{name}", self.address);
        let catalog = json!([
            endpoint("baremetal", self.ironic.clone()),
            endpoint("placement", here("placement")),
            endpoint("network", here("network")),
            endpoint("image", here("image")),
            endpoint("volumev3", here("volume/v3")),
        ]);
        (Some(token), (201, json!({"token": {"catalog": catalog, "project": {"id": "service"}}})))
    }

    fn answer(&mut self, service: &str, ask: &Ask, headers: &HeaderMap) -> Answer {
        *self.asked.entry(service.to_owned()).or_default() += 1;
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let token = header("x-auth-token").unwrap_or_default();
        if !self.tokens.contains(&token) {
            self.unknown.push(format!("{} {service}/{} without a token", ask.method, ask.path.join("/")));
            return (401, json!({"error": {"message": "Unauthorized"}}));
        }
        // Neutron and Glance are told who the service is, too.
        if matches!(service, "network" | "image") {
            assert!(header("x-service-token").is_some_and(|token| self.tokens.contains(&token)), "{service}");
        }
        let path = ask.path.join("/");
        let fault = self.faults.iter_mut().find(|fault| {
            fault.times > 0
                && fault.service == service
                && fault.method == ask.method
                && path.contains(fault.path)
        });
        if let Some(fault) = fault {
            fault.times -= 1;
            let text = format!(
                "refused for X-Auth-Token: {token}, token '{token}', {{\"token\": \"{token}\"}}, X-Service-Token: {}, {}",
                header("x-service-token").unwrap_or_default(),
                ask.body
            );
            return (fault.status, refusal(service, fault.status, &text));
        }
        let answer = match service {
            "network" => self.neutron.answer(ask),
            "placement" => self.placement.answer(ask),
            "image" if ask.method == "DELETE" => {
                let gone = self.images.remove(ask.path.last().copied().unwrap_or_default());
                gone.map(|_| (204, Value::Null))
            }
            "vendordata" => Some((200, json!({"answer": self.secrets.of("dynamic-vendordata")}))),
            _ => None,
        };
        answer.unwrap_or_else(|| {
            self.unknown.push(format!("{} {service}/{path}", ask.method));
            (404, refusal(service, 404, "not found"))
        })
    }
}

/// An error as the service words it.
fn refusal(service: &str, status: u16, text: &str) -> Value {
    match service {
        "network" => json!({"NeutronError": {"type": "Refused", "message": text, "detail": ""}}),
        _ => {
            json!({"errors": [{"status": status, "title": "Refused", "detail": text, "code": "placement.undefined_code"}]})
        }
    }
}
