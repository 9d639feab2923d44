//! What is known at this moment: the machines as Ironic last listed them, and what the control plane was last told.

use std::collections::HashMap;

use driver::NodeId;
use openstack::ironic::Node;

use crate::ports::{KnownProvider, ProviderHead, Record};

/// One machine that is ours.
#[derive(Debug, Default)]
struct Machine {
    node: Option<Node>,
    record: Option<Record>,
    provider: Option<KnownProvider>,
    /// Placement has a provider of which we know nothing.
    provider_exists: bool,
    /// Builds that failed here since the last one that succeeded.
    failed_builds: u32,
}

/// The machines that are ours.
#[derive(Debug, Default)]
pub struct Picture {
    machines: HashMap<NodeId, Machine>,
}

impl Picture {
    /// A picture that knows only what was recorded of Placement.
    pub fn new(providers: HashMap<NodeId, KnownProvider>) -> Self {
        let machines = providers
            .into_iter()
            .map(|(node, provider)| (node, Machine { provider: Some(provider), ..Machine::default() }))
            .collect();
        Self { machines }
    }

    pub fn saw(&mut self, node: Node) {
        let machine = self.machines.entry(node.uuid).or_default();
        machine.node = Some(node);
    }

    pub fn record(&self, node: NodeId) -> Option<&Record> {
        self.machines.get(&node)?.record.as_ref()
    }

    pub fn set_record(&mut self, record: Record) {
        let machine = self.machines.entry(record.node).or_default();
        machine.record = Some(record);
    }

    /// Replaces every record by those of a fresh list.
    pub fn set_records(&mut self, records: Vec<Record>) {
        for machine in self.machines.values_mut() {
            machine.record = None;
        }
        for record in records {
            self.set_record(record);
        }
    }

    /// Nodes that have a record of this host.
    pub fn recorded(&self) -> Vec<NodeId> {
        self.machines.iter().filter(|(_, m)| m.record.is_some()).map(|(node, _)| *node).collect()
    }

    pub fn provider(&self, node: NodeId) -> (Option<KnownProvider>, bool) {
        self.machines
            .get(&node)
            .map_or((None, false), |machine| (machine.provider.clone(), machine.provider_exists))
    }

    pub fn set_provider(&mut self, node: NodeId, provider: Option<KnownProvider>) {
        let machine = self.machines.entry(node).or_default();
        machine.provider_exists = true;
        machine.provider = provider;
    }

    /// Compares what is known with Placement's list: a provider whose generation moved on, or that is gone, is no
    /// longer known. Answers how many were forgotten.
    pub fn compare(&mut self, heads: &HashMap<NodeId, ProviderHead>) -> usize {
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
        for node in self.machines.values().filter_map(|machine| machine.node.as_ref()) {
            *counts.entry(node.provision_state.to_string()).or_default() += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::node;

    fn known(generation: i64) -> KnownProvider {
        KnownProvider { generation, inventory: Default::default(), traits: Default::default() }
    }

    #[test]
    fn a_provider_whose_generation_is_the_recorded_one_needs_no_look() {
        let id = node().uuid;
        let mut picture = Picture::new(HashMap::from([(id, known(4))]));
        assert_eq!(picture.compare(&HashMap::from([(id, ProviderHead { generation: 4 })])), 0);
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
