//! Which of the ports that an instance already has fill which slots: what an earlier try of the same build
//! left. Pure.

use openstack::neutron::Port;

use super::choice::Slot;

/// Who fills the slots.
#[derive(Debug, Default, PartialEq)]
pub struct Filled {
    /// For each slot the port that fills it; `None` where one must be made.
    pub ports: Vec<Option<Port>>,
    /// Ports of ours that no slot needs: of a request whose answer was lost, for example.
    pub spare: Vec<Port>,
}

/// Fills the slots: those that the user brought ports for by id, then those that want an address with the
/// port that has it, then the rest by network, in the order in which Neutron lists them.
pub fn fill(slots: &[Slot], existing: Vec<Port>) -> Filled {
    let mut existing: Vec<Option<Port>> = existing.into_iter().map(Some).collect();
    let mut take = |fits: &dyn Fn(&Port) -> bool| {
        existing.iter_mut().find(|port| port.as_ref().is_some_and(fits)).and_then(Option::take)
    };
    let mut ports: Vec<Option<Port>> = slots
        .iter()
        .map(|slot| {
            slot.given
                .as_ref()
                .map(|given| take(&|port| port.id == given.id).unwrap_or_else(|| given.clone()))
        })
        .collect();
    for addressed in [true, false] {
        for (slot, port) in slots.iter().zip(&mut ports) {
            if port.is_none() && slot.address.is_some() == addressed {
                *port = take(&|port| port.network_id == slot.network.id && has_address(port, slot));
            }
        }
    }
    let spare = existing.into_iter().flatten().filter(is_ours).collect();
    Filled { ports, spare }
}

fn has_address(port: &Port, slot: &Slot) -> bool {
    slot.address.as_ref().is_none_or(|address| port.fixed_ips.iter().any(|ip| ip.ip_address == *address))
}

/// What a compute service makes has no owner yet or a compute zone for one.
fn is_ours(port: &Port) -> bool {
    port.device_owner.is_empty() || port.device_owner.starts_with("compute:")
}

#[cfg(test)]
mod tests {
    use openstack::neutron::{FixedIp, Network};

    use super::*;

    fn slot(network: &str) -> Slot {
        Slot {
            network: Network { id: network.into(), ..Network::default() },
            given: None,
            address: None,
            tag: None,
        }
    }

    fn port(id: &str, network: &str, address: &str) -> Port {
        Port {
            id: id.into(),
            network_id: network.into(),
            fixed_ips: vec![FixedIp { ip_address: address.into(), ..FixedIp::default() }],
            ..Port::default()
        }
    }

    fn ids(filled: &Filled) -> (Vec<Option<&str>>, Vec<&str>) {
        let ports = filled.ports.iter().map(|port| port.as_ref().map(|port| port.id.as_str()));
        (ports.collect(), filled.spare.iter().map(|port| port.id.as_str()).collect())
    }

    #[test]
    fn a_fresh_build_has_only_what_the_user_brought() {
        let given = Slot { given: Some(port("g", "a", "1")), ..slot("a") };
        assert_eq!(ids(&fill(&[slot("a"), given], vec![])), (vec![None, Some("g")], vec![]));
    }

    #[test]
    fn ports_of_an_earlier_try_are_matched_by_id_then_address_then_network_in_order() {
        let given = Slot { given: Some(port("g", "a", "1")), ..slot("a") };
        let addressed = Slot { address: Some("10.0.0.9".into()), ..slot("a") };
        let slots = [slot("a"), addressed, given, slot("b"), slot("a")];
        let bound = Port { device_owner: "compute:nova".into(), ..port("g", "a", "1") };
        let existing = vec![
            port("nine", "a", "10.0.0.9"),
            bound.clone(),
            port("first", "a", "10.0.0.3"),
            port("second", "a", "10.0.0.4"),
            port("spare", "a", "10.0.0.5"),
        ];
        let filled = fill(&slots, existing);
        assert_eq!(
            ids(&filled),
            (vec![Some("first"), Some("nine"), Some("g"), None, Some("second")], vec!["spare"])
        );
        assert_eq!(filled.ports[2].as_ref(), Some(&bound));
    }

    #[test]
    fn a_port_of_another_service_is_not_spare() {
        let other = Port { device_owner: "baremetal:none".into(), ..port("x", "a", "1") };
        assert_eq!(ids(&fill(&[], vec![other])), (vec![], vec![]));
    }
}
