//! `system_metadata`: the dictionary in which Nova keeps what has no column of its own. A save writes the
//! whole of it, and what is missing is deleted: keys that we do not know go back as they came.

use std::collections::BTreeMap;

use compute::instance::{BuildNetworks, Instance, InstanceUpdate, OwnerNames};
use compute::origin::Origin;
use serde_json::{Map, Value};

/// Before the names of the image's properties.
const IMAGE: &str = "image_";
const NETWORKS: &str = "network_allocated";
/// The roles of the request's user, with commas between them.
const ROLES: &str = "boot_roles";
const PROJECT: &str = "owner_project_name";
const USER: &str = "owner_user_name";

/// Reads the dictionary into the instance, which keeps the rest of it.
pub fn absorb(instance: &mut Instance, value: &Value) {
    let known = value.as_object().cloned().unwrap_or_default();
    let text = |name: &str| known.get(name).and_then(Value::as_str).map(str::to_owned);
    instance.networks_allocated = text(NETWORKS).as_deref() == Some("True");
    let roles = text(ROLES).filter(|roles| !roles.is_empty());
    instance.boot_roles = roles.iter().flat_map(|roles| roles.split(',')).map(str::to_owned).collect();
    instance.owner_names = OwnerNames { project: text(PROJECT), user: text(USER) };
    instance.image_properties = known
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix(IMAGE)?.to_owned(), value.as_str()?.to_owned())))
        .collect::<BTreeMap<_, _>>();
    instance.origin = Origin(Value::Object(known));
}

/// The dictionary with the update in it; `None` when the update does not concern it.
pub fn changed(instance: &Instance, update: &InstanceUpdate) -> Option<Map<String, Value>> {
    if update.boot_roles.is_none() && update.build_networks.is_none() {
        return None;
    }
    let mut metadata = instance.origin.0.as_object().cloned().unwrap_or_default();
    if let Some(roles) = &update.boot_roles {
        metadata.insert(ROLES.to_owned(), roles.join(",").into());
    }
    match update.build_networks {
        None => {}
        Some(BuildNetworks::Allocated) => drop(metadata.insert(NETWORKS.to_owned(), "True".into())),
        Some(BuildNetworks::Released) => drop(metadata.insert(NETWORKS.to_owned(), "False".into())),
        Some(BuildNetworks::Over) => drop(metadata.shift_remove(NETWORKS)),
    }
    Some(metadata)
}

#[cfg(test)]
mod tests {
    use driver::InstanceId;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn instance(metadata: &Value) -> Instance {
        let mut instance = Instance::new(InstanceId(Uuid::from_u128(1)));
        absorb(&mut instance, metadata);
        instance
    }

    #[test]
    fn what_is_known_is_read_into_fields() {
        let instance = instance(&json!({"network_allocated": "True", "boot_roles": "member,reader",
            "owner_project_name": "p", "image_hw_disk_bus": "scsi", "image_base": null}));
        assert!(instance.networks_allocated);
        assert_eq!(instance.boot_roles, ["member", "reader"]);
        assert_eq!(instance.owner_names, OwnerNames { project: Some("p".to_owned()), user: None });
        assert_eq!(instance.image_property("hw_disk_bus"), Some("scsi"));
        assert_eq!(instance.image_properties.len(), 1);
        assert!(self::instance(&json!({"boot_roles": ""})).boot_roles.is_empty());
    }

    #[test]
    fn a_save_keeps_every_key_that_is_not_ours_nulls_too() {
        let before = json!({"old_vm_state": "active", "image_x": null, "boot_roles": "admin"});
        let update = |networks| InstanceUpdate {
            boot_roles: Some(vec!["member".to_owned(), "reader".to_owned()]),
            build_networks: Some(networks),
            ..InstanceUpdate::default()
        };
        let after = |networks| Value::Object(changed(&instance(&before), &update(networks)).unwrap());
        let kept = json!({"old_vm_state": "active", "image_x": null, "boot_roles": "member,reader"});
        assert_eq!(after(BuildNetworks::Over), kept);
        for (networks, text) in [(BuildNetworks::Allocated, "True"), (BuildNetworks::Released, "False")] {
            let mut kept = kept.clone();
            kept["network_allocated"] = json!(text);
            assert_eq!(after(networks), kept);
        }
    }

    #[test]
    fn the_end_of_a_build_removes_what_only_the_build_needed() {
        let instance = instance(&json!({"network_allocated": "True", "a": "b"}));
        let update =
            InstanceUpdate { build_networks: Some(BuildNetworks::Over), ..InstanceUpdate::default() };
        assert_eq!(Value::Object(changed(&instance, &update).unwrap()), json!({"a": "b"}));
    }

    #[test]
    fn a_change_of_something_else_does_not_send_it() {
        let instance = instance(&json!({"a": "b"}));
        assert_eq!(changed(&instance, &InstanceUpdate::default()), None);
    }
}
