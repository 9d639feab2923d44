//! The request to end a server.

use compute::ending::Change;
use compute::request::{DeleteRequest, Kind};
use oslo::context::RequestContext;

use super::{Args, Method, Unjournalled, instance, origin};
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

/// Reads a request to end a server.
pub(super) fn read(args: &Args, context: &RequestContext) -> Result<DeleteRequest, Malformed> {
    Ok(DeleteRequest {
        context: context.clone(),
        instance: instance(args)?,
        block_devices: parse::block_devices(args.get("bdms"), "bdms")?,
        origin: origin(DELETE.name, args, context),
    })
}
