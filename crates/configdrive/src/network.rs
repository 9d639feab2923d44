//! The network model: Nova's info cache (`InstanceInfoCache.network_info`), read and written in exactly its
//! shape.
//!
//! The document is a JSON list of VIFs. nova-api shows addresses from it and nova-compute keeps in it the
//! only record of which ports must survive the server (`preserve_on_delete`), so keys keep their order and
//! unknown keys stay where they were found. Keys that an older release did not write yet get the value that
//! release meant.

use std::net::IpAddr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::spaced::spaced;

/// All VIFs of one instance, in the order in which they were requested.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NetworkInfo(pub Vec<Vif>);

/// One virtual interface: a Neutron port with its network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Vif {
    /// The Neutron port's id.
    pub id: String,
    /// MAC address.
    #[serde(default)]
    pub address: Option<String>,
    /// The port's network.
    #[serde(default)]
    pub network: Option<Network>,
    /// `binding:vif_type`: `unbound` before Ironic binds the port, then mostly `other`.
    #[serde(rename = "type", default)]
    pub vif_type: Option<String>,
    /// `binding:vif_details`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub details: Map<String, Value>,
    /// `tap` and the start of the port's id, cut to 14 characters.
    #[serde(default)]
    pub devname: Option<String>,
    /// The port's id, which Open vSwitch knows it by.
    #[serde(default)]
    pub ovs_interfaceid: Option<String>,
    /// Of 802.1Qbh, long unused; kept as found.
    #[serde(default)]
    pub qbh_params: Option<Value>,
    /// Of 802.1Qbg, long unused; kept as found.
    #[serde(default)]
    pub qbg_params: Option<Value>,
    /// Neutron calls the port `ACTIVE`, or it is administratively down.
    #[serde(default)]
    pub active: bool,
    /// `binding:vnic_type`; `baremetal` once Ironic has bound the port.
    #[serde(default = "normal")]
    pub vnic_type: String,
    /// `binding:profile`.
    #[serde(default)]
    pub profile: Option<Map<String, Value>>,
    /// The port was given by the user: it is unbound, not deleted, when the server goes.
    #[serde(default)]
    pub preserve_on_delete: bool,
    /// Read by Nova's libvirt driver alone.
    #[serde(default)]
    pub delegate_create: bool,
    /// Further keys of Nova's model, such as `rxtx_cap`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub meta: Map<String, Value>,
    /// Keys of other releases, written back where they were.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The Neutron network of a VIF, with those of its subnets in which the port has an address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// The Neutron network's id.
    #[serde(default)]
    pub id: Option<String>,
    /// The bridge that a hypervisor would plug the port into; `[neutron] ovs_bridge` for Open vSwitch.
    #[serde(default)]
    pub bridge: Option<String>,
    /// The network's name.
    #[serde(default)]
    pub label: Option<String>,
    /// Those in which the port has an address.
    #[serde(default, deserialize_with = "null_is_default")]
    pub subnets: Vec<Subnet>,
    /// `injected`, `tenant_id`, `mtu`, `physical_network`, `tunneled`; see the accessors.
    #[serde(default, deserialize_with = "null_is_default")]
    pub meta: Map<String, Value>,
    /// Keys of other releases, written back where they were.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A subnet with the port's addresses in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Subnet {
    /// `10.0.0.0/24`.
    #[serde(default)]
    pub cidr: Option<String>,
    /// Name servers.
    #[serde(default, deserialize_with = "null_is_default")]
    pub dns: Vec<Ip>,
    /// A subnet without a gateway has one whose address is null.
    #[serde(default)]
    pub gateway: Option<Ip>,
    /// The port's addresses in the subnet.
    #[serde(default, deserialize_with = "null_is_default")]
    pub ips: Vec<FixedIp>,
    /// Host routes.
    #[serde(default, deserialize_with = "null_is_default")]
    pub routes: Vec<Route>,
    /// 4 or 6.
    #[serde(default)]
    pub version: Option<u8>,
    /// `enable_dhcp`, and when known `dhcp_server`, `ipv6_address_mode`, `ipv6_ra_mode`; see the accessors.
    #[serde(default, deserialize_with = "null_is_default")]
    pub meta: Map<String, Value>,
    /// Keys of other releases, written back where they were.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// An address: of a gateway, a DNS server, or a floating IP.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ip {
    /// The address as text; null for a gateway that there is none of.
    #[serde(default)]
    pub address: Option<String>,
    /// `gateway`, `dns`, `floating`.
    #[serde(rename = "type", default)]
    pub kind: Option<String>,
    /// 4 or 6; null where the address is null.
    #[serde(default)]
    pub version: Option<u8>,
    /// Further keys of Nova's model; empty so far.
    #[serde(default, deserialize_with = "null_is_default")]
    pub meta: Map<String, Value>,
    /// Keys of other releases, written back where they were.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A fixed address of a port, with the floating IPs that lead to it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FixedIp {
    /// The address as text.
    #[serde(default)]
    pub address: Option<String>,
    /// `fixed`.
    #[serde(rename = "type", default)]
    pub kind: Option<String>,
    /// 4 or 6.
    #[serde(default)]
    pub version: Option<u8>,
    /// Further keys of Nova's model; empty so far.
    #[serde(default, deserialize_with = "null_is_default")]
    pub meta: Map<String, Value>,
    /// The floating addresses that lead to it.
    #[serde(default, deserialize_with = "null_is_default")]
    pub floating_ips: Vec<Ip>,
    /// Keys of other releases, written back where they were.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A host route of a subnet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// The destination: `192.168.0.0/16`.
    #[serde(default)]
    pub cidr: Option<String>,
    /// The next hop.
    #[serde(default)]
    pub gateway: Option<Ip>,
    /// Nova writes null.
    #[serde(default)]
    pub interface: Option<Value>,
    /// Further keys of Nova's model; empty so far.
    #[serde(default, deserialize_with = "null_is_default")]
    pub meta: Map<String, Value>,
    /// Keys of other releases, written back where they were.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl NetworkInfo {
    /// Reads the text of `InstanceInfoCache.network_info`; an empty text means no VIFs.
    pub fn from_text(text: &str) -> Result<Self, serde_json::Error> {
        if text.trim().is_empty() { Ok(Self::default()) } else { serde_json::from_str(text) }
    }

    /// The text of `InstanceInfoCache.network_info`, spaced as Nova spaces it.
    pub fn to_text(&self) -> Result<String, serde_json::Error> {
        spaced(&self.0)
    }

    /// The VIF of a Neutron port.
    pub fn vif(&self, port: &str) -> Option<&Vif> {
        self.0.iter().find(|vif| vif.id == port)
    }

    /// All fixed addresses, VIF by VIF.
    pub fn fixed_ips(&self) -> impl Iterator<Item = &FixedIp> {
        self.0.iter().flat_map(Vif::fixed_ips)
    }

    /// All floating addresses, VIF by VIF.
    pub fn floating_ips(&self) -> impl Iterator<Item = &Ip> {
        self.fixed_ips().flat_map(|ip| &ip.floating_ips)
    }

    /// What Ironic's `instance_info/fixed_ips` takes: the text of the list of fixed IPs, floating ones
    /// included in each.
    pub fn fixed_ips_text(&self) -> Result<String, serde_json::Error> {
        spaced(&self.fixed_ips().collect::<Vec<_>>())
    }

    /// What Ironic's `instance_info/floating_ips` takes: the text of the list of floating IPs.
    pub fn floating_ips_text(&self) -> Result<String, serde_json::Error> {
        spaced(&self.floating_ips().collect::<Vec<_>>())
    }

    /// The first fixed IPv4 address.
    pub fn first_ipv4(&self) -> Option<&str> {
        self.fixed_ips().find(|ip| ip.version == Some(4)).and_then(|ip| ip.address.as_deref())
    }

    /// The first fixed IPv4 address, else the first fixed address of any kind: the address to reach the
    /// server at.
    pub fn primary_address(&self) -> Option<&str> {
        self.first_ipv4().or_else(|| self.fixed_ips().find_map(|ip| ip.address.as_deref()))
    }

    /// The first floating address.
    pub fn first_floating(&self) -> Option<&str> {
        self.floating_ips().find_map(|ip| ip.address.as_deref())
    }
}

impl Vif {
    /// A VIF of this port with Nova's defaults in everything else.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            address: None,
            network: None,
            vif_type: None,
            details: Map::new(),
            devname: None,
            ovs_interfaceid: None,
            qbh_params: None,
            qbg_params: None,
            active: false,
            vnic_type: normal(),
            profile: None,
            preserve_on_delete: false,
            delegate_create: false,
            meta: Map::new(),
            extra: Map::new(),
        }
    }

    /// The device name Nova derives from a port id.
    pub fn device_name(port: &str) -> String {
        "tap".chars().chain(port.chars()).take(14).collect()
    }

    /// The fixed addresses of this VIF.
    pub fn fixed_ips(&self) -> impl Iterator<Item = &FixedIp> {
        self.network.iter().flat_map(|network| &network.subnets).flat_map(|subnet| &subnet.ips)
    }
}

impl Network {
    /// The MTU in bytes, when Neutron told it.
    pub fn mtu(&self) -> Option<u64> {
        self.meta.get("mtu").and_then(Value::as_u64)
    }

    /// Whether the address goes into the server by a file (`[DEFAULT] flat_injected` at the time of the
    /// build).
    pub fn injected(&self) -> bool {
        self.meta.get("injected").is_some_and(truthy)
    }

    /// The physical network that Ironic's ports are matched by.
    pub fn physical_network(&self) -> Option<&str> {
        self.meta.get("physical_network").and_then(Value::as_str)
    }

    /// The first subnet of this IP version.
    pub fn first_subnet(&self, version: u8) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| subnet.version == Some(version))
    }
}

impl Subnet {
    /// The address of the DHCP server, when Neutron has one on this subnet.
    pub fn dhcp_server(&self) -> Option<&str> {
        self.meta.get("dhcp_server").and_then(Value::as_str)
    }

    /// Whether addresses are handed out by DHCP.
    pub fn enable_dhcp(&self) -> bool {
        self.meta.get("enable_dhcp").is_some_and(truthy)
    }

    /// `slaac`, `dhcpv6-stateful`, `dhcpv6-stateless`; IPv6 only.
    pub fn ipv6_address_mode(&self) -> Option<&str> {
        self.meta.get("ipv6_address_mode").and_then(Value::as_str)
    }

    /// The gateway's address, when the subnet has one.
    pub fn gateway_address(&self) -> Option<&str> {
        self.gateway
            .as_ref()
            .and_then(|gateway| gateway.address.as_deref())
            .filter(|address| !address.is_empty())
    }

    /// Whether an address belongs to this subnet.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.cidr.as_deref().and_then(crate::cidr::Cidr::parse).is_some_and(|cidr| cidr.contains(address))
    }
}

impl Ip {
    /// An address of a kind (`gateway`, `dns`, `floating`); its version follows from the text.
    pub fn new(address: Option<String>, kind: &str) -> Self {
        let version = address.as_deref().and_then(version_of);
        Self { address, kind: Some(kind.to_owned()), version, ..Self::default() }
    }
}

impl FixedIp {
    /// A fixed address without floating ones; its version follows from the text.
    pub fn new(address: impl Into<String>) -> Self {
        let address = address.into();
        let version = version_of(&address);
        Self { address: Some(address), kind: Some("fixed".to_owned()), version, ..Self::default() }
    }
}

fn version_of(address: &str) -> Option<u8> {
    address.parse::<IpAddr>().ok().map(|address| if address.is_ipv4() { 4 } else { 6 })
}

fn normal() -> String {
    "normal".to_owned()
}

fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

fn null_is_default<'de, D: Deserializer<'de>, T: Default + DeserializeOwned>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const CAPTURED: &str = include_str!("../tests/fixtures/info-cache.txt");

    fn rich() -> Value {
        json!([{"id": "p1", "address": "aa:bb:cc:dd:ee:ff", "network": {"id": "n1", "bridge": null, "label": "net",
            "subnets": [{"cidr": "10.0.0.0/24", "dns": [{"address": "8.8.8.8", "type": "dns", "version": 4, "meta": {}}],
                "gateway": {"address": null, "type": "gateway", "version": null, "meta": {}},
                "ips": [{"address": "10.0.0.5", "type": "fixed", "version": 4, "meta": {}, "floating_ips":
                    [{"address": "1.2.3.4", "type": "floating", "version": 4, "meta": {}}]}],
                "routes": [{"cidr": "10.9.0.0/16", "gateway": {"address": "10.0.0.9", "type": "gateway", "version": 4,
                    "meta": {}}, "interface": null, "meta": {}}], "version": 4,
                "meta": {"enable_dhcp": true, "dhcp_server": "10.0.0.2"}, "later": 1}],
            "meta": {"injected": false, "tenant_id": "t", "mtu": 1500}, "new": [1]},
            "type": "other", "details": {"a": 1}, "devname": "tapp1", "ovs_interfaceid": null, "qbh_params": null,
            "qbg_params": null, "active": true, "vnic_type": "baremetal", "profile": null,
            "preserve_on_delete": true, "delegate_create": true, "meta": {}, "future": {"x": null}}])
    }

    #[test]
    fn a_captured_cache_comes_back_byte_for_byte() {
        let info = NetworkInfo::from_text(CAPTURED.trim()).unwrap();
        assert_eq!(info.to_text().unwrap(), CAPTURED.trim());
        assert_eq!(info.first_ipv4(), Some("10.88.0.196"));
    }

    #[test]
    fn unknown_keys_and_key_order_survive() {
        let info: NetworkInfo = serde_json::from_value(rich()).unwrap();
        assert_eq!(serde_json::to_string(&info).unwrap(), rich().to_string());
        assert_eq!(info.first_floating(), Some("1.2.3.4"));
        assert_eq!(info.0[0].extra["future"], json!({"x": null}));
    }

    #[test]
    fn ironic_gets_addresses_as_python_prints_them() {
        let info: NetworkInfo = serde_json::from_value(rich()).unwrap();
        assert_eq!(
            info.fixed_ips_text().unwrap(),
            r#"[{"address": "10.0.0.5", "type": "fixed", "version": 4, "meta": {}, "floating_ips": [{"address": "1.2.3.4", "type": "floating", "version": 4, "meta": {}}]}]"#
        );
        assert_eq!(NetworkInfo::default().floating_ips_text().unwrap(), "[]");
    }

    #[test]
    fn an_older_release_may_have_left_keys_out() {
        let info = NetworkInfo::from_text(r#"[{"id": "p1", "details": null, "network": null}]"#).unwrap();
        assert_eq!(info.0, [Vif::new("p1")]);
        assert_eq!(info.fixed_ips().count(), 0);
        assert_eq!(NetworkInfo::from_text("").unwrap(), NetworkInfo::default());
    }

    #[test]
    fn a_device_name_has_fourteen_characters() {
        assert_eq!(Vif::device_name("85519b84-2652-424b-bebf-dd9dde56c4d9"), "tap85519b84-26");
    }

    #[test]
    fn a_subnet_knows_its_addresses() {
        let subnet = Subnet { cidr: Some("10.0.0.0/24".to_owned()), ..Subnet::default() };
        assert!(subnet.contains("10.0.0.255".parse().unwrap()));
        assert!(!subnet.contains("10.0.1.0".parse().unwrap()));
        assert!(!subnet.contains("::1".parse().unwrap()));
    }
}
