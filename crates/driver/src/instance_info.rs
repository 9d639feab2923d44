//! What Ironic is told of a server: the entries of a node's `instance_info`.
//!
//! Keys, order and types as `nova/virt/ironic/patcher.py` of Nova 34 writes them: deploy interfaces, templates and operators' tools read
//! them. Numbers are texts.

use std::{collections::BTreeMap, fmt::Write as _};

use openstack::ironic::{Node, Patch};
use serde_json::Value;

use crate::InstanceId;

/// A server, as far as Ironic is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The instance.
    pub instance: InstanceId,
    /// Image in Glance; left out if the server boots from a volume.
    pub image_ref: Option<String>,
    /// Size of the root disk, GiB.
    pub root_gb: u64,
    /// Swap, MiB.
    pub swap_mb: u64,
    /// Size of the ephemeral partition, GiB; 0 is none.
    pub ephemeral_gb: u64,
    /// Its file system (`default_ephemeral_format`).
    pub ephemeral_format: Option<String>,
    /// For a rebuild: whether the ephemeral partition is kept.
    pub preserve_ephemeral: Option<bool>,
    /// The name the user gave.
    pub display_name: Option<String>,
    /// Processors.
    pub vcpus: u64,
    /// Memory, MiB.
    pub memory_mb: u64,
    /// The compute host that the instance belongs to.
    pub host: String,
    /// Owner's project.
    pub project_id: String,
    /// Its name, or `N/A`.
    pub project_name: String,
    /// Owner.
    pub user_id: String,
    /// Their name, or `N/A`.
    pub user_name: String,
    /// Flavor's name.
    pub flavor_name: String,
    /// Flavor's extra specs; `capabilities:*` and `trait*:*` are passed on.
    pub extra_specs: BTreeMap<String, String>,
    /// Traits that the image requires.
    pub image_traits: Vec<String>,
    /// JSON text of the fixed addresses, in the form of the network info cache.
    pub fixed_ips: String,
    /// JSON text of the floating addresses.
    pub floating_ips: String,
    /// Whether it boots from a volume.
    pub has_root_volume: bool,
}

/// The entries of `instance_info` for a server on a node, in Nova's order.
pub fn instance_info(server: &Server, node: &Node) -> Vec<(String, Value)> {
    let mut info = Vec::with_capacity(20);
    let mut put = |key: &str, value: Value| info.push((key.to_owned(), value));
    if let (false, Some(image)) = (server.has_root_volume, &server.image_ref) {
        put("image_source", image.as_str().into());
    }
    put("root_gb", server.root_gb.to_string().into());
    put("swap_mb", server.swap_mb.to_string().into());
    put("display_name", server.display_name.clone().into());
    put("vcpus", server.vcpus.to_string().into());
    put("nova_host_id", server.host.as_str().into());
    put("memory_mb", server.memory_mb.to_string().into());
    put("local_gb", python_text(node.properties.get("local_gb")).into());
    put("project_id", server.project_id.as_str().into());
    put("project_name", server.project_name.as_str().into());
    put("user_id", server.user_id.as_str().into());
    put("user_name", server.user_name.as_str().into());
    put("flavor_name", server.flavor_name.as_str().into());
    put("fixed_ips", server.fixed_ips.as_str().into());
    put("floating_ips", server.floating_ips.as_str().into());
    if server.ephemeral_gb > 0 {
        put("ephemeral_gb", server.ephemeral_gb.to_string().into());
        if let Some(format) = server.ephemeral_format.as_deref().filter(|format| !format.is_empty()) {
            put("ephemeral_format", format.into());
        }
    }
    if let Some(preserve) = server.preserve_ephemeral {
        put("preserve_ephemeral", if preserve { "True" } else { "False" }.into());
    }
    let capabilities: Vec<(&str, &str)> = server
        .extra_specs
        .iter()
        .filter_map(|(key, value)| Some((key.strip_prefix("capabilities:")?, value.as_str())))
        .collect();
    if !capabilities.is_empty() {
        put("capabilities", python_json(&capabilities).into());
    }
    let traits = traits(server);
    if !traits.is_empty() {
        put("traits", traits.into());
    }
    info
}

/// The patch that brings a node's `instance_info` to what is wanted.
pub(crate) fn description(node: &Node, info: &[(String, Value)]) -> Vec<Patch> {
    info.iter()
        .filter(|(key, value)| node.instance_info.get(key) != Some(value))
        .map(|(key, value)| Patch::add(format!("/instance_info/{key}"), value.clone()))
        .collect()
}

/// Entries that only some servers have.
const OPTIONAL: [&str; 6] =
    ["image_source", "ephemeral_gb", "ephemeral_format", "preserve_ephemeral", "capabilities", "traits"];

/// What Ironic derives from an image. It drops them itself at a rebuild; older releases keep them, and would deploy what was there before.
const DERIVED: [&str; 2] = ["boot_iso", "original_image_source"];

/// The same patch for a node that carried the server as it was before: what came from there, and is not wanted any more, goes.
pub(crate) fn new_description(node: &Node, info: &[(String, Value)]) -> Vec<Patch> {
    let is_wanted = |key: &str| info.iter().any(|(wanted, _)| wanted == key);
    let has_image = is_wanted("image_source");
    let stale = OPTIONAL.into_iter().filter(|key| !is_wanted(key));
    let stale = stale.chain(DERIVED.into_iter().filter(|_| has_image));
    let removals = stale
        .filter(|key| node.instance_info.contains_key(*key))
        .map(|key| Patch::remove(format!("/instance_info/{key}")));
    description(node, info).into_iter().chain(removals).collect()
}

/// `trait:X` and `traitN:X` (granular request groups) that are `required`, then the image's.
fn traits(server: &Server) -> Vec<String> {
    let required = server.extra_specs.iter().filter(|(_, value)| *value == "required");
    let flavor = required.filter_map(|(key, _)| {
        let (prefix, name) = key.split_once(':')?;
        prefix.starts_with("trait").then(|| name.to_owned())
    });
    flavor.chain(server.image_traits.iter().cloned()).collect()
}

/// The text that Python's `str()` makes of a property; `0` where it is absent.
fn python_text(value: Option<&Value>) -> String {
    match value {
        None => "0".into(),
        Some(Value::Null) => "None".into(),
        Some(Value::Bool(true)) => "True".into(),
        Some(Value::Bool(false)) => "False".into(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// The JSON text that Python's `json.dumps` makes of a dict of texts: a space after `,` and `:`, ASCII only.
fn python_json(pairs: &[(&str, &str)]) -> String {
    let quoted = |text: &str| {
        let mut ascii = String::new();
        for char in Value::from(text).to_string().chars() {
            if char.is_ascii() && char != '\x7f' {
                ascii.push(char);
            } else {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    // Writing to a String cannot fail.
                    let _ = write!(ascii, "\\u{unit:04x}");
                }
            }
        }
        ascii
    };
    let entries: Vec<String> =
        pairs.iter().map(|(key, value)| format!("{}: {}", quoted(key), quoted(value))).collect();
    format!("{{{}}}", entries.join(", "))
}

#[cfg(test)]
pub(crate) mod tests {
    use openstack::ironic::NodeId;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    /// The server of the captured build.
    pub(crate) fn captured() -> Server {
        Server {
            instance: InstanceId(Uuid::from_u128(0xca6b_6dc5_65cf_4150_90f7_ffcb_e940_9d79)),
            image_ref: Some("73faf9ad-eddf-4bb9-b0ae-6a20a98ac913".into()),
            root_gb: 100,
            swap_mb: 0,
            ephemeral_gb: 0,
            ephemeral_format: None,
            preserve_ephemeral: None,
            display_name: Some("smoke-1".into()),
            vcpus: 8,
            memory_mb: 16384,
            host: "lab-ironic".into(),
            project_id: "93eb11920d2a4f239fb19bdf1fe772ae".into(),
            project_name: "admin".into(),
            user_id: "c03e2145a9224528b04fe246318a1a8c".into(),
            user_name: "admin".into(),
            flavor_name: "bm.lab".into(),
            extra_specs: BTreeMap::from([
                ("resources:CUSTOM_BAREMETAL".into(), "1".into()),
                ("trait:CUSTOM_LAB".into(), "required".into()),
            ]),
            image_traits: vec![],
            fixed_ips:
                r#"[{"address": "10.88.0.130", "type": "fixed", "version": 4, "meta": {}, "floating_ips": []}]"#
                    .into(),
            floating_ips: "[]".into(),
            has_root_volume: false,
        }
    }

    fn node() -> Node {
        let mut node = Node::new(NodeId(Uuid::from_u128(1)));
        node.properties.insert("local_gb".into(), json!(100));
        node
    }

    fn entry(server: &Server, key: &str) -> Option<Value> {
        instance_info(server, &node()).into_iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    #[test]
    fn the_captured_patch_of_nova_is_reproduced() {
        let expected = [
            ("image_source", json!("73faf9ad-eddf-4bb9-b0ae-6a20a98ac913")),
            ("root_gb", json!("100")),
            ("swap_mb", json!("0")),
            ("display_name", json!("smoke-1")),
            ("vcpus", json!("8")),
            ("nova_host_id", json!("lab-ironic")),
            ("memory_mb", json!("16384")),
            ("local_gb", json!("100")),
            ("project_id", json!("93eb11920d2a4f239fb19bdf1fe772ae")),
            ("project_name", json!("admin")),
            ("user_id", json!("c03e2145a9224528b04fe246318a1a8c")),
            ("user_name", json!("admin")),
            ("flavor_name", json!("bm.lab")),
            (
                "fixed_ips",
                json!(
                    r#"[{"address": "10.88.0.130", "type": "fixed", "version": 4, "meta": {}, "floating_ips": []}]"#
                ),
            ),
            ("floating_ips", json!("[]")),
            ("traits", json!(["CUSTOM_LAB"])),
        ];
        let expected: Vec<_> = expected.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        assert_eq!(instance_info(&captured(), &node()), expected);
    }

    #[test]
    fn what_is_left_of_the_image_before_goes_and_what_others_wrote_stays() {
        let wanted = instance_info(&Server { extra_specs: BTreeMap::new(), ..captured() }, &node());
        let mut there = node();
        there.instance_info = instance_info(&captured(), &node()).into_iter().collect();
        for key in ["boot_iso", "original_image_source", "ephemeral_gb", "kernel", "note"] {
            there.instance_info.insert(key.into(), json!("old"));
        }
        there.instance_info.insert("image_source".into(), json!("old"));
        let removals = ["ephemeral_gb", "traits", "boot_iso", "original_image_source"]
            .map(|key| Patch::remove(format!("/instance_info/{key}")));
        let image = json!("73faf9ad-eddf-4bb9-b0ae-6a20a98ac913");
        let expected = [vec![Patch::add("/instance_info/image_source", image)], removals.to_vec()].concat();
        assert_eq!(new_description(&there, &wanted), expected);
    }

    #[test]
    fn a_server_on_a_volume_names_no_image() {
        assert_eq!(entry(&Server { has_root_volume: true, ..captured() }, "image_source"), None);
    }

    #[test]
    fn ephemeral_storage_is_described_only_if_there_is_some() {
        let format = Some("ext4".to_owned());
        let none = Server { ephemeral_format: format.clone(), ..captured() };
        assert_eq!(entry(&none, "ephemeral_format"), None);
        let some = Server {
            ephemeral_gb: 5,
            ephemeral_format: format,
            preserve_ephemeral: Some(true),
            ..captured()
        };
        assert_eq!(entry(&some, "ephemeral_gb"), Some(json!("5")));
        assert_eq!(entry(&some, "ephemeral_format"), Some(json!("ext4")));
        assert_eq!(entry(&some, "preserve_ephemeral"), Some(json!("True")));
    }

    #[test]
    fn capabilities_are_json_text_as_python_writes_it() {
        let extra_specs = BTreeMap::from([
            ("capabilities:boot_mode".to_owned(), "uefi".to_owned()),
            ("capabilities:raum".to_owned(), "k\u{fc}hl \"2\" \u{1f600}".to_owned()),
        ]);
        assert_eq!(
            entry(&Server { extra_specs, ..captured() }, "capabilities"),
            Some(json!(r#"{"boot_mode": "uefi", "raum": "k\u00fchl \"2\" \ud83d\ude00"}"#))
        );
    }

    #[test]
    fn traits_come_from_every_request_group_and_from_the_image() {
        let extra_specs = BTreeMap::from([
            ("trait1:CUSTOM_B".to_owned(), "required".to_owned()),
            ("trait:CUSTOM_A".to_owned(), "required".to_owned()),
            ("trait:CUSTOM_C".to_owned(), "forbidden".to_owned()),
        ]);
        let server = Server { extra_specs, image_traits: vec!["CUSTOM_I".into()], ..captured() };
        assert_eq!(entry(&server, "traits"), Some(json!(["CUSTOM_B", "CUSTOM_A", "CUSTOM_I"])));
    }

    #[test]
    fn properties_read_as_python_prints_them() {
        let cases = [
            (None, "0"),
            (Some(json!(null)), "None"),
            (Some(json!("50")), "50"),
            (Some(json!(50.5)), "50.5"),
            (Some(json!(true)), "True"),
        ];
        for (value, text) in cases {
            assert_eq!(python_text(value.as_ref()), text);
        }
    }
}
