//! Which networks an instance gets, and whether it may have them. Pure.

use compute::instance::Instance;
use compute::ports::{Refusal, Result};
use compute::request::{NetworkRequest, NetworkRequests};
use openstack::neutron::{Network, Port};
use uuid::Uuid;

use super::failure::refused;

/// A place for one port of the instance.
#[derive(Debug, Clone, PartialEq)]
pub struct Slot {
    pub network: Network,
    /// The port that the user brought.
    pub given: Option<Port>,
    /// The address that the user wants.
    pub address: Option<String>,
    pub tag: Option<String>,
}

/// What follows from the networks that a project can use, when the user named none.
#[derive(Debug, Clone, PartialEq)]
pub enum Pick {
    /// The server has no network.
    Nothing,
    /// Neutron shall make one.
    Automatic,
    This(Network),
}

/// Whether the choice of the network is left to us.
pub fn is_open(requests: &NetworkRequests) -> bool {
    match requests {
        NetworkRequests::Default | NetworkRequests::Auto => true,
        NetworkRequests::None => false,
        NetworkRequests::These(list) => {
            matches!(list.as_slice(), [] | [NetworkRequest { network_id: None, port_id: None, .. }])
        }
    }
}

/// The one network that a project can use.
pub fn pick(requests: &NetworkRequests, mut candidates: Vec<Network>, project: &str) -> Result<Pick> {
    let named = matches!(requests, NetworkRequests::These(list) if !list.is_empty());
    match (candidates.pop(), candidates.is_empty()) {
        (Some(only), true) => Ok(Pick::This(only)),
        (Some(_), false) => Err(refused(
            Refusal::NetworkAmbiguous,
            "Multiple possible networks found, use a Network ID to be more specific.",
        )),
        (None, _) if *requests == NetworkRequests::Auto => Ok(Pick::Automatic),
        (None, _) if named => Err(refused(
            Refusal::NoNetwork,
            format!("No specific network was requested and none are available for project '{project}'."),
        )),
        (None, _) => Ok(Pick::Nothing),
    }
}

/// The networks that are asked for, those of the given ports included, without repetitions.
pub fn network_ids(requests: &[NetworkRequest], given: &[Port]) -> Vec<String> {
    let mut ids = Vec::new();
    for id in requests.iter().filter_map(|request| network_of(request, given)) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

/// A slot for each request, in the order of the requests. A network that the user cannot see is an error:
/// stock leaves such a request out, and the server comes up with fewer ports than were asked for.
pub fn slots(requests: &[NetworkRequest], given: &[Port], networks: &[Network]) -> Result<Vec<Slot>> {
    let named = requests.iter().filter_map(|request| Some((request, network_of(request, given)?)));
    named
        .map(|(request, id)| {
            let network = networks.iter().find(|network| network.id == id);
            let network = network.ok_or_else(|| {
                refused(Refusal::NetworkNotFound, format!("Network {id} could not be found."))
            })?;
            Ok(Slot {
                network: network.clone(),
                given: given_port(request, given).cloned(),
                address: request.address.clone(),
                tag: request.tag.clone(),
            })
        })
        .collect()
}

fn given_port<'a>(request: &NetworkRequest, given: &'a [Port]) -> Option<&'a Port> {
    let id = request.port_id?.to_string();
    given.iter().find(|port| port.id == id)
}

/// A port decides its network.
fn network_of(request: &NetworkRequest, given: &[Port]) -> Option<String> {
    let port = given_port(request, given).map(|port| port.network_id.clone());
    port.or_else(|| request.network_id.as_ref().map(Uuid::to_string))
}

/// Whether the instance can have a port that the user brought. One that an earlier try gave it already is
/// fine.
pub fn check_port(port: &Port, instance: &Instance) -> Result<()> {
    let (id, own) = (&port.id, instance.id.to_string());
    if port.tenant_id != instance.project_id {
        return Err(refused(Refusal::PortNotUsable, format!("Port {id} not usable for instance {own}.")));
    }
    if !port.device_id.is_empty() && port.device_id != own {
        return Err(refused(Refusal::PortInUse, format!("Port {id} is still in use.")));
    }
    if let Some(name) = port.dns_name.as_deref().filter(|name| !name.is_empty() && *name != instance.hostname)
    {
        return Err(refused(
            Refusal::PortNameDiffers,
            format!(
                "Port {id} not usable for instance {own}. Value {name} assigned to dns_name attribute does not match \
                 instance's hostname {}",
                instance.hostname
            ),
        ));
    }
    // A port that is the instance's already was bound by Ironic: what came of it is Ironic's business.
    if port.device_id.is_empty() { check_binding(port) } else { Ok(()) }
}

/// Whether Neutron could bind the port.
pub fn check_binding(port: &Port) -> Result<()> {
    if port.vif_type.as_deref() == Some("binding_failed") {
        return Err(refused(
            Refusal::PortBindingFailed,
            format!("Binding failed for port {}, please check neutron logs for more information.", port.id),
        ));
    }
    Ok(())
}

/// Whether the user may use the network: one that leads outside and is not shared is for administrators
/// (policy `network:attach_external_network`, as it is by default).
pub fn check_external(networks: &[Network], is_admin: bool) -> Result<()> {
    match networks.iter().find(|network| network.external && !network.shared) {
        Some(network) if !is_admin => Err(refused(
            Refusal::ExternalNetwork,
            format!("It is not allowed to create an interface on external network {}", network.id),
        )),
        _ => Ok(()),
    }
}

/// Whether security groups can be applied to ports of a network.
pub fn check_security(network: &Network, groups_wanted: bool) -> Result<()> {
    let filtered = network.port_security_enabled.unwrap_or(true);
    if (filtered && network.subnets.is_empty()) || (!filtered && groups_wanted) {
        return Err(refused(
            Refusal::SecurityGroupNotApplicable,
            "Network requires port_security_enabled and subnet associated in order to apply security groups.",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use compute::ports;

    use super::*;
    use compute::testing;

    fn network(id: u128) -> Network {
        Network { id: Uuid::from_u128(id).to_string(), subnets: vec!["s".into()], ..Network::default() }
    }

    fn request(network: Option<u128>, port: Option<u128>) -> NetworkRequest {
        NetworkRequest {
            network_id: network.map(Uuid::from_u128),
            port_id: port.map(Uuid::from_u128),
            ..NetworkRequest::default()
        }
    }

    fn why<T: std::fmt::Debug>(result: Result<T>) -> Refusal {
        match result.unwrap_err() {
            ports::Error::Refused { why, .. } => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_a_request_there_is_one_network_or_none() {
        let default = NetworkRequests::Default;
        assert_eq!(pick(&default, vec![], "p").unwrap(), Pick::Nothing);
        assert_eq!(pick(&default, vec![network(1)], "p").unwrap(), Pick::This(network(1)));
        assert_eq!(why(pick(&default, vec![network(1), network(2)], "p")), Refusal::NetworkAmbiguous);
    }

    #[test]
    fn an_open_request_needs_a_network_and_an_automatic_one_makes_it() {
        let open = NetworkRequests::These(vec![request(None, None)]);
        assert!(is_open(&open) && is_open(&NetworkRequests::Auto) && is_open(&NetworkRequests::Default));
        assert!(!is_open(&NetworkRequests::These(vec![request(None, Some(1))])));
        assert!(!is_open(&NetworkRequests::None));
        assert_eq!(why(pick(&open, vec![], "p")), Refusal::NoNetwork);
        assert_eq!(pick(&NetworkRequests::Auto, vec![], "p").unwrap(), Pick::Automatic);
    }

    #[test]
    fn slots_keep_the_order_of_the_requests_and_a_port_brings_its_network() {
        let port = Port { id: Uuid::from_u128(7).to_string(), network_id: network(2).id, ..Port::default() };
        let requests = [request(Some(1), None), request(None, Some(7)), request(Some(1), None)];
        let given = [port.clone()];
        assert_eq!(network_ids(&requests, &given), [network(1).id, network(2).id]);
        let slots = slots(&requests, &given, &[network(2), network(1)]).unwrap();
        let networks: Vec<&str> = slots.iter().map(|slot| slot.network.id.as_str()).collect();
        assert_eq!(networks, [&network(1).id, &network(2).id, &network(1).id]);
        assert_eq!(slots[1].given, Some(port));
    }

    #[test]
    fn a_network_that_the_user_cannot_see_is_not_left_out() {
        let requests = [request(Some(1), None), request(Some(2), None)];
        assert_eq!(why(slots(&requests, &[], &[network(1)])), Refusal::NetworkNotFound);
    }

    #[test]
    fn a_port_must_be_free_of_the_project_and_of_the_right_name() {
        let instance = testing::instance();
        let good = Port { id: "p".into(), tenant_id: instance.project_id.clone(), ..Port::default() };
        check_port(&good, &instance).unwrap();
        check_port(&Port { device_id: instance.id.to_string(), ..good.clone() }, &instance).unwrap();
        for (port, expected) in [
            (Port { tenant_id: "other".into(), ..good.clone() }, Refusal::PortNotUsable),
            (Port { device_id: "other".into(), ..good.clone() }, Refusal::PortInUse),
            (Port { dns_name: Some("other".into()), ..good.clone() }, Refusal::PortNameDiffers),
            (Port { vif_type: Some("binding_failed".into()), ..good.clone() }, Refusal::PortBindingFailed),
        ] {
            assert_eq!(why(check_port(&port, &instance)), expected);
        }
    }

    #[test]
    fn an_external_network_is_for_administrators_unless_it_is_shared() {
        let external = Network { external: true, ..network(1) };
        assert_eq!(why(check_external(std::slice::from_ref(&external), false)), Refusal::ExternalNetwork);
        check_external(std::slice::from_ref(&external), true).unwrap();
        check_external(&[Network { shared: true, ..external }], false).unwrap();
    }

    #[test]
    fn groups_need_a_subnet_and_a_network_that_filters() {
        check_security(&network(1), true).unwrap();
        let bare = Network { subnets: vec![], ..network(1) };
        assert_eq!(why(check_security(&bare, false)), Refusal::SecurityGroupNotApplicable);
        let open = Network { port_security_enabled: Some(false), ..bare };
        check_security(&open, false).unwrap();
        assert_eq!(why(check_security(&open, true)), Refusal::SecurityGroupNotApplicable);
    }
}
