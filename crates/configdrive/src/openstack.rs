//! The OpenStack half of the drive: `openstack/<version>/…` and `openstack/content/…`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{Error, File, Metadata, interfaces, network_data, vendordata};

/// The versions in their order, as of Nova 2025.1. `latest` stands for the last of them.
const VERSIONS: [&str; 10] = [
    "2012-08-10",
    "2013-04-04",
    "2013-10-17",
    "2015-10-15",
    "2016-06-30",
    "2016-10-06",
    "2017-02-22",
    "2018-08-27",
    "2020-10-14",
    "2025-04-04",
];
const LATEST: &str = "latest";

/// The length of a random seed in bytes.
const SEED: usize = 512;

/// The files of all versions, and the contents they point to.
pub(crate) fn files(metadata: &Metadata) -> Result<Vec<File>, Error> {
    let content = Content::of(metadata)?;
    let network =
        serde_json::to_vec(&network_data(&metadata.network_info, &metadata.ports, &metadata.port_groups)?)?;
    let vendor = metadata.static_vendor_data.as_ref().map(serde_json::to_vec).transpose()?;
    let vendor2 = serde_json::to_vec(&vendordata::combined(
        metadata.static_vendor_data.as_ref(),
        metadata.dynamic_vendor_data.as_ref(),
    ))?;

    let mut files = Vec::new();
    for version in VERSIONS.into_iter().chain([LATEST]) {
        let mut put = |name: &str, contents: &[u8]| {
            files.push(File::new(format!("openstack/{version}/{name}"), contents));
        };
        put("meta_data.json", &serde_json::to_vec(&meta_data(metadata, &content, version))?);
        if let Some(user_data) = &metadata.user_data {
            put("user_data", user_data.expose_secret());
        }
        if let Some(vendor) = vendor.as_deref().filter(|_| since(version, "2013-10-17")) {
            put("vendor_data.json", vendor);
        }
        if since(version, "2015-10-15") {
            put("network_data.json", &network);
        }
        if since(version, "2016-10-06") {
            put("vendor_data2.json", &vendor2);
        }
    }
    files.extend(content.files);
    Ok(files)
}

/// Dates compare as text, and `latest` comes after them all.
fn since(version: &str, first: &str) -> bool {
    version >= first
}

/// The numbered files under `openstack/content`, and what `meta_data.json` says of them.
struct Content {
    files: Vec<File>,
    injected: Vec<Value>,
    network_config: Option<Value>,
}

impl Content {
    /// The network configuration comes first when there is one, then the injected files in their order.
    fn of(metadata: &Metadata) -> Result<Self, Error> {
        let mut content = Self { files: Vec::new(), injected: Vec::new(), network_config: None };
        let interfaces =
            if metadata.inject_network { interfaces::render(&metadata.network_info)? } else { None };
        if let Some(text) = interfaces {
            let path = content.push(text.as_bytes());
            content.network_config = Some(json!({"name": "network_config", "content_path": path}));
        }
        for file in &metadata.injected_files {
            let path = content.push(&file.contents);
            content.injected.push(json!({"path": file.path, "content_path": path}));
        }
        Ok(content)
    }

    fn push(&mut self, contents: &[u8]) -> String {
        let path = format!("/content/{:04}", self.files.len());
        self.files.push(File::new(format!("openstack{path}"), contents));
        path
    }
}

fn meta_data(metadata: &Metadata, content: &Content, version: &str) -> Map<String, Value> {
    let mut data = Map::new();
    let mut put = |key: &str, value: Value| {
        data.insert(key.to_owned(), value);
    };
    put("uuid", json!(metadata.uuid));
    if !metadata.meta.is_empty() {
        put("meta", json!(metadata.meta));
    }
    if !content.injected.is_empty() {
        put("files", json!(content.injected));
    }
    if let Some(password) =
        metadata.admin_password.as_ref().filter(|password| !password.expose_secret().is_empty())
    {
        put("admin_pass", json!(password.expose_secret()));
    }
    if let Some(network_config) = &content.network_config {
        put("network_config", network_config.clone());
    }
    let named = metadata.key_name.as_deref().is_some_and(|name| !name.is_empty());
    if let Some(key) = metadata.keypair.as_ref().filter(|_| named) {
        put("public_keys", json!({&key.name: key.public_key}));
        put("keys", json!([{"name": key.name, "type": key.kind, "data": key.public_key}]));
    }
    put("hostname", json!(metadata.full_hostname()));
    put("name", json!(metadata.display_name));
    put("launch_index", json!(metadata.launch_index));
    put("availability_zone", json!(metadata.availability_zone));
    if since(version, "2013-04-04") {
        put("random_seed", json!(STANDARD.encode(random_seed())));
    }
    if since(version, "2015-10-15") {
        put("project_id", json!(metadata.project_id));
    }
    // Tagged devices and pinned CPUs are things of virtual machines.
    if since(version, "2016-06-30") {
        put("devices", json!([]));
    }
    if since(version, "2020-10-14") {
        put("dedicated_cpus", json!([]));
    }
    data
}

/// Bytes from the operating system's generator, by way of random UUIDs without the two bytes that carry their
/// version.
fn random_seed() -> Vec<u8> {
    std::iter::repeat_with(Uuid::new_v4)
        .flat_map(|uuid| {
            let bytes = uuid.into_bytes();
            (0..16).filter(|at| !matches!(at, 6 | 8)).map(move |at| bytes[at])
        })
        .take(SEED)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::NetworkInfo;

    fn metadata() -> Metadata {
        Metadata::new(Uuid::nil(), "h")
    }

    fn json_of(files: &[File], path: &str) -> Value {
        serde_json::from_slice(&files.iter().find(|file| file.path == path).unwrap().contents).unwrap()
    }

    fn names(files: &[File], version: &str) -> Vec<String> {
        let folder = format!("openstack/{version}/");
        files.iter().filter_map(|file| file.path.strip_prefix(&folder)).map(str::to_owned).collect()
    }

    #[test]
    fn each_version_has_its_own_files() {
        let files = files(&metadata()).unwrap();
        let counts: Vec<_> =
            VERSIONS.into_iter().chain([LATEST]).map(|version| names(&files, version).len()).collect();
        assert_eq!(counts, [1, 1, 2, 3, 3, 4, 4, 4, 4, 4, 4]);
        assert_eq!(
            names(&files, LATEST),
            ["meta_data.json", "vendor_data.json", "network_data.json", "vendor_data2.json"]
        );
    }

    #[test]
    fn each_version_has_its_own_keys() {
        let metadata = metadata();
        let content = Content::of(&metadata).unwrap();
        let counts: Vec<_> = VERSIONS
            .into_iter()
            .chain([LATEST])
            .map(|version| meta_data(&metadata, &content, version).len())
            .collect();
        assert_eq!(counts, [5, 6, 6, 7, 8, 8, 8, 8, 9, 9, 9]);
    }

    #[test]
    fn every_seed_is_different() {
        let files = files(&metadata()).unwrap();
        let seeds: BTreeSet<_> = VERSIONS[1..]
            .iter()
            .map(|version| {
                json_of(&files, &format!("openstack/{version}/meta_data.json"))["random_seed"].to_string()
            })
            .collect();
        assert_eq!(seeds.len(), VERSIONS.len() - 1);
        let seed = seeds.first().unwrap().trim_matches('"');
        assert_eq!(STANDARD.decode(seed).unwrap().len(), SEED);
    }

    #[test]
    fn injected_files_are_numbered_after_the_network_configuration() {
        let mut metadata = metadata();
        metadata.injected_files = vec![File::new("/etc/a", "A"), File::new("/etc/b", "B")];
        let plain = files(&metadata).unwrap();
        assert_eq!(
            json_of(&plain, "openstack/latest/meta_data.json")["files"],
            json!([{"path": "/etc/a", "content_path": "/content/0000"}, {"path": "/etc/b", "content_path": "/content/0001"}])
        );
        assert_eq!(plain.last(), Some(&File::new("openstack/content/0001", "B")));

        metadata.network_info = NetworkInfo::from_text(
            &include_str!("../tests/fixtures/info-cache.txt")
                .replace("\"injected\": false", "\"injected\": true"),
        )
        .unwrap();
        let injected = files(&metadata).unwrap();
        let data = json_of(&injected, "openstack/latest/meta_data.json");
        assert_eq!(
            data["network_config"],
            json!({"name": "network_config", "content_path": "/content/0000"})
        );
        assert_eq!(data["files"][0]["content_path"], "/content/0001");
        metadata.inject_network = false;
        assert_eq!(files(&metadata).unwrap().len(), plain.len());
    }

    #[test]
    fn without_the_static_provider_there_is_no_vendor_data_file() {
        let mut metadata = metadata();
        metadata.static_vendor_data = None;
        metadata.dynamic_vendor_data = Some(Map::from_iter([("cmdb".to_owned(), json!({"rack": 7}))]));
        let files = files(&metadata).unwrap();
        assert!(files.iter().all(|file| !file.path.ends_with("vendor_data.json")));
        assert_eq!(json_of(&files, "openstack/latest/vendor_data2.json"), json!({"cmdb": {"rack": 7}}));
    }

    #[test]
    fn a_server_without_networks_has_empty_lists() {
        let files = files(&metadata()).unwrap();
        assert_eq!(
            json_of(&files, "openstack/latest/network_data.json"),
            json!({"links": [], "networks": [], "services": []})
        );
    }
}
