//! Neutron's resources, with the fields that we use.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// Its id.
    pub id: String,
    /// Its name.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// Project that owns it.
    #[serde(default, deserialize_with = "or_default")]
    pub tenant_id: String,
    /// Whether it is on.
    #[serde(default, deserialize_with = "or_default")]
    pub admin_state_up: bool,
    /// Whether all projects may use it.
    #[serde(default, deserialize_with = "or_default")]
    pub shared: bool,
    /// Whether it leads outside.
    #[serde(rename = "router:external", default, deserialize_with = "or_default")]
    pub external: bool,
    /// Bytes.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// Ids of its subnets.
    #[serde(default, deserialize_with = "or_default")]
    pub subnets: Vec<String>,
    /// Whether ports are filtered; absent without the extension, which means yes.
    #[serde(default)]
    pub port_security_enabled: Option<bool>,
    /// Domain that names of ports are published in.
    #[serde(default)]
    pub dns_domain: Option<String>,
    /// Of a network with a minimum bandwidth: its policy.
    #[serde(default)]
    pub qos_policy_id: Option<String>,
    /// With the extension `l2_adjacency`.
    #[serde(default)]
    pub l2_adjacency: Option<bool>,
}

/// How a network is built, for those who may see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderNetwork {
    /// `flat`, `vlan`, `vxlan`, …
    #[serde(rename = "provider:network_type", default)]
    pub network_type: Option<String>,
    /// The physical network.
    #[serde(rename = "provider:physical_network", default)]
    pub physical_network: Option<String>,
}

/// An address of a port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixedIp {
    /// The subnet it is from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet_id: Option<String>,
    /// The address; empty in a change: Neutron takes a free one of the subnet.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ip_address: String,
}

/// A port.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Port {
    /// Its id.
    #[serde(default)]
    pub id: String,
    /// Its name.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// The network it is in.
    #[serde(default)]
    pub network_id: String,
    /// MAC address, lower case.
    #[serde(default)]
    pub mac_address: String,
    /// Whether it is on.
    #[serde(default, deserialize_with = "or_default")]
    pub admin_state_up: bool,
    /// `ACTIVE`, `DOWN`, `BUILD`, `ERROR`.
    #[serde(default, deserialize_with = "or_default")]
    pub status: String,
    /// The instance it is attached to; empty for none.
    #[serde(default, deserialize_with = "or_default")]
    pub device_id: String,
    /// `compute:<zone>`, `network:dhcp`, …; empty for none.
    #[serde(default, deserialize_with = "or_default")]
    pub device_owner: String,
    /// Project that owns it.
    #[serde(default, deserialize_with = "or_default")]
    pub tenant_id: String,
    /// Its addresses.
    #[serde(default, deserialize_with = "or_default")]
    pub fixed_ips: Vec<FixedIp>,
    /// Ids of its security groups.
    #[serde(default, deserialize_with = "or_default")]
    pub security_groups: Vec<String>,
    /// The host name published for it.
    #[serde(default)]
    pub dns_name: Option<String>,
    /// `normal`, `baremetal`, …
    #[serde(rename = "binding:vnic_type", default)]
    pub vnic_type: Option<String>,
    /// `unbound`, `other`, `binding_failed`, …; absent for those who may not see it.
    #[serde(rename = "binding:vif_type", default)]
    pub vif_type: Option<String>,
    /// Details of the binding.
    #[serde(rename = "binding:vif_details", default, deserialize_with = "or_default")]
    pub vif_details: Map<String, Value>,
    /// What the one who binds it says; goes back as it came.
    #[serde(rename = "binding:profile", default, deserialize_with = "or_default")]
    pub profile: Map<String, Value>,
    /// The host it is bound to.
    #[serde(rename = "binding:host_id", default)]
    pub host_id: Option<String>,
    /// Minimum bandwidth that must be allocated in Placement.
    #[serde(default)]
    pub resource_request: Option<Value>,
}

/// A port to create.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct NewPort {
    /// The instance.
    pub device_id: String,
    /// The network.
    pub network_id: String,
    /// On.
    pub admin_state_up: bool,
    /// The instance's project.
    pub tenant_id: String,
    /// Addresses asked for; left out where empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fixed_ips: Vec<FixedIp>,
    /// Security groups asked for; left out where empty, which gives the default group.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<String>,
}

/// A change of a port; what is `None` or false is left as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PortUpdate {
    /// The instance; empty for none.
    pub device_id: Option<String>,
    /// Its owner; empty for none.
    pub device_owner: Option<String>,
    /// Sends `"binding:host_id": null`: Ironic binds the port itself, and an unbound port has no host.
    pub clear_host: bool,
    /// The whole profile.
    pub profile: Option<Map<String, Value>>,
    /// The host name to publish; empty for none.
    pub dns_name: Option<String>,
    /// All addresses of the port.
    pub fixed_ips: Option<Vec<FixedIp>>,
}

impl PortUpdate {
    /// The `port` document.
    pub(crate) fn document(&self) -> Map<String, Value> {
        let mut port = Map::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                port.insert(key.to_owned(), value);
            }
        };
        put("device_id", self.device_id.clone().map(Value::from));
        put("device_owner", self.device_owner.clone().map(Value::from));
        put("binding:host_id", self.clear_host.then_some(Value::Null));
        put("binding:profile", self.profile.clone().map(Value::from));
        put("dns_name", self.dns_name.clone().map(Value::from));
        put("fixed_ips", self.fixed_ips.as_ref().map(|addresses| json!(addresses)));
        port
    }
}

/// A route to hosts of a subnet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRoute {
    /// Where to.
    pub destination: String,
    /// Through.
    pub nexthop: String,
}

/// A subnet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Subnet {
    /// Its id.
    pub id: String,
    /// The network it is in.
    #[serde(default)]
    pub network_id: String,
    /// 4 or 6.
    #[serde(default)]
    pub ip_version: u8,
    /// Its range.
    #[serde(default)]
    pub cidr: String,
    /// The router, if any.
    #[serde(default)]
    pub gateway_ip: Option<String>,
    /// Whether Neutron serves DHCP in it.
    #[serde(default)]
    pub enable_dhcp: Option<bool>,
    /// Name servers, in order.
    #[serde(default, deserialize_with = "or_default")]
    pub dns_nameservers: Vec<String>,
    /// Further routes.
    #[serde(default, deserialize_with = "or_default")]
    pub host_routes: Vec<HostRoute>,
    /// `slaac`, `dhcpv6-stateful`, `dhcpv6-stateless`.
    #[serde(default)]
    pub ipv6_address_mode: Option<String>,
    /// As above, of the router's advertisements.
    #[serde(default)]
    pub ipv6_ra_mode: Option<String>,
}

/// A floating address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloatingIp {
    /// Its id.
    #[serde(default)]
    pub id: String,
    /// The address outside.
    pub floating_ip_address: String,
    /// The address inside.
    #[serde(default)]
    pub fixed_ip_address: Option<String>,
    /// The port it leads to.
    #[serde(default)]
    pub port_id: Option<String>,
}

/// A security group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroup {
    /// Its id.
    pub id: String,
    /// Its name, not unique.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
}

/// Which networks to list; the default is all that the caller sees.
#[derive(Clone, Debug, Default)]
pub struct NetworkFilter {
    /// Only these.
    pub ids: Vec<String>,
    /// Only this project's.
    pub tenant_id: Option<String>,
    /// Only shared ones, or only others.
    pub shared: Option<bool>,
    /// Only those that are on, or off.
    pub admin_state_up: Option<bool>,
}

/// Which ports to list; the default is all that the caller sees.
#[derive(Clone, Debug, Default)]
pub struct PortFilter {
    /// Only this project's.
    pub tenant_id: Option<String>,
    /// Only those attached to one of these instances.
    pub device_ids: Vec<String>,
    /// Only those with this owner.
    pub device_owner: Option<String>,
    /// Only those in this network.
    pub network_id: Option<String>,
    /// Only those with this address.
    pub ip_address: Option<String>,
    /// Fields to return; empty for all.
    pub fields: &'static [&'static str],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_sends_only_what_is_to_change_and_null_for_the_host() {
        let update = PortUpdate {
            device_id: Some("i".into()),
            device_owner: Some("compute:nova".into()),
            clear_host: true,
            ..PortUpdate::default()
        };
        assert_eq!(
            serde_json::to_string(&update.document()).unwrap(),
            r#"{"device_id":"i","device_owner":"compute:nova","binding:host_id":null}"#
        );
        assert!(PortUpdate::default().document().is_empty());
    }

    #[test]
    fn an_address_that_neutron_chooses_is_a_subnet_alone() {
        let chosen = FixedIp { subnet_id: Some("s".into()), ip_address: String::new() };
        let kept = FixedIp { ip_address: "10.0.0.2".into(), ..chosen.clone() };
        let update = PortUpdate { fixed_ips: Some(vec![kept, chosen]), ..PortUpdate::default() };
        assert_eq!(
            serde_json::to_value(update.document()).unwrap(),
            json!({"fixed_ips": [{"subnet_id": "s", "ip_address": "10.0.0.2"}, {"subnet_id": "s"}]})
        );
    }

    #[test]
    fn a_new_port_is_as_captured() {
        let port = NewPort {
            device_id: "i".into(),
            network_id: "n".into(),
            admin_state_up: true,
            tenant_id: "p".into(),
            ..NewPort::default()
        };
        assert_eq!(
            serde_json::to_value(&port).unwrap(),
            json!({"device_id": "i", "network_id": "n", "admin_state_up": true, "tenant_id": "p"})
        );
    }

    #[test]
    fn a_port_of_which_only_some_fields_were_asked_for_is_read() {
        let port: Port = serde_json::from_value(json!({"device_id": "i"})).unwrap();
        assert_eq!(port.device_id, "i");
        let nulls: Port =
            serde_json::from_value(json!({"id": "p", "binding:profile": null, "device_id": null})).unwrap();
        assert!(nulls.profile.is_empty() && nulls.device_id.is_empty());
    }
}
