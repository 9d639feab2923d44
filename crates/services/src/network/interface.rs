//! One more port for an instance that runs: made and bound in two halves, so that who asks can remember the port between them.

use std::collections::BTreeSet;

use compute::instance::Instance;
use compute::ports::{Refusal, Result};
use compute::request::{NetworkRequest, NetworkRequests};
use configdrive::network::Vif;
use openstack::neutron::{NetworkFilter, Port};
use oslo::context::RequestContext;
use uuid::Uuid;

use super::allocate::Allocation;
use super::choice::{self, Slot};
use super::failure::{failed, refused};
use super::{Networks, gather, own, release, user};

/// Makes the port that is wanted, or finds that the instance can have the one that the user brought.
pub async fn new_port(
    net: &Networks,
    context: &RequestContext,
    instance: &Instance,
    wanted: &NetworkRequest,
    had: &BTreeSet<Uuid>,
) -> Result<Uuid> {
    let networks = NetworkRequests::These(vec![wanted.clone()]);
    let allocation = Allocation::new(net, context, instance, &networks)?;
    let slot = allocation.slots(&[]).await?.pop();
    let slot =
        slot.ok_or_else(|| refused(Refusal::NotAttached, "Neutron has no network for the interface"))?;
    choice::check_security(&slot.network, false)?;
    if let Some(given) = &slot.given {
        if !given.device_id.is_empty() {
            return Err(refused(Refusal::PortInUse, format!("Port {} is still in use.", given.id)));
        }
        if allocation.resource_groups(given).await?.is_some() {
            // Machines offer no bandwidth.
            let text =
                format!("Failed to allocate additional resources to {} during interface attach", instance.id);
            return Err(refused(Refusal::InterfaceResources, text));
        }
        return id(&given.id);
    }
    for port in new_ports(net, context, instance, had).await? {
        if fits(&port, &slot) {
            return id(&port.id);
        }
    }
    id(&allocation.create(&slot, &[]).await?.id)
}

/// Makes a port the instance's, and answers its VIF.
pub async fn bind(
    net: &Networks,
    context: &RequestContext,
    instance: &Instance,
    port: Uuid,
    brought: bool,
) -> Result<Vif> {
    let networks = NetworkRequests::None;
    let allocation = Allocation::new(net, context, instance, &networks)?;
    let own = &allocation.own;
    let found = net.client().port(own, &port.to_string(), &[]).await.map_err(|error| {
        if error.is_not_found() {
            refused(Refusal::PortNotFound, format!("Port id {port} could not be found."))
        } else {
            failed(&format!("Failed to access port {port}"), &error)
        }
    })?;
    let filter = NetworkFilter { ids: vec![found.network_id.clone()], ..NetworkFilter::default() };
    let networks = net.client().networks(own, &filter).await;
    let networks = networks.map_err(|error| failed("the network of the port cannot be read", &error))?;
    let network = networks.first().cloned().ok_or_else(|| {
        refused(Refusal::NetworkNotFound, format!("Network {} could not be found.", found.network_id))
    })?;
    let slot = Slot { network, given: brought.then(|| found.clone()), address: None, tag: None };
    let bound = allocation.bind(&slot, found).await?;
    if !net.0.ledger.recorded(context, instance.id).await?.contains(&bound.id) {
        net.0.ledger.record(context, instance.id, &bound, None).await?;
    }
    let keep = brought.then(|| bound.id.clone()).into_iter().collect();
    let vifs = gather::vifs(net, own, &[bound], &networks, &keep, &BTreeSet::new()).await?;
    vifs.into_iter().next().ok_or_else(|| refused(Refusal::Other, "Neutron's port has no VIF"))
}

/// Deletes the ports that the instance did not have before and that nothing was done with.
pub async fn release_new(
    net: &Networks,
    context: &RequestContext,
    instance: &Instance,
    had: &BTreeSet<Uuid>,
) -> Result<()> {
    let own = own(context);
    let user = user(context).unwrap_or_else(|_| own.clone());
    for port in new_ports(net, context, instance, had).await? {
        tracing::info!(instance = %instance.id, port = port.id, "deleting a port that was made and not attached");
        release::delete(net, &own, &user, &port.id).await?;
    }
    Ok(())
}

/// The ports of the instance that it did not have before, and that have no owner yet: made, and not bound.
async fn new_ports(
    net: &Networks,
    context: &RequestContext,
    instance: &Instance,
    had: &BTreeSet<Uuid>,
) -> Result<Vec<Port>> {
    let mut ports = net.ports_of(&own(context), instance.id).await?;
    ports.retain(|port| {
        port.device_owner.is_empty() && !port.id.parse().is_ok_and(|id: Uuid| had.contains(&id))
    });
    Ok(ports)
}

fn fits(port: &Port, slot: &Slot) -> bool {
    let has = |address: &String| port.fixed_ips.iter().any(|ip| ip.ip_address == *address);
    port.network_id == slot.network.id && slot.address.as_ref().is_none_or(has)
}

fn id(port: &str) -> Result<Uuid> {
    port.parse().map_err(|_| refused(Refusal::Other, format!("Neutron's port {port} has no uuid")))
}

#[cfg(test)]
mod tests {
    use compute::ports::{self, Networks as _};
    use serde_json::json;

    use super::super::testing::{Lab, NET, build, given, lab};
    use super::*;

    fn wanted(port: Option<&str>) -> NetworkRequest {
        NetworkRequest {
            network_id: port.is_none().then(|| NET.parse().unwrap()),
            port_id: port.map(|port| port.parse().unwrap()),
            ..NetworkRequest::default()
        }
    }

    async fn new(lab: &Lab, wanted: &NetworkRequest) -> Result<Uuid> {
        let request = build(NetworkRequests::None);
        lab.networks.new_port(&request.context, &request.instance, wanted, &BTreeSet::new()).await
    }

    fn why<T: std::fmt::Debug>(refused: Result<T>) -> Refusal {
        match refused {
            Err(ports::Error::Refused { why, .. }) => why,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_port_is_made_as_the_user_and_bound_as_ourselves_and_is_recorded_once() {
        let lab = lab().await;
        let request = build(NetworkRequests::None);
        let port = new(&lab, &wanted(None)).await.unwrap();
        assert_eq!(lab.neutron().ports[0]["device_owner"], "");
        for _ in 0..2 {
            lab.networks.bind_port(&request.context, &request.instance, port, false).await.unwrap();
        }
        let log = lab.log();
        assert!(log.contains(&"user POST /v2.0/ports".to_owned()), "{log:?}");
        let bound = |line: &&String| line.contains(" PUT ");
        assert_eq!(log.iter().filter(bound).collect::<Vec<_>>(), [&format!("own PUT /v2.0/ports/{port}")]);
        assert_eq!(lab.neutron().ports[0]["device_owner"], "compute:nova");
        assert_eq!(lab.rows(), [(port.to_string(), None)]);
        lab.networks.release_port(&request.context, &request.instance, port, false).await.unwrap();
        assert_eq!((lab.neutron().ports.len(), lab.rows()), (0, vec![]));
    }

    #[tokio::test]
    async fn a_port_of_the_users_gets_the_servers_name_and_loses_it_with_its_interface() {
        let lab = lab().await;
        lab.neutron().extensions = vec!["dns-integration"];
        let (request, brought) = (build(NetworkRequests::None), given(&lab));
        let port = new(&lab, &wanted(Some(&brought))).await.unwrap();
        lab.networks.bind_port(&request.context, &request.instance, port, true).await.unwrap();
        assert_eq!(lab.neutron().port(&brought)["dns_name"], "server");
        assert_eq!(lab.neutron().port(&brought)["binding:profile"], json!({"mine": 1}));
        lab.networks.release_port(&request.context, &request.instance, port, true).await.unwrap();
        let port = lab.neutron().port(&brought);
        assert_eq!((&port["dns_name"], &port["device_id"]), (&json!(""), &json!("")));
        assert_eq!(port["binding:profile"], json!({"mine": 1}));
    }

    #[tokio::test]
    async fn a_port_that_has_an_owner_or_needs_resources_and_a_network_that_is_not_there_are_refused() {
        let lab = lab().await;
        let brought = given(&lab);
        lab.neutron().extensions = vec!["port-resource-request-groups"];
        let groups = json!({"request_groups": [{"id": "g", "resources": {"NET_BW_EGR_KILOBIT_PER_SEC": 1}}]});
        lab.neutron().ports[0]["resource_request"] = groups;
        assert_eq!(why(new(&lab, &wanted(Some(&brought))).await), Refusal::InterfaceResources);
        // The server's own, too: it is attached already.
        lab.neutron().ports[0]["device_id"] = json!(build(NetworkRequests::None).instance.id);
        assert_eq!(why(new(&lab, &wanted(Some(&brought))).await), Refusal::PortInUse);
        let nowhere = Uuid::from_u128(9);
        let network = NetworkRequest { network_id: Some(nowhere), ..NetworkRequest::default() };
        assert_eq!(why(new(&lab, &network).await), Refusal::NetworkNotFound);
        assert_eq!(why(new(&lab, &wanted(Some(&nowhere.to_string()))).await), Refusal::PortNotFound);
    }

    #[tokio::test]
    async fn a_port_of_another_server_is_not_released() {
        let lab = lab().await;
        let (request, brought) = (build(NetworkRequests::None), given(&lab));
        lab.neutron().ports[0]["device_id"] = json!("another");
        let port = brought.parse().unwrap();
        for keep in [true, false] {
            lab.networks.release_port(&request.context, &request.instance, port, keep).await.unwrap();
            assert_eq!(lab.neutron().port(&brought)["device_id"], "another");
        }
    }
}
