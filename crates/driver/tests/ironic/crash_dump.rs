//! Crash dumps.

use std::time::Duration;

use driver::{Deployment, Error, Run};
use ironic_sim::{Call, Fault, Kind, Matcher, Sim};

use crate::support::{Host, Journal, deployment, run};

/// A machine with a server on it.
async fn server(sim: &Sim) -> (Host, Deployment) {
    let wanted = deployment(sim.enroll(1)[0]);
    let host = Host::start(sim);
    host.build(&wanted, &[]).await.unwrap();
    sim.clear_requests();
    (host, wanted)
}

#[tokio::test(start_paused = true)]
async fn a_machine_is_interrupted_once() {
    let sim = Sim::builder().nmi().start().await;
    let (host, wanted) = server(&sim).await;
    host.driver.crash_dump(run(wanted.server.instance), wanted.node).await.unwrap();
    assert_eq!(sim.node(wanted.node.0).interrupts, 1);
    assert_eq!((sim.count(Call::GetNode), sim.count(Call::Management)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn hardware_that_cannot_do_it_says_so() {
    let sim = Sim::builder().start().await;
    let (host, wanted) = server(&sim).await;
    let error = host.driver.crash_dump(run(wanted.server.instance), wanted.node).await.unwrap_err();
    assert!(
        matches!(&error, Error::Retry(text) if text.contains("does not support inject_nmi")),
        "{error:?}"
    );
    assert_eq!(sim.count(Call::Management), 1);
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_whose_answer_is_lost_is_not_sent_again_nor_after_a_restart() {
    for kind in [Kind::DropAfter, Kind::Drop] {
        let sim = Sim::builder().nmi().start().await;
        let (host, wanted) = server(&sim).await;
        let journal = Journal::default();
        let run = Run { progress: &journal, ..run(wanted.server.instance) };
        sim.fault(Fault::once(Matcher::call(Call::Management), kind));
        for _ in 0..2 {
            let error = host.driver.crash_dump(run, wanted.node).await.unwrap_err();
            assert!(matches!(&error, Error::Retry(text) if text.contains("not known")), "{error:?}");
        }
        assert_eq!(sim.count(Call::Management), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_that_was_sent_is_done_after_a_restart() {
    let sim = Sim::builder().nmi().start().await;
    let (host, wanted) = server(&sim).await;
    let journal = Journal::default();
    let run = Run { progress: &journal, ..run(wanted.server.instance) };
    for _ in 0..2 {
        host.driver.crash_dump(run, wanted.node).await.unwrap();
    }
    assert_eq!(sim.node(wanted.node.0).interrupts, 1);
}

#[tokio::test(start_paused = true)]
async fn a_locked_node_is_waited_for() {
    let sim = Sim::builder().nmi().start().await;
    let (host, wanted) = server(&sim).await;
    sim.lock(wanted.node.0);
    let unlocker = sim.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(30)).await;
        unlocker.unlock(wanted.node.0);
    });
    // A conductor takes the lock between the look and the call.
    sim.fault(Fault::once(Matcher::call(Call::Management), Kind::Locked));
    host.driver.crash_dump(run(wanted.server.instance), wanted.node).await.unwrap();
    assert_eq!((sim.node(wanted.node.0).interrupts, sim.count(Call::Management)), (1, 2));
}
