//! Glance: image records. Image data goes from Glance to Ironic without us.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Adapter, Caller, Error, Request, error::found};

/// An image's record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// Its id; a uuid as a rule, but Glance takes any text.
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub name: Option<String>,
    /// `queued`, `saving`, `active`, `deactivated`, `deleted`, …
    #[serde(default)]
    pub status: String,
    /// `raw`, `qcow2`, …
    #[serde(default)]
    pub disk_format: Option<String>,
    /// `bare`, …
    #[serde(default)]
    pub container_format: Option<String>,
    /// Bytes.
    #[serde(default)]
    pub size: Option<u64>,
    /// Least memory, MiB.
    #[serde(default)]
    pub min_ram: u64,
    /// Least disk, GiB.
    #[serde(default)]
    pub min_disk: u64,
    /// Project that owns it.
    #[serde(default)]
    pub owner: Option<String>,
    /// Everything else, among it the image's own properties (`hw_*`, `os_*`, `traits*`, …).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Glance through an adapter. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    adapter: Adapter,
}

impl Client {
    /// A client on an adapter of [`Service::Image`](crate::Service::Image).
    pub fn new(adapter: Adapter) -> Self {
        Self { adapter }
    }

    /// An image's record.
    pub async fn image(&self, caller: &Caller, image: &str) -> Result<Image, Error> {
        self.adapter.json(caller, Request::get(&["images", image])).await
    }

    /// Deletes an image; false where it did not exist. 403: protected or another's; 409: in use.
    pub async fn delete_image(&self, caller: &Caller, image: &str) -> Result<bool, Error> {
        Ok(found(self.adapter.empty(caller, Request::delete(&["images", image])).await)?.is_some())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn properties_are_kept_beside_the_fields_we_know() {
        let image: Image = serde_json::from_value(json!({
            "id": "73faf9ad-eddf-4bb9-b0ae-6a20a98ac913", "name": "lab-tiny", "disk_format": "raw",
            "container_format": "bare", "size": 1_048_576, "status": "active", "min_ram": 0, "min_disk": 1,
            "owner": "93eb", "img_config_drive": "mandatory", "tags": []
        }))
        .unwrap();
        assert_eq!(image.extra["img_config_drive"], "mandatory");
        assert_eq!(image.min_disk, 1);
    }
}
