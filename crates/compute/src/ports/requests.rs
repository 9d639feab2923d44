//! The port to the control plane's own form of requests.

use serde_json::Value;

use crate::request::{Kind, Request};

/// Reads journalled requests again.
pub trait Requests: Send + Sync {
    /// A request of this kind. `None`: it is not one that this control plane wrote.
    fn decode(&self, kind: Kind, origin: &Value) -> Option<Request>;
}
