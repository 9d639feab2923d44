//! `network_data.json`: links, networks and services, as cloud-init and ironic-python-agent read them.
//!
//! The base comes from the network info cache. Ironic then knows better which NIC a VIF has become: a port's
//! own MAC, or a bond of the ports of a group.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::cidr::Cidr;
use crate::network::{NetworkInfo, Subnet, Vif};
use crate::{Error, NodePort, NodePortGroup};

/// VIF types that network data has always shown; every other link is `phy`.
const SHOWN_VIF_TYPES: [&str; 8] = ["bridge", "dvs", "hw_veb", "hyperv", "ovs", "tap", "vhostuser", "vif"];

/// The document `network_data.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct NetworkData {
    /// NICs and bonds.
    pub links: Vec<Link>,
    /// The addresses on the links.
    pub networks: Vec<Address>,
    /// Name servers of all networks, each once.
    pub services: Vec<Service>,
}

/// A NIC or a bond.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Link {
    /// What addresses and bonds refer to it by: `tap` and the start of the port's id, or the id of a node's
    /// port.
    pub id: String,
    /// The Neutron port; members of a bond have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vif_id: Option<String>,
    /// `phy`, `bond`, or one of the VIF types that network data has always shown.
    #[serde(rename = "type")]
    pub kind: String,
    /// Bytes; null when a DHCP server tells it. Members of a bond have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<Value>,
    /// The NIC's or the bond's MAC address.
    pub ethernet_mac_address: Option<String>,
    /// `bond_mode`, `bond_links` and options of the bonding driver.
    #[serde(flatten)]
    pub bond: Map<String, Value>,
}

/// How one address family of a link is configured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Address {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub link: String,
    /// Absent with DHCP.
    #[serde(flatten)]
    pub fixed: Option<Fixed>,
    pub network_id: Option<String>,
}

/// What a server must be told when no DHCP server tells it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fixed {
    pub ip_address: Option<String>,
    pub netmask: String,
    pub routes: Vec<NetworkRoute>,
    pub services: Vec<Service>,
}

/// A route of a network.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NetworkRoute {
    pub network: String,
    pub netmask: String,
    pub gateway: Option<String>,
}

/// A name server.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Service {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub address: Option<String>,
}

/// The network data of a server on a node with these ports and port groups.
pub fn network_data(
    info: &NetworkInfo,
    ports: &[NodePort],
    groups: &[NodePortGroup],
) -> Result<NetworkData, Error> {
    let mut data = from_cache(info)?;
    adapt(&mut data.links, ports, groups);
    Ok(data)
}

fn from_cache(info: &NetworkInfo) -> Result<NetworkData, Error> {
    let mut data = NetworkData::default();
    let with_subnets = info.0.iter().filter_map(|vif| {
        vif.network.as_ref().filter(|network| !network.subnets.is_empty()).map(|network| (vif, network))
    });
    for (number, (vif, network)) in with_subnets.enumerate() {
        // One subnet of each family is all that the format's readers expect of a link.
        let subnets = [4, 6].map(|version| network.first_subnet(version).map(|subnet| (version, subnet)));
        if subnets.iter().all(Option::is_none) {
            continue;
        }
        let link = link(vif, number);
        for (version, subnet) in subnets.into_iter().flatten() {
            if subnet.ips.is_empty() {
                continue;
            }
            let number = data.networks.len();
            data.networks.push(address(network.id.as_ref(), subnet, version, number, &link.id)?);
            for service in services(subnet) {
                if !data.services.contains(&service) {
                    data.services.push(service);
                }
            }
        }
        data.links.push(link);
    }
    Ok(data)
}

fn link(vif: &Vif, number: usize) -> Link {
    let network = vif.network.as_ref();
    let by_dhcp = network.is_some_and(|network| {
        network.subnets.iter().any(|subnet| subnet.dhcp_server().is_some_and(|s| !s.is_empty()))
    });
    let mtu = network.and_then(|network| network.meta.get("mtu")).filter(|_| !by_dhcp);
    Link {
        id: vif
            .devname
            .clone()
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| format!("interface{number}")),
        vif_id: Some(vif.id.clone()),
        kind: vif
            .vif_type
            .clone()
            .filter(|kind| SHOWN_VIF_TYPES.contains(&kind.as_str()))
            .unwrap_or_else(phy),
        mtu: Some(mtu.cloned().unwrap_or_default()),
        ethernet_mac_address: vif.address.clone(),
        bond: Map::new(),
    }
}

fn phy() -> String {
    "phy".to_owned()
}

fn address(
    network: Option<&String>,
    subnet: &Subnet,
    version: u8,
    number: usize,
    link: &str,
) -> Result<Address, Error> {
    let (kind, fixed) = match subnet.ipv6_address_mode() {
        Some(mode) => (format!("ipv{version}_{mode}"), Some(fixed(subnet, version)?)),
        None if subnet.dhcp_server().is_some() || subnet.enable_dhcp() => {
            (format!("ipv{version}_dhcp"), None)
        }
        None => (format!("ipv{version}"), Some(fixed(subnet, version)?)),
    };
    Ok(Address {
        id: format!("network{number}"),
        kind,
        link: link.to_owned(),
        fixed,
        network_id: network.cloned(),
    })
}

fn fixed(subnet: &Subnet, version: u8) -> Result<Fixed, Error> {
    let any = if version == 4 { "0.0.0.0" } else { "::" };
    let mut routes: Vec<_> = subnet
        .gateway_address()
        .map(|gateway| NetworkRoute {
            network: any.to_owned(),
            netmask: any.to_owned(),
            gateway: Some(gateway.to_owned()),
        })
        .into_iter()
        .collect();
    for route in &subnet.routes {
        let block = block(route.cidr.as_deref())?;
        routes.push(NetworkRoute {
            network: block.network().to_string(),
            netmask: block.netmask().to_string(),
            gateway: route.gateway.as_ref().and_then(|gateway| gateway.address.clone()),
        });
    }
    Ok(Fixed {
        ip_address: subnet.ips.first().and_then(|ip| ip.address.clone()),
        netmask: block(subnet.cidr.as_deref())?.netmask().to_string(),
        routes,
        services: services(subnet),
    })
}

/// Reads the address block of a subnet or a route.
pub(crate) fn block(cidr: Option<&str>) -> Result<Cidr, Error> {
    let cidr = cidr.unwrap_or_default();
    Cidr::parse(cidr).ok_or_else(|| Error::Cidr { cidr: cidr.to_owned() })
}

fn services(subnet: &Subnet) -> Vec<Service> {
    subnet.dns.iter().map(|dns| Service { kind: "dns", address: dns.address.clone() }).collect()
}

/// Replaces what Neutron guessed about the hardware by what Ironic knows.
fn adapt(links: &mut Vec<Link>, ports: &[NodePort], groups: &[NodePortGroup]) {
    let port_of: HashMap<_, _> = ports.iter().filter_map(|port| Some((port.vif.as_deref()?, port))).collect();
    let group_of: HashMap<_, _> =
        groups.iter().filter_map(|group| Some((group.vif.as_deref()?, group))).collect();
    let mut members = Vec::new();
    for link in links.iter_mut() {
        let Some(vif) = link.vif_id.as_deref() else { continue };
        if let Some(group) = group_of.get(vif) {
            let joined = ports.iter().filter(|port| port.port_group == Some(group.uuid));
            let ids: Vec<_> = joined.clone().map(|port| port.uuid.to_string()).collect();
            members.extend(joined.map(|port| Link {
                id: port.uuid.to_string(),
                vif_id: None,
                kind: phy(),
                mtu: None,
                ethernet_mac_address: Some(port.address.clone()),
                bond: Map::new(),
            }));
            "bond".clone_into(&mut link.kind);
            link.bond.insert("bond_mode".to_owned(), group.mode.clone().into());
            link.bond.insert("bond_links".to_owned(), ids.into());
            if let Some(address) = group.address.clone().filter(|address| !address.is_empty()) {
                link.ethernet_mac_address = Some(address);
            }
            for (name, value) in &group.properties {
                let key = if name.starts_with("bond") { name.clone() } else { format!("bond_{name}") };
                link.bond.insert(key, value.clone());
            }
        } else if let Some(port) = port_of.get(vif) {
            link.ethernet_mac_address = Some(port.address.clone());
            link.kind = phy();
        }
    }
    links.append(&mut members);
}

#[cfg(test)]
mod tests;
