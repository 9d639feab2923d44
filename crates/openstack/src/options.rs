//! An adapter's options.

use std::fmt;

use crate::{Interface, RetryOptions, body::scrub};

/// The adapter options of keystoneauth. `Debug` masks user information in the endpoint.
#[derive(Clone)]
pub struct AdapterOptions {
    /// `service_type`; the official one where `None`. Aliases of the configured type are found as well.
    pub service_type: Option<String>,
    /// `service_name`.
    pub service_name: Option<String>,
    /// `valid_interfaces`, in the order of preference.
    pub interfaces: Vec<Interface>,
    /// `region_name`.
    pub region_name: Option<String>,
    /// `endpoint_override`; may hold `%(project_id)s` (Cinder's `endpoint_template`) and may lack the
    /// version.
    pub endpoint_override: Option<String>,
    /// Retries.
    pub retry: RetryOptions,
}

impl fmt::Debug for AdapterOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdapterOptions")
            .field("service_type", &self.service_type)
            .field("service_name", &self.service_name)
            .field("interfaces", &self.interfaces)
            .field("region_name", &self.region_name)
            .field("endpoint_override", &self.endpoint_override.as_deref().map(scrub))
            .field("retry", &self.retry)
            .finish()
    }
}

impl Default for AdapterOptions {
    fn default() -> Self {
        Self {
            service_type: None,
            service_name: None,
            interfaces: vec![Interface::Internal, Interface::Public],
            region_name: None,
            endpoint_override: None,
            retry: RetryOptions::default(),
        }
    }
}

impl AdapterOptions {
    /// Defaults with this address instead of the catalog's.
    pub fn at(endpoint: impl Into<String>) -> Self {
        Self { endpoint_override: Some(endpoint.into()), ..Self::default() }
    }
}
