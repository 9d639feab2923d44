//! Rebuilds.

use std::path::Path;
use std::sync::Arc;

use compute::instance::{Power, VmState};
use compute::ports::Event;
use compute::request::{InjectedFile, PowerAction, RebuildRequest};
use ironic_sim::State;

use crate::power::running;
use crate::power_sync::shown;
use crate::restart::{first, kill_at_each_of, nothing_is_journalled, start_again};
use crate::world::{IMAGE, Kill, Process, Trouble, World, delete, power, rebuild};

async fn stop(world: &Arc<World>, state: &Path) {
    let process = Process::start(world, state, None);
    process.take(power(world, first(), PowerAction::Stop { gracefully: false })).await;
    process.ended().await;
}

async fn run(world: &Arc<World>, state: &Path, request: RebuildRequest, kill: Option<Kill>) -> usize {
    let process = Process::start(world, state, kill);
    process.take(request).await;
    process.ended().await;
    world.calls_made()
}

/// How the last event ended.
fn last_event(world: &World) -> Option<Option<String>> {
    world.tables().events.last().unwrap().failure.clone()
}

#[tokio::test]
async fn a_server_is_rebuilt_on_its_node_and_runs() {
    let state = tempfile::tempdir().unwrap();
    let (world, node) = running(state.path()).await;
    let before = world.sim.node(node.0);
    let request = RebuildRequest { preserve_ephemeral: true, ..rebuild(&world, first()) };
    run(&world, state.path(), request, None).await;
    assert_eq!(shown(&world), (VmState::Active, None, Power::Running));
    assert_eq!(last_event(&world), Some(None));
    let after = world.sim.node(node.0);
    assert_eq!((after.deploys, after.tear_downs), (2, 0));
    assert_eq!(after.instance_info["image_source"], IMAGE.to_string());
    assert_eq!(after.instance_info["preserve_ephemeral"], "True");
    // With another password in it.
    assert_ne!(after.configdrive, before.configdrive);
    assert!(after.configdrive.is_some());
    let tables = world.tables();
    assert_eq!(tables.allocations.get(&first()), Some(&node));
    let told: Vec<_> = tables.told.iter().skip(2).map(|(_, event, phase)| (*event, *phase)).collect();
    assert_eq!(told, [(Event::Rebuild, "start"), (Event::Rebuild, "end")]);
    assert!(tables.faults.is_empty());
    nothing_is_journalled(state.path());
}

#[tokio::test]
async fn a_server_that_was_off_is_off_again_and_one_in_error_runs() {
    let state = tempfile::tempdir().unwrap();
    let (world, node) = running(state.path()).await;
    stop(&world, state.path()).await;
    run(&world, state.path(), rebuild(&world, first()), None).await;
    assert_eq!(shown(&world), (VmState::Stopped, None, Power::Shutdown));
    assert_eq!(world.sim.node(node.0).power_state.as_deref(), Some("power off"));
    assert_eq!(world.sim.node(node.0).deploys, 2);
    {
        let tables = world.tables();
        let told: Vec<_> = tables.told.iter().skip(4).map(|(_, event, phase)| (*event, *phase)).collect();
        let off = [(Event::PowerOff, "start"), (Event::PowerOff, "end")];
        assert_eq!(told, [&[(Event::Rebuild, "start")][..], &off, &[(Event::Rebuild, "end")]].concat());
        assert!(tables.events.iter().all(|event| event.failure == Some(None)), "{:?}", tables.events);
    }
    world.tables().instances.get_mut(&first()).unwrap().vm_state = VmState::Error;
    run(&world, state.path(), rebuild(&world, first()), None).await;
    assert_eq!(shown(&world), (VmState::Active, None, Power::Running));
    assert!(world.tables().faults.is_empty());
    nothing_is_journalled(state.path());
}

#[tokio::test]
async fn a_rebuild_goes_on_wherever_the_process_is_killed_and_no_disk_is_written_twice() {
    goes_on_wherever_killed(false).await;
}

#[tokio::test]
async fn a_rebuild_of_a_server_that_was_off_goes_on_wherever_the_process_is_killed() {
    goes_on_wherever_killed(true).await;
}

async fn goes_on_wherever_killed(was_off: bool) {
    kill_at_each_of(9, async |kill, why| {
        let state = tempfile::tempdir().unwrap();
        let (world, node) = running(state.path()).await;
        if was_off {
            stop(&world, state.path()).await;
        }
        let calls = run(&world, state.path(), rebuild(&world, first()), Some(kill)).await;
        start_again(&world, state.path()).await;
        let (vm_state, power) =
            if was_off { (VmState::Stopped, Power::Shutdown) } else { (VmState::Active, Power::Running) };
        assert_eq!(shown(&world), (vm_state, None, power), "{why}: {:?}", world.tables().faults);
        let on = world.sim.node(node.0);
        assert_eq!(on.deploys, 2, "{why}");
        assert_eq!(on.power_actions, 2 * u32::from(was_off), "{why}");
        let tables = world.tables();
        assert!(tables.faults.is_empty(), "{why}: {:?}", tables.faults);
        assert!(tables.events.iter().all(|event| event.failure == Some(None)), "{why}: {:?}", tables.events);
        assert_eq!(tables.allocations.get(&first()), Some(&node), "{why}");
        drop(tables);
        nothing_is_journalled(state.path());
        calls > kill.call
    })
    .await;
}

#[tokio::test]
async fn a_rebuild_that_ironic_fails_is_an_error_that_keeps_the_node_and_can_be_rebuilt() {
    let state = tempfile::tempdir().unwrap();
    let (world, node) = running(state.path()).await;
    world.sim.fail_deploy(node.0, "the disk is on fire");
    run(&world, state.path(), rebuild(&world, first()), None).await;
    let (vm_state, task, _) = shown(&world);
    assert_eq!((vm_state, task), (VmState::Error, None));
    assert!(last_event(&world).unwrap().unwrap().contains("on fire"));
    {
        let tables = world.tables();
        assert!(tables.faults[0].1.contains("on fire"), "{:?}", tables.faults);
        assert_eq!(tables.allocations.get(&first()), Some(&node));
        assert_eq!(tables.told.last().unwrap().2, "error");
    }
    run(&world, state.path(), rebuild(&world, first()), None).await;
    assert_eq!(shown(&world), (VmState::Active, None, Power::Running));
    assert_eq!(world.sim.node(node.0).provision_state, State::Active);
    nothing_is_journalled(state.path());
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_before_the_machine_is_touched() {
    let state = tempfile::tempdir().unwrap();
    let (world, node) = running(state.path()).await;
    let file = InjectedFile { path: "/etc/motd".to_owned(), contents: "a".into() };
    let request = RebuildRequest { injected_files: vec![file], ..rebuild(&world, first()) };
    run(&world, state.path(), request, None).await;
    world.tables().instances.get_mut(&first()).unwrap().has_trusted_certs = true;
    run(&world, state.path(), rebuild(&world, first()), None).await;
    let tables = world.tables();
    assert!(tables.faults[0].1.contains("/etc/motd"), "{:?}", tables.faults);
    assert_eq!(tables.faults.len(), 2);
    assert_eq!(tables.instances[&first()].vm_state, VmState::Error);
    assert_eq!(world.sim.node(node.0).deploys, 1);
}

#[tokio::test]
async fn a_machine_that_cannot_be_switched_off_again_leaves_a_server_that_runs_with_a_fault() {
    let state = tempfile::tempdir().unwrap();
    let (world, node) = running(state.path()).await;
    stop(&world, state.path()).await;
    world.sim.fail_power(node.0, "the BMC hangs");
    run(&world, state.path(), rebuild(&world, first()), None).await;
    assert_eq!(shown(&world), (VmState::Active, None, Power::Running));
    assert!(world.tables().faults[0].1.contains("the BMC hangs"));
    nothing_is_journalled(state.path());
}

#[tokio::test(start_paused = true)]
async fn a_control_plane_that_is_away_is_waited_for() {
    let state = tempfile::tempdir().unwrap();
    let (world, node) = running(state.path()).await;
    for call in ["get", "block_devices", "update", "vendor_data", "finish_event"] {
        world.trouble(call, Trouble::Unavailable);
    }
    run(&world, state.path(), rebuild(&world, first()), None).await;
    assert_eq!(shown(&world), (VmState::Active, None, Power::Running));
    assert_eq!(world.sim.node(node.0).deploys, 2);
    assert!(world.tables().faults.is_empty());
}

#[tokio::test]
async fn a_delete_ends_a_rebuild_under_way() {
    let state = tempfile::tempdir().unwrap();
    let (world, node) = running(state.path()).await;
    world.sim.hold(State::Deploying);
    let process = Process::start(&world, state.path(), None);
    process.take(rebuild(&world, first())).await;
    world.sim.wait_for_state(node.0, State::Deploying).await;
    process.take(delete(&world, first())).await;
    while process.manager.operations().len() > 1 {
        tokio::task::yield_now().await;
    }
    world.sim.release();
    process.ended().await;
    let tables = world.tables();
    assert!(tables.instances[&first()].deleted);
    assert!(tables.faults.is_empty());
    assert_eq!(world.sim.node(node.0).instance_uuid, None);
    nothing_is_journalled(state.path());
}
