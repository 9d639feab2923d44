//! Deploying: from a reserved node to an `active` one.
//!
//! Expected flow: describe the server in `instance_info`, add the volume targets, validate, `PUT` target `active`, wait.
//! All of it can be observed but three things, which are remembered while the operation runs and asked for again after a
//! restart: that Ironic has taken the description, that it has validated, and that it has accepted the `PUT`. After a `PUT` whose answer
//! was lost the node tells: `deploying` means that it arrived.
//!
//! It may be cancelled anywhere; nothing is undone then.

mod act;
mod decide;
#[cfg(test)]
mod model;

use std::collections::BTreeSet;

use openstack::ironic::{NewVolumeTarget, Node, Patch, VolumeTarget};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{NodeId, instance_info::Server};

pub(crate) use self::{act::Deploy, decide::decide};

/// What deploying looks at.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Observed {
    /// The node; `None` if it is proven gone.
    pub(crate) node: Option<Node>,
    /// Its volume targets; need to be known only if the node is not deployed yet and may have any.
    pub(crate) targets: Vec<VolumeTarget>,
}

/// What cannot be observed. Each of these may be done again after a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// The volumes whose targets were asked for: a target of one of them is as wanted, however Ironic shows it.
    pub(crate) added: BTreeSet<String>,
    /// Ironic has taken our description: should it show it in another form than we wrote it, that is its business.
    pub(crate) described: bool,
    /// Ironic has validated the node as it is described now.
    pub(crate) valid: bool,
    /// Ironic has accepted our `PUT` of target `active`.
    pub(crate) asked: bool,
}

/// What is wanted: the node deployed like this.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    /// The node.
    pub(crate) node: NodeId,
    /// The server that `instance_info` shall describe; entries that do not come from it are left alone.
    pub(crate) server: Server,
    /// Volumes for it to connect to, and to no other. Each has its own boot index.
    pub(crate) targets: Vec<NewVolumeTarget>,
}

/// One call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// `PATCH` those entries of `instance_info` that are not as wanted.
    Describe(Vec<Patch>),
    /// `DELETE` a volume target that is not wanted: a machine must not reach the volumes of a server that it had before.
    RemoveTarget(Uuid),
    /// `POST` a volume target.
    AddTarget(NewVolumeTarget),
    /// `GET …/validate`: deploy, power and storage must be usable.
    Validate,
    /// `PUT …/states/provision` with target `active` and the config drive.
    Deploy,
}
