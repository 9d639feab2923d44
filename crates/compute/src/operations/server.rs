//! What Ironic and the volume service are told of a server: pure functions of the instance and the request.

use configdrive::network::NetworkInfo;
use driver::Server;
use uuid::Uuid;

use crate::instance::{BlockDevice, Instance};
use crate::options::{ConfigDriveOptions, Options};

/// The image of a server.
pub(super) struct Image<'a> {
    /// Its id; `None` where the server boots from a volume.
    pub id: Option<Uuid>,
    /// The traits that it requires of a machine.
    pub traits: &'a [String],
}

/// The server as Ironic's `instance_info` describes it.
pub(super) fn of(
    instance: &Instance,
    image: &Image<'_>,
    disks: &[BlockDevice],
    options: &Options,
) -> Result<Server, serde_json::Error> {
    let known = |name: &Option<String>| name.clone().unwrap_or_else(|| "N/A".to_owned());
    let flavor = &instance.flavor;
    let size = |n: i64| u64::try_from(n).unwrap_or_default();
    Ok(Server {
        instance: instance.id,
        image_ref: image.id.map(|image| image.to_string()),
        root_gb: size(flavor.root_gb),
        swap_mb: size(flavor.swap_mb),
        ephemeral_gb: size(flavor.ephemeral_gb),
        ephemeral_format: options.create.ephemeral_format.clone(),
        preserve_ephemeral: None,
        display_name: Some(instance.display_name.clone()),
        vcpus: size(flavor.vcpus),
        memory_mb: size(flavor.memory_mb),
        host: options.host.clone(),
        project_id: instance.project_id.clone(),
        project_name: known(&instance.owner_names.project),
        user_id: instance.user_id.clone(),
        user_name: known(&instance.owner_names.user),
        flavor_name: flavor.name.clone(),
        extra_specs: flavor.extra_specs.clone(),
        image_traits: image.traits.to_vec(),
        fixed_ips: instance.network.fixed_ips_text()?,
        floating_ips: instance.network.floating_ips_text()?,
        has_root_volume: disks.iter().any(|device| device.is_volume() && device.is_root()),
    })
}

/// Whether a server gets a config drive (`required_by` of `nova/virt/configdrive.py`).
pub(super) fn needs_config_drive(instance: &Instance, options: &ConfigDriveOptions) -> bool {
    let asked = instance.config_drive.as_deref().is_some_and(|drive| !drive.is_empty());
    let forced = options.force && instance.launched_at.is_none();
    asked || forced || instance.image_property("img_config_drive") == Some("mandatory")
}

/// The name after those that are taken, with the letters of the root disk: `/dev/sda`, `/dev/sdb`, …
pub(super) fn next_device(root: &str, taken: &[String]) -> String {
    let root = root.trim_end_matches(|c: char| c.is_ascii_digit());
    let prefix = root.strip_suffix(|c: char| c.is_ascii_lowercase()).unwrap_or("/dev/sd");
    let letters = |n: u32| char::from_u32(u32::from('a') + n).map(String::from).unwrap_or_default();
    let is_free = |name: &String| {
        name != root && !taken.iter().any(|t| t.trim_end_matches(|c: char| c.is_ascii_digit()) == name)
    };
    (0..26)
        .map(letters)
        .chain((0..26).flat_map(|a| (0..26).map(move |b| letters(a) + &letters(b))))
        .map(|letters| format!("{prefix}{letters}"))
        .find(is_free)
        .unwrap_or_else(|| root.to_owned())
}

/// The addresses that the operator shows as those to reach a server by: of the network with the configured label.
pub(super) fn access_addresses(instance: &Instance, label: Option<&str>) -> (Option<String>, Option<String>) {
    let Some(label) = label else { return (None, None) };
    let of_version = |version: u8| {
        instance
            .network
            .0
            .iter()
            .filter_map(|vif| vif.network.as_ref())
            .filter(|network| network.label.as_deref() == Some(label))
            .flat_map(|network| &network.subnets)
            .flat_map(|subnet| &subnet.ips)
            .find(|ip| ip.version == Some(version))
            .and_then(|ip| ip.address.clone())
    };
    (of_version(4), of_version(6))
}

/// The address of a VIF that a machine's volumes are reached from: of the port with this id, or the first of any.
pub(super) fn address(network: &NetworkInfo, port: Option<Uuid>) -> Option<String> {
    let port = port.map(|port| port.to_string());
    let vifs = || network.0.iter().filter(|vif| port.as_ref().is_none_or(|port| vif.id == *port));
    let of_version = |version: u8| {
        vifs()
            .filter_map(|vif| vif.network.as_ref())
            .flat_map(|network| &network.subnets)
            .flat_map(|subnet| &subnet.ips)
            .find(|ip| ip.version == Some(version))
            .and_then(|ip| ip.address.clone())
    };
    of_version(4).or_else(|| of_version(6))
}

/// The EC2 part of the metadata lists disks; this one is in it.
pub(super) fn is_listed(device: &BlockDevice) -> bool {
    !device.no_device && device.device_name.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::instance;

    #[test]
    fn disks_get_the_next_free_letter() {
        assert_eq!(next_device("/dev/sda", &["/dev/sda".to_owned()]), "/dev/sdb");
        assert_eq!(next_device("/dev/vda", &["/dev/vda".to_owned(), "/dev/vdb1".to_owned()]), "/dev/vdc");
        let all: Vec<String> = ('a'..='z').map(|c| format!("/dev/sd{c}")).collect();
        assert_eq!(next_device("/dev/sda", &all), "/dev/sdaa");
    }

    #[test]
    fn a_config_drive_is_made_when_asked_for_forced_or_demanded_by_the_image() {
        let options = ConfigDriveOptions {
            force: false,
            format: configdrive::Format::Iso9660,
            publisher: String::new(),
            dhcp_domain: String::new(),
            skip_versions: Vec::new(),
            inject_network: true,
        };
        let forced = ConfigDriveOptions { force: true, ..options.clone() };
        let mut server = instance();
        assert!(!needs_config_drive(&server, &options));
        assert!(needs_config_drive(&server, &forced));
        server.launched_at = Some(std::time::SystemTime::UNIX_EPOCH);
        assert!(!needs_config_drive(&server, &forced));
        server.config_drive = Some("True".to_owned());
        assert!(needs_config_drive(&server, &options));
        server.config_drive = None;
        server.image_properties.insert("img_config_drive".to_owned(), "mandatory".to_owned());
        assert!(needs_config_drive(&server, &options));
    }
}
