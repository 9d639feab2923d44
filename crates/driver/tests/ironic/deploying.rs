//! Reserve, attach, deploy.

use std::{sync::atomic::Ordering, time::Duration};

use driver::{Error, InstanceId, NodeId, Options, Run};
use ironic_sim::{Call, Fault, Kind, Matcher, Sim, State};
use openstack::ironic::{NewVolumeTarget, ProvisionState};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::{Drive, Host, assert_free, deployment, numbered_deployment, run, sim, vif};

#[tokio::test(start_paused = true)]
async fn a_build_makes_an_active_node_with_few_requests() {
    let sim = sim().duration(State::Deploying, Duration::from_mins(1)).start().await;
    let node = sim.enroll(1)[0];
    let host = Host::start(&sim);
    let deployed = host.build(&deployment(node), &[vif(7)]).await.unwrap();
    assert_eq!(deployed.provision_state, ProvisionState::Active);
    let node = sim.node(node);
    assert_eq!(node.deploys, 1);
    assert_eq!(node.configdrive, Some(json!("SDRzSQ==")));
    assert_eq!(node.instance_info["root_gb"], json!("100"));
    assert_eq!(node.ports[0].internal_info["tenant_vif_port_id"], json!(vif(7).to_string()));
    let count = |call| sim.count(call);
    let writes = [Call::PatchNode, Call::AttachVif, Call::Validate, Call::SetProvision].map(count);
    assert_eq!(writes, [2, 1, 1, 1]);
    assert!(count(Call::GetNode) <= 6, "{:?}", sim.shapes());
    assert!(count(Call::ListNodes) <= 40, "{:?}", sim.shapes());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_taken_is_unavailable() {
    let sim = Sim::builder().start().await;
    let node = sim.enroll_with(|node| node.instance_uuid = Some(Uuid::from_u128(9)));
    let host = Host::start(&sim);
    let error = host.build(&deployment(node), &[]).await.unwrap_err();
    assert!(matches!(error, Error::AnotherNode(_)), "{error:?}");
    assert_eq!(sim.count(Call::PatchNode), 0);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_taken_while_we_reserve_it_is_unavailable() {
    let sim = Sim::builder().start().await;
    let node = sim.enroll(1)[0];
    let (other, taken) = (sim.clone(), Uuid::from_u128(9));
    sim.on_request(Box::new(move |request| {
        if request.call == Call::PatchNode && request.is_before() {
            other.update(node, |node| node.instance_uuid = Some(taken));
        }
        ironic_sim::Action::Go
    }));
    let error = Host::start(&sim).build(&deployment(node), &[]).await.unwrap_err();
    assert!(matches!(error, Error::AnotherNode(_)), "{error:?}");
    assert_eq!(sim.node(node).instance_uuid, Some(taken));
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_still_holds_another_node_cannot_reserve_a_second() {
    let sim = Sim::builder().start().await;
    let nodes = sim.enroll(2);
    let instance = deployment(nodes[0]).server.instance;
    sim.update(nodes[0], |node| node.instance_uuid = Some(instance.0));
    let error = Host::start(&sim).build(&deployment(nodes[1]), &[]).await.unwrap_err();
    assert!(matches!(&error, Error::AnotherNode(text) if text.contains("another node")), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_deployment_that_ironic_fails_says_why_and_is_torn_down_clean() {
    let sim = sim().start().await;
    let node = sim.enroll(1)[0];
    sim.fail_deploy(node, "the disk is on fire");
    let host = Host::start(&sim);
    let error = host.build(&deployment(node), &[vif(7)]).await.unwrap_err();
    assert!(matches!(&error, Error::AnotherNode(text) if text.contains("on fire")), "{error:?}");
    host.tear_down(&deployment(node)).await.unwrap();
    assert_free(&sim.wait_for_state(node, State::Available).await);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_ironic_finds_fault_with_is_not_deployed() {
    let sim = sim().start().await;
    let node = sim.enroll(1)[0];
    sim.set_validation(node, "storage", Some("no connector"));
    let host = Host::start(&sim);
    let error = host.build(&deployment(node), &[]).await.unwrap_err();
    assert!(matches!(&error, Error::AnotherNode(text) if text.contains("no connector")), "{error:?}");
    assert_eq!(sim.node(node).deploys, 0);
    host.tear_down(&deployment(node)).await.unwrap();
    assert_free(&sim.node(node));
}

#[tokio::test(start_paused = true)]
async fn an_image_that_ironic_refuses_is_rejected() {
    let sim = sim().start().await;
    let node = sim.enroll(1)[0];
    let body = ironic_sim::error_body(400, "InvalidImage: the format is not what it says");
    sim.fault(Fault::once(Matcher::call(Call::SetProvision), Kind::Status(400, body)));
    let error = Host::start(&sim).build(&deployment(node), &[]).await.unwrap_err();
    assert!(matches!(error, Error::NoNode(_)), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_config_drive_is_made_from_may_be_away_for_a_while() {
    let sim = sim().start().await;
    let node = sim.enroll(1)[0];
    let wanted = deployment(node);
    let host = Host::start(&sim);
    host.reserve(&wanted).await.unwrap();
    let drive = Drive::default();
    drive.away.store(20, Ordering::SeqCst);
    host.driver.deploy(run(wanted.server.instance), &wanted, &drive).await.unwrap();
    assert_eq!(drive.built.load(Ordering::SeqCst), 21);

    let node = sim.enroll(1)[0];
    let wanted = numbered_deployment(node, 2);
    let patience = Some(Duration::from_mins(15));
    let host = Host::start_with(&sim, Options { patience, ..Options::default() });
    host.reserve(&wanted).await.unwrap();
    drive.away.store(1000, Ordering::SeqCst);
    let error = host.driver.deploy(run(wanted.server.instance), &wanted, &drive).await.unwrap_err();
    assert!(matches!(error, Error::AnotherNode(_)), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn credentials_that_ironic_does_not_accept_for_a_while_fail_nothing() {
    let sim = sim().duration(State::Deploying, Duration::from_secs(20)).start().await;
    let node = sim.enroll(1)[0];
    sim.fault(Fault { matcher: Matcher::any(), times: u32::MAX, kind: Kind::Status(401, String::new()) });
    let healer = sim.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_mins(10)).await;
        healer.clear_faults();
    });
    Host::start(&sim).build(&deployment(node), &[vif(1)]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_the_put_does_not_deploy_twice() {
    for wait_states in [true, false] {
        let builder = if wait_states { sim() } else { Sim::builder() };
        let sim = builder.duration(State::Deploying, Duration::from_secs(30)).start().await;
        let node = sim.enroll(1)[0];
        sim.fault(Fault::once(Matcher::call(Call::SetProvision), Kind::DropAfter));
        Host::start(&sim).build(&deployment(node), &[]).await.unwrap();
        assert_eq!(sim.node(node).deploys, 1);
        assert_eq!(sim.count(Call::SetProvision), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_locked_node_is_asked_again_within_the_limit() {
    let sim = sim().start().await;
    let node = sim.enroll(1)[0];
    sim.fault(Fault { matcher: Matcher::call(Call::PatchNode), times: 5, kind: Kind::Locked });
    sim.fault(Fault { matcher: Matcher::call(Call::AttachVif), times: 5, kind: Kind::Locked });
    sim.fault(Fault { matcher: Matcher::call(Call::SetProvision), times: 5, kind: Kind::Locked });
    let options = Options { api_max_retries: 5, ..Options::default() };
    let host = Host::start_with(&sim, options);
    host.build(&deployment(node), &[vif(1)]).await.unwrap();

    let node = sim.enroll(1)[0];
    sim.lock(node);
    let begin = tokio::time::Instant::now();
    let error = host.build(&deployment(node), &[]).await.unwrap_err();
    assert!(matches!(error, Error::AnotherNode(_) | Error::Retry(_)), "{error:?}");
    assert!(begin.elapsed() <= Duration::from_secs(11), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_five_minutes_at_any_moment_fails_nothing() {
    for outage in [30, 300] {
        for after in 0..12 {
            let sim = sim().duration(State::Deploying, Duration::from_secs(20)).start().await;
            let node = sim.enroll(1)[0];
            sim.fault(Fault { matcher: Matcher::any().after(after), times: u32::MAX, kind: Kind::Drop });
            let healer = sim.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(outage)).await;
                healer.clear_faults();
            });
            let deployed = Host::start(&sim).build(&deployment(node), &[vif(3)]).await.unwrap();
            assert_eq!(deployed.provision_state, ProvisionState::Active, "outage after {after} requests");
            assert_eq!(sim.node(node).deploys, 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn cancelling_ends_a_wait_at_once_and_tearing_down_follows() {
    let sim = sim().start().await;
    let node = sim.enroll(1)[0];
    sim.hold(State::DeployWait);
    let host = Host::start(&sim);
    let cancel = CancellationToken::new();
    let building = {
        let (driver, cancel, wanted) = (host.driver.clone(), cancel.clone(), deployment(node));
        tokio::spawn(async move {
            let run = Run { cancel: &cancel, ..run(wanted.server.instance) };
            driver.reserve(run, wanted.node).await?;
            driver.deploy(run, &wanted, &Drive::default()).await
        })
    };
    sim.wait_for_state(node, State::DeployWait).await;
    while host.driver.watcher().waiters() == 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let begin = tokio::time::Instant::now();
    cancel.cancel();
    assert!(matches!(building.await.unwrap(), Err(Error::Cancelled)));
    assert_eq!(begin.elapsed(), Duration::ZERO);
    assert_eq!(host.driver.watcher().waiters(), 0);
    host.tear_down(&deployment(node)).await.unwrap();
    assert_free(&sim.wait_for_state(node, State::Available).await);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_somebody_tears_down_during_the_deployment_is_gone() {
    let sim = sim().start().await;
    let node = sim.enroll(1)[0];
    sim.hold(State::DeployWait);
    let host = Host::start(&sim);
    let wanted = deployment(node);
    let building = host.build(&wanted, &[]);
    let meddling = async {
        sim.wait_for_state(node, State::DeployWait).await;
        sim.update(node, |node| node.instance_uuid = None);
        sim.set_state(node, State::Cleaning);
    };
    let (result, ()) = tokio::join!(building, meddling);
    assert!(matches!(result, Err(Error::Gone(_))), "{result:?}");
}

#[tokio::test(start_paused = true)]
async fn the_config_drive_is_built_only_when_the_node_is_about_to_be_deployed() {
    let sim = sim().start().await;
    let node = sim.enroll(1)[0];
    let host = Host::start(&sim);
    let (drive, wanted) = (Drive::default(), deployment(node));
    host.reserve(&wanted).await.unwrap();
    sim.fault(Fault { matcher: Matcher::call(Call::SetProvision), times: 3, kind: Kind::Locked });
    host.driver.deploy(run(wanted.server.instance), &wanted, &drive).await.unwrap();
    assert_eq!(drive.built.load(Ordering::SeqCst), 1);
    host.driver.deploy(run(wanted.server.instance), &wanted, &drive).await.unwrap();
    assert_eq!(drive.built.load(Ordering::SeqCst), 1);
    assert_eq!(sim.node(node).deploys, 1);
}

#[tokio::test(start_paused = true)]
async fn volume_targets_are_added_once_and_go_with_a_release() {
    let sim = sim().start().await;
    let node = sim.enroll(1)[0];
    sim.set_validation(node, "storage", Some("not yet"));
    let target = |volume: &str, boot_index| NewVolumeTarget {
        node_uuid: NodeId(node),
        volume_type: "iscsi".into(),
        properties: json!({"target_iqn": "iqn.2010-10.org.openstack:volume"}).as_object().cloned().unwrap(),
        boot_index: Some(boot_index),
        volume_id: volume.into(),
        renewed: false,
    };
    let mut wanted = deployment(node);
    wanted.volume_targets = vec![target("root", 0), target("data", 1)];
    wanted.server.has_root_volume = true;
    let host = Host::start(&sim);
    sim.fault(Fault::once(Matcher::call(Call::CreateTarget), Kind::DropAfter));
    for _ in 0..2 {
        let error = host.build(&wanted, &[vif(1)]).await.unwrap_err();
        assert!(matches!(error, Error::AnotherNode(_)), "{error:?}");
        assert_eq!(sim.node(node).targets.len(), 2);
    }
    assert!(!sim.node(node).instance_info.contains_key("image_source"));
    host.tear_down(&wanted).await.unwrap();
    assert_free(&sim.node(node));
    assert_eq!(sim.node(node).provision_state, State::Available);
}

/// A node with a volume target that a server before has left.
fn with_left_target(sim: &Sim, storage: &str, power: &str) -> uuid::Uuid {
    let node = sim.enroll(1)[0];
    sim.update(node, |node| {
        node.power_state = Some(power.into());
        node.other.insert("storage_interface".into(), json!(storage));
        node.targets.push(ironic_sim::VolumeTarget {
            uuid: Uuid::from_u128(0xf),
            volume_type: "iscsi".into(),
            volume_id: "left".into(),
            boot_index: 7,
            properties: serde_json::Map::new(),
            extra: serde_json::Map::new(),
        });
    });
    node
}

#[tokio::test(start_paused = true)]
async fn a_volume_target_that_was_left_does_not_reach_the_next_server() {
    let sim = sim().start().await;
    let host = Host::start(&sim);
    let off = with_left_target(&sim, "cinder", "power off");
    host.build(&deployment(off), &[]).await.unwrap();
    assert!(sim.node(off).targets.is_empty());
    // Ironic deletes no target of a machine that is on.
    let on = with_left_target(&sim, "cinder", "power on");
    let error = host.build(&numbered_deployment(on, 2), &[]).await.unwrap_err();
    assert!(matches!(&error, Error::AnotherNode(text) if text.contains("switch the node off")), "{error:?}");
    assert_eq!(sim.node(on).deploys, 0);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_makes_no_use_of_volumes_is_not_asked_for_them() {
    let sim = sim().start().await;
    let node = with_left_target(&sim, "noop", "power on");
    Host::start(&sim).build(&deployment(node), &[]).await.unwrap();
    assert_eq!(sim.count(Call::ListTargets), 0);
}

#[tokio::test(start_paused = true)]
async fn a_vif_that_does_not_fit_is_an_error_and_one_too_many_is_detached() {
    let sim = sim().start().await;
    let node = sim.enroll(1)[0];
    let host = Host::start(&sim);
    let (run, id) = (run(InstanceId(node)), NodeId(node));
    host.driver.attach_vifs(run, id, &[vif(1)]).await.unwrap();
    host.driver.attach_vifs(run, id, &[vif(1)]).await.unwrap();
    assert_eq!(sim.count(Call::AttachVif), 1);
    let error = host.driver.attach_vifs(run, id, &[vif(1), vif(2)]).await.unwrap_err();
    assert!(matches!(error, Error::NoNode(_)), "{error:?}");
    host.driver.detach_vifs(run, id, &[vif(1), vif(2)]).await.unwrap();
    assert_free(&sim.node(node));
}

#[tokio::test(start_paused = true)]
async fn each_outage_has_the_whole_patience_and_no_more() {
    let patience = Duration::from_mins(1);
    let outage = |call| Fault { matcher: Matcher::call(call), times: u32::MAX, kind: Kind::Drop };
    let sim = sim().start().await;
    let host = Host::start_with(&sim, Options { patience: Some(patience), ..Options::default() });
    let node = sim.enroll(1)[0];
    let healer = sim.clone();
    sim.fault(outage(Call::GetNode));
    let healing = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(50)).await;
        healer.clear_faults();
        healer.fault(outage(Call::SetProvision));
        tokio::time::sleep(Duration::from_secs(50)).await;
        healer.clear_faults();
    });
    host.build(&deployment(node), &[]).await.unwrap();
    healing.await.unwrap();

    let node = sim.enroll(1)[0];
    sim.fault(outage(Call::SetProvision));
    let begin = tokio::time::Instant::now();
    let wanted = numbered_deployment(node, 2);
    let error = host.build(&wanted, &[]).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
    assert!(begin.elapsed() < patience * 3 / 2, "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_ironic_refuses_for_good_is_not_asked_for_long() {
    for (status, text) in
        [(500, "Failed to validate deploy or power info for node x: no"), (400, "no"), (403, "protected")]
    {
        let sim = sim().start().await;
        let node = sim.enroll(1)[0];
        let kind = Kind::Status(status, ironic_sim::error_body(status, text));
        sim.fault(Fault { matcher: Matcher::call(Call::SetProvision), times: u32::MAX, kind });
        let error = Host::start(&sim).build(&deployment(node), &[]).await.unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        assert!(sim.count(Call::SetProvision) <= 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiting_deployment_takes_little_memory() {
    let sim = sim().start().await;
    let (host, wanted) = (Host::start(&sim), deployment(sim.enroll(1)[0]));
    let drive = Drive::default();
    let deploying = host.driver.deploy(run(wanted.server.instance), &wanted, &drive);
    assert!(size_of_val(&deploying) < 8192, "{}", size_of_val(&deploying));
}
