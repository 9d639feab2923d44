//! What belongs to the control plane and goes back to it as it came.

use serde_json::Value;

/// The control plane's own form of something. It may hold secrets (passwords, user data, tokens) and is never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Origin(pub Value);

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Origin(..)")
    }
}
