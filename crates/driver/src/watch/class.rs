//! What one request of the watcher answers.

use openstack::ironic::ProvisionState;

use super::{Until, Watched};
use crate::NodeId;

/// The waiters that one request looks after.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Class {
    /// A list of the nodes in this provision state.
    Listed(ProvisionState),
    /// A look-up of this node.
    Single(NodeId),
}

impl Class {
    pub(super) fn of(watched: &Watched) -> Self {
        match &watched.until {
            Until::LeavesProvision { state, .. } => Self::Listed(state.clone()),
            Until::LeavesPower { .. } | Until::Console(_) | Until::Unlocked => Self::Single(watched.node),
        }
    }

    /// The label of the metric of waiters.
    pub(super) fn label(&self) -> String {
        match self {
            Self::Listed(state) => state.to_string(),
            Self::Single(_) => "single".to_owned(),
        }
    }
}
