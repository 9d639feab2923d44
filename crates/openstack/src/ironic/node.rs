//! Ironic's node, with the fields that we use, how to list nodes and how to change one.
//!
//! Every field but the id has a default, because `?fields=` leaves out what was not asked for and null is as
//! good as absent.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::state::{PowerState, ProvisionState};

/// A node's uuid. Also its provider's uuid in Placement and the `ComputeNode`'s in Nova.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub Uuid);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for NodeId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

impl From<Uuid> for NodeId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

/// JSON null reads as the default.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// The fields of a node that nova-compute reads (`_NODE_FIELDS` of Nova's driver), for `?fields=`. Which allocation of Ironic's has a
/// node need not be asked: it writes its id as `instance_uuid`, and a list with `allocation_uuid` among its fields is answered 500.
pub const NODE_FIELDS: &[&str] = &[
    "uuid",
    "power_state",
    "target_power_state",
    "provision_state",
    "target_provision_state",
    "last_error",
    "maintenance",
    "properties",
    "instance_uuid",
    "traits",
    "resource_class",
];

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its id.
    pub uuid: NodeId,
    /// The operator's name of it.
    #[serde(default)]
    pub name: Option<String>,
    /// The instance it is reserved for or carries.
    #[serde(default)]
    pub instance_uuid: Option<Uuid>,
    /// Where it stands.
    #[serde(default)]
    pub provision_state: ProvisionState,
    /// Where it is going.
    #[serde(default)]
    pub target_provision_state: ProvisionState,
    /// Its power, as last seen.
    #[serde(default)]
    pub power_state: PowerState,
    /// The power change under way.
    #[serde(default)]
    pub target_power_state: PowerState,
    /// Why the last operation failed.
    #[serde(default)]
    pub last_error: Option<String>,
    /// Set aside by an operator or by a fault.
    #[serde(default, deserialize_with = "or_default")]
    pub maintenance: bool,
    /// What an operator wrote beside `maintenance`.
    #[serde(default)]
    pub maintenance_reason: Option<String>,
    /// Fault that put it in maintenance: `power failure`, `clean failure`, …
    #[serde(default)]
    pub fault: Option<String>,
    /// `cpu_arch`, `capabilities`, `local_gb`, … as the operator or inspection wrote them.
    #[serde(default, deserialize_with = "or_default")]
    pub properties: Map<String, Value>,
    /// Traits for scheduling.
    #[serde(default, deserialize_with = "or_default")]
    pub traits: Vec<String>,
    /// The class it is scheduled by; without it the node cannot be offered.
    #[serde(default)]
    pub resource_class: Option<String>,
    /// What the deployment was told. Ironic masks the secrets in it.
    #[serde(default, deserialize_with = "or_default")]
    pub instance_info: Map<String, Value>,
    /// The driver's own notes. Ironic masks the secrets in it.
    #[serde(default, deserialize_with = "or_default")]
    pub driver_internal_info: Map<String, Value>,
    /// The operator's own notes.
    #[serde(default, deserialize_with = "or_default")]
    pub extra: Map<String, Value>,
    /// Group of conductors that manage it (API 1.46); empty is the default group.
    #[serde(default)]
    pub conductor_group: Option<String>,
    /// Shard it belongs to (API 1.82).
    #[serde(default)]
    pub shard: Option<String>,
    /// Project that owns it.
    #[serde(default)]
    pub owner: Option<String>,
    /// The conductor that holds it locked right now.
    #[serde(default)]
    pub reservation: Option<String>,
    /// Whether its console is enabled.
    #[serde(default, deserialize_with = "or_default")]
    pub console_enabled: bool,
    /// Deploy, boot, storage, … interface names where asked for.
    #[serde(default)]
    pub storage_interface: Option<String>,
    /// Last change of the record, ISO 8601, as Ironic wrote it.
    #[serde(default)]
    pub updated_at: Option<String>,
    /// Last change of the provision state, ISO 8601, as Ironic wrote it.
    #[serde(default)]
    pub provision_updated_at: Option<String>,
}

impl Node {
    /// A node of which nothing is known but its id.
    pub fn new(uuid: NodeId) -> Self {
        Self {
            uuid,
            name: None,
            instance_uuid: None,
            provision_state: ProvisionState::NoState,
            target_provision_state: ProvisionState::NoState,
            power_state: PowerState::NoState,
            target_power_state: PowerState::NoState,
            last_error: None,
            maintenance: false,
            maintenance_reason: None,
            fault: None,
            properties: Map::new(),
            traits: Vec::new(),
            resource_class: None,
            instance_info: Map::new(),
            driver_internal_info: Map::new(),
            extra: Map::new(),
            conductor_group: None,
            shard: None,
            owner: None,
            reservation: None,
            console_enabled: false,
            storage_interface: None,
            updated_at: None,
            provision_updated_at: None,
        }
    }
}

/// What to list of the nodes; the default is all of them with all fields.
#[derive(Clone, Debug, Default)]
pub struct NodeQuery {
    /// Fields to return (`uuid` is always asked for); empty returns all.
    pub fields: &'static [&'static str],
    /// Only this conductor group; `Some("")` is the default group. API 1.46.
    pub conductor_group: Option<String>,
    /// Only this shard. API 1.82.
    pub shard: Option<String>,
    /// Only nodes in this state.
    pub provision_state: Option<ProvisionState>,
    /// Only the node of this instance.
    pub instance_uuid: Option<Uuid>,
    /// Only nodes with (true) or without (false) an instance.
    pub associated: Option<bool>,
    /// Page size; 1000 where `None`, which is also the most that Ironic grants by default (`[api]
    /// max_limit`).
    pub limit: Option<u32>,
}

/// One operation of a JSON patch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Patch {
    /// Add or overwrite.
    Add {
        /// `/instance_info/root_gb`, …
        path: String,
        /// The new value.
        value: Value,
    },
    /// Overwrite; Ironic refuses a path that does not exist.
    Replace {
        /// As above.
        path: String,
        /// The new value.
        value: Value,
    },
    /// Remove; Ironic refuses a path that does not exist.
    Remove {
        /// As above.
        path: String,
    },
}

impl Patch {
    /// `{"op": "add", …}`.
    pub fn add(path: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::Add { path: path.into(), value: value.into() }
    }

    /// `{"op": "replace", …}`.
    pub fn replace(path: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::Replace { path: path.into(), value: value.into() }
    }

    /// `{"op": "remove", …}`.
    pub fn remove(path: impl Into<String>) -> Self {
        Self::Remove { path: path.into() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "c6f082e5-e01c-4b7e-8489-e565b1177045";

    #[test]
    fn a_node_needs_nothing_but_its_id_and_takes_null_for_everything_else() {
        let bare: Node = serde_json::from_value(json!({"uuid": ID})).unwrap();
        assert_eq!(bare, Node::new(ID.parse().unwrap()));
        let nulls: Node = serde_json::from_value(json!({
            "uuid": ID, "properties": null, "traits": null, "maintenance": null, "power_state": null,
            "provision_state": null, "instance_info": null, "instance_uuid": null, "links": []
        }))
        .unwrap();
        assert_eq!(nulls, bare);
    }

    #[test]
    fn a_patch_is_written_as_json_patch() {
        let patch =
            [Patch::replace("/instance_uuid", "x"), Patch::add("/a", json!([1])), Patch::remove("/b")];
        assert_eq!(
            serde_json::to_value(&patch).unwrap(),
            json!([
                {"op": "replace", "path": "/instance_uuid", "value": "x"},
                {"op": "add", "path": "/a", "value": [1]},
                {"op": "remove", "path": "/b"}
            ])
        );
    }
}
