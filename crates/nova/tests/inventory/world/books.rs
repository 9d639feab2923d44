//! The books onto the tables.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use compute::instance::Instance;
use compute::ports::Result;
use driver::{InstanceId, NodeId};
use nova::inventory::Wanted;
use nova::inventory::books::{
    Claim, ComputeNodes, KnownProvider, ProviderHead, Providers, Record, RecordFields, Residents,
};
use oslo::context::RequestContext;

use super::{HOST, Tables, World};

/// All books at once.
pub struct Books(pub Arc<World>);

#[async_trait]
impl Residents for Books {
    async fn on_this_host(&self, _: &RequestContext) -> Result<Vec<Instance>> {
        let here = |i: &&Instance| i.host.as_deref() == Some(HOST) && !i.deleted;
        self.0.call("on_this_host", |t| Ok(t.instances.values().filter(here).cloned().collect())).await
    }

    async fn get(&self, _: &RequestContext, id: InstanceId) -> Result<Option<Instance>> {
        self.0.call("get", |t| Ok(t.instances.get(&id).cloned())).await
    }
}

#[async_trait]
impl ComputeNodes for Books {
    async fn records_of_this_host(&self, _: &RequestContext) -> Result<Vec<Record>> {
        let is_own = |record: &&Record| record.host.as_deref() == Some(HOST);
        self.0
            .call("records_of_this_host", |t| Ok(t.records.values().filter(is_own).cloned().collect()))
            .await
    }

    async fn records_of(&self, _: &RequestContext, nodes: &[NodeId]) -> Result<Vec<Record>> {
        self.0
            .call("records_of", |t| Ok(nodes.iter().filter_map(|n| t.records.get(n).cloned()).collect()))
            .await
    }

    async fn create_record(&self, _: &RequestContext, node: NodeId, fields: &RecordFields) -> Result<i64> {
        self.0
            .call("create_record", |t| {
                let id = i64::try_from(t.records.len()).unwrap() + 1;
                let host = Some(HOST.to_owned());
                t.records.insert(node, Record { id, node, host, deleted: false, fields: fields.clone() });
                Ok(id)
            })
            .await
    }

    async fn save_record(
        &self,
        _: &RequestContext,
        _: i64,
        node: NodeId,
        changed: &RecordFields,
        take: bool,
    ) -> Result<()> {
        self.0
            .call("save_record", |t| {
                let record = t.records.get_mut(&node).unwrap();
                record.fields.extend(changed.clone());
                if take {
                    record.host = Some(HOST.to_owned());
                    record.deleted = false;
                }
                Ok(())
            })
            .await
    }

    async fn destroy_record(&self, _: &RequestContext, _: i64, node: NodeId) -> Result<()> {
        self.0
            .call("destroy_record", |t| {
                t.records.remove(&node);
                Ok(())
            })
            .await
    }

    async fn ring_members(&self, _: &RequestContext) -> Result<(BTreeSet<String>, bool)> {
        let members = |t: &mut Tables| t.peers.iter().cloned().chain([HOST.to_owned()]).collect();
        self.0.call("ring_members", |t| Ok((members(t), false))).await
    }
}

#[async_trait]
impl Providers for Books {
    async fn heads(&self) -> Result<HashMap<NodeId, ProviderHead>> {
        self.0
            .call("heads", |t| {
                let head =
                    |(n, p): (&NodeId, &KnownProvider)| (*n, ProviderHead { generation: p.generation });
                Ok(t.providers.iter().map(head).collect())
            })
            .await
    }

    async fn report(&self, wanted: &Wanted, _: Option<KnownProvider>, _: bool) -> Result<KnownProvider> {
        self.0
            .call("report", |t| {
                let generation = t.providers.get(&wanted.node).map_or(0, |p| p.generation) + 1;
                let now = KnownProvider {
                    generation,
                    inventory: wanted.inventory.clone(),
                    traits: wanted.traits.clone(),
                };
                t.providers.insert(wanted.node, now.clone());
                Ok(now)
            })
            .await
    }

    async fn remove(&self, node: NodeId) -> Result<bool> {
        self.0
            .call("remove", |t| {
                let in_use = t.allocations.values().any(|held| *held == node);
                if !in_use {
                    t.providers.remove(&node);
                }
                Ok(!in_use)
            })
            .await
    }

    async fn held_by(&self, instance: InstanceId) -> Result<Vec<NodeId>> {
        self.0.call("held_by", |t| Ok(t.allocations.get(&instance).copied().into_iter().collect())).await
    }

    async fn with_room(&self, class: &str) -> Result<HashSet<NodeId>> {
        self.0
            .call("with_room", |t| {
                let has_room = |(node, provider): &(&NodeId, &KnownProvider)| {
                    let is_offered = provider.inventory.get(class).is_some_and(|stock| stock.reserved == 0);
                    is_offered && t.allocations.values().all(|taken| taken != *node)
                };
                Ok(t.providers.iter().filter(has_room).map(|(node, _)| *node).collect())
            })
            .await
    }

    async fn holders(&self, node: NodeId) -> Result<Vec<InstanceId>> {
        let of_node = |(_, held): &(&InstanceId, &NodeId)| **held == node;
        self.0
            .call("holders", |t| Ok(t.allocations.iter().filter(of_node).map(|(id, _)| *id).collect()))
            .await
    }

    async fn claim(&self, instance: InstanceId) -> Result<Option<Claim>> {
        self.0.call("claim", |t| Ok(claim(t, instance))).await
    }

    async fn take_from(&self, instance: InstanceId, _: NodeId, seen: &Claim) -> Result<bool> {
        self.0
            .call("take_from", |t| {
                let is_same = claim(t, instance).as_ref() == Some(seen);
                if is_same {
                    t.allocations.remove(&instance);
                }
                Ok(is_same)
            })
            .await
    }

    async fn release(&self, _: &RequestContext, instance: InstanceId) -> Result<()> {
        self.0
            .call("release", |t| {
                t.allocations.remove(&instance);
                Ok(())
            })
            .await
    }
}

fn claim(tables: &Tables, instance: InstanceId) -> Option<Claim> {
    let node = *tables.allocations.get(&instance)?;
    let generation = tables.claim_generations.get(&instance).copied().unwrap_or_default();
    Some(Claim { generation, nodes: [node].into() })
}
