//! How a machine presents itself to the volume service: the connector (`get_volume_connector` of Nova's Ironic driver).

use driver::Driver;
use openstack::Caller;
use openstack::ironic::{Node, ProvisionState, VolumeConnector};
use uuid::Uuid;

use crate::instance::Instance;
use crate::operations::server;
use crate::ports::Connector;

/// Whether a server's volumes may still be attached to its node. Once Ironic deploys, the machine uses them: before a restart
/// they were attached and handed over.
pub(super) fn takes_volumes(node: &Node) -> bool {
    matches!(node.provision_state, ProvisionState::Available | ProvisionState::NoState)
}

/// The connector of a node for an instance whose VIFs are attached already.
pub(super) async fn connector(
    driver: &Driver,
    caller: &Caller,
    node: &Node,
    instance: &Instance,
) -> Result<Connector, openstack::Error> {
    let connectors = driver.client().volume_connectors(caller, node.uuid).await?;
    let address = match of_kind(&connectors, "ip").next() {
        Some(address) => Some(address.to_owned()),
        None => address_of_mac(driver, caller, &connectors, instance)
            .await?
            .or_else(|| server::address(&instance.network, None)),
    };
    Ok(described(node, &connectors, address, instance))
}

/// The fixed address of the VIF behind a connector that names a network card.
async fn address_of_mac(
    driver: &Driver,
    caller: &Caller,
    connectors: &[VolumeConnector],
    instance: &Instance,
) -> Result<Option<String>, openstack::Error> {
    for mac in of_kind(connectors, "mac") {
        let groups = driver.client().port_groups_by_address(caller, mac).await?;
        let ports = driver.client().ports_by_address(caller, mac).await?;
        let vif = groups
            .iter()
            .filter_map(|group| group.vif_id())
            .chain(ports.iter().filter_map(|port| port.vif_id()))
            .find_map(|vif| vif.parse::<Uuid>().ok());
        if let Some(address) = vif.and_then(|vif| server::address(&instance.network, Some(vif))) {
            return Ok(Some(address));
        }
    }
    Ok(None)
}

fn described(
    node: &Node,
    connectors: &[VolumeConnector],
    address: Option<String>,
    instance: &Instance,
) -> Connector {
    let names = |kind| of_kind(connectors, kind).map(str::to_owned);
    Connector {
        host: address.clone().unwrap_or_else(|| instance.hostname.clone()),
        ip: address,
        initiator: names("iqn").next(),
        wwpns: names("wwpn").collect(),
        wwnns: names("wwnn").collect(),
        platform: crate::architecture::architecture(node).map(str::to_owned),
    }
}

fn of_kind<'a>(connectors: &'a [VolumeConnector], kind: &'a str) -> impl Iterator<Item = &'a str> {
    connectors.iter().filter(move |c| c.kind == kind).map(|c| c.connector_id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{instance, node};

    fn connector(kind: &str, id: &str) -> VolumeConnector {
        VolumeConnector {
            uuid: Uuid::nil(),
            node_uuid: None,
            kind: kind.to_owned(),
            connector_id: id.to_owned(),
        }
    }

    #[test]
    fn volumes_are_attached_only_before_ironic_deploys() {
        let is_open = |state| takes_volumes(&Node { provision_state: state, ..node() });
        assert!(is_open(ProvisionState::Available) && is_open(ProvisionState::NoState));
        for state in [ProvisionState::Deploying, ProvisionState::WaitCallBack, ProvisionState::Active] {
            assert!(!is_open(state));
        }
    }

    #[test]
    fn a_machine_presents_the_names_that_it_has() {
        let connectors = [connector("iqn", "iqn.a"), connector("wwpn", "1"), connector("wwpn", "2")];
        assert_eq!(
            described(&node(), &connectors, Some("10.0.0.5".to_owned()), &instance()),
            Connector {
                ip: Some("10.0.0.5".to_owned()),
                host: "10.0.0.5".to_owned(),
                initiator: Some("iqn.a".to_owned()),
                wwpns: vec!["1".to_owned(), "2".to_owned()],
                wwnns: Vec::new(),
                platform: Some("x86_64".to_owned()),
            }
        );
    }

    #[test]
    fn a_machine_without_an_address_is_known_by_its_host_name() {
        let described = described(&node(), &[], None, &instance());
        assert_eq!((described.host.as_str(), described.ip), ("server", None));
    }
}
