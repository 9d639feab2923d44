//! Instances come and go.

use std::time::Duration;

use ironic_sim::{Sim, State};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::Client;

fn claim(instance: Uuid) -> Value {
    json!([{"op": "replace", "path": "/instance_uuid", "value": instance}])
}

fn image() -> Value {
    json!([{"op": "add", "path": "/instance_info/image_source", "value": "img"},
           {"op": "add", "path": "/instance_info/display_name", "value": "web-1"}])
}

#[tokio::test]
async fn a_server_is_deployed_and_torn_down() {
    let sim = Sim::builder().start().await;
    let (node, instance, vif) = (sim.enroll(1)[0], Uuid::from_u128(7), Uuid::from_u128(8));
    let client = Client::of(&sim);
    let at = |rest: &str| format!("/nodes/{node}{rest}");

    assert_eq!(client.ask("PATCH", &at(""), claim(instance)).await.0, 200);
    assert_eq!(client.ask("POST", &at("/vifs"), json!({"id": vif})).await.0, 204);
    let verdict = client.get(&at("/validate")).await;
    assert_eq!(verdict["deploy"]["result"], json!(false));
    let (status, patched) = client.ask("PATCH", &at(""), image()).await;
    assert_eq!((status, &patched["instance_name"]), (200, &json!("web-1")));
    assert_eq!(client.get(&at("/validate")).await["deploy"], json!({"result": true}));
    let volume = json!({"node_uuid": node, "volume_type": "iscsi", "volume_id": "v", "boot_index": 0, "properties": {}});
    assert_eq!(client.ask("POST", "/volume/targets", volume.clone()).await.0, 201);
    assert_eq!(client.ask("POST", "/volume/targets", volume).await.0, 409);

    sim.hold(State::Deploying);
    let deploy = json!({"target": "active", "configdrive": "H4sI"});
    let response = client.send("PUT", &at("/states/provision"), &deploy).await.unwrap();
    assert_eq!(response.status(), 202);
    assert_eq!(response.headers()["location"], format!("{}/v1/nodes/{node}/states", sim.url()));
    let shown = client.get(&at("")).await;
    assert_eq!(shown["provision_state"], "deploying");
    assert_eq!(shown["target_provision_state"], "active");
    let (status, text) = client.ask("PUT", &at("/states/provision"), json!({"target": "deleted"})).await;
    assert_eq!(
        (status, text),
        (
            409,
            json!(format!(
                "Node {node} is locked by host 127.0.0.1, please retry after the current operation is completed."
            ))
        )
    );
    let (status, text) = client.ask("PATCH", &at(""), image()).await;
    assert_eq!(
        (status, text),
        (409, json!(format!("Node {node} can not be updated while a state transition is in progress.")))
    );
    sim.release();
    let active = sim.wait_for_state(node, State::Active).await;
    assert_eq!(active.configdrive, Some(json!("H4sI")));
    assert_eq!(active.power_state.as_deref(), Some("power on"));
    assert_eq!(active.target_provision_state, None);

    sim.hold(State::Cleaning);
    assert_eq!(client.ask("PUT", &at("/states/provision"), json!({"target": "deleted"})).await.0, 202);
    let cleaning = sim.wait_for_state(node, State::Cleaning).await;
    assert_eq!(cleaning.instance_uuid, None);
    assert!(cleaning.instance_info.is_empty() && cleaning.vifs().is_empty() && cleaning.targets.is_empty());
    sim.release();
    assert_eq!(sim.wait_for_state(node, State::Available).await.power_state.as_deref(), Some("power off"));
}

#[tokio::test]
async fn an_impossible_request_gets_400_with_ironics_text() {
    let sim = Sim::builder().start().await;
    let node = sim.enroll(1)[0];
    let client = Client::of(&sim);
    let path = format!("/nodes/{node}/states/provision");
    let (status, text) = client.ask("PUT", &path, json!({"target": "unrescue"})).await;
    let expected = format!(
        "The requested action \"unrescue\" can not be performed on node \"{node}\" while it is in state \"available\"."
    );
    assert_eq!((status, text), (400, json!(expected)));
    assert_eq!(client.ask("PUT", &path, json!({"target": "active"})).await.0, 400, "nothing to boot");
}

#[tokio::test]
async fn an_instance_holds_one_node_and_a_node_one_instance() {
    let sim = Sim::builder().start().await;
    let nodes = sim.enroll(2);
    let client = Client::of(&sim);
    let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let path = |i: usize| format!("/nodes/{}", nodes[i]);
    assert_eq!(client.ask("PATCH", &path(0), claim(one)).await.0, 200);
    assert_eq!(client.ask("PATCH", &path(0), claim(one)).await.0, 200, "the same again");
    let (status, text) = client.ask("PATCH", &path(0), claim(two)).await;
    assert_eq!((status, text), (409, json!(format!("Node {} is associated with instance {one}.", nodes[0]))));
    let (status, text) = client.ask("PATCH", &path(1), claim(one)).await;
    assert_eq!(status, 409);
    assert!(text.as_str().unwrap().starts_with(&format!("Instance {one} is already associated with a node")));
    assert_eq!(sim.by_instance(one).unwrap().uuid, nodes[0]);
    let found = client.get(&format!("/nodes?instance_uuid={one}&fields=uuid")).await;
    assert_eq!(found["nodes"][0]["uuid"], json!(nodes[0]));
}

#[tokio::test]
async fn failures_end_in_the_failed_states_and_can_be_left() {
    let sim = Sim::builder().wait_states().start().await;
    let node = sim.enroll_with(|n| {
        n.instance_info.insert("image_source".into(), json!("img"));
    });
    let client = Client::of(&sim);
    let path = format!("/nodes/{node}/states/provision");
    sim.fail_deploy(node, "no route to the image");
    client.ask("PUT", &path, json!({"target": "active"})).await;
    let failed = sim.wait_for_state(node, State::DeployFailed).await;
    assert_eq!(failed.last_error.as_deref(), Some("no route to the image"));
    assert_eq!(failed.target_provision_state, Some(State::Active));
    assert_eq!(failed.reservation, None);
    assert_eq!(client.ask("PUT", &path, json!({"target": "rebuild"})).await.0, 202);
    let active = sim.wait_for_state(node, State::Active).await;
    assert_eq!((active.last_error, active.deploys), (None, 2));

    sim.fail_clean(node, "disk will not be erased");
    client.ask("PUT", &path, json!({"target": "deleted"})).await;
    let failed = sim.wait_for_state(node, State::CleanFailed).await;
    assert!(failed.maintenance);
    assert_eq!(client.ask("PUT", &path, json!({"target": "manage"})).await.0, 202);
    assert_eq!(client.ask("DELETE", &format!("/nodes/{node}/maintenance"), Value::Null).await.0, 202);
    assert_eq!(client.ask("PUT", &path, json!({"target": "provide"})).await.0, 202);
    sim.wait_for_state(node, State::Available).await;
}

#[tokio::test]
async fn a_machine_is_deleted_while_it_waits_for_its_call_back() {
    let sim = Sim::builder().wait_states().start().await;
    let node = sim.enroll_with(|n| {
        n.instance_info.insert("image_source".into(), json!("img"));
    });
    let client = Client::of(&sim);
    let path = format!("/nodes/{node}/states/provision");
    sim.hold(State::DeployWait);
    client.ask("PUT", &path, json!({"target": "active"})).await;
    sim.wait_for_state(node, State::DeployWait).await;
    assert_eq!(client.ask("PUT", &path, json!({"target": "deleted"})).await.0, 202);
    sim.wait_for_state(node, State::Available).await;
    sim.release();
    tokio::task::yield_now().await;
    assert_eq!(sim.node(node).provision_state, State::Available, "the overtaken deploy must not come back");
}

#[tokio::test]
async fn rescue_needs_a_password_and_can_be_left_again() {
    let sim = Sim::builder().start().await;
    let node = sim.enroll(1)[0];
    sim.set_state(node, State::Active);
    let client = Client::of(&sim);
    let path = format!("/nodes/{node}/states/provision");
    assert_eq!(client.ask("PUT", &path, json!({"target": "rescue"})).await.0, 400);
    let rescue = json!({"target": "rescue", "rescue_password": "x1y2z3"});
    assert_eq!(client.ask("PUT", &path, rescue).await.0, 202);
    let rescued = sim.wait_for_state(node, State::Rescue).await;
    assert_eq!(rescued.rescue_password.as_deref(), Some("x1y2z3"));
    assert_eq!(client.ask("PUT", &path, json!({"target": "unrescue"})).await.0, 202);
    sim.wait_for_state(node, State::Active).await;
}

#[tokio::test]
async fn a_node_shows_since_when_it_is_in_its_state() {
    let sim = Sim::builder().start().await;
    let node = sim.enroll(1)[0];
    let client = Client::of(&sim);
    let since = async || client.get(&format!("/nodes/{node}/states")).await["provision_updated_at"].clone();
    let before = since().await;
    assert_eq!(since().await, before);
    sim.set_state(node, State::Active);
    assert_ne!(since().await, before);
}

#[tokio::test]
async fn a_fake_rescue_leaves_the_machine_off() {
    let sim = Sim::builder().fake_rescue().start().await;
    let node = sim.enroll(1)[0];
    sim.set_state(node, State::Active);
    let client = Client::of(&sim);
    let path = format!("/nodes/{node}/states/provision");
    let rescue = json!({"target": "rescue", "rescue_password": "x1y2z3"});
    assert_eq!(client.ask("PUT", &path, rescue).await.0, 202);
    let rescued = sim.wait_for_state(node, State::Rescue).await;
    assert_eq!(rescued.power_state.as_deref(), Some("power off"));
}

#[tokio::test]
async fn power_follows_the_request() {
    let sim = Sim::builder().without_soft_power().start().await;
    let node = sim.enroll(1)[0];
    let client = Client::of(&sim);
    let path = format!("/nodes/{node}/states/power");
    let (status, text) = client.ask("PUT", &path, json!({"target": "soft rebooting"})).await;
    assert_eq!(
        (status, text),
        (400, json!("The driver fake-hardware does not support the power state, soft rebooting"))
    );
    assert_eq!(client.ask("PUT", &path, json!({"target": "power on"})).await.0, 202);
    let settled = |n: &ironic_sim::Node| n.target_power_state.is_none();
    assert_eq!(sim.wait_for(node, settled).await.power_state.as_deref(), Some("power on"));
    sim.fail_power(node, "BMC is asleep");
    assert_eq!(client.ask("PUT", &path, json!({"target": "power off"})).await.0, 202);
    let failed = sim.wait_for(node, settled).await;
    assert_eq!(failed.power_state.as_deref(), Some("power on"));
    assert_eq!(failed.last_error.as_deref(), Some("BMC is asleep"));
}

#[tokio::test(start_paused = true)]
async fn work_takes_the_time_it_is_told_on_tokios_clock() {
    let sim = Sim::builder().duration(State::Deploying, Duration::from_mins(10)).start().await;
    let node = sim.enroll_with(|n| {
        n.instance_info.insert("image_source".into(), json!("img"));
    });
    let client = Client::of(&sim);
    let begin = tokio::time::Instant::now();
    let path = format!("/nodes/{node}/states/provision");
    assert_eq!(client.ask("PUT", &path, json!({"target": "active"})).await.0, 202);
    sim.wait_for_state(node, State::Active).await;
    assert_eq!(begin.elapsed().as_secs(), 600);
}
