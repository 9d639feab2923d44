//! Changing a node's power: on, off, reboot.
//!
//! On and off can be observed. A reboot ends as it began, with the machine on; what tells that it happened is the stamp that Ironic
//! writes when it begins a power change (`last_power_state_change` in `driver_internal_info`; `node_power_action` of its conductor).
//! The stamp of before is saved before the reboot is asked for. A process that was killed in between compares: another stamp, or a
//! change under way, means that the request arrived; the same stamp on a node at rest means that it did not.
//!
//! A soft change that the hardware cannot do, or that the operating system does not follow in time, becomes a hard one, as with
//! Nova's driver. Ironic bounds the soft one by the timeout that goes with it, so waiting needs no limit of its own.

mod act;
mod decide;
#[cfg(test)]
mod model;

use std::time::Duration;

use openstack::ironic::Node;
use serde::{Deserialize, Serialize};

use crate::{InstanceId, NodeId};

pub(crate) use self::act::Power;

/// What becomes of a machine's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PowerChange {
    /// Switched on.
    On,
    /// Switched off; with a time, the operating system is asked first and has that long.
    Off {
        /// How long the operating system may take; `None` cuts the power at once.
        soft: Option<Duration>,
    },
    /// Restarted.
    Reboot {
        /// The operating system is asked first.
        soft: bool,
    },
}

/// What a power change looks at.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Observed {
    /// The node; `None` if it is proven gone.
    pub(crate) node: Option<Node>,
}

/// What is wanted: this change, on the instance's node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The node.
    pub(crate) node: NodeId,
    /// The instance on it.
    pub(crate) instance: InstanceId,
    /// The change.
    pub(crate) change: PowerChange,
}

/// What cannot be observed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// Ironic's stamps of before each request to reboot, from when it is about to be made.
    pub(crate) before: Vec<Stamp>,
    /// The soft change was refused, or did not lead to the end: the next is a hard one.
    pub(crate) hard: bool,
    /// Ironic has accepted the last request of this run, after which nothing else is tried.
    #[serde(skip)]
    pub(crate) accepted: bool,
}

/// When Ironic last began to change the node's power, as it wrote it; `None` if it never has.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Stamp(pub(crate) Option<String>);

/// One call: `PUT …/states/power`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// `power on`.
    On,
    /// `power off`.
    Off,
    /// `soft power off`, with this timeout.
    SoftOff(Duration),
    /// `rebooting`.
    Reboot,
    /// `soft rebooting`.
    SoftReboot,
}
