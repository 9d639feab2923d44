//! `/v1/volume/connectors` and `/v1/volume/targets`.

use serde_json::{Value, json};
use uuid::Uuid;

use super::parts::{Kind, node_of_new, wanted_id};
use super::{Answer, Context, Refusal, Reply};
use crate::machine::State;
use crate::model::{Node, VolumeConnector, VolumeTarget};

const CONNECTOR_ID: u16 = 0x0c0c;
const TARGET_ID: u16 = 0x07a7;

const CONNECTORS: Kind<VolumeConnector> = Kind {
    path: "volume/connectors",
    item: "connectors",
    summary: &["uuid", "node_uuid", "type", "connector_id"],
    of: |node| &node.connectors,
    document: connector,
    not_found: |ident| format!("Volume connector {ident} could not be found."),
};

const TARGETS: Kind<VolumeTarget> = Kind {
    path: "volume/targets",
    item: "targets",
    summary: &["uuid", "node_uuid", "volume_type", "boot_index", "volume_id"],
    of: |node| &node.targets,
    document: target,
    not_found: |ident| format!("Volume target {ident} could not be found."),
};

fn connector(cx: &Context<'_>, node: &Node, it: &VolumeConnector) -> Value {
    json!({
        "uuid": it.uuid, "created_at": "2026-01-01T00:00:00+00:00", "updated_at": null, "connector_id": it.connector_id,
        "extra": it.extra, "type": it.kind, "links": cx.links("volume/connectors", it.uuid), "node_uuid": node.uuid,
    })
}

fn target(cx: &Context<'_>, node: &Node, it: &VolumeTarget) -> Value {
    json!({
        "uuid": it.uuid, "created_at": "2026-01-01T00:00:00+00:00", "updated_at": null, "boot_index": it.boot_index,
        "extra": it.extra, "properties": it.properties, "volume_id": it.volume_id, "volume_type": it.volume_type,
        "links": cx.links("volume/targets", it.uuid), "node_uuid": node.uuid,
    })
}

pub(super) fn connectors(cx: &mut Context<'_>, parent: Option<Uuid>, rest: &[&str]) -> Answer {
    supported(cx)?;
    match (cx.req.method.as_str(), rest) {
        ("GET", []) => CONNECTORS.list(cx, parent, false, &|_| true),
        ("GET", [ident]) => CONNECTORS.show(cx, ident, |c| c.uuid.to_string() == *ident),
        ("POST", []) => create_connector(cx, parent),
        ("DELETE", [ident]) => {
            let node = CONNECTORS.owner(cx, ident)?;
            let id = node.uuid;
            removable(node, "connector")?;
            cx.edit(id, |record| record.node.connectors.retain(|c| c.uuid.to_string() != *ident))?;
            Ok(Reply::no_content())
        }
        _ => Err(Refusal::not_found()),
    }
}

pub(super) fn targets(cx: &mut Context<'_>, parent: Option<Uuid>, rest: &[&str]) -> Answer {
    supported(cx)?;
    match (cx.req.method.as_str(), rest) {
        ("GET", []) => TARGETS.list(cx, parent, false, &|_| true),
        ("GET", [ident]) => TARGETS.show(cx, ident, |t| t.uuid.to_string() == *ident),
        ("POST", []) => create_target(cx, parent),
        ("DELETE", [ident]) => {
            let node = TARGETS.owner(cx, ident)?;
            let id = node.uuid;
            removable(node, "target")?;
            cx.edit(id, |record| record.node.targets.retain(|t| t.uuid.to_string() != *ident))?;
            Ok(Reply::no_content())
        }
        _ => Err(Refusal::not_found()),
    }
}

fn supported(cx: &Context<'_>) -> Result<(), Refusal> {
    if cx.req.minor < 32 { Err(Refusal::not_found()) } else { Ok(()) }
}

/// Ironic takes a volume away only from a machine that is off, or not in use (`destroy_volume_target`).
fn removable(node: &Node, what: &str) -> Result<(), Refusal> {
    let idle = matches!(node.provision_state, State::Manageable | State::Enroll | State::AdoptFailed);
    let power = node.power_state.as_deref();
    if idle || power == Some("power off") {
        return Ok(());
    }
    Err(Refusal::state(&format!("volume {what} deletion"), node.uuid, power.unwrap_or("None")))
}

fn create_connector(cx: &mut Context<'_>, parent: Option<Uuid>) -> Answer {
    let node = node_of_new(cx, parent)?;
    let (Some(kind), Some(connector_id)) = (cx.req.text("type"), cx.req.text("connector_id")) else {
        return Err(Refusal::invalid("Schema error for connector: 'type' and 'connector_id' are required"));
    };
    let uuid = match wanted_id(cx)? {
        Some(id) => id,
        None => cx.world.fresh_id(CONNECTOR_ID),
    };
    let taken = |r: &crate::world::Record| {
        r.node.connectors.iter().any(|c| c.kind == kind && c.connector_id == connector_id)
    };
    if cx.world.after(None).any(taken) {
        return Err(Refusal::new(
            409,
            format!("A volume connector with type {kind} and connector ID {connector_id} already exists."),
        ));
    }
    let new = VolumeConnector { uuid, kind, connector_id, extra: cx.req.object("extra") };
    let shown = connector(cx, &cx.record(node)?.node, &new);
    cx.edit(node, |record| record.node.connectors.push(new))?;
    Ok(Reply::created(shown, format!("v1/volume/connectors/{uuid}")))
}

fn create_target(cx: &mut Context<'_>, parent: Option<Uuid>) -> Answer {
    let node = node_of_new(cx, parent)?;
    let (Some(volume_type), Some(volume_id)) = (cx.req.text("volume_type"), cx.req.text("volume_id")) else {
        return Err(Refusal::invalid("Schema error for target: 'volume_type' and 'volume_id' are required"));
    };
    let Some(boot_index) = cx.req.body["boot_index"].as_i64() else {
        let value = &cx.req.body["boot_index"];
        return Err(Refusal::invalid(format!("Schema error for target: {value} is not of type 'integer'")));
    };
    if cx.record(node)?.node.targets.iter().any(|t| t.boot_index == boot_index) {
        return Err(Refusal::new(
            409,
            format!("A volume target with boot index '{boot_index}' for the same node already exists."),
        ));
    }
    let uuid = match wanted_id(cx)? {
        Some(id) => id,
        None => cx.world.fresh_id(TARGET_ID),
    };
    let new = VolumeTarget {
        uuid,
        volume_type,
        volume_id,
        boot_index,
        properties: cx.req.object("properties"),
        extra: cx.req.object("extra"),
    };
    let shown = target(cx, &cx.record(node)?.node, &new);
    // The API writes targets into the database without asking a conductor: a lock does not matter.
    cx.world.edit(node, |record| record.node.targets.push(new));
    Ok(Reply::created(shown, format!("v1/volume/targets/{uuid}")))
}
