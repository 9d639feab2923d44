//! Power: the calls.

use openstack::ironic::{Node, PowerState, PowerTarget};

use super::{Memory, Observed, Step, Wanted, decide::decide, decide::stamp};
use crate::{
    ironic::Ironic,
    plan::{self, Next, Perform, Plan, Repeat},
    setback::Setback,
    unseen::Unseen,
};

/// The operation.
pub(crate) struct Power {
    pub(crate) ironic: Ironic,
    pub(crate) wanted: Wanted,
}

impl plan::Step for Step {
    fn name(&self) -> &'static str {
        match self {
            Self::On => "power_on",
            Self::Off => "power_off",
            Self::SoftOff(_) => "soft_power_off",
            Self::Reboot => "reboot",
            Self::SoftReboot => "soft_reboot",
        }
    }

    fn repeat(&self) -> Repeat {
        match self {
            Self::On | Self::Off | Self::SoftOff(_) => Repeat::Freely,
            Self::Reboot | Self::SoftReboot => Repeat::AtMostOnce,
        }
    }
}

impl Plan for Wanted {
    const NAME: &'static str = "power";
    type Observed = Observed;
    type Memory = Memory;
    type Step = Step;

    fn decide(&self, seen: &Observed, memory: &Memory) -> Next<Step> {
        decide(seen, memory, self)
    }

    fn begin(&self, step: &Step, seen: &Observed, memory: &mut Memory) {
        memory.accepted = false;
        match step {
            Step::Reboot | Step::SoftReboot => {
                memory
                    .before
                    .extend(seen.node.as_ref().map(stamp).filter(|now| !memory.before.contains(now)));
                // A hard reboot is asked for where a soft one has failed.
                memory.hard |= *step == Step::Reboot;
            }
            Step::On | Step::Off | Step::SoftOff(_) => {}
        }
    }

    fn accepted(&self, step: &Step, memory: &mut Memory) {
        // A soft request is not the last: whatever comes of it, the next one is a hard one.
        let is_soft_off = matches!(step, Step::SoftOff(_));
        memory.accepted = !is_soft_off;
        memory.hard |= is_soft_off;
    }

    fn refused(&self, step: &Step, memory: &mut Memory) -> bool {
        let is_soft = matches!(step, Step::SoftOff(_) | Step::SoftReboot);
        memory.hard |= is_soft;
        is_soft
    }

    fn node<'a>(&self, seen: &'a Observed) -> Option<&'a Node> {
        seen.node.as_ref()
    }
}

impl Perform for Power {
    type Plan = Wanted;

    fn plan(&self) -> &Wanted {
        &self.wanted
    }

    async fn observe(&mut self, fresh: Option<Node>, _memory: &Memory) -> Result<Observed, Unseen> {
        Ok(Observed { node: self.ironic.fresh_or_read(fresh, self.wanted.node).await? })
    }

    async fn perform(&mut self, step: &Step, mut seen: Observed) -> Result<Option<Observed>, Setback> {
        let Ironic { client, caller, .. } = &self.ironic;
        let (target, timeout, leads_to) = match step {
            Step::On => (PowerTarget::On, None, PowerState::On),
            Step::Off => (PowerTarget::Off, None, PowerState::Off),
            Step::SoftOff(timeout) => (PowerTarget::SoftOff, Some(*timeout), PowerState::Off),
            Step::Reboot => (PowerTarget::Reboot, None, PowerState::On),
            Step::SoftReboot => (PowerTarget::SoftReboot, None, PowerState::On),
        };
        client.set_power_state(caller, self.wanted.node, target, timeout).await?;
        if let Some(node) = seen.node.as_mut() {
            // Ironic has set the target before it answers (`change_node_power_state` of its conductor).
            node.target_power_state = leads_to;
        }
        Ok(Some(seen))
    }
}
