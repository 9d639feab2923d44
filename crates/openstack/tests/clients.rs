//! The calls of the clients, as they are on the wire.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{Cloud, Reply, Seen, ironic_root};
use openstack::{Caller, Service, cinder, ironic, neutron, placement};
use secrecy::SecretString;
use serde_json::{Value, json};
use uuid::Uuid;

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn node(number: u128) -> ironic::NodeId {
    ironic::NodeId(id(number))
}

fn parameter(seen: &Seen, name: &str) -> Option<String> {
    let url = url::Url::parse(&format!("http://x/?{}", seen.query)).unwrap();
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn ironic(
    script: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
) -> impl Fn(&Seen, usize) -> Reply + Send + Sync {
    move |seen, _| if seen.path == "/baremetal" { ironic_root("1.115") } else { script(seen) }
}

#[tokio::test]
async fn nodes_are_listed_to_the_end() {
    const ALL: u128 = 2_500;
    let cloud = Cloud::start(ironic(|seen| {
        let limit: u128 = parameter(seen, "limit").unwrap().parse().unwrap();
        let after = parameter(seen, "marker").map_or(0, |marker| Uuid::parse_str(&marker).unwrap().as_u128());
        let page: Vec<Value> = (after + 1..=ALL)
            .take(usize::try_from(limit).unwrap())
            .map(|number| json!({"uuid": id(number), "provision_state": "available", "traits": ["CUSTOM_X"]}))
            .collect();
        let mut body = json!({"nodes": page});
        if after + limit < ALL {
            body["next"] = json!("http://192.0.2.1/elsewhere");
        }
        Reply::json(200, &body)
    }))
    .await;
    let client = ironic::Client::new(cloud.adapter(Service::Baremetal));
    let query = ironic::NodeQuery { fields: ironic::NODE_FIELDS, ..ironic::NodeQuery::default() };
    let nodes = client.nodes(&Caller::default(), &query).await.unwrap();
    assert_eq!(nodes.len(), usize::try_from(ALL).unwrap());
    assert_eq!(nodes[2_499].uuid, node(ALL));
    assert_eq!(cloud.seen().len(), 4);
}

#[tokio::test]
async fn a_node_is_found_by_its_instance_or_not() {
    let cloud = Cloud::start(ironic(|seen| {
        let mine = parameter(seen, "instance_uuid") == Some(id(7).to_string());
        Reply::json(200, &json!({"nodes": if mine { vec![json!({"uuid": id(1)})] } else { vec![] }}))
    }))
    .await;
    let client = ironic::Client::new(cloud.adapter(Service::Baremetal));
    let caller = Caller::default();
    assert_eq!(client.node_by_instance(&caller, id(7), &["uuid"]).await.unwrap().unwrap().uuid, node(1));
    assert!(client.node_by_instance(&caller, id(8), &["uuid"]).await.unwrap().is_none());
}

#[tokio::test]
async fn ironics_writes_are_as_captured() {
    let cloud = Cloud::start(ironic(|seen| match seen.method.as_str() {
        "PATCH" => Reply::json(200, &json!({"uuid": id(1), "instance_uuid": id(7)})),
        "POST" if seen.path.ends_with("targets") => Reply::json(201, &json!({"uuid": id(9)})),
        "POST" | "DELETE" => Reply::empty(204),
        _ => Reply::empty(202),
    }))
    .await;
    let client = ironic::Client::new(cloud.adapter(Service::Baremetal));
    let caller = Caller::default();
    let patched = client
        .patch_node(&caller, node(1), &[ironic::Patch::replace("/instance_uuid", id(7).to_string())])
        .await
        .unwrap();
    assert_eq!(patched.instance_uuid, Some(id(7)));
    let drive = SecretString::from("H4sI");
    client
        .set_provision_state(&caller, node(1), ironic::ProvisionTarget::Active, Some(&drive), None)
        .await
        .unwrap();
    client.set_power_state(&caller, node(1), ironic::PowerTarget::SoftOff, None).await.unwrap();
    client.attach_vif(&caller, node(1), "port").await.unwrap();
    client.detach_vif(&caller, node(1), "port").await.unwrap();
    client.set_console(&caller, node(1), true).await.unwrap();
    client.inject_nmi(&caller, node(1)).await.unwrap();
    let target = ironic::NewVolumeTarget {
        node_uuid: node(1),
        volume_type: "iscsi".into(),
        properties: serde_json::Map::new(),
        boot_index: Some(0),
        volume_id: "v".into(),
        renewed: false,
    };
    assert_eq!(client.create_volume_target(&caller, &target).await.unwrap().uuid, id(9));
    client.delete_volume_target(&caller, id(9)).await.unwrap();

    let root = format!("/baremetal/v1/nodes/{}", id(1));
    let body = |seen: &Seen| if seen.body.is_empty() { Value::Null } else { seen.json() };
    let seen: Vec<(String, Value)> =
        cloud.seen().iter().skip(1).map(|seen| (seen.line().replace(&root, "."), body(seen))).collect();
    let volume = json!({"node_uuid": id(1), "volume_type": "iscsi", "properties": {}, "boot_index": 0, "volume_id": "v"});
    let expected = [
        ("PATCH .", json!([{"op": "replace", "path": "/instance_uuid", "value": id(7)}])),
        ("PUT ./states/provision", json!({"target": "active", "configdrive": "H4sI"})),
        ("PUT ./states/power", json!({"target": "soft power off"})),
        ("POST ./vifs", json!({"id": "port"})),
        ("DELETE ./vifs/port", Value::Null),
        ("PUT ./states/console", json!({"enabled": true})),
        ("PUT ./management/inject_nmi", json!({})),
        ("POST /baremetal/v1/volume/targets", volume),
        (&format!("DELETE /baremetal/v1/volume/targets/{}", id(9)), Value::Null),
    ]
    .map(|(line, body)| (line.to_owned(), body));
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn ironics_reads_are_understood() {
    let cloud = Cloud::start(ironic(|seen| {
        let body = match seen.path.strip_prefix("/baremetal/v1").unwrap() {
            "/ports/detail" => json!({"ports": [{"uuid": id(2), "address": "52:54:10:00:00:01", "extra": {},
                "internal_info": {"tenant_vif_port_id": "vif"}, "pxe_enabled": true, "portgroup_uuid": null}]}),
            "/portgroups/detail" => json!({"portgroups": []}),
            "/volume/connectors" => json!({"connectors": [{"uuid": id(3), "type": "iqn", "connector_id": "iqn.x"}]}),
            "/volume/targets" => json!({"targets": []}),
            path if path.ends_with("/vifs") => json!({"vifs": [{"id": "vif"}]}),
            path if path.ends_with("/validate") => json!({"deploy": {"result": true},
                "storage": {"result": false, "reason": "no"}, "bios": {"result": null, "reason": "not supported"}}),
            path if path.ends_with("/console") => json!({"console_enabled": false, "console_info": null}),
            _ => return Reply::json(404, &json!({"error_message": "{\"faultstring\": \"Node could not be found.\"}"})),
        };
        Reply::json(200, &body)
    }))
    .await;
    let client = ironic::Client::new(cloud.adapter(Service::Baremetal));
    let caller = Caller::default();
    assert_eq!(client.ports(&caller, node(1), true).await.unwrap()[0].vif_id(), Some("vif"));
    assert!(client.port_groups(&caller, node(1)).await.unwrap().is_empty());
    assert_eq!(client.volume_connectors(&caller, node(1)).await.unwrap()[0].kind, "iqn");
    assert!(client.volume_targets(&caller, node(1)).await.unwrap().is_empty());
    assert_eq!(client.vifs(&caller, node(1)).await.unwrap(), ["vif"]);
    let validation = client.validate(&caller, node(1)).await.unwrap();
    assert!(validation.is_ok("deploy") && !validation.is_ok("storage") && !validation.is_ok("bios"));
    assert_eq!(validation.reason("storage"), Some("no"));
    assert!(!client.console(&caller, node(1)).await.unwrap().console_enabled);
    let missing = client.node(&caller, node(1), &[]).await.unwrap_err();
    assert!(missing.is_not_found() && missing.message() == "Node could not be found.");
}

#[tokio::test]
async fn placements_calls_are_made_in_the_versions_of_nova_compute() {
    let cloud = Cloud::start(|seen, _| {
        let provider = json!({"uuid": id(1), "name": id(1), "generation": 0});
        match (seen.method.as_str(), seen.path.strip_prefix("/placement").unwrap()) {
            ("GET", "/resource_providers") => Reply::json(200, &json!({"resource_providers": [provider]})),
            ("POST", "/resource_providers") => Reply::json(200, &provider),
            ("GET", "/traits") => Reply::json(200, &json!({"traits": ["COMPUTE_NODE"]})),
            (_, path) if path.ends_with("/inventories") => {
                Reply::json(200, &json!({"resource_provider_generation": 1, "inventories": {}}))
            }
            (_, path) if path.starts_with("/resource_providers") && path.ends_with("/traits") => {
                Reply::json(200, &json!({"resource_provider_generation": 2, "traits": []}))
            }
            (_, path) if path.ends_with("/aggregates") => {
                Reply::json(200, &json!({"resource_provider_generation": 2, "aggregates": []}))
            }
            (_, path) if path.starts_with("/resource_providers") && path.ends_with("/allocations") => Reply::json(
                200,
                &json!({"resource_provider_generation": 2, "allocations": {id(5).to_string(): {"resources": {"C": 1}}}}),
            ),
            ("DELETE", _) => Reply::json(404, &json!({"errors": [{"status": 404, "detail": "none"}]})),
            _ => Reply::empty(204),
        }
    })
    .await;
    let client = placement::Client::new(cloud.adapter(Service::Placement));
    let caller = Caller::own("req-1");
    let query = placement::ProviderQuery { in_tree: Some(id(1)), ..placement::ProviderQuery::default() };
    assert_eq!(client.providers(&caller, &query).await.unwrap()[0].generation, 0);
    client.create_provider(&caller, id(1), &id(1).to_string()).await.unwrap();
    let wanted = placement::Inventories {
        generation: 0,
        inventories: BTreeMap::from([("CUSTOM_X".to_owned(), placement::Inventory::node(false))]),
    };
    client.ensure_resource_class(&caller, "CUSTOM_X").await.unwrap();
    assert_eq!(client.put_inventories(&caller, id(1), &wanted).await.unwrap().generation, 1);
    let traits = BTreeSet::from(["COMPUTE_NODE".to_owned(), "CUSTOM_NEW".to_owned()]);
    client.ensure_traits(&caller, &traits).await.unwrap();
    client.put_traits(&caller, id(1), &placement::Traits { generation: 1, traits }).await.unwrap();
    client.inventories(&caller, id(1)).await.unwrap();
    client.traits(&caller, id(1)).await.unwrap();
    client.aggregates(&caller, id(1)).await.unwrap();
    let held = client.provider_allocations(&caller, id(1)).await.unwrap();
    assert_eq!(held.allocations[&id(5)].resources["C"], 1);
    assert!(!client.delete_allocations(&caller, id(5)).await.unwrap());
    assert!(!client.delete_provider(&caller, id(1)).await.unwrap());
    client.reshape(&caller, &BTreeMap::from([(id(1), wanted)])).await.unwrap();

    let seen = cloud.seen();
    let lines: Vec<String> = seen
        .iter()
        .map(|seen| {
            let version =
                seen.header("openstack-api-version").unwrap_or("-").trim_start_matches("placement ");
            format!("{} {version}", seen.line().replace("/placement", "").replace(&id(1).to_string(), "RP"))
        })
        .collect();
    assert_eq!(
        lines,
        [
            "GET /resource_providers?in_tree=RP 1.14",
            "POST /resource_providers 1.20",
            "PUT /resource_classes/CUSTOM_X 1.7",
            "PUT /resource_providers/RP/inventories 1.26",
            "GET /traits?name=in%3ACOMPUTE_NODE%2CCUSTOM_NEW 1.6",
            "PUT /traits/CUSTOM_NEW 1.6",
            "PUT /resource_providers/RP/traits 1.6",
            "GET /resource_providers/RP/inventories -",
            "GET /resource_providers/RP/traits 1.6",
            "GET /resource_providers/RP/aggregates 1.19",
            "GET /resource_providers/RP/allocations -",
            "DELETE /allocations/00000000-0000-0000-0000-000000000005 -",
            "DELETE /resource_providers/RP -",
            "POST /reshaper 1.30",
        ]
    );
    let reshape = seen.last().unwrap().json();
    assert_eq!(reshape["inventories"][id(1).to_string()]["resource_provider_generation"], 0);
    assert_eq!(reshape["allocations"], json!({}));
    assert!(seen.iter().all(|seen| seen.header("x-openstack-request-id") == Some("req-1")));
}

#[tokio::test]
async fn neutrons_lists_follow_pages_and_many_ids_are_asked_for_in_parts() {
    let cloud = Cloud::start(|seen, _| match seen.path.as_str() {
        "/networking/v2.0/ports" => match parameter(seen, "marker").as_deref() {
            None => Reply::json(
                200,
                &json!({"ports": [{"id": "a"}], "ports_links": [{"rel": "next", "href": "x"}]}),
            ),
            Some("a") => {
                Reply::json(200, &json!({"ports": [{"id": "b"}], "ports_links": [{"rel": "previous"}]}))
            }
            _ => Reply::empty(500),
        },
        "/networking/v2.0/subnets" => Reply::json(
            200,
            &json!({"subnets": [{"id": parameter(seen, "id").unwrap(), "gateway_ip": null}]}),
        ),
        "/networking/v2.0/extensions" => {
            Reply::json(200, &json!({"extensions": [{"alias": "binding", "name": "x"}]}))
        }
        "/networking/v2.0/networks/n" if seen.query == "fields=segments" => {
            Reply::json(200, &json!({"network": {}}))
        }
        "/networking/v2.0/networks/n" => Reply::json(
            200,
            &json!({"network": {"provider:network_type": "vlan", "provider:physical_network": "p"}}),
        ),
        _ => Reply::json(
            404,
            &json!({"NeutronError": {"type": "HTTPNotFound", "message": "no", "detail": ""}}),
        ),
    })
    .await;
    let client = neutron::Client::new(cloud.adapter(Service::Network));
    let caller = Caller::default();
    let filter = neutron::PortFilter { device_ids: vec!["i".into()], ..neutron::PortFilter::default() };
    let ports = client.ports(&caller, &filter).await.unwrap();
    assert_eq!(ports.iter().map(|port| port.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let ids: Vec<String> = (0..250).map(|number| format!("s{number}")).collect();
    assert_eq!(client.subnets(&caller, &ids).await.unwrap().len(), 3);
    assert!(client.subnets(&caller, &[]).await.unwrap().is_empty());
    assert!(client.extensions(&caller).await.unwrap().contains("binding"));
    assert!(client.network_segments(&caller, "n").await.unwrap().is_none());
    let provider = client.provider_network(&caller, "n").await.unwrap();
    assert_eq!(provider.physical_network.as_deref(), Some("p"));
    assert!(client.floating_ips(&caller, &["p".into()]).await.unwrap().is_empty());
    assert!(!client.delete_port(&caller, "gone").await.unwrap());
    assert!(client.auto_allocated_network(&caller, "p").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn cinders_attachments_are_made_updated_completed_and_ended() {
    let cloud = Cloud::start(|seen, number| match (seen.method.as_str(), number) {
        // Busy once: repeated.
        ("PUT", 1) => Reply::empty(500),
        ("POST" | "PUT", _) if !seen.path.ends_with("action") => Reply::json(
            200,
            &json!({"attachment": {"id": "a", "status": "attaching",
                "connection_info": {"driver_volume_type": "iscsi", "target_lun": 1}}}),
        ),
        ("DELETE", _) => Reply::json(200, &json!({"attachments": []})),
        _ => Reply::empty(204),
    })
    .await;
    let client = cinder::Client::new(cloud.adapter(Service::BlockStorage));
    let caller = Caller::default();
    client.create_attachment(&caller, id(7), "v").await.unwrap();
    let connector = json!({"initiator": "iqn.x"}).as_object().cloned().unwrap();
    let attachment = client.update_attachment(&caller, "a", &connector, "/dev/vda").await.unwrap();
    assert_eq!(attachment.connection_info.protocol(), Some("iscsi"));
    client.complete_attachment(&caller, "a").await.unwrap();
    assert!(client.delete_attachment(&caller, "a").await.unwrap());
    let seen = cloud.seen();
    assert_eq!(
        seen[0].json(),
        json!({"attachment": {"instance_uuid": id(7), "volume_uuid": "v", "connector": null}})
    );
    assert_eq!(
        seen[2].json(),
        json!({"attachment": {"connector": {"initiator": "iqn.x", "mountpoint": "/dev/vda"}}})
    );
    assert_eq!(seen[3].json(), json!({"os-complete": {}}));
    assert!(seen.iter().all(|seen| seen.header("openstack-api-version") == Some("volume 3.44")));
}

#[tokio::test]
async fn a_volume_is_read_in_the_version_that_cinder_has() {
    for (newest, expected) in [("3.71", Some("volume 3.69")), ("3.50", Some("volume 3.48")), ("3.44", None)] {
        let cloud = Cloud::start(move |seen, _| match seen.path.as_str() {
            "/volume/v3/" => Reply::json(
                200,
                &json!({"versions": [{"id": "v3.0", "version": newest, "min_version": "3.0"}]}),
            ),
            _ => Reply::json(200, &json!({"volume": {"id": "v", "status": "available", "size": 1}})),
        })
        .await;
        let client = cinder::Client::new(cloud.adapter(Service::BlockStorage));
        assert_eq!(client.volume(&Caller::default(), "v").await.unwrap().status, "available");
        assert_eq!(cloud.seen()[1].header("openstack-api-version"), expected, "{newest}");
    }
}
