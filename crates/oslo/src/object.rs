//! Versioned object primitives, kept as the JSON documents they came as.
//!
//! An object travels as `{"nova_object.name", "nova_object.namespace", "nova_object.version",
//! "nova_object.data", "nova_object.changes"}`. `data` holds only what is set: absent means "not loaded" and
//! is not null. Only what `changes` names is written by `save`. An object is never upgraded: the sender's
//! version goes back with it, so that a control plane never meets a version it does not know.

use serde_json::{Map, Value, json};

const NAME: &str = "nova_object.name";
const NAMESPACE: &str = "nova_object.namespace";
const VERSION: &str = "nova_object.version";
const DATA: &str = "nova_object.data";
const CHANGES: &str = "nova_object.changes";

/// Why a value is no object. No value is part of the message: an object holds user data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// It is not a JSON object with a field `nova_object.name`.
    #[error("not a versioned object: no field nova_object.name")]
    NotAnObject,
    /// A field of the envelope is missing or of the wrong type.
    #[error("object {name}: field {field} is missing or of the wrong type")]
    Malformed {
        /// The object's class.
        name: String,
        /// The field of the envelope.
        field: &'static str,
    },
    /// An object of another project (`nova_object.namespace` is not `nova`).
    #[error("object {name} belongs to namespace {namespace:?}, not to nova")]
    Foreign {
        /// The object's class.
        name: String,
        /// The namespace found.
        namespace: String,
    },
}

/// A versioned object primitive of Nova.
#[derive(Clone, PartialEq)]
pub struct Object {
    name: String,
    version: String,
    data: Map<String, Value>,
    changes: Vec<String>,
}

impl Object {
    /// An object with nothing set.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self { name: name.into(), version: version.into(), data: Map::new(), changes: Vec::new() }
    }

    /// Reads a primitive. Names in `changes` that are not set are dropped, as Nova does.
    pub fn from_value(value: Value) -> Result<Self, ObjectError> {
        let Value::Object(mut document) = value else { return Err(ObjectError::NotAnObject) };
        let Some(Value::String(name)) = document.remove(NAME) else { return Err(ObjectError::NotAnObject) };
        match document.remove(NAMESPACE) {
            Some(Value::String(namespace)) if namespace == "nova" => {}
            Some(Value::String(namespace)) => return Err(ObjectError::Foreign { name, namespace }),
            _ => return Err(ObjectError::Malformed { name, field: NAMESPACE }),
        }
        let Some(Value::String(version)) = document.remove(VERSION) else {
            return Err(ObjectError::Malformed { name, field: VERSION });
        };
        let Some(Value::Object(data)) = document.remove(DATA) else {
            return Err(ObjectError::Malformed { name, field: DATA });
        };
        let changes = match document.remove(CHANGES) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(names)) => names
                .into_iter()
                .filter_map(|name| match name {
                    Value::String(name) if data.contains_key(&name) => Some(name),
                    _ => None,
                })
                .collect(),
            Some(_) => return Err(ObjectError::Malformed { name, field: CHANGES }),
        };
        Ok(Self { name, version, data, changes })
    }

    /// Whether a value looks like an object, without reading it.
    pub fn is_object(value: &Value) -> bool {
        value.get(NAME).is_some()
    }

    /// The class, e.g. `Instance`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version the sender gave, e.g. `2.8`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// A field's value; `None` when it is not loaded, `Some(Null)` when it is null.
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.data.get(field)
    }

    /// Whether a field is loaded.
    pub fn is_set(&self, field: &str) -> bool {
        self.data.contains_key(field)
    }

    /// A string field; `None` when not loaded, null, or of another type.
    pub fn str(&self, field: &str) -> Option<&str> {
        self.get(field)?.as_str()
    }

    /// An integer field; `None` when not loaded, null, or of another type.
    pub fn int(&self, field: &str) -> Option<i64> {
        self.get(field)?.as_i64()
    }

    /// A boolean field; `None` when not loaded, null, or of another type.
    pub fn bool(&self, field: &str) -> Option<bool> {
        self.get(field)?.as_bool()
    }

    /// A nested object; `None` when not loaded, null, or no object.
    pub fn object(&self, field: &str) -> Option<Object> {
        Self::from_value(self.get(field)?.clone()).ok()
    }

    /// The members of a list object (`objects`); what is no object is left out.
    pub fn into_items(mut self) -> Vec<Object> {
        match self.data.remove("objects") {
            Some(Value::Array(members)) => {
                members.into_iter().filter_map(|member| Self::from_value(member).ok()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Everything that is loaded.
    pub fn data(&self) -> &Map<String, Value> {
        &self.data
    }

    /// Assigns a field and marks it to be saved.
    pub fn set(&mut self, field: &str, value: impl Into<Value>) {
        self.insert(field, value);
        if !self.changes.iter().any(|changed| changed == field) {
            self.changes.push(field.to_owned());
        }
    }

    /// Assigns a field as if it had come from the database: not marked to be saved.
    pub fn insert(&mut self, field: &str, value: impl Into<Value>) {
        self.data.insert(field.to_owned(), value.into());
    }

    /// Forgets a field: it is not loaded any more.
    pub fn remove(&mut self, field: &str) -> Option<Value> {
        self.changes.retain(|changed| changed != field);
        self.data.shift_remove(field)
    }

    /// The fields that a save writes.
    pub fn changes(&self) -> &[String] {
        &self.changes
    }

    /// Marks everything as saved.
    pub fn clear_changes(&mut self) {
        self.changes.clear();
    }

    /// Takes over the `updates` of an `object_action` (oslo.versionedobjects `remotable`): assigns each,
    /// loading fields that were not, then lets `obj_what_changed` say what is still to be saved.
    pub fn apply(&mut self, updates: &Map<String, Value>) {
        for (field, value) in updates {
            if field != "obj_what_changed" {
                self.insert(field, value.clone());
            }
        }
        let dirty = updates.get("obj_what_changed").and_then(Value::as_array);
        let dirty = dirty.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
        self.changes = dirty.filter(|field| self.data.contains_key(field)).collect();
    }

    /// The primitive. `changes` is there only when something is to be saved.
    pub fn into_value(self) -> Value {
        let mut document = Map::new();
        document.insert(NAME.to_owned(), Value::String(self.name));
        document.insert(NAMESPACE.to_owned(), json!("nova"));
        document.insert(VERSION.to_owned(), Value::String(self.version));
        document.insert(DATA.to_owned(), Value::Object(self.data));
        if !self.changes.is_empty() {
            document.insert(CHANGES.to_owned(), json!(self.changes));
        }
        Value::Object(document)
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        object.into_value()
    }
}

/// Shows what it is and what is loaded, never the values: they hold passwords, user data and connection
/// secrets.
impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Object")
            .field("name", &self.name)
            .field("version", &self.version)
            .field("fields", &self.data.keys().collect::<Vec<_>>())
            .field("changes", &self.changes)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fault() -> Value {
        json!({
            "nova_object.name": "InstanceFault", "nova_object.namespace": "nova", "nova_object.version": "1.2",
            "nova_object.data": {"instance_uuid": "u", "code": 500, "details": null},
            "nova_object.changes": ["code", "instance_uuid"],
        })
    }

    #[test]
    fn a_primitive_goes_back_as_it_came() {
        let object = Object::from_value(fault()).unwrap();
        assert_eq!((object.name(), object.version()), ("InstanceFault", "1.2"));
        assert_eq!(object.into_value(), fault());
    }

    #[test]
    fn absent_and_null_are_different() {
        let object = Object::from_value(fault()).unwrap();
        assert_eq!(object.get("details"), Some(&Value::Null));
        assert!(!object.is_set("host"));
        assert_eq!(object.int("code"), Some(500));
    }

    #[test]
    fn a_set_field_is_saved_and_an_inserted_one_is_not() {
        let mut object = Object::new("Service", "1.22");
        object.insert("id", 1);
        object.set("report_count", 2);
        object.set("report_count", 3);
        assert_eq!(object.changes(), ["report_count"]);
        assert_eq!(object.int("report_count"), Some(3));
    }

    #[test]
    fn updates_load_fields_and_decide_what_is_still_dirty() {
        let mut object = Object::from_value(fault()).unwrap();
        let updates = json!({"id": 7, "code": 404, "obj_what_changed": ["code", "unknown"]});
        object.apply(updates.as_object().unwrap());
        assert_eq!((object.int("id"), object.int("code")), (Some(7), Some(404)));
        assert_eq!(object.changes(), ["code"]);
        object.apply(json!({"obj_what_changed": []}).as_object().unwrap());
        assert!(object.changes().is_empty());
    }

    #[test]
    fn a_list_gives_its_members() {
        let mut list = Object::new("InstanceFaultList", "1.2");
        list.insert("objects", json!([fault(), "junk", fault()]));
        assert_eq!(list.into_items().len(), 2);
    }

    #[test]
    fn an_error_names_the_field() {
        let mut document = fault();
        document["nova_object.data"] = json!([]);
        let error = Object::from_value(document).unwrap_err();
        assert_eq!(
            error.to_string(),
            "object InstanceFault: field nova_object.data is missing or of the wrong type"
        );
        assert_eq!(Object::from_value(json!({"a": 1})), Err(ObjectError::NotAnObject));
        let mut foreign = fault();
        foreign["nova_object.namespace"] = json!("ironic");
        assert!(matches!(Object::from_value(foreign), Err(ObjectError::Foreign { .. })));
    }

    #[test]
    fn debug_shows_no_value() {
        let mut object = Object::new("Instance", "2.8");
        object.set("user_data", "s3cret");
        assert!(!format!("{object:?}").contains("s3cret"));
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 6, |inner| {
            let key = prop_oneof![
                Just(NAME.to_owned()),
                Just(NAMESPACE.to_owned()),
                Just(VERSION.to_owned()),
                Just(DATA.to_owned()),
                Just(CHANGES.to_owned()),
                "[a-z]{1,4}",
            ];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((key, inner), 0..6)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_json_makes_it_panic(value in json_value()) {
            if let Ok(mut object) = Object::from_value(value.clone()) {
                object.clone().into_items();
                let updates = object.data().clone();
                object.apply(&updates);
                prop_assert!(Object::from_value(object.into_value()).is_ok());
            }
        }
    }
}
