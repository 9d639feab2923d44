//! Which source an option's value comes from, its references, and its conversion (`oslo_config/cfg.py`:
//! `Opt._get_from_namespace`, `_Namespace._get_file_value`, `ConfigOpts._do_get` and `_substitute`).

use std::collections::HashMap;
use std::sync::Arc;

use super::DEFAULT_GROUP;
use super::error::{Error, Problem, Warning};
use super::ini::File;
use super::mask::mask_credentials;
use super::schema::{Kind, Registered, Schema, Secrecy};
use super::substitute::substitute;
use super::value::{Value, convert};
use super::values::{Entry, Source};

/// Resolves the options of a schema, each once, in the order in which they refer to each other.
pub(super) struct Resolver<'a> {
    schema: &'a Schema,
    files: &'a [File],
    env: &'a HashMap<String, String>,
    /// The former names of options.
    former: HashMap<(&'a str, &'a str), usize>,
    entries: Vec<Option<Entry>>,
    /// The options that are being resolved, each referred to by the one before it.
    active: Vec<(String, String)>,
    pub problems: Vec<Problem>,
    pub warnings: Vec<Warning>,
}

/// What a source says of an option, before substitution.
struct Found {
    texts: Vec<String>,
    source: Source,
}

impl<'a> Resolver<'a> {
    pub fn new(schema: &'a Schema, files: &'a [File], env: &'a HashMap<String, String>) -> Self {
        let former = schema.options.iter().enumerate();
        let former =
            former.flat_map(|(position, option)| option.names().skip(1).map(move |name| (name, position)));
        Self {
            schema,
            files,
            env,
            former: former.collect(),
            entries: vec![None; schema.options.len()],
            active: Vec::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Every option of the schema with its value.
    pub fn all(&mut self) -> Vec<Entry> {
        (0..self.schema.options.len()).filter_map(|position| self.resolve(position)).collect()
    }

    /// The texts that the options called `name` have in their groups.
    pub fn texts_of(&mut self, name: &str) -> Vec<String> {
        let positions = self.schema.options.iter().enumerate().filter(|(_, option)| option.opt.name == name);
        let positions: Vec<_> = positions.map(|(position, _)| position).collect();
        let entries = positions.into_iter().filter_map(|position| self.resolve(position));
        entries
            .filter_map(|entry| if let Value::Text(text) = entry.value { Some(text) } else { None })
            .collect()
    }

    /// `None` when the option is being resolved already: it refers to itself.
    fn resolve(&mut self, position: usize) -> Option<Entry> {
        if let Some(entry) = &self.entries[position] {
            return Some(entry.clone());
        }
        let option = &self.schema.options[position];
        let name = (option.group.clone(), option.opt.name.to_owned());
        if self.active.contains(&name) {
            return None;
        }
        self.active.push(name);
        let entry = self.resolved(option);
        self.active.pop();
        self.entries[position] = Some(entry.clone());
        Some(entry)
    }

    fn resolved(&mut self, option: &Registered) -> Entry {
        let mut value = Value::Unset;
        let found = self.find(option);
        let source = found.as_ref().map_or(Source::Default, |found| found.source.clone());
        let mut secret = option.opt.secrecy != Secrecy::Public;
        if let Some(found) = found {
            match self.value(option, found, &mut secret) {
                Ok(converted) => value = converted,
                Err(mut error) => self.problems.append(&mut error.problems),
            }
        }
        if matches!(value, Value::Unset)
            && source != Source::Default
            && let Some(default) = &option.default
        {
            // A blank number.
            value = convert(&option.opt.kind, default).unwrap_or(Value::Unset);
        }
        Entry { group: option.group.clone(), opt: option.opt, value, source, secret }
    }

    /// The environment before the files, the last file first, and in a file the present name before the
    /// former ones.
    fn find(&mut self, option: &Registered) -> Option<Found> {
        let variable = format!("OS_{}__{}", option.group.to_uppercase(), option.opt.name.to_uppercase());
        if let Some(text) = self.env.get(&variable) {
            return Some(Found { texts: vec![text.clone()], source: Source::Environment(variable) });
        }
        let multi = matches!(option.opt.kind, Kind::Multi);
        let mut found: Option<Found> = None;
        for file in self.files.iter().rev() {
            for (group, name) in option.names() {
                let Some(values) = file.values.get(&(group.to_owned(), name.to_owned())) else { continue };
                let Some((last, line)) = values.last() else { continue };
                let source = Source::File { path: Arc::clone(&file.path), line: *line };
                if (group, name) != (option.group.as_str(), option.opt.name) {
                    self.warnings.push(Warning::Deprecated {
                        at: source.clone(),
                        old: format!("[{group}] {name}"),
                        new: format!("[{}] {}", option.group, option.opt.name),
                    });
                }
                if !multi {
                    return Some(Found { texts: vec![last.clone()], source });
                }
                let found = found.get_or_insert(Found { texts: Vec::new(), source });
                found.texts.splice(0..0, values.iter().map(|(value, _)| value.clone()));
            }
        }
        let default = || Some(Found { texts: vec![option.default.clone()?], source: Source::Default });
        found.or_else(default)
    }

    /// `secret` becomes true when a reference leads to a secret.
    fn value(&mut self, option: &Registered, found: Found, secret: &mut bool) -> Result<Value, Error> {
        let mut values = Vec::new();
        for text in found.texts {
            let text = self.substituted(option, &found.source, &text, secret)?;
            let value = convert(&option.opt.kind, &text).map_err(|allowed| Problem::Value {
                at: found.source.clone(),
                group: option.group.clone(),
                name: option.opt.name.to_owned(),
                value: if *secret { "***".to_owned() } else { mask_credentials(&text) },
                allowed,
            })?;
            values.push(value);
        }
        if matches!(option.opt.kind, Kind::Multi) {
            return Ok(Value::List(values.iter().map(Value::as_reference).collect()));
        }
        Ok(match values.pop().unwrap_or(Value::Unset) {
            Value::Text(text) if *secret => Value::Secret(text.into()),
            value => value,
        })
    }

    /// `text` without references; `secret` becomes true when one of them leads to a secret.
    fn substituted(
        &mut self,
        option: &Registered,
        source: &Source,
        text: &str,
        secret: &mut bool,
    ) -> Result<String, Error> {
        let mut circle = None;
        // A reference may be a piece of a secret, or of a password in a URL.
        let hidden = option.opt.secrecy != Secrecy::Public || mask_credentials(text) != text;
        let result = substitute(text, |reference| match self.lookup(&option.group, reference) {
            Reference::Text { text, secret: leads_to_secret } => {
                *secret |= leads_to_secret;
                Some(text)
            }
            Reference::Circle => {
                circle = Some(reference.to_owned());
                None
            }
            Reference::Unknown => {
                self.warnings.push(Warning::Reference {
                    at: source.clone(),
                    group: option.group.clone(),
                    name: option.opt.name.to_owned(),
                    reference: (!hidden).then(|| reference.to_owned()),
                });
                None
            }
        });
        match circle {
            None => Ok(result),
            Some(reference) => Err(Error::from(Problem::Value {
                at: source.clone(),
                group: option.group.clone(),
                name: option.opt.name.to_owned(),
                value: if hidden { "***".to_owned() } else { mask_credentials(text) },
                allowed: if hidden {
                    "free of references to itself; write $$ for a dollar sign".to_owned()
                } else {
                    format!("free of references to itself, but ${reference} leads back to it")
                },
            })),
        }
    }

    /// `group.name`, or a name in the referring option's group, else in `[DEFAULT]`.
    fn lookup(&mut self, own_group: &str, reference: &str) -> Reference {
        let candidates = match reference.split_once('.') {
            Some((group, name)) => vec![(group, name)],
            None => vec![(own_group, reference), (DEFAULT_GROUP, reference)],
        };
        for (group, name) in candidates {
            let position =
                self.schema.position(group, name).or_else(|| self.former.get(&(group, name)).copied());
            if let Some(position) = position {
                return self.resolve(position).map_or(Reference::Circle, |entry| Reference::Text {
                    secret: entry.secret,
                    text: entry.value.as_reference(),
                });
            }
            if self.schema.known.contains(group, name) {
                return self.known(group, name);
            }
        }
        Reference::Unknown
    }

    /// An option that the schema has not, but that is known: as text, when a file sets it.
    fn known(&mut self, group: &str, name: &str) -> Reference {
        let key = (group.to_owned(), name.to_owned());
        if self.active.contains(&key) {
            return Reference::Circle;
        }
        let values = self.files.iter().rev().find_map(|file| file.values.get(&key));
        let Some((text, _)) = values.and_then(|values| values.last()) else { return Reference::Unknown };
        self.active.push(key);
        let mut secret = is_secret(name) || mask_credentials(text) != *text;
        let mut circle = false;
        let text = substitute(text, |reference| match self.lookup(group, reference) {
            Reference::Text { text, secret: leads_to_secret } => {
                secret |= leads_to_secret;
                Some(text)
            }
            Reference::Circle => {
                circle = true;
                None
            }
            Reference::Unknown => None,
        });
        self.active.pop();
        if circle { Reference::Circle } else { Reference::Text { text, secret } }
    }
}

/// Whether an option that is only known holds a secret, by its name: `[keystone_authtoken] password`,
/// `[database] connection`.
fn is_secret(name: &str) -> bool {
    let words = ["password", "passwd", "secret", "token", "key", "connection", "transport_url"];
    words.iter().any(|word| name.contains(word))
}

/// What a `$name` leads to.
enum Reference {
    Text { text: String, secret: bool },
    Circle,
    Unknown,
}
