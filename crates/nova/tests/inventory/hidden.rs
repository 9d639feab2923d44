//! Ironic hides nodes from us, or they are gone: what is removed, and what stays.

use std::collections::BTreeMap;

use driver::{InstanceId, NodeId};
use nova::inventory::Scope;
use nova::inventory::books::{KnownProvider, Record};

use crate::reporting::Watched;
use crate::world::{HOST, World};

/// What others need of the nodes.
#[derive(Debug, PartialEq)]
struct Books {
    records: Vec<Record>,
    providers: BTreeMap<NodeId, KnownProvider>,
    allocations: BTreeMap<InstanceId, NodeId>,
}

impl Books {
    fn of(world: &World) -> Self {
        let tables = world.tables();
        let mut records: Vec<Record> = tables.records.values().cloned().collect();
        records.sort_by_key(|record| record.node);
        let providers = tables.providers.iter().map(|(node, known)| (*node, known.clone())).collect();
        Self {
            records,
            providers,
            allocations: tables.allocations.iter().map(|(id, node)| (*id, *node)).collect(),
        }
    }
}

/// A server of this host on a node, with its allocation; Ironic is not asked.
fn place(watched: &Watched, number: u128, node: NodeId) -> InstanceId {
    let id = watched.world.server(number, node);
    let mut tables = watched.world.tables();
    let instance = tables.instances.get_mut(&id).unwrap();
    (instance.host, instance.node) = (Some(HOST.to_owned()), Some(node));
    id
}

#[tokio::test]
async fn nothing_is_removed_while_ironic_hides_the_nodes() {
    for hidden in [2, 6, 10] {
        let watched = Watched::new(10).await;
        for (number, node) in (1..).zip(&watched.nodes[..2]) {
            let id = place(&watched, number, *node);
            watched.world.sim.update(node.0, |node| node.instance_uuid = Some(id.0));
        }
        watched.report().await;
        let before = Books::of(&watched.world);
        for node in &watched.nodes[..hidden] {
            watched.world.sim.update(node.0, |node| node.hidden = true);
        }
        assert_eq!(watched.reports(10).await, [(0, 0, 0); 10], "{hidden} hidden");
        watched.world.sim.hide(false);
        assert_eq!(watched.report().await, (0, 0, 0));
        assert_eq!(Books::of(&watched.world), before, "{hidden} hidden");
    }
}

#[tokio::test]
async fn a_node_with_a_server_keeps_its_record_and_its_provider() {
    let watched = Watched::new(4).await;
    let node = watched.nodes[0];
    let id = place(&watched, 1, node);
    watched.world.tables().allocations.clear();
    watched.world.sim.remove(node.0);
    assert_eq!(watched.reports(10).await, [(0, 0, 0); 10]);
    watched.world.tables().instances.get_mut(&id).unwrap().deleted = true;
    assert_eq!(watched.reports(3).await, [(0, 0, 0), (0, 0, 0), (0, 0, 1)]);
    assert!(!watched.world.tables().providers.contains_key(&node));
}

#[tokio::test]
async fn a_record_stays_with_its_provider_while_an_allocation_is_on_it() {
    let watched = Watched::new(4).await;
    let node = watched.nodes[0];
    let id = place(&watched, 1, node);
    // Another service's, or one that was left behind.
    watched.world.tables().instances.remove(&id);
    watched.world.sim.remove(node.0);
    assert_eq!(watched.reports(5).await, [(0, 0, 0); 5]);
    assert!(watched.world.tables().records.contains_key(&node));
    assert_eq!(watched.world.tables().allocations[&id], node);
    watched.world.tables().allocations.clear();
    assert_eq!(watched.report().await, (0, 0, 1));
    assert!(!watched.world.tables().records.contains_key(&node));
}

#[tokio::test]
async fn an_absence_counts_only_in_reports_in_a_row() {
    let watched = Watched::new(4).await;
    let hide = |hidden| watched.world.sim.update(watched.nodes[0].0, |node| node.hidden = hidden);
    for _ in 0..3 {
        hide(true);
        assert_eq!(watched.reports(2).await, [(0, 0, 0); 2]);
        hide(false);
        assert_eq!(watched.report().await, (0, 0, 0));
    }
    hide(true);
    watched.reports(2).await;
    watched.world.sim.hide(true);
    assert_eq!(watched.report().await, (0, 0, 0), "the list lacks too many to be believed");
    watched.world.sim.hide(false);
    hide(true);
    assert_eq!(watched.reports(3).await, [(0, 0, 0), (0, 0, 0), (0, 0, 1)]);
}

#[tokio::test]
async fn an_operator_confirms_that_so_many_were_removed() {
    for (machines, gone) in [(10, 6), (1, 1)] {
        let watched = Watched::new(machines).await;
        for node in &watched.nodes[..gone] {
            watched.world.sim.remove(node.0);
        }
        assert_eq!(watched.reports(5).await, [(0, 0, 0); 5]);
        let confirm = |most| {
            watched.reporter.set_scope(Scope { max_node_removals: Some(most), ..Scope::default() });
        };
        confirm(gone - 1);
        assert_eq!(watched.reports(5).await, [(0, 0, 0); 5]);
        confirm(gone);
        assert_eq!(watched.reports(3).await, [(0, 0, 0), (0, 0, 0), (0, 0, gone)]);
        assert_eq!(watched.world.tables().records.len(), machines - gone);
    }
}
