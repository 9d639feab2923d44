//! A server built and deleted.

use serde_json::{Value, json};

use crate::cloud::Cloud;
use crate::until::until_so;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_built_with_addresses_and_deleted_with_nothing_left() {
    let cloud = Cloud::new(2, "").await;
    let process = cloud.start().await;
    let node = cloud.nodes[0];

    let id = cloud.create_server(node).await;
    cloud.active(&id).await;
    {
        let tables = cloud.tables();
        let instance = tables.instance(&id);
        assert_eq!(instance["host"], "compute1");
        assert_eq!(instance["node"], json!(node));
        assert_eq!(
            (&instance["power_state"], &instance["root_device_name"]),
            (&json!(1), &json!("/dev/sda"))
        );
        assert!(instance["launched_at"].is_string());
        let network = instance["info_cache"]["nova_object.data"]["network_info"].as_str().unwrap();
        let network: Value = serde_json::from_str(network).unwrap();
        assert_eq!(network[0]["network"]["subnets"][0]["ips"][0]["address"], "10.88.0.10");
        let success = Some("Success".to_owned());
        assert_eq!(tables.outcomes(&id), [("compute__do_build_and_run_instance".to_owned(), success)]);
        assert!(tables.faults.is_empty());
        assert_eq!(tables.ports.len(), 1);
    }
    let built = cloud.sim.node(node);
    assert_eq!(built.instance_uuid.map(|uuid| uuid.to_string()).as_deref(), Some(&*id));
    let port = cloud.services.lock().neutron.ports[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(built.vifs(), [port]);
    assert!(built.configdrive.is_some());
    until_so("the journal is empty", || cloud.journal().is_empty()).await;

    cloud.delete_server(&id).await;
    cloud.deleted(&id).await;
    {
        let tables = cloud.tables();
        let outcomes = tables.outcomes(&id);
        assert_eq!(outcomes[1], ("compute_terminate_instance".to_owned(), Some("Success".to_owned())));
        assert_eq!(tables.instance(&id)["vm_state"], "deleted");
        assert!(tables.ports.is_empty() && tables.faults.is_empty() && tables.tasks.is_empty());
    }
    cloud.clean(node).await;

    let events: Vec<String> = cloud
        .bus
        .notifications()
        .await
        .iter()
        .map(|message| message["event_type"].as_str().unwrap().trim_start_matches("instance.").to_owned())
        .collect();
    let expected =
        ["create.start", "create.end", "delete.start", "shutdown.start", "shutdown.end", "delete.end"];
    assert_eq!(events, expected);
    cloud.assert_understood();
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_stopped_started_and_rebooted() {
    let cloud = Cloud::new(1, "").await;
    let process = cloud.start().await;
    let node = cloud.nodes[0];
    let id = cloud.create_server(node).await;
    cloud.active(&id).await;
    let shown = || {
        let tables = cloud.tables();
        let (state, task) = tables.state(&id);
        let ended = tables.outcomes(&id).iter().all(|(_, result)| result.as_deref() == Some("Success"));
        (state, task, tables.instance(&id)["power_state"].clone(), ended)
    };
    let stopped = ("stopped".to_owned(), None, json!(4), true);
    let active = ("active".to_owned(), None, json!(1), true);
    cloud.act(&id, "stop_instance", "powering-off", json!({"clean_shutdown": true})).await;
    until_so("the server is stopped", || shown() == stopped).await;
    assert_eq!(cloud.sim.node(node).power_state.as_deref(), Some("power off"));
    cloud.act(&id, "start_instance", "powering-on", json!({})).await;
    until_so("the server is active", || shown() == active && cloud.tables().outcomes(&id).len() == 3).await;
    for (kind, task) in [("SOFT", "rebooting"), ("HARD", "rebooting_hard")] {
        let before = cloud.sim.node(node).power_actions;
        let arguments = json!({"reboot_type": kind, "block_device_info": null});
        cloud.act(&id, "reboot_instance", task, arguments).await;
        until_so("the machine has restarted", || cloud.sim.node(node).power_actions == before + 1).await;
        until_so("the server is active again", || shown() == active).await;
    }
    let names: Vec<String> = cloud.tables().outcomes(&id).into_iter().skip(1).map(|(name, _)| name).collect();
    let expected = ["stop", "start", "reboot", "reboot"].map(|name| format!("compute_{name}_instance"));
    assert_eq!(names, expected);
    assert!(cloud.tables().faults.is_empty());
    until_so("the journal is empty", || cloud.journal().is_empty()).await;
    cloud.assert_understood();
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_rescued_and_unrescued() {
    let cloud = Cloud::new(1, "").await;
    let process = cloud.start().await;
    let node = cloud.nodes[0];
    let id = cloud.create_server(node).await;
    cloud.active(&id).await;
    let image = "73faf9ad-eddf-4bb9-b0ae-6a20a98ac913";
    let arguments = json!({"rescue_password": "p", "rescue_image_ref": image, "clean_shutdown": true});
    cloud.act(&id, "rescue_instance", "rescuing", arguments).await;
    until_so("the server is rescued", || cloud.tables().state(&id) == ("rescued".to_owned(), None)).await;
    assert_eq!(cloud.sim.node(node).rescue_password.as_deref(), Some("p"));
    cloud.act(&id, "unrescue_instance", "unrescuing", json!({})).await;
    until_so("the server is active", || cloud.tables().state(&id) == ("active".to_owned(), None)).await;
    // Until then the end of the event is still to be written.
    until_so("the journal is empty", || cloud.journal().is_empty()).await;
    let success = || Some("Success".to_owned());
    let outcomes = cloud.tables().outcomes(&id);
    let rescue = ["rescue", "unrescue"].map(|name| (format!("compute_{name}_instance"), success()));
    assert_eq!(outcomes[1..], rescue);
    let told = cloud.bus.notifications().await;
    let told: Vec<&Value> =
        told.iter().filter(|message| message["event_type"].as_str().unwrap().contains("rescue")).collect();
    let names: Vec<&str> = told.iter().map(|message| message["event_type"].as_str().unwrap()).collect();
    let events = ["rescue.start", "rescue.end", "unrescue.start", "unrescue.end"];
    assert_eq!(names, events.map(|event| format!("instance.{event}")));
    assert_eq!(told[0]["payload"]["nova_object.data"]["rescue_image_ref"], image);
    cloud.assert_understood();
    process.stop().await;
}
