//! Ironic's own limits: it refuses what is beyond them, and everything comes to its end all the same.

use std::time::Duration;

use driver::{Deployment, Error, Run};
use futures_util::future::join_all;
use ironic_sim::{Call, Fault, Kind, Matcher, Sim, State};
use openstack::ironic::ProvisionState;
use tokio_util::sync::CancellationToken;

use crate::support::{Drive, Host, assert_free, numbered_deployment, run, sim};

/// So many nodes, each with a deployment of its own.
fn fleet(sim: &Sim, size: u128) -> Vec<Deployment> {
    (1..=size).map(|number| numbered_deployment(sim.enroll(1)[0], number)).collect()
}

fn refused(sim: &Sim) -> usize {
    sim.requests().iter().filter(|r| r.call == Call::SetProvision && r.status == Some(503)).count()
}

#[tokio::test(start_paused = true)]
async fn builds_beyond_ironics_limit_wait_for_their_turn_however_long_it_takes() {
    let sim = Sim::builder()
        .duration(State::Deploying, Duration::from_mins(16))
        .max_concurrent_deploy(3)
        .start()
        .await;
    let fleet = fleet(&sim, 9);
    let host = Host::start(&sim);
    let builds = join_all(fleet.iter().map(|wanted| host.build(wanted, &[])));
    for built in builds.await {
        assert_eq!(built.unwrap().provision_state, ProvisionState::Active);
    }
    assert!(sim.nodes().iter().all(|node| node.deploys == 1));
    // Those of the first moment, and one every five seconds while two rounds of deployments, sixteen minutes each, are waited for.
    let bound = 6 + 2 * 16 * 60 / 5 + 10;
    assert!(refused(&sim) <= bound, "{} refused", refused(&sim));
    let looks = sim.count(Call::GetNode);
    assert!(looks <= bound + 100, "{looks} looks");
}

#[tokio::test(start_paused = true)]
async fn tear_downs_beyond_ironics_limit_wait_for_their_turn() {
    let sim = Sim::builder()
        .duration(State::Cleaning, Duration::from_mins(16))
        .max_concurrent_clean(3)
        .start()
        .await;
    let fleet = fleet(&sim, 9);
    let host = Host::start(&sim);
    for built in join_all(fleet.iter().map(|wanted| host.build(wanted, &[]))).await {
        built.unwrap();
    }
    for freed in join_all(fleet.iter().map(|wanted| host.tear_down(wanted))).await {
        assert!(freed.unwrap().is_some());
    }
    for node in sim.nodes() {
        assert_free(&node);
        assert_eq!(node.tear_downs, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_ironic_without_free_workers_is_no_outage() {
    let sim = sim().start().await;
    let fleet = fleet(&sim, 3);
    let text = "Requested action cannot be performed due to lack of free conductor workers.";
    let kind = Kind::Status(503, ironic_sim::error_body(503, text));
    sim.fault(Fault { matcher: Matcher::call(Call::SetProvision), times: 250, kind });
    let host = Host::start(&sim);
    for built in join_all(fleet.iter().map(|wanted| host.build(wanted, &[]))).await {
        assert_eq!(built.unwrap().provision_state, ProvisionState::Active);
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_turn_can_be_cancelled_and_holds_nobody_up() {
    let sim = sim().max_concurrent_deploy(1).start().await;
    sim.hold(State::Deploying);
    let fleet = fleet(&sim, 3);
    let host = Host::start(&sim);
    let (cancel, drive) = (CancellationToken::new(), Drive::default());
    for wanted in &fleet {
        host.reserve(wanted).await.unwrap();
    }
    let first = host.driver.deploy(run(fleet[0].server.instance), &fleet[0], &drive);
    let cancelled = async {
        sim.wait_for_state(fleet[0].node.0, State::Deploying).await;
        let run = Run { cancel: &cancel, ..run(fleet[1].server.instance) };
        host.driver.deploy(run, &fleet[1], &drive).await
    };
    let last = async {
        sim.wait_for_state(fleet[0].node.0, State::Deploying).await;
        host.driver.deploy(run(fleet[2].server.instance), &fleet[2], &drive).await
    };
    let script = async {
        tokio::time::sleep(Duration::from_mins(30)).await;
        cancel.cancel();
        tokio::time::sleep(Duration::from_mins(30)).await;
        sim.release();
    };
    let (first, cancelled, last, ()) = tokio::join!(first, cancelled, last, script);
    assert_eq!(first.unwrap().provision_state, ProvisionState::Active);
    assert!(matches!(cancelled, Err(Error::Cancelled)), "{cancelled:?}");
    assert_eq!(last.unwrap().provision_state, ProvisionState::Active);
    assert_eq!(sim.node(fleet[1].node.0).deploys, 0);
}
