//! Ironic hides nodes from us, or they are gone: what waits, and what ends.

use std::time::Duration;

use ironic_sim::State;

use crate::restart::{build, cloud_of, first, is_active};
use crate::world::{Process, delete, server};

#[tokio::test(start_paused = true)]
async fn a_delete_waits_while_its_node_is_hidden_and_a_build_does_too() {
    let state = tempfile::tempdir().unwrap();
    let (world, nodes) = cloud_of(6).await;
    build(&world, state.path(), nodes[0], 1, None).await;
    world.sim.hold(State::Deploying);
    let process = Process::start(&world, state.path(), None);
    let request = server(&world, 2, nodes[1], true);
    let second = request.instance.id;
    process.take(request).await;
    world.sim.wait_for_state(nodes[1].0, State::Deploying).await;
    let before = world.tables().allocations.clone();

    world.sim.hide(true);
    let request = delete(&world, first());
    process.take(request).await;
    assert!(tokio::time::timeout(Duration::from_secs(40), process.manager.drained()).await.is_err());
    assert_eq!(world.tables().allocations, before);
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
    let (world, nodes) = cloud_of(6).await;
    build(&world, state.path(), nodes[0], 1, None).await;
    world.sim.remove(nodes[0].0);
    let process = Process::start(&world, state.path(), None);
    let request = delete(&world, first());
    process.take(request).await;
    process.ended().await;
    let tables = world.tables();
    assert!(tables.instances[&first()].deleted);
    assert!(tables.allocations.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_allocation_stays_where_the_freed_node_is_hidden_before_it_is_reported() {
    let state = tempfile::tempdir().unwrap();
    let (world, nodes) = cloud_of(6).await;
    build(&world, state.path(), nodes[0], 1, None).await;
    // Nobody has told Placement that the node is in use.
    world.tables().machines.insert(nodes[0], false);
    let process = Process::start(&world, state.path(), None);
    world.sim.hold(State::Cleaning);
    let sim = world.sim.clone();
    world.on_call("report", move || sim.hide(true));
    let request = delete(&world, first());
    process.take(request).await;
    assert!(tokio::time::timeout(Duration::from_secs(30), process.manager.drained()).await.is_err());
    assert!(world.tables().allocations.contains_key(&first()));
    world.sim.hide(false);
    world.sim.release();
    process.ended().await;
    assert!(world.tables().let_go_dirty.is_empty());
    assert!(world.tables().allocations.is_empty());
}
