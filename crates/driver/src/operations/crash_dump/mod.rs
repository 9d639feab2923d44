//! A non-maskable interrupt, at which an operating system writes its crash dump (`inject_nmi` of Ironic's API).
//!
//! Nothing can be observed of it afterwards: the node is as it was. That it is about to be asked for is saved first, and it is asked
//! for again only where Ironic's answer, or that no connection was made, shows that the machine has not got it. Where that is not
//! known the operation fails and says so: a second interrupt could cut off the dump that the first one began.

mod act;
mod decide;
#[cfg(test)]
mod model;

use openstack::ironic::Node;
use serde::{Deserialize, Serialize};

use crate::{InstanceId, NodeId};

pub(crate) use self::act::CrashDump;

/// What it looks at.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Observed {
    /// The node; `None` if it is proven gone.
    pub(crate) node: Option<Node>,
}

/// What is wanted: an interrupt for the instance's machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The node.
    pub(crate) node: NodeId,
    /// The instance on it.
    pub(crate) instance: InstanceId,
}

/// What became of the request, which cannot be observed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Memory {
    /// None was made.
    #[default]
    Unasked,
    /// One is about to be made, or was made and not answered.
    Asked,
    /// Ironic has sent the interrupt.
    Sent,
}

/// The only step: `PUT …/management/inject_nmi`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interrupt;
