//! Placement as a nova-compute uses it: the providers that stand for the nodes, and the allocations of the instances.
//!
//! Protocol facts: `nova/scheduler/client/report.py`, and captured requests of a stock nova-compute. Only the service's own
//! credentials are used; the request id of whoever asks goes along where there is one. Aggregates are never touched:
//! nova-api keeps them.

mod ensured;
mod step;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::books::{Claim, KnownProvider, ProviderHead, Providers};
use super::{Inventory, Wanted};
use async_trait::async_trait;
use compute::ports;
use driver::{InstanceId, NodeId};
use openstack::placement::{self, Allocations, Client, Inventories, Traits};
use openstack::{Caller, Error};
use oslo::context::RequestContext;

use ensured::Ensured;
use step::Step;

/// How often a write that met a newer generation is tried, the first time included (`report.py`: 4).
const ATTEMPTS: u32 = 4;

/// What of the configuration matters here.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// `[DEFAULT] reclaim_instance_interval` is above 0: instances can be restored, and an allocation is given back by a
    /// write that names its generation, so that one that was made anew meanwhile stays.
    pub reclaims: bool,
}

/// The port to Placement. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Placement(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Client,
    options: Options,
    classes: Ensured,
    traits: Ensured,
}

impl Placement {
    /// Placement through this client.
    pub fn new(client: Client, options: Options) -> Self {
        Self(Arc::new(Inner { client, options, classes: Ensured::default(), traits: Ensured::default() }))
    }

    /// Takes one step and answers what is known after it.
    async fn take(
        &self,
        step: &Step,
        wanted: &Wanted,
        known: Option<KnownProvider>,
    ) -> Result<Option<KnownProvider>, Error> {
        let (inner, caller, node) = (&self.0, Caller::default(), wanted.node);
        match step {
            Step::Create => {
                let provider = inner.client.create_provider(&caller, node.0, &node.to_string()).await?;
                Ok(Some(KnownProvider {
                    generation: provider.generation,
                    inventory: std::collections::BTreeMap::new(),
                    traits: BTreeSet::new(),
                }))
            }
            Step::Read => self.read(&caller, node).await.map(Some),
            Step::PutInventory(generation) => {
                let names: BTreeSet<String> = wanted.inventory.keys().cloned().collect();
                let client = &inner.client;
                let make = |missing: BTreeSet<String>| async move {
                    for class in &missing {
                        client.ensure_resource_class(&Caller::default(), class).await?;
                    }
                    Ok(())
                };
                inner.classes.ensure(&names, make).await?;
                let body = Inventories {
                    generation: *generation,
                    inventories: wanted
                        .inventory
                        .iter()
                        .map(|(class, stock)| (class.clone(), theirs(*stock)))
                        .collect(),
                };
                let written = inner.client.put_inventories(&caller, node.0, &body).await?;
                Ok(known.map(|known| KnownProvider {
                    generation: written.generation,
                    inventory: wanted.inventory.clone(),
                    ..known
                }))
            }
            Step::PutTraits(generation) => {
                let client = &inner.client;
                let make = |missing: BTreeSet<String>| async move {
                    client.ensure_traits(&Caller::default(), &missing).await
                };
                inner.traits.ensure(&wanted.traits, make).await?;
                let body = Traits { generation: *generation, traits: wanted.traits.clone() };
                let written = inner.client.put_traits(&caller, node.0, &body).await?;
                Ok(known.map(|known| KnownProvider {
                    generation: written.generation,
                    traits: wanted.traits.clone(),
                    ..known
                }))
            }
            Step::Done => Ok(known),
        }
    }

    /// Inventory and traits as they are. When something is written between the two reads the older generation counts: a
    /// write with it is refused, and both are read again.
    async fn read(&self, caller: &Caller, node: NodeId) -> Result<KnownProvider, Error> {
        let client = &self.0.client;
        let (inventories, traits) =
            tokio::try_join!(client.inventories(caller, node.0), client.traits(caller, node.0))?;
        Ok(KnownProvider {
            generation: inventories.generation.min(traits.generation),
            inventory: inventories
                .inventories
                .into_iter()
                .map(|(class, stock)| (class, ours(&stock)))
                .collect(),
            traits: traits.traits,
        })
    }

    /// Gives back what an instance holds, unless it holds something new by then.
    async fn empty(&self, caller: &Caller, instance: InstanceId) -> Result<(), Error> {
        let mut attempts = 1;
        loop {
            let mut held = self.0.client.allocations(caller, instance.0).await?;
            if held.allocations.is_empty() {
                return Ok(());
            }
            held.allocations.clear();
            match self.0.client.put_allocations(caller, instance.0, &held).await {
                Err(error) if placement::is_concurrent_update(&error) && attempts < ATTEMPTS => attempts += 1,
                other => return other,
            }
        }
    }
}

#[async_trait]
impl Providers for Placement {
    async fn heads(&self) -> ports::Result<HashMap<NodeId, ProviderHead>> {
        let providers =
            self.0.client.providers(&Caller::default(), &placement::ProviderQuery::default()).await;
        let providers =
            providers.map_err(|error| unavailable("the resource providers cannot be listed", &error))?;
        let head = |provider: placement::Provider| {
            (NodeId(provider.uuid), ProviderHead { generation: provider.generation })
        };
        Ok(providers.into_iter().map(head).collect())
    }

    async fn report(
        &self,
        wanted: &Wanted,
        mut known: Option<KnownProvider>,
        mut exists: bool,
    ) -> ports::Result<KnownProvider> {
        let node = wanted.node;
        let (mut attempts, mut name_taken) = (1, false);
        loop {
            let step = step::next(wanted, known.as_ref(), exists);
            if let (Step::Done, Some(known)) = (&step, &known) {
                return Ok(known.clone());
            }
            let error = match self.take(&step, wanted, known.clone()).await {
                Ok(now) => {
                    (known, exists) = (now, true);
                    continue;
                }
                Err(error) => error,
            };
            if attempts >= ATTEMPTS {
                return Err(unavailable(&format!("the provider of node {node} cannot be written"), &error));
            }
            attempts += 1;
            match &step {
                // Somebody made it meanwhile, or another provider has its name: reading tells which.
                Step::Create if error.is_conflict() => (exists, name_taken) = (true, true),
                Step::Read if error.is_not_found() && name_taken => {
                    return Err(ports::Error::Unavailable(format!(
                        "Placement has another resource provider with the name {node}; delete or rename it"
                    )));
                }
                Step::PutInventory(_) if placement::is_inventory_in_use(&error) => {
                    return Err(ports::Error::Broken(in_use(wanted, known.as_ref())));
                }
                Step::PutInventory(_) if placement::is_concurrent_update(&error) => known = None,
                Step::PutTraits(_) if error.is_conflict() => known = None,
                // Deleted meanwhile.
                Step::Read | Step::PutInventory(_) | Step::PutTraits(_) if error.is_not_found() => {
                    (known, exists) = (None, false);
                }
                // A class or a trait that we made was deleted.
                Step::PutInventory(_) if error.is_bad_request() => {
                    self.0.classes.forget(wanted.inventory.keys());
                }
                Step::PutTraits(_) if error.is_bad_request() => self.0.traits.forget(&wanted.traits),
                _ => {
                    return Err(unavailable(
                        &format!("the provider of node {node} cannot be written"),
                        &error,
                    ));
                }
            }
            metrics::counter!("bessemer_placement_repeats_total", "step" => step.name()).increment(1);
            tracing::debug!(%node, step = step.name(), %error, "Placement had something else; looking again");
        }
    }

    async fn remove(&self, node: NodeId) -> ports::Result<bool> {
        match self.0.client.delete_provider(&Caller::default(), node.0).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_conflict() => {
                tracing::warn!(%node, %error, "the provider of a node that is gone is in use and stays");
                Ok(false)
            }
            Err(error) => Err(unavailable(&format!("the provider of node {node} cannot be deleted"), &error)),
        }
    }

    async fn held_by(&self, instance: InstanceId) -> ports::Result<Vec<NodeId>> {
        let held = self.0.client.allocations(&Caller::default(), instance.0).await;
        let held = held
            .map_err(|error| unavailable(&format!("the allocation of {instance} cannot be read"), &error))?;
        Ok(held.allocations.into_keys().map(NodeId).collect())
    }

    async fn with_room(&self, class: &str) -> ports::Result<HashSet<NodeId>> {
        let query = placement::ProviderQuery { room_for: Some(class.to_owned()), ..Default::default() };
        let providers = self.0.client.providers(&Caller::default(), &query).await;
        let providers =
            providers.map_err(|error| unavailable("the free resource providers cannot be listed", &error))?;
        Ok(providers.into_iter().map(|provider| NodeId(provider.uuid)).collect())
    }

    async fn holders(&self, node: NodeId) -> ports::Result<Vec<InstanceId>> {
        match self.0.client.provider_allocations(&Caller::default(), node.0).await {
            Ok(held) => Ok(held.allocations.into_keys().map(InstanceId).collect()),
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            Err(error) => Err(unavailable(&format!("the allocations of node {node} cannot be read"), &error)),
        }
    }

    async fn claim(&self, instance: InstanceId) -> ports::Result<Option<Claim>> {
        let held = self.0.client.allocations(&Caller::default(), instance.0).await;
        let held = held
            .map_err(|error| unavailable(&format!("the allocation of {instance} cannot be read"), &error))?;
        Ok(claim(&held))
    }

    async fn take_from(&self, instance: InstanceId, node: NodeId, seen: &Claim) -> ports::Result<bool> {
        let caller = Caller::default();
        let failed =
            |error: Error| unavailable(&format!("the allocation of {instance} cannot be deleted"), &error);
        let mut held = self.0.client.allocations(&caller, instance.0).await.map_err(failed)?;
        if claim(&held).as_ref() != Some(seen) || held.allocations.remove(&node.0).is_none() {
            return Ok(false);
        }
        match self.0.client.put_allocations(&caller, instance.0, &held).await {
            Ok(()) => Ok(true),
            Err(error) if placement::is_concurrent_update(&error) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    async fn release(&self, context: &RequestContext, instance: InstanceId) -> ports::Result<()> {
        let caller = Caller::own(context.global_id());
        let released = if self.0.options.reclaims {
            self.empty(&caller, instance).await
        } else {
            self.0.client.delete_allocations(&caller, instance.0).await.map(drop)
        };
        released
            .map_err(|error| unavailable(&format!("the allocation of {instance} cannot be deleted"), &error))
    }
}

fn claim(held: &Allocations) -> Option<Claim> {
    let nodes: BTreeSet<NodeId> = held.allocations.keys().copied().map(NodeId).collect();
    let generation = held.consumer_generation.filter(|_| !nodes.is_empty())?;
    Some(Claim { generation, nodes })
}

fn theirs(inventory: Inventory) -> placement::Inventory {
    let Inventory { total, reserved, min_unit, max_unit, step_size, allocation_ratio } = inventory;
    placement::Inventory { total, reserved, min_unit, max_unit, step_size, allocation_ratio }
}

fn ours(inventory: &placement::Inventory) -> Inventory {
    let &placement::Inventory { total, reserved, min_unit, max_unit, step_size, allocation_ratio } =
        inventory;
    Inventory { total, reserved, min_unit, max_unit, step_size, allocation_ratio }
}

fn unavailable(what: &str, error: &Error) -> ports::Error {
    let text = format!("{what}: {error}");
    // What an operator must correct is waited for, too.
    let is_away = error.is_transient() || matches!(error, Error::Auth { .. } | Error::Endpoint { .. });
    if is_away { ports::Error::Unavailable(text) } else { ports::Error::Broken(text) }
}

/// The text for an operator who changed the resource class of a node with a server on it.
fn in_use(wanted: &Wanted, known: Option<&KnownProvider>) -> String {
    let goes = |class: &&String| !wanted.inventory.contains_key(*class);
    let going: Vec<&str> =
        known.iter().flat_map(|known| known.inventory.keys()).filter(goes).map(String::as_str).collect();
    let coming: Vec<&str> = wanted.inventory.keys().map(String::as_str).collect();
    format!(
        "node {}: resource class {} is allocated and cannot become {}; set the node's resource_class back, or delete its \
         server first",
        wanted.node,
        going.join(", "),
        coming.join(", "),
    )
}
