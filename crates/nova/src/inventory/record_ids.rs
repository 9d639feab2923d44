//! The numbers of the compute node records that instances are at home on: Nova wants them in the instance's record.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use driver::NodeId;

/// The numbers, by node. A cheap handle, shared by what reads the records and what writes the instances.
#[derive(Debug, Clone, Default)]
pub struct RecordIds(Arc<Mutex<HashMap<NodeId, i64>>>);

impl RecordIds {
    /// Remembers the number of a node's record.
    pub fn set(&self, node: NodeId, id: i64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(node, id);
    }

    /// The number of a node's record, if an instance was given a home there.
    pub fn get(&self, node: NodeId) -> Option<i64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&node).copied()
    }
}
