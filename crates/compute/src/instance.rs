//! An instance as the compute manager sees it: a server that somebody asked for, on its way to or from a node.

use std::collections::BTreeMap;
use std::time::SystemTime;

use configdrive::network::NetworkInfo;
use driver::{InstanceId, NodeId};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::origin::Origin;

/// What an instance is, apart from what is being done to it. The names are those of Nova's API and database.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VmState {
    #[default]
    Building,
    Active,
    Stopped,
    Rescued,
    Error,
    Deleted,
    #[serde(rename = "soft-delete")]
    SoftDeleted,
    /// Any other state of the control plane; kept as it came.
    #[serde(untagged)]
    Other(String),
}

/// What is being done to an instance; `None` where an `Option` of it stands is "nothing".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    Scheduling,
    Networking,
    BlockDeviceMapping,
    Spawning,
    Deleting,
    #[serde(rename = "powering-off")]
    PoweringOff,
    #[serde(rename = "powering-on")]
    PoweringOn,
    Rebooting,
    RebootPending,
    RebootStarted,
    RebootingHard,
    RebootPendingHard,
    RebootStartedHard,
    #[serde(rename = "soft-deleting")]
    SoftDeleting,
    Restoring,
    Rescuing,
    Unrescuing,
    Rebuilding,
    RebuildBlockDeviceMapping,
    RebuildSpawning,
    /// Any other task of the control plane; kept as it came.
    #[serde(untagged)]
    Other(String),
}

/// Power as the control plane stores it (`nova/compute/power_state.py`: 0 none, 1 running, 4 shut down).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Power {
    #[default]
    NoState,
    Running,
    Shutdown,
    /// A number this driver never writes (paused, crashed, suspended).
    Other(i64),
}

/// The size and the demands of a server.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Flavor {
    pub name: String,
    pub vcpus: i64,
    /// MiB.
    pub memory_mb: i64,
    /// GiB.
    pub root_gb: i64,
    /// GiB.
    pub ephemeral_gb: i64,
    /// MiB.
    pub swap_mb: i64,
    pub extra_specs: BTreeMap<String, String>,
}

/// A public key that the user registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPair {
    pub name: String,
    /// `ssh` or `x509`.
    pub kind: String,
    pub public_key: String,
}

/// The names under which the EC2 part of the metadata knows an instance, e.g. `i-00000004`, `ami-00000001`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ec2Ids {
    pub instance_id: Option<String>,
    pub ami_id: Option<String>,
    pub kernel_id: Option<String>,
    pub ramdisk_id: Option<String>,
}

/// The names of an instance's project and user, as far as the control plane knows them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnerNames {
    pub project: Option<String>,
    pub user: Option<String>,
}

/// Where an instance is: the service that owns it and the node that it occupies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// The compute service's host name.
    pub host: String,
    pub node: NodeId,
}

/// An instance with everything that a build or a delete looks at.
#[derive(Debug, Clone)]
pub struct Instance {
    pub id: InstanceId,
    pub project_id: String,
    pub user_id: String,
    pub host: Option<String>,
    pub node: Option<NodeId>,
    pub vm_state: VmState,
    pub task_state: Option<TaskState>,
    pub power: Power,
    /// Deleted in the control plane.
    pub deleted: bool,
    pub hostname: String,
    pub display_name: String,
    pub availability_zone: Option<String>,
    pub image_ref: Option<String>,
    pub kernel_id: Option<String>,
    pub ramdisk_id: Option<String>,
    pub flavor: Flavor,
    pub metadata: BTreeMap<String, String>,
    /// The image's properties as they were when the server was created.
    pub image_properties: BTreeMap<String, String>,
    pub owner_names: OwnerNames,
    /// The roles of the user who asked for the server, since its build began.
    pub boot_roles: Vec<String>,
    /// A build allocated networks, and they are still there.
    pub networks_allocated: bool,
    pub key_name: Option<String>,
    pub key_data: Option<String>,
    pub keypair: Option<KeyPair>,
    /// Base64, as the API received it.
    pub user_data: Option<SecretString>,
    pub launch_index: i64,
    pub reservation_id: Option<String>,
    pub root_device_name: Option<String>,
    pub default_ephemeral_device: Option<String>,
    pub default_swap_device: Option<String>,
    pub config_drive: Option<String>,
    /// When the server became active first, or was rescued last.
    pub launched_at: Option<SystemTime>,
    /// Since when it is deleted, or waits to be.
    pub deleted_at: Option<SystemTime>,
    pub os_type: Option<String>,
    pub ec2_ids: Ec2Ids,
    /// The server asks for certificate validation of its image, which Ironic cannot do.
    pub has_trusted_certs: bool,
    pub network: NetworkInfo,
    /// What the control plane keeps of the instance beyond this; goes back to it as it came.
    pub origin: Origin,
}

impl Instance {
    /// An instance of which only the id is known: being built, on no host, everything else empty.
    pub fn new(id: InstanceId) -> Self {
        Self {
            id,
            project_id: String::new(),
            user_id: String::new(),
            host: None,
            node: None,
            vm_state: VmState::default(),
            task_state: None,
            power: Power::default(),
            deleted: false,
            hostname: String::new(),
            display_name: String::new(),
            availability_zone: None,
            image_ref: None,
            kernel_id: None,
            ramdisk_id: None,
            flavor: Flavor::default(),
            metadata: BTreeMap::new(),
            image_properties: BTreeMap::new(),
            owner_names: OwnerNames::default(),
            boot_roles: Vec::new(),
            networks_allocated: false,
            key_name: None,
            key_data: None,
            keypair: None,
            user_data: None,
            launch_index: 0,
            reservation_id: None,
            root_device_name: None,
            default_ephemeral_device: None,
            default_swap_device: None,
            config_drive: None,
            launched_at: None,
            deleted_at: None,
            os_type: None,
            ec2_ids: Ec2Ids::default(),
            has_trusted_certs: false,
            network: NetworkInfo::default(),
            origin: Origin::default(),
        }
    }

    /// Whether it is being created.
    pub fn is_being_built(&self) -> bool {
        self.vm_state == VmState::Building
            || matches!(
                self.task_state,
                Some(
                    TaskState::Scheduling
                        | TaskState::Networking
                        | TaskState::BlockDeviceMapping
                        | TaskState::Spawning
                )
            )
    }

    /// Whether it is being deleted.
    pub fn is_being_deleted(&self) -> bool {
        self.task_state == Some(TaskState::Deleting) || self.vm_state == VmState::Deleted
    }

    /// A property of the image as it was when the server was created.
    pub fn image_property(&self, name: &str) -> Option<&str> {
        self.image_properties.get(name).map(String::as_str)
    }
}

/// What a build has come to with the instance's networks; a restart, and the next node, go on from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildNetworks {
    /// They are allocated and on the node.
    Allocated,
    /// They were given back; another node begins anew.
    Released,
    /// The build is over; nothing is kept of it.
    Over,
}

/// The changes that one step makes to an instance; a field that is `None` is left alone.
#[derive(Debug, Clone, Default)]
pub struct InstanceUpdate {
    pub vm_state: Option<VmState>,
    pub task_state: Option<Option<TaskState>>,
    pub power: Option<Power>,
    /// Host, node, record and `launched_on` together. `Some(None)` clears them, and `launched_at` with them.
    pub home: Option<Option<Home>>,
    pub availability_zone: Option<Option<String>>,
    pub boot_roles: Option<Vec<String>>,
    pub build_networks: Option<BuildNetworks>,
    pub root_device_name: Option<String>,
    pub default_ephemeral_device: Option<String>,
    pub config_drive: Option<String>,
    /// Set `launched_at` to now.
    pub launched_now: bool,
    /// Set `terminated_at` to now.
    pub terminated_now: bool,
    /// Set `deleted_at` to now.
    pub deleted_now: bool,
    pub access_ip_v4: Option<String>,
    pub access_ip_v6: Option<String>,
}

/// Which tasks an instance may have for a change to be allowed; the control plane compares and sets at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    Anything,
    /// One of these; `None` is "no task".
    Task(Vec<Option<TaskState>>),
}

/// A disk of a server, as it was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlockDevice {
    /// The control plane's own form of the record; goes back as it came, with the changed fields.
    pub origin: Origin,
    pub id: uuid::Uuid,
    /// `image`, `volume`, `snapshot` or `blank`.
    pub source: String,
    /// `local` or `volume`.
    pub destination: String,
    pub boot_index: Option<i64>,
    pub guest_format: Option<String>,
    pub device_name: Option<String>,
    pub volume_id: Option<uuid::Uuid>,
    pub attachment_id: Option<uuid::Uuid>,
    /// What a new volume is made of: Glance's id.
    pub image_id: Option<String>,
    /// What a new volume is made of: Cinder's id.
    pub snapshot_id: Option<String>,
    /// GiB.
    pub volume_size: Option<u64>,
    /// Cinder's name or id of the kind that a new volume is of.
    pub volume_type: Option<String>,
    pub delete_on_termination: bool,
    pub no_device: bool,
    pub tag: Option<String>,
}

impl BlockDevice {
    /// Whether this disk is a Cinder volume.
    pub fn is_volume(&self) -> bool {
        self.destination == "volume" && !self.no_device
    }

    /// Whether the server boots from this disk.
    pub fn is_root(&self) -> bool {
        self.boot_index == Some(0) && !self.no_device
    }
}
