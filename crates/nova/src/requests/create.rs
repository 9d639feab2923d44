//! The request for a server.

use std::collections::BTreeMap;

use compute::ending::Change;
use compute::request::{BuildRequest, InjectedFile, Kind, NetworkRequest, NetworkRequests};
use driver::NodeId;
use oslo::context::RequestContext;
use oslo::object::Object;
use secrecy::SecretString;
use serde_json::Value;
use uuid::Uuid;

use super::{Args, Method, Unjournalled, instance, origin, password};
use crate::objects::parse::{self, Malformed};

/// Its event begins with an underscore of its own in stock.
pub(super) const CREATE: Method = Method {
    kind: Kind::Create,
    name: "build_and_run_instance",
    event: "compute__do_build_and_run_instance",
    read: |args, context| read(args, context).map(Into::into),
    unjournalled: Unjournalled::HandedBack,
    given_up: Some(Change::Error),
    holds_claim: true,
};

/// Reads a request for a server.
pub(super) fn read(args: &Args, context: &RequestContext) -> Result<BuildRequest, Malformed> {
    let instance = instance(args)?;
    let node = args
        .get("node")
        .and_then(Value::as_str)
        .and_then(|text| text.parse::<NodeId>().ok())
        .ok_or(Malformed { argument: "node", expected: "the uuid of an Ironic node" })?;
    let image = args.get("image").unwrap_or(&Value::Null);
    let spec = args.get("request_spec").and_then(|value| Object::from_value(value.clone()).ok());
    let filters = args.get("filter_properties");
    let provider_mapping = spec.as_ref().map(provider_mapping).unwrap_or_default();
    Ok(BuildRequest {
        context: context.clone(),
        node,
        image_traits: image_traits(image),
        image_id: image.get("id").and_then(Value::as_str).and_then(|text| Uuid::parse_str(text).ok()),
        admin_password: password(args, "admin_password"),
        injected_files: injected_files(args.get("injected_files"))?,
        networks: networks(args.get("requested_networks"), &provider_mapping)?,
        security_groups: names(args.get("security_groups")),
        block_devices: parse::block_devices(args.get("block_device_mapping"), "block_device_mapping")?,
        server_group: server_group(spec.as_ref(), filters),
        provider_mapping,
        may_reschedule: filters.and_then(|filters| filters.get("retry")).is_some_and(is_something),
        origin: origin(CREATE.name, args, context),
        instance,
    })
}

/// Glance keeps a required trait as a property `trait:NAME` = `required`; a converted image has the list.
pub(super) fn image_traits(image: &Value) -> Vec<String> {
    let Some(properties) = image.get("properties").and_then(Value::as_object) else { return Vec::new() };
    let mut traits = names(properties.get("traits_required"));
    for (name, value) in properties {
        if let Some(name) = name.strip_prefix("trait:")
            && value.as_str() == Some("required")
            && !traits.iter().any(|known| known == name)
        {
            traits.push(name.to_owned());
        }
    }
    traits
}

pub(super) fn injected_files(value: Option<&Value>) -> Result<Vec<InjectedFile>, Malformed> {
    let malformed = Malformed { argument: "injected_files", expected: "a list of [path, base64 contents]" };
    let files = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(value) => value.as_array().ok_or_else(|| malformed.clone())?,
    };
    files
        .iter()
        .map(|file| match file.as_array().map(Vec::as_slice) {
            Some([Value::String(path), Value::String(contents)]) => {
                Ok(InjectedFile { path: path.clone(), contents: SecretString::from(contents.as_str()) })
            }
            _ => Err(malformed.clone()),
        })
        .collect()
}

/// `auto` and `none` stand alone in place of a network's id (`nova/objects/network_request.py`).
fn networks(
    value: Option<&Value>,
    providers: &BTreeMap<String, Vec<Uuid>>,
) -> Result<NetworkRequests, Malformed> {
    const ARGUMENT: &str = "requested_networks";
    let list = match value {
        None | Some(Value::Null) => return Ok(NetworkRequests::Default),
        Some(value) => Object::from_value(value.clone())
            .map_err(|_| Malformed { argument: ARGUMENT, expected: "a NetworkRequestList object" })?,
    };
    let wanted = list.into_items();
    match wanted.as_slice() {
        [] => return Ok(NetworkRequests::Default),
        [only] if only.str("network_id") == Some("auto") => return Ok(NetworkRequests::Auto),
        [only] if only.str("network_id") == Some("none") => return Ok(NetworkRequests::None),
        _ => {}
    }
    let id = |object: &Object, field: &str| match object.str(field).filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => Uuid::parse_str(text)
            .map(Some)
            .map_err(|_| Malformed { argument: ARGUMENT, expected: "uuids of networks and ports" }),
    };
    let text =
        |object: &Object, field: &str| object.str(field).filter(|text| !text.is_empty()).map(str::to_owned);
    let requests = wanted.iter().map(|wanted| {
        let port_id = id(wanted, "port_id")?;
        Ok(NetworkRequest {
            network_id: id(wanted, "network_id")?,
            port_id,
            address: text(wanted, "address"),
            tag: text(wanted, "tag"),
            requester_id: port_id.map(|port| port.to_string()).filter(|port| providers.contains_key(port)),
        })
    });
    requests.collect::<Result<_, _>>().map(NetworkRequests::These)
}

/// Which providers the scheduler chose for the groups of resources that ports ask for.
fn provider_mapping(spec: &Object) -> BTreeMap<String, Vec<Uuid>> {
    let groups = spec.get("requested_resources").and_then(Value::as_array).into_iter().flatten();
    groups
        .filter_map(|group| {
            let group = Object::from_value(group.clone()).ok()?;
            let requester = group.str("requester_id")?.to_owned();
            let providers = group.get("provider_uuids")?.as_array()?;
            let ids =
                providers.iter().filter_map(Value::as_str).filter_map(|text| Uuid::parse_str(text).ok());
            Some((requester, ids.collect()))
        })
        .collect()
}

/// The hint `group`: the request spec keeps hints as lists; without a spec the filter properties have it.
fn server_group(spec: Option<&Object>, filters: Option<&Value>) -> Option<String> {
    let hints = match spec {
        Some(spec) => spec.get("scheduler_hints"),
        None => filters.and_then(|filters| filters.get("scheduler_hints")),
    };
    let hint = match hints?.get("group")? {
        Value::Array(hints) => hints.first()?,
        hint => hint,
    };
    hint.as_str().filter(|hint| !hint.is_empty()).map(str::to_owned)
}

fn names(value: Option<&Value>) -> Vec<String> {
    let names = value.and_then(Value::as_array).into_iter().flatten();
    names.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Python's notion of a value that is not empty.
fn is_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}
