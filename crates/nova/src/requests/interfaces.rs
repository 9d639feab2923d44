//! The requests that change a server's interfaces. The API sets no task for them: a crash would lose one that is not in the journal.

use compute::request::{
    AddressChange, AddressRequest, AttachRequest, DetachRequest, Kind, NetworkRequest, Request,
};
use oslo::context::RequestContext;
use serde_json::Value;
use uuid::Uuid;

use super::{Args, Method, Read, Unjournalled, instance, method, origin};
use crate::objects::parse::Malformed;

pub(super) const ATTACH: Method =
    row(Kind::AttachInterface, "attach_interface", "compute_attach_interface", |args, context| {
        let wanted = NetworkRequest {
            network_id: id(args, "network_id")?,
            port_id: id(args, "port_id")?,
            address: text(args, "requested_ip"),
            tag: text(args, "tag"),
            requester_id: None,
        };
        let origin = origin(ATTACH.name, args, context);
        let (context, instance) = (context.clone(), instance(args)?);
        Ok(AttachRequest { context, instance, wanted, answer: None, origin }.into())
    });

pub(super) const DETACH: Method =
    row(Kind::DetachInterface, "detach_interface", "compute_detach_interface", |args, context| {
        let port = text(args, "port_id").ok_or(Malformed { argument: "port_id", expected: "a port" })?;
        let origin = origin(DETACH.name, args, context);
        Ok(DetachRequest { context: context.clone(), instance: instance(args)?, port, origin }.into())
    });

/// Stock has no event of it, as of the next.
pub(super) const ADD_ADDRESS: Method =
    row(Kind::AddAddress, "add_fixed_ip_to_instance", "compute_add_fixed_ip_to_instance", |args, context| {
        let network = id(args, "network_id")?;
        let network = network.ok_or(Malformed { argument: "network_id", expected: "a network" })?;
        addresses(AddressChange::Add { network }, args, context)
    });

pub(super) const REMOVE_ADDRESS: Method = row(
    Kind::RemoveAddress,
    "remove_fixed_ip_from_instance",
    "compute_remove_fixed_ip_from_instance",
    |args, context| {
        let address = text(args, "address");
        let address = address.ok_or(Malformed { argument: "address", expected: "an address" })?;
        addresses(AddressChange::Remove { address }, args, context)
    },
);

const fn row(kind: Kind, name: &'static str, event: &'static str, read: Read) -> Method {
    let unjournalled = Unjournalled::Refused;
    Method { kind, name, event, read, unjournalled, given_up: None, holds_claim: false }
}

fn addresses(change: AddressChange, args: &Args, context: &RequestContext) -> Result<Request, Malformed> {
    let origin = origin(method(change.kind()).name, args, context);
    Ok(AddressRequest { context: context.clone(), instance: instance(args)?, change, origin }.into())
}

fn text(args: &Args, argument: &str) -> Option<String> {
    args.get(argument).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn id(args: &Args, argument: &'static str) -> Result<Option<Uuid>, Malformed> {
    let id = text(args, argument).map(|text| Uuid::parse_str(&text)).transpose();
    id.map_err(|_| Malformed { argument, expected: "a uuid" })
}
