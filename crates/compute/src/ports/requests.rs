//! The port to the control plane's own form of requests.

use oslo::context::RequestContext;
use serde_json::Value;

use crate::instance::Instance;
use crate::request::{Kind, Request};

/// Reads journalled requests again, and makes those that the service has for itself.
pub trait Requests: Send + Sync {
    /// A request of this kind. `None`: it is not one that this control plane wrote.
    fn decode(&self, kind: Kind, origin: &Value) -> Option<Request>;

    /// A request of the service's own to delete a server. It can be journalled and read again like any other.
    fn own_delete(&self, context: &RequestContext, instance: &Instance) -> Request;

    /// The same for a stop, gracefully.
    fn own_stop(&self, context: &RequestContext, instance: &Instance) -> Request;

    /// A request of the service's own to end a rescue. It can be journalled and read again like any other.
    fn own_unrescue(&self, context: &RequestContext, instance: &Instance) -> Request;
}
