//! Nodes that Ironic does not show: hidden by a role or a policy, or gone.

use std::time::Duration;

use driver::{Error, InstanceId, NodeId, Run};
use ironic_sim::{Call, Sim, State};
use openstack::{Caller, ironic::ProvisionState};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::{Drive, Host, assert_free, carrying, deployment, run, sim, vif};

/// Longer than anything that has a limit.
const LONG: Duration = Duration::from_mins(20);

/// A cloud of ten nodes.
async fn ten() -> (Sim, Vec<Uuid>) {
    let sim = sim().start().await;
    let nodes = sim.enroll(10);
    (sim, nodes)
}

#[tokio::test(start_paused = true)]
async fn a_build_waits_in_every_state_until_its_node_is_shown_again() {
    for held in [State::Deploying, State::DeployWait] {
        let (sim, nodes) = ten().await;
        sim.hold(held);
        let host = Host::start(&sim);
        let (deployment, vifs) = (deployment(nodes[0]), [vif(7)]);
        let build = host.build(&deployment, &vifs);
        tokio::pin!(build);
        tokio::select! {
            ended = &mut build => panic!("{ended:?}"),
            _ = sim.wait_for_state(nodes[0], held) => {}
        }
        sim.hide(true);
        assert!(timeout(LONG, &mut build).await.is_err(), "it waits in '{held}'");
        sim.hide(false);
        sim.release();
        assert_eq!(build.await.unwrap().provision_state, ProvisionState::Active);
        assert_eq!(sim.node(nodes[0]).deploys, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_build_waits_at_each_request_that_a_hidden_node_answers() {
    let requests = [
        Call::GetNode,
        Call::PatchNode,
        Call::ListVifs,
        Call::AttachVif,
        Call::ListTargets,
        Call::Validate,
        Call::SetProvision,
    ];
    for call in requests {
        let (sim, nodes) = ten().await;
        // With a storage interface that looks at the volume targets.
        sim.update(nodes[0], |node| {
            node.other.insert("storage_interface".into(), "cinder".into());
        });
        let (hider, once) = (sim.clone(), std::sync::Once::new());
        sim.on_request(Box::new(move |request| {
            if request.call == call && request.is_before() {
                once.call_once(|| hider.hide(true));
            }
            ironic_sim::Action::Go
        }));
        let host = Host::start(&sim);
        let (deployment, vifs) = (deployment(nodes[0]), [vif(7)]);
        let build = host.build(&deployment, &vifs);
        tokio::pin!(build);
        assert!(timeout(LONG, &mut build).await.is_err(), "it waits at {call:?}");
        sim.hide(false);
        assert_eq!(build.await.unwrap().provision_state, ProvisionState::Active, "at {call:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_delete_waits_until_the_node_is_shown_again() {
    for state in [State::Active, State::Deploying, State::DeployFailed, State::Available, State::CleanWait] {
        for hint in [true, false] {
            let (sim, _) = ten().await;
            let node = carrying(&sim, state);
            let (host, instance) = (Host::start(&sim), deployment(node).server.instance);
            sim.hide(true);
            let tear_down = host.driver.tear_down(run(instance), hint.then_some(NodeId(node)));
            tokio::pin!(tear_down);
            assert!(timeout(LONG, &mut tear_down).await.is_err(), "from '{state}', hint {hint}");
            assert_eq!(sim.node(node).instance_uuid, Some(instance.0));
            sim.hide(false);
            assert_eq!(tear_down.await.unwrap().unwrap().uuid, NodeId(node));
            assert_free(&sim.node(node));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_undo_and_a_release_wait_until_the_node_is_shown_again() {
    let (sim, _) = ten().await;
    let node = carrying(&sim, State::Available);
    let (host, instance) = (Host::start(&sim), deployment(node).server.instance);
    let (driver, caller) = (&host.driver, Caller::default());
    sim.hide(true);
    assert!(timeout(LONG, driver.tear_down_on(run(instance), NodeId(node))).await.is_err());
    assert!(timeout(LONG, driver.detach_vifs(run(instance), NodeId(node), &[vif(1)])).await.is_err());
    assert!(timeout(LONG, driver.settled(&caller, NodeId(node))).await.is_err());
    sim.hide(false);
    driver.tear_down_on(run(instance), NodeId(node)).await.unwrap();
    assert_eq!(driver.settled(&caller, NodeId(node)).await.unwrap().unwrap().uuid, NodeId(node));
}

#[tokio::test(start_paused = true)]
async fn a_vif_of_a_node_that_is_hidden_meanwhile_is_not_taken_for_detached() {
    let (sim, nodes) = ten().await;
    let (host, node) = (Host::start(&sim), NodeId(nodes[0]));
    let run = run(InstanceId(nodes[0]));
    host.driver.attach_vifs(run, node, &[vif(1)]).await.unwrap();
    let hider = sim.clone();
    sim.on_request(Box::new(move |request| {
        if request.call == Call::DetachVif && request.is_before() {
            hider.hide(true);
        }
        ironic_sim::Action::Go
    }));
    let vifs = [vif(1)];
    let detach = host.driver.detach_vifs(run, node, &vifs);
    assert!(timeout(LONG, detach).await.is_err());
    assert_eq!(sim.node(nodes[0]).vifs(), [vif(1).to_string()]);
    sim.clear_hook();
    sim.hide(false);
    host.driver.detach_vifs(run, node, &[vif(1)]).await.unwrap();
    assert!(sim.node(nodes[0]).vifs().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_gone_is_believed_gone_when_the_others_are_seen_twice() {
    let (sim, nodes) = ten().await;
    let host = Host::start(&sim);
    let (driver, caller, node) = (&host.driver, Caller::default(), NodeId(nodes[0]));
    let wanted = deployment(nodes[0]);
    let instance = wanted.server.instance;
    sim.remove(nodes[0]);
    let begin = Instant::now();
    assert_eq!(driver.tear_down(run(instance), Some(node)).await.unwrap(), None);
    assert!((10..60).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
    assert_eq!(driver.tear_down_on(run(instance), node).await.unwrap(), None);
    driver.detach_vifs(run(instance), node, &[vif(1)]).await.unwrap();
    assert_eq!(driver.settled(&caller, node).await.unwrap(), None);
    let reserved = driver.reserve(run(instance), node).await;
    assert!(matches!(reserved, Err(Error::AnotherNode(_))), "{reserved:?}");
    let attached = driver.attach_vifs(run(instance), node, &[vif(1)]).await;
    assert!(matches!(attached, Err(Error::AnotherNode(_))), "{attached:?}");
    let deployed = driver.deploy(run(instance), &wanted, &Drive::default()).await;
    assert!(matches!(deployed, Err(Error::Gone(_))), "{deployed:?}");
    let read = || driver.node(&caller, node);
    let read = driver.read(run(instance), node, read).await;
    assert!(matches!(read, Err(Error::Retry(_))), "{read:?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_believed_gone_while_most_nodes_are_hidden() {
    let (sim, nodes) = ten().await;
    let host = Host::start(&sim);
    let instance = deployment(nodes[0]).server.instance;
    for node in &nodes[..6] {
        sim.update(*node, |node| node.hidden = true);
    }
    let tear_down = host.driver.tear_down(run(instance), Some(NodeId(nodes[0])));
    assert!(timeout(LONG, tear_down).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_only_node_is_never_believed_gone_unless_an_operator_says_so() {
    let sim = sim().start().await;
    let node = sim.enroll(1)[0];
    let host = Host::start(&sim);
    let instance = deployment(node).server.instance;
    sim.remove(node);
    let tear_down = || host.driver.tear_down(run(instance), Some(NodeId(node)));
    assert!(timeout(LONG, tear_down()).await.is_err());
    host.driver.sight().know([NodeId(node)].into(), Some(1));
    assert_eq!(tear_down().await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_hidden_node_hears_that_it_is_cancelled() {
    let (sim, nodes) = ten().await;
    let (host, cancel) = (Host::start(&sim), CancellationToken::new());
    sim.hide(true);
    let (wanted, drive) = (deployment(nodes[0]), Drive::default());
    let run = Run { cancel: &cancel, ..run(wanted.server.instance) };
    let deploy = host.driver.deploy(run, &wanted, &drive);
    let stop = async {
        sleep(Duration::from_mins(5)).await;
        cancel.cancel();
    };
    let (deployed, ()) = tokio::join!(deploy, stop);
    assert!(matches!(deployed, Err(Error::Cancelled)), "{deployed:?}");
}

#[tokio::test(start_paused = true)]
async fn hundreds_that_wait_for_hidden_nodes_share_their_lists() {
    let sim = sim().start().await;
    let nodes = sim.enroll(200);
    let host = Host::start(&sim);
    sim.hide(true);
    let waiting = nodes.iter().map(|node| {
        let instance = deployment(*node).server.instance;
        host.driver.tear_down_on(run(instance), NodeId(*node))
    });
    let waiting = futures_util::future::join_all(waiting);
    assert!(timeout(Duration::from_mins(10), waiting).await.is_err());
    assert!(sim.count(Call::ListNodes) <= 130, "{:?}", sim.shapes());
}
