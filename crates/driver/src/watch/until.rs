//! What a wait waits for.

use std::{fmt, time::Duration};

use openstack::ironic::{Node, PowerState, ProvisionState};

use crate::{InstanceId, NodeId};

/// What ends a wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Until {
    /// The node is not in this provision state any more, on its way to this target.
    LeavesProvision {
        /// The state.
        state: ProvisionState,
        /// The state it is going to.
        target: ProvisionState,
    },
    /// The node's power is not in this state any more, on its way to this target; or its provision state is another.
    LeavesPower {
        /// The power state.
        power: PowerState,
        /// The power state it is going to; `NoState` while Ironic changes nothing.
        target: PowerState,
        /// The provision state meanwhile.
        provision: ProvisionState,
    },
    /// The node's console is on, or off; or Ironic has let go of the node, and so has failed to switch it.
    Console(bool),
    /// No conductor holds the node's lock.
    Unlocked,
}

impl Until {
    /// How long this takes as a rule; a wait that takes longer is warned of.
    pub(crate) fn usual(&self) -> Duration {
        match self {
            Self::LeavesProvision { .. } => Duration::from_mins(30),
            Self::LeavesPower { .. } | Self::Console(_) => Duration::from_mins(5),
            Self::Unlocked => Duration::from_mins(2),
        }
    }

    /// Whether a node, as it is now, is still to be waited for.
    fn holds(&self, node: &Node) -> bool {
        match self {
            Self::LeavesProvision { state, target } => {
                node.provision_state == *state && node.target_provision_state == *target
            }
            Self::LeavesPower { power, target, provision } => {
                node.power_state == *power
                    && node.target_power_state == *target
                    && node.provision_state == *provision
            }
            Self::Console(enabled) => node.console_enabled != *enabled && node.reservation.is_some(),
            Self::Unlocked => node.reservation.is_some(),
        }
    }
}

impl fmt::Display for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeavesProvision { state, .. } => write!(f, "left provision state '{state}'"),
            Self::LeavesPower { power, target, .. } => {
                write!(f, "left power state '{power}' (target '{target}')")
            }
            Self::Console(true) => f.write_str("console on"),
            Self::Console(false) => f.write_str("console off"),
            Self::Unlocked => f.write_str("lock released"),
        }
    }
}

/// A node that is watched for a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// The node.
    pub node: NodeId,
    /// The instance on it; `None` waits for a node that carries none. A node that changes hands ends the wait.
    pub instance: Option<InstanceId>,
    /// What ends the wait.
    pub until: Until,
}

impl Watched {
    /// Whether a node, as it is now, is still to be waited for.
    pub(super) fn holds(&self, node: &Node) -> bool {
        node.instance_uuid == self.instance.map(|instance| instance.0) && self.until.holds(node)
    }
}
