//! Cinder: volumes and their attachments.
//!
//! Attachments are made in API 3.44, as nova-compute does. Deleting the attachment of a volume in use needs a
//! service token beside the user's ([`Adapter::with_service_token`](crate::Adapter::with_service_token)),
//! else Cinder answers 409.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{Adapter, ApiVersion, Caller, Error, Request, Version, error::found};

/// Cinder answers these to a request that collides with its own work; nova repeats it.
const BUSY: &[u16] = &[500];

/// Cinder answers a change of an attachment when its storage has made it, which large arrays take minutes
/// for. nova-compute waits without a limit.
const SLOW: Duration = Duration::from_mins(5);

/// A volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Volume {
    /// Its id.
    pub id: String,
    /// `creating`, `downloading`, `available`, `reserved`, `in-use`, `error`, …
    #[serde(default)]
    pub status: String,
    /// GiB.
    #[serde(default)]
    pub size: u64,
    /// Where it is.
    #[serde(default)]
    pub availability_zone: Option<String>,
    /// Whether several servers may have it.
    #[serde(default)]
    pub multiattach: bool,
    /// Whether it can be booted from, `"true"` or `"false"`.
    #[serde(default)]
    pub bootable: Option<String>,
    /// Its type's name.
    #[serde(default)]
    pub volume_type: Option<String>,
    /// Copied from the image that it was made of.
    #[serde(default)]
    pub volume_image_metadata: Option<Map<String, Value>>,
    /// Everything else.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A volume to create.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct NewVolume {
    /// GiB.
    pub size: u64,
    /// May be empty.
    pub name: String,
    /// May be empty.
    pub description: String,
    /// Type, by name or id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_type: Option<String>,
    /// Made of this image.
    #[serde(rename = "imageRef", skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// Made of this snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_id: Option<String>,
    /// Where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub availability_zone: Option<String>,
}

/// How to reach a volume: Cinder's flat document. `Debug` shows only the protocol, since it holds
/// credentials.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConnectionInfo(pub Map<String, Value>);

impl ConnectionInfo {
    /// `iscsi`, `fibre_channel`, …
    pub fn protocol(&self) -> Option<&str> {
        self.0.get("driver_volume_type").and_then(Value::as_str)
    }

    /// Nova's shape: `{"driver_volume_type": …, "data": {everything else}}`.
    pub fn nested(mut self) -> Map<String, Value> {
        let protocol = self.0.shift_remove("driver_volume_type").unwrap_or(Value::Null);
        Map::from_iter([
            ("driver_volume_type".to_owned(), protocol),
            ("data".to_owned(), Value::Object(self.0)),
        ])
    }
}

impl fmt::Debug for ConnectionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionInfo").field("protocol", &self.protocol()).finish_non_exhaustive()
    }
}

/// A volume's attachment to an instance.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Attachment {
    /// Its id.
    pub id: String,
    /// `reserved`, `attaching`, `attached`, `detached`, …
    #[serde(default)]
    pub status: String,
    /// The volume.
    #[serde(default)]
    pub volume_id: Option<String>,
    /// The instance.
    #[serde(default)]
    pub instance: Option<String>,
    /// `rw` or `ro`.
    #[serde(default)]
    pub attach_mode: Option<String>,
    /// When it was attached, ISO 8601.
    #[serde(default)]
    pub attached_at: Option<String>,
    /// When it was detached, ISO 8601.
    #[serde(default)]
    pub detached_at: Option<String>,
    /// How to reach the volume, once there is a connector; lists do not have it.
    #[serde(default, deserialize_with = "or_empty")]
    pub connection_info: ConnectionInfo,
}

/// An empty list stands for no information in some releases.
fn or_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<ConnectionInfo, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Object(map) => ConnectionInfo(map),
        _ => ConnectionInfo::default(),
    })
}

#[derive(Deserialize)]
struct OneVolume {
    volume: Volume,
}

#[derive(Deserialize)]
struct OneAttachment {
    attachment: Attachment,
}

#[derive(Deserialize)]
struct Attachments {
    attachments: Vec<Attachment>,
}

/// Cinder through an adapter. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    adapter: Adapter,
}

impl Client {
    /// A client on an adapter of [`Service::BlockStorage`](crate::Service::BlockStorage).
    pub fn new(adapter: Adapter) -> Self {
        Self { adapter }
    }

    /// A volume; in 3.69 or 3.48 (shared targets) where Cinder has them, else without a version, as nova
    /// asks.
    pub async fn volume(&self, caller: &Caller, volume: &str) -> Result<Volume, Error> {
        let version = match self.adapter.newest(caller).await {
            Ok(newest) if newest >= ApiVersion::new(3, 69) => Version::Exact(ApiVersion::new(3, 69)),
            Ok(newest) if newest >= ApiVersion::new(3, 48) => Version::Exact(ApiVersion::new(3, 48)),
            // A Cinder whose root is hidden from us still knows its volumes.
            Ok(_) | Err(Error::Http { .. } | Error::Decode { .. } | Error::Unsupported { .. }) => {
                Version::Unversioned
            }
            Err(error) => return Err(error),
        };
        let request = Request::get(&["volumes", volume]).version(version);
        Ok(self.adapter.json::<OneVolume>(caller, request).await?.volume)
    }

    /// Creates a volume; it is `creating` at first. 413: over quota.
    pub async fn create_volume(&self, caller: &Caller, volume: &NewVolume) -> Result<Volume, Error> {
        let request = Request::post(&["volumes"]).json(&json!({ "volume": volume }))?;
        Ok(self.adapter.json::<OneVolume>(caller, request).await?.volume)
    }

    /// Deletes a volume; false where it did not exist. 400: attached or in a state that does not allow it.
    pub async fn delete_volume(&self, caller: &Caller, volume: &str) -> Result<bool, Error> {
        Ok(found(self.adapter.empty(caller, Request::delete(&["volumes", volume])).await)?.is_some())
    }

    /// Takes back `detaching`: the volume is in use again.
    pub async fn roll_detaching(&self, caller: &Caller, volume: &str) -> Result<(), Error> {
        let request =
            Request::post(&["volumes", volume, "action"]).json(&json!({ "os-roll_detaching": {} }))?;
        self.adapter.empty(caller, request).await
    }

    /// Reserves a volume for an instance, without a connector yet.
    pub async fn create_attachment(
        &self,
        caller: &Caller,
        instance: Uuid,
        volume: &str,
    ) -> Result<Attachment, Error> {
        let body =
            json!({ "attachment": { "instance_uuid": instance, "volume_uuid": volume, "connector": null } });
        let request = attachments(Request::post, &[]).deadline(SLOW).json(&body)?;
        Ok(self.adapter.json::<OneAttachment>(caller, request).await?.attachment)
    }

    /// Tells Cinder who connects (with the device as `mountpoint`) and learns how.
    pub async fn update_attachment(
        &self,
        caller: &Caller,
        attachment: &str,
        connector: &Map<String, Value>,
        mountpoint: &str,
    ) -> Result<Attachment, Error> {
        let mut connector = connector.clone();
        connector.insert("mountpoint".to_owned(), mountpoint.into());
        let body = json!({ "attachment": { "connector": connector } });
        let request = attachments(Request::put, &[attachment]).deadline(SLOW).json(&body)?;
        let request = request.idempotent().retry_also(BUSY);
        Ok(self.adapter.json::<OneAttachment>(caller, request).await?.attachment)
    }

    /// Says that the volume is connected: it becomes `in-use`, and stays so if it is said again.
    pub async fn complete_attachment(&self, caller: &Caller, attachment: &str) -> Result<(), Error> {
        let request = attachments(Request::post, &[attachment, "action"]).deadline(SLOW);
        let request = request.json(&json!({ "os-complete": {} }))?.idempotent();
        self.adapter.empty(caller, request).await
    }

    /// Ends an attachment; false where it did not exist. 409: no service token was sent for a volume in use.
    pub async fn delete_attachment(&self, caller: &Caller, attachment: &str) -> Result<bool, Error> {
        let request =
            attachments(Request::delete, &[attachment]).deadline(SLOW).idempotent().retry_also(BUSY);
        Ok(found(self.adapter.empty(caller, request).await)?.is_some())
    }

    /// One attachment, with how to reach the volume.
    pub async fn attachment(&self, caller: &Caller, attachment: &str) -> Result<Attachment, Error> {
        let request = attachments(Request::get, &[attachment]);
        Ok(self.adapter.json::<OneAttachment>(caller, request).await?.attachment)
    }

    /// The attachments of an instance.
    pub async fn instance_attachments(
        &self,
        caller: &Caller,
        instance: Uuid,
    ) -> Result<Vec<Attachment>, Error> {
        let request = attachments(Request::get, &[]).query("instance_id", instance.to_string());
        Ok(self.adapter.json::<Attachments>(caller, request).await?.attachments)
    }
}

fn attachments(method: fn(&[&str]) -> Request, rest: &[&str]) -> Request {
    let mut segments = vec!["attachments"];
    segments.extend(rest);
    method(&segments).exactly(3, 44)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_data_is_nested_as_nova_wants_it_and_never_shown() {
        let attachment: Attachment = serde_json::from_value(json!({
            "id": "a", "status": "attaching", "volume_id": "v", "instance": "i",
            "connection_info": {"driver_volume_type": "iscsi", "auth_password": "hunter2", "target_lun": 1}
        }))
        .unwrap();
        assert!(!format!("{attachment:?}").contains("hunter2"));
        assert_eq!(
            Value::Object(attachment.connection_info.nested()),
            json!({"driver_volume_type": "iscsi", "data": {"auth_password": "hunter2", "target_lun": 1}})
        );
    }

    #[test]
    fn an_attachment_without_connection_is_read_from_a_list() {
        let list: Attachments = serde_json::from_value(json!({"attachments": [
            {"id": "a", "status": "reserved", "instance": "i", "volume_id": "v"},
            {"id": "b", "status": "reserved", "connection_info": []}]}))
        .unwrap();
        assert_eq!(list.attachments[1].connection_info, ConnectionInfo::default());
    }
}
