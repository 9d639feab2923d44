//! One event with all that a line may say of it: what Python's `LogRecord` and oslo.log's context make
//! available.

use time::OffsetDateTime;
use tracing::{Level, Metadata};

use super::fields::Fields;

pub(super) struct Record {
    pub at: OffsetDateTime,
    pub level: Level,
    /// The logger's name, with dots as in Python.
    pub name: String,
    pub path: &'static str,
    pub line: u32,
    pub fields: Fields,
}

impl Record {
    pub fn new(metadata: &'static Metadata<'static>, fields: Fields) -> Self {
        Self {
            at: OffsetDateTime::now_utc(),
            level: *metadata.level(),
            name: metadata.target().replace("::", "."),
            path: metadata.file().unwrap_or_default(),
            line: metadata.line().unwrap_or_default(),
            fields,
        }
    }

    /// Python's name of the level.
    pub fn level_name(&self) -> &'static str {
        match self.level {
            Level::ERROR => "ERROR",
            Level::WARN => "WARNING",
            Level::INFO => "INFO",
            Level::DEBUG => "DEBUG",
            Level::TRACE => "TRACE",
        }
    }

    /// Python's number of the level; oslo.log's TRACE is 5.
    pub fn level_number(&self) -> u8 {
        match self.level {
            Level::ERROR => 40,
            Level::WARN => 30,
            Level::INFO => 20,
            Level::DEBUG => 10,
            Level::TRACE => 5,
        }
    }

    /// The last part of the logger's name.
    pub fn module(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or_default()
    }

    /// The file's name without its directory.
    pub fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}
