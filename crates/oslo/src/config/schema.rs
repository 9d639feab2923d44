//! Which options exist: static tables of [`Opt`], registered for groups.

use std::collections::HashMap;

use super::ini::normalized_group;
use super::nearest::Known;

/// What an option's text may be and how it is understood (`oslo_config/types.py`).
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Any text.
    String,
    /// One of these words.
    Choice {
        /// The words.
        allowed: &'static [&'static str],
        /// Whether case matters not.
        ignore_case: bool,
    },
    /// Text that passes a check.
    Checked {
        /// What the check demands, to end "must be …".
        allowed: &'static str,
        /// The check.
        check: fn(&str) -> bool,
    },
    /// A whole number.
    Int {
        /// The least allowed.
        min: Option<i64>,
        /// The greatest allowed.
        max: Option<i64>,
    },
    /// A number.
    Float {
        /// The least allowed.
        min: Option<f64>,
        /// The greatest allowed.
        max: Option<f64>,
    },
    /// `true`, `1`, `on`, `yes`, `false`, `0`, `off`, `no` in any case.
    Bool,
    /// Items separated by commas.
    List(Item),
    /// `name:value` separated by commas.
    Dict,
    /// An option that may be repeated; each line is one value.
    Multi,
}

/// What the items of a list may be.
#[derive(Clone, Copy, Debug)]
pub enum Item {
    /// Any text.
    Any,
    /// Whole numbers.
    Int,
    /// These words.
    Choice(&'static [&'static str]),
}

/// How much of a value may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secrecy {
    /// All but credentials inside a URL.
    Public,
    /// Nothing.
    Secret,
    /// It is a URL with credentials: all but those.
    Url,
}

/// One option. Its group is said where it is registered, for the same table may serve several groups.
#[derive(Clone, Copy, Debug)]
pub struct Opt {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) default: Option<&'static str>,
    /// Group and name; an empty one is the option's own.
    pub(super) deprecated: &'static [(&'static str, &'static str)],
    pub(super) secrecy: Secrecy,
    pub(super) mutable: bool,
}

impl Opt {
    /// An option of any kind, without a default.
    #[must_use]
    pub const fn new(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, default: None, deprecated: &[], secrecy: Secrecy::Public, mutable: false }
    }

    /// Any text.
    #[must_use]
    pub const fn string(name: &'static str) -> Self {
        Self::new(name, Kind::String)
    }

    /// One of some words.
    #[must_use]
    pub const fn choice(name: &'static str, allowed: &'static [&'static str]) -> Self {
        Self::new(name, Kind::Choice { allowed, ignore_case: false })
    }

    /// A whole number.
    #[must_use]
    pub const fn int(name: &'static str) -> Self {
        Self::new(name, Kind::Int { min: None, max: None })
    }

    /// A whole number of at least `min`.
    #[must_use]
    pub const fn int_from(name: &'static str, min: i64) -> Self {
        Self::new(name, Kind::Int { min: Some(min), max: None })
    }

    /// A number.
    #[must_use]
    pub const fn float(name: &'static str) -> Self {
        Self::new(name, Kind::Float { min: None, max: None })
    }

    /// Yes or no.
    #[must_use]
    pub const fn bool(name: &'static str) -> Self {
        Self::new(name, Kind::Bool)
    }

    /// Texts separated by commas.
    #[must_use]
    pub const fn list(name: &'static str) -> Self {
        Self::new(name, Kind::List(Item::Any))
    }

    /// An option that may be repeated.
    #[must_use]
    pub const fn multi(name: &'static str) -> Self {
        Self::new(name, Kind::Multi)
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The value when nothing sets it, as one would write it in a file.
    #[must_use]
    pub const fn default(mut self, text: &'static str) -> Self {
        self.default = Some(text);
        self
    }

    /// The names it used to have: group and name, an empty one being the option's own.
    #[must_use]
    pub const fn deprecated(mut self, names: &'static [(&'static str, &'static str)]) -> Self {
        self.deprecated = names;
        self
    }

    /// Its value is never shown.
    #[must_use]
    pub const fn secret(mut self) -> Self {
        self.secrecy = Secrecy::Secret;
        self
    }

    /// Its value is a URL with credentials: secret, but shown without them.
    #[must_use]
    pub const fn secret_url(mut self) -> Self {
        self.secrecy = Secrecy::Url;
        self
    }

    /// A change of it takes effect when the configuration is read again.
    #[must_use]
    pub const fn mutable(mut self) -> Self {
        self.mutable = true;
        self
    }
}

/// An option in its group.
#[derive(Clone, Debug)]
pub(super) struct Registered {
    pub group: String,
    pub opt: Opt,
    pub default: Option<String>,
}

impl Registered {
    /// The present and the former names, as oslo.config tries them.
    pub fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        let own = (self.group.as_str(), self.opt.name);
        let former = self.opt.deprecated.iter().map(move |&(group, name)| {
            (if group.is_empty() { own.0 } else { group }, if name.is_empty() { own.1 } else { name })
        });
        std::iter::once(own).chain(former)
    }
}

/// All options, and the names that are known beyond them.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    pub(super) options: Vec<Registered>,
    index: HashMap<String, HashMap<&'static str, usize>>,
    pub(super) known: Known,
    pub(super) follow: Vec<(&'static str, &'static [Opt])>,
}

impl Schema {
    /// A schema without options. `known` names the options that may be set and are not used: lines of `group:
    /// name name …`, where a group may end in `*`; `#` begins a comment.
    #[must_use]
    pub fn new(known: &'static str) -> Self {
        Self { known: Known::parse(known), ..Self::default() }
    }

    /// Registers tables for a group. An option that is there already stays.
    #[must_use]
    pub fn group(mut self, group: &str, tables: &[&'static [Opt]]) -> Self {
        for table in tables {
            self.register(group, table);
        }
        self
    }

    /// Gives an option of a group another default than its table does, or one that is only known at run time.
    #[must_use]
    pub fn with_default(mut self, group: &str, name: &str, text: impl Into<String>) -> Self {
        if let Some(position) = self.position(group, name) {
            self.options[position].default = Some(text.into());
        }
        self
    }

    /// Wherever the option `name` is set, its value is the name of a group that has the options of `table`
    /// too.
    #[must_use]
    pub fn follow(mut self, name: &'static str, table: &'static [Opt]) -> Self {
        self.follow.push((name, table));
        self
    }

    pub(super) fn register(&mut self, group: &str, table: &[Opt]) {
        let group = normalized_group(group);
        let names = self.index.entry(group.clone()).or_default();
        for &opt in table {
            names.entry(opt.name).or_insert_with(|| {
                let default = opt.default.map(str::to_owned);
                self.options.push(Registered { group: group.clone(), opt, default });
                self.options.len() - 1
            });
        }
    }

    pub(super) fn position(&self, group: &str, name: &str) -> Option<usize> {
        self.index.get(group)?.get(name).copied()
    }
}
