//! The payloads of versioned notifications about instances (`nova/notifications/objects/instance.py`, 2026.2).
//!
//! A payload is an object primitive without `changes`, made from the whole instance as the control plane has it.

use compute::ports::Event;
use configdrive::network::NetworkInfo;
use oslo::context::RequestContext;
use oslo::object::Object;
use serde_json::{Map, Value, json};

use crate::conductor::arguments;

/// The fields that a payload takes from the instance, by the instance's names where they differ.
const COPIED: [(&str, &str); 26] = [
    ("uuid", "uuid"),
    ("user_id", "user_id"),
    ("tenant_id", "project_id"),
    ("reservation_id", "reservation_id"),
    ("display_name", "display_name"),
    ("display_description", "display_description"),
    ("host_name", "hostname"),
    ("host", "host"),
    ("node", "node"),
    ("os_type", "os_type"),
    ("architecture", "architecture"),
    ("availability_zone", "availability_zone"),
    ("image_uuid", "image_ref"),
    ("key_name", "key_name"),
    ("kernel_id", "kernel_id"),
    ("ramdisk_id", "ramdisk_id"),
    ("created_at", "created_at"),
    ("launched_at", "launched_at"),
    ("terminated_at", "terminated_at"),
    ("deleted_at", "deleted_at"),
    ("updated_at", "updated_at"),
    ("state", "vm_state"),
    ("task_state", "task_state"),
    ("progress", "progress"),
    ("metadata", "metadata"),
    ("locked", "locked"),
];

const FLAVOR: [&str; 14] = [
    "flavorid",
    "memory_mb",
    "vcpus",
    "root_gb",
    "ephemeral_gb",
    "name",
    "swap",
    "rxtx_factor",
    "vcpu_weight",
    "disabled",
    "is_public",
    "extra_specs",
    "projects",
    "description",
];

/// What a payload is made of.
pub struct Source<'a> {
    /// The whole instance.
    pub instance: &'a Object,
    /// Its disks.
    pub disks: &'a [Object],
    pub context: &'a RequestContext,
    /// What went wrong.
    pub error: Option<&'a str>,
    /// `[DEFAULT] instance_name_template`.
    pub name_template: &'a str,
}

/// The payload of an event.
pub fn payload(event: Event, source: &Source<'_>) -> Value {
    let mut fields = common(source);
    match event {
        Event::Create => {
            add_creation(&mut fields, source);
            primitive("InstanceCreatePayload", "1.13", &fields)
        }
        Event::Rescue { image } => {
            fields.insert("rescue_image_ref".into(), json!(image));
            primitive("InstanceActionRescuePayload", "1.4", &fields)
        }
        Event::Rebuild => {
            fields.insert("trusted_image_certificates".into(), certificates(source));
            primitive("InstanceActionRebuildPayload", "1.10", &fields)
        }
        _ => primitive("InstanceActionPayload", "1.9", &fields),
    }
}

fn common(source: &Source<'_>) -> Map<String, Value> {
    let Source { instance, context, .. } = *source;
    let mut fields = Map::new();
    for (field, from) in COPIED {
        fields.insert(field.into(), field_of(instance, from));
    }
    fields.insert("power_state".into(), power(instance.int("power_state")));
    let auto = instance.bool("auto_disk_config").unwrap_or_default();
    fields.insert("auto_disk_config".into(), json!(if auto { "AUTO" } else { "MANUAL" }));
    fields.insert("flavor".into(), flavor(instance));
    fields.insert("ip_addresses".into(), addresses(instance));
    fields.insert("block_devices".into(), disks(source.disks));
    // A periodic task has nobody behind it and no request that anybody knows.
    let asked = context.project_id.is_some() && context.user_id.is_some();
    fields.insert("request_id".into(), json!(asked.then_some(&context.request_id)));
    fields.insert("action_initiator_user".into(), json!(context.user_id));
    fields.insert("action_initiator_project".into(), json!(context.project_id));
    let reason = instance.get("system_metadata").and_then(|metadata| metadata.get("locked_reason"));
    fields.insert("locked_reason".into(), reason.cloned().unwrap_or_default());
    fields.insert("shares".into(), Value::Null);
    fields.insert("fault".into(), source.error.map(fault).unwrap_or_default());
    fields
}

fn add_creation(fields: &mut Map<String, Value>, source: &Source<'_>) {
    let members = |field: &str| source.instance.object(field).map(Object::into_items).unwrap_or_default();
    let pairs = members("keypairs").into_iter().map(|pair| {
        let names = ["user_id", "name", "public_key", "fingerprint", "type"];
        primitive("KeypairPayload", "1.0", &picked(&pair, &names))
    });
    fields.insert("keypairs".into(), pairs.collect());
    fields.insert("tags".into(), members("tags").iter().map(|tag| field_of(tag, "tag")).collect());
    fields.insert("trusted_image_certificates".into(), certificates(source));
    fields.insert("instance_name".into(), json!(name(source)));
}

fn certificates(source: &Source<'_>) -> Value {
    let certificates = source.instance.object("trusted_certs");
    certificates.map(|certificates| field_of(&certificates, "ids")).unwrap_or_default()
}

/// The name in the hypervisor's sense: the template with the number or the uuid, e.g. `instance-0000001f`.
fn name(source: &Source<'_>) -> Option<String> {
    let id = source.instance.int("id")?;
    let template = source.name_template;
    let Some(at) = template.find('%') else { return Some(template.to_owned()) };
    let (before, rest) = template.split_at(at);
    if let Some(after) = rest.strip_prefix("%(uuid)s") {
        return Some(format!("{before}{}{after}", source.instance.str("uuid")?));
    }
    let rest = rest.get(1..)?;
    let rest = rest.strip_prefix("(id)").unwrap_or(rest);
    let conversion = rest.find(['x', 'd', 's'])?;
    let (format, after) = (rest.get(..conversion)?, rest.get(conversion + 1..)?);
    let digits = if rest[conversion..].starts_with('x') { format!("{id:x}") } else { id.to_string() };
    let width = format.trim_start_matches('0').parse().unwrap_or(0);
    let padded =
        if format.starts_with('0') { format!("{digits:0>width$}") } else { format!("{digits:>width$}") };
    Some(format!("{before}{padded}{after}"))
}

fn flavor(instance: &Object) -> Value {
    let flavor = instance.object("flavor");
    flavor.map(|flavor| primitive("FlavorPayload", "1.4", &picked(&flavor, &FLAVOR))).unwrap_or_default()
}

fn addresses(instance: &Object) -> Value {
    let cache = instance.object("info_cache");
    let text = cache.as_ref().and_then(|cache| cache.str("network_info")).unwrap_or("[]");
    let network = NetworkInfo::from_text(text).unwrap_or_default();
    let addresses = network.0.iter().flat_map(|vif| {
        vif.fixed_ips().map(move |ip| {
            let fields = json!({
                "label": vif.network.as_ref().and_then(|network| network.label.as_deref()),
                "mac": vif.address,
                "meta": vif.meta,
                "port_uuid": vif.id,
                "version": ip.version,
                "address": ip.address,
                "device_name": vif.devname,
            });
            primitive("IpPayload", "1.0", &arguments(fields))
        })
    });
    addresses.collect()
}

fn disks(disks: &[Object]) -> Value {
    let volumes = disks.iter().filter(|disk| disk.str("volume_id").is_some());
    let names = ["device_name", "boot_index", "delete_on_termination", "volume_id", "tag"];
    volumes.map(|disk| primitive("BlockDevicePayload", "1.0", &picked(disk, &names))).collect()
}

fn fault(text: &str) -> Value {
    let fields = json!({
        "module_name": "bessemer",
        "function_name": "unknown",
        "exception": "InstanceDeployFailure",
        "exception_message": text,
        "traceback": text,
    });
    primitive("ExceptionPayload", "1.1", &arguments(fields))
}

fn power(number: Option<i64>) -> Value {
    json!(match number {
        None | Some(0) => "pending",
        Some(1) => "running",
        Some(3) => "paused",
        Some(4) => "shutdown",
        Some(6) => "crashed",
        Some(7) => "suspended",
        Some(_) => "_unused",
    })
}

fn picked(object: &Object, names: &[&str]) -> Map<String, Value> {
    names.iter().map(|name| ((*name).to_owned(), field_of(object, name))).collect()
}

fn field_of(object: &Object, name: &str) -> Value {
    object.get(name).cloned().unwrap_or_default()
}

fn primitive(name: &str, version: &str, fields: &Map<String, Value>) -> Value {
    json!({
        "nova_object.name": name,
        "nova_object.namespace": "nova",
        "nova_object.version": version,
        "nova_object.data": fields,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn source<'a>(instance: &'a Object, context: &'a RequestContext, template: &'a str) -> Source<'a> {
        Source { instance, disks: &[], context, error: None, name_template: template }
    }

    fn instance(args: &Map<String, Value>) -> Object {
        Object::from_value(args["instance"].clone()).unwrap()
    }

    #[test]
    fn a_creation_tells_of_states_flavor_keys_and_name_in_objects_without_changes() {
        let instance = instance(&testing::build_args());
        let context = RequestContext::from_message(&testing::build_message());
        let payload = payload(Event::Create, &source(&instance, &context, "instance-%08x"));
        assert_eq!(payload["nova_object.name"], "InstanceCreatePayload");
        let data = &payload["nova_object.data"];
        assert_eq!(data["instance_name"], "instance-00000004");
        assert_eq!((&data["state"], &data["power_state"]), (&json!("building"), &json!("pending")));
        assert_eq!(data["auto_disk_config"], "MANUAL");
        assert_eq!(data["flavor"]["nova_object.data"]["name"], "bm.lab");
        assert_eq!(data["keypairs"][0]["nova_object.data"]["type"], "ssh");
        assert_eq!(data["request_id"], json!(context.request_id));
        assert_eq!(data["fault"], Value::Null);
        assert!(!payload.to_string().contains("nova_object.changes"));
        assert!(!payload.to_string().contains("user_data"));
    }

    #[test]
    fn a_deletion_tells_the_addresses_that_go() {
        let instance = instance(&testing::args(&testing::terminate_message()));
        let context = RequestContext::admin();
        let payload = payload(Event::Delete, &source(&instance, &context, "%(uuid)s"));
        assert_eq!(payload["nova_object.name"], "InstanceActionPayload");
        let address = &payload["nova_object.data"]["ip_addresses"][0]["nova_object.data"];
        assert_eq!(address["address"], "10.88.0.196");
        assert_eq!(address["label"], "smoke-net");
        assert_eq!(payload["nova_object.data"]["request_id"], Value::Null);
    }

    #[test]
    fn a_rescue_tells_the_image_that_the_user_wants() {
        let instance = instance(&testing::args(&testing::stop_message()));
        let context = RequestContext::admin();
        let image = uuid::Uuid::from_u128(1);
        for image in [Some(image), None] {
            let payload = payload(Event::Rescue { image }, &source(&instance, &context, "%(uuid)s"));
            assert_eq!(payload["nova_object.name"], "InstanceActionRescuePayload");
            assert_eq!(payload["nova_object.data"]["rescue_image_ref"], json!(image));
        }
    }

    #[test]
    fn a_rebuild_has_a_payload_of_its_own() {
        let instance = instance(&testing::args(&testing::rebuild_message()));
        let context = RequestContext::from_message(&testing::rebuild_message());
        let source = Source { error: Some("no disk"), ..source(&instance, &context, "%(uuid)s") };
        let payload = payload(Event::Rebuild, &source);
        assert_eq!(payload["nova_object.name"], "InstanceActionRebuildPayload");
        assert_eq!(payload["nova_object.version"], "1.10");
        let data = payload["nova_object.data"].as_object().unwrap();
        assert_eq!(data["trusted_image_certificates"], Value::Null);
        assert_eq!(data["fault"]["nova_object.data"]["exception_message"], "no disk");
        assert_eq!(data["task_state"], "rebuilding");
    }

    #[test]
    fn a_template_names_by_number_or_by_uuid() {
        let instance = instance(&testing::build_args());
        let context = RequestContext::admin();
        for (template, expected) in [
            ("instance-%08x", Some("instance-00000004")),
            ("vm-%d", Some("vm-4")),
            ("%(id)05d-x", Some("00004-x")),
            ("i-%(uuid)s", Some("i-2f7cfcfd-4a5b-4cc2-b73c-9ac0dc18007d")),
            ("same", Some("same")),
            ("%", None),
        ] {
            assert_eq!(name(&source(&instance, &context, template)).as_deref(), expected, "{template}");
        }
    }
}
