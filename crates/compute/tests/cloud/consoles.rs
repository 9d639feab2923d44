//! Consoles.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use compute::manager::consoles::Error;
use compute::ports::Machines as _;
use driver::{ConsoleAddress, ConsoleKind, NodeId};
use ironic_sim::{Call, Sim};
use oslo::context::RequestContext;
use serde_json::json;

use crate::restart::{build, cloud, first, kill_at_each_of, start_again};
use crate::world::{Kill, Port, Process, World};

/// A world with a server whose node has a serial console, on or off.
async fn with_serial(state: &Path, on: bool) -> (Arc<World>, NodeId) {
    let (world, nodes) = cloud().await;
    build(&world, state, nodes[0], 1, None).await;
    world.sim.update(nodes[0].0, |node| {
        node.console_info = json!({"type": "socat", "url": "tcp://127.0.0.1:8023"});
        node.console_enabled = on;
    });
    world.sim.clear_requests();
    (world, nodes[0])
}

async fn ask(process: &Process, node: NodeId, kind: ConsoleKind) -> Result<ConsoleAddress, Error> {
    process.manager.console(&RequestContext::admin(), first(), Some(node), kind).await
}

/// What was asked of the nodes' consoles.
fn asked(sim: &Sim) -> Vec<String> {
    sim.requests().into_iter().filter(|r| r.call == Call::SetConsole).filter_map(|r| r.detail).collect()
}

fn nothing_is_noted(state: &Path) {
    let left = std::fs::read_dir(state.join("bessemer/consoles")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "notes of resets left");
}

#[tokio::test]
async fn a_serial_console_is_reset_for_each_who_asks_one_after_the_other_and_left_alone_by_a_proxy() {
    let state = tempfile::tempdir().unwrap();
    let (world, node) = with_serial(state.path(), true).await;
    let process = Process::start(&world, state.path(), None);
    let one = || ask(&process, node, ConsoleKind::Serial);
    let (first_one, second_one) = tokio::join!(one(), one());
    assert_eq!((first_one.unwrap().port, second_one.unwrap().port), (8023, 8023));
    assert_eq!(asked(&world.sim), ["off", "on", "off", "on"]);
    nothing_is_noted(state.path());
    let context = RequestContext::admin();
    for (port, is_right) in [(8023, true), (8024, false)] {
        let kind = ConsoleKind::Serial;
        let found = process.manager.is_console_at(&context, first(), Some(node), kind, port).await;
        assert_eq!(found, Ok(is_right));
    }
    assert_eq!(asked(&world.sim).len(), 4);
}

#[tokio::test]
async fn a_graphical_console_is_switched_on_for_the_user_and_for_the_proxy() {
    let state = tempfile::tempdir().unwrap();
    let (world, nodes) = cloud().await;
    build(&world, state.path(), nodes[0], 1, None).await;
    let process = Process::start(&world, state.path(), None);
    let kind = ConsoleKind::Graphical;
    let found = ask(&process, nodes[0], kind).await.unwrap();
    assert_eq!((found.host.as_str(), found.port), ("192.0.2.1", 5900));
    // Ironic ends sessions after a while.
    world.sim.update(nodes[0].0, |node| node.console_enabled = false);
    let context = RequestContext::admin();
    assert_eq!(process.manager.is_console_at(&context, first(), Some(nodes[0]), kind, 5900).await, Ok(true));
    assert_eq!(asked(&world.sim), ["on", "on"]);
}

#[tokio::test]
async fn a_server_without_a_node_and_a_node_without_a_console_have_none() {
    let state = tempfile::tempdir().unwrap();
    let (world, node) = with_serial(state.path(), false).await;
    let process = Process::start(&world, state.path(), None);
    let context = RequestContext::admin();
    let nowhere = process.manager.console(&context, first(), None, ConsoleKind::Serial).await;
    assert_eq!(nowhere, Err(Error::NowhereYet));
    assert!(matches!(ask(&process, node, ConsoleKind::Serial).await, Err(Error::Unavailable(_))));
    world.sim.update(node.0, |node| node.instance_uuid = None);
    assert_eq!(ask(&process, node, ConsoleKind::Serial).await, Err(Error::NowhereYet));
    assert!(asked(&world.sim).is_empty());
}

#[tokio::test]
async fn a_reset_that_is_cut_off_anywhere_leaves_the_console_on() {
    kill_at_each_of(5, async |kill: Kill, why: String| {
        let state = tempfile::tempdir().unwrap();
        let (world, node) = with_serial(state.path(), true).await;
        let process = Process::start(&world, state.path(), Some(kill));
        let answer = ask(&process, node, ConsoleKind::Serial).await;
        process.ended().await;
        let calls = world.calls_made();
        start_again(&world, state.path()).await;
        assert!(world.sim.node(node.0).console_enabled, "{why}: {answer:?}");
        nothing_is_noted(state.path());
        calls > kill.call
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_is_told_so_and_a_console_that_is_off_by_then_is_switched_on_again() {
    let state = tempfile::tempdir().unwrap();
    let sim = Sim::builder().console_duration(Duration::from_mins(3)).start().await;
    let node = NodeId(sim.enroll(1)[0]);
    let world = World::new(sim);
    Port(world.clone()).publish(&RequestContext::admin()).await.unwrap();
    build(&world, state.path(), node, 1, None).await;
    world.sim.update(node.0, |node| {
        node.console_info = json!({"type": "socat", "url": "tcp://127.0.0.1:8023"});
        node.console_enabled = true;
    });
    let process = Process::start(&world, state.path(), None);
    assert!(matches!(ask(&process, node, ConsoleKind::Serial).await, Err(Error::Unavailable(_))));
    assert!(world.sim.node(node.0).console_enabled, "it is being switched off");
    world.sim.wait_for(node.0, |node| !node.console_enabled).await;
    world.sim.wait_for(node.0, |node| node.console_enabled).await;
    assert_eq!(asked(&world.sim), ["off", "on"]);
}
