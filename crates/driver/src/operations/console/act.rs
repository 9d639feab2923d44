//! A console: the calls.

use openstack::ironic::Node;

use super::{Memory, Observed, Step, Wanted, decide::decide};
use crate::{
    ironic::Ironic,
    plan::{self, Next, Perform, Plan, Repeat},
    setback::Setback,
    unseen::Unseen,
};

/// The operation.
pub(crate) struct Console {
    pub(crate) ironic: Ironic,
    pub(crate) wanted: Wanted,
    /// What Ironic has accepted last.
    pub(crate) asked: Option<Step>,
}

impl plan::Step for Step {
    fn name(&self) -> &'static str {
        match self {
            Self::On => "console_on",
            Self::Off => "console_off",
        }
    }

    /// Ironic does nothing where the console is so already. What is saved before it is switched off says who switched it off.
    fn repeat(&self) -> Repeat {
        match self {
            Self::On => Repeat::Freely,
            Self::Off => Repeat::AtMostOnce,
        }
    }
}

impl Plan for Wanted {
    const NAME: &'static str = "console";
    type Observed = Observed;
    type Memory = Memory;
    type Step = Step;

    fn decide(&self, seen: &Observed, memory: &Memory) -> Next<Step> {
        decide(seen, memory, self)
    }

    fn begin(&self, step: &Step, _seen: &Observed, memory: &mut Memory) {
        memory.asked = Some(*step);
        memory.accepted = false;
    }

    fn accepted(&self, step: &Step, memory: &mut Memory) {
        memory.accepted = true;
        memory.ons += u8::from(*step == Step::On);
    }

    fn node<'a>(&self, seen: &'a Observed) -> Option<&'a Node> {
        seen.node.as_ref()
    }
}

impl Perform for Console {
    type Plan = Wanted;

    fn plan(&self) -> &Wanted {
        &self.wanted
    }

    async fn observe(&mut self, fresh: Option<Node>, _memory: &Memory) -> Result<Observed, Unseen> {
        Ok(Observed { node: self.ironic.fresh_or_read(fresh, self.wanted.node).await? })
    }

    async fn perform(&mut self, step: &Step, _seen: Observed) -> Result<Option<Observed>, Setback> {
        let Ironic { client, caller, .. } = &self.ironic;
        client.set_console(caller, self.wanted.node, *step == Step::On).await?;
        self.asked = Some(*step);
        Ok(None)
    }
}
