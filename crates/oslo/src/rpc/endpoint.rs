//! What a server serves, and how.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::{Failure, Request};

/// What a server serves. One value may serve several topics.
#[async_trait]
pub trait Endpoint: Send + Sync + 'static {
    /// Makes durable what must survive. Runs BEFORE the request is acknowledged: when the process dies in
    /// here, the broker delivers the request again, to this process started anew. When it dies between this
    /// and the acknowledgement, `admit` sees the same `unique_id` a second time.
    ///
    /// A failure ends the request: it is acknowledged, and answered with the failure if it is a call.
    async fn admit(&self, _request: &Request) -> Result<(), Failure> {
        Ok(())
    }

    /// Does it. Runs after the acknowledgement, at the same time as other requests; nothing is ordered. The
    /// result is the answer.
    async fn dispatch(&self, request: Request) -> Result<Value, Failure>;
}

/// What a server listens to, and how it works.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The topic, e.g. `compute`.
    pub topic: String,
    /// This server's name within the topic: the host.
    pub server: String,
    /// Requests under way at once; more wait in the broker.
    pub concurrency: u16,
    /// How long running requests may take to end after the shutdown.
    pub drain: Duration,
    /// Whether `oslo_rpc_server_ping` is answered (`[DEFAULT] rpc_ping_enabled`).
    pub ping: bool,
}

impl ServerOptions {
    /// The usual values for a server of a topic.
    pub fn new(topic: impl Into<String>, server: impl Into<String>) -> Self {
        Self {
            topic: topic.into(),
            server: server.into(),
            concurrency: 1024,
            drain: Duration::from_mins(1),
            ping: false,
        }
    }
}
