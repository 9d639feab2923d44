//! Whatever is away for a while, work waits for it or says so; and what does not move holds up nobody else.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use compute::instance::VmState;
use compute::ports::Event;
use compute::request::InjectedFile;
use ironic_sim::{Action, Call, State};
use oslo::context::RequestContext;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::restart::{build, cloud, cloud_of, first, is_active, nothing_is_journalled};
use crate::world::{Process, Trouble, World, delete, server, with_volume};

/// Builds a server with a volume while something is in trouble.
async fn build_in(state: &Path, hinder: impl Fn(&World)) -> Arc<World> {
    let (world, nodes) = cloud().await;
    hinder(&world);
    let process = Process::start(&world, state, None);
    let request = with_volume(&world, server(&world, 1, nodes[0], true));
    process.take(request).await;
    process.ended().await;
    world
}

#[tokio::test(start_paused = true)]
async fn a_build_waits_for_whatever_it_asks_that_is_away_for_a_while() {
    for away in ["vendor_data", "security_group_names", "update", "save_network", "block_devices"] {
        let state = tempfile::tempdir().unwrap();
        let world = build_in(state.path(), |world| {
            for _ in 0..3 {
                world.trouble(away, Trouble::Unavailable);
            }
        });
        is_active(&*world.await, first(), away);
    }
    for call in [Call::ListConnectors, Call::Ports] {
        let state = tempfile::tempdir().unwrap();
        let world = build_in(state.path(), |world| {
            let kind = ironic_sim::Kind::Status(503, String::new());
            world.sim.fault(ironic_sim::Fault { matcher: ironic_sim::Matcher::call(call), times: 20, kind });
        });
        is_active(&*world.await, first(), &format!("{call:?}"));
    }
}

/// Builds a server with user data and an injected file in this form.
async fn build_with(state: &Path, user_data: &str, file: &str) -> Arc<World> {
    let (world, nodes) = cloud().await;
    let process = Process::start(&world, state, None);
    let mut request = server(&world, 1, nodes[0], true);
    request.instance.user_data = Some(user_data.into());
    world.tables().instances.insert(first(), request.instance.clone());
    request.injected_files = vec![InjectedFile { path: "/etc/motd".to_owned(), contents: file.into() }];
    process.take(request).await;
    process.ended().await;
    world
}

#[tokio::test(start_paused = true)]
async fn what_users_send_may_have_line_breaks_and_bits_to_spare() {
    let state = tempfile::tempdir().unwrap();
    let world = build_with(state.path(), "IyEvYmlu\nL3No\n", "QR==").await;
    is_active(&world, first(), "both can be decoded");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_decoded_is_refused_before_a_node_is_claimed() {
    for (user_data, file, named) in [
        ("IyEvY", "QQ==", "user_data"),
        ("IyEv", "QQ=", "personality) /etc/motd"),
        ("é", "QQ==", "user_data"),
    ] {
        let state = tempfile::tempdir().unwrap();
        let world = build_with(state.path(), user_data, file).await;
        let tables = world.tables();
        let instance = &tables.instances[&first()];
        assert_eq!((&instance.vm_state, instance.node), (&VmState::Error, None), "{user_data} {file}");
        assert!(tables.faults[0].1.contains(named), "{:?}", tables.faults);
        assert!(tables.rescheduled.is_empty() && tables.allocations.is_empty());
        assert!(world.sim.nodes().iter().all(|node| node.instance_uuid.is_none()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_build_that_gets_no_ports_does_not_tell_where_neutron_is() {
    for trouble in [Trouble::Unavailable, Trouble::Broken] {
        let state = tempfile::tempdir().unwrap();
        let world = build_in(state.path(), |world| world.trouble("create_port", trouble)).await;
        let tables = world.tables();
        assert_eq!(tables.instances[&first()].vm_state, VmState::Error);
        assert!(
            tables.faults[0].1.ends_with("Failed to allocate the network(s), not rescheduling."),
            "{:?}",
            tables.faults
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_build_that_gets_no_ports_rests_while_the_control_plane_is_away() {
    let state = tempfile::tempdir().unwrap();
    let world = build_in(state.path(), |world| {
        world.trouble("create_port", Trouble::Unavailable);
        world.trouble("get", Trouble::Unavailable);
    });
    is_active(&*world.await, first(), "the control plane was away");
}

#[tokio::test(start_paused = true)]
async fn a_delete_waits_for_neutron_and_tells_nobody_where_it_is() {
    let state = tempfile::tempdir().unwrap();
    let (world, nodes) = cloud().await;
    build(&world, state.path(), nodes[0], 1, None).await;
    (0..3).for_each(|_| world.trouble("delete_ports", Trouble::Unavailable));
    let process = Process::start(&world, state.path(), None);
    let request = delete(&world, first());
    process.take(request).await;
    process.ended().await;
    let tables = world.tables();
    assert!(tables.instances[&first()].deleted);
    assert!(tables.faults.is_empty(), "{:?}", tables.faults);
    assert!(tables.events.iter().all(|event| event.failure == Some(None)), "{:?}", tables.events);
}

#[tokio::test(start_paused = true)]
async fn builds_that_are_being_undone_hold_up_no_other() {
    let state = tempfile::tempdir().unwrap();
    let (world, nodes) = cloud_of(11).await;
    let (last, failing) = nodes.split_last().unwrap();
    world.sim.hold(State::Deleting);
    let process = Process::start(&world, state.path(), None);
    for (number, node) in (1..).zip(failing) {
        world.sim.fail_deploy(node.0, "the disk is broken");
        let request = server(&world, number, *node, false);
        process.take(request).await;
    }
    for node in failing {
        world.sim.wait_for_state(node.0, State::Deleting).await;
    }
    process.shutdown.cancel();
    process.ended().await;

    // All ten slots could be theirs now.
    let process = Process::start(&world, state.path(), None);
    process.manager.resume().unwrap();
    let request = server(&world, 99, *last, false);
    process.take(request).await;
    let active = world.sim.wait_for_state(last.0, State::Active);
    tokio::time::timeout(Duration::from_hours(1), active).await.expect("the build does not begin");
    world.sim.release();
    process.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_port_that_its_node_does_not_let_go_holds_up_no_other_news() {
    let state = tempfile::tempdir().unwrap();
    let (world, nodes) = cloud().await;
    build(&world, state.path(), nodes[0], 1, None).await;
    let (context, id) = (RequestContext::admin(), first());
    let port: Uuid = world.tables().instances[&id].network.0[0].id.parse().unwrap();
    let process = Process::start(&world, state.path(), None);
    let (reached, detaching) = tokio::sync::oneshot::channel();
    let reached = std::sync::Mutex::new(Some(reached));
    world.sim.on_request(Box::new(move |request| {
        if request.call != Call::DetachVif {
            return Action::Go;
        }
        reached.lock().unwrap().take().map(|reached| reached.send(()));
        Action::Hang
    }));
    tokio::select! {
        () = process.manager.vif_deleted(&context, id, port) => panic!("the node lets nothing go"),
        () = async {
            detaching.await.unwrap();
            process.manager.network_changed(&context, id, None).await;
        } => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_build_that_waits_for_its_node_holds_no_slot_of_the_builds() {
    for call in [Call::PatchNode, Call::AttachVif] {
        let state = tempfile::tempdir().unwrap();
        let (world, nodes) = cloud_of(2).await;
        let kind = ironic_sim::Kind::Status(503, String::new());
        let matcher = ironic_sim::Matcher::call(call).node(nodes[0].0);
        world.sim.fault(ironic_sim::Fault { matcher, times: 20, kind });
        let process = Process::start_bounded(&world, state.path(), 1);
        let waiting = server(&world, 1, nodes[0], true);
        let other = server(&world, 2, nodes[1], true);
        process.take(waiting.clone()).await;
        process.take(other.clone()).await;
        process.ended().await;
        let ends = world.tables().told.clone();
        let ends = ends.into_iter().filter(|(_, event, phase)| *event == Event::Create && *phase == "end");
        let order: Vec<_> = ends.map(|(instance, ..)| instance).collect();
        assert_eq!(order, [other.instance.id, waiting.instance.id], "{call:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_build_that_the_journal_does_not_take_goes_to_another_host_or_fails_and_leaves_nothing() {
    for may_reschedule in [true, false] {
        let state = tempfile::tempdir().unwrap();
        let (world, nodes) = cloud().await;
        let process = Process::start(&world, state.path(), None);
        let request = server(&world, 1, nodes[0], may_reschedule);
        process.manager.hand_back(request.into(), "no space left".to_owned());
        process.ended().await;
        let tables = world.tables();
        assert_eq!(tables.rescheduled == [first()], may_reschedule);
        let vm_state = &tables.instances[&first()].vm_state;
        assert_eq!(*vm_state == VmState::Error, !may_reschedule);
        assert!(tables.faults.iter().all(|(_, text)| text.contains("no space left")), "{:?}", tables.faults);
        assert!(tables.neutron.is_empty());
        nothing_is_journalled(state.path());
    }
}

#[tokio::test(start_paused = true)]
async fn reports_that_fail_are_named_until_one_succeeds() {
    let (world, _) = cloud().await;
    world.trouble("publish", Trouble::Unavailable);
    let publisher = world.publisher();
    let running = publisher.clone();
    let run = async move { running.run(CancellationToken::new()).await };
    let mut run = Box::pin(run);
    assert_eq!(publisher.trouble(), None, "none was made yet");
    assert!(tokio::time::timeout(Duration::from_secs(5), &mut run).await.is_err());
    let trouble = publisher.trouble().unwrap();
    assert!(trouble.starts_with("the reports of the nodes have failed for 5 s: "), "{trouble}");
    assert!(tokio::time::timeout(Duration::from_secs(10), &mut run).await.is_err());
    assert_eq!(publisher.trouble(), None);
}
