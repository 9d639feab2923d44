//! The requests to change the power of a server's machine.

use compute::ending::Change;
use compute::instance::Instance;
use compute::request::{Kind, PowerAction, PowerRequest, Request};
use oslo::context::RequestContext;
use serde_json::{Value, json};

use super::{Args, Method, Read, Unjournalled, instance, method, named, origin};
use crate::conductor::arguments;
use crate::objects::parse::Malformed;

/// An API before 5.x says nothing of `clean_shutdown`: gracefully, as by default.
pub(super) const STOP: Method =
    power(Kind::Stop, "stop_instance", "compute_stop_instance", |args, context| {
        let gracefully = args.get("clean_shutdown").and_then(Value::as_bool).unwrap_or(true);
        read(PowerAction::Stop { gracefully }, args, context)
    });

pub(super) const START: Method =
    power(Kind::Start, "start_instance", "compute_start_instance", |args, context| {
        read(PowerAction::Start, args, context)
    });

pub(super) const REBOOT: Method =
    power(Kind::Reboot, "reboot_instance", "compute_reboot_instance", |args, context| {
        let hard = match args.get("reboot_type").and_then(Value::as_str) {
            Some("SOFT") => false,
            Some("HARD") => true,
            _ => return Err(Malformed { argument: "reboot_type", expected: "SOFT or HARD" }),
        };
        read(PowerAction::Reboot { hard }, args, context)
    });

pub(super) const SOFT_DELETE: Method =
    power(Kind::SoftDelete, "soft_delete_instance", "compute_soft_delete_instance", |args, context| {
        read(PowerAction::SoftDelete, args, context)
    });

pub(super) const RESTORE: Method =
    power(Kind::Restore, "restore_instance", "compute_restore_instance", |args, context| {
        read(PowerAction::Restore, args, context)
    });

const fn power(kind: Kind, name: &'static str, event: &'static str, read: Read) -> Method {
    let (unjournalled, given_up) = (Unjournalled::Begun, Some(Change::TaskEnds));
    Method { kind, name, event, read, unjournalled, given_up, holds_claim: false }
}

fn read(action: PowerAction, args: &Args, context: &RequestContext) -> Result<Request, Malformed> {
    Ok(Request::Power(PowerRequest {
        context: context.clone(),
        instance: instance(args)?,
        action,
        origin: origin(method(action.kind()).name, args, context),
    }))
}

/// The service's own request to stop a server.
pub(super) fn own_stop(context: &RequestContext, instance: &Instance) -> PowerRequest {
    let args = arguments(json!({ "instance": named(instance), "clean_shutdown": true }));
    PowerRequest {
        context: context.clone(),
        instance: instance.clone(),
        action: PowerAction::Stop { gracefully: true },
        origin: origin(STOP.name, &args, context),
    }
}
