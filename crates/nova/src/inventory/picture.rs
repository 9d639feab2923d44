//! What is known at this moment: the machines as Ironic last listed them, and what the control plane was last told.

use std::collections::{HashMap, HashSet};

use driver::NodeId;
use openstack::ironic::{Node, ProvisionState};
use tokio::time::Instant;

use super::fingerprint::Fingerprint;
use crate::inventory::books::{KnownProvider, ProviderHead};

/// What is known of a compute node record.
#[derive(Debug)]
pub struct KnownRecord {
    /// The control plane's number of the record.
    pub id: i64,
    /// It is this host's, and not deleted.
    pub is_own: bool,
    pub fields: Fingerprint,
}

/// One machine that is ours.
#[derive(Debug, Default)]
struct Machine {
    /// Its provision state as last seen, and when the report began that saw it.
    seen: Option<(ProvisionState, Instant)>,
    record: Option<KnownRecord>,
    provider: Option<KnownProvider>,
    /// Placement has a provider of which we know nothing.
    provider_exists: bool,
    /// Builds that failed here since the last one that succeeded.
    failed_builds: u32,
    /// Why it cannot be offered, as the operator was told.
    refused: Option<String>,
    /// In how many reports in a row Ironic has not shown it.
    missing: u32,
}

/// The machines that are ours.
#[derive(Debug, Default)]
pub struct Picture {
    machines: HashMap<NodeId, Machine>,
    /// What is known of Placement was held against its own list. Before that it is what a file says, which may be older
    /// than the last write of the process that made it.
    compared: bool,
}

impl Picture {
    /// A picture that knows only what was recorded of Placement.
    pub fn new(providers: HashMap<NodeId, KnownProvider>) -> Self {
        let machines = providers
            .into_iter()
            .map(|(node, provider)| (node, Machine { provider: Some(provider), ..Machine::default() }))
            .collect();
        Self { machines, compared: false }
    }

    /// Takes what a report that began then saw of a node; `false`: a later one saw it already.
    pub fn saw(&mut self, node: &Node, began: Instant) -> bool {
        let machine = self.machines.entry(node.uuid).or_default();
        if machine.seen.as_ref().is_some_and(|(_, later)| *later > began) {
            return false;
        }
        machine.seen = Some((node.provision_state.clone(), began));
        machine.missing = 0;
        true
    }

    /// Ironic did not show a node in this report either; answers in how many in a row.
    pub fn missed(&mut self, node: NodeId) -> u32 {
        let machine = self.machines.entry(node).or_default();
        machine.missing += 1;
        machine.missing
    }

    /// What Ironic did not show so far proves nothing any more.
    pub fn begin_missing_anew(&mut self, nodes: &[NodeId]) {
        for node in nodes {
            self.machines.entry(*node).or_default().missing = 0;
        }
    }

    pub fn record(&self, node: NodeId) -> Option<&KnownRecord> {
        self.machines.get(&node)?.record.as_ref()
    }

    pub fn set_record(&mut self, node: NodeId, record: KnownRecord) {
        self.machines.entry(node).or_default().record = Some(record);
    }

    /// Replaces every record by those of a fresh list.
    pub fn set_records(&mut self, records: impl Iterator<Item = (NodeId, KnownRecord)>) {
        for machine in self.machines.values_mut() {
            machine.record = None;
        }
        for (node, record) in records {
            self.set_record(node, record);
        }
    }

    /// Nodes that have a record, ours or not.
    pub fn recorded(&self) -> Vec<NodeId> {
        self.machines.iter().filter(|(_, m)| m.record.is_some()).map(|(node, _)| *node).collect()
    }

    /// Nodes whose record is this host's.
    pub fn own(&self) -> HashSet<NodeId> {
        let own = |machine: &Machine| machine.record.as_ref().is_some_and(|record| record.is_own);
        self.machines.iter().filter(|(_, machine)| own(machine)).map(|(node, _)| *node).collect()
    }

    /// What is known of a node's provider, and whether there is one as far as we know.
    pub fn provider(&self, node: NodeId) -> (Option<KnownProvider>, bool) {
        match self.machines.get(&node) {
            Some(machine) if self.compared => (machine.provider.clone(), machine.provider_exists),
            Some(machine) => (None, machine.provider_exists || machine.provider.is_some()),
            None => (None, false),
        }
    }

    pub fn set_provider(&mut self, node: NodeId, provider: Option<KnownProvider>) {
        let machine = self.machines.entry(node).or_default();
        machine.provider_exists = true;
        machine.provider = provider;
    }

    /// A node that has a record has a provider, as a rule: it is looked for before one is made.
    pub fn assume_provider(&mut self, node: NodeId) {
        self.machines.entry(node).or_default().provider_exists = true;
    }

    /// Remembers why a node cannot be offered, if it cannot; answers whether that is news.
    pub fn refuse(&mut self, node: NodeId, reason: Option<&str>) -> bool {
        let machine = self.machines.entry(node).or_default();
        let is_news = reason.is_some() && machine.refused.as_deref() != reason;
        machine.refused = reason.map(str::to_owned);
        is_news
    }

    /// Compares what is known with Placement's list: a provider whose generation moved on, or that is gone, is no
    /// longer known. Answers how many were forgotten.
    pub fn compare(&mut self, heads: &HashMap<NodeId, ProviderHead>) -> usize {
        self.compared = true;
        let mut forgotten = 0;
        for (node, machine) in &mut self.machines {
            let head = heads.get(node);
            machine.provider_exists = head.is_some();
            if machine.provider.as_ref().is_some_and(|p| head.is_none_or(|h| h.generation != p.generation)) {
                machine.provider = None;
                forgotten += 1;
            }
        }
        for node in heads.keys() {
            self.machines.entry(*node).or_default().provider_exists = true;
        }
        forgotten
    }

    pub fn forget_record(&mut self, node: NodeId) {
        if let Some(machine) = self.machines.get_mut(&node) {
            machine.record = None;
        }
    }

    pub fn forget(&mut self, node: NodeId) {
        self.machines.remove(&node);
    }

    /// Forgets what is neither ours nor recorded, so that a moved node leaves nothing behind.
    pub fn keep_only(&mut self, ours: impl Fn(NodeId) -> bool) {
        self.machines.retain(|node, machine| ours(*node) || machine.record.is_some());
    }

    pub fn failed_builds(&self, node: NodeId) -> u32 {
        self.machines.get(&node).map_or(0, |machine| machine.failed_builds)
    }

    pub fn build_ended(&mut self, node: NodeId, succeeded: bool) {
        let machine = self.machines.entry(node).or_default();
        machine.failed_builds = if succeeded { 0 } else { machine.failed_builds + 1 };
    }

    /// What is known of Placement, to be recorded.
    pub fn providers(&self) -> HashMap<NodeId, KnownProvider> {
        self.machines.iter().filter_map(|(node, machine)| Some((*node, machine.provider.clone()?))).collect()
    }

    /// The machines by provision state, for the metric.
    pub fn by_state(&self) -> HashMap<String, usize> {
        let mut counts = HashMap::new();
        for (state, _) in self.machines.values().filter_map(|machine| machine.seen.as_ref()) {
            *counts.entry(state.to_string()).or_default() += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::inventory::testing::node;

    fn known(generation: i64) -> KnownProvider {
        KnownProvider { generation, inventory: BTreeMap::new(), traits: BTreeSet::new() }
    }

    #[test]
    fn a_provider_whose_generation_is_the_recorded_one_needs_no_request() {
        let id = node().uuid;
        let mut picture = Picture::new(HashMap::from([(id, known(4))]));
        assert_eq!(picture.compare(&HashMap::from([(id, ProviderHead { generation: 4 })])), 0);
        assert_eq!(picture.provider(id), (Some(known(4)), true));
    }

    #[test]
    fn what_a_file_says_counts_only_once_it_was_compared() {
        let id = node().uuid;
        let mut picture = Picture::new(HashMap::from([(id, known(4))]));
        assert_eq!(picture.provider(id), (None, true));
        picture.compare(&HashMap::from([(id, ProviderHead { generation: 4 })]));
        assert_eq!(picture.provider(id), (Some(known(4)), true));
    }

    #[test]
    fn a_provider_that_somebody_changed_is_no_longer_known() {
        let id = node().uuid;
        let mut picture = Picture::new(HashMap::from([(id, known(4))]));
        assert_eq!(picture.compare(&HashMap::from([(id, ProviderHead { generation: 5 })])), 1);
        assert_eq!(picture.provider(id), (None, true));
    }

    #[test]
    fn a_provider_that_is_gone_is_made_again() {
        let id = node().uuid;
        let mut picture = Picture::new(HashMap::from([(id, known(4))]));
        assert_eq!(picture.compare(&HashMap::new()), 1);
        assert_eq!(picture.provider(id), (None, false));
    }

    #[test]
    fn failed_builds_count_up_and_a_success_resets_them() {
        let id = node().uuid;
        let mut picture = Picture::default();
        picture.build_ended(id, false);
        picture.build_ended(id, false);
        assert_eq!(picture.failed_builds(id), 2);
        picture.build_ended(id, true);
        assert_eq!(picture.failed_builds(id), 0);
    }
}
