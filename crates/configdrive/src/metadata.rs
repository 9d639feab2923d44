//! What a server is told about itself: the input of the config drive.

use std::collections::BTreeMap;
use std::fmt;

use secrecy::{SecretSlice, SecretString};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::network::NetworkInfo;

/// Everything that the files of a config drive are made of. [`Metadata::new`] gives Nova's defaults.
#[derive(Clone, Debug)]
pub struct Metadata {
    /// The server's id.
    pub uuid: Uuid,
    /// The bare host name; the domain is added from `dhcp_domain`.
    pub hostname: String,
    /// The name that the user gave the server: `name` of `meta_data.json`.
    pub display_name: Option<String>,
    /// The user's own key-value pairs.
    pub meta: BTreeMap<String, String>,
    /// The server's number within one request.
    pub launch_index: i64,
    /// The zone that the scheduler chose.
    pub availability_zone: Option<String>,
    /// The id of the project that owns the server.
    pub project_id: Option<String>,
    /// Shared by all servers of one request: `r-` and eight characters.
    pub reservation_id: Option<String>,
    /// EC2's `instance-type`.
    pub flavor_name: String,
    /// `instance.key_name`; without it no key is shown at all.
    pub key_name: Option<String>,
    /// `instance.key_data`: the public key as EC2 metadata shows it.
    pub key_data: Option<String>,
    /// The first of `instance.keypairs`: the key as OpenStack metadata shows it.
    pub keypair: Option<KeyPair>,
    /// Nova's numbered ids of the server and its images.
    pub ec2_ids: Ec2Ids,
    /// Names, as EC2 metadata shows them.
    pub security_groups: Vec<String>,
    /// The device of the root disk, such as `/dev/sda`; without one EC2's mapping is Nova's default one.
    pub root_device_name: Option<String>,
    /// The device of the flavor's ephemeral disk.
    pub default_ephemeral_device: Option<String>,
    /// The device of the flavor's swap.
    pub default_swap_device: Option<String>,
    /// Volumes, swap and ephemeral disks, for EC2's mapping.
    pub block_devices: Vec<BlockDevice>,
    /// Decoded from base64.
    pub user_data: Option<SecretSlice<u8>>,
    /// Paths are those on the server.
    pub injected_files: Vec<File>,
    /// `admin_pass` of `meta_data.json`.
    pub admin_password: Option<SecretString>,
    /// The server's VIFs, from Nova's info cache.
    pub network_info: NetworkInfo,
    /// The Ironic node's ports and port groups; empty ones leave the network data as Neutron knows it.
    pub ports: Vec<NodePort>,
    /// The Ironic node's bonds.
    pub port_groups: Vec<NodePortGroup>,
    /// Contents of the vendor data file, `{}` when there is none; `None` when `[api] vendordata_providers`
    /// lacks `StaticJSON`.
    pub static_vendor_data: Option<Value>,
    /// Answers of the dynamic vendor data services by name; `None` when the providers lack `DynamicJSON`.
    pub dynamic_vendor_data: Option<Map<String, Value>>,
    /// `[api] dhcp_domain`; empty for no suffix.
    pub dhcp_domain: String,
    /// `[api] config_drive_skip_versions`, split at blanks: EC2 versions to leave out.
    pub skip_versions: Vec<String>,
    /// Whether `[DEFAULT] injected_network_template` is set: networks marked as injected get an interfaces
    /// file.
    pub inject_network: bool,
}

impl Metadata {
    /// Metadata of a server without key, user data or networks.
    pub fn new(uuid: Uuid, hostname: impl Into<String>) -> Self {
        let hostname = hostname.into();
        Self {
            uuid,
            display_name: Some(hostname.clone()),
            hostname,
            meta: BTreeMap::new(),
            launch_index: 0,
            availability_zone: None,
            project_id: None,
            reservation_id: None,
            flavor_name: String::new(),
            key_name: None,
            key_data: None,
            keypair: None,
            ec2_ids: Ec2Ids::default(),
            security_groups: Vec::new(),
            root_device_name: None,
            default_ephemeral_device: None,
            default_swap_device: None,
            block_devices: Vec::new(),
            user_data: None,
            injected_files: Vec::new(),
            admin_password: None,
            network_info: NetworkInfo::default(),
            ports: Vec::new(),
            port_groups: Vec::new(),
            static_vendor_data: Some(Value::Object(Map::new())),
            dynamic_vendor_data: None,
            dhcp_domain: "novalocal".to_owned(),
            skip_versions: SKIPPED_BY_DEFAULT.split(' ').map(str::to_owned).collect(),
            inject_network: true,
        }
    }

    /// The host name with its domain, as the server sees it.
    pub fn full_hostname(&self) -> String {
        if self.dhcp_domain.is_empty() {
            self.hostname.clone()
        } else {
            format!("{}.{}", self.hostname, self.dhcp_domain)
        }
    }
}

/// The default of `[api] config_drive_skip_versions`.
const SKIPPED_BY_DEFAULT: &str =
    "1.0 2007-01-19 2007-03-01 2007-08-29 2007-10-10 2007-12-15 2008-02-01 2008-09-01";

/// A file: on the drive, or to be put into the server. Its contents may be secret and never show in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// Relative to the drive's root without a slash in front; for an injected file the path on the server.
    pub path: String,
    /// The bytes of the file.
    pub contents: Vec<u8>,
}

impl File {
    /// A file with these contents.
    pub fn new(path: impl Into<String>, contents: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), contents: contents.into() }
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("path", &self.path).field("bytes", &self.contents.len()).finish()
    }
}

/// A public key with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    /// The name that the user gave the key.
    pub name: String,
    /// `ssh` or `x509`.
    pub kind: String,
    /// In OpenSSH's format, or a certificate in PEM.
    pub public_key: String,
}

/// The ids that EC2 metadata shows, such as `i-00000005` and `ami-00000001`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ec2Ids {
    /// `instance-id`: `i-` and a number.
    pub instance: Option<String>,
    /// `ami-id`: of the image.
    pub ami: Option<String>,
    /// `kernel-id`: of the image's kernel, where it has one of its own.
    pub kernel: Option<String>,
    /// `ramdisk-id`: of the image's ramdisk, where it has one of its own.
    pub ramdisk: Option<String>,
}

/// The part of a block device mapping that EC2 metadata shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockDevice {
    /// The device, such as `/dev/sdb`; none until Nova has named it.
    pub device_name: Option<String>,
    /// `blank`, `image`, `snapshot`, `volume`.
    pub source_type: String,
    /// `local` or `volume`.
    pub destination_type: String,
    /// `swap`, a file system, or nothing.
    pub guest_format: Option<String>,
}

/// A port of the Ironic node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePort {
    /// Ironic's id of the port.
    pub uuid: Uuid,
    /// MAC address.
    pub address: String,
    /// The bond that the port belongs to.
    pub port_group: Option<Uuid>,
    /// The Neutron port attached to it; see [`vif_port_id`].
    pub vif: Option<String>,
}

/// A port group of the Ironic node: a bond.
#[derive(Clone, Debug, PartialEq)]
pub struct NodePortGroup {
    /// Ironic's id of the bond.
    pub uuid: Uuid,
    /// MAC address; without one Neutron's stays.
    pub address: Option<String>,
    /// The bonding mode, such as `active-backup` or `802.3ad`.
    pub mode: Option<String>,
    /// Options of the Linux bonding driver, with or without the prefix `bond_`.
    pub properties: Map<String, Value>,
    /// The Neutron port attached to it; see [`vif_port_id`].
    pub vif: Option<String>,
}

/// The Neutron port that is attached to an Ironic port or port group, from its `internal_info` and `extra`.
pub fn vif_port_id(internal_info: &Map<String, Value>, extra: &Map<String, Value>) -> Option<String> {
    let named = |from: &Map<String, Value>, key: &str| {
        from.get(key).and_then(Value::as_str).filter(|id| !id.is_empty()).map(str::to_owned)
    };
    named(internal_info, "tenant_vif_port_id").or_else(|| named(extra, "vif_port_id"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let mut metadata = Metadata::new(Uuid::nil(), "h");
        metadata.admin_password = Some("pass-word".into());
        metadata.user_data = Some(b"script-text".to_vec().into());
        metadata.injected_files = vec![File::new("/etc/x", "in-jected")];
        let shown = format!("{metadata:?} {:?}", crate::files(&metadata).unwrap());
        for secret in ["pass-word", "script-text", "in-jected"] {
            assert!(!shown.contains(secret));
            assert!(!shown.contains(&format!("{:?}", secret.as_bytes())));
        }
        assert!(shown.contains("/etc/x"));
    }

    #[test]
    fn a_host_name_has_a_domain_only_when_one_is_set() {
        let mut metadata = Metadata::new(Uuid::nil(), "web-1");
        assert_eq!(metadata.full_hostname(), "web-1.novalocal");
        metadata.dhcp_domain.clear();
        assert_eq!(metadata.full_hostname(), "web-1");
    }

    #[test]
    fn the_attached_vif_is_found_in_either_place() {
        let map = |value: Value| value.as_object().cloned().unwrap();
        let (new, old) = (map(json!({"tenant_vif_port_id": "a"})), map(json!({"vif_port_id": "b"})));
        assert_eq!(vif_port_id(&new, &old).as_deref(), Some("a"));
        assert_eq!(vif_port_id(&Map::new(), &old).as_deref(), Some("b"));
        assert_eq!(vif_port_id(&Map::new(), &Map::new()), None);
    }
}
