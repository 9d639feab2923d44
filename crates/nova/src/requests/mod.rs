//! The requests for operations, one file for each kind: the RPC method and its event, how its arguments are read, and what becomes of
//! a request that cannot begin.
//!
//! The journal keeps a request as it came: method, arguments, context.

mod crash_dump;
mod create;
mod delete;
mod interfaces;
mod power;
pub mod rebuild;
mod rescue;
#[cfg(test)]
mod tests;

use compute::ending::Change;
use compute::instance::Instance;
use compute::origin::Origin;
use compute::ports;
use compute::request::{Kind, Request};
use oslo::context::RequestContext;
use secrecy::SecretString;
use serde_json::{Map, Value, json};

use crate::instances::save;
use crate::objects::parse::{self, Malformed};

type Args = Map<String, Value>;
type Read = fn(&Args, &RequestContext) -> Result<Request, Malformed>;

/// A method of the compute API that asks for an operation.
pub struct Method {
    /// What kind of operation it asks for.
    pub kind: Kind,
    /// Its name (`nova/compute/rpcapi.py`).
    pub name: &'static str,
    /// The name under which nova-api shows its event (`nova/compute/manager.py`, `wrap_instance_event`).
    pub event: &'static str,
    read: Read,
    /// What becomes of a request that the journal does not take.
    pub unjournalled: Unjournalled,
    /// What becomes of the server when its request cannot be worked on; nothing where the request has no part of it.
    pub given_up: Option<Change>,
    /// The scheduler has claimed a node for it, which is released when the request cannot be worked on.
    pub holds_claim: bool,
}

/// What becomes of a request that the journal does not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unjournalled {
    /// It goes back, to be tried on another host: a crash would lose it here.
    HandedBack,
    /// It is refused: a crash would lose it.
    Refused,
    /// It is begun all the same: its trace is the instance's task, which a start looks for.
    Begun,
}

/// The method that asks for a kind of operation.
pub const fn method(kind: Kind) -> &'static Method {
    match kind {
        Kind::Create => &create::CREATE,
        Kind::Stop => &power::STOP,
        Kind::Start => &power::START,
        Kind::Reboot => &power::REBOOT,
        Kind::SoftDelete => &power::SOFT_DELETE,
        Kind::Restore => &power::RESTORE,
        Kind::CrashDump => &crash_dump::CRASH_DUMP,
        Kind::Rescue => &rescue::RESCUE,
        Kind::Unrescue => &rescue::UNRESCUE,
        Kind::Rebuild => &rebuild::REBUILD,
        Kind::AttachInterface => &interfaces::ATTACH,
        Kind::DetachInterface => &interfaces::DETACH,
        Kind::AddAddress => &interfaces::ADD_ADDRESS,
        Kind::RemoveAddress => &interfaces::REMOVE_ADDRESS,
        Kind::Delete => &delete::DELETE,
    }
}

impl Method {
    /// Reads the arguments of a request.
    pub fn read(&self, args: &Args, context: &RequestContext) -> Result<Request, Malformed> {
        (self.read)(args, context)
    }
}

/// Reads requests in the form in which they are journalled.
pub struct Requests;

impl ports::Requests for Requests {
    fn decode(&self, kind: Kind, origin: &Value) -> Option<Request> {
        let method = method(kind);
        if origin.get("method")?.as_str()? != method.name {
            return None;
        }
        let context = origin.get("context").filter(|context| context.is_object())?;
        method.read(origin.get("args")?.as_object()?, &RequestContext::from_json(context)).ok()
    }

    fn own_delete(&self, context: &RequestContext, instance: &Instance) -> Request {
        delete::own(context, instance).into()
    }

    fn own_stop(&self, context: &RequestContext, instance: &Instance) -> Request {
        power::own_stop(context, instance).into()
    }

    fn own_unrescue(&self, context: &RequestContext, instance: &Instance) -> Request {
        rescue::own_unrescue(context, instance).into()
    }
}

/// The journal's form of a request. It holds secrets and the user's token.
fn origin(method: &str, args: &Args, context: &RequestContext) -> Origin {
    Origin(json!({ "method": method, "args": args, "context": context.to_json() }))
}

/// The instance as the arguments of a request of our own name it: an operation reads the rest itself.
fn named(instance: &Instance) -> Value {
    let mut known = save::object("Instance");
    known.insert("uuid", instance.id.0.to_string());
    known.into_value()
}

/// A password for the machine's administrator; the API sends one as a rule.
fn password(args: &Args, argument: &str) -> Option<SecretString> {
    let password = args.get(argument).and_then(Value::as_str).filter(|password| !password.is_empty());
    password.map(SecretString::from)
}

fn instance(args: &Args) -> Result<Instance, Malformed> {
    parse::instance(args.get("instance").unwrap_or(&Value::Null))
}
