//! The power of the machines, held against what the control plane shows.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use compute::instance::{Power, TaskState, VmState};
use compute::request::{Kind, PowerAction};
use driver::NodeId;
use ironic_sim::{Call, Fault, Matcher, Node, State};
use oslo::context::RequestContext;

use crate::restart::{build, cloud, first, kill_at_each_of, nothing_is_journalled, start_again};
use crate::world::{Process, World, power};

/// Long enough for two reports.
const A_WHILE: Duration = Duration::from_secs(150);

async fn server(state: &Path, vm_state: VmState) -> (Arc<World>, NodeId) {
    let (world, nodes) = cloud().await;
    build(&world, state, nodes[0], 1, None).await;
    if vm_state == VmState::Stopped {
        let process = Process::start(&world, state, None);
        process.take(power(&world, first(), PowerAction::Stop { gracefully: false })).await;
        process.ended().await;
    }
    world.tables().calls.clear();
    world.tables().events.clear();
    (world, nodes[0])
}

async fn run(world: &Arc<World>, state: &Path) {
    let process = Process::start(world, state, None);
    process.runs_for(A_WHILE).await;
    process.ended().await;
    nothing_is_journalled(state);
}

/// What the control plane shows of the server.
pub fn shown(world: &World) -> (VmState, Option<TaskState>, Power) {
    let tables = world.tables();
    let instance = &tables.instances[&first()];
    (instance.vm_state.clone(), instance.task_state.clone(), instance.power)
}

fn switch(world: &World, node: NodeId, power: &str) {
    world.sim.update(node.0, |node| node.power_state = Some(power.to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_machine_went_off_is_stopped() {
    let state = tempfile::tempdir().unwrap();
    let (world, node) = server(state.path(), VmState::Active).await;
    switch(&world, node, "power off");
    run(&world, state.path()).await;
    assert_eq!(shown(&world), (VmState::Stopped, None, Power::Shutdown));
    let tables = world.tables();
    assert_eq!(tables.actions, [(first(), Kind::Stop)]);
    assert_eq!(tables.events.last().unwrap().failure, Some(None));
    assert_eq!(world.sim.node(node.0).power_actions, 0);
}

#[tokio::test(start_paused = true)]
async fn a_machine_of_a_stopped_server_that_went_on_is_switched_off() {
    let state = tempfile::tempdir().unwrap();
    let (world, node) = server(state.path(), VmState::Stopped).await;
    switch(&world, node, "power on");
    run(&world, state.path()).await;
    assert_eq!(shown(&world), (VmState::Stopped, None, Power::Shutdown));
    assert_eq!(world.sim.node(node.0).power_state.as_deref(), Some("power off"));
    assert_eq!(world.tables().actions, [(first(), Kind::Stop)]);
}

#[tokio::test(start_paused = true)]
async fn a_server_in_error_only_shows_the_power() {
    let state = tempfile::tempdir().unwrap();
    let (world, node) = server(state.path(), VmState::Active).await;
    world.tables().instances.get_mut(&first()).unwrap().vm_state = VmState::Error;
    switch(&world, node, "power off");
    run(&world, state.path()).await;
    assert_eq!(shown(&world), (VmState::Error, None, Power::Shutdown));
    assert!(world.tables().actions.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_somebody_is_at_work_on_is_left_alone() {
    let at_work: [fn(&mut Node); 4] = [
        |node| node.maintenance = true,
        |node| node.reservation = Some("conductor".into()),
        |node| node.target_power_state = Some("power on".into()),
        |node| node.provision_state = State::ServiceWait,
    ];
    for begin in at_work {
        let state = tempfile::tempdir().unwrap();
        let (world, node) = server(state.path(), VmState::Active).await;
        switch(&world, node, "power off");
        world.sim.update(node.0, begin);
        run(&world, state.path()).await;
        assert_eq!(shown(&world), (VmState::Active, None, Power::Running));
        assert!(world.tables().actions.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_has_a_task_or_another_host_by_then_is_left_alone() {
    for other_host in [false, true] {
        let state = tempfile::tempdir().unwrap();
        let (world, node) = server(state.path(), VmState::Active).await;
        switch(&world, node, "power off");
        let tables = world.clone();
        world.on_call("get", move || {
            let mut tables = tables.tables();
            let instance = tables.instances.get_mut(&first()).unwrap();
            if other_host {
                instance.host = Some("another".to_owned());
            } else {
                instance.task_state = Some(TaskState::Other("rebuilding".to_owned()));
            }
        });
        run(&world, state.path()).await;
        assert_eq!(shown(&world).0, VmState::Active);
        assert!(world.tables().actions.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_moment_between_two_lists_is_no_difference() {
    let state = tempfile::tempdir().unwrap();
    let (world, node) = server(state.path(), VmState::Active).await;
    switch(&world, node, "power off");
    let process = Process::start(&world, state.path(), None);
    let sim = world.sim.clone();
    world.on_call("publish", move || {
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            sim.update(node.0, |node| node.power_state = Some("power on".to_owned()));
        });
    });
    process.runs_for(A_WHILE).await;
    process.ended().await;
    assert_eq!(shown(&world), (VmState::Active, None, Power::Running));
    assert_eq!(world.count("get"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_is_stopped_wherever_the_process_is_killed() {
    for vm_state in [VmState::Active, VmState::Stopped] {
        kill_at_each_of(9, async |kill, why| {
            let state = tempfile::tempdir().unwrap();
            let (world, node) = server(state.path(), vm_state.clone()).await;
            let other = if vm_state == VmState::Active { "power off" } else { "power on" };
            switch(&world, node, other);
            let process = Process::start(&world, state.path(), Some(kill));
            tokio::select! {
                () = process.runs_for(A_WHILE) => {}
                () = process.shutdown.cancelled() => {}
            }
            process.ended().await;
            let calls = world.calls_made();
            start_again(&world, state.path()).await;
            run(&world, state.path()).await;
            assert_eq!(shown(&world), (VmState::Stopped, None, Power::Shutdown), "{why}");
            assert_eq!(world.sim.node(node.0).power_state.as_deref(), Some("power off"), "{why}");
            assert!(world.tables().faults.is_empty(), "{why}: {:?}", world.tables().faults);
            calls > kill.call
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn where_all_is_as_shown_no_server_and_no_node_is_read() {
    let state = tempfile::tempdir().unwrap();
    let (world, _) = server(state.path(), VmState::Active).await;
    world.sim.clear_requests();
    let process = Process::start(&world, state.path(), None);
    process.runs_for(Duration::from_hours(1)).await;
    process.ended().await;
    let calls = world.tables().calls.clone();
    assert_eq!(calls.keys().copied().collect::<Vec<_>>(), ["publish"]);
    assert_eq!(world.sim.count(Call::GetNode), 0);
}

#[tokio::test(start_paused = true)]
async fn ironics_word_on_a_change_of_power_is_believed_where_ironic_cannot_be_asked() {
    let state = tempfile::tempdir().unwrap();
    let (world, node) = server(state.path(), VmState::Active).await;
    switch(&world, node, "power off");
    let kind = ironic_sim::Kind::Status(503, String::new());
    world.sim.fault(Fault { matcher: Matcher::call(Call::GetNode), times: u32::MAX, kind });
    let process = Process::start(&world, state.path(), None);
    process.manager.power_update(&RequestContext::admin(), first(), false).await;
    assert_eq!(shown(&world), (VmState::Stopped, None, Power::Shutdown));
    process.shutdown.cancel();
    process.ended().await;
}

#[tokio::test]
async fn a_change_of_power_is_shown_at_once_or_not_at_all_wherever_the_process_is_killed() {
    kill_at_each_of(4, async |kill, why| {
        let state = tempfile::tempdir().unwrap();
        let (world, node) = server(state.path(), VmState::Active).await;
        switch(&world, node, "power off");
        let process = Process::start(&world, state.path(), Some(kill));
        let (context, shutdown) = (RequestContext::admin(), process.shutdown.clone());
        shutdown.run_until_cancelled(process.manager.power_update(&context, first(), false)).await;
        let calls = world.calls_made();
        process.shutdown.cancel();
        process.ended().await;
        assert_eq!(shown(&world).1, None, "{why}");
        calls > kill.call
    })
    .await;
}
