//! `/v1/nodes/{id}/states`: provision, power, console.

use serde_json::{Value, json};
use uuid::Uuid;

use super::facets::no_boot_source;
use super::{Answer, Context, Refusal, Reply, document};
use crate::engine;
use crate::machine::{self, State, Verb};

pub(super) fn show(cx: &Context<'_>, id: Uuid) -> Answer {
    let node = &cx.record(id)?.node;
    let mut doc = json!({});
    for key in [
        "console_enabled",
        "last_error",
        "power_state",
        "provision_state",
        "target_power_state",
        "target_provision_state",
        "provision_updated_at",
        "raid_config",
        "target_raid_config",
        "boot_mode",
        "secure_boot",
    ] {
        doc[key] = document::field(node, key);
    }
    Ok(Reply::json(doc))
}

/// `PUT …/provision`. The order of the checks is Ironic's: `NodeStatesController.provision`, then the
/// conductor's.
pub(super) fn provision(cx: &mut Context<'_>, id: Uuid, ident: &str) -> Answer {
    let target = cx.req.text("target").unwrap_or_default();
    let node = &cx.record(id)?.node;
    if node.maintenance && matches!(target.as_str(), "active" | "rebuild") {
        return Err(maintenance("provisioning", id));
    }
    let refused = || Refusal::state(&target, id, node.provision_state.as_str());
    let Ok(verb) = target.parse::<Verb>() else {
        return Err(refused());
    };
    let to = match (machine::verb(node.provision_state, verb), &node.reservation) {
        (Ok(to), _) => to,
        (Err(_), Some(host)) => return Err(Refusal::locked(&id.to_string(), host)),
        (Err(_), None) => return Err(refused()),
    };
    let configdrive = cx.req.body.get("configdrive").filter(|v| !v.is_null()).cloned();
    if configdrive.is_some() && !matches!(verb, Verb::Deploy | Verb::Rebuild) {
        return Err(Refusal::invalid(
            "Adding a config drive is only supported when setting provision state to active, rebuild",
        ));
    }
    let password = cx.req.text("rescue_password");
    if password.is_some() && verb != Verb::Rescue {
        return Err(Refusal::invalid(
            "\"rescue_password\" is only valid when setting target provision state to rescue",
        ));
    }
    for (needs, key) in [(Verb::Clean, "clean_steps"), (Verb::Service, "service_steps")] {
        if verb == needs && cx.req.body[key].as_array().is_none_or(Vec::is_empty) {
            return Err(Refusal::invalid(format!(
                "\"{key}\" is required when setting target provision state to {target}"
            )));
        }
    }
    if verb == Verb::Rescue && password.as_deref().is_none_or(|p| p.trim().is_empty()) {
        return Err(Refusal::invalid(
            "A non-empty \"rescue_password\" is required when setting target provision state to rescue",
        ));
    }
    if let Some(what) = cx.world.is_full(verb) {
        return Err(Refusal::new(
            503,
            format!(
                "Unable to process request at this time. The concurrent action limit for {what} has been \
                 reached. Please contact your administrator and try again later."
            ),
        ));
    }
    cx.unlocked(id)?;
    conductor_checks(cx, id, verb)?;
    cx.edit(id, |record| {
        let node = &mut record.node;
        if matches!(verb, Verb::Deploy | Verb::Rebuild) {
            node.configdrive = configdrive;
        }
        if password.is_some() {
            node.rescue_password = password;
        }
    })?;
    cx.world.begin(id, verb, to);
    engine::drive(cx.engine, id);
    Ok(Reply::accepted(Some(format!("v1/nodes/{ident}/states"))))
}

fn conductor_checks(cx: &Context<'_>, id: Uuid, verb: Verb) -> Result<(), Refusal> {
    let record = cx.record(id)?;
    let node = &record.node;
    match verb {
        Verb::Rebuild | Verb::Delete if node.protected => Err(Refusal::new(
            403,
            format!("Node {id} is protected and cannot be undeployed, rebuilt or deleted"),
        )),
        Verb::Rescue if node.maintenance => Err(maintenance("rescuing", id)),
        Verb::Provide if node.maintenance => Err(maintenance("providing", id)),
        Verb::Deploy | Verb::Rebuild => {
            let missing = (!node.has_boot_source()).then(|| no_boot_source(id));
            let told = record.invalid.get("power").or_else(|| record.invalid.get("deploy")).cloned();
            match told.or(missing) {
                Some(reason) => Err(Refusal::invalid(format!(
                    "Failed to validate deploy or power info for node {id}: {reason}"
                ))),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

fn maintenance(what: &str, id: Uuid) -> Refusal {
    Refusal::invalid(format!(
        "The {what} operation can't be performed on node {id} because it's in maintenance mode."
    ))
}

/// `PUT …/power`: the answer comes at once, the machine follows.
pub(super) fn power(cx: &mut Context<'_>, id: Uuid, ident: &str) -> Answer {
    let target = cx.req.text("target").unwrap_or_default();
    let soft = target.starts_with("soft ");
    let timeout = &cx.req.body["timeout"];
    if cx.req.minor < 27 && (soft || !timeout.is_null()) {
        return Err(Refusal::new(406, "Request not acceptable."));
    }
    if timeout.as_i64().is_some_and(|t| t < 1) {
        return Err(Refusal::invalid("timeout has to be positive integer"));
    }
    let node = &cx.record(id)?.node;
    let to = match target.as_str() {
        "power on" | "rebooting" | "soft rebooting" => "power on",
        "power off" | "soft power off" => "power off",
        _ => return Err(Refusal::state(&target, id, node.power_state.as_deref().unwrap_or("None"))),
    };
    if matches!(node.provision_state, State::Cleaning | State::CleanWait) {
        return Err(Refusal::state(&target, id, node.provision_state.as_str()));
    }
    if to == "power off" && node.disable_power_off {
        return Err(Refusal::new(409, format!("Failed to set node power state to {target}.")));
    }
    cx.unlocked(id)?;
    if soft && !cx.world.config.soft_power {
        let driver = &cx.record(id)?.node.driver;
        return Err(Refusal::invalid(format!(
            "The driver {driver} does not support the power state, {target}"
        )));
    }
    cx.edit(id, |record| {
        record.node.target_power_state = Some(to.to_owned());
        record.node.last_error = None;
        record.node.reservation = Some(crate::world::CONDUCTOR.to_owned());
        record.node.power_actions += 1;
        // A stamp, not a time: it is compared, never read.
        let stamp = json!(format!("power action {}", record.node.power_actions));
        let info = record.node.other.entry("driver_internal_info").or_insert_with(|| json!({}));
        info["last_power_state_change"] = stamp;
    })?;
    engine::drive_power(cx.engine, id, cx.world.config.power_duration);
    Ok(Reply::accepted(Some(format!("v1/nodes/{ident}/states"))))
}

pub(super) fn console(cx: &Context<'_>, id: Uuid) -> Answer {
    let node = &cx.record(id)?.node;
    let info = if node.console_enabled { node.console_info.clone() } else { Value::Null };
    Ok(Reply::json(json!({"console_enabled": node.console_enabled, "console_info": info})))
}

pub(super) fn set_console(cx: &mut Context<'_>, id: Uuid, ident: &str) -> Answer {
    let Some(enabled) = cx.req.body["enabled"].as_bool() else {
        return Err(Refusal::invalid("Missing mandatory parameter: enabled"));
    };
    let node = &cx.record(id)?.node;
    if node.console_info.is_null() {
        let text = format!("Driver {} does not support console (disabled or not implemented).", node.driver);
        return Err(Refusal::invalid(text));
    }
    // What is so already needs no lock.
    if node.console_enabled != enabled {
        cx.edit(id, |record| {
            record.node.last_error = None;
            record.node.reservation = Some(crate::world::CONDUCTOR.to_owned());
        })?;
        engine::drive_console(cx.engine, id, enabled, cx.world.config.console_duration);
    }
    Ok(Reply::accepted(Some(format!("v1/nodes/{ident}/states/console"))))
}
