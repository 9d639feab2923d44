//! `/v1/nodes/{id}/vifs`: which tenant port sits on which NIC (`ironic/drivers/modules/network/common.py`).

use std::cmp::Reverse;

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Answer, Context, Refusal, Reply};
use crate::model::{Node, TENANT_VIF};

pub(super) fn list(cx: &Context<'_>, id: Uuid) -> Answer {
    let vifs: Vec<Value> = cx.record(id)?.node.vifs().into_iter().map(|vif| json!({"id": vif})).collect();
    Ok(Reply::json(json!({ "vifs": vifs })))
}

pub(super) fn attach(cx: &mut Context<'_>, id: Uuid) -> Answer {
    let Some(vif) = cx.req.text("id") else {
        return Err(Refusal::invalid("Schema error for vif: 'id' is a required property"));
    };
    let pinned = |key| cx.req.body[key].as_str().and_then(|s| s.parse::<Uuid>().ok());
    let (port, group) = (pinned("port_uuid"), pinned("portgroup_uuid"));
    if port.is_some() && group.is_some() {
        return Err(Refusal::invalid("Cannot specify both port_uuid and portgroup_uuid"));
    }
    cx.unlocked(id)?;
    let node = &cx.record(id)?.node;
    if let Some((kind, holder)) = holder(node, &vif) {
        return Err(Refusal::new(
            409,
            format!("Unable to attach VIF because VIF {vif} is already attached to Ironic {kind} {holder}"),
        ));
    }
    let Some(free) = free(node, port.or(group)) else {
        return Err(Refusal::invalid(format!("Unable to attach VIF {vif}, not enough free physical ports.")));
    };
    cx.edit(id, |record| {
        let node = &mut record.node;
        let infos = node.ports.iter_mut().map(|p| (p.uuid, &mut p.internal_info));
        let infos = infos.chain(node.port_groups.iter_mut().map(|g| (g.uuid, &mut g.internal_info)));
        for (_, info) in infos.filter(|(uuid, _)| *uuid == free) {
            info.insert(TENANT_VIF.into(), json!(vif));
        }
    })?;
    Ok(Reply::no_content())
}

pub(super) fn detach(cx: &mut Context<'_>, id: Uuid, vif: &str) -> Answer {
    cx.unlocked(id)?;
    if holder(&cx.record(id)?.node, vif).is_none() {
        return Err(Refusal::invalid(format!(
            "Unable to detach VIF {vif} from node {id} because it is not attached to it."
        )));
    }
    cx.edit(id, |record| {
        let node = &mut record.node;
        let infos = node.ports.iter_mut().map(|p| &mut p.internal_info);
        for info in infos.chain(node.port_groups.iter_mut().map(|g| &mut g.internal_info)) {
            if info.get(TENANT_VIF).and_then(Value::as_str) == Some(vif) {
                info.remove(TENANT_VIF);
            }
        }
    })?;
    Ok(Reply::no_content())
}

fn holder(node: &Node, vif: &str) -> Option<(&'static str, Uuid)> {
    let port = node.ports.iter().find(|p| p.vif() == Some(vif)).map(|p| ("Port", p.uuid));
    port.or_else(|| node.port_groups.iter().find(|g| g.vif() == Some(vif)).map(|g| ("Portgroup", g.uuid)))
}

/// The best free port or group: groups before ports, then ports that boot over the network. A group counts
/// only with ports, none of which carries a VIF of its own.
fn free(node: &Node, pinned: Option<Uuid>) -> Option<Uuid> {
    let members = |group: Uuid| node.ports.iter().filter(move |p| p.port_group == Some(group));
    let broken = |group: Uuid| members(group).any(|p| p.vif().is_some());
    let groups = node
        .port_groups
        .iter()
        .filter(|g| g.vif().is_none() && members(g.uuid).next().is_some() && !broken(g.uuid));
    let ports = node.ports.iter().filter(|p| p.vif().is_none() && p.port_group.is_none_or(broken));
    let candidates =
        groups.map(|g| (g.uuid, true, true)).chain(ports.map(|p| (p.uuid, false, p.pxe_enabled)));
    candidates
        .filter(|(uuid, ..)| pinned.is_none_or(|p| p == *uuid))
        .min_by_key(|(_, group, pxe)| Reverse((*group, *pxe)))
        .map(|(uuid, ..)| uuid)
}
