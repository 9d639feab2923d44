//! JSON Patch as Ironic's API takes it: add, replace and remove (`ironic/api/controllers/v1/utils.py`,
//! `apply_jsonpatch`).

use serde_json::{Map, Value};

use crate::refusal::Refusal;

/// Applies the operations one by one. `allowed` are the root attributes a client may touch.
pub(crate) fn apply(
    target: &mut Map<String, Value>,
    change: &Value,
    allowed: &[&str],
) -> Result<(), Refusal> {
    let operations = change.as_array().ok_or_else(|| {
        Refusal::invalid(format!("Invalid input for field/attribute patch. Value: '{change}'"))
    })?;
    for operation in operations {
        let path = operation["path"].as_str().unwrap_or_default();
        let mut keys = path.split('/').skip(1).map(|k| k.replace("~1", "/").replace("~0", "~"));
        let root = keys.next().unwrap_or_default();
        if !allowed.contains(&root.as_str()) {
            let list = allowed.join(", ");
            return Err(Refusal::invalid(format!(
                "Cannot patch {path}. Only the following can be updated: {list}"
            )));
        }
        let keys: Vec<String> = std::iter::once(root).chain(keys).collect();
        one(target, operation, &keys).map_err(|reason| {
            Refusal::invalid(format!("Couldn't apply patch '{operation}'. Reason: {reason}"))
        })?;
    }
    Ok(())
}

fn one(target: &mut Map<String, Value>, operation: &Value, keys: &[String]) -> Result<(), String> {
    let Some((leaf, parents)) = keys.split_last() else {
        return Err("the path is empty".into());
    };
    let value = operation.get("value").cloned();
    let verb = operation["op"].as_str().unwrap_or_default();
    if parents.is_empty() {
        return set(target, verb, leaf, value);
    }
    let mut at = target.get_mut(&parents[0]).ok_or_else(|| format!("member '{}' not found", parents[0]))?;
    for key in &parents[1..] {
        let next = match at {
            Value::Object(map) => map.get_mut(key),
            Value::Array(list) => key.parse::<usize>().ok().and_then(|i| list.get_mut(i)),
            _ => None,
        };
        at = next.ok_or_else(|| format!("member '{key}' not found"))?;
    }
    match at {
        Value::Object(map) => set(map, verb, leaf, value),
        Value::Array(list) => set_item(list, verb, leaf, value),
        _ => Err(format!("member '{leaf}' not found")),
    }
}

fn set(map: &mut Map<String, Value>, verb: &str, key: &str, value: Option<Value>) -> Result<(), String> {
    match (verb, value) {
        ("replace", _) if !map.contains_key(key) => {
            Err(format!("can't replace a non-existent object '{key}'"))
        }
        ("add" | "replace", Some(value)) => {
            map.insert(key.to_owned(), value);
            Ok(())
        }
        ("remove", _) => map
            .shift_remove(key)
            .map(drop)
            .ok_or_else(|| format!("can't remove a non-existent object '{key}'")),
        _ => Err(format!("operation '{verb}' needs to be one of add, remove, replace, with its value")),
    }
}

fn set_item(list: &mut Vec<Value>, verb: &str, key: &str, value: Option<Value>) -> Result<(), String> {
    let index = if key == "-" { Some(list.len()) } else { key.parse().ok() };
    match (verb, index, value) {
        ("add", Some(i), Some(value)) if i <= list.len() => {
            list.insert(i, value);
            Ok(())
        }
        ("replace", Some(i), Some(value)) if i < list.len() => {
            list[i] = value;
            Ok(())
        }
        ("remove", Some(i), _) if i < list.len() => {
            list.remove(i);
            Ok(())
        }
        _ => Err(format!("can't {verb} outside of the list at '{key}'")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patched(patch: &Value) -> Result<Value, Refusal> {
        let mut doc = json!({"instance_uuid": null, "instance_info": {"a": 1}, "traits": ["X"]});
        let map = doc.as_object_mut().unwrap();
        apply(map, patch, &["instance_uuid", "instance_info", "traits"])?;
        Ok(doc)
    }

    #[test]
    fn operations_reach_into_objects_and_lists() {
        let doc = patched(&json!([
            {"op": "add", "path": "/instance_info/b~1c", "value": [1]},
            {"op": "remove", "path": "/instance_info/a"},
            {"op": "add", "path": "/traits/-", "value": "Y"},
            {"op": "replace", "path": "/instance_uuid", "value": "u"},
        ]))
        .unwrap();
        assert_eq!(doc, json!({"instance_uuid": "u", "instance_info": {"b/c": [1]}, "traits": ["X", "Y"]}));
    }

    #[test]
    fn what_is_not_there_cannot_be_replaced_or_removed() {
        for op in ["replace", "remove"] {
            let refused = patched(&json!([{"op": op, "path": "/instance_info/zz", "value": 1}])).unwrap_err();
            assert_eq!(refused.status, 400);
        }
    }

    #[test]
    fn only_the_allowed_attributes_can_be_patched() {
        let refused =
            patched(&json!([{"op": "add", "path": "/provision_state", "value": "active"}])).unwrap_err();
        assert!(refused.text.starts_with("Cannot patch /provision_state."), "{}", refused.text);
    }
}
