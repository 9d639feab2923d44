//! A remote failure: an exception by class, module and message, as it travels in a reply.
//!
//! A Nova caller rebuilds the exception only when its module is `nova.exception` or `builtins`; anything else
//! becomes a `RemoteError`, which nova-api answers with HTTP 500 (oslo.messaging
//! `serialize_remote_exception`).

use std::ops::Deref;

use serde_json::{Map, Value, json};

/// What stands at the end of a class that was raised again across two hops.
const RELAYED: &str = "_Remote";

/// A failure to send as a reply, or one that came as a reply. Its parts are fields, as if it had no box:
/// `failure.class`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{}: {}", .0.class, .0.message)]
pub struct Failure(Box<Parts>);

/// What a [`Failure`] is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Parts {
    /// The exception's class, e.g. `InstanceNotFound`.
    pub class: String,
    /// Its Python module, e.g. `nova.exception`.
    pub module: String,
    /// What it says, formatted.
    pub message: String,
    /// Its traceback; empty when we raise it.
    pub tb: Vec<String>,
    /// Positional arguments of the exception's constructor.
    pub args: Vec<Value>,
    /// Named arguments: for Nova the keys of the message's format and `code`, the HTTP status.
    pub kwargs: Map<String, Value>,
}

impl Deref for Failure {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl From<Parts> for Failure {
    fn from(parts: Parts) -> Self {
        Self(Box::new(parts))
    }
}

impl Failure {
    fn new(class: &str, module: &str, message: String, args: Vec<Value>) -> Self {
        let (class, module) = (class.to_owned(), module.to_owned());
        Self::from(Parts { class, module, message, tb: Vec::new(), args, kwargs: Map::new() })
    }

    /// An exception of `nova.exception`. `kwargs` are the keys of its message's format; its `code` belongs
    /// there too.
    pub fn nova(class: &str, message: impl Into<String>, kwargs: Map<String, Value>) -> Self {
        let message = message.into();
        let args = vec![json!(message)];
        let mut failure = Self::new(class, "nova.exception", message, args);
        failure.0.kwargs = kwargs;
        failure
    }

    /// A Python built-in exception, e.g. `ValueError`.
    pub fn builtin(class: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        let args = vec![json!(message)];
        Self::new(class, "builtins", message, args)
    }

    /// What stock Nova raises where a driver cannot do something: `NotImplementedError()`; nova-api answers
    /// 501.
    pub fn not_implemented() -> Self {
        Self::new("NotImplementedError", "builtins", String::new(), Vec::new())
    }

    /// The method is served by nobody at a version that is.
    pub fn no_such_method(method: &str) -> Self {
        let message = format!("Endpoint does not support RPC method {method}");
        let args = vec![json!(message)];
        Self::new("NoSuchMethod", "oslo_messaging.rpc.dispatcher", message, args)
    }

    /// The namespace or version is not served.
    pub fn unsupported_version(version: &str, method: &str) -> Self {
        let message = format!("Endpoint does not support RPC version {version}. Attempted method: {method}");
        let args = vec![json!(message)];
        Self::new("UnsupportedVersion", "oslo_messaging.rpc.dispatcher", message, args)
    }

    /// Whether it is of this class, also when it was relayed (`<class>_Remote`).
    pub fn is(&self, class: &str) -> bool {
        self.class.strip_suffix(RELAYED).unwrap_or(&self.class) == class
    }

    /// The JSON text that stands in a reply's `failure`.
    pub fn to_wire(&self) -> String {
        json!({
            "class": self.class, "module": self.module, "message": self.message,
            "tb": self.tb, "args": self.args, "kwargs": self.kwargs,
        })
        .to_string()
    }

    /// Reads a reply's `failure`: a JSON text, or the object itself. What cannot be read is a failure all the
    /// same.
    pub fn from_wire(wire: &Value) -> Self {
        let parsed = match wire {
            Value::String(text) => serde_json::from_str(text).unwrap_or(Value::Null),
            other => other.clone(),
        };
        let text =
            |key: &str, default: &str| parsed.get(key).and_then(Value::as_str).unwrap_or(default).to_owned();
        let list = |key: &str| parsed.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        let strip = |name: String| name.strip_suffix(RELAYED).map(str::to_owned).unwrap_or(name);
        Self::from(Parts {
            class: strip(text("class", "UnreadableFailure")),
            module: strip(text("module", "")),
            message: text("message", ""),
            tb: list("tb").iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            args: list("args"),
            kwargs: parsed.get("kwargs").and_then(Value::as_object).cloned().unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nova_exception_is_rebuilt_from_its_message_and_kwargs() {
        let kwargs = json!({"instance_id": "u", "code": 404}).as_object().unwrap().clone();
        let failure = Failure::nova("InstanceNotFound", "Instance u could not be found.", kwargs);
        let wire: Value = serde_json::from_str(&failure.to_wire()).unwrap();
        assert_eq!(wire["module"], "nova.exception");
        assert_eq!(wire["args"], json!(["Instance u could not be found."]));
        assert_eq!(wire["kwargs"]["code"], 404);
        assert_eq!(Failure::from_wire(&json!(failure.to_wire())), failure);
    }

    #[test]
    fn a_relayed_class_is_the_class() {
        let failure = Failure::from_wire(
            &json!({"class": "InstanceNotFound_Remote", "module": "nova.exception_Remote"}),
        );
        assert!(failure.is("InstanceNotFound") && failure.module == "nova.exception");
        let raw = Failure::from(Parts { class: "InstanceNotFound_Remote".into(), ..(*failure).clone() });
        assert!(raw.is("InstanceNotFound") && !raw.is("Instance"));
    }

    #[test]
    fn what_cannot_be_read_is_a_failure_all_the_same() {
        for wire in [json!("no json"), json!(1), json!([]), json!({"class": 3, "tb": [1], "kwargs": []})] {
            assert!(Failure::from_wire(&wire).is("UnreadableFailure"));
        }
    }

    #[test]
    fn the_dispatchers_own_failures_say_what_oslo_says() {
        assert_eq!(Failure::no_such_method("m").message, "Endpoint does not support RPC method m");
        let unsupported = Failure::unsupported_version("7.0", "m");
        assert_eq!(unsupported.message, "Endpoint does not support RPC version 7.0. Attempted method: m");
        assert!(Failure::not_implemented().args.is_empty());
    }
}
