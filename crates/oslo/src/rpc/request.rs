//! A request as it comes from the broker, and as it is written for it.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::envelope::{self, EnvelopeError};
use crate::context::RequestContext;

/// Where the answer goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    /// The caller's reply queue.
    pub queue: String,
    /// What the caller knows the call by.
    pub msg_id: String,
}

/// One request. `Debug` shows neither arguments nor token.
#[derive(Clone)]
pub struct Request {
    /// The method's name.
    pub method: String,
    /// The API it belongs to; `None` for the main one.
    pub namespace: Option<String>,
    /// The version of the API it was made for; `1.0` when the sender gave none.
    pub version: String,
    /// Arguments by name.
    pub args: Map<String, Value>,
    /// On whose behalf.
    pub context: RequestContext,
    /// The same for every copy of this request that the broker delivers.
    pub unique_id: String,
    /// Whether it is a call; a cast is never answered.
    pub wants_reply: bool,
    /// Where the answer goes; absent for a cast.
    pub reply_to: Option<ReplyTo>,
    /// Call monitor: the caller gives up when it hears nothing for this long.
    pub monitor: Option<Duration>,
    /// Size of the body in bytes, for logs.
    pub size: usize,
}

/// A body that is no request, with the way to tell its sender, if it said one.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub struct Malformed {
    /// What is wrong; no content.
    pub problem: String,
    /// Where a failure can be sent.
    pub reply_to: Option<ReplyTo>,
}

impl From<EnvelopeError> for Malformed {
    fn from(error: EnvelopeError) -> Self {
        Self { problem: error.to_string(), reply_to: None }
    }
}

impl Request {
    /// A request that came from no broker: for tests, and for work that is done as if it had been asked for.
    pub fn new(method: impl Into<String>, args: Map<String, Value>, context: RequestContext) -> Self {
        Self {
            method: method.into(),
            namespace: None,
            version: "1.0".to_owned(),
            args,
            context,
            unique_id: fresh_id(),
            wants_reply: false,
            reply_to: None,
            monitor: None,
            size: 0,
        }
    }

    /// Reads the body of a delivery, enveloped or bare.
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let mut message = envelope::unwrap(body)?;
        let text = |key: &str| message.get(key).and_then(Value::as_str).map(str::to_owned);
        let reply_to = match (text("_reply_q"), text("_msg_id")) {
            (Some(queue), Some(msg_id)) => Some(ReplyTo { queue, msg_id }),
            _ => None,
        };
        let malformed = |problem: &str| Malformed { problem: problem.to_owned(), reply_to: reply_to.clone() };

        let method = text("method").ok_or_else(|| malformed("field method is missing or no string"))?;
        let namespace = text("namespace");
        let version = match message.get("version") {
            None | Some(Value::Null) => "1.0".to_owned(),
            Some(Value::String(version)) => version.clone(),
            Some(_) => return Err(malformed("field version is no string")),
        };
        let unique_id = text("_unique_id").unwrap_or_else(fresh_id);
        let monitor = message
            .get("_timeout")
            .and_then(Value::as_f64)
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let context = RequestContext::from_message(&message);
        let args = match message.remove("args") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(args)) => args,
            Some(_) => return Err(malformed("field args is no object")),
        };
        let wants_reply = reply_to.is_some();
        Ok(Self {
            method,
            namespace,
            version,
            args,
            context,
            unique_id,
            wants_reply,
            reply_to,
            monitor,
            size: body.len(),
        })
    }

    /// What the method is called in logs and metrics: the method, or `Class.method` for the conductor's
    /// object calls.
    pub fn label(&self) -> String {
        label(&self.method, &self.args)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("namespace", &self.namespace)
            .field("version", &self.version)
            .field("request_id", &self.context.request_id)
            .field("unique_id", &self.unique_id)
            .field("reply_to", &self.reply_to)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// See [`Request::label`].
pub(super) fn label(method: &str, args: &Map<String, Value>) -> String {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let class = match method {
        "object_class_action_versions" => text(args.get("objname")),
        "object_action" => text(args.get("objinst").and_then(|object| object.get("nova_object.name"))),
        _ => None,
    };
    match (class, text(args.get("objmethod"))) {
        (Some(class), Some(action)) => format!("{class}.{action}"),
        _ => method.to_owned(),
    }
}

/// A new message id: 32 hexadecimal digits.
pub(super) fn fresh_id() -> String {
    Uuid::new_v4().simple().to_string()
}

/// Whether an API served at `served` answers a request made for `requested`: same major version, minor not
/// newer.
pub fn can_serve(served: &str, requested: &str) -> bool {
    fn parse(version: &str) -> Option<(u32, u32)> {
        let (major, minor) = version.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    }
    match (parse(served), parse(requested)) {
        (Some((major, minor)), Some((wanted_major, wanted_minor))) => {
            major == wanted_major && wanted_minor <= minor
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn decode(message: &Value) -> Result<Request, Malformed> {
        Request::decode(message.to_string().as_bytes())
    }

    #[test]
    fn a_call_and_a_cast_differ_by_the_message_id() {
        let call = decode(
            &json!({"method": "m", "args": {"a": 1}, "_msg_id": "i", "_reply_q": "q", "_timeout": 60}),
        )
        .unwrap();
        assert_eq!(call.reply_to, Some(ReplyTo { queue: "q".into(), msg_id: "i".into() }));
        assert_eq!(call.monitor, Some(Duration::from_mins(1)));
        let cast = decode(&json!({"method": "m", "_timeout": null})).unwrap();
        assert!(!cast.wants_reply && cast.monitor.is_none() && cast.version == "1.0");
    }

    #[test]
    fn a_malformed_call_can_still_be_answered() {
        let malformed = decode(&json!({"args": {}, "_msg_id": "i", "_reply_q": "q"})).unwrap_err();
        assert!(malformed.reply_to.is_some());
        assert_eq!(malformed.problem, "field method is missing or no string");
        assert!(decode(&json!({"method": "m", "args": []})).unwrap_err().reply_to.is_none());
    }

    #[test]
    fn an_object_call_is_labelled_by_class_and_method() {
        let class_call = json!({"objname": "Service", "objmethod": "get_by_id"});
        let object_call = json!({"objinst": {"nova_object.name": "Instance"}, "objmethod": "save"});
        assert_eq!(
            label("object_class_action_versions", class_call.as_object().unwrap()),
            "Service.get_by_id"
        );
        assert_eq!(label("object_action", object_call.as_object().unwrap()), "Instance.save");
        assert_eq!(label("ping", &Map::new()), "ping");
    }

    #[test]
    fn a_version_serves_older_minors_of_its_major() {
        assert!(can_serve("6.5", "6.0") && can_serve("6.5", "6.5"));
        assert!(!can_serve("6.5", "6.6") && !can_serve("6.5", "5.0") && !can_serve("6.5", "junk"));
    }

    #[test]
    fn debug_shows_no_argument_and_no_token() {
        let request =
            decode(&json!({"method": "m", "args": {"p": "s3cret"}, "_context_auth_token": "t0ken"})).unwrap();
        let shown = format!("{request:?}");
        assert!(!shown.contains("s3cret") && !shown.contains("t0ken"));
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(2, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z]{1,4}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(
            fields in prop::collection::vec((prop::sample::select(vec![
                "method", "args", "namespace", "version", "_msg_id", "_reply_q", "_timeout", "_unique_id",
                "_context_roles", "_context_is_admin", "_context_service_catalog", "_context_timestamp",
            ]), json_value()), 0..8)
        ) {
            let message = Value::Object(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect());
            if let Ok(request) = decode(&message) {
                let _ = (request.label(), format!("{request:?}"), request.context.to_json());
            }
        }
    }
}
