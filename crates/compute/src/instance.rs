//! An instance as the compute manager sees it: a server that somebody asked for, on its way to or from a node.

use std::collections::BTreeMap;
use std::time::SystemTime;

use configdrive::network::NetworkInfo;
use driver::{InstanceId, NodeId};
use openstack::ironic::PowerState;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::origin::Origin;

/// What an instance is, apart from what is being done to it. The names are those of Nova's API and database.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VmState {
    /// It is being built.
    #[default]
    Building,
    /// It runs.
    Active,
    /// It is switched off.
    Stopped,
    /// It runs a rescue system.
    Rescued,
    /// Something failed; its fault says what.
    Error,
    /// It is gone, but for its record.
    Deleted,
    /// It is deleted, and can still be restored.
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
    /// A node is chosen.
    Scheduling,
    /// Its networks are allocated.
    Networking,
    /// Its disks are prepared.
    BlockDeviceMapping,
    /// Its node is deployed.
    Spawning,
    /// It is deleted.
    Deleting,
    /// It is switched off.
    #[serde(rename = "powering-off")]
    PoweringOff,
    /// It is switched on.
    #[serde(rename = "powering-on")]
    PoweringOn,
    /// A soft reboot was asked for.
    Rebooting,
    /// A soft reboot is about to begin.
    RebootPending,
    /// Its machine restarts, gracefully.
    RebootStarted,
    /// A hard reboot was asked for.
    RebootingHard,
    /// A hard reboot is about to begin.
    RebootPendingHard,
    /// Its machine restarts.
    RebootStartedHard,
    /// It is deleted such that it can be restored.
    #[serde(rename = "soft-deleting")]
    SoftDeleting,
    /// It is restored.
    Restoring,
    /// A rescue system is booted.
    Rescuing,
    /// A rescue is ended.
    Unrescuing,
    /// A rebuild was asked for.
    Rebuilding,
    /// The disks of a rebuild are prepared.
    RebuildBlockDeviceMapping,
    /// Its node is deployed again.
    RebuildSpawning,
    /// Any other task of the control plane; kept as it came.
    #[serde(untagged)]
    Other(String),
}

/// Power as the control plane stores it (`nova/compute/power_state.py`: 0 none, 1 running, 4 shut down).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Power {
    /// Not known.
    #[default]
    NoState,
    /// On.
    Running,
    /// Off.
    Shutdown,
    /// A number this driver never writes (paused, crashed, suspended).
    Other(i64),
}

impl From<&PowerState> for Power {
    fn from(state: &PowerState) -> Self {
        match state {
            PowerState::On => Self::Running,
            PowerState::Off => Self::Shutdown,
            _ => Self::NoState,
        }
    }
}

/// The size and the demands of a server.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Flavor {
    /// Its name.
    pub name: String,
    /// Virtual CPUs.
    pub vcpus: i64,
    /// MiB.
    pub memory_mb: i64,
    /// GiB.
    pub root_gb: i64,
    /// GiB.
    pub ephemeral_gb: i64,
    /// MiB.
    pub swap_mb: i64,
    /// The operator's further demands, such as resource classes and traits.
    pub extra_specs: BTreeMap<String, String>,
}

/// A public key that the user registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// The user's name for it.
    pub name: String,
    /// `ssh` or `x509`.
    pub kind: String,
    /// The public key itself.
    pub public_key: String,
}

/// The names under which the EC2 part of the metadata knows an instance, e.g. `i-00000004`, `ami-00000001`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ec2Ids {
    /// Of the instance.
    pub instance_id: Option<String>,
    /// Of its image.
    pub ami_id: Option<String>,
    /// Of its kernel, where the image has one of its own.
    pub kernel_id: Option<String>,
    /// Of its ramdisk, where the image has one of its own.
    pub ramdisk_id: Option<String>,
}

/// The names of an instance's project and user, as far as the control plane knows them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnerNames {
    /// Of the project.
    pub project: Option<String>,
    /// Of the user.
    pub user: Option<String>,
}

/// Where an instance is: the service that owns it and the node that it occupies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// The compute service's host name.
    pub host: String,
    /// The node.
    pub node: NodeId,
}

/// An instance with everything that a build or a delete looks at.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// The project that it belongs to.
    pub project_id: String,
    /// The user who asked for it.
    pub user_id: String,
    /// The compute service that owns it.
    pub host: Option<String>,
    /// The node that it is on.
    pub node: Option<NodeId>,
    /// What it is.
    pub vm_state: VmState,
    /// What is being done to it.
    pub task_state: Option<TaskState>,
    /// Its machine's power as it is shown.
    pub power: Power,
    /// Deleted in the control plane.
    pub deleted: bool,
    /// Its name in its own system.
    pub hostname: String,
    /// The user's name for it.
    pub display_name: String,
    /// Where the scheduler placed it.
    pub availability_zone: Option<String>,
    /// Glance's id of its image; empty or none for one that boots from a volume.
    pub image_ref: Option<String>,
    /// Glance's id of its kernel, where the image has one of its own.
    pub kernel_id: Option<String>,
    /// Glance's id of its ramdisk, where the image has one of its own.
    pub ramdisk_id: Option<String>,
    /// Its size.
    pub flavor: Flavor,
    /// What the user wrote on it.
    pub metadata: BTreeMap<String, String>,
    /// The image's properties as they were when the server was created.
    pub image_properties: BTreeMap<String, String>,
    /// The names of its project and user.
    pub owner_names: OwnerNames,
    /// The roles of the user who asked for the server, since its build began.
    pub boot_roles: Vec<String>,
    /// A build allocated networks, and they are still there.
    pub networks_allocated: bool,
    /// The name of its key.
    pub key_name: Option<String>,
    /// Its public key.
    pub key_data: Option<String>,
    /// Its key, whole.
    pub keypair: Option<KeyPair>,
    /// Base64, as the API received it.
    pub user_data: Option<SecretString>,
    /// Its number among those that one request made.
    pub launch_index: i64,
    /// What is common to those that one request made.
    pub reservation_id: Option<String>,
    /// The device of its root disk, such as `/dev/sda`.
    pub root_device_name: Option<String>,
    /// The device of its ephemeral disk.
    pub default_ephemeral_device: Option<String>,
    /// The device of its swap.
    pub default_swap_device: Option<String>,
    /// Whether the user wants a config drive; anything but an empty text is yes.
    pub config_drive: Option<String>,
    /// When the server became active first, or was rescued last.
    pub launched_at: Option<SystemTime>,
    /// Since when it is deleted, or waits to be.
    pub deleted_at: Option<SystemTime>,
    /// The image's `os_type`.
    pub os_type: Option<String>,
    /// Its names in the EC2 part of the metadata.
    pub ec2_ids: Ec2Ids,
    /// The server asks for certificate validation of its image, which Ironic cannot do.
    pub has_trusted_certs: bool,
    /// Its ports and addresses, as they were stored last.
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
    /// What it is now.
    pub vm_state: Option<VmState>,
    /// What is being done to it now.
    pub task_state: Option<Option<TaskState>>,
    /// Its machine's power.
    pub power: Option<Power>,
    /// Host, node, record and `launched_on` together. `Some(None)` clears them, and `launched_at` with them.
    pub home: Option<Option<Home>>,
    /// Where it is; `Some(None)` clears it.
    pub availability_zone: Option<Option<String>>,
    /// The roles of the user who asked for it.
    pub boot_roles: Option<Vec<String>>,
    /// What its build has come to with the networks.
    pub build_networks: Option<BuildNetworks>,
    /// The device of its root disk.
    pub root_device_name: Option<String>,
    /// The device of its ephemeral disk.
    pub default_ephemeral_device: Option<String>,
    /// `True` when it has a config drive that the user did not ask for.
    pub config_drive: Option<String>,
    /// Set `launched_at` to now.
    pub launched_now: bool,
    /// Set `terminated_at` to now.
    pub terminated_now: bool,
    /// Set `deleted_at` to now.
    pub deleted_now: bool,
    /// The address under which users reach it.
    pub access_ip_v4: Option<String>,
    /// The same for IPv6.
    pub access_ip_v6: Option<String>,
}

/// Which tasks an instance may have for a change to be allowed; the control plane compares and sets at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// Any task.
    Anything,
    /// One of these; `None` is "no task".
    Task(Vec<Option<TaskState>>),
}

/// A disk of a server, as it was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlockDevice {
    /// The control plane's own form of the record; goes back as it came, with the changed fields.
    pub origin: Origin,
    /// Its id.
    pub id: uuid::Uuid,
    /// `image`, `volume`, `snapshot` or `blank`.
    pub source: String,
    /// `local` or `volume`.
    pub destination: String,
    /// Its place in the boot order; 0 is the root, negative or none is not booted from.
    pub boot_index: Option<i64>,
    /// The file system, or `swap`.
    pub guest_format: Option<String>,
    /// The device under which the server sees it.
    pub device_name: Option<String>,
    /// Cinder's id of its volume.
    pub volume_id: Option<uuid::Uuid>,
    /// Cinder's id of the volume's attachment.
    pub attachment_id: Option<uuid::Uuid>,
    /// What a new volume is made of: Glance's id.
    pub image_id: Option<String>,
    /// What a new volume is made of: Cinder's id.
    pub snapshot_id: Option<String>,
    /// GiB.
    pub volume_size: Option<u64>,
    /// Cinder's name or id of the kind that a new volume is of.
    pub volume_type: Option<String>,
    /// The volume goes with the server.
    pub delete_on_termination: bool,
    /// The image's disk of this name is left out.
    pub no_device: bool,
    /// The user's tag, which bare metal cannot have.
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
