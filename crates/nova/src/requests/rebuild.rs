//! The request to deploy a server's machine again.

use compute::ending::Change;
use compute::request::{Kind, RebuildRequest};
use oslo::context::RequestContext;
use serde_json::{Value, json};
use uuid::Uuid;

use super::create::{image_traits, injected_files};
use super::{Args, Method, Unjournalled, instance, origin, password};
use crate::objects::parse::{self, Malformed};

pub(super) const REBUILD: Method = Method {
    kind: Kind::Rebuild,
    name: "rebuild_instance",
    event: "compute_rebuild_instance",
    read: |args, context| read(args, context).map(Into::into),
    unjournalled: Unjournalled::Begun,
    given_up: Some(Change::Error),
    holds_claim: false,
};

/// Reads a request to rebuild. The node is the instance's own, whatever `scheduled_node` says: nova-api keeps the server there. What
/// the image requires is among the properties that nova-api has saved with the instance.
pub(super) fn read(args: &Args, context: &RequestContext) -> Result<RebuildRequest, Malformed> {
    let instance = instance(args)?;
    let image = args.get("image_ref").and_then(Value::as_str);
    let flag = |name: &str| args.get(name).and_then(Value::as_bool).unwrap_or_default();
    Ok(RebuildRequest {
        context: context.clone(),
        image_id: image.and_then(|text| Uuid::parse_str(text).ok()),
        image_traits: image_traits(&json!({ "properties": instance.image_properties })),
        admin_password: password(args, "new_pass"),
        injected_files: injected_files(args.get("injected_files"))?,
        preserve_ephemeral: flag("preserve_ephemeral"),
        origin: origin(REBUILD.name, args, context),
        instance,
    })
}

/// Whether the server of a request boots from a volume: nova-api leaves its image empty. `reimage_boot_volume` does not tell: nova-api
/// sets it with every microversion from 2.93, whatever the server boots from.
pub fn boots_from_volume(args: &Args) -> bool {
    let disks = parse::block_devices(args.get("bdms"), "bdms").unwrap_or_default();
    disks.iter().any(|disk| disk.is_volume() && disk.is_root())
        || instance(args).is_ok_and(|instance| instance.image_ref.is_none())
}
