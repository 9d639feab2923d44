//! Rebuilding: deployed again, once.

use std::sync::atomic::Ordering;
use std::time::Duration;

use driver::{Deployment, Error, Run, Server};
use ironic_sim::{Action, Call, Fault, Kind, Matcher, Sim, State};
use openstack::ironic::{Node, ProvisionState};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::{Drive, Host, Journal, deployment, run, sim};

const IMAGE: &str = "11111111-2222-3333-4444-555555555555";

/// A machine with a server on it, and the server as it shall be.
async fn server(sim: &Sim) -> (Host, Deployment, Server) {
    let wanted = deployment(sim.enroll(1)[0]);
    let host = Host::start(sim);
    host.build(&wanted, &[]).await.unwrap();
    sim.clear_requests();
    let server =
        Server { image_ref: Some(IMAGE.into()), preserve_ephemeral: Some(true), ..wanted.server.clone() };
    (host, wanted, server)
}

async fn rebuild(host: &Host, wanted: &Deployment, server: &Server) -> Result<Node, Error> {
    let run = run(wanted.server.instance);
    host.driver.rebuild(run, wanted.node, server.clone(), &Drive::default()).await
}

#[tokio::test(start_paused = true)]
async fn a_node_is_deployed_again_with_another_image_and_a_new_config_drive() {
    let sim = sim().duration(State::Deploying, Duration::from_mins(1)).start().await;
    let (host, wanted, server) = server(&sim).await;
    sim.update(wanted.node.0, |node| {
        node.configdrive = None;
        node.instance_info.insert("boot_iso".into(), json!("of the image before"));
    });
    let rebuilt = rebuild(&host, &wanted, &server).await.unwrap();
    assert_eq!(rebuilt.provision_state, ProvisionState::Active);
    let node = sim.node(wanted.node.0);
    assert_eq!(node.deploys, 2);
    assert_eq!(node.configdrive, Some(json!("SDRzSQ==")));
    assert_eq!(node.instance_info["image_source"], json!(IMAGE));
    assert_eq!(node.instance_info["preserve_ephemeral"], json!("True"));
    assert!(!node.instance_info.contains_key("boot_iso"));
    let writes = [Call::PatchNode, Call::SetProvision].map(|call| sim.count(call));
    assert_eq!(writes, [1, 1]);
    // Again, with nothing to describe.
    rebuild(&host, &wanted, &server).await.unwrap();
    assert_eq!((sim.node(wanted.node.0).deploys, sim.count(Call::PatchNode)), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_rebuild_failed_can_be_rebuilt() {
    let sim = sim().start().await;
    let (host, wanted, server) = server(&sim).await;
    sim.fail_deploy(wanted.node.0, "the disk is on fire");
    let error = rebuild(&host, &wanted, &server).await.unwrap_err();
    assert!(matches!(&error, Error::Retry(text) if text.contains("on fire")), "{error:?}");
    assert_eq!(sim.node(wanted.node.0).provision_state, State::DeployFailed);
    rebuild(&host, &wanted, &server).await.unwrap();
    assert_eq!(sim.node(wanted.node.0).provision_state, State::Active);
}

#[tokio::test(start_paused = true)]
async fn what_ironic_refuses_says_why_and_touches_nothing() {
    let sim = sim().start().await;
    let (host, wanted, server) = server(&sim).await;
    let node = wanted.node.0;
    sim.update(node, |node| node.protected = true);
    let error = rebuild(&host, &wanted, &server).await.unwrap_err();
    assert!(matches!(&error, Error::Retry(text) if text.contains("protected")), "{error:?}");
    sim.update(node, |node| (node.protected, node.maintenance) = (false, true));
    let error = rebuild(&host, &wanted, &server).await.unwrap_err();
    assert!(matches!(&error, Error::Retry(text) if text.contains("maintenance")), "{error:?}");
    sim.update(node, |node| node.maintenance = false);
    let body = ironic_sim::error_body(400, "InvalidImage: the format is not what it says");
    sim.fault(Fault::once(Matcher::call(Call::SetProvision), Kind::Status(400, body)));
    let error = rebuild(&host, &wanted, &server).await.unwrap_err();
    assert!(matches!(error, Error::NoNode(_)), "{error:?}");
    sim.set_state(node, State::Rescue);
    let error = rebuild(&host, &wanted, &server).await.unwrap_err();
    assert!(matches!(&error, Error::Retry(text) if text.contains("'rescue'")), "{error:?}");
    assert_eq!(sim.node(node).deploys, 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_answer_is_lost_is_not_repeated() {
    for minutes in [0, 5] {
        let sim = sim().duration(State::Deploying, Duration::from_mins(minutes)).start().await;
        let (host, wanted, server) = server(&sim).await;
        sim.fault(Fault::once(Matcher::call(Call::SetProvision), Kind::DropAfter));
        rebuild(&host, &wanted, &server).await.unwrap();
        assert_eq!(sim.node(wanted.node.0).deploys, 2);
        assert_eq!(sim.count(Call::SetProvision), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_ironic_put_back_for_want_of_workers_is_asked_for_again() {
    let sim = sim().start().await;
    let (host, wanted, server) = server(&sim).await;
    let text = "Requested action cannot be performed due to lack of free conductor workers.";
    let body = ironic_sim::error_body(503, text);
    sim.fault(Fault::once(Matcher::call(Call::SetProvision), Kind::Status(503, body)));
    let (putting_back, node) = (sim.clone(), wanted.node.0);
    sim.on_request(Box::new(move |request| {
        if request.call == Call::SetProvision && request.is_before() {
            putting_back.update(node, |node| {
                node.last_error = Some("No free conductor workers available".into());
                node.moves += 2;
            });
        }
        Action::Go
    }));
    rebuild(&host, &wanted, &server).await.unwrap();
    assert_eq!((sim.node(node).deploys, sim.count(Call::SetProvision)), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_waits_where_ironic_has_no_room_and_where_the_node_is_locked() {
    let sim =
        sim().duration(State::Deploying, Duration::from_mins(10)).max_concurrent_deploy(1).start().await;
    let (host, wanted, server) = server(&sim).await;
    let other = sim.enroll(1)[0];
    sim.set_state(other, State::Deploying);
    sim.lock(wanted.node.0);
    let unlocker = sim.clone();
    let node = wanted.node.0;
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(30)).await;
        unlocker.unlock(node);
    });
    rebuild(&host, &wanted, &server).await.unwrap();
    assert_eq!(sim.node(node).deploys, 2);
}

#[tokio::test(start_paused = true)]
async fn a_deployment_under_way_is_waited_for_and_then_the_node_is_rebuilt() {
    let sim = sim().duration(State::Deploying, Duration::from_hours(1)).start().await;
    let wanted = deployment(sim.enroll(1)[0]);
    let host = Host::start(&sim);
    host.reserve(&wanted).await.unwrap();
    sim.set_state(wanted.node.0, State::Deploying);
    rebuild(&host, &wanted, &wanted.server).await.unwrap();
    let node = sim.node(wanted.node.0);
    assert_eq!((node.deploys, node.provision_state), (1, State::Active));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_rebuild_ends_at_once_and_a_config_drive_may_be_away_for_a_while() {
    let sim = sim().start().await;
    sim.hold(State::Deploying);
    let wanted = deployment(sim.enroll(1)[0]);
    let host = Host::start(&sim);
    host.reserve(&wanted).await.unwrap();
    sim.update(wanted.node.0, |node| node.provision_state = State::Active);
    let (cancel, journal, drive) = (CancellationToken::new(), Journal::default(), Drive::default());
    drive.away.store(3, Ordering::SeqCst);
    let run = Run { cancel: &cancel, progress: &journal, ..run(wanted.server.instance) };
    let rebuilding = host.driver.rebuild(run, wanted.node, wanted.server.clone(), &drive);
    let cancelling = async {
        sim.wait_for_state(wanted.node.0, State::Deploying).await;
        cancel.cancel();
    };
    let (ended, ()) = tokio::join!(rebuilding, cancelling);
    assert_eq!(ended.unwrap_err(), Error::Cancelled);
    assert_eq!(drive.built.load(Ordering::SeqCst), 4);
}
