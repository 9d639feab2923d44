//! One VIF of the network information, as Nova builds it from Neutron's documents (`neutron.py`
//! `_build_vif_model`). Pure.

use compute::ports::{Refusal, Result};
use configdrive::network::{FixedIp, Ip, Network, Route, Subnet, Vif};
use openstack::neutron::{self, FloatingIp, Port, ProviderNetwork};
use serde_json::{Map, Value, json};

use super::failure::refused;

/// Longest name of a network interface.
const NAME: usize = 14;
/// Kinds of networks that are carried in tunnels.
const TUNNELED: [&str; 3] = ["vxlan", "gre", "geneve"];

/// What a network is built on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Physical {
    pub network: Option<String>,
    pub tunneled: bool,
}

impl Physical {
    /// Of a network of segments the first that has a physical network counts; `None` where none has.
    pub fn of_segments(segments: &[ProviderNetwork]) -> Option<Self> {
        let network = segments.iter().find_map(|segment| segment.physical_network.clone());
        network.map(|network| Self { network: Some(network), tunneled: false })
    }

    /// Of an ordinary network.
    pub fn of_provider(provider: ProviderNetwork) -> Self {
        let tunneled = provider.network_type.is_some_and(|kind| TUNNELED.contains(&kind.as_str()));
        Self { network: provider.physical_network, tunneled }
    }

    /// The error of a network of segments without a physical network.
    pub fn missing<T>(network: &str) -> Result<T> {
        Err(refused(
            Refusal::Other,
            format!("None of the segments of network {network} provides a physical_network"),
        ))
    }
}

/// What Neutron says beside the port itself.
#[derive(Debug, Default)]
pub struct Surroundings<'a> {
    pub networks: &'a [neutron::Network],
    pub subnets: &'a [neutron::Subnet],
    /// Ports of DHCP servers.
    pub dhcp: &'a [Port],
    pub floating: &'a [FloatingIp],
    /// By network id.
    pub physical: &'a [(String, Physical)],
    /// `[DEFAULT] flat_injected`.
    pub injected: bool,
    /// `[neutron] ovs_bridge`.
    pub ovs_bridge: &'a str,
}

/// The VIF of a port. `preserve`: the user brought it.
pub fn build(port: &Port, around: &Surroundings<'_>, preserve: bool) -> Vif {
    let (bridge, ovs_interface) = bridge(port, around.ovs_bridge);
    Vif {
        address: Some(port.mac_address.clone()),
        network: Some(network(port, around, bridge)),
        vif_type: port.vif_type.clone(),
        details: port.vif_details.clone(),
        devname: Some(Vif::device_name(&port.id)),
        ovs_interfaceid: ovs_interface.then(|| port.id.clone()),
        active: !port.admin_state_up || port.status == "ACTIVE",
        vnic_type: port.vnic_type.clone().unwrap_or_else(|| "normal".to_owned()),
        profile: Some(port.profile.clone()),
        preserve_on_delete: preserve,
        delegate_create: true,
        ..Vif::new(port.id.clone())
    }
}

fn network(port: &Port, around: &Surroundings<'_>, bridge: Option<String>) -> Network {
    let id = &port.network_id;
    let known = around.networks.iter().find(|network| network.id == *id);
    let physical = around
        .physical
        .iter()
        .find(|(of, _)| of == id)
        .map(|(_, physical)| physical.clone())
        .unwrap_or_default();
    let meta = json!({
        "injected": around.injected,
        "tenant_id": known.map_or(&port.tenant_id, |network| &network.tenant_id),
        "mtu": known.and_then(|network| network.mtu),
        "physical_network": physical.network,
        "tunneled": physical.tunneled,
    });
    Network {
        id: Some(id.clone()),
        bridge,
        label: known.map(|network| network.name.clone()),
        subnets: around.subnets.iter().filter_map(|found| subnet(port, found, around)).collect(),
        meta: map(meta),
        ..Network::default()
    }
}

/// The subnet with the port's addresses in it; `None` when the port has none from it.
fn subnet(port: &Port, found: &neutron::Subnet, around: &Surroundings<'_>) -> Option<Subnet> {
    let from = |ip: &neutron::FixedIp| ip.subnet_id.as_deref() == Some(found.id.as_str());
    if !port.fixed_ips.iter().any(from) {
        return None;
    }
    let mut meta = Map::new();
    meta.insert("enable_dhcp".to_owned(), found.enable_dhcp.unwrap_or_default().into());
    if let Some(mode) = &found.ipv6_address_mode {
        meta.insert("ipv6_address_mode".to_owned(), mode.as_str().into());
    }
    let servers = around.dhcp.iter().filter(|server| server.network_id == found.network_id);
    let server = servers.filter_map(|server| server.fixed_ips.iter().find(|ip| from(ip))).next_back();
    if let Some(server) = server {
        meta.insert("dhcp_server".to_owned(), server.ip_address.as_str().into());
    }
    let mut subnet = Subnet {
        cidr: Some(found.cidr.clone()),
        dns: found.dns_nameservers.iter().map(|server| Ip::new(Some(server.clone()), "dns")).collect(),
        gateway: Some(Ip::new(found.gateway_ip.clone(), "gateway")),
        routes: found.host_routes.iter().map(route).collect(),
        version: Some(found.ip_version),
        meta,
        ..Subnet::default()
    };
    let inside = |ip: &&neutron::FixedIp| ip.ip_address.parse().is_ok_and(|address| subnet.contains(address));
    subnet.ips = port.fixed_ips.iter().filter(inside).map(|ip| fixed(port, ip, around.floating)).collect();
    Some(subnet)
}

fn fixed(port: &Port, ip: &neutron::FixedIp, floating: &[FloatingIp]) -> FixedIp {
    let leads_here = |float: &&FloatingIp| {
        float.port_id.as_ref() == Some(&port.id) && float.fixed_ip_address.as_ref() == Some(&ip.ip_address)
    };
    let outside = |float: &FloatingIp| Ip::new(Some(float.floating_ip_address.clone()), "floating");
    FixedIp {
        floating_ips: floating.iter().filter(leads_here).map(outside).collect(),
        ..FixedIp::new(ip.ip_address.clone())
    }
}

fn route(route: &neutron::HostRoute) -> Route {
    Route {
        cidr: Some(route.destination.clone()),
        gateway: Some(Ip::new(Some(route.nexthop.clone()), "gateway")),
        ..Route::default()
    }
}

/// The bridge that the port is on, and whether it is one of Open vSwitch. Ironic's ports have neither; others
/// can reach the cache while a port is bound elsewhere. Releases up to 2026.1 knew `bridge`; later ones
/// refuse the port.
fn bridge(port: &Port, ovs_bridge: &str) -> (Option<String>, bool) {
    let flag = |name: &str| port.vif_details.get(name).and_then(Value::as_bool).unwrap_or_default();
    let named = |default: String| {
        let name = port.vif_details.get("bridge_name").and_then(Value::as_str).map_or(default, str::to_owned);
        Some(name.chars().take(NAME).collect())
    };
    let linux = || format!("brq{}", port.network_id);
    match port.vif_type.as_deref() {
        Some("ovs" | "agilio_ovs") => (named(ovs_bridge.to_owned()), true),
        Some("bridge") => (named(linux()), false),
        Some("dvs") => (Some(port.network_id.clone()), false),
        Some("vhostuser") if flag("vhostuser_ovs_plug") => (named(ovs_bridge.to_owned()), true),
        Some("vhostuser") if flag("vhostuser_fp_plug") => (named(linux()), false),
        _ => (None, false),
    }
}

fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use configdrive::network::NetworkInfo;

    use super::*;

    const PORT: &str = r#"{"id":"85519b84-2652-424b-bebf-dd9dde56c4d9","name":"",
        "network_id":"5058945c-91c2-42a7-aa3c-a8f779852e7d","mac_address":"fa:16:3e:a8:d2:37","admin_state_up":true,
        "status":"DOWN","device_id":"i","device_owner":"compute:nova","tenant_id":"93eb11920d2a4f239fb19bdf1fe772ae",
        "fixed_ips":[{"subnet_id":"7090745b-0fef-4c69-a304-f623269ffda3","ip_address":"10.88.0.196"}],
        "binding:vnic_type":"normal","binding:profile":{},"binding:host_id":"","binding:vif_type":"unbound",
        "binding:vif_details":{}}"#;
    const SUBNET: &str = r#"{"id":"7090745b-0fef-4c69-a304-f623269ffda3","cidr":"10.88.0.0/24","gateway_ip":"10.88.0.1",
        "network_id":"5058945c-91c2-42a7-aa3c-a8f779852e7d","ip_version":4,"enable_dhcp":false,"host_routes":[],
        "dns_nameservers":[],"ipv6_address_mode":null}"#;
    const NETWORK: &str = r#"{"id":"5058945c-91c2-42a7-aa3c-a8f779852e7d","name":"smoke-net","mtu":1500,
        "tenant_id":"93eb11920d2a4f239fb19bdf1fe772ae"}"#;
    /// What a stock nova-compute made of the three.
    const CAPTURED: &str = r#"[{"id": "85519b84-2652-424b-bebf-dd9dde56c4d9", "address": "fa:16:3e:a8:d2:37", "network": {"id": "5058945c-91c2-42a7-aa3c-a8f779852e7d", "bridge": null, "label": "smoke-net", "subnets": [{"cidr": "10.88.0.0/24", "dns": [], "gateway": {"address": "10.88.0.1", "type": "gateway", "version": 4, "meta": {}}, "ips": [{"address": "10.88.0.196", "type": "fixed", "version": 4, "meta": {}, "floating_ips": []}], "routes": [], "version": 4, "meta": {"enable_dhcp": false}}], "meta": {"injected": false, "tenant_id": "93eb11920d2a4f239fb19bdf1fe772ae", "mtu": 1500, "physical_network": "physnet1", "tunneled": false}}, "type": "unbound", "details": {}, "devname": "tap85519b84-26", "ovs_interfaceid": null, "qbh_params": null, "qbg_params": null, "active": false, "vnic_type": "normal", "profile": {}, "preserve_on_delete": false, "delegate_create": true, "meta": {}}]"#;

    fn port() -> Port {
        serde_json::from_str(PORT).unwrap()
    }

    fn subnet() -> neutron::Subnet {
        serde_json::from_str(SUBNET).unwrap()
    }

    #[test]
    fn a_captured_port_becomes_the_captured_text() {
        let physical = [(
            "5058945c-91c2-42a7-aa3c-a8f779852e7d".to_owned(),
            Physical { network: Some("physnet1".into()), tunneled: false },
        )];
        let around = Surroundings {
            networks: &[serde_json::from_str(NETWORK).unwrap()],
            subnets: &[subnet()],
            physical: &physical,
            ..Surroundings::default()
        };
        let info = NetworkInfo(vec![build(&port(), &around, false)]);
        assert_eq!(info.to_text().unwrap(), CAPTURED);
    }

    #[test]
    fn a_subnet_has_its_servers_routes_and_floating_addresses() {
        let subnet = neutron::Subnet {
            enable_dhcp: Some(true),
            dns_nameservers: vec!["8.8.8.8".into()],
            host_routes: vec![neutron::HostRoute {
                destination: "10.9.0.0/16".into(),
                nexthop: "10.88.0.9".into(),
            }],
            gateway_ip: None,
            ..subnet()
        };
        let server = Port { fixed_ips: port().fixed_ips, network_id: port().network_id, ..Port::default() };
        let float = FloatingIp {
            floating_ip_address: "1.2.3.4".into(),
            fixed_ip_address: Some("10.88.0.196".into()),
            port_id: Some(port().id),
            ..FloatingIp::default()
        };
        let around = Surroundings {
            subnets: &[subnet],
            dhcp: &[server],
            floating: &[float],
            ..Surroundings::default()
        };
        let vif = build(&port(), &around, true);
        assert!(vif.preserve_on_delete);
        let network = vif.network.unwrap();
        assert_eq!(
            (network.label, network.meta["tenant_id"].as_str()),
            (None, Some(port().tenant_id.as_str()))
        );
        let subnet = &network.subnets[0];
        assert_eq!(
            serde_json::to_value(subnet).unwrap(),
            json!({"cidr": "10.88.0.0/24", "dns": [{"address": "8.8.8.8", "type": "dns", "version": 4, "meta": {}}],
                "gateway": {"address": null, "type": "gateway", "version": null, "meta": {}},
                "ips": [{"address": "10.88.0.196", "type": "fixed", "version": 4, "meta": {}, "floating_ips":
                    [{"address": "1.2.3.4", "type": "floating", "version": 4, "meta": {}}]}],
                "routes": [{"cidr": "10.9.0.0/16", "gateway": {"address": "10.88.0.9", "type": "gateway", "version": 4,
                    "meta": {}}, "interface": null, "meta": {}}],
                "version": 4, "meta": {"enable_dhcp": true, "dhcp_server": "10.88.0.196"}})
        );
    }

    #[test]
    fn a_port_is_active_when_neutron_says_so_or_it_is_switched_off() {
        let active = |port: Port| build(&port, &Surroundings::default(), false).active;
        assert!(!active(port()));
        assert!(active(Port { status: "ACTIVE".into(), ..port() }));
        assert!(active(Port { admin_state_up: false, ..port() }));
    }

    #[test]
    fn only_ports_that_are_bound_elsewhere_have_a_bridge() {
        let bridge = |kind: &str, details: Value| {
            bridge(&Port { vif_type: Some(kind.into()), vif_details: map(details), ..port() }, "br-int")
        };
        assert_eq!(bridge("other", json!({})), (None, false));
        assert_eq!(bridge("ovs", json!({})), (Some("br-int".into()), true));
        assert_eq!(bridge("ovs", json!({"bridge_name": "br-0123456789abcdef"})).0.unwrap().len(), 14);
        assert_eq!(bridge("bridge", json!({})), (Some("brq5058945c-91".into()), false));
        assert_eq!(bridge("vhostuser", json!({})), (None, false));
    }

    #[test]
    fn the_first_segment_with_a_physical_network_counts() {
        let segment = |kind: &str, network: Option<&str>| ProviderNetwork {
            network_type: Some(kind.into()),
            physical_network: network.map(str::to_owned),
        };
        let segments = [segment("vxlan", None), segment("vlan", Some("a")), segment("vlan", Some("b"))];
        assert_eq!(Physical::of_segments(&segments).unwrap().network.unwrap(), "a");
        assert_eq!(Physical::of_segments(&segments[..1]), None);
        assert!(Physical::of_provider(segment("geneve", None)).tunneled);
        assert!(!Physical::of_provider(segment("flat", Some("a"))).tunneled);
    }
}
