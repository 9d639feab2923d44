//! Keystone's service catalog and the choice of an endpoint in it.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

/// The interfaces of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interface {
    /// For services.
    Internal,
    /// For everybody.
    Public,
    /// For operators.
    Admin,
}

impl Interface {
    /// Reads `internal`, and `internalURL` as in Cinder's `catalog_info`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim().trim_end_matches("URL") {
            "internal" => Some(Self::Internal),
            "public" => Some(Self::Public),
            "admin" => Some(Self::Admin),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Public => "public",
            Self::Admin => "admin",
        }
    }
}

/// A catalog, as Keystone's v3 API gives it with a token. `Debug` shows how many services it has.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Catalog(Vec<Entry>);

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog").field("services", &self.0.len()).finish_non_exhaustive()
    }
}

/// A service of the catalog.
#[derive(Clone, Deserialize)]
struct Entry {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    endpoints: Vec<Endpoint>,
}

/// An endpoint of a service.
#[derive(Clone, Deserialize)]
struct Endpoint {
    #[serde(default)]
    interface: String,
    #[serde(default)]
    region: Option<String>,
    #[serde(default)]
    region_id: Option<String>,
    #[serde(default)]
    url: String,
}

/// What to look for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// Types in the order of preference: the configured one, then its aliases.
    pub(crate) types: &'a [&'a str],
    pub(crate) name: Option<&'a str>,
    pub(crate) region: Option<&'a str>,
    pub(crate) interfaces: &'a [Interface],
}

impl Catalog {
    /// Reads the `service_catalog` of a request context, in which an endpoint has all its interfaces at once
    /// (`{"region", "publicURL", "internalURL", "adminURL"}`), or a list of the newer shape. `None` if it is
    /// neither or empty.
    pub(crate) fn from_context(list: &Value) -> Option<Self> {
        let entries: Vec<Entry> = list
            .as_array()?
            .iter()
            .filter_map(|service| {
                let mut entry = Entry::deserialize(service).ok()?;
                for endpoint in service["endpoints"].as_array().into_iter().flatten() {
                    for interface in [Interface::Public, Interface::Internal, Interface::Admin] {
                        let Some(url) = endpoint[format!("{}URL", interface.as_str())].as_str() else {
                            continue;
                        };
                        let region = |key: &str| endpoint[key].as_str().map(str::to_owned);
                        entry.endpoints.push(Endpoint {
                            interface: interface.as_str().to_owned(),
                            region: region("region"),
                            region_id: region("region_id"),
                            url: url.to_owned(),
                        });
                    }
                }
                Some(entry)
            })
            .collect();
        (!entries.is_empty()).then_some(Self(entries))
    }

    /// The first interface in the order of preference that has an endpoint, of the first type that has one.
    pub(crate) fn find(&self, wanted: &Wanted<'_>) -> Option<&str> {
        wanted.types.iter().find_map(|kind| {
            wanted.interfaces.iter().find_map(|interface| {
                self.0
                    .iter()
                    .filter(|entry| entry.kind == *kind)
                    // A service without a name has any, as for keystoneauth.
                    .filter(|entry| match (wanted.name, entry.name.as_deref()) {
                        (Some(wanted), Some(name)) => name.is_empty() || name == wanted,
                        _ => true,
                    })
                    .flat_map(|entry| &entry.endpoints)
                    .find(|endpoint| {
                        let here = |region: &str| {
                            [&endpoint.region_id, &endpoint.region]
                                .iter()
                                .any(|have| have.as_deref() == Some(region))
                        };
                        endpoint.interface.trim_end_matches("URL") == interface.as_str()
                            && wanted.region.is_none_or(here)
                            && !endpoint.url.is_empty()
                    })
                    .map(|endpoint| endpoint.url.as_str())
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn catalog() -> Catalog {
        serde_json::from_value(json!([
            {"type": "baremetal", "name": "ironic", "id": "1", "endpoints": [
                {"id": "a", "interface": "public", "region": "one", "region_id": "one", "url": "http://public-one"},
                {"id": "b", "interface": "internal", "region": "one", "region_id": "one", "url": "http://internal-one"},
                {"id": "c", "interface": "public", "region": "two", "region_id": "two", "url": "http://public-two"}]},
            {"type": "volumev3", "name": "cinderv3", "endpoints": [
                {"interface": "public", "region_id": "one", "url": "http://cinder/v3/p"}]}
        ]))
        .unwrap()
    }

    fn find(
        types: &[&str],
        name: Option<&str>,
        region: Option<&str>,
        interfaces: &[Interface],
    ) -> Option<String> {
        catalog().find(&Wanted { types, name, region, interfaces }).map(str::to_owned)
    }

    #[test]
    fn the_first_interface_that_the_region_has_is_taken() {
        use Interface::{Admin, Internal, Public};
        let both = [Internal, Public];
        assert_eq!(find(&["baremetal"], None, None, &both).unwrap(), "http://internal-one");
        assert_eq!(find(&["baremetal"], None, Some("two"), &both).unwrap(), "http://public-two");
        assert_eq!(find(&["baremetal"], None, None, &[Public]).unwrap(), "http://public-one");
        assert_eq!(find(&["baremetal"], None, None, &[Admin]), None);
        assert_eq!(find(&["baremetal"], None, Some("three"), &both), None);
        assert_eq!(find(&["baremetal"], Some("other"), None, &both), None);
    }

    #[test]
    fn a_service_without_a_name_has_any() {
        for entry in [json!({"type": "image"}), json!({"type": "image", "name": ""})] {
            let mut entry = entry;
            entry["endpoints"] = json!([{"interface": "public", "url": "http://glance"}]);
            let catalog: Catalog = serde_json::from_value(json!([entry])).unwrap();
            let wanted = Wanted {
                types: &["image"],
                name: Some("glance"),
                region: None,
                interfaces: &[Interface::Public],
            };
            assert_eq!(catalog.find(&wanted), Some("http://glance"));
        }
    }

    #[test]
    fn an_alias_of_the_type_is_found() {
        let types = ["block-storage", "volumev3"];
        assert_eq!(find(&types, None, None, &[Interface::Public]).unwrap(), "http://cinder/v3/p");
    }

    #[test]
    fn the_catalog_of_a_context_is_read_in_its_old_shape() {
        let context = json!([{"type": "volumev3", "name": "cinderv3", "endpoints": [
            {"region": "one", "publicURL": "http://cinder/v3/p", "internalURL": "http://inner/v3/p"}]}]);
        let catalog = Catalog::from_context(&context).unwrap();
        let wanted =
            |interfaces| Wanted { types: &["volumev3"], name: None, region: Some("one"), interfaces };
        assert_eq!(catalog.find(&wanted(&[Interface::Public])), Some("http://cinder/v3/p"));
        assert_eq!(catalog.find(&wanted(&[Interface::Internal])), Some("http://inner/v3/p"));
        assert!(Catalog::from_context(&json!([])).is_none());
    }

    #[test]
    fn interfaces_are_read_with_and_without_the_old_suffix() {
        assert_eq!(Interface::parse("publicURL"), Some(Interface::Public));
        assert_eq!(Interface::parse(" internal"), Some(Interface::Internal));
        assert_eq!(Interface::parse("inner"), None);
    }
}
