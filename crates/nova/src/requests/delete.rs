//! The request to end a server.

use compute::ending::Change;
use compute::instance::Instance;
use compute::request::{DeleteRequest, Kind};
use oslo::context::RequestContext;
use serde_json::{Value, json};

use super::{Args, Method, Unjournalled, instance, named, origin};
use crate::conductor::arguments;
use crate::objects::parse::{self, Malformed};

pub(super) const DELETE: Method = Method {
    kind: Kind::Delete,
    name: "terminate_instance",
    event: "compute_terminate_instance",
    read: |args, context| read(args, context).map(Into::into),
    unjournalled: Unjournalled::Begun,
    given_up: Some(Change::Error),
    holds_claim: false,
};

/// The argument that nobody sends: the request is the service's own.
const OWN: &str = "bessemer_own";

/// Reads a request to end a server.
pub(super) fn read(args: &Args, context: &RequestContext) -> Result<DeleteRequest, Malformed> {
    Ok(DeleteRequest {
        context: context.clone(),
        instance: instance(args)?,
        block_devices: parse::block_devices(args.get("bdms"), "bdms")?,
        is_own: args.get(OWN).and_then(Value::as_bool).unwrap_or_default(),
        origin: origin(DELETE.name, args, context),
    })
}

/// The service's own request. A delete reads instance and disks itself.
pub(super) fn own(context: &RequestContext, instance: &Instance) -> DeleteRequest {
    let args = arguments(json!({ "instance": named(instance), OWN: true }));
    DeleteRequest {
        context: context.clone(),
        instance: instance.clone(),
        block_devices: Vec::new(),
        is_own: true,
        origin: origin(DELETE.name, &args, context),
    }
}
