//! The control plane's picture of the machines: what is wanted (from Ironic's list) against what is known (what was last
//! written), and only the difference is sent.

pub mod books;
mod fingerprint;
mod known;
mod machines;
mod picture;
pub mod placement;
mod provider_config;
mod record_ids;
pub mod records;
mod reporter;
mod ring;
#[cfg(test)]
mod testing;
mod usage;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};

use driver::NodeId;
use serde::{Deserialize, Serialize};

pub use placement::Placement;
pub use provider_config::{ProviderConfig, ProviderConfigError};
pub use record_ids::RecordIds;
pub use records::Records;
pub use reporter::{Options, Reporter, Scope};
pub use ring::Ring;
pub use usage::Usage;
pub use wanted::{Holder, Rules, resource_class, wanted};

/// How much of a resource class a provider has, as Placement keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    /// How much there is.
    pub total: u64,
    /// How much of it cannot be booked.
    pub reserved: u64,
    /// The least that one allocation may take.
    pub min_unit: u64,
    /// The most that one allocation may take.
    pub max_unit: u64,
    /// What an allocation must be a multiple of.
    pub step_size: u64,
    /// How many times the total may be booked.
    pub allocation_ratio: f64,
}

impl Inventory {
    /// One machine; `reserved` when nobody may book it.
    pub fn machine(reserved: bool) -> Self {
        Self {
            total: 1,
            reserved: u64::from(reserved),
            min_unit: 1,
            max_unit: 1,
            step_size: 1,
            allocation_ratio: 1.0,
        }
    }
}

/// What Placement should have of a node.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// The node, whose id is the provider's.
    pub node: NodeId,
    /// By resource class.
    pub inventory: BTreeMap<String, Inventory>,
    /// What the machine is or can do, by the names of os-traits and of the operator.
    pub traits: BTreeSet<String>,
}
