//! VIFs, ports, port groups, volumes.

use ironic_sim::{PortGroup, Sim};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::Client;

#[tokio::test]
async fn vifs_take_the_port_that_boots_first_until_none_is_left() {
    let sim = Sim::builder().start().await;
    let node = sim.enroll(1)[0];
    let second = sim.add_port(node);
    let client = Client::of(&sim);
    let path = format!("/nodes/{node}/vifs");
    assert_eq!(client.ask("POST", &path, json!({"id": "a"})).await.0, 204);
    let first = sim.node(node).ports[0].clone();
    assert_eq!(first.vif(), Some("a"));
    let (status, text) = client.ask("POST", &path, json!({"id": "a"})).await;
    let expected =
        format!("Unable to attach VIF because VIF a is already attached to Ironic Port {}", first.uuid);
    assert_eq!((status, text), (409, json!(expected)));
    assert_eq!(client.ask("POST", &path, json!({"id": "b"})).await.0, 204);
    let (status, text) = client.ask("POST", &path, json!({"id": "c"})).await;
    assert_eq!((status, text), (400, json!("Unable to attach VIF c, not enough free physical ports.")));
    assert_eq!(client.get(&path).await, json!({"vifs": [{"id": "a"}, {"id": "b"}]}));
    assert_eq!(client.ask("DELETE", &format!("{path}/a"), Value::Null).await.0, 204);
    assert_eq!(client.ask("DELETE", &format!("{path}/a"), Value::Null).await.0, 400);

    let detail = client.get(&format!("/ports/detail?node={node}")).await;
    assert_eq!(detail["ports"][1]["uuid"], json!(second));
    assert_eq!(detail["ports"][1]["internal_info"], json!({"tenant_vif_port_id": "b"}));
    let keys: Vec<&String> = detail["ports"][0].as_object().unwrap().keys().collect();
    // As a real Ironic answered at 1.101.
    let real = [
        "uuid",
        "created_at",
        "updated_at",
        "address",
        "extra",
        "internal_info",
        "is_smartnic",
        "local_link_connection",
        "physical_network",
        "pxe_enabled",
        "node_uuid",
        "name",
        "description",
        "vendor",
        "category",
        "links",
        "portgroup_uuid",
    ];
    assert_eq!(keys, real);
}

#[tokio::test]
async fn a_bond_is_preferred_to_a_port() {
    let sim = Sim::builder().start().await;
    let group = Uuid::from_u128(9);
    let node = sim.enroll_with(|n| {
        n.port_groups.push(PortGroup {
            uuid: group,
            address: Some("52:54:00:00:00:99".into()),
            name: Some("bond0".into()),
            mode: "802.3ad".into(),
            standalone_ports_supported: true,
            properties: Map::new(),
            extra: Map::new(),
            internal_info: Map::new(),
        });
        let mut member = n.ports[0].clone();
        member.uuid = Uuid::from_u128(10);
        member.address = "52:54:00:00:00:98".into();
        member.port_group = Some(group);
        n.ports.push(member);
    });
    let client = Client::of(&sim);
    assert_eq!(client.ask("POST", &format!("/nodes/{node}/vifs"), json!({"id": "a"})).await.0, 204);
    assert_eq!(sim.node(node).port_groups[0].vif(), Some("a"));
    let groups = client.get(&format!("/portgroups/detail?node={node}")).await;
    assert_eq!(groups["portgroups"][0]["mode"], "802.3ad");
    let found = client.get("/portgroups?address=52:54:00:00:00:99").await;
    assert_eq!(found["portgroups"].as_array().unwrap().len(), 1);
    assert_eq!(client.get("/ports?address=52:54:00:00:00:98").await["ports"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn volumes_are_given_to_a_node_and_taken_away() {
    let sim = Sim::builder().start().await;
    let node = sim.enroll(1)[0];
    let client = Client::of(&sim);
    let connector = json!({"node_uuid": node, "type": "iqn", "connector_id": "iqn.2026-01.lab:x"});
    assert_eq!(client.ask("POST", "/volume/connectors", connector.clone()).await.0, 201);
    assert_eq!(client.ask("POST", "/volume/connectors", connector).await.0, 409);
    let listed = client.get(&format!("/volume/connectors?node={node}&detail=true")).await;
    assert_eq!(listed["connectors"][0]["type"], "iqn");
    let target = json!({"node_uuid": node, "volume_type": "iscsi", "volume_id": "v", "boot_index": null});
    assert_eq!(client.ask("POST", "/volume/targets", target).await.0, 400, "boot index must be a number");
    let target = json!({"node_uuid": node, "volume_type": "iscsi", "volume_id": "v", "boot_index": 0, "properties": {"a": 1}});
    let (_, created) = client.ask("POST", "/volume/targets", target).await;
    let path = format!("/volume/targets/{}", created["uuid"].as_str().unwrap());
    assert_eq!(client.get(&path).await["properties"], json!({"a": 1}));
    sim.update(node, |n| n.power_state = Some("power on".into()));
    assert_eq!(client.ask("DELETE", &path, Value::Null).await.0, 400, "the machine is on");
    sim.update(node, |n| n.power_state = Some("power off".into()));
    assert_eq!(client.ask("DELETE", &path, Value::Null).await.0, 204);
    assert_eq!(client.ask("DELETE", &path, Value::Null).await.0, 404);
}
