//! Work ends although whatever it must write or give back is away at its end: it is tried again, here and after a restart,
//! and nothing is said or counted twice.

use std::path::Path;
use std::sync::Arc;

use compute::instance::{TaskState, VmState};
use compute::ports::Event;
use driver::NodeId;
use ironic_sim::State;

use crate::restart::{build, cloud, first, kill_everywhere, nothing_is_journalled, start_again};
use crate::world::{HOST, Kill, Process, Trouble, World, delete, server, with_port, with_volume};

/// How a build comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Story {
    /// The node fails it, and no other may be tried.
    Fails,
    /// It can be built nowhere.
    Aborts,
    /// The node fails it, and it is to be tried on another.
    GoesBack,
    /// The server's record is deleted under it.
    Gone,
}

const STORIES: [Story; 4] = [Story::Fails, Story::Aborts, Story::GoesBack, Story::Gone];

/// What the end of a build may call.
const CALLS: [&str; 7] =
    ["release", "delete_ports", "save_network", "detach_volumes", "record_fault", "update", "finish_event"];

/// Lets a call meet trouble, so many times, from the moment on at which a build has left its node.
fn away_at_the_end(world: &Arc<World>, name: &'static str, times: usize) {
    let weak = Arc::downgrade(world);
    world.on_call("detach_volumes", move || {
        let world = weak.upgrade().unwrap();
        (0..times).for_each(|_| world.trouble(name, Trouble::Unavailable));
    });
}

/// Builds a server with a volume, to one of these ends.
async fn run(world: &Arc<World>, state: &Path, node: NodeId, story: Story, kill: Option<Kill>) -> usize {
    match story {
        Story::Gone => world.sim.hold(State::Deploying),
        Story::Aborts => world.trouble("vendor_data", Trouble::Refused),
        Story::Fails | Story::GoesBack => world.sim.fail_deploy(node.0, "the disk is broken"),
    }
    let process = Process::start(world, state, kill);
    let request = with_volume(world, server(world, 1, node, story == Story::GoesBack));
    process.take(request).await;
    if story == Story::Gone {
        tokio::select! {
            _ = world.sim.wait_for_state(node.0, State::Deploying) => {}
            () = process.shutdown.cancelled() => {}
        }
        world.tables().instances.get_mut(&first()).unwrap().deleted = true;
        world.sim.release();
    }
    process.ended().await;
    world.calls_made()
}

/// Nothing of the build is left, and it ended once.
fn ended_once(world: &World, story: Story, why: &str) {
    let tables = world.tables();
    let id = first();
    assert!(tables.neutron.is_empty(), "{why}: a port is left");
    let held = tables.allocations.get(&id).copied();
    let error = usize::from(story == Story::Fails || story == Story::Aborts);
    match story {
        Story::GoesBack => assert_eq!(tables.rescheduled, [id], "{why}"),
        Story::Gone => assert_eq!(held, None, "{why}: the allocation is left"),
        Story::Fails | Story::Aborts => {
            assert_eq!(held, None, "{why}: the allocation is left");
            let instance = &tables.instances[&id];
            assert_eq!((&instance.vm_state, &instance.task_state), (&VmState::Error, &None), "{why}");
            assert!(instance.node.is_none(), "{why}");
        }
    }
    assert_eq!(tables.faults.len(), error, "{why}: {:?}", tables.faults);
    let failed = tables.events.iter().filter(|event| matches!(event.failure, Some(Some(_)))).count();
    assert_eq!(failed, error, "{why}: {:?}", tables.events);
    assert!(tables.events.iter().all(|event| event.failure.is_some()), "{why}: {:?}", tables.events);
    assert_eq!(tables.failures_told.len(), usize::from(story != Story::Gone), "{why}: notifications");
    assert!(tables.volumes.values().all(Option::is_none), "{why}: a volume is attached");
    assert!(tables.torn_off.is_empty(), "{why}");
    drop(tables);
    assert!(world.sim.by_instance(first().0).is_none(), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_build_that_ends_while_something_is_away_leaves_nothing_and_ends_once() {
    for story in STORIES {
        for away in CALLS {
            let state = tempfile::tempdir().unwrap();
            let (world, nodes) = cloud().await;
            away_at_the_end(&world, away, 3);
            run(&world, state.path(), nodes[0], story, None).await;
            ended_once(&world, story, &format!("{story:?}, {away} was away"));
            nothing_is_journalled(state.path());
        }
    }
}

/// However the process is killed while a build ends and something is away, nothing is left and the event has its end.
async fn survives_a_kill_anywhere(story: Story, away: &'static str) {
    kill_everywhere(async |kill, why| {
        let state = tempfile::tempdir().unwrap();
        let (world, nodes) = cloud().await;
        away_at_the_end(&world, away, 2);
        let calls = run(&world, state.path(), nodes[0], story, Some(kill)).await;
        start_again(&world, state.path()).await;
        let tables = world.tables();
        assert!(tables.neutron.is_empty(), "{why}: a port is left");
        assert!(!tables.allocations.contains_key(&first()), "{why}: the allocation is left");
        assert!(tables.events.iter().all(|event| event.failure.is_some()), "{why}: {:?}", tables.events);
        let last = tables.events.last().and_then(|event| event.failure.clone().flatten());
        assert_eq!(last.is_some(), story == Story::Fails, "{why}: {:?}", tables.events);
        drop(tables);
        nothing_is_journalled(state.path());
        calls > kill.call
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_build_that_fails_while_placement_is_away_survives_a_kill_anywhere() {
    survives_a_kill_anywhere(Story::Fails, "release").await;
}

#[tokio::test(start_paused = true)]
async fn a_build_that_loses_its_server_while_neutron_is_away_survives_a_kill_anywhere() {
    survives_a_kill_anywhere(Story::Gone, "delete_ports").await;
}

#[tokio::test(start_paused = true)]
async fn a_build_that_fails_while_the_conductor_is_away_survives_a_kill_anywhere() {
    survives_a_kill_anywhere(Story::Fails, "finish_event").await;
}

#[tokio::test(start_paused = true)]
async fn a_server_is_active_once_although_the_end_of_its_event_cannot_be_written_at_once() {
    let state = tempfile::tempdir().unwrap();
    let (world, nodes) = cloud().await;
    (0..3).for_each(|_| world.trouble("finish_event", Trouble::Unavailable));
    build(&world, state.path(), nodes[0], 1, None).await;
    crate::restart::is_active(&world, first(), "the event was written late");
    let told = world.tables().told.clone();
    assert_eq!(told, [(first(), Event::Create, "start"), (first(), Event::Create, "end")]);
    nothing_is_journalled(state.path());
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_ends_while_something_is_away_leaves_nothing_and_is_told_once() {
    let calls = [
        "release",
        "delete_ports",
        "save_network",
        "detach_volumes",
        "update",
        "clean_console_tokens",
        "destroy",
        "finish_event",
    ];
    for away in calls {
        let state = tempfile::tempdir().unwrap();
        let (world, nodes) = cloud().await;
        let process = Process::start(&world, state.path(), None);
        let request = with_volume(&world, server(&world, 1, nodes[0], true));
        process.take(request).await;
        process.ended().await;
        world.tables().told.clear();
        (0..3).for_each(|_| world.trouble(away, Trouble::Unavailable));
        let process = Process::start(&world, state.path(), None);
        let request = delete(&world, first());
        process.take(request).await;
        process.ended().await;
        let tables = world.tables();
        assert!(tables.instances[&first()].deleted, "{away}: {:?}", tables.faults);
        assert!(tables.neutron.is_empty() && tables.allocations.is_empty(), "{away}");
        assert!(tables.volumes.is_empty(), "{away}: the volume stays");
        assert!(tables.faults.is_empty(), "{away}: {:?}", tables.faults);
        assert!(tables.events.iter().all(|event| event.failure == Some(None)), "{away}: {:?}", tables.events);
        let told: Vec<_> = tables.told.iter().map(|(_, event, phase)| (*event, *phase)).collect();
        let once = [
            (Event::Delete, "start"),
            (Event::Shutdown, "start"),
            (Event::Shutdown, "end"),
            (Event::Delete, "end"),
        ];
        assert_eq!(told, once, "{away}");
        drop(tables);
        nothing_is_journalled(state.path());
    }
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_fails_while_the_conductor_is_away_fails_once() {
    for away in ["record_fault", "update", "finish_event"] {
        let state = tempfile::tempdir().unwrap();
        let (world, nodes) = cloud().await;
        build(&world, state.path(), nodes[0], 1, None).await;
        world.trouble("delete_ports", Trouble::Refused);
        (0..3).for_each(|_| world.trouble(away, Trouble::Unavailable));
        let process = Process::start(&world, state.path(), None);
        let request = delete(&world, first());
        process.take(request).await;
        process.ended().await;
        let tables = world.tables();
        let instance = &tables.instances[&first()];
        assert_eq!((&instance.vm_state, &instance.task_state), (&VmState::Error, &None), "{away}");
        assert_eq!(tables.faults.len(), 1, "{away}: {:?}", tables.faults);
        let failed = tables.events.iter().filter(|event| matches!(event.failure, Some(Some(_)))).count();
        assert_eq!(failed, 1, "{away}: {:?}", tables.events);
    }
}

/// A build with the user's own port, which a delete meets in this call.
async fn deleted_in(call: &'static str, trouble: &'static str) -> (Arc<World>, tempfile::TempDir) {
    let state = tempfile::tempdir().unwrap();
    let (world, nodes) = cloud().await;
    let process = Process::start(&world, state.path(), None);
    let request = with_port(&world, server(&world, 1, nodes[0], true));
    let (manager, weak) = (process.manager.clone(), Arc::downgrade(&world));
    world.on_call(call, move || {
        let world = weak.upgrade().unwrap();
        (0..1000).for_each(|_| world.trouble(trouble, Trouble::Unavailable));
        manager.start(delete(&world, first()).into());
    });
    process.take(request).await;
    // The delete does not wait for the build to give the port back.
    world.sim.wait_for_state(nodes[0].0, State::Available).await;
    while world.sim.by_instance(first().0).is_some() {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    world.end_trouble();
    process.ended().await;
    nothing_is_journalled(state.path());
    (world, state)
}

#[tokio::test(start_paused = true)]
async fn a_port_that_the_user_brought_outlives_a_build_that_a_delete_met_while_something_was_away() {
    for (call, trouble) in [("create_port", "delete_ports"), ("save_network", "save_network")] {
        let (world, _state) = deleted_in(call, trouble).await;
        let tables = world.tables();
        assert!(tables.instances[&first()].deleted, "{call}: {:?}", tables.faults);
        assert_eq!(tables.users_ports.len(), 1, "{call}: the user's port was deleted");
        assert!(tables.neutron.is_empty(), "{call}: the port is still the server's");
        assert!(tables.allocations.is_empty(), "{call}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_a_start_ends_is_ended_although_the_conductor_is_away_meanwhile() {
    for away in ["get", "record_fault", "update"] {
        let state = tempfile::tempdir().unwrap();
        let (world, nodes) = cloud().await;
        let id = server(&world, 1, nodes[0], true).instance.id;
        {
            let mut tables = world.tables();
            let instance = tables.instances.get_mut(&id).unwrap();
            instance.host = Some(HOST.to_owned());
            (instance.vm_state, instance.task_state) = (VmState::Active, Some(TaskState::PoweringOff));
        }
        (0..3).for_each(|_| world.trouble(away, Trouble::Unavailable));
        start_again(&world, state.path()).await;
        let tables = world.tables();
        assert_eq!(tables.instances[&id].task_state, None, "{away}");
        assert_eq!(tables.faults.len(), 1, "{away}: {:?}", tables.faults);
    }
}

#[tokio::test(start_paused = true)]
async fn a_work_that_hit_a_bug_ends_although_the_conductor_is_away_meanwhile() {
    for away in ["get", "record_fault", "update"] {
        let state = tempfile::tempdir().unwrap();
        let (world, nodes) = cloud().await;
        let weak = Arc::downgrade(&world);
        world.on_call("create_port", move || {
            let world = weak.upgrade().unwrap();
            (0..3).for_each(|_| world.trouble(away, Trouble::Unavailable));
            panic!("a bug");
        });
        build(&world, state.path(), nodes[0], 1, None).await;
        let tables = world.tables();
        assert_eq!(tables.instances[&first()].vm_state, VmState::Error, "{away}");
        assert_eq!(tables.faults.len(), 1, "{away}: {:?}", tables.faults);
        drop(tables);
        nothing_is_journalled(state.path());
    }
}
