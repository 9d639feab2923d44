//! What runs can be seen: which operations, in which phase, why they wait.

use std::time::Duration;

use compute::request::{Kind, Request};
use ironic_sim::State;

use crate::restart::{cloud, first};
use crate::world::{Process, Trouble, delete, server};

#[tokio::test(start_paused = true)]
async fn an_operation_shows_what_it_does_and_what_it_waits_for() {
    let state = tempfile::tempdir().unwrap();
    let (world, nodes) = cloud().await;
    world.sim.hold(State::Deploying);
    let process = Process::start(&world, state.path(), None);
    let create = Request::from(server(&world, 1, nodes[0], true));
    process.take(create.clone()).await;
    world.sim.wait_for_state(nodes[0].0, State::Deploying).await;
    let [building] = process.manager.operations().try_into().unwrap();
    assert_eq!((building.kind, building.instance, building.node), (Kind::Create, first(), Some(nodes[0])));
    assert_eq!((building.request, building.phase), (create.key().request, "deploying"));
    assert!(building.in_phase <= building.running);

    world.sim.hold(State::Deleting);
    process.take(delete(&world, first())).await;
    world.sim.release_state(State::Deploying);
    world.sim.wait_for_state(nodes[0].0, State::Deleting).await;
    let mut running = process.manager.operations().into_iter();
    let deleting = running.find(|one| one.kind == Kind::Delete).unwrap();
    assert_eq!(deleting.phase, "taking the machine down");
    world.sim.release();
    process.manager.drained().await;
    assert!(process.manager.operations().is_empty());
    process.ended().await;
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_waits_to_be_retried_says_why() {
    let state = tempfile::tempdir().unwrap();
    let (world, nodes) = cloud().await;
    let process = Process::start(&world, state.path(), None);
    world.trouble("save_network", Trouble::Unavailable);
    process.take(server(&world, 1, nodes[0], true)).await;
    let waiting = loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let [one] = process.manager.operations().try_into().unwrap();
        if one.reason.is_some() {
            break one;
        }
    };
    assert_eq!(waiting.phase, "waiting to be retried");
    assert!(waiting.reason.unwrap().contains("cannot connect"));
    process.ended().await;
}
