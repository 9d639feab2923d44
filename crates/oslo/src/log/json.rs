//! Lines as oslo.log's `JSONFormatter` writes them: one object a line.

use serde_json::{Map, Value, json};

use super::options::Options;
use super::record::Record;
use super::text;

/// The line, with its line feed.
pub(super) fn line(record: &Record, options: &Options) -> String {
    let mut context: Map<String, Value> =
        record.fields.contexts().map(|(name, value)| (name.to_owned(), value.into())).collect();
    if !context.is_empty() {
        let identity =
            options.user_identity.format(|name| record.fields.context(name).unwrap_or("-").to_owned());
        context.insert("user_identity".to_owned(), identity.into());
    }
    let mut extra: Map<String, Value> =
        record.fields.others.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    if let Some(instance) = record.fields.context("instance") {
        extra.insert("instance".to_owned(), instance.into());
    }
    let millis = record.at.unix_timestamp_nanos() / 1_000_000;
    // Exact: a time in milliseconds has fewer than 53 bits.
    #[allow(clippy::cast_precision_loss)]
    let created = millis as f64 / 1000.0;
    let mut line = json!({
        "message": text::message(record),
        "asctime": text::date(record, options),
        "name": record.name,
        "msg": record.fields.message,
        "args": [],
        "levelname": record.level_name(),
        "levelno": record.level_number(),
        "pathname": record.path,
        "filename": record.file_name(),
        "module": record.module(),
        "lineno": record.line,
        "funcname": record.module(),
        "created": created,
        "msecs": record.at.millisecond(),
        "relative_created": null,
        "thread": null,
        "thread_name": std::thread::current().name(),
        "process_name": options.program,
        "process": std::process::id(),
        "traceback": null,
        "hostname": options.host,
        "error_summary": "",
        "context": context,
        "extra": extra,
    })
    .to_string();
    line.push('\n');
    line
}
