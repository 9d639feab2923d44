//! `/v1/nodes`: list, show, create, patch, delete, validate, maintenance, traits.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Answer, Context, Refusal, Reply, document, state, uuid};
use crate::machine::State;
use crate::model::Node;
use crate::world::{Record, World};

/// Attributes a client may patch (`PATCH_ALLOWED_FIELDS`).
const PATCHABLE: &[&str] = &[
    "automated_clean",
    "bios_interface",
    "boot_interface",
    "chassis_uuid",
    "conductor_group",
    "console_interface",
    "deploy_interface",
    "description",
    "disable_power_off",
    "driver",
    "driver_info",
    "extra",
    "inspect_interface",
    "instance_info",
    "instance_name",
    "instance_uuid",
    "lessee",
    "maintenance",
    "management_interface",
    "name",
    "network_data",
    "network_interface",
    "owner",
    "power_interface",
    "properties",
    "protected",
    "protected_reason",
    "raid_interface",
    "rescue_interface",
    "resource_class",
    "retired",
    "retired_reason",
    "shard",
    "storage_interface",
    "vendor_interface",
    "parent_node",
    "firmware_interface",
];

/// Kind of the ids given to nodes created over the API or enrolled.
pub(crate) const NODE_ID: u16 = 0x0de1;

pub(super) fn list(cx: &Context<'_>, detail: bool) -> Answer {
    let req = cx.req;
    let asked = req.fields();
    check_fields(asked.as_deref(), req.minor)?;
    // Ironic takes the fields of a list for columns of its table.
    if asked.iter().flatten().any(|field| *field == "allocation_uuid") {
        return Err(Refusal::new(500, "type object 'Node' has no attribute 'allocation_uuid'"));
    }
    let fields = if detail { None } else { Some(asked.as_deref().unwrap_or(document::SUMMARY)) };
    let limit = req.limit(cx.world.config.max_limit)?;
    let marker = req.marker()?;
    if let Some(marker) = marker {
        cx.record(marker)?;
    }
    let wanted = Filter::read(cx)?;
    let show = |r: &Record| document::node(&r.node, fields, req.minor, cx.base());
    if let Some(instance) = wanted.instance {
        let found = cx.world.by_instance(instance).filter(|r| !r.node.hidden && wanted.matches(&r.node));
        let nodes: Vec<Value> = found.map(show).into_iter().collect();
        return Ok(Reply::json(json!({ "nodes": nodes })));
    }
    let shown = cx.world.after(marker).filter(|r| !r.node.hidden && wanted.matches(&r.node));
    let page: Vec<&Record> = shown.take(limit).collect();
    let mut body = json!({"nodes": page.iter().map(|r| show(r)).collect::<Vec<_>>()});
    if let (Some(last), true) = (page.last(), page.len() == limit) {
        body["next"] = json!(next_link(cx, asked.as_deref(), limit, last.node.uuid));
    }
    Ok(Reply::json(body))
}

/// The link to the next page. As in Ironic, the filters by state, group, shard and class are NOT in it: who
/// follows it gets every node (`_get_nodes_collection` hands only these parameters on).
fn next_link(cx: &Context<'_>, fields: Option<&[&str]>, limit: usize, marker: Uuid) -> String {
    let mut query = vec!["sort_key=id".to_owned(), "sort_dir=asc".to_owned()];
    let flags = ["associated", "maintenance", "retired"].into_iter();
    query.extend(flags.filter(|key| cx.req.flag(key) == Some(true)).map(|key| format!("{key}=True")));
    query.extend(cx.req.flag("detail").map(|on| format!("detail={}", if on { "True" } else { "False" })));
    query.extend(fields.map(|fields| format!("fields={}", fields.join(","))));
    format!("{}/v1/nodes?{}&limit={limit}&marker={marker}", cx.base(), query.join("&"))
}

fn check_fields(fields: Option<&[&str]>, minor: u32) -> Result<(), Refusal> {
    for field in fields.unwrap_or_default() {
        match document::since(field) {
            None => return Err(Refusal::invalid(format!("Field(s) \"{field}\" are not valid"))),
            Some(since) if since > minor => return Err(Refusal::new(406, "Request not acceptable.")),
            Some(_) => {}
        }
    }
    Ok(())
}

struct Filter<'a> {
    instance: Option<Uuid>,
    associated: Option<bool>,
    maintenance: Option<bool>,
    state: Option<State>,
    conductor_group: Option<String>,
    shards: Option<Vec<&'a str>>,
    resource_class: Option<&'a str>,
    owner: Option<&'a str>,
}

impl<'a> Filter<'a> {
    fn read(cx: &Context<'a>) -> Result<Self, Refusal> {
        let req = cx.req;
        let too_new = |key, since| req.query(key).is_some() && req.minor < since;
        if too_new("provision_state", 9)
            || too_new("resource_class", 21)
            || too_new("conductor_group", 46)
            || too_new("shard", 82)
        {
            return Err(Refusal::new(406, "Request not acceptable."));
        }
        Ok(Self {
            instance: req.query("instance_uuid").map(uuid).transpose()?,
            associated: req.flag("associated"),
            maintenance: req.flag("maintenance"),
            state: req.query("provision_state").map(state).transpose()?,
            conductor_group: req.query("conductor_group").map(str::to_lowercase),
            shards: req.query("shard").map(|s| s.split(',').collect()),
            resource_class: req.query("resource_class"),
            owner: req.query("owner"),
        })
    }

    fn matches(&self, node: &Node) -> bool {
        let shard = node.shard.as_deref();
        self.associated.is_none_or(|a| a == node.instance_uuid.is_some())
            && self.maintenance.is_none_or(|m| m == node.maintenance)
            && self.state.is_none_or(|s| s == node.provision_state)
            && self.conductor_group.as_ref().is_none_or(|g| *g == node.conductor_group)
            && self.shards.as_ref().is_none_or(|list| shard.is_some_and(|s| list.contains(&s)))
            && self.resource_class.is_none_or(|c| node.resource_class.as_deref() == Some(c))
            && self.owner.is_none_or(|o| node.owner.as_deref() == Some(o))
    }
}

pub(super) fn show(cx: &Context<'_>, id: Uuid) -> Answer {
    let fields = cx.req.fields();
    check_fields(fields.as_deref(), cx.req.minor)?;
    let record = cx.record(id)?;
    Ok(Reply::json(document::node(&record.node, fields.as_deref(), cx.req.minor, cx.base())))
}

pub(super) fn create(cx: &mut Context<'_>) -> Answer {
    let Some(body) = cx.req.body.as_object().filter(|b| b.get("driver").is_some_and(Value::is_string)) else {
        return Err(Refusal::invalid("Schema error for node: 'driver' is a required property"));
    };
    let id = match cx.req.body["uuid"].as_str() {
        Some(text) => uuid(text)?,
        None => cx.world.fresh_id(NODE_ID),
    };
    if cx.world.get(id).is_some() {
        return Err(Refusal::new(409, format!("A node with UUID {id} already exists.")));
    }
    let mut node = Node::new(id);
    if cx.req.minor < 11 {
        node.provision_state = State::Available;
    }
    let mut doc = patchable(&node);
    for (key, value) in body.iter().filter(|(key, _)| key.as_str() != "uuid") {
        if !PATCHABLE.contains(&key.as_str()) {
            return Err(Refusal::invalid(format!(
                "Schema error for node: Additional properties are not allowed ('{key}' was unexpected)"
            )));
        }
        doc.insert(key.clone(), value.clone());
    }
    write(&mut node, doc)?;
    unique(&cx.world, &node)?;
    let shown = document::node(&node, None, cx.req.minor, cx.base());
    cx.world.insert(node);
    Ok(Reply::created(shown, format!("v1/nodes/{id}")))
}

pub(super) fn patch(cx: &mut Context<'_>, id: Uuid, ident: &str) -> Answer {
    let old = &cx.record(id)?.node;
    let remove_instance = json!([{"op": "remove", "path": "/instance_uuid"}]);
    let rescue_hatch = old.maintenance && cx.req.body == remove_instance;
    let moving = old.target_provision_state.is_some() && !old.provision_state.allows_update();
    if moving && !rescue_hatch {
        return Err(Refusal::new(
            409,
            format!("Node {ident} can not be updated while a state transition is in progress."),
        ));
    }
    let mut doc = patchable(old);
    crate::patch::apply(&mut doc, &cx.req.body, PATCHABLE)?;
    let mut node = old.clone();
    write(&mut node, doc)?;
    if node.instance_name.is_none() && node.instance_info != old.instance_info {
        node.instance_name =
            node.instance_info.get("display_name").and_then(Value::as_str).map(str::to_owned);
    }
    if old.maintenance && !node.maintenance {
        node.maintenance_reason = None;
        node.fault = None;
    }
    cx.unlocked(id)?;
    if let (Some(held), Some(asked)) = (old.instance_uuid, node.instance_uuid)
        && held != asked
    {
        return Err(Refusal::new(409, format!("Node {id} is associated with instance {held}.")));
    }
    unique(&cx.world, &node)?;
    let shown = document::node(&node, None, cx.req.minor, cx.base());
    cx.edit(id, |record| record.node = node)?;
    Ok(Reply::json(shown))
}

fn unique(world: &World, node: &Node) -> Result<(), Refusal> {
    let other = |record: Option<&Record>| record.is_some_and(|r| r.node.uuid != node.uuid);
    if let Some(instance) = node.instance_uuid.filter(|i| other(world.by_instance(*i))) {
        return Err(Refusal::new(
            409,
            format!(
                "Instance {instance} is already associated with a node, it cannot be associated with this \
                 other node {}",
                node.uuid
            ),
        ));
    }
    match node.name.as_deref().filter(|name| other(world.find(name))) {
        Some(name) => Err(Refusal::new(409, format!("A node with name {name} already exists."))),
        None => Ok(()),
    }
}

fn patchable(node: &Node) -> Map<String, Value> {
    PATCHABLE.iter().map(|key| ((*key).to_owned(), document::field(node, key))).collect()
}

/// Takes the patched attributes over, parsed.
fn write(node: &mut Node, mut doc: Map<String, Value>) -> Result<(), Refusal> {
    let mut take = |key: &str| doc.shift_remove(key).unwrap_or(Value::Null);
    node.instance_uuid = match take("instance_uuid") {
        Value::Null => None,
        Value::String(text) => Some(uuid(&text)?),
        other => return Err(Refusal::invalid(format!("Expected a UUID but received {other}."))),
    };
    node.driver = text(take("driver"), "driver")?.unwrap_or_default();
    node.name = text(take("name"), "name")?;
    node.instance_name = text(take("instance_name"), "instance_name")?;
    node.resource_class = text(take("resource_class"), "resource_class")?;
    node.conductor_group =
        text(take("conductor_group"), "conductor_group")?.unwrap_or_default().to_lowercase();
    node.shard = text(take("shard"), "shard")?;
    node.owner = text(take("owner"), "owner")?;
    node.lessee = text(take("lessee"), "lessee")?;
    node.instance_info = object(take("instance_info"), "instance_info")?;
    node.properties = object(take("properties"), "properties")?;
    node.maintenance = boolean(&take("maintenance"));
    node.protected = boolean(&take("protected"));
    node.retired = boolean(&take("retired"));
    node.disable_power_off = boolean(&take("disable_power_off"));
    node.other.extend(doc);
    Ok(())
}

fn text(value: Value, key: &str) -> Result<Option<String>, Refusal> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        other => {
            Err(Refusal::invalid(format!("Schema error for {key}: {other} is not of type 'string', 'null'")))
        }
    }
}

fn object(value: Value, key: &str) -> Result<Map<String, Value>, Refusal> {
    match value {
        Value::Null => Ok(Map::new()),
        Value::Object(map) => Ok(map),
        other => {
            Err(Refusal::invalid(format!("Schema error for {key}: {other} is not of type 'object', 'null'")))
        }
    }
}

fn boolean(value: &Value) -> bool {
    value.as_bool().unwrap_or_else(|| {
        value.as_str().is_some_and(|s| matches!(s.to_lowercase().as_str(), "true" | "1" | "yes" | "on"))
    })
}

pub(super) fn delete(cx: &mut Context<'_>, id: Uuid) -> Answer {
    cx.unlocked(id)?;
    let node = &cx.record(id)?.node;
    if let (false, Some(instance)) = (node.maintenance, node.instance_uuid) {
        return Err(Refusal::new(409, format!("Node {id} is associated with instance {instance}.")));
    }
    if node.protected {
        return Err(Refusal::new(
            403,
            format!("Node {id} is protected and cannot be undeployed, rebuilt or deleted"),
        ));
    }
    let deletable = matches!(
        node.provision_state,
        State::Manageable | State::Enroll | State::AdoptFailed | State::Available
    );
    if !node.maintenance && !deletable {
        return Err(Refusal::new(
            409,
            format!(
                "Can not delete node \"{id}\" while it is in provision state \"{}\". Valid provision states to \
                 perform deletion are: \"('manageable', 'enroll', 'adopt failed', 'available')\", or set the node \
                 into maintenance mode",
                node.provision_state
            ),
        ));
    }
    cx.world.remove(id);
    Ok(Reply::no_content())
}
