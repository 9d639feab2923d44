//! The request for a crash dump.

use compute::request::{CrashDumpRequest, Kind};

use super::{Method, Unjournalled, instance, origin};

pub(super) const CRASH_DUMP: Method = Method {
    kind: Kind::CrashDump,
    name: "trigger_crash_dump",
    event: "compute_trigger_crash_dump",
    read: |args, context| {
        let origin = origin(CRASH_DUMP.name, args, context);
        Ok(CrashDumpRequest { context: context.clone(), instance: instance(args)?, origin }.into())
    },
    // It has no task, and so leaves no trace.
    unjournalled: Unjournalled::Refused,
    given_up: None,
    holds_claim: false,
};
