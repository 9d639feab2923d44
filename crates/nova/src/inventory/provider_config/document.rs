//! What one provider configuration file says: its schema, version 1 (`nova/compute/provider_config.py`), with the bounds
//! that Placement puts on an inventory (`placement/schemas/inventory.py`), so that what it would refuse is found at the start.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use driver::NodeId;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::super::Inventory;
use super::yaml;

/// The largest number that Placement stores; also its `max_unit` when none is given.
const MOST: u64 = 0x7FFF_FFFF;
/// The largest allocation ratio that Placement takes.
const LARGEST_RATIO: f64 = 3.402_82e38;
/// How long the name of a class or trait, and of a provider, may be.
const LONGEST_NAME: usize = 255;
const LONGEST_PROVIDER_NAME: usize = 200;
/// `uuid` of the entry for every node that has none of its own.
const EVERY_NODE: &str = "$COMPUTE_NODE";

/// One file.
#[derive(Debug, PartialEq)]
pub struct Document {
    /// The schema's minor version; later ones than 0 may say more than is read.
    pub minor: u32,
    pub entries: Vec<Entry>,
}

/// What a file gives to one provider, or to every node.
#[derive(Debug, PartialEq)]
pub struct Entry {
    pub provider: Provider,
    pub inventory: BTreeMap<String, Inventory>,
    pub traits: BTreeSet<String>,
    /// Whether it adds nothing: then it is as if it were not there.
    pub idle: bool,
}

/// Whom an entry is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Provider {
    /// Every node that has no entry of its own.
    EveryNode,
    /// By uuid, or by name: the provider of a node is named by the node's uuid.
    Node(NodeId),
    /// By a name that no node's provider has.
    Other(String),
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EveryNode => f.write_str(EVERY_NODE),
            Self::Node(node) => node.fmt(f),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// What is wrong in a file: where, what, and the remedy.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    pub field: String,
    pub reason: String,
}

/// Reads a file's text.
pub fn parse(text: &str) -> Result<Document, Problem> {
    let value = yaml::read(text).map_err(|reason| Problem { field: "the file".to_owned(), reason })?;
    let top = Field { path: String::new(), value: &value };
    let minor = minor(&top)?;
    if top.get("__source_file")?.is_some() {
        return Err(top.child("__source_file").wrong("the name is reserved; remove the field"));
    }
    let entries = match top.get("providers")? {
        Some(providers) => providers.items()?.iter().map(entry).collect::<Result<_, _>>()?,
        None => Vec::new(),
    };
    Ok(Document { minor, entries })
}

/// The schema's minor version; the major one must be 1.
fn minor(top: &Field<'_>) -> Result<u32, Problem> {
    let field = top.required("meta")?.required("schema_version")?;
    let version = field.value.as_str().ok_or_else(|| field.wrong("write it as a quoted text: '1.0'"))?;
    let unknown = || field.wrong(&format!("{version:?} is not a version 1 of the schema; write '1.0'"));
    let minor = version.strip_prefix("1.").ok_or_else(unknown)?;
    let canonical = minor == "0" || !minor.starts_with(['0', '+']);
    minor.parse().ok().filter(|_| canonical).ok_or_else(unknown)
}

fn entry(field: &Field<'_>) -> Result<Entry, Problem> {
    let provider = provider(&field.required("identification")?)?;
    let inventories = field.additional("inventories")?;
    let names = field.additional("traits")?;
    let idle = inventories.is_empty() && names.is_empty();
    let mut inventory = BTreeMap::new();
    for classes in inventories {
        for class in classes.object()?.keys() {
            let field = classes.child(class);
            custom(class, &field)?;
            inventory.insert(class.clone(), amounts(&field)?);
        }
    }
    let mut traits = BTreeSet::new();
    for field in names {
        let name = field.value.as_str().ok_or_else(|| field.wrong("must be the name of a trait"))?;
        custom(name, &field)?;
        traits.insert(name.to_owned());
    }
    Ok(Entry { provider, inventory, traits, idle })
}

fn provider(field: &Field<'_>) -> Result<Provider, Problem> {
    let ways = field.object()?;
    let one_way = || field.wrong("give exactly one of uuid and name, and nothing else");
    let (Some(way), 1) = (ways.keys().next(), ways.len()) else { return Err(one_way()) };
    let field = field.child(way);
    let text = field.value.as_str();
    match way.as_str() {
        "uuid" => match text {
            Some(EVERY_NODE) => Ok(Provider::EveryNode),
            text => text.and_then(node).map(Provider::Node).ok_or_else(|| {
                field.wrong("must be a uuid (8-4-4-4-12 hexadecimal digits) or $COMPUTE_NODE")
            }),
        },
        "name" => {
            let name = text
                .filter(|name| (1..=LONGEST_PROVIDER_NAME).contains(&name.chars().count()))
                .ok_or_else(|| field.wrong("must be a text of 1 to 200 characters"))?;
            // Stock takes the marker for what it is wherever it stands.
            if name == EVERY_NODE {
                return Ok(Provider::EveryNode);
            }
            Ok(node(name).map_or_else(|| Provider::Other(name.to_owned()), Provider::Node))
        }
        _ => Err(one_way()),
    }
}

fn node(text: &str) -> Option<NodeId> {
    Uuid::try_parse(text).ok().filter(|_| text.len() == 36).map(NodeId)
}

/// Holds the name of a class or trait against Placement's pattern for an operator's own.
fn custom(name: &str, field: &Field<'_>) -> Result<(), Problem> {
    let valid = name.strip_prefix("CUSTOM_").is_some_and(|own| {
        !own.is_empty() && own.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    });
    if valid && name.len() <= LONGEST_NAME {
        return Ok(());
    }
    Err(field.wrong(&format!(
        "{name:?} is not allowed; only CUSTOM_ followed by A-Z, 0-9 and _ is, of at most 255 characters"
    )))
}

fn amounts(field: &Field<'_>) -> Result<Inventory, Problem> {
    const KEYS: [&str; 6] = ["total", "reserved", "min_unit", "max_unit", "step_size", "allocation_ratio"];
    if let Some(other) = field.object()?.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(field.child(other).wrong(&format!("is not one of {}; remove it", KEYS.join(", "))));
    }
    let total = field.required("total")?.whole(1)?;
    let whole = |key: &str, least: u64, default: u64| {
        field.get(key)?.map_or(Ok(default), |field: Field<'_>| field.whole(least))
    };
    let inventory = Inventory {
        total,
        reserved: whole("reserved", 0, 0)?,
        min_unit: whole("min_unit", 1, 1)?,
        max_unit: whole("max_unit", 1, MOST)?,
        step_size: whole("step_size", 1, 1)?,
        allocation_ratio: field.get("allocation_ratio")?.map_or(Ok(1.0), |field| field.ratio())?,
    };
    if inventory.reserved > total {
        return Err(field.child("reserved").wrong("is more than total; lower it"));
    }
    Ok(inventory)
}

/// A value of the file, and where it stands.
struct Field<'a> {
    path: String,
    value: &'a Value,
}

impl<'a> Field<'a> {
    fn wrong(&self, reason: &str) -> Problem {
        let field = if self.path.is_empty() { "the file" } else { &self.path };
        Problem { field: field.to_owned(), reason: reason.to_owned() }
    }

    /// What stands under a key; null when nothing does.
    fn child(&self, key: &str) -> Field<'a> {
        let dot = if self.path.is_empty() { "" } else { "." };
        Field { path: format!("{}{dot}{key}", self.path), value: &self.value[key] }
    }

    fn get(&self, key: &str) -> Result<Option<Field<'a>>, Problem> {
        Ok(self.object()?.contains_key(key).then(|| self.child(key)))
    }

    fn required(&self, key: &str) -> Result<Field<'a>, Problem> {
        self.get(key)?.ok_or_else(|| self.child(key).wrong("is missing; add it"))
    }

    fn object(&self) -> Result<&'a Map<String, Value>, Problem> {
        self.value.as_object().ok_or_else(|| self.wrong("must be a mapping (key: value)"))
    }

    fn items(&self) -> Result<Vec<Field<'a>>, Problem> {
        let list = self.value.as_array().ok_or_else(|| self.wrong("must be a list (- …)"))?;
        let field = |(i, value)| Field { path: format!("{}[{i}]", self.path), value };
        Ok(list.iter().enumerate().map(field).collect())
    }

    /// The list under `additional` of a part; empty when there is none.
    fn additional(&self, part: &str) -> Result<Vec<Field<'a>>, Problem> {
        match self.get(part)? {
            Some(part) => part.get("additional")?.map_or(Ok(Vec::new()), |list| list.items()),
            None => Ok(Vec::new()),
        }
    }

    fn whole(&self, least: u64) -> Result<u64, Problem> {
        self.value.as_u64().filter(|number| (least..=MOST).contains(number)).ok_or_else(|| {
            self.wrong(&format!("must be a whole number from {least} to {MOST}, in plain decimal digits"))
        })
    }

    fn ratio(&self) -> Result<f64, Problem> {
        self.value
            .as_f64()
            .filter(|ratio| (0.0..=LARGEST_RATIO).contains(ratio))
            .ok_or_else(|| self.wrong("must be a number of 0 or more, in plain decimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "00000000-0000-0000-0000-00000000000A";

    fn with(provider: &str) -> Result<Document, Problem> {
        parse(&format!("meta: {{schema_version: '1.0'}}\nproviders:\n  - {provider}\n"))
    }

    fn additions(inventory: &str, traits: &str) -> Result<Document, Problem> {
        with(&format!(
            "{{identification: {{uuid: $COMPUTE_NODE}}, inventories: {{additional: {inventory}}}, traits: {{additional: {traits}}}}}"
        ))
    }

    #[test]
    fn all_that_a_file_can_say_is_read() {
        let text = "\
meta: {schema_version: '1.0', note: kept out}
providers:
  - identification:
      name: 00000000-0000-0000-0000-00000000000a
    inventories:
      additional:
        - CUSTOM_SLOTS: {total: 10, reserved: 2, min_unit: 2, max_unit: 8, step_size: 2, allocation_ratio: 1.5}
          CUSTOM_LICENCES:
            total: 3
            allocation_ratio: 2
    traits:
      additional:
        - CUSTOM_RACK_7
";
        let Document { minor, mut entries } = parse(text).unwrap();
        assert_eq!((minor, entries.len()), (0, 1));
        let Entry { provider, inventory, traits, idle } = entries.remove(0);
        assert_eq!(provider, Provider::Node(NodeId(Uuid::from_u128(10))));
        let slots = Inventory {
            total: 10,
            reserved: 2,
            min_unit: 2,
            max_unit: 8,
            step_size: 2,
            allocation_ratio: 1.5,
        };
        let licences =
            Inventory { total: 3, max_unit: MOST, allocation_ratio: 2.0, ..Inventory::machine(false) };
        let expected = [("CUSTOM_SLOTS".to_owned(), slots), ("CUSTOM_LICENCES".to_owned(), licences)];
        assert_eq!(inventory, expected.into());
        assert_eq!(traits, ["CUSTOM_RACK_7".to_owned()].into());
        assert!(!idle);
    }

    #[test]
    fn a_provider_is_identified_in_one_way() {
        let identified = |by: &str| with(&format!("{{identification: {by}}}"));
        let read = |by: &str| identified(by).unwrap().entries[0].provider.clone();
        let node = Provider::Node(NodeId(Uuid::from_u128(10)));
        assert_eq!(read(&format!("{{uuid: {UUID}}}")), node);
        assert_eq!(read("{uuid: $COMPUTE_NODE}"), Provider::EveryNode);
        assert_eq!(read("{name: rack}"), Provider::Other("rack".to_owned()));
        for (by, field) in [
            ("{}", "providers[0].identification"),
            ("{uuid: $COMPUTE_NODE, name: a}", "providers[0].identification"),
            ("{host: a}", "providers[0].identification"),
            ("{uuid: 0000000000000000000000000000000a}", "providers[0].identification.uuid"),
            ("{uuid: 1}", "providers[0].identification.uuid"),
            ("{name: ''}", "providers[0].identification.name"),
            ("a", "providers[0].identification"),
        ] {
            assert_eq!(identified(by).unwrap_err().field, field, "{by}");
        }
        assert_eq!(with("{traits: {}}").unwrap_err().field, "providers[0].identification");
    }

    #[test]
    fn an_entry_that_adds_nothing_is_idle() {
        assert!(additions("[]", "[]").unwrap().entries[0].idle);
        assert!(!additions("[]", "[CUSTOM_A]").unwrap().entries[0].idle);
        // So stock: a list that holds something, be it empty, counts.
        assert!(!additions("[{}]", "[]").unwrap().entries[0].idle);
    }

    #[test]
    fn versions_are_those_of_schema_1() {
        let version = |text: &str| parse(&format!("meta: {{schema_version: {text}}}"));
        assert_eq!(version("'1.0'").unwrap(), Document { minor: 0, entries: Vec::new() });
        assert_eq!(version("'1.12'").unwrap().minor, 12);
        for bad in ["1.0", "'2.0'", "'1'", "'1.01'", "'1.+1'", "'1.'", "'10.0'"] {
            let problem = version(bad).unwrap_err();
            assert_eq!(problem.field, "meta.schema_version", "{bad}");
            assert!(problem.reason.contains("'1.0'"), "{bad}");
        }
        assert_eq!(parse("").unwrap_err().field, "the file");
        assert_eq!(parse("providers: []").unwrap_err().field, "meta");
        assert_eq!(parse("meta: {}").unwrap_err().field, "meta.schema_version");
    }

    #[test]
    fn what_is_wrong_is_named_by_its_field() {
        let class = "providers[0].inventories.additional[0]";
        for (inventory, field) in [
            ("{}", "providers[0].inventories.additional".to_owned()),
            ("[CUSTOM_A]", class.to_owned()),
            ("[{VCPU: {total: 1}}]", format!("{class}.VCPU")),
            ("[{CUSTOM_: {total: 1}}]", format!("{class}.CUSTOM_")),
            ("[{CUSTOM_a: {total: 1}}]", format!("{class}.CUSTOM_a")),
            ("[{CUSTOM_A: 1}]", format!("{class}.CUSTOM_A")),
            ("[{CUSTOM_A: {reserved: 1}}]", format!("{class}.CUSTOM_A.total")),
            ("[{CUSTOM_A: {total: 0}}]", format!("{class}.CUSTOM_A.total")),
            ("[{CUSTOM_A: {total: 1.5}}]", format!("{class}.CUSTOM_A.total")),
            ("[{CUSTOM_A: {total: 010}}]", format!("{class}.CUSTOM_A.total")),
            ("[{CUSTOM_A: {total: 4294967296}}]", format!("{class}.CUSTOM_A.total")),
            ("[{CUSTOM_A: {total: true}}]", format!("{class}.CUSTOM_A.total")),
            ("[{CUSTOM_A: {total: 1, reserved: 2}}]", format!("{class}.CUSTOM_A.reserved")),
            ("[{CUSTOM_A: {total: 1, step_size: 0}}]", format!("{class}.CUSTOM_A.step_size")),
            ("[{CUSTOM_A: {total: 1, allocation_ratio: -1}}]", format!("{class}.CUSTOM_A.allocation_ratio")),
            ("[{CUSTOM_A: {total: 1, size: 1}}]", format!("{class}.CUSTOM_A.size")),
        ] {
            assert_eq!(additions(inventory, "[]").unwrap_err().field, field, "{inventory}");
        }
        for bad in ["HW_CPU_X86_VMX", "1", "CUSTOM_a", "CUSTOM_"] {
            let problem = additions("[]", &format!("[CUSTOM_OK, {bad}]")).unwrap_err();
            assert_eq!(problem.field, "providers[0].traits.additional[1]", "{bad}");
        }
        assert_eq!(parse("meta: {schema_version: '1.0'}\nproviders:\n").unwrap_err().field, "providers");
        let reserved = "meta: {schema_version: '1.0'}\n__source_file: a\n";
        assert_eq!(parse(reserved).unwrap_err().field, "__source_file");
    }
}
