//! A process that ends in the middle of its work, and the next one that goes on.

use std::time::Duration;

use ironic_sim::State;

use crate::cloud::Cloud;
use crate::until::until_so;

/// What a stop may take while Ironic works on.
const PROMPT: Duration = Duration::from_secs(5);

/// One server, one port, one deployment, one event: nothing was done twice.
fn assert_once(cloud: &Cloud, id: &str) {
    assert_eq!(cloud.sim.node(cloud.nodes[0]).deploys, 1);
    assert_eq!(cloud.services.lock().neutron.ports.len(), 1);
    let tables = cloud.tables();
    assert_eq!(
        tables.outcomes(id),
        [("compute__do_build_and_run_instance".to_owned(), Some("Success".to_owned()))]
    );
    assert!(tables.faults.is_empty() && tables.tasks.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_and_a_delete_survive_kill_9() {
    let cloud = Cloud::new(1, "").await;
    let node = cloud.nodes[0];
    let process = cloud.start().await;
    cloud.sim.hold(State::Deploying);
    let id = cloud.create_server(node).await;
    cloud.sim.wait_for_state(node, State::Deploying).await;
    process.kill().await;
    assert_eq!(cloud.journal().len(), 1);

    let process = cloud.start().await;
    // It finds every step done, and waits again.
    until_so("the build goes on", || cloud.tables().state(&id).1.as_deref() == Some("spawning")).await;
    cloud.sim.release();
    cloud.active(&id).await;
    assert_once(&cloud, &id);

    cloud.sim.hold(State::Deleting);
    cloud.delete_server(&id).await;
    cloud.sim.wait_for_state(node, State::Deleting).await;
    process.kill().await;
    assert_eq!(cloud.journal().len(), 1);

    let process = cloud.start().await;
    assert_eq!(cloud.tables().state(&id).1.as_deref(), Some("deleting"));
    cloud.sim.release();
    cloud.deleted(&id).await;
    cloud.clean(node).await;
    assert_eq!(cloud.sim.node(node).tear_downs, 1);
    assert!(cloud.tables().outcomes(&id).iter().all(|(_, result)| result.as_deref() == Some("Success")));
    assert!(cloud.tables().faults.is_empty());
    cloud.assert_understood();
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_the_process_at_once_and_leaves_the_build_to_the_next() {
    let cloud = Cloud::new(1, "").await;
    let node = cloud.nodes[0];
    let process = cloud.start().await;
    cloud.sim.hold(State::Deploying);
    let id = cloud.create_server(node).await;
    cloud.sim.wait_for_state(node, State::Deploying).await;
    assert!(process.terminate(PROMPT).await.success());
    assert_eq!(cloud.journal().len(), 1);
    assert_eq!(cloud.tables().state(&id), ("building".to_owned(), Some("spawning".to_owned())));

    // Ironic is done before the next process comes.
    cloud.sim.release();
    cloud.sim.wait_for_state(node, State::Active).await;
    let process = cloud.start().await;
    cloud.active(&id).await;
    assert_once(&cloud, &id);

    cloud.sim.hold(State::Deleting);
    cloud.delete_server(&id).await;
    cloud.sim.wait_for_state(node, State::Deleting).await;
    assert!(process.terminate(PROMPT).await.success());
    cloud.sim.release();
    let process = cloud.start().await;
    cloud.deleted(&id).await;
    cloud.clean(node).await;
    cloud.assert_understood();
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_takes_what_may_change_and_names_what_takes_a_restart() {
    let cloud = Cloud::new(1, "").await;
    let mut process = cloud.start().await;
    let before = std::fs::read_to_string(cloud.configuration()).unwrap();
    let changed =
        before.replacen("[ironic]\n", "[ironic]\nconductor_group = elsewhere\npeer_list = other\n", 1);
    assert_ne!(before, changed);
    std::fs::write(cloud.configuration(), &changed).unwrap();
    process.reload().await;
    until_so("a peer list without us is refused", || {
        cloud.log().contains("the previous one stays in effect")
    })
    .await;

    let changed = before.replacen("[ironic]\n", "[ironic]\napi_max_retries = 7\n", 1);
    std::fs::write(cloud.configuration(), &changed).unwrap();
    process.reload().await;
    until_so("the change is named", || cloud.log().contains("restart the service to apply it")).await;
    assert!(process.is_alive());
    process.stop().await;
}
