//! Neutron in memory: one network, and ports.

use serde_json::{Value, json};
use uuid::Uuid;

use super::services::{Answer, Ask};

/// The network that the captured request asks for, and its project.
const NETWORK: &str = "5058945c-91c2-42a7-aa3c-a8f779852e7d";
const PROJECT: &str = "93eb11920d2a4f239fb19bdf1fe772ae";
const SUBNET: &str = "7090745b-0fef-4c69-a304-f623269ffda3";

#[derive(Default)]
pub struct Neutron {
    pub ports: Vec<Value>,
    made: u32,
}

impl Neutron {
    pub fn answer(&mut self, ask: &Ask) -> Option<Answer> {
        let network = json!({"id": NETWORK, "name": "smoke-net", "tenant_id": PROJECT, "mtu": 1500, "subnets": [SUBNET],
            "shared": false, "admin_state_up": true, "router:external": false, "port_security_enabled": true,
            "provider:physical_network": "physnet1", "provider:network_type": "vlan"});
        let ["v2.0", path @ ..] = ask.path else { return None };
        Some(match (ask.method, path) {
            ("GET", ["extensions"]) => (200, json!({ "extensions": [] })),
            ("GET", ["networks"]) => (200, json!({ "networks": [network] })),
            ("GET", ["networks", NETWORK]) => (200, json!({ "network": network })),
            ("GET", ["subnets"]) => {
                let subnet = json!({"id": SUBNET, "network_id": NETWORK, "ip_version": 4, "cidr": "10.88.0.0/24",
                    "gateway_ip": "10.88.0.1", "enable_dhcp": false, "dns_nameservers": [], "host_routes": []});
                (200, json!({ "subnets": [subnet] }))
            }
            ("GET", ["floatingips"]) => (200, json!({ "floatingips": [] })),
            ("GET", ["security-groups"]) => (200, json!({ "security_groups": [] })),
            ("GET", ["ports"]) => {
                let fits = |port: &&Value| {
                    let of = ask.query.iter().filter(|(key, _)| key != "fields");
                    of.into_iter().all(|(key, value)| port[key] == *value)
                };
                (200, json!({"ports": self.ports.iter().filter(fits).collect::<Vec<_>>()}))
            }
            ("POST", ["ports"]) => {
                self.made += 1;
                let mut port = ask.body["port"].clone();
                for (key, value) in [
                    ("id", json!(Uuid::new_v4())),
                    ("device_owner", json!("")),
                    ("mac_address", json!(format!("fa:16:3e:00:00:{:02x}", self.made))),
                    ("status", json!("DOWN")),
                    ("binding:vif_type", json!("unbound")),
                    ("binding:vnic_type", json!("normal")),
                    ("binding:profile", json!({})),
                    ("security_groups", json!([])),
                    (
                        "fixed_ips",
                        json!([{"subnet_id": SUBNET, "ip_address": format!("10.88.0.{}", 9 + self.made)}]),
                    ),
                ] {
                    port[key] = value;
                }
                self.ports.push(port.clone());
                (201, json!({ "port": port }))
            }
            (method, ["ports", id]) => {
                let at = self.ports.iter().position(|port| port["id"] == *id);
                let Some(at) = at else {
                    return Some((404, json!({"NeutronError": {"type": "PortNotFound"}})));
                };
                match method {
                    "DELETE" => {
                        self.ports.remove(at);
                        return Some((204, Value::Null));
                    }
                    "PUT" => {
                        for (key, value) in ask.body["port"].as_object().unwrap() {
                            self.ports[at][key] = value.clone();
                        }
                    }
                    _ => {}
                }
                (200, json!({ "port": self.ports[at] }))
            }
            _ => return None,
        })
    }
}
