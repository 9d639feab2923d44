//! The process is killed at every request in turn, before the request takes effect and after, and started again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use driver::{Deployment, Error, PowerChange, Run};
use ironic_sim::{Action, Sim, State};
use openstack::ironic::Node;
use tokio::sync::Notify;

use crate::support::{Drive, Host, Journal, assert_free, deployment, run, sim, vif};

/// When the process dies.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// The request has left us and has had no effect; it never will.
    Before,
    /// The request has had its effect; we have not seen the answer.
    After,
}

/// Runs `work` on a fresh host until the n-th request of it, and kills it then. True if it died, false if it ended before.
async fn dies_at<T>(
    sim: &Sim,
    nth: u64,
    moment: Moment,
    work: impl AsyncFnOnce(&Host) -> Result<T, Error>,
) -> bool {
    let first = sim.requests().last().map_or(0, |request| request.number);
    let (dying, dead) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let hook = {
        let (dying, dead) = (Arc::clone(&dying), Arc::clone(&dead));
        move |request: &ironic_sim::Recorded| {
            let due =
                request.number == first + nth && request.is_before() == matches!(moment, Moment::Before);
            if due {
                dead.store(true, Ordering::SeqCst);
                dying.notify_one();
            }
            // The dead neither ask nor hear.
            if dead.load(Ordering::SeqCst) { Action::Drop } else { Action::Go }
        }
    };
    sim.on_request(Box::new(hook));
    let host = Host::start(sim);
    let died = tokio::select! {
        biased;
        () = dying.notified() => true,
        result = work(&host) => {
            // Everybody dies of the dropped request or ends well.
            assert!(result.is_ok() || dead.load(Ordering::SeqCst));
            dead.load(Ordering::SeqCst)
        }
    };
    sim.clear_hook();
    died
}

async fn build(host: &Host, wanted: &Deployment) -> Result<Node, Error> {
    host.build(wanted, &[vif(1), vif(2)]).await
}

/// A node to work on, and others that show that Ironic hides none.
async fn fleet() -> (Sim, Deployment) {
    let sim = sim().start().await;
    let node = sim.enroll(4)[0];
    sim.add_port(node);
    (sim, deployment(node))
}

#[tokio::test(start_paused = true)]
async fn a_build_that_is_killed_at_any_request_goes_on_to_active() {
    for moment in [Moment::Before, Moment::After] {
        let mut nth = 1;
        loop {
            let (sim, wanted) = fleet().await;
            let died = dies_at(&sim, nth, moment, async |host| build(host, &wanted).await).await;
            build(&Host::start(&sim), &wanted).await.unwrap();
            let node = sim.node(wanted.node.0);
            assert_eq!(node.provision_state, State::Active, "killed {moment:?} request {nth}");
            assert_eq!(node.deploys, 1, "killed {moment:?} request {nth}");
            assert_eq!(node.ports.iter().filter(|port| !port.internal_info.is_empty()).count(), 2);
            if !died {
                break;
            }
            nth += 1;
        }
        assert!(nth > 10, "only {nth} requests");
    }
}

#[tokio::test(start_paused = true)]
async fn a_build_that_is_killed_at_any_request_can_be_torn_down() {
    for moment in [Moment::Before, Moment::After] {
        let mut nth = 1;
        loop {
            let (sim, wanted) = fleet().await;
            let died = dies_at(&sim, nth, moment, async |host| build(host, &wanted).await).await;
            Host::start(&sim).tear_down(&wanted).await.unwrap();
            assert_free(&sim.wait_for_state(wanted.node.0, State::Available).await);
            if !died {
                break;
            }
            nth += 1;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_tear_down_that_is_killed_at_any_request_goes_on_to_its_end() {
    for reserved_only in [false, true] {
        for moment in [Moment::Before, Moment::After] {
            let mut nth = 1;
            loop {
                let (sim, wanted) = fleet().await;
                let host = Host::start(&sim);
                build(&host, &wanted).await.unwrap();
                if reserved_only {
                    sim.set_state(wanted.node.0, State::Available);
                }
                drop(host);
                let died = dies_at(&sim, nth, moment, async |host| host.tear_down(&wanted).await).await;
                Host::start(&sim).tear_down(&wanted).await.unwrap();
                let node = sim.wait_for_state(wanted.node.0, State::Available).await;
                assert_free(&node);
                assert_eq!(node.tear_downs, u32::from(!reserved_only), "killed {moment:?} request {nth}");
                if !died {
                    break;
                }
                nth += 1;
            }
            assert!(nth > 3, "only {nth} requests");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_vanishes_at_any_request_ends_the_operation() {
    for built in [false, true] {
        let mut nth = 1;
        loop {
            let (sim, wanted) = fleet().await;
            let host = Host::start(&sim);
            if built {
                build(&host, &wanted).await.unwrap();
            }
            let first = sim.requests().last().map_or(0, |request| request.number);
            let (remover, node) = (sim.clone(), wanted.node.0);
            sim.on_request(Box::new(move |request| {
                if request.number == first + nth && request.is_before() {
                    remover.remove(node);
                }
                Action::Go
            }));
            let work = async {
                if built {
                    host.tear_down(&wanted).await.map(drop)
                } else {
                    build(&host, &wanted).await.map(drop)
                }
            };
            let ended = tokio::time::timeout(Duration::from_hours(2), work).await.expect("it hangs");
            if sim.find(node).is_some() {
                ended.unwrap();
                break;
            }
            assert_eq!(ended.is_ok(), built, "vanished at request {nth}: {ended:?}");
            host.tear_down(&wanted).await.unwrap();
            nth += 1;
        }
        assert!(nth > 3, "only {nth} requests");
    }
}

#[tokio::test(start_paused = true)]
async fn a_power_change_that_is_killed_at_any_request_is_neither_lost_nor_done_twice() {
    let soft = Duration::from_mins(1);
    for change in [
        PowerChange::On,
        PowerChange::Off { soft: None },
        PowerChange::Off { soft: Some(soft) },
        PowerChange::Reboot { soft: false },
        PowerChange::Reboot { soft: true },
    ] {
        for moment in [Moment::Before, Moment::After] {
            let mut nth = 1;
            loop {
                let sim = Sim::builder().power_duration(Duration::from_secs(5)).start().await;
                let wanted = deployment(sim.enroll(1)[0]);
                let host = Host::start(&sim);
                host.build(&wanted, &[]).await.unwrap();
                if change == PowerChange::On {
                    sim.update(wanted.node.0, |node| node.power_state = Some("power off".into()));
                }
                drop(host);
                let before = sim.node(wanted.node.0).power_actions;
                let journal = Journal::default();
                let run = Run { progress: &journal, ..run(wanted.server.instance) };
                let set = async |host: &Host| host.driver.set_power(run, wanted.node, change).await;
                let died = dies_at(&sim, nth, moment, set).await;
                Host::start(&sim).driver.set_power(run, wanted.node, change).await.unwrap();
                let node = sim.node(wanted.node.0);
                assert_eq!(node.power_actions - before, 1, "{change:?}, killed {moment:?} request {nth}");
                let is_off = matches!(change, PowerChange::Off { .. });
                assert_eq!(node.power_state.as_deref() == Some("power off"), is_off);
                if !died {
                    break;
                }
                nth += 1;
            }
            assert!(nth > 2, "only {nth} requests");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rescue_that_is_killed_at_any_request_is_neither_lost_nor_done_twice_nor_switched_off() {
    let password = secrecy::SecretString::from("first");
    for before in [State::Active, State::Rescue] {
        for moment in [Moment::Before, Moment::After] {
            let mut nth = 1;
            loop {
                let sim = sim().start().await;
                let wanted = deployment(sim.enroll(1)[0]);
                let host = Host::start(&sim);
                host.build(&wanted, &[]).await.unwrap();
                drop(host);
                sim.set_state(wanted.node.0, before);
                let actions = sim.node(wanted.node.0).power_actions;
                let journal = Journal::default();
                let run = Run { progress: &journal, ..run(wanted.server.instance) };
                let rescue = async |host: &Host| host.driver.rescue(run, wanted.node, &password, None).await;
                let died = dies_at(&sim, nth, moment, rescue).await;
                rescue(&Host::start(&sim)).await.unwrap();
                let node = sim.node(wanted.node.0);
                assert_eq!(node.provision_state, State::Rescue);
                assert_eq!(node.rescue_password.as_deref(), Some("first"));
                assert_eq!(node.rescues, 1, "{before}, killed {moment:?} request {nth}");
                assert_eq!(node.power_actions - actions, 1, "{before}, killed {moment:?} request {nth}");
                if !died {
                    break;
                }
                nth += 1;
            }
            assert!(nth > 4, "only {nth} requests");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_that_is_killed_at_any_request_is_neither_lost_nor_done_twice() {
    for seconds in [0, 20] {
        for moment in [Moment::Before, Moment::After] {
            let mut nth = 1;
            loop {
                let sim = sim().duration(State::Deploying, Duration::from_secs(seconds)).start().await;
                let mut wanted = deployment(sim.enroll(4)[0]);
                let host = Host::start(&sim);
                host.build(&wanted, &[]).await.unwrap();
                drop(host);
                wanted.server.image_ref = Some("11111111-2222-3333-4444-555555555555".into());
                let journal = Journal::default();
                let run = Run { progress: &journal, ..run(wanted.server.instance) };
                let rebuild = async |host: &Host| {
                    let server = wanted.server.clone();
                    host.driver.rebuild(run, wanted.node, server, &Drive::default()).await
                };
                let died = dies_at(&sim, nth, moment, rebuild).await;
                rebuild(&Host::start(&sim)).await.unwrap();
                let node = sim.node(wanted.node.0);
                assert_eq!(node.deploys, 2, "killed {moment:?} request {nth}");
                assert_eq!(node.provision_state, State::Active);
                assert_eq!(node.instance_info["image_source"], wanted.server.image_ref.unwrap());
                if !died {
                    break;
                }
                nth += 1;
            }
            assert!(nth > 3, "only {nth} requests");
        }
    }
}
