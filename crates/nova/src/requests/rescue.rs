//! The requests to rescue a server and to end that.

use compute::ending::Change;
use compute::instance::Instance;
use compute::request::{Kind, Request, RescueAction, RescueRequest};
use oslo::context::RequestContext;
use secrecy::SecretString;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Args, Method, Read, Unjournalled, instance, method, named, origin};
use crate::conductor::arguments;
use crate::objects::parse::Malformed;

pub(super) const RESCUE: Method =
    rescue(Kind::Rescue, "rescue_instance", "compute_rescue_instance", |args, context| {
        let text = |name: &str| args.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let action = RescueAction::Rescue {
            password: text("rescue_password").map(SecretString::from),
            image: text("rescue_image_ref").and_then(|text| Uuid::parse_str(text).ok()),
            gracefully: args.get("clean_shutdown").and_then(Value::as_bool).unwrap_or(true),
        };
        read(action, args, context)
    });

pub(super) const UNRESCUE: Method =
    rescue(Kind::Unrescue, "unrescue_instance", "compute_unrescue_instance", |args, context| {
        read(RescueAction::Unrescue, args, context)
    });

const fn rescue(kind: Kind, name: &'static str, event: &'static str, read: Read) -> Method {
    let (unjournalled, given_up) = (Unjournalled::Begun, Some(Change::TaskEnds));
    Method { kind, name, event, read, unjournalled, given_up, holds_claim: false }
}

/// The service's own request to end a rescue. It reads the instance itself: the journal needs no more than the id.
pub(super) fn own_unrescue(context: &RequestContext, instance: &Instance) -> RescueRequest {
    let args = arguments(json!({ "instance": named(instance) }));
    RescueRequest {
        context: context.clone(),
        instance: instance.clone(),
        action: RescueAction::Unrescue,
        origin: origin(UNRESCUE.name, &args, context),
    }
}

fn read(action: RescueAction, args: &Args, context: &RequestContext) -> Result<Request, Malformed> {
    let origin = origin(method(action.kind()).name, args, context);
    Ok(Request::Rescue(RescueRequest { context: context.clone(), instance: instance(args)?, action, origin }))
}
