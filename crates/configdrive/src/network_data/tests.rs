//! Network data of subnets of every kind, and of NICs and bonds.

use serde_json::json;
use uuid::Uuid;

use super::*;

fn vif(subnets: &Value) -> Value {
    json!({"id": "p1", "address": "fa:16:3e:00:00:01", "devname": "tapp1", "type": "other",
        "network": {"id": "n1", "subnets": subnets, "meta": {"mtu": 9000}}})
}

fn data(vifs: Value) -> Value {
    let info: NetworkInfo = serde_json::from_value(vifs).unwrap();
    serde_json::to_value(network_data(&info, &[], &[]).unwrap()).unwrap()
}

fn port(number: u128, group: Option<u128>, vif: Option<&str>) -> NodePort {
    NodePort {
        uuid: Uuid::from_u128(number),
        address: format!("52:54:00:00:00:0{number}"),
        port_group: group.map(Uuid::from_u128),
        vif: vif.map(str::to_owned),
    }
}

#[test]
fn a_static_ipv4_subnet_has_address_routes_and_dns() {
    let subnets = json!([{"cidr": "10.0.0.0/23", "version": 4, "dns": [{"address": "8.8.8.8"}, {"address": "9.9.9.9"}],
        "gateway": {"address": "10.0.0.1"}, "ips": [{"address": "10.0.0.5", "version": 4}, {"address": "10.0.0.6"}],
        "routes": [{"cidr": "10.9.0.7/16", "gateway": {"address": "10.0.0.9"}}], "meta": {"enable_dhcp": false}},
        {"cidr": "10.1.0.0/24", "version": 4, "ips": [{"address": "10.1.0.5"}]}]);
    let dns = json!([{"type": "dns", "address": "8.8.8.8"}, {"type": "dns", "address": "9.9.9.9"}]);
    assert_eq!(
        data(json!([vif(&subnets)])),
        json!({"links": [{"id": "tapp1", "vif_id": "p1", "type": "phy", "mtu": 9000,
                "ethernet_mac_address": "fa:16:3e:00:00:01"}],
            "networks": [{"id": "network0", "type": "ipv4", "link": "tapp1", "ip_address": "10.0.0.5",
                "netmask": "255.255.254.0", "network_id": "n1", "services": dns, "routes": [
                    {"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.0.0.1"},
                    {"network": "10.9.0.0", "netmask": "255.255.0.0", "gateway": "10.0.0.9"}]}],
            "services": dns})
    );
}

#[test]
fn with_dhcp_only_the_network_is_named() {
    let subnets = json!([{"cidr": "10.0.0.0/24", "version": 4, "ips": [{"address": "10.0.0.5"}],
        "meta": {"enable_dhcp": true, "dhcp_server": "10.0.0.2"}}]);
    let data = data(json!([vif(&subnets)]));
    assert_eq!(
        data["networks"],
        json!([{"id": "network0", "type": "ipv4_dhcp", "link": "tapp1", "network_id": "n1"}])
    );
    assert_eq!(data["links"][0]["mtu"], Value::Null);
    assert!(data["links"][0].as_object().unwrap().contains_key("mtu"));
}

#[test]
fn ipv6_follows_the_address_mode() {
    for mode in ["slaac", "dhcpv6-stateful", "dhcpv6-stateless"] {
        let subnets = json!([{"cidr": "2001:db8::/64", "version": 6, "ips": [{"address": "2001:db8::5", "version": 6}],
            "gateway": {"address": "2001:db8::1"}, "meta": {"ipv6_address_mode": mode, "enable_dhcp": true}}]);
        let data = data(json!([vif(&subnets)]));
        assert_eq!(data["networks"][0]["type"], format!("ipv6_{mode}"));
        assert_eq!(data["networks"][0]["netmask"], "ffff:ffff:ffff:ffff::");
        assert_eq!(
            data["networks"][0]["routes"],
            json!([{"network": "::", "netmask": "::", "gateway": "2001:db8::1"}])
        );
    }
}

#[test]
fn networks_are_numbered_across_links_and_services_not_repeated() {
    let subnets = json!([
        {"cidr": "2001:db8::/64", "version": 6, "ips": [{"address": "2001:db8::5"}], "dns": [{"address": "8.8.8.8"}]},
        {"cidr": "10.0.0.0/24", "version": 4, "ips": [{"address": "10.0.0.5"}], "dns": [{"address": "8.8.8.8"}],
         "gateway": {"address": null}}]);
    let bare = json!({"id": "p0", "network": {"id": "n0", "subnets": []}});
    let data = data(json!([bare, vif(&subnets), vif(&subnets)]));
    let ids: Vec<_> = data["networks"].as_array().unwrap().iter().map(|n| (&n["id"], &n["type"])).collect();
    assert_eq!(
        json!(ids),
        json!([["network0", "ipv4"], ["network1", "ipv6"], ["network2", "ipv4"], ["network3", "ipv6"]])
    );
    assert_eq!(data["services"], json!([{"type": "dns", "address": "8.8.8.8"}]));
    assert_eq!(data["networks"][0]["routes"], json!([]));
}

#[test]
fn a_link_without_a_device_name_gets_a_number_and_keeps_a_known_type() {
    let data = data(json!([{"id": "p1", "type": "ovs", "network": {"subnets": [{"version": 4}]}}]));
    assert_eq!(
        data["links"],
        json!([{"id": "interface0", "vif_id": "p1", "type": "ovs", "mtu": null, "ethernet_mac_address": null}])
    );
    assert_eq!(data["networks"], json!([]));
}

#[test]
fn a_vif_on_a_port_has_the_mac_of_that_port() {
    let info: NetworkInfo =
        serde_json::from_value(json!([vif(&json!([{"cidr": "10.0.0.0/24", "version": 4}]))])).unwrap();
    let data = network_data(&info, &[port(1, None, None), port(2, None, Some("p1"))], &[]).unwrap();
    assert_eq!(data.links.len(), 1);
    assert_eq!(data.links[0].ethernet_mac_address.as_deref(), Some("52:54:00:00:00:02"));
}

#[test]
fn a_vif_on_a_port_group_is_a_bond_of_its_ports() {
    let info: NetworkInfo =
        serde_json::from_value(json!([vif(&json!([{"cidr": "10.0.0.0/24", "version": 4}]))])).unwrap();
    let group = NodePortGroup {
        uuid: Uuid::from_u128(9),
        address: Some("52:54:00:00:00:09".to_owned()),
        mode: Some("802.3ad".to_owned()),
        properties: Map::from_iter([
            ("miimon".to_owned(), json!(100)),
            ("bond_xmit_hash_policy".to_owned(), json!("l3")),
        ]),
        vif: Some("p1".to_owned()),
    };
    let ports = [port(1, Some(9), Some("p1")), port(2, Some(9), None), port(3, None, None)];
    let data = network_data(&info, &ports, &[group]).unwrap();
    let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
    assert_eq!(
        serde_json::to_value(&data.links).unwrap(),
        json!([{"id": "tapp1", "vif_id": "p1", "type": "bond", "mtu": 9000, "ethernet_mac_address": "52:54:00:00:00:09",
                "bond_mode": "802.3ad", "bond_links": [first, second], "bond_miimon": 100, "bond_xmit_hash_policy": "l3"},
            {"id": first, "type": "phy", "ethernet_mac_address": "52:54:00:00:00:01"},
            {"id": second, "type": "phy", "ethernet_mac_address": "52:54:00:00:00:02"}])
    );
}

#[test]
fn a_broken_address_block_is_named() {
    let info = serde_json::from_value(json!([vif(
        &json!([{"cidr": "10.0.0.0/99", "version": 4, "ips": [{"address": "10.0.0.5"}]}])
    )]))
    .unwrap();
    let error = network_data(&info, &[], &[]).unwrap_err().to_string();
    assert!(error.contains("10.0.0.0/99") && error.contains("cidr"), "{error}");
}
