//! Drives the simulator over HTTP, as a client would.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod faults;
mod inventory;
mod lifecycle;
mod network;

use ironic_sim::Sim;
use reqwest::{Method, Response};
use serde_json::Value;

/// A client of one simulator.
struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    fn of(sim: &Sim) -> Self {
        // The second test in a process finds it installed already.
        drop(rustls::crypto::ring::default_provider().install_default());
        Self {
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            base: format!("{}/v1", sim.url()),
        }
    }

    async fn send(&self, method: &str, path: &str, body: &Value) -> reqwest::Result<Response> {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        request = request.header("OpenStack-API-Version", "baremetal 1.109").header("X-Auth-Token", "any");
        if !body.is_null() {
            request = request.json(body);
        }
        request.send().await
    }

    /// The answer's status and JSON; of an error, its text.
    async fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let response = self.send(method, path, &body).await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        let body: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        match body["error_message"].as_str() {
            Some(fault) => {
                let fault: Value = serde_json::from_str(fault).unwrap();
                (status, fault["faultstring"].clone())
            }
            None => (status, body),
        }
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path, Value::Null).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }
}
