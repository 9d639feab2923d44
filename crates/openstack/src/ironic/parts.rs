//! What belongs to a node: network cards, volumes, console, and what Ironic thinks of its interfaces.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::node::{NodeId, or_default};

fn vif_of<'a>(internal_info: &'a Map<String, Value>, extra: &'a Map<String, Value>) -> Option<&'a str> {
    internal_info.get("tenant_vif_port_id").or_else(|| extra.get("vif_port_id")).and_then(Value::as_str)
}

/// A network card of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Port {
    /// Its id.
    pub uuid: Uuid,
    /// MAC address, lower case.
    #[serde(default, deserialize_with = "or_default")]
    pub address: String,
    /// Node it is in.
    #[serde(default)]
    pub node_uuid: Option<NodeId>,
    /// Group it is a member of.
    #[serde(default)]
    pub portgroup_uuid: Option<Uuid>,
    /// Whether it boots over the network.
    #[serde(default)]
    pub pxe_enabled: Option<bool>,
    /// Physical network it is wired to.
    #[serde(default)]
    pub physical_network: Option<String>,
    /// Ironic's own notes, among them the VIF.
    #[serde(default, deserialize_with = "or_default")]
    pub internal_info: Map<String, Value>,
    /// The operator's notes; the VIF in old releases.
    #[serde(default, deserialize_with = "or_default")]
    pub extra: Map<String, Value>,
}

impl Port {
    /// The Neutron port attached to it.
    pub fn vif_id(&self) -> Option<&str> {
        vif_of(&self.internal_info, &self.extra)
    }
}

/// A bond of ports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PortGroup {
    /// Its id.
    pub uuid: Uuid,
    /// The operator's name of it.
    #[serde(default)]
    pub name: Option<String>,
    /// MAC address, if the group has one of its own.
    #[serde(default)]
    pub address: Option<String>,
    /// Node it is in.
    #[serde(default)]
    pub node_uuid: Option<NodeId>,
    /// Linux bonding mode: `active-backup`, `802.3ad`, …
    #[serde(default)]
    pub mode: Option<String>,
    /// Bonding options.
    #[serde(default, deserialize_with = "or_default")]
    pub properties: Map<String, Value>,
    /// Ironic's own notes, among them the VIF.
    #[serde(default, deserialize_with = "or_default")]
    pub internal_info: Map<String, Value>,
    /// The operator's notes; the VIF in old releases.
    #[serde(default, deserialize_with = "or_default")]
    pub extra: Map<String, Value>,
}

impl PortGroup {
    /// The Neutron port attached to it.
    pub fn vif_id(&self) -> Option<&str> {
        vif_of(&self.internal_info, &self.extra)
    }
}

/// A volume that a node shall connect to. `Debug` leaves out the properties: they hold the credentials.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct VolumeTarget {
    /// Its id in Ironic.
    pub uuid: Uuid,
    /// The node.
    #[serde(default)]
    pub node_uuid: Option<NodeId>,
    /// `iscsi`, `fibre_channel`.
    #[serde(default, deserialize_with = "or_default")]
    pub volume_type: String,
    /// Position in the boot order; 0 is the root volume.
    #[serde(default)]
    pub boot_index: Option<i64>,
    /// The volume's id in Cinder.
    #[serde(default, deserialize_with = "or_default")]
    pub volume_id: String,
    /// Cinder's connection data. Ironic masks the secrets in it.
    #[serde(default, deserialize_with = "or_default")]
    pub properties: Map<String, Value>,
}

impl fmt::Debug for VolumeTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VolumeTarget")
            .field("uuid", &self.uuid)
            .field("node_uuid", &self.node_uuid)
            .field("volume_type", &self.volume_type)
            .field("boot_index", &self.boot_index)
            .field("volume_id", &self.volume_id)
            .finish_non_exhaustive()
    }
}

/// A volume target to create. `Debug` leaves out the properties: they hold the credentials.
#[derive(Clone, PartialEq, Serialize)]
pub struct NewVolumeTarget {
    /// The node.
    pub node_uuid: NodeId,
    /// `driver_volume_type` of Cinder's connection.
    pub volume_type: String,
    /// `data` of Cinder's connection.
    pub properties: Map<String, Value>,
    /// Position in the boot order; Ironic refuses null.
    pub boot_index: Option<i64>,
    /// The volume's id in Cinder.
    pub volume_id: String,
    /// Cinder has just made the connection: a target from before does not have its secrets. Ironic is not
    /// told.
    #[serde(skip)]
    pub renewed: bool,
}

impl fmt::Debug for NewVolumeTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewVolumeTarget")
            .field("node_uuid", &self.node_uuid)
            .field("volume_type", &self.volume_type)
            .field("boot_index", &self.boot_index)
            .field("volume_id", &self.volume_id)
            .finish_non_exhaustive()
    }
}

/// How a node identifies itself to storage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeConnector {
    /// Its id in Ironic.
    pub uuid: Uuid,
    /// The node.
    #[serde(default)]
    pub node_uuid: Option<NodeId>,
    /// `ip`, `iqn`, `mac`, `wwnn`, `wwpn`, `port` or `portgroup`.
    #[serde(rename = "type", default, deserialize_with = "or_default")]
    pub kind: String,
    /// The address, name or id.
    #[serde(default, deserialize_with = "or_default")]
    pub connector_id: String,
}

/// What Ironic thinks of one interface of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceValidation {
    /// True: usable. False: not, see `reason`. `None`: the hardware type does not have it.
    #[serde(default)]
    pub result: Option<bool>,
    /// Why not.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Reply of `GET /v1/nodes/{id}/validate`: interface name (`deploy`, `power`, `storage`, …) to result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Validation(pub BTreeMap<String, InterfaceValidation>);

impl Validation {
    /// Whether the interface is usable; an interface that is not named is not.
    pub fn is_ok(&self, interface: &str) -> bool {
        self.0.get(interface).is_some_and(|validation| validation.result == Some(true))
    }

    /// Ironic's reason against an interface.
    pub fn reason(&self, interface: &str) -> Option<&str> {
        self.0.get(interface)?.reason.as_deref()
    }
}

/// A node's console. `Debug` leaves out the address: it may hold a token.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Console {
    /// Whether it is enabled.
    #[serde(default, deserialize_with = "or_default")]
    pub console_enabled: bool,
    /// Where it is, once it is enabled and running.
    #[serde(default)]
    pub console_info: Option<ConsoleInfo>,
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console")
            .field("console_enabled", &self.console_enabled)
            .field("kind", &self.console_info.as_ref().map(|info| &info.kind))
            .finish_non_exhaustive()
    }
}

/// Where a console is.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleInfo {
    /// `socat`, `shellinabox`, `vnc`, …
    #[serde(rename = "type", default, deserialize_with = "or_default")]
    pub kind: String,
    /// Its address.
    #[serde(default, deserialize_with = "or_default")]
    pub url: String,
}

impl fmt::Debug for ConsoleInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsoleInfo").field("kind", &self.kind).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "c6f082e5-e01c-4b7e-8489-e565b1177045";

    #[test]
    fn the_vif_of_a_port_is_found_in_both_places() {
        let mut port: Port =
            serde_json::from_value(json!({"uuid": ID, "extra": {"vif_port_id": "old"}})).unwrap();
        assert_eq!(port.vif_id(), Some("old"));
        port.internal_info.insert("tenant_vif_port_id".into(), "new".into());
        assert_eq!(port.vif_id(), Some("new"));
    }

    #[test]
    fn connection_data_and_console_addresses_are_not_shown() {
        let target = NewVolumeTarget {
            node_uuid: ID.parse().unwrap(),
            volume_type: "iscsi".into(),
            properties: json!({"auth_password": "hunter2"}).as_object().cloned().unwrap(),
            boot_index: Some(0),
            volume_id: "v".into(),
            renewed: false,
        };
        assert!(!format!("{target:?}").contains("hunter2"));
        let console = Console {
            console_enabled: true,
            console_info: Some(ConsoleInfo { kind: "vnc".into(), url: "http://x/?token=hunter2".into() }),
        };
        assert!(!format!("{console:?}").contains("hunter2"));
        assert!(!format!("{:?}", console.console_info).contains("hunter2"));
    }
}
