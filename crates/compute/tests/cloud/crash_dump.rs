//! Crash dumps.

use compute::instance::{TaskState, VmState};
use compute::ports::Event;

use crate::restart::{build, cloud, first, kill_at_each_of, nothing_is_journalled, start_again};
use crate::world::{Process, crash_dump};

#[tokio::test]
async fn a_machine_is_interrupted_and_nothing_else_changes() {
    let state = tempfile::tempdir().unwrap();
    let (world, nodes) = cloud().await;
    build(&world, state.path(), nodes[0], 1, None).await;
    // A stop that the API has just accepted.
    world.tables().instances.get_mut(&first()).unwrap().task_state = Some(TaskState::PoweringOff);
    let process = Process::start(&world, state.path(), None);
    process.take(crash_dump(&world, first())).await;
    process.ended().await;
    assert_eq!(world.sim.node(nodes[0].0).interrupts, 1);
    let tables = world.tables();
    let instance = &tables.instances[&first()];
    assert_eq!((&instance.vm_state, &instance.task_state), (&VmState::Active, &Some(TaskState::PoweringOff)));
    assert_eq!(tables.events.last().unwrap().failure, Some(None));
    let told: Vec<_> = tables.told.iter().skip(2).map(|(_, event, phase)| (*event, *phase)).collect();
    assert_eq!(told, [(Event::TriggerCrashDump, "start"), (Event::TriggerCrashDump, "end")]);
    assert!(tables.faults.is_empty());
    drop(tables);
    nothing_is_journalled(state.path());
}

#[tokio::test]
async fn hardware_that_cannot_do_it_leaves_the_server_as_it_was_with_a_fault() {
    let state = tempfile::tempdir().unwrap();
    let (world, nodes) = cloud().await;
    build(&world, state.path(), nodes[0], 1, None).await;
    let text = "Driver fake-hardware does not support inject_nmi (disabled or not implemented).";
    let answer = ironic_sim::Kind::Status(400, ironic_sim::error_body(400, text));
    let matcher = ironic_sim::Matcher::call(ironic_sim::Call::Management);
    world.sim.fault(ironic_sim::Fault::once(matcher, answer));
    let process = Process::start(&world, state.path(), None);
    process.take(crash_dump(&world, first())).await;
    process.ended().await;
    let tables = world.tables();
    assert_eq!(tables.instances[&first()].vm_state, VmState::Active);
    assert!(tables.events.last().unwrap().failure.clone().unwrap().unwrap().contains(text));
    assert!(tables.faults[0].1.contains(text));
    assert_eq!(tables.told.last().unwrap().2, "start");
    drop(tables);
    nothing_is_journalled(state.path());
}

#[tokio::test]
async fn no_machine_is_interrupted_twice_wherever_the_process_is_killed() {
    kill_at_each_of(5, async |kill, why| {
        let state = tempfile::tempdir().unwrap();
        let (world, nodes) = cloud().await;
        build(&world, state.path(), nodes[0], 1, None).await;
        let process = Process::start(&world, state.path(), Some(kill));
        process.take(crash_dump(&world, first())).await;
        process.ended().await;
        let calls = world.calls_made();
        start_again(&world, state.path()).await;
        let interrupts = world.sim.node(nodes[0].0).interrupts;
        let tables = world.tables();
        let ended = tables.events.last().unwrap().failure.clone().unwrap();
        // Where the answer was lost with the process it is not known, and the user reads that.
        match ended {
            None => assert_eq!(interrupts, 1, "{why}"),
            Some(text) => {
                assert!(text.contains("It is not known"), "{why}: {text}");
                assert!(interrupts <= 1, "{why}");
                assert!(tables.faults[0].1.contains("It is not known"), "{why}");
            }
        }
        let instance = &tables.instances[&first()];
        assert_eq!((&instance.vm_state, &instance.task_state), (&VmState::Active, &None), "{why}");
        drop(tables);
        nothing_is_journalled(state.path());
        calls > kill.call
    })
    .await;
}
