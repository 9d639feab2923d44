//! Captured messages, for tests.

use compute::instance::Instance;
use serde_json::{Map, Value};

use crate::objects::parse;

fn message(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap()
}

/// A captured message's arguments.
pub fn args(message: &Map<String, Value>) -> Map<String, Value> {
    message["args"].as_object().unwrap().clone()
}

/// `build_and_run_instance` as a scheduler of 2026.2 sends it.
pub fn build_message() -> Map<String, Value> {
    message(include_str!("../tests/data/build_and_run_instance.json"))
}

/// Its arguments.
pub fn build_args() -> Map<String, Value> {
    args(&build_message())
}

/// `terminate_instance`.
pub fn terminate_message() -> Map<String, Value> {
    message(include_str!("../tests/data/terminate_instance.json"))
}

/// `external_instance_event`: a port changed.
pub fn event_message() -> Map<String, Value> {
    message(include_str!("../tests/data/external_instance_event.json"))
}

/// `stop_instance`: an instance without info cache and flavor.
pub fn stop_message() -> Map<String, Value> {
    message(include_str!("../tests/data/stop_instance.json"))
}

/// `rebuild_instance`, without its request spec.
pub fn rebuild_message() -> Map<String, Value> {
    message(include_str!("../tests/data/rebuild_instance.json"))
}

/// `snapshot_instance`.
pub fn snapshot_message() -> Map<String, Value> {
    message(include_str!("../tests/data/snapshot_instance.json"))
}

/// The instance of the captured build.
pub fn instance() -> Instance {
    parse::instance(&build_args()["instance"]).unwrap()
}
