//! Rebuilding: an `active` node deployed again for the server that it carries, from another image or the same.
//!
//! Expected flow: describe the server in `instance_info` as it is now, `PUT` target `rebuild` with the config drive, wait.
//!
//! A rebuild ends as it began, with the node active; what tells that it happened is the time of the last change of the provision state
//! (`provision_updated_at`, which Ironic writes with every such change). The time of before is saved before the `PUT`. A process that was
//! killed in between compares: another time, or a deployment under way, means that the request arrived; the same time on a node at
//! rest means that it did not. Ironic may write it in whole seconds: a rebuild that began and ended in the second in which the node had
//! become active is done again.

mod act;
mod decide;
#[cfg(test)]
mod model;

use openstack::ironic::{Node, Patch};
use serde::{Deserialize, Serialize};

use crate::{NodeId, instance_info::Server};

pub(crate) use self::act::Rebuild;

/// What a rebuild looks at.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Observed {
    /// The node; `None` if it is proven gone.
    pub(crate) node: Option<Node>,
}

/// What is wanted: the node deployed again like this.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    /// The node.
    pub(crate) node: NodeId,
    /// The server that `instance_info` shall describe.
    pub(crate) server: Server,
}

/// What cannot be observed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// When the provision state had last changed before each request, from when the request is about to be made.
    pub(crate) before: Vec<Stamp>,
    /// Ironic has taken our description: should it show it in another form than we wrote it, that is its business.
    #[serde(skip)]
    pub(crate) described: bool,
    /// Ironic has accepted the last request of this run.
    #[serde(skip)]
    pub(crate) accepted: bool,
}

/// When Ironic last changed the node's provision state, as it wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Stamp(pub(crate) Option<String>);

/// One call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// `PATCH` those entries of `instance_info` that are not as wanted.
    Describe(Vec<Patch>),
    /// `PUT …/states/provision` with target `rebuild` and the config drive.
    Rebuild,
}
