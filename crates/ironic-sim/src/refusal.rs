//! What the API refuses a request with.

use uuid::Uuid;

/// An error of the API: the status, and the text that ends up as `faultstring`.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub status: u16,
    pub text: String,
}

impl Refusal {
    pub fn new(status: u16, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    pub fn invalid(text: impl Into<String>) -> Self {
        Self::new(400, text)
    }

    pub fn locked(node: &str, host: &str) -> Self {
        Self::new(
            409,
            format!(
                "Node {node} is locked by host {host}, please retry after the current operation is completed."
            ),
        )
    }

    pub fn no_node(ident: &str) -> Self {
        Self::new(404, format!("Node {ident} could not be found."))
    }

    pub fn state(action: &str, node: Uuid, state: &str) -> Self {
        Self::invalid(format!(
            "The requested action \"{action}\" can not be performed on node \"{node}\" while it is in state \
             \"{state}\"."
        ))
    }

    pub fn not_found() -> Self {
        Self::new(404, "The resource could not be found.")
    }
}
