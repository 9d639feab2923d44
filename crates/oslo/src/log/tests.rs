//! Whole lines: what an event under its spans looks like in the file.

use std::path::Path;

use serde_json::Value;
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;
use crate::config::{Config, DEFAULT_GROUP, Schema, Sources};
use crate::context::RequestContext;

fn options(text: &str) -> Result<Options, crate::config::Error> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.conf");
    std::fs::write(&path, format!("[DEFAULT]\n{text}")).unwrap();
    let schema = Schema::new("").group(DEFAULT_GROUP, &[OPTIONS]);
    let config = Config::load(&Sources { paths: vec![path], ..Sources::default() }, &schema)?;
    Options::from_config(&config, "nova-compute")
}

/// What the events of `work` leave in the file.
fn logged(directory: &Path, text: &str, work: impl FnOnce(&Handle)) -> Vec<String> {
    let options = options(&format!("log_dir={}\n{text}", directory.display())).unwrap();
    let (layer, handle) = layer::<Registry>(options).unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || work(&handle));
    let text = std::fs::read_to_string(directory.join("nova-compute.log")).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn lines(text: &str, work: impl FnOnce(&Handle)) -> Vec<String> {
    logged(tempfile::tempdir().unwrap().path(), text, work)
}

fn context() -> RequestContext {
    RequestContext {
        request_id: "req-1".to_owned(),
        user_id: Some("ann".to_owned()),
        project_id: Some("web".to_owned()),
        user_domain_id: Some("default".to_owned()),
        ..RequestContext::admin()
    }
}

/// The line behind its time, which ends the first two words.
fn after_time(line: &str) -> &str {
    let (date, rest) = line.split_at(24);
    let shape: String = date.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00 00:00:00.000 ");
    rest
}

#[test]
fn a_line_without_context_is_that_of_oslo_log() {
    let found = lines("", |_| tracing::info!(target: "nova::server", nodes = 3, name = "a b", "started"));
    let pid = std::process::id();
    assert_eq!(after_time(&found[0]), format!("{pid} INFO nova.server [-] started nodes=3 name=\"a b\""));
}

#[test]
fn the_request_and_the_instance_come_from_the_spans() {
    let found = lines("", |_| {
        let _request = request_span(&context()).entered();
        let _instance = instance_span("8c2").entered();
        tracing::warn!(target: "driver", node = %"n1", "locked");
    });
    let pid = std::process::id();
    let expected =
        format!("{pid} WARNING driver [None req-1 ann web - - default -] [instance: 8c2] locked node=n1");
    assert_eq!(after_time(&found[0]), expected);
}

#[test]
fn fields_of_an_event_win_over_those_of_its_spans() {
    let found = lines("logging_default_format_string=%(instance)s%(message)s\n", |_| {
        let _outer = tracing::info_span!("outer", step = 1, node = "n1").entered();
        tracing::info!(step = 2, instance = "i1", "done");
    });
    assert_eq!(found, ["[instance: i1] done step=2 node=n1"]);
}

#[test]
fn debug_lines_say_where_they_are_from() {
    let format = "logging_default_format_string=%(message)s\n";
    let work = |_: &Handle| {
        tracing::debug!("detail");
        tracing::info!("news");
    };
    assert_eq!(lines(format, work), ["news"]);
    let found = lines(&format!("{format}debug=true\n"), work);
    assert!(found[0].starts_with("detail ") && found[0].contains("log/tests.rs:"), "{found:?}");
    assert_eq!(found[1], "news");
}

#[test]
fn json_has_the_keys_of_oslo_log() {
    let found = lines("use_json=true\n", |_| {
        let _request = request_span(&context()).entered();
        tracing::error!(target: "nova::server", instance = "8c2", nodes = 3, "it \"broke\"\nhere");
    });
    assert_eq!(found.len(), 1);
    let line: Value = serde_json::from_str(&found[0]).unwrap();
    assert_eq!(line["message"], "it \"broke\"\nhere nodes=3");
    assert_eq!(
        (&line["levelname"], &line["levelno"], &line["name"]),
        (&"ERROR".into(), &40.into(), &"nova.server".into())
    );
    assert_eq!(line["context"]["request_id"], "req-1");
    assert_eq!(line["context"]["user_identity"], "ann web - - default -");
    assert_eq!(line["extra"], serde_json::json!({"nodes": 3, "instance": "8c2"}));
    for key in
        ["asctime", "created", "pathname", "lineno", "process", "hostname", "traceback", "error_summary"]
    {
        assert!(line.get(key).is_some(), "{key}");
    }
}

#[test]
fn levels_and_the_file_change_while_running() {
    let directory = tempfile::tempdir().unwrap();
    let format = "logging_default_format_string=%(message)s\nlogging_debug_format_suffix=\n";
    let found = logged(directory.path(), format, |handle| {
        tracing::debug!("unheard");
        tracing::info!("before");
        let text = format!("debug=true\nlog_file={}/other.log\n{format}", directory.path().display());
        handle.reload(options(&text).unwrap()).unwrap();
        tracing::debug!("after");
    });
    assert_eq!(found, ["before"]);
    assert_eq!(std::fs::read_to_string(directory.path().join("other.log")).unwrap(), "after\n");
}

#[test]
fn options_that_make_no_sense_are_named() {
    for (text, part) in [
        ("default_log_levels=a=LOUD\n", "a=LOUD is none"),
        (
            "logging_default_format_string=%(message\n",
            "[DEFAULT] logging_default_format_string = %(message: must be",
        ),
        ("log_date_format=%Q\n", "log_date_format = %Q"),
    ] {
        let error = options(text).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let absent = layer::<Registry>(options("log_file=/nonexistent/x.log\n").unwrap()).err().unwrap();
    assert!(absent.to_string().starts_with("log file /nonexistent/x.log: "));
}
