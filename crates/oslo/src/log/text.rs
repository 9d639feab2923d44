//! Lines as oslo.log's `ContextFormatter` writes them.

use std::fmt::Write as _;

use serde_json::Value;
use tracing::Level;

use super::options::Options;
use super::record::Record;

/// The line, with its line feed.
pub(super) fn line(record: &Record, options: &Options) -> String {
    let has_context = record.fields.context("request_id").is_some();
    let pattern = if has_context { &options.with_context } else { &options.without_context };
    let mut line = pattern.format(|name| value(record, options, name));
    if record.level == Level::DEBUG
        && let Some(suffix) = &options.debug_suffix
    {
        line.push(' ');
        line.push_str(&suffix.format(|name| value(record, options, name)));
    }
    line.push('\n');
    line
}

/// `%(name)s`; empty for what there is not.
fn value(record: &Record, options: &Options, name: &str) -> String {
    let fields = &record.fields;
    match name {
        "message" => message(record),
        "asctime" => date(record, options),
        "isotime" => {
            let iso = time::macros::format_description!(
                "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]+00:00"
            );
            record.at.format(&iso).unwrap_or_default()
        }
        "msecs" => record.at.millisecond().to_string(),
        "process" => std::process::id().to_string(),
        "processName" => options.program.clone(),
        "levelname" => record.level_name().to_owned(),
        "levelno" => record.level_number().to_string(),
        "name" => record.name.clone(),
        "module" | "funcName" => record.module().to_owned(),
        "pathname" => record.path.to_owned(),
        "filename" => record.file_name().to_owned(),
        "lineno" => record.line.to_string(),
        "threadName" => std::thread::current().name().unwrap_or_default().to_owned(),
        "instance" => {
            let uuid = fields.context("instance");
            uuid.map(|uuid| options.instance.format(|_| uuid.to_owned())).unwrap_or_default()
        }
        "user_identity" => options
            .user_identity
            .format(|name| fields.context(name).filter(|value| !value.is_empty()).unwrap_or("-").to_owned()),
        // Python's way to write that there is none.
        "global_request_id" => fields.context(name).unwrap_or("None").to_owned(),
        _ => fields.context(name).unwrap_or_default().to_owned(),
    }
}

/// The time in `log_date_format`.
pub(super) fn date(record: &Record, options: &Options) -> String {
    record.at.format(&options.date).unwrap_or_default()
}

/// The message with the fields that have no place of their own.
pub(super) fn message(record: &Record) -> String {
    let mut message = record.fields.message.clone();
    for (name, value) in &record.fields.others {
        if !message.is_empty() {
            message.push(' ');
        }
        // Writing to a string does not fail.
        let _ = match value {
            Value::String(text) if is_plain(text) => write!(message, "{name}={text}"),
            Value::String(text) => write!(message, "{name}={text:?}"),
            other => write!(message, "{name}={other}"),
        };
    }
    message
}

/// Whether a text can stand after `=` without quotes.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"')
}
