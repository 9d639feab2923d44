//! The picture of the machines: what it costs, what changes it, and who has a machine.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use compute::instance::{Instance, Power, TaskState, VmState};
use compute::ports::{Machines as _, Published};
use driver::{InstanceId, NodeId};
use ironic_sim::Sim;
use nova::inventory::Reporter;
use oslo::context::RequestContext;
use uuid::Uuid;

use crate::world::{HOST, Trouble, World};

/// A cloud, and a service in it that has looked at its machines.
pub struct Watched {
    pub world: Arc<World>,
    pub nodes: Vec<NodeId>,
    pub reporter: Reporter,
    _state: tempfile::TempDir,
}

impl Watched {
    pub async fn new(machines: usize) -> Self {
        let sim = Sim::builder().start().await;
        let nodes = sim.enroll(machines).into_iter().map(NodeId).collect();
        let state = tempfile::tempdir().unwrap();
        let world = World::new(sim);
        let reporter = world.reporter(state.path());
        let watched = Self { world, nodes, reporter, _state: state };
        assert_eq!(watched.report().await, (machines, 0, 0));
        watched
    }

    /// Looks; answers how many nodes were written, failed and removed.
    pub async fn report(&self) -> (usize, usize, usize) {
        self.world.tables().calls.clear();
        self.world.sim.clear_requests();
        let published = self.reporter.publish(&RequestContext::admin()).await.unwrap();
        let Published { written, failed, removed, .. } = published;
        (written, failed, removed)
    }

    /// So many reports, one after the other.
    pub async fn reports(&self, count: usize) -> Vec<(usize, usize, usize)> {
        let mut outcomes = Vec::new();
        for _ in 0..count {
            outcomes.push(self.report().await);
        }
        outcomes
    }

    /// The calls of the last report, to the control plane and to Ironic.
    fn calls(&self) -> (BTreeMap<&'static str, usize>, BTreeMap<String, usize>) {
        (self.world.tables().calls.clone(), self.world.sim.shapes())
    }

    pub fn reserved(&self, node: NodeId) -> u64 {
        self.world.tables().providers[&node].inventory["CUSTOM_BAREMETAL"].reserved
    }

    fn host(&self, node: NodeId) -> Option<String> {
        self.world.tables().records[&node].host.clone()
    }
}

#[tokio::test]
async fn a_steady_report_makes_three_lists_whatever_the_number_of_nodes() {
    let watched = Watched::new(50).await;
    assert_eq!(watched.report().await, (0, 0, 0));
    let (control_plane, ironic) = watched.calls();
    assert_eq!(control_plane, BTreeMap::from([("on_this_host", 1), ("ring_members", 1)]));
    assert_eq!(ironic, BTreeMap::from([("GET /v1/nodes".to_owned(), 1)]));
}

#[tokio::test]
async fn only_the_node_that_changed_is_written() {
    let watched = Watched::new(5).await;
    let node = watched.nodes[2];
    watched.world.sim.update(node.0, |node| node.maintenance = true);
    assert_eq!(watched.report().await, (1, 0, 0));
    assert_eq!(watched.reserved(node), 1);
    let (control_plane, _) = watched.calls();
    assert_eq!((control_plane.get("report"), control_plane.get("save_record")), (Some(&1), None));
}

#[tokio::test]
async fn a_node_that_cannot_be_written_holds_up_no_other_and_is_tried_again() {
    let watched = Watched::new(3).await;
    for node in &watched.nodes {
        watched.world.sim.update(node.0, |node| node.maintenance = true);
    }
    watched.world.trouble("report", Trouble::Broken);
    assert_eq!(watched.report().await, (2, 1, 0));
    assert_eq!(watched.report().await, (1, 0, 0));
    assert!(watched.nodes.iter().all(|node| watched.reserved(*node) == 1));
}

#[tokio::test]
async fn a_node_that_went_away_leaves_nothing_and_one_that_returns_is_reported_anew() {
    let watched = Watched::new(3).await;
    let (sim, node) = (&watched.world.sim, watched.nodes[0]);
    sim.remove(node.0);
    assert_eq!(watched.reports(3).await, [(0, 0, 0), (0, 0, 0), (0, 0, 1)]);
    assert!(!watched.world.tables().records.contains_key(&node));
    assert!(!watched.world.tables().providers.contains_key(&node));
    let returned = NodeId(sim.enroll(1)[0]);
    assert_eq!(watched.report().await, (1, 0, 0));
    assert_eq!(watched.reserved(returned), 0);
}

#[tokio::test]
async fn a_removal_that_failed_halfway_is_ended_in_the_next_report() {
    let watched = Watched::new(2).await;
    let node = watched.nodes[0];
    watched.world.sim.remove(node.0);
    watched.world.trouble("destroy_record", Trouble::Unavailable);
    assert_eq!(watched.reports(4).await, [(0, 0, 0), (0, 0, 0), (0, 1, 0), (0, 0, 1)]);
    assert!(!watched.world.tables().records.contains_key(&node));
}

#[tokio::test]
async fn records_that_a_peer_took_are_taken_back_when_it_is_gone() {
    let watched = Watched::new(20).await;
    watched.world.tables().peers.push("peer".to_owned());
    watched.report().await;
    let theirs: Vec<NodeId> = {
        let mut tables = watched.world.tables();
        tables.records.values_mut().step_by(2).for_each(|record| record.host = Some("peer".to_owned()));
        tables
            .records
            .values()
            .filter(|record| record.host.as_deref() != Some(HOST))
            .map(|record| record.node)
            .collect()
    };
    assert_eq!(theirs.len(), 10);
    watched.world.tables().peers.clear();
    let (_, failed, _) = watched.report().await;
    assert_eq!(failed, 0);
    assert!(theirs.iter().all(|node| watched.host(*node).as_deref() == Some(HOST)));
}

#[tokio::test]
async fn a_node_that_somebody_else_has_cannot_be_booked_until_it_is_free_again() {
    let watched = Watched::new(3).await;
    let node = watched.nodes[0];
    let before = watched.world.tables().records[&node].clone();
    watched.world.sim.update(node.0, |node| node.instance_uuid = Some(Uuid::from_u128(7)));
    assert_eq!(watched.report().await, (1, 0, 0));
    assert_eq!(watched.reserved(node), 1);
    assert_eq!(watched.world.tables().records[&node], before, "whoever has it writes it");
    assert_eq!(watched.reports(5).await, [(0, 0, 0); 5]);
    watched.world.sim.update(node.0, |node| node.instance_uuid = None);
    assert_eq!(watched.report().await, (1, 0, 0));
    assert_eq!(watched.reserved(node), 0);
}

#[tokio::test]
async fn a_node_with_a_server_of_another_service_that_has_its_record_is_left_alone() {
    let watched = Watched::new(2).await;
    let node = watched.nodes[0];
    watched.world.tables().peers.push("peer".to_owned());
    watched.world.tables().records.get_mut(&node).unwrap().host = Some("peer".to_owned());
    watched.world.sim.update(node.0, |node| node.instance_uuid = Some(Uuid::from_u128(7)));
    let provider = watched.world.tables().providers[&node].clone();
    watched.reports(3).await;
    assert_eq!(watched.world.tables().providers[&node], provider);
    assert_eq!(watched.host(node).as_deref(), Some("peer"));
}

#[tokio::test]
async fn a_freed_node_that_somebody_else_took_at_once_is_reported_as_theirs() {
    let watched = Watched::new(2).await;
    let node = watched.nodes[0];
    watched.world.sim.update(node.0, |node| node.instance_uuid = Some(Uuid::from_u128(7)));
    watched.reporter.publish_one(&RequestContext::admin(), node, None).await.unwrap();
    assert_eq!(watched.reserved(node), 1);
}

#[tokio::test]
async fn a_report_finds_machines_with_another_power_and_nodes_with_a_stranger() {
    let watched = Watched::new(5).await;
    let instance = |number, vm_state, power| {
        let id = InstanceId(Uuid::from_u128(number));
        let host = Some(HOST.to_owned());
        (id, Instance { host, vm_state, power, ..Instance::new(id) })
    };
    let servers = [
        instance(1, VmState::Active, Power::Running),
        instance(2, VmState::Active, Power::Running),
        instance(3, VmState::Stopped, Power::Shutdown),
    ];
    watched.world.tables().instances.extend(servers);
    // The last is nobody's.
    for (node, (number, power)) in
        watched.nodes.iter().zip([(1, "power on"), (2, "power off"), (3, "power off"), (4, "power on")])
    {
        watched.world.sim.update(node.0, |node| {
            node.instance_uuid = Some(Uuid::from_u128(number));
            node.power_state = Some(power.to_owned());
        });
    }
    let found = watched.reporter.publish(&RequestContext::admin()).await.unwrap().found;
    assert_eq!(found.other_power, HashSet::from([InstanceId(Uuid::from_u128(2))]));
    assert_eq!(found.strangers, HashSet::from([(watched.nodes[3], InstanceId(Uuid::from_u128(4)))]));
    let task = Some(TaskState::PoweringOff);
    watched.world.tables().instances.get_mut(&InstanceId(Uuid::from_u128(2))).unwrap().task_state = task;
    let found = watched.reporter.publish(&RequestContext::admin()).await.unwrap().found;
    assert!(found.other_power.is_empty());
}
