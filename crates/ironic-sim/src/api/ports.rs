//! `/v1/ports` and `/v1/portgroups`, alone and below a node.

use serde_json::{Value, json};
use uuid::Uuid;

use super::parts::{Kind, node_of_new, wanted_id};
use super::{Answer, Context, Refusal, Reply};
use crate::model::{Node, Port, PortGroup};

/// Kinds of the ids given out.
pub(crate) const PORT_ID: u16 = 0x0b0b;
const GROUP_ID: u16 = 0x0b9b;

const PORTS: Kind<Port> = Kind {
    path: "ports",
    item: "ports",
    summary: &["uuid", "address"],
    of: |node| &node.ports,
    document: port,
    not_found: |ident| format!("Port {ident} could not be found."),
};

const GROUPS: Kind<PortGroup> = Kind {
    path: "portgroups",
    item: "portgroups",
    summary: &["uuid", "address", "name"],
    of: |node| &node.port_groups,
    document: group,
    not_found: |ident| format!("Portgroup {ident} could not be found."),
};

fn port(cx: &Context<'_>, node: &Node, port: &Port) -> Value {
    let minor = cx.req.minor;
    let mut doc = json!({
        "uuid": port.uuid, "created_at": "2026-01-01T00:00:00+00:00", "updated_at": null,
        "address": port.address, "extra": port.extra, "internal_info": port.internal_info, "is_smartnic": false,
        "local_link_connection": port.local_link_connection, "physical_network": port.physical_network,
        "pxe_enabled": port.pxe_enabled, "node_uuid": node.uuid, "name": port.name, "description": null,
        "vendor": null, "category": null, "available_for_dynamic_portgroup": true,
        "links": cx.links("ports", port.uuid), "portgroup_uuid": port.port_group,
    });
    // `hide_fields_in_newer_versions` of Ironic's port controller.
    for (key, since) in [
        ("internal_info", 18),
        ("local_link_connection", 19),
        ("pxe_enabled", 19),
        ("portgroup_uuid", 24),
        ("physical_network", 34),
        ("is_smartnic", 53),
        ("name", 88),
        ("description", 97),
        ("vendor", 100),
        ("category", 101),
        ("available_for_dynamic_portgroup", 111),
    ] {
        if let (true, Some(map)) = (minor < since, doc.as_object_mut()) {
            map.shift_remove(key);
        }
    }
    doc
}

fn group(cx: &Context<'_>, node: &Node, group: &PortGroup) -> Value {
    json!({
        "uuid": group.uuid, "created_at": "2026-01-01T00:00:00+00:00", "updated_at": null,
        "address": group.address, "extra": group.extra, "internal_info": group.internal_info, "mode": group.mode,
        "name": group.name, "properties": group.properties,
        "standalone_ports_supported": group.standalone_ports_supported, "node_uuid": node.uuid,
        "links": cx.links("portgroups", group.uuid),
    })
}

pub(super) fn ports(cx: &mut Context<'_>, parent: Option<Uuid>, rest: &[&str]) -> Answer {
    let address = cx.req.query("address").map(str::to_lowercase);
    let keep = |port: &Port| address.as_ref().is_none_or(|a| *a == port.address);
    match (cx.req.method.as_str(), rest) {
        ("GET", []) => PORTS.list(cx, parent, false, &keep),
        ("GET", ["detail"]) => PORTS.list(cx, parent, true, &keep),
        ("GET", [ident]) => PORTS.show(cx, ident, |p| p.uuid.to_string() == *ident),
        ("POST", []) => create_port(cx, parent),
        ("DELETE", [ident]) => {
            let id = PORTS.owner(cx, ident)?.uuid;
            cx.edit(id, |record| record.node.ports.retain(|p| p.uuid.to_string() != *ident))?;
            Ok(Reply::no_content())
        }
        _ => Err(Refusal::not_found()),
    }
}

pub(super) fn groups(cx: &mut Context<'_>, parent: Option<Uuid>, rest: &[&str]) -> Answer {
    if cx.req.minor < 23 {
        return Err(Refusal::not_found());
    }
    let address = cx.req.query("address").map(str::to_lowercase);
    let keep = |group: &PortGroup| address.is_none() || address == group.address;
    match (cx.req.method.as_str(), rest) {
        ("GET", []) => GROUPS.list(cx, parent, false, &keep),
        ("GET", ["detail"]) => GROUPS.list(cx, parent, true, &keep),
        ("GET", [ident]) => GROUPS.show(cx, ident, |g| g.uuid.to_string() == *ident),
        ("POST", []) => create_group(cx, parent),
        ("DELETE", [ident]) => {
            let id = GROUPS.owner(cx, ident)?.uuid;
            cx.edit(id, |record| record.node.port_groups.retain(|g| g.uuid.to_string() != *ident))?;
            Ok(Reply::no_content())
        }
        _ => Err(Refusal::not_found()),
    }
}

fn create_port(cx: &mut Context<'_>, parent: Option<Uuid>) -> Answer {
    let node = node_of_new(cx, parent)?;
    let Some(address) = cx.req.text("address").map(|a| a.to_lowercase()) else {
        return Err(Refusal::invalid("Schema error for port: 'address' is a required property"));
    };
    if cx.world.has_address(&address) {
        return Err(Refusal::new(409, format!("A port with MAC address {address} already exists.")));
    }
    let uuid = match wanted_id(cx)? {
        Some(id) => id,
        None => cx.world.fresh_id(PORT_ID),
    };
    let new = Port {
        uuid,
        address,
        name: cx.req.text("name"),
        pxe_enabled: cx.req.body["pxe_enabled"].as_bool().unwrap_or(true),
        physical_network: cx.req.text("physical_network"),
        port_group: cx.req.text("portgroup_uuid").and_then(|g| g.parse().ok()),
        local_link_connection: cx.req.object("local_link_connection"),
        extra: cx.req.object("extra"),
        internal_info: serde_json::Map::new(),
    };
    let shown = port(cx, &cx.record(node)?.node, &new);
    cx.edit(node, |record| record.node.ports.push(new))?;
    Ok(Reply::created(shown, format!("v1/ports/{uuid}")))
}

fn create_group(cx: &mut Context<'_>, parent: Option<Uuid>) -> Answer {
    let node = node_of_new(cx, parent)?;
    let uuid = match wanted_id(cx)? {
        Some(id) => id,
        None => cx.world.fresh_id(GROUP_ID),
    };
    let new = PortGroup {
        uuid,
        address: cx.req.text("address").map(|a| a.to_lowercase()),
        name: cx.req.text("name"),
        mode: cx.req.text("mode").unwrap_or_else(|| "active-backup".into()),
        standalone_ports_supported: cx.req.body["standalone_ports_supported"].as_bool().unwrap_or(true),
        properties: cx.req.object("properties"),
        extra: cx.req.object("extra"),
        internal_info: serde_json::Map::new(),
    };
    let shown = group(cx, &cx.record(node)?.node, &new);
    cx.edit(node, |record| record.node.port_groups.push(new))?;
    Ok(Reply::created(shown, format!("v1/portgroups/{uuid}")))
}
