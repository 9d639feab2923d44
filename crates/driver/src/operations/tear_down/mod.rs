//! Tearing down: from whatever state the instance's node is in to a node that does not carry the instance.
//!
//! The states that are torn down and those that are only released are Nova's (`_UNPROVISION_STATES` of its driver, and every
//! unknown state). Beyond Nova:
//! - a state that Ironic's machine has no way out of but its own progress (`deploying`, `rescuing`, …) is waited for as long as
//!   Ironic works at it, rather than asked again and again;
//! - a deployment or service that an operator's step holds is aborted first: Ironic does not delete from `deploy hold` and
//!   `service hold`;
//! - `deleting` is waited for in the same way: it ends in cleaning or in `error` by Ironic's own timeouts. A tear-down that fails
//!   ends in two steps (`_do_node_tear_down` of Ironic's conductor): the state is `error` first, and the node still locked; then
//!   the instance leaves it all the same, and the lock goes.
//!
//! A node that was reserved but carries no deployment is only released: volume targets go first, then VIFs, and the instance's
//! uuid last, so that a release that was cut off can be resumed.

mod act;
mod decide;
#[cfg(test)]
mod model;

use std::collections::BTreeSet;

use openstack::ironic::Node;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::InstanceId;

pub(crate) use self::act::TearDown;

/// What tearing down looks at. Volume targets and VIFs need to be known only of a node that is to be released.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Observed {
    /// The node that carries the instance, or carried it when the operation began.
    pub(crate) node: Option<Node>,
    /// Its volume targets, by Ironic's id.
    pub(crate) targets: BTreeSet<Uuid>,
    /// The VIFs attached to it.
    pub(crate) vifs: BTreeSet<String>,
}

/// What cannot be observed. Each of these may be asked again after a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// Ironic has accepted our `PUT` of target `deleted`.
    pub(crate) asked: bool,
    /// Ironic has accepted our `PUT` of target `abort`.
    pub(crate) aborted: bool,
}

/// What is wanted: no node with this instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The instance.
    pub(crate) instance: InstanceId,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// `PUT …/states/provision` with target `abort`.
    Abort,
    /// `PUT …/states/provision` with target `deleted`.
    Undeploy,
    /// `DELETE /v1/volume/targets/{id}`.
    DeleteTarget(Uuid),
    /// `DELETE /v1/nodes/{id}/vifs/{vif}`.
    DetachVif(String),
    /// `PATCH`: no `instance_uuid`, empty `instance_info`.
    Clear,
}
