//! The EC2 half of the drive: `ec2/<version>/meta-data.json` and `user-data`.

use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use crate::{BlockDevice, Error, File, Metadata};

/// The versions in their order. `latest` stands for the last of them.
const VERSIONS: [&str; 9] = [
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
];
const LATEST: &str = "latest";

/// The files of all versions that are not skipped.
pub(crate) fn files(metadata: &Metadata) -> Result<Vec<File>, Error> {
    let mut files = Vec::new();
    for version in VERSIONS.into_iter().chain([LATEST]) {
        if metadata.skip_versions.iter().any(|skipped| skipped == version) {
            continue;
        }
        if let Some(user_data) = &metadata.user_data {
            files.push(File::new(format!("ec2/{version}/user-data"), user_data.expose_secret()));
        }
        files.push(File::new(
            format!("ec2/{version}/meta-data.json"),
            serde_json::to_vec(&meta_data(metadata, version))?,
        ));
    }
    Ok(files)
}

fn meta_data(metadata: &Metadata, version: &str) -> Map<String, Value> {
    // Dates compare as text, and both `1.0` and `latest` fall on the right side.
    let since = |first: &str| version >= first;
    let hostname = metadata.full_hostname();
    let ids = &metadata.ec2_ids;
    let mut data = Map::new();
    let mut put = |key: &str, value: Value| {
        data.insert(key.to_owned(), value);
    };
    put("ami-id", json!(ids.ami));
    put("ami-launch-index", json!(metadata.launch_index));
    // Nova's own value, to the letter: instances have read it for years.
    put("ami-manifest-path", json!("FIXME"));
    put("instance-id", json!(ids.instance));
    put("hostname", json!(hostname));
    put("local-ipv4", json!(metadata.network_info.first_ipv4()));
    put("reservation-id", json!(metadata.reservation_id));
    put("security-groups", json!(metadata.security_groups));
    if let Some(name) = metadata.key_name.as_deref().filter(|name| !name.is_empty()) {
        put("public-keys", json!({"0": {"_name": format!("0={name}"), "openssh-key": metadata.key_data}}));
    }
    if since("2007-01-19") {
        put("local-hostname", json!(hostname));
        put("public-hostname", json!(hostname));
        put("public-ipv4", json!(metadata.network_info.first_floating().unwrap_or_default()));
    }
    if since("2007-08-29") {
        put("instance-type", json!(metadata.flavor_name));
    }
    if since("2007-12-15") {
        put("block-device-mapping", Value::Object(block_device_mapping(metadata)));
        for (key, id) in [("kernel-id", &ids.kernel), ("ramdisk-id", &ids.ramdisk)] {
            if let Some(id) = id.as_deref().filter(|id| !id.is_empty()) {
                put(key, json!(id));
            }
        }
    }
    if since("2008-02-01") {
        put("placement", json!({"availability-zone": metadata.availability_zone}));
    }
    if since("2008-09-01") {
        put("instance-action", json!("none"));
    }
    data
}

/// The roles of the devices. A server without a named root device gets the fixed answer that EC2 once gave.
fn block_device_mapping(metadata: &Metadata) -> Map<String, Value> {
    let mut mapping = Map::new();
    let mut put = |role: String, device: Option<&str>| {
        mapping.insert(role, json!(device));
    };
    let Some(root) = metadata.root_device_name.as_deref() else {
        for (role, device) in
            [("ami", "sda1"), ("ephemeral0", "sda2"), ("root", "/dev/sda1"), ("swap", "sda3")]
        {
            put(role.to_owned(), Some(device));
        }
        return mapping;
    };
    put("ami".to_owned(), Some(root.strip_prefix("/dev/").unwrap_or(root)));
    put("root".to_owned(), Some(root));
    for (role, device) in
        [("ephemeral0", &metadata.default_ephemeral_device), ("swap", &metadata.default_swap_device)]
    {
        if let Some(device) = device.as_deref().filter(|device| !device.is_empty()) {
            put(role.to_owned(), Some(device));
        }
    }

    let (volumes, local): (Vec<_>, Vec<_>) =
        metadata.block_devices.iter().partition(|device| device.destination_type == "volume");
    let mut volumes: Vec<_> = volumes.iter().map(|device| device.device_name.as_deref()).collect();
    volumes.sort_unstable();
    for (number, volume) in volumes.into_iter().enumerate() {
        put(format!("ebs{number}"), volume);
    }

    let swap = |device: &&&BlockDevice| device.guest_format.as_deref() == Some("swap");
    let blanks: Vec<_> = local.iter().filter(|device| device.source_type == "blank").collect();
    if let Some(device) = blanks.iter().rfind(|device| swap(device)) {
        put("swap".to_owned(), device.device_name.as_deref());
    }
    for (number, device) in blanks.iter().filter(|device| !swap(device)).enumerate() {
        put(format!("ephemeral{number}"), device.device_name.as_deref());
    }
    mapping
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn keys(version: &str) -> usize {
        let mut metadata = Metadata::new(Uuid::nil(), "h");
        metadata.key_name = Some("k".to_owned());
        meta_data(&metadata, version).len()
    }

    #[test]
    fn each_version_has_its_own_keys() {
        let counts = VERSIONS.into_iter().chain([LATEST]).map(keys).collect::<Vec<_>>();
        assert_eq!(counts, [9, 12, 12, 13, 13, 14, 15, 16, 16, 16]);
    }

    #[test]
    fn skipped_versions_leave_no_files() {
        let mut metadata = Metadata::new(Uuid::nil(), "h");
        let paths = |metadata: &Metadata| {
            files(metadata).unwrap().into_iter().map(|file| file.path).collect::<Vec<_>>()
        };
        assert_eq!(paths(&metadata), ["ec2/2009-04-04/meta-data.json", "ec2/latest/meta-data.json"]);
        metadata.skip_versions.clear();
        metadata.user_data = Some(vec![0].into());
        assert_eq!(paths(&metadata).len(), 20);
    }

    #[test]
    fn addresses_that_do_not_exist_are_null_or_empty() {
        let data = Value::Object(meta_data(&Metadata::new(Uuid::nil(), "h"), LATEST));
        assert_eq!((&data["local-ipv4"], &data["public-ipv4"]), (&Value::Null, &json!("")));
        assert_eq!(data["block-device-mapping"]["root"], "/dev/sda1");
    }

    #[test]
    fn devices_are_numbered_by_role() {
        let device = |name: &str, source: &str, destination: &str, format: Option<&str>| BlockDevice {
            device_name: Some(name.to_owned()),
            source_type: source.to_owned(),
            destination_type: destination.to_owned(),
            guest_format: format.map(str::to_owned),
        };
        let mut metadata = Metadata::new(Uuid::nil(), "h");
        metadata.root_device_name = Some("/dev/vda".to_owned());
        metadata.default_swap_device = Some("/dev/vdx".to_owned());
        metadata.block_devices = vec![
            device("/dev/vda", "image", "local", None),
            device("/dev/vdd", "volume", "volume", None),
            device("/dev/vdc", "blank", "volume", None),
            device("/dev/vde", "blank", "local", Some("swap")),
            device("/dev/vdf", "blank", "local", Some("ext4")),
        ];
        assert_eq!(
            Value::Object(block_device_mapping(&metadata)),
            json!({"ami": "vda", "root": "/dev/vda", "swap": "/dev/vde", "ebs0": "/dev/vdc", "ebs1": "/dev/vdd",
                "ephemeral0": "/dev/vdf"})
        );
    }
}
