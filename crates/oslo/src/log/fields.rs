//! The fields of an event and of the spans around it.

use std::fmt;

use serde_json::Value;
use tracing::field::{Field, Visit};

/// The names that make up the context, as oslo.context calls them, and the instance.
const CONTEXT: [&str; 9] = [
    "request_id",
    "global_request_id",
    "user",
    "project",
    "domain",
    "system_scope",
    "user_domain",
    "project_domain",
    "instance",
];

/// Fields by name, in the order in which they came. A later value of the same name replaces the earlier one.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    pub message: String,
    context: Vec<(&'static str, String)>,
    pub others: Vec<(&'static str, Value)>,
}

impl Fields {
    /// A value of the context or the instance.
    pub fn context(&self, name: &str) -> Option<&str> {
        self.context.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// All values of the context, without the instance.
    pub fn contexts(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.context
            .iter()
            .filter(|(name, _)| *name != "instance")
            .map(|(name, value)| (*name, value.as_str()))
    }

    /// Takes in the fields of a span, which come before those of the event.
    pub fn extend(&mut self, other: &Self) {
        other.context.iter().for_each(|(name, value)| put(&mut self.context, name, value.clone()));
        other.others.iter().for_each(|(name, value)| put(&mut self.others, name, value.clone()));
    }

    fn add(&mut self, field: &Field, value: Value) {
        let name = field.name();
        let text = |value: Value| if let Value::String(text) = value { text } else { value.to_string() };
        if name == "message" {
            self.message = text(value);
        } else if CONTEXT.contains(&name) {
            put(&mut self.context, name, text(value));
        } else {
            put(&mut self.others, name, value);
        }
    }
}

fn put<T>(fields: &mut Vec<(&'static str, T)>, name: &'static str, value: T) {
    match fields.iter_mut().find(|(known, _)| *known == name) {
        Some((_, known)) => *known = value,
        None => fields.push((name, value)),
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, Value::String(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }
}
