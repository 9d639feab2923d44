//! The request context: who asks, with which token, under which request id; and its form in a message and in
//! a journal.
//!
//! On the wire each key of the context is one message field `_context_<key>` (oslo.messaging `pack_context`).
//! A sender may lack any key; unknown keys are dropped, as Nova does.

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::macros::format_description;
use uuid::Uuid;

/// What starts the name of every context field of a message.
const PREFIX: &str = "_context_";

/// Whether a query of the database returns deleted rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadDeleted {
    /// Only rows that are not deleted.
    #[default]
    No,
    /// All rows.
    Yes,
    /// Only deleted rows.
    Only,
}

impl ReadDeleted {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Yes => "yes",
            Self::Only => "only",
        }
    }

    fn parse(word: &str) -> Self {
        match word {
            "yes" => Self::Yes,
            "only" => Self::Only,
            _ => Self::No,
        }
    }
}

/// The context of one request (Nova's `RequestContext`).
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // four flags of Nova's own
pub struct RequestContext {
    /// The user's id.
    pub user_id: Option<String>,
    /// The project's id.
    pub project_id: Option<String>,
    /// The domain a domain-scoped token is for.
    pub domain_id: Option<String>,
    /// The domain of the user.
    pub user_domain_id: Option<String>,
    /// The domain of the project.
    pub project_domain_id: Option<String>,
    /// `all` for a system-scoped token.
    pub system_scope: Option<String>,
    /// The user's name, if known.
    pub user_name: Option<String>,
    /// The project's name, if known.
    pub project_name: Option<String>,
    /// The roles of the token.
    pub roles: Vec<String>,
    /// Whether the database shows every project's rows.
    pub is_admin: bool,
    /// Whether the project is the administrators' one (Keystone's notion; true when Keystone does not say).
    pub is_admin_project: bool,
    /// Whether the request may only read.
    pub read_only: bool,
    /// Whether lists show deleted entries.
    pub show_deleted: bool,
    /// Whether queries see deleted rows.
    pub read_deleted: ReadDeleted,
    /// The end user's token; absent for work done on nobody's behalf. It may have expired by now.
    pub auth_token: Option<SecretString>,
    /// `req-<uuid>`: keys the instance actions of this request.
    pub request_id: String,
    /// The id the request had at the service that caused it.
    pub global_request_id: Option<String>,
    /// The resource the request is about, if known.
    pub resource_uuid: Option<String>,
    /// The client's address.
    pub remote_address: Option<String>,
    /// When the request arrived: `%Y-%m-%dT%H:%M:%S.%f`, UTC, no zone; kept as it came.
    pub timestamp: String,
    /// Quota class, if any.
    pub quota_class: Option<String>,
    /// The Keystone v2-style catalogue, filtered by the sender; a list.
    pub service_catalog: Value,
}

impl RequestContext {
    /// An administrator's context on nobody's behalf, with a fresh request id (Nova's `get_admin_context`).
    pub fn admin() -> Self {
        Self {
            user_id: None,
            project_id: None,
            domain_id: None,
            user_domain_id: None,
            project_domain_id: None,
            system_scope: None,
            user_name: None,
            project_name: None,
            roles: Vec::new(),
            is_admin: true,
            is_admin_project: true,
            read_only: false,
            show_deleted: false,
            read_deleted: ReadDeleted::No,
            auth_token: None,
            request_id: fresh_request_id(),
            global_request_id: None,
            resource_uuid: None,
            remote_address: None,
            timestamp: timestamp(OffsetDateTime::now_utc()),
            quota_class: None,
            service_catalog: json!([]),
        }
    }

    /// The same request with an administrator's rights: token, user, project and request id stay.
    #[must_use]
    pub fn elevated(&self) -> Self {
        let mut elevated = self.clone();
        elevated.is_admin = true;
        if !elevated.roles.iter().any(|role| role.eq_ignore_ascii_case("admin")) {
            elevated.roles.push("admin".to_owned());
        }
        elevated
    }

    /// The same request seeing deleted rows or not.
    #[must_use]
    pub fn with_read_deleted(&self, read_deleted: ReadDeleted) -> Self {
        Self { read_deleted, ..self.clone() }
    }

    /// The same request without what a notification must not carry: the token and the catalogue.
    #[must_use]
    pub fn redacted(&self) -> Self {
        Self { auth_token: None, service_catalog: json!([]), ..self.clone() }
    }

    /// The id that other services are told (`X-OpenStack-Request-ID`): the global one, else this request's
    /// own.
    pub fn global_id(&self) -> &str {
        self.global_request_id.as_deref().unwrap_or(&self.request_id)
    }

    /// Reads the `_context_*` fields of a message. Never fails: a key that is absent, or is not what it
    /// should be, has its default.
    pub fn from_message(message: &Map<String, Value>) -> Self {
        Self::read(&|key| message.get(&format!("{PREFIX}{key}")))
    }

    /// Writes the 25 `_context_*` fields of Nova 34 into a message.
    pub fn write_message(&self, message: &mut Map<String, Value>) {
        for (key, value) in self.fields() {
            message.insert(format!("{PREFIX}{key}"), value);
        }
    }

    /// The context as one JSON object, the TOKEN INCLUDED: for a private journal, never for a log.
    pub fn to_json(&self) -> Value {
        Value::Object(self.fields().into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// Reads what [`to_json`](Self::to_json) wrote, as forgiving as [`from_message`](Self::from_message).
    pub fn from_json(document: &Value) -> Self {
        Self::read(&|key| document.get(key))
    }

    fn read<'a>(get: &dyn Fn(&str) -> Option<&'a Value>) -> Self {
        let text = |key: &str| get(key).and_then(Value::as_str).map(str::to_owned);
        let flag = |key: &str, default: bool| get(key).and_then(Value::as_bool).unwrap_or(default);
        let roles: Vec<String> = get("roles")
            .and_then(Value::as_array)
            .map(|roles| roles.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            .unwrap_or_default();
        // Null means that nobody decided yet; Nova's default policy `context_is_admin` is the role.
        let is_admin = match get("is_admin") {
            Some(Value::Null) => roles.iter().any(|role| role.eq_ignore_ascii_case("admin")),
            _ => flag("is_admin", false),
        };
        Self {
            user_id: text("user_id").or_else(|| text("user")),
            project_id: text("project_id").or_else(|| text("project")),
            domain_id: text("domain"),
            user_domain_id: text("user_domain"),
            project_domain_id: text("project_domain"),
            system_scope: text("system_scope"),
            user_name: text("user_name"),
            project_name: text("project_name"),
            roles,
            is_admin,
            is_admin_project: flag("is_admin_project", true),
            read_only: flag("read_only", false),
            show_deleted: flag("show_deleted", false),
            read_deleted: get("read_deleted")
                .and_then(Value::as_str)
                .map(ReadDeleted::parse)
                .unwrap_or_default(),
            auth_token: text("auth_token").map(SecretString::from),
            request_id: text("request_id").unwrap_or_else(fresh_request_id),
            global_request_id: text("global_request_id"),
            resource_uuid: text("resource_uuid"),
            remote_address: text("remote_address"),
            timestamp: text("timestamp").unwrap_or_else(|| timestamp(OffsetDateTime::now_utc())),
            quota_class: text("quota_class"),
            service_catalog: get("service_catalog")
                .filter(|list| list.is_array())
                .cloned()
                .unwrap_or_else(|| json!([])),
        }
    }

    /// The keys of Nova's `RequestContext.to_dict()`.
    fn fields(&self) -> [(&'static str, Value); 25] {
        [
            ("user", json!(self.user_id)),
            ("user_id", json!(self.user_id)),
            ("project", json!(self.project_id)),
            ("project_id", json!(self.project_id)),
            ("domain", json!(self.domain_id)),
            ("user_domain", json!(self.user_domain_id)),
            ("project_domain", json!(self.project_domain_id)),
            ("system_scope", json!(self.system_scope)),
            ("is_admin", json!(self.is_admin)),
            ("is_admin_project", json!(self.is_admin_project)),
            ("read_only", json!(self.read_only)),
            ("show_deleted", json!(self.show_deleted)),
            ("read_deleted", json!(self.read_deleted.as_str())),
            ("auth_token", json!(self.auth_token.as_ref().map(ExposeSecret::expose_secret))),
            ("request_id", json!(self.request_id)),
            ("global_request_id", json!(self.global_request_id)),
            ("resource_uuid", json!(self.resource_uuid)),
            ("roles", json!(self.roles)),
            ("user_identity", json!(self.user_identity())),
            ("user_name", json!(self.user_name)),
            ("project_name", json!(self.project_name)),
            ("remote_address", json!(self.remote_address)),
            ("timestamp", json!(self.timestamp)),
            ("quota_class", json!(self.quota_class)),
            ("service_catalog", self.service_catalog.clone()),
        ]
    }

    /// `user project domain user_domain project_domain`, `-` for what is unknown; part of every log line of
    /// OpenStack.
    pub fn user_identity(&self) -> String {
        [&self.user_id, &self.project_id, &self.domain_id, &self.user_domain_id, &self.project_domain_id]
            .map(|id| id.as_deref().unwrap_or("-"))
            .join(" ")
    }
}

/// A new request id: `req-<uuid4>`.
pub fn fresh_request_id() -> String {
    format!("req-{}", Uuid::new_v4())
}

fn timestamp(at: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]");
    at.format(&format).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(fields: Value) -> Map<String, Value> {
        let Value::Object(fields) = fields else { panic!("a test passes an object") };
        fields.into_iter().map(|(key, value)| (format!("{PREFIX}{key}"), value)).collect()
    }

    #[test]
    fn an_admin_context_writes_the_twenty_five_keys_of_nova() {
        let mut written = Map::new();
        RequestContext::admin().write_message(&mut written);
        assert_eq!(written.len(), 25);
        assert_eq!(written["_context_user_identity"], "- - - - -");
        assert_eq!(written["_context_is_admin"], true);
        assert_eq!(written["_context_service_catalog"], json!([]));
        assert_eq!(
            written["_context_timestamp"].as_str().map(str::len),
            Some("2026-11-23T02:17:26.882909".len())
        );
    }

    #[test]
    fn every_admin_context_has_its_own_request_id() {
        assert_ne!(RequestContext::admin().request_id, RequestContext::admin().request_id);
    }

    #[test]
    fn a_message_without_context_gets_the_defaults() {
        let context = RequestContext::from_message(&Map::new());
        assert!(!context.is_admin && context.is_admin_project && context.read_deleted == ReadDeleted::No);
        assert!(context.request_id.starts_with("req-"));
    }

    #[test]
    fn an_undecided_admin_flag_follows_the_role() {
        let admin = RequestContext::from_message(&message(json!({"is_admin": null, "roles": ["Admin"]})));
        let member = RequestContext::from_message(&message(json!({"is_admin": null, "roles": ["member"]})));
        assert!(admin.is_admin && !member.is_admin);
    }

    #[test]
    fn older_senders_name_user_and_project_only() {
        let context = RequestContext::from_message(&message(
            json!({"user": "u", "project": "p", "user_domain": "default"}),
        ));
        assert_eq!(context.user_identity(), "u p - default -");
    }

    #[test]
    fn elevation_keeps_who_asked_and_adds_the_role_once() {
        let user = RequestContext::from_message(&message(
            json!({"user_id": "u", "request_id": "req-1", "auth_token": "t"}),
        ));
        let twice = user.elevated().elevated();
        assert_eq!(twice.roles, ["admin"]);
        assert!(twice.is_admin && twice.auth_token.is_some());
        assert_eq!((twice.request_id.as_str(), twice.user_id.as_deref()), ("req-1", Some("u")));
    }

    #[test]
    fn the_global_id_prefers_the_callers() {
        let own = RequestContext::from_message(&message(json!({"request_id": "req-1"})));
        let global = RequestContext::from_message(&message(
            json!({"request_id": "req-1", "global_request_id": "req-2"}),
        ));
        assert_eq!((own.global_id(), global.global_id()), ("req-1", "req-2"));
    }

    #[test]
    fn a_journal_keeps_the_token_and_debug_does_not_show_it() {
        let context =
            RequestContext::from_message(&message(json!({"auth_token": "s3cret", "read_deleted": "only"})));
        let back = RequestContext::from_json(&context.to_json());
        assert_eq!(back.to_json(), context.to_json());
        assert_eq!(back.to_json()["auth_token"], "s3cret");
        assert!(!format!("{context:?}").contains("s3cret"));
        assert_eq!(context.redacted().to_json()["auth_token"], Value::Null);
    }
}
