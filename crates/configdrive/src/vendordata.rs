//! Vendor data: what the operator adds to every server's metadata, from a file or from services of his own.
//!
//! Pure: the file is read and the services are called elsewhere.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::Error;

/// Reads the text of the file that `[api] vendordata_jsonfile_path` names.
pub fn parse_static(text: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(text).map_err(|error| Error::StaticVendorData { reason: error.to_string() })
}

/// A dynamic vendor data service: an entry `name@url` of `[api] vendordata_dynamic_targets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The key that the answer gets in `vendor_data2.json`.
    pub name: String,
    /// An http or https address, which may hold a secret.
    pub url: String,
}

impl Target {
    /// Reads one entry; the URL may itself contain `@`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        match text.split_once('@') {
            Some((name, url)) if !url.is_empty() => Ok(Self { name: name.to_owned(), url: url.to_owned() }),
            _ => Err(Error::Target { target: text.to_owned() }),
        }
    }

    /// Reads the whole list. As in Nova an entry that is none, or that repeats a name, is passed over with a
    /// warning.
    pub fn parse_all<'a>(entries: impl IntoIterator<Item = &'a str>) -> Vec<Self> {
        let mut targets: Vec<Self> = Vec::new();
        for entry in entries {
            match Self::parse(entry) {
                Ok(target) if targets.iter().any(|known| known.name == target.name) => {
                    tracing::warn!(name = target.name, "vendor data target repeats a name: passed over");
                }
                Ok(target) => targets.push(target),
                Err(error) => tracing::warn!(%error, "vendor data target passed over"),
            }
        }
        targets
    }
}

/// What a dynamic vendor data service is told about the server. The admin password is not among it.
#[derive(Clone, Debug)]
pub struct Request {
    /// The id of the project that owns the server.
    pub project_id: Option<String>,
    /// The server's id.
    pub instance: Uuid,
    /// Empty for a server that boots from a volume.
    pub image_ref: Option<String>,
    /// In base64, as the user sent it: Nova passes it on undecoded, line breaks and all.
    pub user_data: Option<SecretString>,
    /// The bare host name.
    pub hostname: String,
    /// The user's own key-value pairs.
    pub meta: BTreeMap<String, String>,
    /// `boot_roles` of the instance's system metadata: the roles of the user who asked for the server.
    pub boot_roles: String,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Body<'a> {
    project_id: Option<&'a str>,
    instance_id: Uuid,
    image_id: Option<&'a str>,
    user_data: Option<&'a str>,
    hostname: &'a str,
    metadata: &'a BTreeMap<String, String>,
    boot_roles: &'a str,
}

impl Request {
    /// The JSON text to post to each service. Secret, because it holds the user data.
    pub fn body(&self) -> Result<SecretString, Error> {
        let body = Body {
            project_id: self.project_id.as_deref(),
            instance_id: self.instance,
            image_id: self.image_ref.as_deref(),
            user_data: self.user_data.as_ref().map(ExposeSecret::expose_secret),
            hostname: &self.hostname,
            metadata: &self.meta,
            boot_roles: &self.boot_roles,
        };
        Ok(serde_json::to_string(&body)?.into())
    }
}

/// `vendor_data2.json`: the static document under `static`, and each service's answer under its name.
pub(crate) fn combined(fixed: Option<&Value>, dynamic: Option<&Map<String, Value>>) -> Map<String, Value> {
    let mut all = dynamic.cloned().unwrap_or_default();
    if let Some(fixed) = fixed {
        all.insert("static".to_owned(), fixed.clone());
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_malformed_file_names_the_option() {
        let error = parse_static(b"{\"a\": ").unwrap_err().to_string();
        assert!(error.contains("[api] vendordata_jsonfile_path") && error.contains("line 1"), "{error}");
        assert_eq!(parse_static(b"{\"a\": 1}").unwrap(), json!({"a": 1}));
    }

    #[test]
    fn a_target_is_a_name_and_a_url() {
        let targets =
            Target::parse_all(["cmdb@http://u@h/x", "http://nameless", "cmdb@http://again", "b@http://b"]);
        let shown: Vec<_> =
            targets.iter().map(|target| (target.name.as_str(), target.url.as_str())).collect();
        assert_eq!(shown, [("cmdb", "http://u@h/x"), ("b", "http://b")]);
    }

    #[test]
    fn the_body_has_the_documented_keys_and_is_secret() {
        let request = Request {
            project_id: Some("p".to_owned()),
            instance: Uuid::nil(),
            image_ref: None,
            user_data: Some("IyEvYmlu\nL3No\n".into()),
            hostname: "h".to_owned(),
            meta: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            boot_roles: "member,reader".to_owned(),
        };
        let body = request.body().unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(body.expose_secret()).unwrap(),
            json!({"project-id": "p", "instance-id": Uuid::nil(), "image-id": null, "user-data": "IyEvYmlu\nL3No\n",
                "hostname": "h", "metadata": {"a": "b"}, "boot-roles": "member,reader"})
        );
        assert!(!format!("{request:?} {body:?}").contains("IyEv"));
    }

    #[test]
    fn the_file_wins_over_a_service_called_static() {
        let dynamic = Map::from_iter([("static".to_owned(), json!(1)), ("b".to_owned(), json!(2))]);
        assert_eq!(Value::Object(combined(Some(&json!({})), Some(&dynamic))), json!({"static": {}, "b": 2}));
    }
}
