//! Placement: providers, their inventories and traits, and allocations.
//!
//! Each call is made in the version that nova-compute makes it in (`nova/scheduler/client/report.py`), which
//! all supported releases offer. Writes carry the provider's generation, and 409 says that it is not current
//! any more: read again and repeat ([`is_concurrent_update`]), unless the inventory to remove is in use
//! ([`is_inventory_in_use`]).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Adapter, Caller, Error, Request, error::found};

/// Error code of a write with an old generation, from API 1.23 on.
pub const CONCURRENT_UPDATE: &str = "placement.concurrent_update";
/// Error code of a write that would take away allocated inventory, from API 1.23 on.
pub const INVENTORY_IN_USE: &str = "placement.inventory.inuse";
/// Names asked for at once, so that the address stays short.
const NAMES_AT_ONCE: usize = 100;

/// Whether a write failed because something else wrote first. Calls older than API 1.23 (traits, aggregates)
/// give no code: any conflict there is one of generations.
pub fn is_concurrent_update(error: &Error) -> bool {
    error.is_conflict() && error.code().is_none_or(|code| code == CONCURRENT_UPDATE)
}

/// Whether a write failed because inventory that it removes is allocated.
pub fn is_inventory_in_use(error: &Error) -> bool {
    error.is_conflict() && error.code() == Some(INVENTORY_IN_USE)
}

/// A resource provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provider {
    /// Its id; the node's uuid.
    pub uuid: Uuid,
    /// Its name; the node's uuid as well.
    pub name: String,
    /// Counts the writes; every write to it must name the current one.
    pub generation: i64,
    /// Its parent in the tree.
    #[serde(default)]
    pub parent_provider_uuid: Option<Uuid>,
    /// The root of its tree.
    #[serde(default)]
    pub root_provider_uuid: Option<Uuid>,
}

/// Which providers to list; the default is all.
#[derive(Clone, Debug, Default)]
pub struct ProviderQuery {
    /// Only the tree that this provider is in.
    pub in_tree: Option<Uuid>,
    /// Only this one.
    pub uuid: Option<Uuid>,
    /// Only the one with this name.
    pub name: Option<String>,
    /// Only members of any of these aggregates.
    pub member_of: Vec<Uuid>,
    /// Only those that have all of these traits.
    pub required: Vec<String>,
    /// Only those with room for one of this resource class.
    pub room_for: Option<String>,
}

/// Inventory of one resource class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    /// How many there are.
    pub total: u64,
    /// How many of them are not offered.
    #[serde(default)]
    pub reserved: u64,
    /// Least to allocate at once.
    #[serde(default = "one")]
    pub min_unit: u64,
    /// Most to allocate at once.
    #[serde(default = "one")]
    pub max_unit: u64,
    /// Allocations are multiples of it.
    #[serde(default = "one")]
    pub step_size: u64,
    /// Overcommitment.
    #[serde(default = "ratio")]
    pub allocation_ratio: f64,
}

fn one() -> u64 {
    1
}

fn ratio() -> f64 {
    1.0
}

impl Inventory {
    /// The inventory of a node: one machine, offered or not.
    pub fn node(reserved: bool) -> Self {
        Self {
            total: 1,
            reserved: u64::from(reserved),
            min_unit: 1,
            max_unit: 1,
            step_size: 1,
            allocation_ratio: 1.0,
        }
    }
}

/// A provider's inventories by resource class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inventories {
    /// The provider's generation: after a read or a write the current one, before a write the one expected.
    #[serde(rename = "resource_provider_generation")]
    pub generation: i64,
    /// By resource class.
    pub inventories: BTreeMap<String, Inventory>,
}

/// A provider's traits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traits {
    /// As with [`Inventories`].
    #[serde(rename = "resource_provider_generation")]
    pub generation: i64,
    /// The names.
    pub traits: BTreeSet<String>,
}

/// A provider's aggregates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aggregates {
    /// As with [`Inventories`].
    #[serde(rename = "resource_provider_generation")]
    pub generation: i64,
    /// Their ids.
    pub aggregates: BTreeSet<Uuid>,
}

/// Amounts by resource class.
pub type Resources = BTreeMap<String, u64>;

/// What is allocated of one provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocation {
    /// How much.
    pub resources: Resources,
}

/// What is allocated of a provider, by consumer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ProviderAllocations {
    /// The provider's generation.
    #[serde(rename = "resource_provider_generation", default)]
    pub generation: i64,
    /// By consumer (an instance's uuid).
    pub allocations: BTreeMap<Uuid, Allocation>,
}

/// What a consumer has, by provider; also the body of the write, which replaces everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocations {
    /// By provider; empty takes everything away.
    pub allocations: BTreeMap<Uuid, Allocation>,
    /// The consumer's project; absent where it has nothing.
    #[serde(default)]
    pub project_id: String,
    /// The consumer's user.
    #[serde(default)]
    pub user_id: String,
    /// Counts the writes; null for a consumer that has nothing yet.
    #[serde(default)]
    pub consumer_generation: Option<i64>,
}

/// One way to satisfy a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Candidate {
    /// What to allocate, by provider.
    pub allocations: BTreeMap<Uuid, Allocation>,
    /// Providers by suffix of the request group.
    #[serde(default)]
    pub mappings: BTreeMap<String, Vec<Uuid>>,
}

#[derive(Deserialize)]
struct ProviderList {
    resource_providers: Vec<Provider>,
}

#[derive(Deserialize)]
struct TraitList {
    traits: BTreeSet<String>,
}

#[derive(Deserialize)]
struct CandidateList {
    allocation_requests: Vec<Candidate>,
}

#[derive(Serialize)]
struct NewProvider {
    uuid: Uuid,
    name: String,
}

#[derive(Serialize)]
struct Reshape<'a> {
    inventories: &'a BTreeMap<Uuid, Inventories>,
    allocations: BTreeMap<Uuid, Allocations>,
}

/// Placement through an adapter. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    adapter: Adapter,
}

impl Client {
    /// A client on an adapter of [`Service::Placement`](crate::Service::Placement).
    pub fn new(adapter: Adapter) -> Self {
        Self { adapter }
    }

    /// Providers with their generations. 1.14; 1.18 where traits are asked for.
    pub async fn providers(&self, caller: &Caller, query: &ProviderQuery) -> Result<Vec<Provider>, Error> {
        let mut request = Request::get(&["resource_providers"])
            .exactly(1, if query.required.is_empty() { 14 } else { 18 })
            .query_some("in_tree", query.in_tree)
            .query_some("uuid", query.uuid)
            .query_some("name", query.name.as_ref());
        if !query.member_of.is_empty() {
            let ids: Vec<String> = query.member_of.iter().map(Uuid::to_string).collect();
            request = request.query("member_of", format!("in:{}", ids.join(",")));
        }
        if let Some(class) = &query.room_for {
            request = request.query("resources", format!("{class}:1"));
        }
        if !query.required.is_empty() {
            request = request.query("required", query.required.join(","));
        }
        let list: ProviderList = self.adapter.json(caller, request).await?;
        Ok(list.resource_providers)
    }

    /// Creates a root provider and returns it with its generation. 409: the id or the name is taken. 1.20.
    pub async fn create_provider(&self, caller: &Caller, uuid: Uuid, name: &str) -> Result<Provider, Error> {
        let body = NewProvider { uuid, name: name.to_owned() };
        self.adapter.json(caller, Request::post(&["resource_providers"]).exactly(1, 20).json(&body)?).await
    }

    /// Deletes a provider; false where it did not exist. 409: it has children or is allocated.
    pub async fn delete_provider(&self, caller: &Caller, provider: Uuid) -> Result<bool, Error> {
        let request = Request::delete(&["resource_providers", &provider.to_string()]).idempotent();
        Ok(found(self.adapter.empty(caller, request).await)?.is_some())
    }

    /// A provider's inventories. No version.
    pub async fn inventories(&self, caller: &Caller, provider: Uuid) -> Result<Inventories, Error> {
        self.adapter.json(caller, of(Request::get, provider, "inventories")).await
    }

    /// Replaces a provider's inventories and returns them with the new generation. 1.26: reserved may equal
    /// total.
    pub async fn put_inventories(
        &self,
        caller: &Caller,
        provider: Uuid,
        wanted: &Inventories,
    ) -> Result<Inventories, Error> {
        self.adapter
            .json(caller, of(Request::put, provider, "inventories").exactly(1, 26).json(wanted)?)
            .await
    }

    /// A provider's traits. 1.6.
    pub async fn traits(&self, caller: &Caller, provider: Uuid) -> Result<Traits, Error> {
        self.adapter.json(caller, of(Request::get, provider, "traits").exactly(1, 6)).await
    }

    /// Replaces a provider's traits and returns them with the new generation. All must exist:
    /// [`Self::ensure_traits`]. 1.6.
    pub async fn put_traits(
        &self,
        caller: &Caller,
        provider: Uuid,
        wanted: &Traits,
    ) -> Result<Traits, Error> {
        self.adapter.json(caller, of(Request::put, provider, "traits").exactly(1, 6).json(wanted)?).await
    }

    /// A provider's aggregates. 1.19.
    pub async fn aggregates(&self, caller: &Caller, provider: Uuid) -> Result<Aggregates, Error> {
        self.adapter.json(caller, of(Request::get, provider, "aggregates").exactly(1, 19)).await
    }

    /// Makes a custom resource class exist. 1.7.
    pub async fn ensure_resource_class(&self, caller: &Caller, class: &str) -> Result<(), Error> {
        let request = Request::put(&["resource_classes", class]).exactly(1, 7).idempotent();
        self.adapter.empty(caller, request).await
    }

    /// Makes traits exist: one look for a hundred of them, one write for each that is missing. Call it with
    /// all that are needed by any provider, not provider by provider. 400: a missing one is not `CUSTOM_`.
    /// 1.6.
    pub async fn ensure_traits(&self, caller: &Caller, names: &BTreeSet<String>) -> Result<(), Error> {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for chunk in names.chunks(NAMES_AT_ONCE) {
            let request =
                Request::get(&["traits"]).exactly(1, 6).query("name", format!("in:{}", chunk.join(",")));
            let known: TraitList = self.adapter.json(caller, request).await?;
            for missing in chunk.iter().filter(|name| !known.traits.contains(**name)) {
                let request = Request::put(&["traits", missing]).exactly(1, 6).idempotent();
                self.adapter.empty(caller, request).await?;
            }
        }
        Ok(())
    }

    /// Who has what of a provider. No version.
    pub async fn provider_allocations(
        &self,
        caller: &Caller,
        provider: Uuid,
    ) -> Result<ProviderAllocations, Error> {
        self.adapter.json(caller, of(Request::get, provider, "allocations")).await
    }

    /// What a consumer has; empty where it has nothing. 1.28.
    pub async fn allocations(&self, caller: &Caller, consumer: Uuid) -> Result<Allocations, Error> {
        self.adapter.json(caller, Request::get(&["allocations", &consumer.to_string()]).exactly(1, 28)).await
    }

    /// Replaces what a consumer has; `allocations` empty takes everything away. 409:
    /// [`is_concurrent_update`]. 1.28.
    pub async fn put_allocations(
        &self,
        caller: &Caller,
        consumer: Uuid,
        wanted: &Allocations,
    ) -> Result<(), Error> {
        let request = Request::put(&["allocations", &consumer.to_string()]).exactly(1, 28).json(wanted)?;
        self.adapter.empty(caller, request).await
    }

    /// Replaces what several consumers have, in one transaction. 409: [`is_concurrent_update`], and nothing is
    /// changed. 1.28.
    pub async fn replace_allocations(
        &self,
        caller: &Caller,
        wanted: &BTreeMap<Uuid, Allocations>,
    ) -> Result<(), Error> {
        self.adapter.empty(caller, Request::post(&["allocations"]).exactly(1, 28).json(wanted)?).await
    }

    /// Takes everything from a consumer, whatever its generation; false where it had nothing. No version.
    pub async fn delete_allocations(&self, caller: &Caller, consumer: Uuid) -> Result<bool, Error> {
        let request = Request::delete(&["allocations", &consumer.to_string()]).idempotent();
        Ok(found(self.adapter.empty(caller, request).await)?.is_some())
    }

    /// Ways to satisfy a request, for QoS ports; `query` as in Placement's API (`resources`, `required`, …).
    /// 1.36.
    pub async fn allocation_candidates(
        &self,
        caller: &Caller,
        query: &[(String, String)],
    ) -> Result<Vec<Candidate>, Error> {
        let request = Request::get(&["allocation_candidates"]).exactly(1, 36);
        let request =
            query.iter().fold(request, |request, (key, value)| request.query(key.clone(), value.clone()));
        let list: CandidateList = self.adapter.json(caller, request).await?;
        Ok(list.allocation_requests)
    }

    /// Replaces the inventories of many providers in one transaction, all or nothing; allocations are left
    /// alone. 1.30.
    ///
    /// The generations rise by more than one (by two in Placement 16) and are not returned: list the
    /// providers to learn them. 409: one of the generations is old, or inventory that would go is in use.
    /// 403: by default the call is for the role `service` alone, not for admin; write the inventories one by
    /// one instead.
    pub async fn reshape(
        &self,
        caller: &Caller,
        inventories: &BTreeMap<Uuid, Inventories>,
    ) -> Result<(), Error> {
        let body = Reshape { inventories, allocations: BTreeMap::new() };
        self.adapter.empty(caller, Request::post(&["reshaper"]).exactly(1, 30).json(&body)?).await
    }
}

fn of(method: fn(&[&str]) -> Request, provider: Uuid, what: &str) -> Request {
    method(&["resource_providers", &provider.to_string(), what])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bodies_are_as_captured() {
        let wanted = Inventories {
            generation: 2,
            inventories: BTreeMap::from([("CUSTOM_BAREMETAL".to_owned(), Inventory::node(true))]),
        };
        let captured = json!({"resource_provider_generation": 2, "inventories": {"CUSTOM_BAREMETAL": {
            "total": 1, "reserved": 1, "min_unit": 1, "max_unit": 1, "step_size": 1, "allocation_ratio": 1.0}}});
        assert_eq!(serde_json::to_value(&wanted).unwrap(), captured);
        assert_eq!(serde_json::from_value::<Inventories>(captured).unwrap(), wanted);

        let captured = json!({"allocations": {"c6f082e5-e01c-4b7e-8489-e565b1177045":
            {"resources": {"CUSTOM_BAREMETAL": 1}, "generation": 3}},
            "project_id": "p", "user_id": "u", "consumer_generation": 1});
        let mut allocations: Allocations = serde_json::from_value(captured).unwrap();
        allocations.allocations.clear();
        assert_eq!(
            serde_json::to_value(&allocations).unwrap(),
            json!({"allocations": {}, "project_id": "p", "user_id": "u", "consumer_generation": 1})
        );
        let nothing: Allocations = serde_json::from_value(json!({"allocations": {}})).unwrap();
        assert_eq!(nothing, Allocations::default());
    }

    #[test]
    fn conflicts_are_told_apart() {
        let conflict = |code: Option<&str>| Error::Http {
            service: "placement",
            status: 409,
            code: code.map(str::to_owned),
            message: String::new(),
            request_id: None,
        };
        assert!(is_concurrent_update(&conflict(Some(CONCURRENT_UPDATE))));
        assert!(is_concurrent_update(&conflict(None)));
        assert!(!is_concurrent_update(&conflict(Some(INVENTORY_IN_USE))));
        assert!(is_inventory_in_use(&conflict(Some(INVENTORY_IN_USE))));
        assert!(!is_inventory_in_use(&conflict(None)));
    }
}
