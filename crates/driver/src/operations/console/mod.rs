//! A node's console, for those who connect a user to it: switched on where it may be, and where it is.
//!
//! A graphical console is switched on when it is asked for. A serial one is not: whether a node has one is its operator's decision.
//! One that is on is switched off and on again, because IPMI serves one session at a time and a session that was left open would keep
//! everybody else out (`_get_node_console_with_reset` and `get_vnc_console` of Nova's driver).
//!
//! Ironic locks the node before it accepts a change of its console, and lets go of it when the change is done or has failed
//! (`set_console_mode` of its conductor). That a reset was begun is saved before it is: a console that was found off afterwards is one
//! that we switched off, and not one that the operator keeps off.

mod act;
mod address;
mod decide;
#[cfg(test)]
mod model;

use std::time::Duration;

use openstack::ironic::Node;
use serde::{Deserialize, Serialize};

use crate::{InstanceId, NodeId};

pub(crate) use self::{act::Console, address::address};

/// What kind of console.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConsoleKind {
    /// The serial line, as raw bytes on a TCP port (`ipmitool-socat` and the like).
    Serial,
    /// The screen, over VNC.
    Graphical,
}

/// Where a console is served: what a proxy connects to, never a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleAddress {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// What is looked at.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Observed {
    /// The node; `None` if it is proven gone.
    pub(crate) node: Option<Node>,
}

/// What is wanted: the console of the instance's node, on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The node.
    pub(crate) node: NodeId,
    /// The instance on it.
    pub(crate) instance: InstanceId,
    /// Which console.
    pub(crate) kind: ConsoleKind,
    /// How long Ironic may take to switch it on; `None` as long as it takes.
    pub(crate) limit: Option<Duration>,
}

/// What cannot be observed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// The last request, from when it is about to be made.
    pub(crate) asked: Option<Step>,
    /// Ironic has accepted it.
    #[serde(skip)]
    pub(crate) accepted: bool,
    /// How often Ironic has accepted to switch the console on.
    #[serde(skip)]
    pub(crate) ons: u8,
}

/// One call: `PUT …/states/console`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Step {
    /// Switches it on.
    On,
    /// Switches it off, to end whatever session is open.
    Off,
}
