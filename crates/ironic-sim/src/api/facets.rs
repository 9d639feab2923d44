//! What hangs on a node besides its document: validation, maintenance, traits.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Answer, Context, Refusal, Reply};

/// All interfaces, in the order a real Ironic answered.
const INTERFACES: [&str; 12] = [
    "boot",
    "deploy",
    "management",
    "network",
    "power",
    "bios",
    "console",
    "firmware",
    "inspect",
    "raid",
    "rescue",
    "storage",
];

pub(super) fn validate(cx: &Context<'_>, id: Uuid) -> Answer {
    let record = cx.record(id)?;
    let mut doc = Map::new();
    for interface in INTERFACES {
        let missing = (interface == "deploy" && !record.node.has_boot_source()).then(|| no_boot_source(id));
        let verdict = match record.invalid.get(interface).cloned().or(missing) {
            Some(reason) => json!({"result": false, "reason": reason}),
            None => json!({"result": true}),
        };
        doc.insert(interface.to_owned(), verdict);
    }
    Ok(Reply::json(Value::Object(doc)))
}

/// What the deploy interface says of a node that has nothing to boot.
pub(super) fn no_boot_source(id: Uuid) -> String {
    format!(
        "Cannot validate image information for node {id} because one or more parameters are missing from its \
         instance_info and insufficient information is present to boot from a remote volume. Missing are: \
         ['image_source']"
    )
}

/// `PUT …/management/inject_nmi`: done when it is answered, and nothing of the node tells of it.
pub(super) fn inject_nmi(cx: &mut Context<'_>, id: Uuid) -> Answer {
    if cx.req.minor < 29 {
        return Err(Refusal::not_found());
    }
    cx.unlocked(id)?;
    if !cx.world.config.nmi {
        let driver = &cx.record(id)?.node.driver;
        return Err(Refusal::invalid(format!(
            "Driver {driver} does not support inject_nmi (disabled or not implemented)."
        )));
    }
    cx.edit(id, |record| record.node.interrupts += 1)?;
    Ok(Reply::no_content())
}

pub(super) fn maintenance(cx: &mut Context<'_>, id: Uuid, on: bool) -> Answer {
    let reason = cx.req.text("reason");
    cx.edit(id, |record| {
        record.node.maintenance = on;
        record.node.maintenance_reason = reason.filter(|_| on);
        if !on {
            record.node.fault = None;
        }
    })?;
    Ok(Reply::accepted(None))
}

pub(super) fn traits(cx: &mut Context<'_>, id: Uuid, one: &[&str]) -> Answer {
    match (cx.req.method.as_str(), one) {
        ("GET", []) => Ok(Reply::json(json!({"traits": cx.record(id)?.node.traits}))),
        ("PUT", []) => {
            let Some(list) = cx.req.body["traits"].as_array() else {
                return Err(Refusal::invalid("A list of traits is required in the request body."));
            };
            let mut traits: Vec<String> = list.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            traits.sort();
            traits.dedup();
            cx.edit(id, |record| record.node.traits = traits)?;
            Ok(Reply::no_content())
        }
        ("PUT", [name]) => {
            let name = (*name).to_owned();
            cx.edit(id, |record| {
                record.node.traits.retain(|t| *t != name);
                record.node.traits.push(name);
            })?;
            Ok(Reply::no_content())
        }
        ("DELETE", []) => {
            cx.edit(id, |record| record.node.traits.clear())?;
            Ok(Reply::no_content())
        }
        ("DELETE", [name]) if cx.record(id)?.node.traits.iter().any(|t| t == name) => {
            cx.edit(id, |record| record.node.traits.retain(|t| t != name))?;
            Ok(Reply::no_content())
        }
        ("DELETE", [name]) => Err(Refusal::new(404, format!("Node {id} doesn't have a trait '{name}'"))),
        _ => Err(Refusal::not_found()),
    }
}
