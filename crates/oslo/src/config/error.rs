//! What can be wrong with a configuration, and what is only worth a word.

use std::fmt;
use std::path::PathBuf;

use super::Source;

/// The configuration cannot be used: all that is wrong with it.
#[derive(Debug, thiserror::Error)]
pub struct Error {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [one] => write!(f, "{one}"),
            many => {
                write!(f, "{} problems in the configuration:", many.len())?;
                many.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

/// One thing to correct. The operator finds the place and the remedy in its text.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A file or directory that was named cannot be read.
    #[error("{}: cannot be read: {reason}", path.display())]
    Unreadable {
        /// As it was named.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// A line that is no section, assignment, continuation or comment.
    #[error("{}:{line}: {what}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: u32,
        /// What is wrong, and what would be right. Never the line itself, which may hold a password.
        what: String,
    },
    /// An option whose value is not allowed.
    #[error("{place}: [{group}] {name} = {value}: must be {allowed}", place = .at)]
    Value {
        /// Where the value came from.
        at: Source,
        /// The option's group.
        group: String,
        /// The option's present name.
        name: String,
        /// The value; `***` when it is secret.
        value: String,
        /// What the option accepts.
        allowed: String,
    },
    /// An option that is needed has no value, or its value does not fit the others.
    #[error("[{group}] {name}: {remedy}")]
    Needed {
        /// The option's group.
        group: String,
        /// The option's name.
        name: String,
        /// What is wrong and what to do about it.
        remedy: String,
    },
}

/// Something the operator should know of, and that stops nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// Neither this service nor the one it replaces knows the option.
    Unknown {
        /// Where it stands.
        at: Source,
        /// The group it stands in.
        group: String,
        /// Its name as written.
        name: String,
        /// `[group] name` of the most similar option.
        nearest: Option<String>,
    },
    /// The option was set by a name it used to have.
    Deprecated {
        /// Where it stands.
        at: Source,
        /// The old `[group] name`.
        old: String,
        /// The present `[group] name`.
        new: String,
    },
    /// `$name` in a value refers to no option, and was left as it is.
    Reference {
        /// Where the value came from.
        at: Source,
        /// The option's group.
        group: String,
        /// The option's name.
        name: String,
        /// What was referred to; nothing when the option is secret, for it is part of the secret then.
        reference: Option<String>,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { at, group, name, nearest } => {
                write!(f, "{at}: [{group}] {name} is no known option and is ignored")?;
                nearest.as_ref().map_or(Ok(()), |nearest| write!(f, "; did you mean {nearest}?"))
            }
            Self::Deprecated { at, old, new } => {
                write!(f, "{at}: {old} is the old name of {new}: use the new one")
            }
            Self::Reference { at, group, name, reference } => {
                write!(f, "{at}: [{group}] {name} refers by ")?;
                match reference {
                    Some(reference) => write!(f, "${reference}")?,
                    None => f.write_str("a dollar sign")?,
                }
                f.write_str(" to no option and is taken literally; write $$ for a dollar sign")
            }
        }
    }
}
