//! Servers that are deleted so that they can be restored, and their end.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use compute::instance::{Power, TaskState, VmState};
use compute::ports::Event;
use compute::request::PowerAction;
use driver::NodeId;
use ironic_sim::State;

use crate::power::running;
use crate::power_sync::shown;
use crate::restart::{first, is_gone, kill_at_each_of, nothing_is_journalled, start_again};
use crate::world::{Kill, Process, Trouble, World, power};

async fn change(world: &Arc<World>, state: &Path, action: PowerAction, kill: Option<Kill>) -> usize {
    let process = Process::start(world, state, kill);
    process.take(power(world, first(), action)).await;
    process.ended().await;
    world.calls_made()
}

/// A server that was deleted so long ago.
async fn deleted(state: &Path, ago: Duration) -> (Arc<World>, NodeId) {
    let (world, node) = running(state).await;
    change(&world, state, PowerAction::SoftDelete, None).await;
    world.tables().instances.get_mut(&first()).unwrap().deleted_at = Some(SystemTime::now() - ago);
    (world, node)
}

/// One look for servers whose time is over, and what it begins.
async fn reclaim(world: &Arc<World>, state: &Path, kill: Option<Kill>) -> usize {
    let process = Process::start(world, state, kill);
    let (manager, stop) = (process.manager.clone(), process.shutdown.child_token());
    let looked = world.count("soft_deleted_here");
    let looking = tokio::spawn({
        let stop = stop.clone();
        async move { manager.reclaim(stop).await }
    });
    // The list is answered, and what follows of it is begun before the next one.
    tokio::select! {
        () = world.counted("soft_deleted_here", looked + 2) => {}
        () = process.shutdown.cancelled() => {}
    }
    stop.cancel();
    looking.await.unwrap();
    process.ended().await;
    world.calls_made()
}

#[tokio::test]
async fn a_server_is_deleted_and_restored() {
    let state = tempfile::tempdir().unwrap();
    let (world, node) = running(state.path()).await;
    change(&world, state.path(), PowerAction::SoftDelete, None).await;
    assert_eq!(shown(&world), (VmState::SoftDeleted, None, Power::Shutdown));
    let machine = world.sim.node(node.0);
    assert_eq!((machine.power_state.as_deref(), machine.provision_state), (Some("power off"), State::Active));
    change(&world, state.path(), PowerAction::Restore, None).await;
    assert_eq!(shown(&world), (VmState::Active, None, Power::Running));
    let told: Vec<_> = world.tables().told.iter().skip(2).map(|(_, event, phase)| (*event, *phase)).collect();
    let both = |event| [(event, "start"), (event, "end")];
    assert_eq!(told, [both(Event::SoftDelete), both(Event::Restore)].concat());
    assert!(world.tables().events.iter().all(|event| event.failure == Some(None)));
    nothing_is_journalled(state.path());
}

#[tokio::test]
async fn a_machine_that_ironic_cannot_switch_off_leaves_the_server_as_it_was_with_a_fault() {
    let state = tempfile::tempdir().unwrap();
    let (world, node) = running(state.path()).await;
    world.sim.fail_power(node.0, "the BMC hangs");
    change(&world, state.path(), PowerAction::SoftDelete, None).await;
    assert_eq!(shown(&world), (VmState::Active, None, Power::Running));
    let tables = world.tables();
    assert!(tables.faults[0].1.contains("the BMC hangs"));
    assert!(tables.events.last().unwrap().failure.clone().unwrap().unwrap().contains("the BMC hangs"));
    assert_eq!(
        tables.told.last().map(|(_, event, phase)| (*event, *phase)),
        Some((Event::SoftDelete, "end"))
    );
}

#[tokio::test]
async fn a_soft_delete_and_a_restore_go_on_wherever_the_process_is_killed() {
    for (action, expected) in [
        (PowerAction::SoftDelete, (VmState::SoftDeleted, None, Power::Shutdown)),
        (PowerAction::Restore, (VmState::Active, None, Power::Running)),
    ] {
        kill_at_each_of(6, async |kill, why| {
            let state = tempfile::tempdir().unwrap();
            let (world, _) = running(state.path()).await;
            if action == PowerAction::Restore {
                change(&world, state.path(), PowerAction::SoftDelete, None).await;
            }
            let calls = change(&world, state.path(), action, Some(kill)).await;
            start_again(&world, state.path()).await;
            assert_eq!(shown(&world), expected, "{why}");
            assert!(world.tables().faults.is_empty(), "{why}: {:?}", world.tables().faults);
            nothing_is_journalled(state.path());
            calls > kill.call
        })
        .await;
    }
}

#[tokio::test]
async fn a_soft_delete_ends_a_reboot_that_waits_for_a_locked_node() {
    let state = tempfile::tempdir().unwrap();
    let (world, node) = running(state.path()).await;
    world.sim.lock(node.0);
    let process = Process::start(&world, state.path(), None);
    process.take(power(&world, first(), PowerAction::Reboot { hard: true })).await;
    while !process.manager.operations().iter().any(|operation| operation.reason.is_some()) {
        tokio::task::yield_now().await;
    }
    process.take(power(&world, first(), PowerAction::SoftDelete)).await;
    while process.manager.operations().len() > 1 {
        tokio::task::yield_now().await;
    }
    world.sim.unlock(node.0);
    process.ended().await;
    assert_eq!(shown(&world), (VmState::SoftDeleted, None, Power::Shutdown));
    assert_eq!(world.sim.node(node.0).power_actions, 1);
    nothing_is_journalled(state.path());
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_time_is_over_is_reclaimed_and_no_other() {
    let state = tempfile::tempdir().unwrap();
    let (world, node) = deleted(state.path(), Duration::from_mins(59)).await;
    reclaim(&world, state.path(), None).await;
    assert_eq!(shown(&world), (VmState::SoftDeleted, None, Power::Shutdown));
    let hour = SystemTime::now() - Duration::from_hours(1);
    world.tables().instances.get_mut(&first()).unwrap().deleted_at = Some(hour);
    reclaim(&world, state.path(), None).await;
    world.sim.wait_for_state(node.0, State::Available).await;
    is_gone(&world, first(), "reclaimed");
    nothing_is_journalled(state.path());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_being_restored_is_not_reclaimed() {
    let state = tempfile::tempdir().unwrap();
    let (world, _) = deleted(state.path(), Duration::from_hours(2)).await;
    // The API accepts the restore right after the list was read, and it may even have ended.
    for (vm_state, task) in [(VmState::SoftDeleted, Some(TaskState::Restoring)), (VmState::Active, None)] {
        let tables = world.clone();
        let (expected, begun) = ((vm_state.clone(), task.clone()), (vm_state, task));
        world.on_call("update", move || {
            let mut tables = tables.tables();
            let instance = tables.instances.get_mut(&first()).unwrap();
            (instance.vm_state, instance.task_state) = begun;
        });
        reclaim(&world, state.path(), None).await;
        let (vm_state, task, _) = shown(&world);
        assert_eq!((vm_state, task), expected);
        let mut tables = world.tables();
        let instance = tables.instances.get_mut(&first()).unwrap();
        (instance.vm_state, instance.task_state) = (VmState::SoftDeleted, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_say_since_when_it_is_deleted_is_given_its_time_again() {
    let state = tempfile::tempdir().unwrap();
    let (world, _) = deleted(state.path(), Duration::from_hours(2)).await;
    world.tables().instances.get_mut(&first()).unwrap().deleted_at = None;
    reclaim(&world, state.path(), None).await;
    assert_eq!(shown(&world), (VmState::SoftDeleted, None, Power::Shutdown));
    let tables = world.tables();
    let age = tables.instances[&first()].deleted_at.unwrap().elapsed().unwrap();
    assert!(age < Duration::from_hours(1), "{age:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_cannot_be_reclaimed_is_tried_again_and_stays_deleted_meanwhile() {
    let state = tempfile::tempdir().unwrap();
    let (world, node) = deleted(state.path(), Duration::from_hours(2)).await;
    // Two periods.
    world.trouble("detach_volumes", Trouble::Broken);
    world.trouble("detach_volumes", Trouble::Broken);
    reclaim(&world, state.path(), None).await;
    assert_eq!(shown(&world), (VmState::SoftDeleted, None, Power::Shutdown));
    world.tables().faults.clear();
    reclaim(&world, state.path(), None).await;
    world.sim.wait_for_state(node.0, State::Available).await;
    is_gone(&world, first(), "reclaimed");
}

#[tokio::test(start_paused = true)]
async fn a_server_is_reclaimed_wherever_the_process_is_killed() {
    kill_at_each_of(9, async |kill, why| {
        let state = tempfile::tempdir().unwrap();
        let (world, node) = deleted(state.path(), Duration::from_hours(2)).await;
        let calls = reclaim(&world, state.path(), Some(kill)).await;
        start_again(&world, state.path()).await;
        if !world.tables().instances[&first()].deleted {
            reclaim(&world, state.path(), None).await;
        }
        world.sim.wait_for_state(node.0, State::Available).await;
        is_gone(&world, first(), &why);
        nothing_is_journalled(state.path());
        calls > kill.call
    })
    .await;
}
