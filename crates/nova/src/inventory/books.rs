//! The books in which a stock Nova keeps the machines and who is on them: the compute node records, Placement, the instances. Traits,
//! so that tests can keep them in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use async_trait::async_trait;
use compute::instance::Instance;
use compute::ports::{self, Result};
use driver::{InstanceId, NodeId};
use oslo::context::RequestContext;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Inventory, Wanted};
use crate::instances::Instances;

/// The fields of a compute node record, by their names in the control plane (`nova/objects/compute_node.py`).
pub type RecordFields = BTreeMap<String, Value>;

/// A compute node record as the control plane has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The control plane's number of the record.
    pub id: i64,
    /// The node that it describes.
    pub node: NodeId,
    /// The compute service that has the node.
    pub host: Option<String>,
    /// The record was deleted (a node that went away); it is brought back rather than made anew.
    pub deleted: bool,
    /// The rest of it.
    pub fields: RecordFields,
}

/// The compute node records.
#[async_trait]
pub trait ComputeNodes: Send + Sync {
    /// All records of this service's host, without deleted ones.
    async fn records_of_this_host(&self, context: &RequestContext) -> Result<Vec<Record>>;

    /// The records of these nodes, whoever has them, deleted ones included; in bulk.
    async fn records_of(&self, context: &RequestContext, nodes: &[NodeId]) -> Result<Vec<Record>>;

    /// Makes a record for a node that has none; answers its number.
    async fn create_record(
        &self,
        context: &RequestContext,
        node: NodeId,
        fields: &RecordFields,
    ) -> Result<i64>;

    /// Writes the changed fields. `take` also brings a deleted record back and makes it this host's.
    async fn save_record(
        &self,
        context: &RequestContext,
        id: i64,
        node: NodeId,
        changed: &RecordFields,
        take: bool,
    ) -> Result<()>;

    /// Removes this host's record of a node that is gone; `Err(Taken)` when another service has it now.
    async fn destroy_record(&self, context: &RequestContext, id: i64, node: NodeId) -> Result<()>;

    /// The lower-cased hosts of the compute services that are up and share the nodes with us, and whether an operator
    /// disabled this one.
    async fn ring_members(&self, context: &RequestContext) -> Result<(BTreeSet<String>, bool)>;
}

/// A provider in Placement's list: its generation changes whenever anything about it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProviderHead {
    /// As of the last change.
    pub generation: i64,
}

/// What Placement holds of a provider, as far as we know: what we last wrote or read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KnownProvider {
    /// The generation that this is of.
    pub generation: i64,
    /// By resource class.
    pub inventory: BTreeMap<String, Inventory>,
    /// All of its traits, whoever set them.
    pub traits: BTreeSet<String>,
}

/// What an instance holds in Placement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Changes whenever the claim does.
    pub generation: i64,
    /// The nodes that it holds.
    pub nodes: BTreeSet<NodeId>,
}

/// Placement: resource providers and allocations.
#[async_trait]
pub trait Providers: Send + Sync {
    /// Every provider in one list.
    async fn heads(&self) -> Result<HashMap<NodeId, ProviderHead>>;

    /// Makes what Placement has of a node what is wanted, with the fewest writes; `known` is what was last written,
    /// `None` when nothing is known (then `exists` says whether the list had the provider). Conflicts are met by
    /// reading again, a bounded number of times. Answers what Placement has now.
    async fn report(
        &self,
        wanted: &Wanted,
        known: Option<KnownProvider>,
        exists: bool,
    ) -> Result<KnownProvider>;

    /// Removes the provider of a node that is gone. `false`: it is in use, by allocations or by other providers under it, and
    /// stays.
    async fn remove(&self, node: NodeId) -> Result<bool>;

    /// The nodes that an instance holds.
    async fn held_by(&self, instance: InstanceId) -> Result<Vec<NodeId>>;

    /// The nodes that could be booked for one machine of this resource class: those in which neither a reservation nor an
    /// allocation takes it. One list.
    async fn with_room(&self, class: &str) -> Result<HashSet<NodeId>>;

    /// Who holds a node.
    async fn holders(&self, node: NodeId) -> Result<Vec<InstanceId>>;

    /// What an instance holds, to be compared later; `None`: nothing.
    async fn claim(&self, instance: InstanceId) -> Result<Option<Claim>>;

    /// Takes one node out of a claim, if the claim is still this; answers whether it was.
    async fn take_from(&self, instance: InstanceId, node: NodeId, claim: &Claim) -> Result<bool>;

    /// Deletes what an instance holds; no error when it holds nothing.
    async fn release(&self, context: &RequestContext, instance: InstanceId) -> Result<()>;
}

/// The instances, as far as a report needs them.
#[async_trait]
pub trait Residents: Send + Sync {
    /// All instances of this service's host that are not deleted.
    async fn on_this_host(&self, context: &RequestContext) -> Result<Vec<Instance>>;

    /// An instance, deleted or not; `None`: Nova does not know it.
    async fn get(&self, context: &RequestContext, id: InstanceId) -> Result<Option<Instance>>;
}

#[async_trait]
impl Residents for Instances {
    async fn on_this_host(&self, context: &RequestContext) -> Result<Vec<Instance>> {
        ports::Instances::on_this_host(self, context).await
    }

    async fn get(&self, context: &RequestContext, id: InstanceId) -> Result<Option<Instance>> {
        ports::Instances::get(self, context, id).await
    }
}
