//! A loaded configuration: answers, where each came from, and what changed since another.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::error::{Problem, Warning};
use super::mask::mask_credentials;
use super::schema::{Opt, Secrecy};
use super::value::Value;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A line of a file.
    File {
        /// The file.
        path: Arc<Path>,
        /// Counted from 1.
        line: u32,
    },
    /// The environment variable of this name.
    Environment(String),
    /// Nothing sets the option.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One option with its value.
#[derive(Clone)]
pub struct Entry {
    pub(super) group: String,
    pub(super) opt: Opt,
    pub(super) value: Value,
    pub(super) source: Source,
    /// Whether the option is secret, or refers to one that is.
    pub(super) secret: bool,
}

impl Entry {
    /// The option's group.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// The option's name.
    pub fn name(&self) -> &'static str {
        self.opt.name
    }

    /// Where the value came from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The value as one could write it in a file, secrets as `***`; nothing when the option has no value. A
    /// multi-valued option has one text for each value.
    pub fn shown(&self) -> Vec<String> {
        let text = |value: &str| mask_credentials(value).replace('\n', "\\n");
        match &self.value {
            Value::Unset => Vec::new(),
            Value::Secret(secret) if self.opt.secrecy == Secrecy::Url => match secret.expose_secret() {
                url if url.contains("://") => vec![text(url)],
                _ => vec!["***".to_owned()],
            },
            Value::Secret(_) => vec!["***".to_owned()],
            // A list, a number or whatever it is that refers to a secret.
            _ if self.secret => vec!["***".to_owned()],
            Value::Text(value) => vec![text(value)],
            Value::Bool(value) => vec![value.to_string()],
            Value::Int(value) => vec![value.to_string()],
            Value::Float(value) => vec![value.to_string()],
            Value::List(items) if matches!(self.opt.kind, super::Kind::Multi) => {
                items.iter().map(|item| text(item)).collect()
            }
            Value::List(items) => vec![items.iter().map(|item| text(item)).collect::<Vec<_>>().join(",")],
            Value::Dict(items) => {
                vec![
                    items
                        .iter()
                        .map(|(name, value)| format!("{name}:{}", text(value)))
                        .collect::<Vec<_>>()
                        .join(","),
                ]
            }
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {} = {:?} from {}", self.group, self.opt.name, self.shown(), self.source)
    }
}

/// An option whose value differs between two configurations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The option's group.
    pub group: String,
    /// The option's name.
    pub name: String,
    /// Whether the new value may take effect without a restart.
    pub mutable: bool,
}

/// A loaded configuration.
///
/// Asking for an option that the schema does not hold gives what an option without a value gives (and fails
/// in debug builds, for it is a mistake in the program).
#[derive(Clone, Debug)]
pub struct Config {
    entries: Vec<Entry>,
    index: HashMap<String, HashMap<&'static str, usize>>,
    /// What the operator should hear of.
    pub warnings: Vec<Warning>,
}

impl Config {
    pub(super) fn new(entries: Vec<Entry>, warnings: Vec<Warning>) -> Self {
        let mut index: HashMap<String, HashMap<_, _>> = HashMap::new();
        for (position, entry) in entries.iter().enumerate() {
            index.entry(entry.group.clone()).or_default().insert(entry.opt.name, position);
        }
        Self { entries, index, warnings }
    }

    /// The options of a group; every group exists.
    pub fn group<'a>(&'a self, name: &'a str) -> Group<'a> {
        Group { config: self, name }
    }

    /// The options in `[DEFAULT]`.
    pub fn top(&self) -> Group<'_> {
        self.group(super::DEFAULT_GROUP)
    }

    /// Every option of the schema, in its order.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The options whose values differ from those of `old`.
    pub fn changed(&self, old: &Self) -> Vec<Change> {
        let differs = |entry: &&Entry| match old.entry(&entry.group, entry.opt.name) {
            Some(before) => before.value != entry.value,
            None => entry.value != Value::Unset,
        };
        self.entries
            .iter()
            .filter(differs)
            .map(|e| Change { group: e.group.clone(), name: e.opt.name.to_owned(), mutable: e.opt.mutable })
            .collect()
    }

    /// What holds when `fresh` is read while this configuration is in use: its values of the options that may
    /// change without a restart, the present ones of all others. And how `fresh` differs.
    pub fn mutated(&self, fresh: &Self) -> (Self, Vec<Change>) {
        let mut next = self.clone();
        next.warnings.clone_from(&fresh.warnings);
        for entry in next.entries.iter_mut().filter(|entry| entry.opt.mutable) {
            if let Some(new) = fresh.entry(&entry.group, entry.opt.name) {
                *entry = new.clone();
            }
        }
        (next, fresh.changed(self))
    }

    fn entry(&self, group: &str, name: &str) -> Option<&Entry> {
        self.index.get(group)?.get(name).map(|&position| &self.entries[position])
    }
}

/// The options of one group.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    config: &'a Config,
    name: &'a str,
}

impl<'a> Group<'a> {
    /// The group's name.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The option with its source.
    pub fn entry(&self, name: &str) -> Option<&'a Entry> {
        self.config.entry(self.name, name)
    }

    fn value(&self, name: &str) -> &'a Value {
        let entry = self.entry(name);
        debug_assert!(entry.is_some(), "no option [{}] {name} in the schema", self.name);
        entry.map_or(&Value::Unset, |entry| &entry.value)
    }

    /// Whether the option has a value, a default included.
    pub fn is_set(&self, name: &str) -> bool {
        self.entry(name).is_some_and(|entry| entry.value != Value::Unset)
    }

    /// Whether a file or the environment sets the option.
    pub fn is_given(&self, name: &str) -> bool {
        self.entry(name).is_some_and(|entry| entry.source != Source::Default)
    }

    /// The text, when there is one. A secret has none here: see [`Self::secret`].
    pub fn string(&self, name: &str) -> Option<String> {
        let declared_secret = self.entry(name).is_some_and(|entry| entry.opt.secrecy != Secrecy::Public);
        debug_assert!(!declared_secret, "[{}] {name} is secret", self.name);
        match self.value(name) {
            Value::Text(text) => Some(text.clone()),
            // A text that refers to a secret.
            Value::Secret(text) if !declared_secret => Some(text.expose_secret().to_owned()),
            _ => None,
        }
    }

    /// The text, when there is one that is not blank: for options that operators switch off by leaving them
    /// blank.
    pub fn filled(&self, name: &str) -> Option<String> {
        self.string(name).filter(|text| !super::strip(text).is_empty())
    }

    /// The text; empty when there is none.
    pub fn text(&self, name: &str) -> String {
        self.string(name).unwrap_or_default()
    }

    /// The path, when one is given.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.filled(name).map(PathBuf::from)
    }

    /// The secret, when there is one.
    pub fn secret(&self, name: &str) -> Option<SecretString> {
        match self.value(name) {
            Value::Secret(secret) => Some(secret.clone()),
            Value::Text(text) => Some(text.clone().into()),
            _ => None,
        }
    }

    /// The number, when there is one.
    pub fn optional_int(&self, name: &str) -> Option<i64> {
        if let Value::Int(number) = self.value(name) { Some(*number) } else { None }
    }

    /// The number of an option that has a default.
    pub fn int(&self, name: &str) -> i64 {
        self.optional_int(name).unwrap_or_default()
    }

    /// The number as a size, nothing below zero being one.
    pub fn count(&self, name: &str) -> usize {
        usize::try_from(self.int(name)).unwrap_or_default()
    }

    /// The number, when there is one.
    pub fn optional_float(&self, name: &str) -> Option<f64> {
        if let Value::Float(number) = self.value(name) { Some(*number) } else { None }
    }

    /// The number of an option that has a default.
    pub fn float(&self, name: &str) -> f64 {
        self.optional_float(name).unwrap_or_default()
    }

    /// Whether the option is switched on.
    pub fn bool(&self, name: &str) -> bool {
        matches!(self.value(name), Value::Bool(true))
    }

    /// The number as seconds, when there is one of zero or more.
    pub fn optional_seconds(&self, name: &str) -> Option<Duration> {
        match self.value(name) {
            Value::Int(seconds) => u64::try_from(*seconds).ok().map(Duration::from_secs),
            Value::Float(seconds) => Duration::try_from_secs_f64(*seconds).ok(),
            _ => None,
        }
    }

    /// The number as seconds; none when it is negative or not set.
    pub fn seconds(&self, name: &str) -> Duration {
        self.optional_seconds(name).unwrap_or_default()
    }

    /// The items of a list, or the values of a multi-valued option.
    pub fn list(&self, name: &str) -> Vec<String> {
        if let Value::List(items) = self.value(name) { items.clone() } else { Vec::new() }
    }

    /// The items of a list of whole numbers.
    pub fn ints(&self, name: &str) -> Vec<i64> {
        self.list(name).iter().filter_map(|item| item.parse().ok()).collect()
    }

    /// The pairs of a dict, in their order.
    pub fn dict(&self, name: &str) -> Vec<(String, String)> {
        if let Value::Dict(items) = self.value(name) { items.clone() } else { Vec::new() }
    }

    /// The problem that an option is missing although it is needed here.
    pub fn missing(&self, name: &str, remedy: impl Into<String>) -> Problem {
        Problem::Needed { group: self.name.to_owned(), name: name.to_owned(), remedy: remedy.into() }
    }

    /// The problem that an option's value is none of what is allowed here.
    pub fn refused(&self, name: &str, allowed: impl Into<String>) -> Problem {
        let entry = self.entry(name);
        Problem::Value {
            at: entry.map_or(Source::Default, |entry| entry.source.clone()),
            group: self.name.to_owned(),
            name: name.to_owned(),
            value: entry.map(|entry| entry.shown().join(", ")).unwrap_or_default(),
            allowed: allowed.into(),
        }
    }
}
