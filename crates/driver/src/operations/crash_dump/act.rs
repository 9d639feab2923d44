//! A crash dump: the call.

use openstack::ironic::Node;

use super::{
    Interrupt, Memory, Observed, Wanted,
    decide::{decide, unknown},
};
use crate::{
    ironic::Ironic,
    plan::{self, Next, Perform, Plan, Repeat},
    setback::{Setback, refused},
    unseen::Unseen,
};

/// The operation.
pub(crate) struct CrashDump {
    pub(crate) ironic: Ironic,
    pub(crate) wanted: Wanted,
}

impl plan::Step for Interrupt {
    fn name(&self) -> &'static str {
        "inject_nmi"
    }

    fn repeat(&self) -> Repeat {
        Repeat::AtMostOnce
    }
}

impl Plan for Wanted {
    const NAME: &'static str = "crash_dump";
    type Observed = Observed;
    type Memory = Memory;
    type Step = Interrupt;

    fn decide(&self, seen: &Observed, memory: &Memory) -> Next<Interrupt> {
        decide(seen, *memory, self)
    }

    fn begin(&self, _step: &Interrupt, _seen: &Observed, memory: &mut Memory) {
        *memory = Memory::Asked;
    }

    fn accepted(&self, _step: &Interrupt, memory: &mut Memory) {
        *memory = Memory::Sent;
    }

    fn postponed(&self, _step: &Interrupt, memory: &mut Memory) {
        *memory = Memory::Unasked;
    }

    fn node<'a>(&self, seen: &'a Observed) -> Option<&'a Node> {
        seen.node.as_ref()
    }
}

impl Perform for CrashDump {
    type Plan = Wanted;

    fn plan(&self) -> &Wanted {
        &self.wanted
    }

    async fn observe(&mut self, fresh: Option<Node>, _memory: &Memory) -> Result<Observed, Unseen> {
        Ok(Observed { node: self.ironic.fresh_or_read(fresh, self.wanted.node).await? })
    }

    /// Answers a setback that puts the step off only where the interrupt was not sent.
    async fn perform(&mut self, _step: &Interrupt, seen: Observed) -> Result<Option<Observed>, Setback> {
        let Ironic { client, caller, .. } = &self.ironic;
        client.inject_nmi(caller, self.wanted.node).await.map_err(setback)?;
        Ok(Some(seen))
    }
}

/// Ironic sends the interrupt before it answers. What it cannot do is a 400, a failure of the hardware a 500; a 5xx of others, and no
/// answer at all, may follow an interrupt that was sent.
fn setback(error: openstack::Error) -> Setback {
    match error.status() {
        Some(400) if !crate::setback::is_away(&error) => Setback::Over(refused(&error)),
        Some(500) => Setback::Over(unknown(Some(error.message()))),
        Some(502 | 504) => Setback::Over(unknown(None)),
        Some(_) => error.into(),
        None => match error {
            openstack::Error::Lost { .. }
            | openstack::Error::Timeout { .. }
            | openstack::Error::Decode { .. } => Setback::Over(unknown(None)),
            unsent => unsent.into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::http;

    #[test]
    fn only_what_was_certainly_not_sent_is_put_off() {
        use openstack::Error as E;
        let connect =
            E::Connect { service: "baremetal", address: "10.0.0.1:6385".into(), message: "refused".into() };
        let lost = E::Lost { service: "baremetal", message: String::new() };
        let late = E::Timeout { service: "baremetal", after: std::time::Duration::from_mins(1) };
        for (error, expected) in [
            (http(409, "Node x is locked by host y, please retry"), "busy"),
            (http(503, "Service Unavailable"), "away"),
            (http(404, "No conductor service registered"), "away"),
            (http(400, "No conductor service registered"), "away"),
            (connect, "away"),
            (E::Auth { status: 401, message: String::new() }, "away"),
            (http(400, "Driver x does not support inject_nmi (disabled or not implemented)."), "over"),
            (http(500, "IPMI call failed: power diag."), "over"),
            (http(504, "Gateway Timeout"), "over"),
            (lost, "over"),
            (late, "over"),
        ] {
            let text = error.to_string();
            assert_eq!(setback(error).name(), expected, "{text}");
        }
    }
}
