//! What an operator asks of a running service: the command and the admin listener behind it.

use ironic_sim::State;
use serde_json::Value;

use crate::cloud::Cloud;
use crate::process::command;
use crate::until::until_so;

/// What `bessemer operations` prints, with these arguments besides the configuration.
async fn operations(cloud: &Cloud, arguments: &[&str]) -> Result<String, String> {
    let configuration = cloud.configuration();
    let files = ["operations", "--config-file", configuration.to_str().unwrap()];
    let output = command(&[&files[..], arguments].concat()).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_shows_a_build_and_what_it_waits_for() {
    let cloud = Cloud::new(1, "").await;
    let process = cloud.start().await;
    let node = cloud.nodes[0];
    assert_eq!(operations(&cloud, &[]).await.unwrap(), "no operations\n");

    cloud.sim.hold(State::Deploying);
    let id = cloud.create_server(node).await;
    cloud.sim.wait_for_state(node, State::Deploying).await;
    until_so("the build waits", || cloud.log().contains("step=deploy")).await;
    let table = operations(&cloud, &["--instance", &id]).await.unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("OPERATION"), "{table}");
    for expected in ["create", &id, &node.to_string(), "req-"] {
        assert!(lines[1].contains(expected), "{expected} is not in {table}");
    }
    let listed: Value = serde_json::from_str(&operations(&cloud, &["--json"]).await.unwrap()).unwrap();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["instance"]), (1, &Value::from(&*id)));
    let other = "00000000-0000-0000-0000-000000000000";
    assert_eq!(operations(&cloud, &["--instance", other]).await.unwrap(), "no operations\n");

    cloud.sim.release();
    cloud.active(&id).await;
    process.stop().await;
    let refusal = operations(&cloud, &[]).await.unwrap_err();
    assert!(refusal.contains("the service does not answer on http://127.0.0.1:"), "{refusal}");
}
