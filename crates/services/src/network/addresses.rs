//! Single addresses of an instance's ports: one more, one less (`nova/network/neutron.py`, `add_fixed_ip_to_instance` and
//! `remove_fixed_ip_from_instance`). Ports are looked for and changed with the user's token.

use compute::instance::Instance;
use compute::ports::{Addresses, Error, Refusal, Result};
use openstack::Caller;
use openstack::neutron::{FixedIp, Port, PortFilter, PortUpdate};
use oslo::context::RequestContext;
use uuid::Uuid;

use super::failure::{failed, refused};
use super::{Networks, owner, user};
use crate::failure::{Meaning, meaning};

/// The addresses of the instance's ports on a network.
pub async fn of(
    net: &Networks,
    context: &RequestContext,
    instance: &Instance,
    network: Uuid,
) -> Result<Addresses> {
    let ports = on_network(net, &user(context)?, instance, network).await?;
    Ok(ports.iter().filter_map(|port| Some((port.id.parse().ok()?, addresses(port)))).collect())
}

/// One more address of the network, on the first port that takes it, from the first subnet that has one.
pub async fn add(
    net: &Networks,
    context: &RequestContext,
    instance: &Instance,
    network: Uuid,
    had: &Addresses,
) -> Result<()> {
    let user = user(context)?;
    let missing = || {
        let text = format!("Network could not be found for instance {}.", instance.id);
        refused(Refusal::NetworkNotOnInstance, text)
    };
    let subnets = net.client().subnets_of(&user, &network.to_string()).await;
    let subnets = subnets.map_err(|error| failed("the subnets of the network cannot be listed", &error))?;
    let ports = on_network(net, &user, instance, network).await?;
    let has_more = |port: &Port| {
        let before = port.id.parse().ok().and_then(|id: Uuid| had.get(&id));
        before.is_some_and(|before| addresses(port).difference(before).next().is_some())
    };
    if ports.iter().any(has_more) {
        return Ok(());
    }
    for port in &ports {
        for subnet in &subnets {
            let new = FixedIp { subnet_id: Some(subnet.id.clone()), ip_address: String::new() };
            let all = port.fixed_ips.iter().cloned().chain([new]).collect();
            if set(net, &user, port, all).await? {
                return Ok(());
            }
        }
    }
    Err(missing())
}

/// Takes the address from the port that has it.
pub async fn remove(
    net: &Networks,
    context: &RequestContext,
    instance: &Instance,
    address: &str,
) -> Result<bool> {
    let user = user(context)?;
    let filter = PortFilter { ip_address: Some(address.to_owned()), ..of_instance(instance) };
    let Some(port) = list(net, &user, &filter).await?.into_iter().next() else { return Ok(false) };
    let left = port.fixed_ips.iter().filter(|ip| ip.ip_address != address).cloned().collect();
    if set(net, &user, &port, left).await? {
        Ok(true)
    } else {
        let text = format!("Neutron refuses to take address {address} from port {}.", port.id);
        Err(refused(Refusal::Other, text))
    }
}

/// Gives a port these addresses; `false`: Neutron refuses.
async fn set(net: &Networks, user: &Caller, port: &Port, addresses: Vec<FixedIp>) -> Result<bool> {
    let update = PortUpdate { fixed_ips: Some(addresses), ..PortUpdate::default() };
    match net.client().update_port(user, &port.id, &update).await {
        Ok(_) => Ok(true),
        Err(error) if meaning(&error) == Meaning::Refused => {
            tracing::info!(port = port.id, %error, "Neutron refuses the addresses for the port");
            Ok(false)
        }
        Err(error) => Err(failed(&format!("port {} cannot be updated", port.id), &error)),
    }
}

fn addresses(port: &Port) -> std::collections::BTreeSet<String> {
    port.fixed_ips.iter().map(|ip| ip.ip_address.clone()).collect()
}

fn of_instance(instance: &Instance) -> PortFilter {
    PortFilter {
        device_ids: vec![instance.id.to_string()],
        device_owner: Some(owner(instance)),
        ..PortFilter::default()
    }
}

async fn on_network(
    net: &Networks,
    user: &Caller,
    instance: &Instance,
    network: Uuid,
) -> Result<Vec<Port>, Error> {
    let filter = PortFilter { network_id: Some(network.to_string()), ..of_instance(instance) };
    list(net, user, &filter).await
}

async fn list(net: &Networks, user: &Caller, filter: &PortFilter) -> Result<Vec<Port>> {
    let ports = net.client().ports(user, filter).await;
    ports.map_err(|error| failed("the instance's ports cannot be listed", &error))
}
