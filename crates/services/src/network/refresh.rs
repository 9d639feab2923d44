//! The network information of instances as Neutron has it now.
//!
//! A refresh follows the cache: what Neutron still has of it, in its order. A healing follows Neutron: what the cache lacks comes
//! last, in the order of the ledger. Many instances are healed with about as many requests as one.

use std::collections::{BTreeMap, BTreeSet};

use compute::instance::Instance;
use compute::ports::Result;
use configdrive::network::{NetworkInfo, Vif};
use openstack::Caller;
use openstack::neutron::{NetworkFilter, Port, PortFilter};
use oslo::context::RequestContext;
use uuid::Uuid;

use super::failure::failed;
use super::{Networks, gather, own, preserved};

/// Refreshes one instance; `vif` limits it to one port.
pub async fn refresh(
    net: &Networks,
    context: &RequestContext,
    instance: &Instance,
    vif: Option<Uuid>,
) -> Result<NetworkInfo> {
    let own = own(context);
    let known = &instance.network;
    let filter = PortFilter {
        tenant_id: Some(instance.project_id.clone()),
        device_ids: vec![instance.id.to_string()],
        ..PortFilter::default()
    };
    let found = list(net, &own, &filter).await?;
    let vif = vif.map(|id| id.to_string());
    let wanted: Vec<Port> = match &vif {
        Some(id) if !known.0.is_empty() => found.into_iter().filter(|port| port.id == *id).collect(),
        // In the order of the cache, as long as Neutron still has them.
        _ => known.0.iter().filter_map(|vif| find(&found, &vif.id)).cloned().collect(),
    };
    if vif.is_some() && wanted.is_empty() {
        // A port that left stays in the cache until it is detached.
        return Ok(known.clone());
    }
    let fresh = vifs(net, &own, &wanted, &preserved(known)).await?;
    Ok(match vif {
        Some(_) => merged(known, fresh),
        None => NetworkInfo(fresh),
    })
}

/// Heals many instances.
pub async fn heal(
    net: &Networks,
    context: &RequestContext,
    instances: &[Instance],
) -> Result<Vec<NetworkInfo>> {
    if instances.is_empty() {
        return Ok(Vec::new());
    }
    let own = own(context);
    let device_ids = instances.iter().map(|instance| instance.id.to_string()).collect();
    let found = list(net, &own, &PortFilter { device_ids, ..PortFilter::default() }).await?;
    let mut wanted = Vec::with_capacity(instances.len());
    for instance in instances {
        wanted.push(in_order(net, context, instance, &found).await?);
    }
    let keep = instances.iter().flat_map(|instance| preserved(&instance.network)).collect();
    let fresh = vifs(net, &own, &wanted.concat(), &keep).await?;
    let mut fresh: BTreeMap<String, Vif> = fresh.into_iter().map(|vif| (vif.id.clone(), vif)).collect();
    let healed = |ports: Vec<Port>| ports.iter().filter_map(|port| fresh.remove(&port.id)).collect();
    Ok(wanted.into_iter().map(healed).map(NetworkInfo).collect())
}

/// The ports of an instance: first those of the cache, then those of the ledger, then the rest.
async fn in_order(
    net: &Networks,
    context: &RequestContext,
    instance: &Instance,
    found: &[Port],
) -> Result<Vec<Port>> {
    let id = instance.id.to_string();
    let mut left: Vec<Port> = found
        .iter()
        .filter(|port| port.device_id == id && port.tenant_id == instance.project_id)
        .cloned()
        .collect();
    let mut ordered = Vec::with_capacity(left.len());
    let mut take = |left: &mut Vec<Port>, id: &str| {
        if let Some(at) = left.iter().position(|port| port.id == id) {
            ordered.push(left.remove(at));
        }
    };
    for vif in &instance.network.0 {
        take(&mut left, &vif.id);
    }
    if left.len() > 1 {
        for port in net.0.ledger.recorded(context, instance.id).await? {
            take(&mut left, &port);
        }
    }
    ordered.extend(left);
    Ok(ordered)
}

async fn vifs(net: &Networks, own: &Caller, ports: &[Port], keep: &BTreeSet<String>) -> Result<Vec<Vif>> {
    let ids: BTreeSet<String> = ports.iter().map(|port| port.network_id.clone()).collect();
    let networks = if ids.is_empty() {
        Vec::new()
    } else {
        let filter = NetworkFilter { ids: ids.into_iter().collect(), ..NetworkFilter::default() };
        let networks = net.client().networks(own, &filter).await;
        networks.map_err(|error| failed("the instance's networks cannot be listed", &error))?
    };
    gather::vifs(net, own, ports, &networks, keep, &BTreeSet::new()).await
}

async fn list(net: &Networks, own: &Caller, filter: &PortFilter) -> Result<Vec<Port>> {
    let ports = net.client().ports(own, filter).await;
    ports.map_err(|error| failed("the instance's ports cannot be listed", &error))
}

fn find<'a>(ports: &'a [Port], id: &str) -> Option<&'a Port> {
    ports.iter().find(|port| port.id == id)
}

/// The known VIFs with the fresh ones in their places; new ones come last.
fn merged(known: &NetworkInfo, fresh: Vec<Vif>) -> NetworkInfo {
    let mut merged = known.clone();
    for vif in fresh {
        match merged.0.iter_mut().find(|known| known.id == vif.id) {
            Some(known) => *known = vif,
            None => merged.0.push(vif),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use compute::ports::Networks as _;
    use compute::request::NetworkRequests;
    use driver::InstanceId;

    use super::super::testing::{build, lab};
    use super::*;

    #[tokio::test]
    async fn a_hundred_servers_are_healed_with_as_many_requests_as_one() {
        let lab = lab().await;
        let request = build(NetworkRequests::Default);
        let mut instances = Vec::new();
        for number in 1..=100 {
            let instance = Instance { id: InstanceId(Uuid::from_u128(number)), ..request.instance.clone() };
            let network = lab.networks.allocate(&request, &instance).await.unwrap();
            instances.push(Instance { network, ..instance });
        }
        let context = RequestContext::admin();
        let mut asked = Vec::new();
        for count in [1, 100] {
            lab.log();
            let healed = lab.networks.heal(&context, &instances[..count]).await.unwrap();
            let known: Vec<_> = instances[..count].iter().map(|instance| instance.network.clone()).collect();
            assert_eq!(healed, known);
            asked.push(lab.log().len());
        }
        assert_eq!(asked, [4, 4]);
        // What the cache lacks comes in the order of the records.
        let emptied = Instance { network: NetworkInfo::default(), ..instances[0].clone() };
        lab.networks.allocate(&build(NetworkRequests::Default), &emptied).await.unwrap();
        let healed = lab.networks.heal(&context, &[emptied]).await.unwrap();
        assert_eq!(healed[0], instances[0].network);
    }
}
