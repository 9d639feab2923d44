//! Reads what surrounds the ports and builds their VIFs. Everything is asked once, however many ports share
//! it.

use std::collections::BTreeSet;

use compute::ports::{self, Result};
use configdrive::network::Vif;
use futures_util::future::try_join_all;
use openstack::Caller;
use openstack::neutron::{FloatingIp, Network, Port, PortFilter, Subnet};

use super::failure::failed;
use super::vif::{self, Physical, Surroundings};
use super::{MULTI_PROVIDER, Networks};

/// The VIFs of `ports`, in their order. `preserve`: ids of ports that the user brought. `fresh`: ids of ports
/// that were made a moment ago, which no floating address can lead to yet.
pub async fn vifs(
    net: &Networks,
    own: &Caller,
    ports: &[Port],
    networks: &[Network],
    preserve: &BTreeSet<String>,
    fresh: &BTreeSet<String>,
) -> Result<Vec<Vif>> {
    let ((subnets, dhcp), floating, physical) = tokio::try_join!(
        subnets(net, own, ports),
        floating(net, own, ports, fresh),
        physical(net, own, ports)
    )?;
    let around = Surroundings {
        networks,
        subnets: &subnets,
        dhcp: &dhcp,
        floating: &floating,
        physical: &physical,
        injected: net.0.options.flat_injected,
        ovs_bridge: &net.0.options.ovs_bridge,
    };
    Ok(ports.iter().map(|port| vif::build(port, &around, preserve.contains(&port.id))).collect())
}

/// The subnets of the ports' addresses, and the DHCP servers of those that have one.
async fn subnets(net: &Networks, own: &Caller, ports: &[Port]) -> Result<(Vec<Subnet>, Vec<Port>)> {
    let ids = ports.iter().flat_map(|port| &port.fixed_ips).filter_map(|ip| ip.subnet_id.clone());
    let ids: Vec<String> = ids.collect::<BTreeSet<_>>().into_iter().collect();
    let subnets = net.client().subnets(own, &ids).await;
    let subnets = subnets.map_err(|error| failed("the subnets of the ports cannot be listed", &error))?;
    let served: BTreeSet<&String> = subnets
        .iter()
        .filter(|subnet| subnet.enable_dhcp == Some(true))
        .map(|subnet| &subnet.network_id)
        .collect();
    let servers = served.into_iter().map(|network| async move {
        let filter = PortFilter {
            network_id: Some(network.clone()),
            device_owner: Some("network:dhcp".into()),
            ..PortFilter::default()
        };
        net.client().ports(own, &filter).await
    });
    let servers = try_join_all(servers).await;
    let servers = servers.map_err(|error| failed("the DHCP servers cannot be listed", &error))?;
    Ok((subnets, servers.into_iter().flatten().collect()))
}

async fn floating(
    net: &Networks,
    own: &Caller,
    ports: &[Port],
    fresh: &BTreeSet<String>,
) -> Result<Vec<FloatingIp>> {
    let old = ports.iter().filter(|port| !fresh.contains(&port.id) && !port.fixed_ips.is_empty());
    let ids: Vec<String> = old.map(|port| port.id.clone()).collect();
    let found = net.client().floating_ips(own, &ids).await;
    found.map_err(|error| failed("the floating addresses cannot be listed", &error))
}

/// What the ports' networks are built on; it never changes, so that it is not asked for every server.
async fn physical(net: &Networks, own: &Caller, ports: &[Port]) -> Result<Vec<(String, Physical)>> {
    let ids: BTreeSet<&String> = ports.iter().map(|port| &port.network_id).collect();
    let reads = ids.into_iter().map(|id| async move {
        let physical = net.0.physical.get(id.clone(), || read_physical(net, own, id)).await?;
        Ok::<_, ports::Error>((id.clone(), physical))
    });
    try_join_all(reads).await
}

async fn read_physical(net: &Networks, own: &Caller, network: &str) -> Result<Physical> {
    let what = "how the network is built cannot be read";
    if net.has_extension(own, MULTI_PROVIDER).await? {
        let segments = net.client().network_segments(own, network).await;
        let segments = segments.map_err(|error| failed(what, &error))?.unwrap_or_default();
        if !segments.is_empty() {
            return Physical::of_segments(&segments).map_or_else(|| Physical::missing(network), Ok);
        }
    }
    let provider = net.client().provider_network(own, network).await;
    Ok(Physical::of_provider(provider.map_err(|error| failed(what, &error))?))
}
