//! The things an Ironic keeps: nodes with their ports, port groups, volume connectors and targets.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::machine::State;

/// Where Ironic keeps the VIF of a port or port group, inside `internal_info`.
pub(crate) const TENANT_VIF: &str = "tenant_vif_port_id";

/// A node as the simulator keeps it: Ironic's fields, its parts, and what it was sent.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are Ironic's own fields")]
pub struct Node {
    pub uuid: Uuid,
    pub name: Option<String>,
    pub driver: String,
    pub instance_uuid: Option<Uuid>,
    pub instance_name: Option<String>,
    pub instance_info: Map<String, Value>,
    pub properties: Map<String, Value>,
    pub provision_state: State,
    pub target_provision_state: Option<State>,
    /// `power on`, `power off`, or nothing when Ironic does not know.
    pub power_state: Option<String>,
    pub target_power_state: Option<String>,
    pub last_error: Option<String>,
    pub maintenance: bool,
    pub maintenance_reason: Option<String>,
    pub fault: Option<String>,
    /// The conductor that holds the lock.
    pub reservation: Option<String>,
    pub resource_class: Option<String>,
    pub conductor_group: String,
    pub shard: Option<String>,
    pub owner: Option<String>,
    pub lessee: Option<String>,
    pub traits: Vec<String>,
    pub console_enabled: bool,
    pub protected: bool,
    pub retired: bool,
    pub disable_power_off: bool,
    /// Ironic's policy hides the node from the client: no list has it, and every request for it gets 404.
    pub hidden: bool,
    /// Plain fields that change nothing in the simulator, as on the wire: interfaces, `extra`, `driver_info`, …
    pub other: Map<String, Value>,
    pub ports: Vec<Port>,
    pub port_groups: Vec<PortGroup>,
    pub connectors: Vec<VolumeConnector>,
    pub targets: Vec<VolumeTarget>,
    /// `console_info` as answered while the console is on.
    pub console_info: Value,
    /// The config drive of the last deploy or rebuild, as sent. Survives the tear down, for tests to look at.
    pub configdrive: Option<Value>,
    /// The password of the last rescue.
    pub rescue_password: Option<String>,
    /// How many deploys and rebuilds were accepted.
    pub deploys: u32,
    /// How many tear downs were accepted.
    pub tear_downs: u32,
    /// How many power actions were accepted.
    pub power_actions: u32,
}

impl Node {
    /// A node in `enroll` with nothing on it.
    pub fn new(uuid: Uuid) -> Self {
        Self {
            uuid,
            name: None,
            driver: "fake-hardware".into(),
            instance_uuid: None,
            instance_name: None,
            instance_info: Map::new(),
            properties: Map::new(),
            provision_state: State::Enroll,
            target_provision_state: None,
            power_state: None,
            target_power_state: None,
            last_error: None,
            maintenance: false,
            maintenance_reason: None,
            fault: None,
            reservation: None,
            resource_class: None,
            conductor_group: String::new(),
            shard: None,
            owner: None,
            lessee: None,
            traits: Vec::new(),
            console_enabled: false,
            protected: false,
            retired: false,
            disable_power_off: false,
            hidden: false,
            other: Map::new(),
            ports: Vec::new(),
            port_groups: Vec::new(),
            connectors: Vec::new(),
            targets: Vec::new(),
            console_info: json!({"type": "vnc", "url": format!("http://127.0.0.1:6090/vnc_auto.html?node={uuid}")}),
            configdrive: None,
            rescue_password: None,
            deploys: 0,
            tear_downs: 0,
            power_actions: 0,
        }
    }

    /// The VIFs attached, in the order of `GET …/vifs`: ports, then port groups.
    pub fn vifs(&self) -> Vec<String> {
        let ports = self.ports.iter().filter_map(Port::vif);
        ports.chain(self.port_groups.iter().filter_map(PortGroup::vif)).map(str::to_owned).collect()
    }

    /// The node has something to boot: an image, or a volume with boot index 0.
    pub fn has_boot_source(&self) -> bool {
        self.instance_info.contains_key("image_source") || self.targets.iter().any(|t| t.boot_index == 0)
    }

    /// Ids of all parts, which other resources' paths name.
    pub(crate) fn parts(&self) -> Vec<Uuid> {
        let ports = self.ports.iter().map(|p| p.uuid).chain(self.port_groups.iter().map(|g| g.uuid));
        let volumes = self.connectors.iter().map(|c| c.uuid).chain(self.targets.iter().map(|t| t.uuid));
        ports.chain(volumes).collect()
    }

    /// What Ironic clears when a tear down ends, well or not (`ConductorManager._do_node_tear_down`, and the deploy
    /// interface's tear down for the volume targets).
    pub(crate) fn forget_instance(&mut self) {
        self.instance_info.clear();
        self.instance_uuid = None;
        self.instance_name = None;
        self.targets.clear();
        for port in &mut self.ports {
            port.internal_info.remove(TENANT_VIF);
        }
        for group in &mut self.port_groups {
            group.internal_info.remove(TENANT_VIF);
        }
    }
}

/// A network port of a node.
#[derive(Clone, Debug)]
pub struct Port {
    pub uuid: Uuid,
    pub address: String,
    pub name: Option<String>,
    pub pxe_enabled: bool,
    pub physical_network: Option<String>,
    pub port_group: Option<Uuid>,
    pub local_link_connection: Map<String, Value>,
    pub extra: Map<String, Value>,
    pub internal_info: Map<String, Value>,
}

impl Port {
    /// The VIF attached to this very port.
    pub fn vif(&self) -> Option<&str> {
        self.internal_info.get(TENANT_VIF).and_then(Value::as_str)
    }
}

/// A bond of ports.
#[derive(Clone, Debug)]
pub struct PortGroup {
    pub uuid: Uuid,
    pub address: Option<String>,
    pub name: Option<String>,
    /// Linux's bonding mode.
    pub mode: String,
    pub standalone_ports_supported: bool,
    pub properties: Map<String, Value>,
    pub extra: Map<String, Value>,
    pub internal_info: Map<String, Value>,
}

impl PortGroup {
    /// The VIF attached to the bond.
    pub fn vif(&self) -> Option<&str> {
        self.internal_info.get(TENANT_VIF).and_then(Value::as_str)
    }
}

/// How a node presents itself to a storage: type `iqn`, `ip`, `mac`, `wwnn`, `wwpn`, …
#[derive(Clone, Debug)]
pub struct VolumeConnector {
    pub uuid: Uuid,
    pub kind: String,
    pub connector_id: String,
    pub extra: Map<String, Value>,
}

/// A volume given to a node.
#[derive(Clone, Debug)]
pub struct VolumeTarget {
    pub uuid: Uuid,
    pub volume_type: String,
    pub volume_id: String,
    pub boot_index: i64,
    pub properties: Map<String, Value>,
    pub extra: Map<String, Value>,
}
