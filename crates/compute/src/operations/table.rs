//! The table of operations: which type does the work of which request, by which rules.

use super::crash_dump::CrashDump;
use super::create::Create;
use super::delete::Delete;
use super::frame::framed;
use super::interfaces::{Attach, ChangeAddresses, Detach};
use super::power::Power;
use super::rebuild::Rebuild;
use super::rescue::Rescue;
use super::{Retry, Rules, Try, crash_dump, create, delete, interfaces, power, rebuild, rescue};
use crate::request::{Kind, Request};

/// The rules of a kind.
pub(crate) fn rules(kind: Kind) -> &'static Rules {
    match kind {
        Kind::Create => &create::RULES,
        Kind::Stop | Kind::Start | Kind::Reboot | Kind::Restore => &power::RULES,
        Kind::SoftDelete => &power::SOFT_DELETE,
        Kind::Rescue | Kind::Unrescue => &rescue::RULES,
        Kind::CrashDump => &crash_dump::RULES,
        Kind::Rebuild => &rebuild::RULES,
        Kind::AttachInterface | Kind::DetachInterface | Kind::AddAddress | Kind::RemoveAddress => {
            &interfaces::RULES
        }
        Kind::Delete => &delete::RULES,
    }
}

/// Tries the operation of a request once.
pub(super) async fn attempt(this: Try, request: Request) -> Result<(), Retry> {
    let (rules, frame) = (rules(this.key.kind), this.clone());
    match request {
        Request::Create(request) => Box::pin(framed(frame, rules, Create::new(this, request))).await,
        Request::Power(request) => Box::pin(framed(frame, rules, Power::new(this, request))).await,
        Request::CrashDump(request) => Box::pin(framed(frame, rules, CrashDump::new(this, request))).await,
        Request::Rescue(request) => Box::pin(framed(frame, rules, Rescue::new(this, request))).await,
        Request::Rebuild(request) => Box::pin(framed(frame, rules, Rebuild::new(this, request))).await,
        Request::Attach(request) => Box::pin(framed(frame, rules, Attach::new(this, request))).await,
        Request::Detach(request) => Box::pin(framed(frame, rules, Detach::new(this, request))).await,
        Request::Addresses(request) => {
            Box::pin(framed(frame, rules, ChangeAddresses::new(this, request))).await
        }
        Request::Delete(request) => Box::pin(framed(frame, rules, Delete::new(this, request))).await,
    }
}
