//! On whose behalf a call is made.

use secrecy::SecretString;
use serde_json::Value;

use crate::session::Catalog;

/// On whose behalf a call is made; the default is ours, with the session's own credentials and a fresh
/// request id.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// Global request id, `req-<uuid>`, sent as `X-OpenStack-Request-ID`.
    pub request_id: Option<String>,
    /// The user's token; replaces ours. A service that refuses it is not asked again: only the user can renew
    /// it.
    pub user_token: Option<SecretString>,
    /// The user's project, for endpoints with the project in their path (Cinder).
    pub project_id: Option<String>,
    /// The user's service catalog; asked before ours when the user's token is sent.
    pub catalog: Option<Catalog>,
}

impl Caller {
    /// Our own credentials within the request `request_id`.
    pub fn own(request_id: impl Into<String>) -> Self {
        Self { request_id: Some(request_id.into()), ..Self::default() }
    }

    /// The same request, with our own credentials.
    #[must_use]
    pub fn as_own(&self) -> Self {
        Self { request_id: self.request_id.clone(), ..Self::default() }
    }

    /// Sets the user's catalog from the `service_catalog` of a request context: the list as Keystone's v2 API
    /// shaped it (`publicURL`, …) or as its v3 API does.
    #[must_use]
    pub fn with_catalog(mut self, service_catalog: &Value) -> Self {
        self.catalog = Catalog::from_context(service_catalog);
        self
    }
}
