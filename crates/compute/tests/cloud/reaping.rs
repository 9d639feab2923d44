//! The machines of servers that were deleted while no compute service ran.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use compute::instance::Instance;
use driver::NodeId;
use ironic_sim::State;
use uuid::Uuid;

use crate::restart::{build, cloud, first, is_gone, kill_at_each_of, nothing_is_journalled, start_again};
use crate::world::{Process, World};

/// Long enough for two reports.
const A_WHILE: Duration = Duration::from_secs(150);

/// A server that the API deleted without us, so long ago.
async fn deleted(state: &Path, ago: Duration) -> (Arc<World>, NodeId) {
    let (world, nodes) = cloud().await;
    build(&world, state, nodes[0], 1, None).await;
    let mut tables = world.tables();
    // The API gives back what is not on the machine.
    tables.neutron.clear();
    tables.allocations.clear();
    let instance = tables.instances.get_mut(&first()).unwrap();
    (instance.deleted, instance.deleted_at) = (true, Some(SystemTime::now() - ago));
    drop(tables);
    (world, nodes[0])
}

async fn run(world: &Arc<World>, state: &Path) {
    let process = Process::start(world, state, None);
    process.runs_for(A_WHILE).await;
    process.ended().await;
    nothing_is_journalled(state);
}

#[tokio::test(start_paused = true)]
async fn the_machine_of_a_server_that_was_deleted_without_us_is_torn_down() {
    let state = tempfile::tempdir().unwrap();
    let (world, node) = deleted(state.path(), Duration::from_mins(5)).await;
    run(&world, state.path()).await;
    world.sim.wait_for_state(node.0, State::Available).await;
    is_gone(&world, first(), "reaped");
}

#[tokio::test(start_paused = true)]
async fn anybody_elses_machine_is_left_alone() {
    let others: [fn(&mut Instance); 5] = [
        |instance| instance.host = Some("another".to_owned()),
        |instance| instance.node = Some(NodeId(Uuid::from_u128(77))),
        |instance| instance.node = None,
        |instance| instance.deleted_at = Some(SystemTime::now()),
        |instance| instance.deleted_at = None,
    ];
    for change in others {
        let state = tempfile::tempdir().unwrap();
        let (world, node) = deleted(state.path(), Duration::from_mins(5)).await;
        change(world.tables().instances.get_mut(&first()).unwrap());
        run(&world, state.path()).await;
        assert_eq!(world.sim.node(node.0).tear_downs, 0);
    }
    // The control plane has never had it.
    let state = tempfile::tempdir().unwrap();
    let (world, node) = deleted(state.path(), Duration::from_mins(5)).await;
    world.tables().instances.remove(&first());
    run(&world, state.path()).await;
    assert_eq!(world.sim.node(node.0).tear_downs, 0);
}

#[tokio::test(start_paused = true)]
async fn a_machine_is_torn_down_wherever_the_process_is_killed() {
    kill_at_each_of(7, async |kill, why| {
        let state = tempfile::tempdir().unwrap();
        let (world, node) = deleted(state.path(), Duration::from_mins(5)).await;
        let process = Process::start(&world, state.path(), Some(kill));
        tokio::select! {
            () = process.runs_for(A_WHILE) => {}
            () = process.shutdown.cancelled() => {}
        }
        process.ended().await;
        let calls = world.calls_made();
        start_again(&world, state.path()).await;
        run(&world, state.path()).await;
        world.sim.wait_for_state(node.0, State::Available).await;
        is_gone(&world, first(), &why);
        assert_eq!(world.sim.node(node.0).tear_downs, 1, "{why}");
        calls > kill.call
    })
    .await;
}
