//! Stop, start and reboot.

use std::path::Path;
use std::sync::Arc;

use compute::instance::{Power, TaskState, VmState};
use compute::ports::Event;
use compute::request::PowerAction;
use driver::NodeId;

use crate::restart::{build, cloud, first, kill_at_each_of, nothing_is_journalled, start_again};
use crate::world::{Kill, Process, World, delete, power};

const STOP: PowerAction = PowerAction::Stop { gracefully: true };
const HARD: PowerAction = PowerAction::Reboot { hard: true };

/// A world with a server that runs.
pub async fn running(state: &Path) -> (Arc<World>, NodeId) {
    let (world, nodes) = cloud().await;
    build(&world, state, nodes[0], 1, None).await;
    (world, nodes[0])
}

async fn change(world: &Arc<World>, state: &Path, action: PowerAction, kill: Option<Kill>) -> usize {
    let process = Process::start(world, state, kill);
    process.take(power(world, first(), action)).await;
    process.ended().await;
    world.calls_made()
}

/// What the control plane shows of the server, and how its last event ended.
pub fn shown(world: &World) -> (VmState, Option<TaskState>, Power, Option<Option<String>>) {
    let tables = world.tables();
    let instance = &tables.instances[&first()];
    let ended = tables.events.last().unwrap().failure.clone();
    (instance.vm_state.clone(), instance.task_state.clone(), instance.power, ended)
}

#[tokio::test]
async fn a_server_is_stopped_started_and_rebooted() {
    let state = tempfile::tempdir().unwrap();
    let (world, node) = running(state.path()).await;
    change(&world, state.path(), STOP, None).await;
    assert_eq!(shown(&world), (VmState::Stopped, None, Power::Shutdown, Some(None)));
    assert_eq!(world.sim.node(node.0).power_state.as_deref(), Some("power off"));
    change(&world, state.path(), PowerAction::Start, None).await;
    assert_eq!(shown(&world), (VmState::Active, None, Power::Running, Some(None)));
    for hard in [false, true] {
        let before = world.sim.node(node.0).power_actions;
        change(&world, state.path(), PowerAction::Reboot { hard }, None).await;
        assert_eq!(shown(&world), (VmState::Active, None, Power::Running, Some(None)));
        assert_eq!(world.sim.node(node.0).power_actions, before + 1);
    }
    let told: Vec<_> = world.tables().told.iter().skip(2).map(|(_, event, phase)| (*event, *phase)).collect();
    let both = |event| [(event, "start"), (event, "end")];
    let expected = [both(Event::PowerOff), both(Event::PowerOn), both(Event::Reboot), both(Event::Reboot)];
    assert_eq!(told, expected.concat());
    assert!(world.tables().faults.is_empty());
    nothing_is_journalled(state.path());
}

#[tokio::test]
async fn a_stop_goes_on_wherever_the_process_is_killed() {
    goes_on_wherever_killed(STOP).await;
}

#[tokio::test]
async fn a_start_goes_on_wherever_the_process_is_killed() {
    goes_on_wherever_killed(PowerAction::Start).await;
}

#[tokio::test]
async fn a_reboot_goes_on_wherever_the_process_is_killed_and_no_machine_restarts_twice() {
    goes_on_wherever_killed(HARD).await;
}

async fn goes_on_wherever_killed(action: PowerAction) {
    kill_at_each_of(6, async |kill, why| {
        let state = tempfile::tempdir().unwrap();
        let (world, node) = running(state.path()).await;
        if action == PowerAction::Start {
            change(&world, state.path(), STOP, None).await;
        }
        let before = world.sim.node(node.0).power_actions;
        let calls = change(&world, state.path(), action, Some(kill)).await;
        start_again(&world, state.path()).await;
        let (vm_state, power) = match action {
            PowerAction::Stop { .. } => (VmState::Stopped, Power::Shutdown),
            _ => (VmState::Active, Power::Running),
        };
        let (shown_state, task, shown_power, _) = shown(&world);
        assert_eq!((shown_state, task, shown_power), (vm_state, None, power), "{why}");
        assert_eq!(world.sim.node(node.0).power_actions, before + 1, "{why}");
        assert!(world.tables().faults.is_empty(), "{why}: {:?}", world.tables().faults);
        nothing_is_journalled(state.path());
        calls > kill.call
    })
    .await;
}

#[tokio::test]
async fn a_machine_that_ironic_cannot_switch_leaves_the_server_as_it_was_with_a_fault() {
    let state = tempfile::tempdir().unwrap();
    let (world, node) = running(state.path()).await;
    for _ in 0..2 {
        // The soft one and the hard one.
        world.sim.fail_power(node.0, "the BMC hangs");
    }
    change(&world, state.path(), STOP, None).await;
    let (vm_state, task, _, ended) = shown(&world);
    assert_eq!((vm_state, task), (VmState::Active, None));
    assert!(ended.unwrap().unwrap().contains("the BMC hangs"));
    assert!(world.tables().faults[0].1.contains("the BMC hangs"));

    // A reboot that fails while the machine runs is a success with a fault, as in stock.
    world.sim.fail_power(node.0, "the BMC hangs");
    change(&world, state.path(), HARD, None).await;
    let (vm_state, task, _, ended) = shown(&world);
    assert_eq!((vm_state, task, ended), (VmState::Active, None, Some(None)));
    assert_eq!(world.tables().faults.len(), 2);
    nothing_is_journalled(state.path());
}

#[tokio::test]
async fn a_delete_ends_a_reboot_that_waits_for_a_locked_node() {
    let state = tempfile::tempdir().unwrap();
    let (world, node) = running(state.path()).await;
    world.sim.lock(node.0);
    let process = Process::start(&world, state.path(), None);
    process.take(power(&world, first(), HARD)).await;
    while !process.manager.operations().iter().any(|operation| operation.reason.is_some()) {
        tokio::task::yield_now().await;
    }
    assert!(process.manager.operations()[0].reason.as_ref().unwrap().contains("locked"));
    process.take(delete(&world, first())).await;
    while process.manager.operations().len() > 1 {
        tokio::task::yield_now().await;
    }
    world.sim.unlock(node.0);
    process.ended().await;
    assert!(world.tables().instances[&first()].deleted);
    assert_eq!(world.sim.node(node.0).power_actions, 0);
    nothing_is_journalled(state.path());
}
