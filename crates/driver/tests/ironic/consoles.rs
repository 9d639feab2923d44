//! Consoles: switched on, reset, and found.

use std::time::Duration;

use driver::{ConsoleAddress, ConsoleKind, Error, NodeId, Run};
use ironic_sim::{Call, Fault, Kind, Matcher, Sim, State};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Host, Journal, carrying, deployment, run};

/// What a node may have for a console.
fn socat() -> Value {
    json!({"type": "socat", "url": "tcp://127.0.0.1:8023"})
}

/// A server's node with this console, on or off.
fn with_console(sim: &Sim, console: &Value, on: bool) -> Uuid {
    let node = carrying(sim, State::Active);
    sim.update(node, |node| {
        node.console_info = console.clone();
        node.console_enabled = on;
    });
    node
}

async fn console(host: &Host, node: Uuid, kind: ConsoleKind) -> Result<ConsoleAddress, Error> {
    let limit = Some(Duration::from_secs(10));
    host.driver.console(run(deployment(node).server.instance), NodeId(node), kind, limit).await
}

/// What was asked of the node's console.
fn asked(sim: &Sim) -> Vec<String> {
    sim.requests().into_iter().filter(|r| r.call == Call::SetConsole).filter_map(|r| r.detail).collect()
}

#[tokio::test(start_paused = true)]
async fn a_graphical_console_is_switched_on_once_and_found() {
    let sim = Sim::builder().console_duration(Duration::from_secs(5)).start().await;
    let node = carrying(&sim, State::Active);
    let host = Host::start(&sim);
    let found = ConsoleAddress { host: "192.0.2.1".to_owned(), port: 5900 };
    assert_eq!(console(&host, node, ConsoleKind::Graphical).await.unwrap(), found);
    assert_eq!(console(&host, node, ConsoleKind::Graphical).await.unwrap(), found);
    assert_eq!(asked(&sim), ["on"]);
    assert_eq!(sim.count(Call::ListNodes), 0);
}

#[tokio::test(start_paused = true)]
async fn a_serial_console_is_reset_and_one_that_is_off_stays_off() {
    let sim = Sim::builder().console_duration(Duration::from_secs(2)).start().await;
    let host = Host::start(&sim);
    let node = with_console(&sim, &socat(), true);
    let found = console(&host, node, ConsoleKind::Serial).await.unwrap();
    assert_eq!(found, ConsoleAddress { host: "127.0.0.1".to_owned(), port: 8023 });
    assert_eq!(asked(&sim), ["off", "on"]);
    sim.clear_requests();
    let node = with_console(&sim, &socat(), false);
    assert!(matches!(console(&host, node, ConsoleKind::Serial).await, Err(Error::Retry(_))));
    assert!(asked(&sim).is_empty());
    assert!(!sim.node(node).console_enabled);
}

#[tokio::test(start_paused = true)]
async fn the_look_of_a_proxy_changes_nothing() {
    let sim = Sim::builder().start().await;
    let host = Host::start(&sim);
    let node = with_console(&sim, &socat(), true);
    let run = run(deployment(node).server.instance);
    let found = host.driver.console_of(run, NodeId(node), ConsoleKind::Serial).await.unwrap();
    assert_eq!(found.port, 8023);
    assert!(asked(&sim).is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_ironic_fails_to_switch_off_is_used_and_what_it_fails_to_switch_on_is_tried_again() {
    let sim = Sim::builder().start().await;
    let host = Host::start(&sim);
    let node = with_console(&sim, &socat(), true);
    sim.fail_console(node, "socat hangs");
    assert_eq!(console(&host, node, ConsoleKind::Serial).await.unwrap().port, 8023);
    assert_eq!(asked(&sim), ["off"]);
    sim.clear_requests();
    let node = carrying(&sim, State::Active);
    sim.fail_console(node, "no container");
    assert_eq!(console(&host, node, ConsoleKind::Graphical).await.unwrap().port, 5900);
    assert_eq!(asked(&sim), ["on", "on"]);
    sim.update(node, |node| node.console_enabled = false);
    sim.fail_console(node, "no container");
    sim.fail_console(node, "no container");
    let error = console(&host, node, ConsoleKind::Graphical).await.unwrap_err();
    assert!(matches!(&error, Error::Retry(text) if text.contains("no container")), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_console_that_does_not_come_in_time_is_given_up() {
    let sim = Sim::builder().console_duration(Duration::from_hours(1)).start().await;
    let host = Host::start(&sim);
    let node = carrying(&sim, State::Active);
    let begin = tokio::time::Instant::now();
    let error = console(&host, node, ConsoleKind::Graphical).await.unwrap_err();
    assert!(matches!(error, Error::Retry(_)), "{error:?}");
    assert!((10..13).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn another_kind_of_console_is_left_as_it_was_found_and_none_is_refused() {
    let sim = Sim::builder().start().await;
    let host = Host::start(&sim);
    let node = with_console(&sim, &socat(), false);
    assert!(matches!(console(&host, node, ConsoleKind::Graphical).await, Err(Error::Retry(_))));
    assert_eq!(asked(&sim), ["on", "off"]);
    sim.wait_for(node, |node| !node.console_enabled).await;
    let node = with_console(&sim, &Value::Null, false);
    let error = console(&host, node, ConsoleKind::Graphical).await.unwrap_err();
    assert!(matches!(&error, Error::Retry(text) if text.contains("does not support console")), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_session_on_a_screen_is_not_ended_for_a_serial_console_that_is_not_there() {
    let sim = Sim::builder().start().await;
    let host = Host::start(&sim);
    let node = carrying(&sim, State::Active);
    console(&host, node, ConsoleKind::Graphical).await.unwrap();
    assert!(matches!(console(&host, node, ConsoleKind::Serial).await, Err(Error::Retry(_))));
    assert_eq!(asked(&sim), ["on"]);
}

#[tokio::test(start_paused = true)]
async fn a_reset_whose_answers_are_lost_or_that_is_cut_off_leaves_the_console_on() {
    for lost in 0..2 {
        let sim = Sim::builder().console_duration(Duration::from_secs(2)).start().await;
        let host = Host::start(&sim);
        let node = with_console(&sim, &socat(), true);
        let matcher = Matcher::call(Call::SetConsole).detail(["off", "on"][lost]);
        sim.fault(Fault::once(matcher, Kind::DropAfter));
        console(&host, node, ConsoleKind::Serial).await.unwrap();
        assert_eq!(asked(&sim).len(), 2, "{:?}", asked(&sim));
        assert!(sim.node(node).console_enabled);
    }
    let sim = Sim::builder().console_duration(Duration::from_secs(2)).start().await;
    let node = with_console(&sim, &socat(), true);
    let journal = Journal::default();
    let run = Run { progress: &journal, ..run(deployment(node).server.instance) };
    let killed = Host::start(&sim);
    let off = sim.wait_for(node, |node| !node.console_enabled);
    tokio::select! {
        _ = killed.driver.console(run, NodeId(node), ConsoleKind::Serial, None) => panic!("not killed"),
        _ = off => {}
    }
    drop(killed);
    let again = Host::start(&sim);
    again.driver.console(run, NodeId(node), ConsoleKind::Serial, None).await.unwrap();
    assert_eq!(asked(&sim), ["off", "on"]);
}
