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
    /// Ironic's id of the node.
    pub uuid: Uuid,
    /// Unique, where there is one.
    pub name: Option<String>,
    /// The hardware type.
    pub driver: String,
    /// The server on the node; also set by an allocation of Ironic's.
    pub instance_uuid: Option<Uuid>,
    /// The server's name, from API 1.104.
    pub instance_name: Option<String>,
    /// What a deployment is made of: image, sizes, traits.
    pub instance_info: Map<String, Value>,
    /// `cpus`, `memory_mb`, `local_gb`, `cpu_arch`, `capabilities`.
    pub properties: Map<String, Value>,
    /// Where the state machine stands.
    pub provision_state: State,
    /// Where it is heading; none in a stable state.
    pub target_provision_state: Option<State>,
    /// `power on`, `power off`, or nothing when Ironic does not know.
    pub power_state: Option<String>,
    /// The power state that a conductor is bringing about.
    pub target_power_state: Option<String>,
    /// What went wrong last, as operators read it.
    pub last_error: Option<String>,
    /// An operator, or a fault, took the node out of service.
    pub maintenance: bool,
    /// Why.
    pub maintenance_reason: Option<String>,
    /// The kind of a fault that Ironic found itself: `power failure`, `clean failure` …
    pub fault: Option<String>,
    /// The conductor that holds the lock.
    pub reservation: Option<String>,
    /// What the node is one of in Placement, without `CUSTOM_`.
    pub resource_class: Option<String>,
    /// The conductors that may manage it; empty for the default group.
    pub conductor_group: String,
    /// The shard of API clients that it belongs to.
    pub shard: Option<String>,
    /// The project that owns the node.
    pub owner: Option<String>,
    /// The project that the node is lent to.
    pub lessee: Option<String>,
    /// As Placement knows them.
    pub traits: Vec<String>,
    /// The console is on.
    pub console_enabled: bool,
    /// It cannot be torn down or rebuilt.
    pub protected: bool,
    /// It cannot become available.
    pub retired: bool,
    /// It cannot be powered off (API 1.95).
    pub disable_power_off: bool,
    /// Ironic's policy hides the node from the client: no list has it, and every request for it gets 404.
    pub hidden: bool,
    /// Plain fields that change nothing in the simulator, as on the wire: interfaces, `extra`, `driver_info`,
    /// …
    pub other: Map<String, Value>,
    /// Its NICs.
    pub ports: Vec<Port>,
    /// Its bonds.
    pub port_groups: Vec<PortGroup>,
    /// How it presents itself to storage.
    pub connectors: Vec<VolumeConnector>,
    /// The volumes given to it.
    pub targets: Vec<VolumeTarget>,
    /// `console_info` as answered while the console is on; null where the node has no console interface.
    pub console_info: Value,
    /// The config drive of the last deploy or rebuild, as sent. Survives the tear down, for tests to look at.
    pub configdrive: Option<Value>,
    /// The password of the last rescue.
    pub rescue_password: Option<String>,
    /// How many deploys and rebuilds were accepted.
    pub deploys: u32,
    /// How many tear downs were accepted.
    pub tear_downs: u32,
    /// How many rescues were accepted.
    pub rescues: u32,
    /// How many power actions were accepted.
    pub power_actions: u32,
    /// How many non-maskable interrupts the machine has got.
    pub interrupts: u32,
    /// How often the provision state has changed.
    pub moves: u64,
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
            rescues: 0,
            power_actions: 0,
            interrupts: 0,
            moves: 0,
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

    /// Switches the console; where a graphical one is served is in `driver_internal_info` while it is on (`GraphicalConsole` of
    /// Ironic).
    pub(crate) fn set_console(&mut self, enabled: bool) {
        self.console_enabled = enabled;
        let info = self.other.entry("driver_internal_info").or_insert_with(|| json!({}));
        if let Some(info) = info.as_object_mut().filter(|_| self.console_info["type"] == "vnc") {
            info.remove("vnc_host");
            info.remove("vnc_port");
            if enabled {
                info.extend([("vnc_host".into(), json!("192.0.2.1")), ("vnc_port".into(), json!(5900))]);
            }
        }
    }

    /// What Ironic clears when a tear down ends, well or not (`ConductorManager._do_node_tear_down`, and the
    /// deploy interface's tear down for the volume targets).
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
    /// Ironic's id of the port.
    pub uuid: Uuid,
    /// MAC address.
    pub address: String,
    /// An operator's name for it.
    pub name: Option<String>,
    /// The node may boot from it.
    pub pxe_enabled: bool,
    /// The Neutron network that it is plugged into.
    pub physical_network: Option<String>,
    /// The bond it belongs to.
    pub port_group: Option<Uuid>,
    /// `switch_id`, `port_id`, `switch_info`.
    pub local_link_connection: Map<String, Value>,
    /// An operator's notes, and the VIF in old deployments.
    pub extra: Map<String, Value>,
    /// `tenant_vif_port_id` when a VIF is attached, and what else Ironic notes.
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
    /// Ironic's id of the bond.
    pub uuid: Uuid,
    /// MAC address; none leaves it to the ports.
    pub address: Option<String>,
    /// An operator's name for it.
    pub name: Option<String>,
    /// Linux's bonding mode.
    pub mode: String,
    /// Its ports may be used one by one, too.
    pub standalone_ports_supported: bool,
    /// Options of Linux's bonding driver.
    pub properties: Map<String, Value>,
    /// An operator's notes, and the VIF in old deployments.
    pub extra: Map<String, Value>,
    /// `tenant_vif_port_id` when a VIF is attached, and what else Ironic notes.
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
    /// Ironic's id of the connector.
    pub uuid: Uuid,
    /// The `type` on the wire.
    pub kind: String,
    /// The initiator's name, or its address.
    pub connector_id: String,
    /// An operator's notes.
    pub extra: Map<String, Value>,
}

/// A volume given to a node.
#[derive(Clone, Debug)]
pub struct VolumeTarget {
    /// Ironic's id of the target.
    pub uuid: Uuid,
    /// `iscsi`, `fibre_channel`, …
    pub volume_type: String,
    /// Cinder's id of the volume.
    pub volume_id: String,
    /// 0 for the root; unique on a node.
    pub boot_index: i64,
    /// How to reach the volume, as Cinder told it.
    pub properties: Map<String, Value>,
    /// The caller's notes.
    pub extra: Map<String, Value>,
}
