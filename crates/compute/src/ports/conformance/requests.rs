//! What every adapter of [`Requests`] keeps.

use std::collections::BTreeSet;

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::ports::Requests;
use crate::request::{Kind, Request};

/// A control plane that a test can have ask for every kind of operation, with the adapter in front of it.
#[async_trait]
pub trait ControlPlane: Send + Sync {
    /// The adapter.
    fn port(&self) -> &dyn Requests;

    /// A request of each kind, as it is when it reaches the manager.
    async fn ask(&self) -> Vec<Request>;
}

/// The journal keeps the origin as text.
fn journalled(request: &Request) -> Value {
    let text = serde_json::to_string(&request.origin().0).expect("an origin is JSON");
    serde_json::from_str(&text).expect("it was JSON")
}

async fn asked(plane: &impl ControlPlane) -> Vec<Request> {
    let asked = plane.ask().await;
    let kinds: BTreeSet<Kind> = asked.iter().map(Request::kind).collect();
    assert_eq!(kinds, Kind::ALL.iter().copied().collect(), "a request of each kind");
    asked
}

/// A start goes on with what the journal kept.
pub async fn a_request_is_the_same_after_a_restart(plane: &impl ControlPlane) {
    for request in asked(plane).await {
        let again = plane.port().decode(request.kind(), &journalled(&request)).expect("it is read again");
        assert_eq!(again.key(), request.key());
        assert_eq!(again.origin(), request.origin());
        assert_eq!(again.brought_ports(), request.brought_ports());
    }
}

/// An entry that was damaged, or written by another control plane, is set aside and nothing is done.
pub async fn what_is_no_request_of_a_kind_is_none(plane: &impl ControlPlane) {
    for request in asked(plane).await {
        for kind in Kind::ALL.iter().copied().filter(|kind| *kind != request.kind()) {
            assert!(plane.port().decode(kind, &journalled(&request)).is_none(), "{request:?} as {kind:?}");
        }
    }
    for kind in Kind::ALL.iter().copied() {
        for origin in [Value::Null, json!("somebody else's"), json!({}), json!([1])] {
            assert!(plane.port().decode(kind, &origin).is_none(), "{origin} as {kind:?}");
        }
    }
}
