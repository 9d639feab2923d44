//! Ironic hides nodes from us, or they are gone: what is removed, and what waits.

use std::collections::BTreeMap;
use std::time::Duration;

use compute::inventory::Scope;
use compute::ports::{KnownProvider, Record};
use driver::{InstanceId, NodeId};
use ironic_sim::{Action, Call, State};
use oslo::context::RequestContext;

use crate::reporting::Watched;
use crate::restart::{build, cloud_of, first, is_active};
use crate::world::{HOST, Process, World, delete, server};

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
    let id = server(&watched.world, number, node, false).instance.id;
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
        watched.look().await;
        let before = Books::of(&watched.world);
        for node in &watched.nodes[..hidden] {
            watched.world.sim.update(node.0, |node| node.hidden = true);
        }
        assert_eq!(watched.looks(10).await, [(0, 0, 0); 10], "{hidden} hidden");
        watched.world.sim.hide(false);
        assert_eq!(watched.look().await, (0, 0, 0));
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
    assert_eq!(watched.looks(10).await, [(0, 0, 0); 10]);
    watched.world.tables().instances.get_mut(&id).unwrap().deleted = true;
    assert_eq!(watched.looks(3).await, [(0, 0, 0), (0, 0, 0), (0, 0, 1)]);
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
    assert_eq!(watched.looks(5).await, [(0, 0, 0); 5]);
    assert!(watched.world.tables().records.contains_key(&node));
    assert_eq!(watched.world.tables().allocations[&id], node);
    watched.world.tables().allocations.clear();
    assert_eq!(watched.look().await, (0, 0, 1));
    assert!(!watched.world.tables().records.contains_key(&node));
}

#[tokio::test]
async fn an_absence_counts_only_in_reports_in_a_row() {
    let watched = Watched::new(4).await;
    let hide = |hidden| watched.world.sim.update(watched.nodes[0].0, |node| node.hidden = hidden);
    for _ in 0..3 {
        hide(true);
        assert_eq!(watched.looks(2).await, [(0, 0, 0); 2]);
        hide(false);
        assert_eq!(watched.look().await, (0, 0, 0));
    }
    hide(true);
    watched.looks(2).await;
    watched.world.sim.hide(true);
    assert_eq!(watched.look().await, (0, 0, 0), "the list lacks too many to be believed");
    watched.world.sim.hide(false);
    hide(true);
    assert_eq!(watched.looks(3).await, [(0, 0, 0), (0, 0, 0), (0, 0, 1)]);
}

#[tokio::test]
async fn an_operator_confirms_that_so_many_were_removed() {
    for (machines, gone) in [(10, 6), (1, 1)] {
        let watched = Watched::new(machines).await;
        for node in &watched.nodes[..gone] {
            watched.world.sim.remove(node.0);
        }
        assert_eq!(watched.looks(5).await, [(0, 0, 0); 5]);
        let confirm = |most| {
            watched.reporter.set_scope(Scope { max_node_removals: Some(most), ..Scope::default() });
        };
        confirm(gone - 1);
        assert_eq!(watched.looks(5).await, [(0, 0, 0); 5]);
        confirm(gone);
        assert_eq!(watched.looks(3).await, [(0, 0, 0), (0, 0, 0), (0, 0, gone)]);
        assert_eq!(watched.world.tables().records.len(), machines - gone);
    }
}

#[tokio::test(start_paused = true)]
async fn a_delete_waits_while_its_node_is_hidden_and_a_build_does_too() {
    let state = tempfile::tempdir().unwrap();
    let (world, nodes) = cloud_of(6, state.path()).await;
    build(&world, state.path(), nodes[0], 1, None).await;
    world.sim.hold(State::Deploying);
    let process = Process::start(&world, state.path(), None);
    process.reporter.look(&RequestContext::admin()).await.unwrap();
    let request = server(&world, 2, nodes[1], true);
    let second = request.instance.id;
    process.manager.admit(&request.clone().into()).await.unwrap();
    process.manager.start(request.into());
    world.sim.wait_for_state(nodes[1].0, State::Deploying).await;
    let before = Books::of(&world);

    world.sim.hide(true);
    let request = delete(&world, first());
    process.manager.admit(&request.clone().into()).await.unwrap();
    process.manager.start(request.into());
    for _ in 0..4 {
        assert!(tokio::time::timeout(Duration::from_secs(10), process.manager.drained()).await.is_err());
        process.reporter.look(&RequestContext::admin()).await.unwrap();
    }
    assert_eq!(Books::of(&world), before);
    assert!(!world.tables().instances[&first()].deleted, "the machine runs on");
    assert_eq!(world.sim.node(nodes[0].0).instance_uuid, Some(first().0));

    world.sim.hide(false);
    world.sim.release();
    process.ended().await;
    assert!(world.tables().instances[&first()].deleted);
    assert_eq!(world.sim.node(nodes[0].0).instance_uuid, None);
    is_active(&world, second, "its node was hidden");
}

#[tokio::test(start_paused = true)]
async fn a_delete_ends_when_its_node_is_proven_gone() {
    let state = tempfile::tempdir().unwrap();
    let (world, nodes) = cloud_of(6, state.path()).await;
    build(&world, state.path(), nodes[0], 1, None).await;
    world.sim.remove(nodes[0].0);
    let process = Process::start(&world, state.path(), None);
    process.reporter.look(&RequestContext::admin()).await.unwrap();
    let request = delete(&world, first());
    process.manager.admit(&request.clone().into()).await.unwrap();
    process.manager.start(request.into());
    process.ended().await;
    let tables = world.tables();
    assert!(tables.instances[&first()].deleted);
    assert!(tables.allocations.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_allocation_stays_where_the_freed_node_is_hidden_before_it_is_reported() {
    let state = tempfile::tempdir().unwrap();
    let (world, nodes) = cloud_of(6, state.path()).await;
    build(&world, state.path(), nodes[0], 1, None).await;
    // Nobody has told Placement that the node is in use.
    world.tables().providers.get_mut(&nodes[0]).unwrap().inventory.values_mut().for_each(|s| s.reserved = 0);
    let process = Process::start(&world, state.path(), None);
    process.reporter.look(&RequestContext::admin()).await.unwrap();
    world.sim.hold(State::Cleaning);
    let (sim, node) = (world.sim.clone(), nodes[0].0);
    let (calls, deleting) = (world.clone(), std::sync::Once::new());
    world.sim.on_request(Box::new(move |request| {
        let freed = calls.sim.find(node).is_some_and(|node| node.provision_state == State::Cleaning);
        if request.call == Call::GetNode && freed && request.is_before() {
            deleting.call_once(|| sim.hide(true));
        }
        Action::Go
    }));
    let request = delete(&world, first());
    process.manager.admit(&request.clone().into()).await.unwrap();
    process.manager.start(request.into());
    assert!(tokio::time::timeout(Duration::from_secs(30), process.manager.drained()).await.is_err());
    assert!(world.tables().allocations.contains_key(&first()));
    world.sim.clear_hook();
    world.sim.hide(false);
    world.sim.release();
    process.ended().await;
    assert!(world.tables().let_go_dirty.is_empty());
    assert!(world.tables().allocations.is_empty());
}
