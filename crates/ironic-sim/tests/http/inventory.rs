//! Lists, versions, the life of a node itself.

use std::collections::HashSet;

use ironic_sim::{Call, Sim, State};
use serde_json::{Value, json};

use crate::Client;

/// What a compute service asks for.
const FIELDS: &str = "uuid,power_state,target_power_state,provision_state,target_provision_state,last_error,maintenance,properties,instance_uuid,traits,resource_class";

#[tokio::test]
async fn ten_thousand_nodes_are_listed_in_pages() {
    let sim = Sim::builder().start().await;
    sim.enroll(10_000);
    let client = Client::of(&sim);
    let mut path = format!("/nodes?fields={FIELDS}");
    let mut seen = HashSet::new();
    loop {
        let page = client.get(&path).await;
        for node in page["nodes"].as_array().unwrap() {
            assert!(seen.insert(node["uuid"].as_str().unwrap().to_owned()));
        }
        let Some(next) = page["next"].as_str() else { break };
        path = next.strip_prefix(&format!("{}/v1", sim.url())).unwrap().to_owned();
    }
    assert_eq!(seen.len(), 10_000);
    assert_eq!(sim.count(Call::ListNodes), 11, "the last page is full, so there is one more, empty");
}

#[tokio::test]
async fn a_listed_node_looks_like_a_real_one() {
    let sim = Sim::builder().start().await;
    let id = sim.enroll(1)[0];
    let page = Client::of(&sim).get(&format!("/nodes?fields={FIELDS}")).await;
    let url = sim.url();
    // From the answer of a real Ironic, but for the id and the address.
    let real = json!({"nodes": [{"uuid": id, "power_state": "power off", "target_power_state": null,
        "provision_state": "available", "target_provision_state": null, "last_error": null, "maintenance": false,
        "properties": {"cpus": 8, "memory_mb": 16384, "local_gb": 100, "cpu_arch": "x86_64", "capabilities": "boot_mode:uefi"},
        "instance_uuid": null, "traits": ["CUSTOM_LAB", "HW_CPU_X86_VMX"], "resource_class": "baremetal",
        "links": [{"href": format!("{url}/v1/nodes/{id}"), "rel": "self"}, {"href": format!("{url}/nodes/{id}"), "rel": "bookmark"}]}]});
    assert_eq!(page.to_string(), real.to_string());
}

#[tokio::test]
async fn what_policy_hides_is_in_no_list_and_not_found() {
    let sim = Sim::builder().start().await;
    let ids = sim.enroll(2);
    sim.update(ids[0], |n| n.instance_uuid = Some(uuid::Uuid::from_u128(1)));
    let client = Client::of(&sim);
    sim.hide(true);
    let instance = format!("/nodes?instance_uuid={}", uuid::Uuid::from_u128(1));
    for path in ["/nodes".to_owned(), instance, "/ports".to_owned(), format!("/ports?node={}", ids[0])] {
        let (_, body) = client.ask("GET", &path, Value::Null).await;
        let items = body.get("nodes").or(body.get("ports")).unwrap();
        assert_eq!(items, &json!([]), "{path}");
    }
    let provision = format!("/nodes/{}/states/provision", ids[0]);
    for (method, path) in [("GET", format!("/nodes/{}", ids[0])), ("PUT", provision)] {
        assert_eq!(client.ask(method, &path, json!({"target": "deleted"})).await.0, 404, "{path}");
    }
    sim.hide(false);
    assert_eq!(client.get("/nodes").await["nodes"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_list_with_the_allocation_among_its_fields_fails_as_in_ironic() {
    let sim = Sim::builder().start().await;
    let id = sim.enroll(1)[0];
    let client = Client::of(&sim);
    let (status, text) = client.ask("GET", "/nodes?fields=uuid,allocation_uuid", Value::Null).await;
    assert_eq!((status, text.as_str()), (500, Some("type object 'Node' has no attribute 'allocation_uuid'")));
    let one = client.get(&format!("/nodes/{id}?fields=uuid,allocation_uuid")).await;
    assert_eq!(one["allocation_uuid"], Value::Null);
}

#[tokio::test]
async fn lists_are_filtered() {
    let sim = Sim::builder().start().await;
    let ids = sim.enroll(4);
    sim.set_state(ids[1], State::Active);
    sim.update(ids[1], |n| n.instance_uuid = Some(uuid::Uuid::from_u128(1)));
    sim.update(ids[2], |n| n.conductor_group = "rack-a".into());
    sim.update(ids[3], |n| n.shard = Some("s1".into()));
    let client = Client::of(&sim);
    for (query, expected) in [
        ("provision_state=active", vec![ids[1]]),
        ("associated=true", vec![ids[1]]),
        ("associated=False", vec![ids[0], ids[2], ids[3]]),
        ("conductor_group=Rack-A", vec![ids[2]]),
        ("shard=s0,s1", vec![ids[3]]),
        ("resource_class=gold", vec![]),
    ] {
        let page = client.get(&format!("/nodes?{query}")).await;
        let found: Vec<Value> = page["nodes"].as_array().unwrap().iter().map(|n| n["uuid"].clone()).collect();
        assert_eq!(json!(found), json!(expected), "{query}");
    }
    assert_eq!(client.ask("GET", "/nodes?provision_state=asleep", Value::Null).await.0, 400);
    assert_eq!(client.ask("GET", "/nodes?fields=uuid,colour", Value::Null).await.0, 400);
}

#[tokio::test]
async fn versions_are_negotiated_by_header() {
    let sim = Sim::builder().max_minor(58).start().await;
    let client = Client::of(&sim);
    let root: Value = client.http.get(sim.url()).send().await.unwrap().json().await.unwrap();
    assert_eq!(root["default_version"]["version"], "1.58");
    let refused = client.send("GET", "/nodes", &Value::Null).await.unwrap();
    assert_eq!(refused.status(), 406);
    assert_eq!(refused.headers()["x-openstack-ironic-api-maximum-version"], "1.58");
    let old = client.http.get(format!("{}/v1/nodes?fields=shard", sim.url()));
    let old = old.header("X-OpenStack-Ironic-API-Version", "1.58").send().await.unwrap();
    assert_eq!(old.status(), 406, "shard came with 1.82");
}

#[tokio::test]
async fn a_node_is_enrolled_made_available_and_deleted_over_the_api() {
    let sim = Sim::builder().start().await;
    let client = Client::of(&sim);
    let new =
        json!({"name": "n1", "driver": "fake-hardware", "resource_class": "gold", "properties": {"cpus": 4}});
    let (status, node) = client.ask("POST", "/nodes", new.clone()).await;
    assert_eq!((status, &node["provision_state"]), (201, &json!("enroll")));
    assert_eq!(client.ask("POST", "/nodes", new).await.0, 409, "the name is taken");
    let id = node["uuid"].as_str().unwrap().parse().unwrap();
    assert_eq!(client.ask("PUT", "/nodes/n1/traits", json!({"traits": ["CUSTOM_A"]})).await.0, 204);
    let port = json!({"node_uuid": node["uuid"], "address": "52:54:00:00:00:01"});
    assert_eq!(client.ask("POST", "/ports", port.clone()).await.0, 201);
    assert_eq!(client.ask("POST", "/ports", port).await.0, 409);
    for (target, state) in [("manage", State::Manageable), ("provide", State::Available)] {
        assert_eq!(client.ask("PUT", "/nodes/n1/states/provision", json!({"target": target})).await.0, 202);
        sim.wait_for_state(id, state).await;
    }
    assert_eq!(client.get("/nodes/n1").await["traits"], json!(["CUSTOM_A"]));
    assert_eq!(client.ask("DELETE", "/nodes/n1", Value::Null).await.0, 204);
    let (status, text) = client.ask("GET", "/nodes/n1", Value::Null).await;
    assert_eq!((status, text), (404, json!("Node n1 could not be found.")));
}

#[tokio::test]
async fn the_console_is_switched() {
    let sim = Sim::builder().start().await;
    let node = sim.enroll(1)[0];
    let client = Client::of(&sim);
    let path = format!("/nodes/{node}/states/console");
    assert_eq!(client.get(&path).await, json!({"console_enabled": false, "console_info": null}));
    assert_eq!(client.ask("PUT", &path, json!({"enabled": true})).await.0, 202);
    assert_eq!(client.get(&path).await["console_info"]["type"], "vnc");
}

#[tokio::test]
async fn the_next_link_forgets_the_state_filter_as_ironics_does() {
    let sim = Sim::builder().max_limit(2).start().await;
    sim.enroll(3);
    let page = Client::of(&sim).get("/nodes?provision_state=available&associated=false&fields=uuid").await;
    let last = &page["nodes"][1]["uuid"];
    let expected = format!(
        "{}/v1/nodes?sort_key=id&sort_dir=asc&fields=uuid&limit=2&marker={}",
        sim.url(),
        last.as_str().unwrap()
    );
    assert_eq!(page["next"], json!(expected));
}
