//! Configuration files as oslo.config reads them: INI files, the environment, substitution, typed options.
//!
//! A [`Schema`] says which options exist; [`Config::load`] reads the [`Sources`], converts every option of
//! the schema and reports all that is malformed at once. What was loaded answers without failing, because
//! nothing malformed is left.
//!
//! The rules are those of oslo.config 10 (`iniparser.py`, `cfg.py`, `types.py`), with these exceptions, each
//! of them a case in which oslo.config stops the service or does what nobody can want:
//!
//! - a `$name` that names no option stays as it is (oslo.config fails when the option is read); a warning
//!   tells;
//! - a blank number means the option's default (oslo.config gives `None`, also where there is a default);
//! - a multi-valued option set in the environment has that one value (oslo.config takes each character for a
//!   value);
//! - every problem of every file is reported, not only the first.

mod error;
mod find;
mod ini;
mod load;
mod mask;
mod nearest;
mod resolve;
mod schema;
mod substitute;
mod value;
mod values;

#[cfg(test)]
mod tests;

pub use error::{Error, Problem, Warning};
pub use load::{Named, Sources};
pub use mask::mask_credentials;
pub use schema::{Item, Kind, Opt, Schema};
pub use values::{Change, Config, Entry, Group, Source};

/// Where the options live that stand in no other group.
pub const DEFAULT_GROUP: &str = "DEFAULT";

/// Python's `str.strip` and `str.isspace`: Unicode's white space and the four ASCII separators.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}
