//! A restart loses nothing: the process is killed at every remote call of a build and of a delete in turn, before and
//! after the call took effect, and started again.

use std::path::Path;
use std::sync::Arc;

use crate::world::{Kill, Port, Process, Trouble, World, delete, placed_again, server, with_volume};
use compute::instance::{TaskState, VmState};
use compute::origin::Origin;
use compute::ports::Machines as _;
use compute::request::{BuildRequest, DeleteRequest};
use driver::{InstanceId, NodeId};
use futures_util::{StreamExt, stream};
use ironic_sim::{Sim, State};
use oslo::context::RequestContext;

/// A world with two machines that are reported already.
pub async fn cloud() -> (Arc<World>, Vec<NodeId>) {
    cloud_of(2).await
}

pub async fn cloud_of(machines: usize) -> (Arc<World>, Vec<NodeId>) {
    let sim = Sim::builder().nmi().start().await;
    let nodes = sim.enroll(machines).into_iter().map(NodeId).collect();
    let world = World::new(sim);
    Port(world.clone()).publish(&RequestContext::admin()).await.unwrap();
    (world, nodes)
}

/// Runs a process that builds `number` until it has ended or died.
pub async fn build(
    world: &Arc<World>,
    state: &Path,
    node: NodeId,
    number: u128,
    kill: Option<Kill>,
) -> usize {
    let process = Process::start(world, state, kill);
    let request = server(world, number, node, true);
    process.take(request).await;
    process.ended().await;
    world.calls_made()
}

/// What the control plane does with a request that went back: the same server, on another node.
async fn build_again(world: &Arc<World>, state: &Path, node: NodeId) {
    let process = Process::start(world, state, None);
    let request = placed_again(world, first(), node);
    process.take(request).await;
    process.ended().await;
}

/// Starts the service again and lets it end what it finds.
pub async fn start_again(world: &Arc<World>, state: &Path) {
    let process = Process::start(world, state, None);
    process.manager.resume().unwrap();
    process.ended().await;
}

pub fn nothing_is_journalled(state: &Path) {
    let left = std::fs::read_dir(state.join("bessemer/journal")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "journal entries left");
}

/// The server is active on exactly one node, with one port, its allocation, and a successful event.
pub fn is_active(world: &World, id: InstanceId, why: &str) {
    let tables = world.tables();
    let instance = &tables.instances[&id];
    assert_eq!(instance.vm_state, VmState::Active, "{why}: faults {:?}", tables.faults);
    assert_eq!(instance.task_state, None, "{why}");
    let on: Vec<_> = world.sim.nodes().into_iter().filter(|n| n.instance_uuid == Some(id.0)).collect();
    assert_eq!(on.len(), 1, "{why}");
    assert_eq!(on[0].provision_state, State::Active, "{why}");
    assert_eq!(tables.neutron.iter().filter(|(_, owner)| *owner == id).count(), 1, "{why}");
    assert_eq!(tables.allocations.get(&id).map(|n| n.0), Some(on[0].uuid), "{why}");
    assert!(tables.rescheduled.is_empty(), "{why}");
    let events: Vec<_> = tables.events.iter().filter(|e| e.instance == id).collect();
    assert!(events.iter().any(|e| e.failure == Some(None)), "{why}: {events:?}");
}

/// Nothing of the server is left anywhere.
pub fn is_gone(world: &World, id: InstanceId, why: &str) {
    let tables = world.tables();
    assert!(tables.instances[&id].deleted, "{why}: {:?} {:?}", tables.instances[&id].vm_state, tables.faults);
    assert!(tables.neutron.iter().all(|(_, owner)| *owner != id), "{why}");
    assert!(!tables.allocations.contains_key(&id), "{why}");
    assert!(tables.faults.is_empty(), "{why}: {:?}", tables.faults);
    for node in world.sim.nodes() {
        assert_eq!(node.instance_uuid, None, "{why}");
        assert!(node.instance_info.is_empty(), "{why}");
        assert_eq!(node.provision_state, State::Available, "{why}");
    }
}

/// Runs a scenario for a kill before and after every call from the first on, several at a time, until one comes to its
/// end unharmed. The scenario answers whether it was long enough for the kill.
pub async fn kill_everywhere<F, Fut>(scenario: F)
where
    F: Fn(Kill, String) -> Fut,
    Fut: Future<Output = bool>,
{
    kill_at_each_of(9, scenario).await;
}

/// The same for a scenario of at least so many calls.
pub async fn kill_at_each_of<F, Fut>(at_least: usize, scenario: F)
where
    F: Fn(Kill, String) -> Fut,
    Fut: Future<Output = bool>,
{
    let kills = (0..).flat_map(|call| [false, true].map(|after| Kill { call, after }));
    let mut runs = stream::iter(kills)
        .map(|kill| {
            let when = if kill.after { "after" } else { "before" };
            let run = scenario(kill, format!("killed at call {}, {when}", kill.call));
            async move { (kill, run.await) }
        })
        .buffered(16);
    while let Some((kill, reached)) = runs.next().await {
        if !reached {
            assert!(kill.call >= at_least, "the work makes only {} calls", kill.call);
            return;
        }
    }
}

pub fn first() -> InstanceId {
    InstanceId(uuid::Uuid::from_u128(1))
}

#[tokio::test]
async fn a_build_goes_on_wherever_the_process_is_killed() {
    kill_everywhere(async |kill, why| {
        let state = tempfile::tempdir().unwrap();
        let (world, nodes) = cloud().await;
        let calls = build(&world, state.path(), nodes[0], 1, Some(kill)).await;
        start_again(&world, state.path()).await;
        is_active(&world, first(), &why);
        nothing_is_journalled(state.path());
        calls > kill.call
    })
    .await;
}

#[tokio::test]
async fn a_delete_goes_on_wherever_the_process_is_killed() {
    kill_everywhere(async |kill, why| {
        let state = tempfile::tempdir().unwrap();
        let (world, nodes) = cloud().await;
        build(&world, state.path(), nodes[0], 1, None).await;
        let process = Process::start(&world, state.path(), Some(kill));
        let request = delete(&world, first());
        process.take(request).await;
        process.ended().await;
        let calls = world.calls_made();
        start_again(&world, state.path()).await;
        for node in &nodes {
            world.sim.wait_for_state(node.0, State::Available).await;
        }
        is_gone(&world, first(), &why);
        nothing_is_journalled(state.path());
        calls > kill.call
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_build_leaves_nothing_and_goes_back_once_wherever_the_process_is_killed() {
    kill_everywhere(async |kill, why| {
        let state = tempfile::tempdir().unwrap();
        let (world, nodes) = cloud().await;
        world.sim.fail_deploy(nodes[0].0, "the disk is broken");
        let calls = build(&world, state.path(), nodes[0], 1, Some(kill)).await;
        start_again(&world, state.path()).await;
        world.conducted().await;
        let tables = world.tables();
        assert_eq!(tables.rescheduled, [first()], "{why}: faults {:?}", tables.faults);
        assert_eq!(tables.allocations.get(&first()), Some(&nodes[1]), "{why}");
        assert!(tables.neutron.is_empty(), "{why}");
        drop(tables);
        assert!(world.sim.by_instance(first().0).is_none(), "{why}");
        nothing_is_journalled(state.path());
        calls > kill.call
    })
    .await;
}

/// How a build with a volume ends that cannot succeed, wherever it is killed: nothing is left but, where `kept`, the volume.
async fn ends_in_error_without_a_trace(kept: bool, may_reschedule: bool, hinder: impl Fn(&World, NodeId)) {
    kill_everywhere(async |kill, why| {
        let state = tempfile::tempdir().unwrap();
        let (world, nodes) = cloud().await;
        hinder(&world, nodes[0]);
        let process = Process::start(&world, state.path(), Some(kill));
        let request = with_volume(&world, server(&world, 1, nodes[0], may_reschedule));
        process.take(request).await;
        process.ended().await;
        let calls = world.calls_made();
        start_again(&world, state.path()).await;
        let tables = world.tables();
        assert_eq!(tables.instances[&first()].vm_state, VmState::Error, "{why}");
        assert!(tables.instances[&first()].node.is_none(), "{why}");
        assert!(tables.neutron.is_empty(), "{why}");
        assert!(tables.allocations.is_empty(), "{why}");
        assert!(tables.rescheduled.is_empty(), "{why}");
        assert!(tables.torn_off.is_empty(), "{why}: a volume went before its machine");
        let left: Vec<_> = tables.volumes.values().copied().collect();
        assert_eq!(left, if kept { vec![None] } else { vec![] }, "{why}");
        let texts: std::collections::BTreeSet<_> =
            tables.faults.iter().map(|(_, text)| text.clone()).collect();
        assert_eq!(texts.len(), 1, "{why}: {texts:?}");
        drop(tables);
        assert!(world.sim.by_instance(first().0).is_none(), "{why}");
        nothing_is_journalled(state.path());
        calls > kill.call
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_build_that_may_not_be_tried_elsewhere_leaves_the_volume_wherever_the_process_is_killed() {
    ends_in_error_without_a_trace(true, false, |world, node| {
        world.sim.fail_deploy(node.0, "the disk is broken");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_aborted_build_takes_its_volume_along_wherever_the_process_is_killed() {
    ends_in_error_without_a_trace(false, true, |world, _| {
        let body = ironic_sim::error_body(400, "InvalidImage: the format is not what it says");
        let matcher = ironic_sim::Matcher::call(ironic_sim::Call::SetProvision).detail("active");
        let kind = ironic_sim::Kind::Status(400, body);
        world.sim.fault(ironic_sim::Fault { matcher, times: u32::MAX, kind });
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_build_that_neutron_refuses_leaves_nothing_wherever_the_process_is_killed() {
    ends_in_error_without_a_trace(false, true, |world, _| {
        for _ in 0..3 {
            world.trouble("create_port", Trouble::Refused);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_meets_a_build_leaves_nothing_wherever_the_process_is_killed() {
    kill_everywhere(async |kill, why| {
        let state = tempfile::tempdir().unwrap();
        let (world, nodes) = cloud().await;
        world.sim.hold(State::Deploying);
        let process = Process::start(&world, state.path(), Some(kill));
        let request = with_volume(&world, server(&world, 1, nodes[0], true));
        process.take(request).await;
        tokio::select! {
            _ = world.sim.wait_for_state(nodes[0].0, State::Deploying) => {}
            () = process.shutdown.cancelled() => {}
        }
        let request = delete(&world, first());
        process.take(request).await;
        world.sim.release();
        process.ended().await;
        let calls = world.calls_made();
        start_again(&world, state.path()).await;
        for node in &nodes {
            world.sim.wait_for_state(node.0, State::Available).await;
        }
        is_gone(&world, first(), &why);
        assert!(world.tables().volumes.is_empty(), "{why}");
        assert!(world.tables().torn_off.is_empty(), "{why}");
        nothing_is_journalled(state.path());
        calls > kill.call
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_node_of_a_failed_build_keeps_its_allocation_until_placement_knows_that_it_is_being_cleaned() {
    let state = tempfile::tempdir().unwrap();
    let (world, nodes) = cloud().await;
    world.sim.hold(State::Cleaning);
    world.sim.fail_deploy(nodes[0].0, "the disk is broken");
    for _ in 0..3 {
        world.trouble("report", Trouble::Unavailable);
    }
    let process = Process::start(&world, state.path(), None);
    let request = server(&world, 1, nodes[0], false);
    process.take(request).await;
    world.sim.wait_for_state(nodes[0].0, State::Cleaning).await;
    process.ended().await;
    let tables = world.tables();
    assert!(!tables.allocations.contains_key(&first()));
    assert!(tables.let_go_dirty.is_empty(), "the node could be booked while it was being cleaned");
    assert_eq!(tables.failures_told, [first()]);
}

#[tokio::test]
async fn a_shutdown_does_not_come_between_the_hand_over_and_its_end() {
    let state = tempfile::tempdir().unwrap();
    let (world, nodes) = cloud().await;
    world.sim.fail_deploy(nodes[0].0, "the disk is broken");
    let process = Process::start(&world, state.path(), None);
    let shutdown = process.shutdown.clone();
    world.on_reschedule(move || shutdown.cancel());
    let request = server(&world, 1, nodes[0], true);
    process.take(request).await;
    process.ended().await;
    assert_eq!(world.tables().rescheduled, [first()]);
    nothing_is_journalled(state.path());
}

#[tokio::test]
async fn a_build_that_went_on_elsewhere_is_left_alone_by_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let (world, nodes) = cloud().await;
    world.sim.fail_deploy(nodes[0].0, "the disk is broken");
    let journal = state.path().join("bessemer/journal");
    let kept = state.path().join("kept");
    // The journal as it is when the process dies right after the request went back: with the verdict, not yet erased.
    let (folder, copy) = (journal.clone(), kept.clone());
    world.on_reschedule(move || {
        std::fs::create_dir_all(&copy).unwrap();
        for file in std::fs::read_dir(&folder).unwrap().flatten() {
            std::fs::copy(file.path(), copy.join(file.file_name())).unwrap();
        }
    });
    build(&world, state.path(), nodes[0], 1, None).await;
    build_again(&world, state.path(), nodes[1]).await;
    for file in std::fs::read_dir(&kept).unwrap().flatten() {
        std::fs::copy(file.path(), journal.join(file.file_name())).unwrap();
    }
    start_again(&world, state.path()).await;
    let tables = world.tables();
    assert_eq!(tables.instances[&first()].vm_state, VmState::Active, "{:?}", tables.faults);
    drop(tables);
    assert_eq!(world.sim.node(nodes[1].0).provision_state, State::Active);
    nothing_is_journalled(state.path());
}

#[tokio::test]
async fn a_bug_ends_a_work_in_error_once_and_the_server_can_be_deleted() {
    let state = tempfile::tempdir().unwrap();
    let (world, nodes) = cloud().await;
    let process = Process::start(&world, state.path(), None);
    let is_in_error = |why: &str| {
        let tables = world.tables();
        let instance = &tables.instances[&first()];
        assert_eq!((&instance.vm_state, &instance.task_state), (&VmState::Error, &None), "{why}");
        assert!(tables.faults.last().unwrap().1.contains("bug"), "{why}: {:?}", tables.faults);
        drop(tables);
        nothing_is_journalled(state.path());
    };
    world.panic_at("save_network");
    let request = server(&world, 1, nodes[0], true);
    process.take(request).await;
    process.manager.drained().await;
    is_in_error("after the build");
    world.panic_at("destroy");
    let request = delete(&world, first());
    for last in [false, true] {
        process.take(request.clone()).await;
        process.manager.drained().await;
        if !last {
            is_in_error("after the delete");
            world.tables().faults.clear();
        }
    }
    process.ended().await;
    for node in &nodes {
        world.sim.wait_for_state(node.0, State::Available).await;
    }
    is_gone(&world, first(), "deleted again");
    nothing_is_journalled(state.path());
}

#[tokio::test]
async fn a_bug_in_the_hand_over_ends_the_build_too() {
    let state = tempfile::tempdir().unwrap();
    let (world, nodes) = cloud().await;
    world.sim.fail_deploy(nodes[0].0, "no disk");
    world.panic_at("reschedule");
    build(&world, state.path(), nodes[0], 1, None).await;
    let tables = world.tables();
    assert_eq!(tables.instances[&first()].vm_state, VmState::Error);
    assert!(tables.faults.last().unwrap().1.contains("bug"), "{:?}", tables.faults);
    drop(tables);
    nothing_is_journalled(state.path());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_comes_again_leaves_the_entry_of_its_work_as_it_is() {
    let state = tempfile::tempdir().unwrap();
    let (world, nodes) = cloud().await;
    let request = server(&world, 1, nodes[0], true);
    let journal = state.path().join("bessemer/journal");
    let entry = || {
        let file = std::fs::read_dir(&journal).unwrap().next().unwrap().unwrap();
        std::fs::read_to_string(file.path()).unwrap()
    };
    let process = Process::start(&world, state.path(), None);
    process.manager.admit(&request.clone().into()).await.unwrap();
    let first_copy = entry();
    let again = BuildRequest { origin: Origin("another".into()), ..request };
    process.manager.admit(&again.clone().into()).await.unwrap();
    assert_eq!(entry(), first_copy);
    process.manager.resume().unwrap();
    process.take(again.clone()).await;
    process.manager.drained().await;
    is_active(&world, first(), "built once");
    nothing_is_journalled(state.path());
    let calls = world.calls_made();
    process.take(again).await;
    process.manager.drained().await;
    nothing_is_journalled(state.path());
    assert_eq!(world.calls_made(), calls);
    process.ended().await;
}

#[tokio::test]
async fn an_entry_whose_request_cannot_be_read_is_set_aside() {
    let state = tempfile::tempdir().unwrap();
    let (world, nodes) = cloud().await;
    let process = Process::start(&world, state.path(), None);
    let stranger = Origin("of another control plane".into());
    let build = BuildRequest { origin: stranger.clone(), ..server(&world, 1, nodes[0], true) };
    process.manager.admit(&build.clone().into()).await.unwrap();
    let delete = DeleteRequest { origin: stranger, ..delete(&world, first()) };
    process.manager.admit(&delete.clone().into()).await.unwrap();
    process.ended().await;
    start_again(&world, state.path()).await;
    let files = std::fs::read_dir(state.path().join("bessemer/journal")).unwrap();
    let names: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    assert_eq!(names.len(), 2);
    assert!(names.iter().all(|name| name.extension().is_some_and(|kind| kind == "unreadable")), "{names:?}");
}

#[tokio::test(start_paused = true)]
async fn a_start_ends_the_tasks_that_nobody_works_on() {
    let state = tempfile::tempdir().unwrap();
    let (world, nodes) = cloud().await;
    let tasks = [
        (TaskState::PoweringOff, VmState::Active),
        (TaskState::Other("image_snapshot_pending".into()), VmState::Active),
        (TaskState::Rebuilding, VmState::Error),
        (TaskState::RebuildSpawning, VmState::Error),
    ];
    for (number, (task, _)) in (1..).zip(&tasks) {
        let id = server(&world, number, nodes[0], true).instance.id;
        let mut tables = world.tables();
        let instance = tables.instances.get_mut(&id).unwrap();
        instance.host = Some(crate::world::HOST.to_owned());
        (instance.vm_state, instance.task_state) = (VmState::Active, Some(task.clone()));
    }
    start_again(&world, state.path()).await;
    start_again(&world, state.path()).await;
    let tables = world.tables();
    for (number, (task, vm_state)) in (1..).zip(&tasks) {
        let instance = &tables.instances[&InstanceId(uuid::Uuid::from_u128(number))];
        assert_eq!((&instance.vm_state, &instance.task_state), (vm_state, &None), "{task:?}");
        let faults: Vec<_> = tables.faults.iter().filter(|(id, _)| *id == instance.id).collect();
        assert_eq!(faults.len(), 1, "{task:?}: {faults:?}");
    }
}
