//! Rescue and unrescue.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use compute::instance::{Power, VmState};
use compute::ports::Event;
use compute::request::{PowerAction, RescueAction};
use ironic_sim::{Call, State};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::power::{running, shown};
use crate::restart::{first, kill_at_each_of, nothing_is_journalled, start_again};
use crate::world::{Kill, Process, World, delete, power, rescue};

const IMAGE: Option<Uuid> = Some(Uuid::from_u128(8));

fn with_password(password: Option<&str>) -> RescueAction {
    let password = password.map(SecretString::from);
    RescueAction::Rescue { password, image: IMAGE, gracefully: true }
}

async fn change(world: &Arc<World>, state: &Path, action: RescueAction, kill: Option<Kill>) -> usize {
    let process = Process::start(world, state, kill);
    process.take(rescue(world, first(), action)).await;
    process.ended().await;
    world.calls_made()
}

async fn stop(world: &Arc<World>, state: &Path) {
    let process = Process::start(world, state, None);
    process.take(power(world, first(), PowerAction::Stop { gracefully: false })).await;
    process.ended().await;
}

#[tokio::test]
async fn a_server_is_rescued_with_the_users_password_and_comes_back() {
    let state = tempfile::tempdir().unwrap();
    let (world, node) = running(state.path()).await;
    world.tables().instances.get_mut(&first()).unwrap().launched_at = None;
    change(&world, state.path(), with_password(Some("theirs")), None).await;
    assert_eq!(shown(&world), (VmState::Rescued, None, Power::Running, Some(None)));
    assert_eq!(world.sim.node(node.0).provision_state, State::Rescue);
    assert_eq!(world.sim.node(node.0).rescue_password.as_deref(), Some("theirs"));
    assert!(world.tables().instances[&first()].launched_at.is_some(), "rescue_timeout counts from here");
    change(&world, state.path(), RescueAction::Unrescue, None).await;
    assert_eq!(shown(&world), (VmState::Active, None, Power::Running, Some(None)));
    assert_eq!(world.sim.node(node.0).provision_state, State::Active);
    let told: Vec<_> = world.tables().told.iter().skip(2).map(|(_, event, phase)| (*event, *phase)).collect();
    let both = |event| [(event, "start"), (event, "end")];
    assert_eq!(told, [both(Event::Rescue { image: IMAGE }), both(Event::Unrescue)].concat());
    assert!(world.tables().faults.is_empty());
    nothing_is_journalled(state.path());
}

#[tokio::test]
async fn a_rescue_without_a_password_has_one_that_no_one_knows() {
    let state = tempfile::tempdir().unwrap();
    let (world, node) = running(state.path()).await;
    change(&world, state.path(), with_password(None), None).await;
    assert_eq!(shown(&world).0, VmState::Rescued);
    assert!(world.sim.node(node.0).rescue_password.unwrap().len() >= 12);
}

#[tokio::test]
async fn a_rescue_goes_on_wherever_the_process_is_killed_and_boots_the_rescue_system_once() {
    kill_at_each_of(8, async |kill, why| {
        let state = tempfile::tempdir().unwrap();
        let (world, node) = running(state.path()).await;
        let calls = change(&world, state.path(), with_password(Some("theirs")), Some(kill)).await;
        start_again(&world, state.path()).await;
        let (vm_state, task, power, _) = shown(&world);
        assert_eq!((vm_state, task, power), (VmState::Rescued, None, Power::Running), "{why}");
        let node = world.sim.node(node.0);
        assert_eq!((node.rescues, node.power_actions), (1, 1), "{why}");
        assert_eq!(node.rescue_password.as_deref(), Some("theirs"), "{why}");
        assert!(world.tables().faults.is_empty(), "{why}: {:?}", world.tables().faults);
        nothing_is_journalled(state.path());
        calls > kill.call
    })
    .await;
}

#[tokio::test]
async fn an_unrescue_goes_on_wherever_the_process_is_killed() {
    kill_at_each_of(6, async |kill, why| {
        let state = tempfile::tempdir().unwrap();
        let (world, node) = running(state.path()).await;
        change(&world, state.path(), with_password(None), None).await;
        let calls = change(&world, state.path(), RescueAction::Unrescue, Some(kill)).await;
        start_again(&world, state.path()).await;
        let (vm_state, task, power, _) = shown(&world);
        assert_eq!((vm_state, task, power), (VmState::Active, None, Power::Running), "{why}");
        assert_eq!(world.sim.node(node.0).provision_state, State::Active, "{why}");
        assert!(world.tables().faults.is_empty(), "{why}: {:?}", world.tables().faults);
        nothing_is_journalled(state.path());
        calls > kill.call
    })
    .await;
}

#[tokio::test]
async fn a_rescue_that_fails_is_undone_and_the_server_is_in_error_wherever_the_process_is_killed() {
    kill_at_each_of(10, async |kill, why| {
        let state = tempfile::tempdir().unwrap();
        let (world, node) = running(state.path()).await;
        world.sim.fail_rescue(node.0, "the ramdisk does not call back");
        let calls = change(&world, state.path(), with_password(Some("theirs")), Some(kill)).await;
        start_again(&world, state.path()).await;
        let (vm_state, task, _, ended) = shown(&world);
        assert_eq!((vm_state, task), (VmState::Error, None), "{why}");
        assert!(ended.unwrap().unwrap().contains("the ramdisk does not call back"), "{why}");
        let node = world.sim.node(node.0);
        assert_eq!(node.provision_state, State::Active, "{why}");
        assert_eq!(node.power_state.as_deref(), Some("power on"), "{why}");
        assert_eq!(node.rescues, 1, "{why}");
        let faults = world.tables().faults.clone();
        assert!(faults.iter().all(|(_, text)| text.contains("cannot be rescued: Driver Error:")), "{why}");
        assert!(!faults.is_empty(), "{why}");
        nothing_is_journalled(state.path());
        calls > kill.call
    })
    .await;
}

#[tokio::test]
async fn a_rescue_that_ironic_refuses_leaves_the_machine_on_or_off_as_it_was() {
    for stopped in [false, true] {
        let state = tempfile::tempdir().unwrap();
        let (world, node) = running(state.path()).await;
        if stopped {
            stop(&world, state.path()).await;
        }
        world.sim.update(node.0, |node| node.maintenance = true);
        change(&world, state.path(), with_password(None), None).await;
        let (vm_state, task, _, ended) = shown(&world);
        assert_eq!((vm_state, task), (VmState::Error, None));
        assert!(ended.unwrap().unwrap().contains("maintenance"));
        let power = if stopped { "power off" } else { "power on" };
        assert_eq!(world.sim.node(node.0).power_state.as_deref(), Some(power));
        nothing_is_journalled(state.path());
    }
}

#[tokio::test]
async fn an_unrescue_that_fails_leaves_the_server_in_error_and_may_be_followed_by_another_rescue() {
    let state = tempfile::tempdir().unwrap();
    let (world, node) = running(state.path()).await;
    change(&world, state.path(), with_password(None), None).await;
    world.sim.fail(node.0, State::Unrescuing, "the BMC hangs");
    change(&world, state.path(), RescueAction::Unrescue, None).await;
    let (vm_state, task, _, ended) = shown(&world);
    assert_eq!((vm_state, task), (VmState::Error, None));
    let text = ended.unwrap().unwrap();
    assert!(text.starts_with("Failed to unrescue instance: ") && text.contains("the BMC hangs"), "{text}");
    change(&world, state.path(), with_password(Some("second")), None).await;
    assert_eq!(shown(&world).0, VmState::Rescued);
    assert_eq!(world.sim.node(node.0).rescue_password.as_deref(), Some("second"));
}

#[tokio::test]
async fn a_rescued_server_is_restarted_into_its_rescue_system_and_deleted() {
    let state = tempfile::tempdir().unwrap();
    let (world, node) = running(state.path()).await;
    change(&world, state.path(), with_password(None), None).await;
    let process = Process::start(&world, state.path(), None);
    process.take(power(&world, first(), PowerAction::Reboot { hard: true })).await;
    process.ended().await;
    assert_eq!(shown(&world), (VmState::Rescued, None, Power::Running, Some(None)));
    assert_eq!(world.sim.node(node.0).provision_state, State::Rescue);
    let process = Process::start(&world, state.path(), None);
    process.take(delete(&world, first())).await;
    process.ended().await;
    assert!(world.tables().instances[&first()].deleted);
    assert_eq!(world.sim.node(node.0).instance_uuid, None);
}

#[tokio::test]
async fn a_delete_ends_a_rescue_that_waits_for_ironic() {
    let state = tempfile::tempdir().unwrap();
    let (world, node) = running(state.path()).await;
    world.sim.hold(State::Rescuing);
    let process = Process::start(&world, state.path(), None);
    process.take(rescue(&world, first(), with_password(None))).await;
    while world.sim.node(node.0).provision_state != State::Rescuing {
        tokio::task::yield_now().await;
    }
    process.take(delete(&world, first())).await;
    while process.manager.operations().len() > 1 {
        tokio::task::yield_now().await;
    }
    world.sim.release();
    process.ended().await;
    assert!(world.tables().instances[&first()].deleted);
    assert_eq!(world.sim.node(node.0).instance_uuid, None);
    nothing_is_journalled(state.path());
}

#[tokio::test]
async fn an_operating_system_that_has_no_time_to_shut_down_is_not_asked() {
    let state = tempfile::tempdir().unwrap();
    let (world, _) = running(state.path()).await;
    let properties = [("os_shutdown_timeout".to_owned(), "0".to_owned())];
    world.tables().instances.get_mut(&first()).unwrap().image_properties.extend(properties);
    world.sim.clear_requests();
    change(&world, state.path(), with_password(None), None).await;
    let asked = world.sim.requests().into_iter().filter(|request| request.call == Call::SetPower);
    assert_eq!(asked.filter_map(|request| request.detail).collect::<Vec<_>>(), ["power off"]);
}

#[tokio::test]
async fn a_rescue_that_has_lasted_too_long_is_ended_and_a_shorter_one_is_left() {
    for (hours, vm_state) in [(0, VmState::Rescued), (2, VmState::Active)] {
        let state = tempfile::tempdir().unwrap();
        let (world, _) = running(state.path()).await;
        change(&world, state.path(), with_password(None), None).await;
        let since = SystemTime::now() - Duration::from_hours(hours);
        world.tables().instances.get_mut(&first()).unwrap().launched_at = Some(since);
        let process = Process::start(&world, state.path(), None);
        let (manager, enough) = (process.manager.clone(), CancellationToken::new());
        let looking = tokio::spawn({
            let enough = enough.clone();
            async move { manager.end_overdue_rescues(enough).await }
        });
        let has_looked = || {
            let tables = world.tables();
            tables.calls.contains_key("rescued_here") && tables.instances[&first()].vm_state == vm_state
        };
        while !has_looked() {
            tokio::task::yield_now().await;
        }
        enough.cancel();
        looking.await.unwrap();
        process.ended().await;
        assert_eq!(shown(&world), (vm_state, None, Power::Running, Some(None)), "{hours} hours");
        let own = world.tables().calls.get("record_action").copied().unwrap_or_default();
        assert_eq!(own, usize::from(hours > 0), "the action is in the server's list");
        nothing_is_journalled(state.path());
    }
}
