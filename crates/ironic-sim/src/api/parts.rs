//! What ports, port groups, connectors and targets have in common: lists of small documents that belong to
//! nodes.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Answer, Context, Refusal, Reply};
use crate::model::Node;

/// How one kind of part is listed.
pub(super) struct Kind<T: 'static> {
    /// In the path: `ports`, `volume/targets`.
    pub path: &'static str,
    /// The key of a list's answer.
    pub item: &'static str,
    /// The fields shown without `detail` and `fields`.
    pub summary: &'static [&'static str],
    pub of: fn(&Node) -> &[T],
    pub document: fn(&Context<'_>, &Node, &T) -> Value,
    pub not_found: fn(&str) -> String,
}

/// Narrows a list beside the node.
pub(super) type Keep<'a, T> = &'a dyn Fn(&T) -> bool;

impl<T> Kind<T> {
    /// `GET` of the collection, of one node or of all.
    pub fn list(&self, cx: &Context<'_>, parent: Option<Uuid>, detail: bool, keep: Keep<'_, T>) -> Answer {
        let asked = cx.req.fields();
        let detail = detail || cx.req.flag("detail") == Some(true);
        let fields = if detail { None } else { Some(asked.as_deref().unwrap_or(self.summary)) };
        let node = match (parent, cx.req.query("node").or_else(|| cx.req.query("node_uuid"))) {
            (Some(id), _) => Some(id),
            (None, Some(ident)) => {
                let found = cx.world.find(ident).map(|r| r.node.uuid);
                Some(found.ok_or_else(|| Refusal::no_node(ident))?)
            }
            (None, None) => None,
        };
        let limit = cx.req.limit(cx.world.config.max_limit)?;
        let one = node.and_then(|id| cx.world.get(id));
        let all = cx.world.after(None).filter(|_| node.is_none());
        let shown = one.into_iter().chain(all).filter(|record| !record.node.hidden);
        let mut docs = shown.flat_map(|record| {
            let kept = (self.of)(&record.node).iter().filter(|part| keep(part));
            kept.map(|part| (self.document)(cx, &record.node, part))
        });
        let page: Vec<Value> = match cx.req.marker()? {
            None => docs.take(limit).collect(),
            Some(marker) => {
                docs.find(|doc| doc["uuid"] == json!(marker));
                docs.take(limit).collect()
            }
        };
        let last = page.last().filter(|_| page.len() == limit).map(|doc| doc["uuid"].clone());
        let page: Vec<Value> = page.into_iter().map(|doc| narrowed(doc, fields)).collect();
        let mut body = Map::new();
        body.insert(self.item.to_owned(), json!(page));
        if let Some(Value::String(last)) = last {
            let node = node.map(|id| format!("node={id}&")).unwrap_or_default();
            let detail = if detail { "detail=True&" } else { "" };
            let next = format!("{}/v1/{}?{node}{detail}limit={limit}&marker={last}", cx.base(), self.path);
            body.insert("next".to_owned(), json!(next));
        }
        Ok(Reply::json(Value::Object(body)))
    }

    /// `GET` of one.
    pub fn show(&self, cx: &Context<'_>, ident: &str, is: impl Fn(&T) -> bool) -> Answer {
        let node = self.owner(cx, ident)?;
        let part = (self.of)(node).iter().find(|part| is(part));
        let part = part.ok_or_else(|| Refusal::new(404, (self.not_found)(ident)))?;
        let fields = cx.req.fields();
        Ok(Reply::json(narrowed((self.document)(cx, node, part), fields.as_deref())))
    }

    /// The node that has the part with this id.
    pub fn owner<'a>(&self, cx: &'a Context<'_>, ident: &str) -> Result<&'a Node, Refusal> {
        let record = ident.parse().ok().and_then(|id| cx.world.by_part(id)).filter(|r| !r.node.hidden);
        record.map(|r| &r.node).ok_or_else(|| Refusal::new(404, (self.not_found)(ident)))
    }
}

fn narrowed(mut doc: Value, fields: Option<&[&str]>) -> Value {
    if let (Some(fields), Value::Object(map)) = (fields, &mut doc) {
        map.retain(|key, _| key == "links" || fields.contains(&key.as_str()));
    }
    doc
}

/// The id in a creation's body, checked.
pub(super) fn wanted_id(cx: &Context<'_>) -> Result<Option<Uuid>, Refusal> {
    cx.req.body["uuid"].as_str().map(super::uuid).transpose()
}

/// The node a new part shall belong to.
pub(super) fn node_of_new(cx: &Context<'_>, parent: Option<Uuid>) -> Result<Uuid, Refusal> {
    if let Some(id) = parent {
        return Ok(id);
    }
    let ident = cx.req.text("node_uuid").unwrap_or_default();
    match cx.world.find(&ident).filter(|record| !record.node.hidden) {
        Some(record) => Ok(record.node.uuid),
        None => {
            Err(Refusal::invalid(format!("Expected a valid value for node_uuid but received \"{ident}\".")))
        }
    }
}
