//! The port to what the cloud's operator adds to the metadata of every server.

use async_trait::async_trait;
use oslo::context::RequestContext;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::Result;
use crate::instance::Instance;

/// What the operator adds.
#[derive(Clone, Default)]
pub struct VendorData {
    /// The contents of the operator's file; `None` when the operator switched it off.
    pub fixed: Option<Value>,
    /// Answers of the operator's services, by their names; may hold secrets.
    pub dynamic: Option<Map<String, Value>>,
}

/// Where it comes from.
#[async_trait]
pub trait VendorDataSource: Send + Sync {
    /// Reads the file and asks the services. An error ends the build.
    async fn vendor_data(
        &self,
        context: &RequestContext,
        instance: &Instance,
        image: Option<Uuid>,
    ) -> Result<VendorData>;
}
