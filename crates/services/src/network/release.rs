//! Takes ports from an instance: ours are deleted, those that the user brought are unbound.

use std::collections::BTreeSet;

use compute::instance::Instance;
use compute::ports::{self, Result};
use openstack::neutron::{Port, PortUpdate};
use openstack::{Caller, Error};
use oslo::context::RequestContext;
use serde_json::{Map, Value};

use super::failure::failed;
use super::{DNS_INTEGRATION, Networks, own, user};
use crate::failure::{Meaning, meaning};

/// What a compute service puts into a port's profile; the rest belongs to others.
const OURS: [&str; 9] = [
    "pci_vendor_info",
    "pci_slot",
    "allocation",
    "arq_uuid",
    "physical_network",
    "card_serial_number",
    "vf_num",
    "pf_mac_address",
    "device_mac_address",
];

/// Takes all ports from the instance; those in `keep` survive. A port that is no longer the instance's is
/// left alone: it may be another server's by now. All are tried before the first failure is answered.
pub async fn release(
    net: &Networks,
    context: &RequestContext,
    instance: &Instance,
    keep: &BTreeSet<String>,
) -> Result<()> {
    let own = own(context);
    let user = user(context).unwrap_or_else(|_| own.clone());
    let mut failure: Option<ports::Error> = None;
    for port in net.ports_of(&own, instance.id).await? {
        let released = if keep.contains(&port.id) {
            unbind(net, &own, &user, &port).await
        } else {
            delete(net, &own, &user, &port.id).await
        };
        if let Err(error) = released {
            tracing::warn!(instance = %instance.id, port = port.id, %error, "the port could not be taken from the instance");
            failure.get_or_insert(error);
        }
    }
    match failure {
        Some(error) => Err(error),
        None => net.0.ledger.forget(context, instance.id).await,
    }
}

/// Takes one port from the instance. One that is gone, or not the instance's any more, is left alone.
pub async fn release_one(
    net: &Networks,
    context: &RequestContext,
    instance: &Instance,
    port: &str,
    keep: bool,
) -> Result<()> {
    let own = own(context);
    let user = user(context).unwrap_or_else(|_| own.clone());
    match net.client().port(&own, port, &[]).await {
        Ok(found) if found.device_id != instance.id.to_string() => {}
        Ok(found) if keep => unbind(net, &own, &user, &found).await?,
        Ok(_) => delete(net, &own, &user, port).await?,
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(failed(&format!("port {port} cannot be read"), &error)),
    }
    net.0.ledger.forget_port(context, instance.id, port).await
}

/// Deletes a port as the user, or where the user's token ended meanwhile as ourselves. One that is gone is
/// fine.
pub async fn delete(net: &Networks, own: &Caller, user: &Caller, port: &str) -> Result<()> {
    let deleted = match net.client().delete_port(user, port).await {
        Err(error) if refuses_user(&error) => net.client().delete_port(own, port).await,
        other => other,
    };
    deleted.map(drop).map_err(|error| failed(&format!("port {port} cannot be deleted"), &error))
}

/// Gives a port back to the user. Only what may go away by itself is an error: what Neutron refuses would be
/// refused for ever, and the server must go.
async fn unbind(net: &Networks, own: &Caller, user: &Caller, port: &Port) -> Result<()> {
    let dns = net.has_extension(own, DNS_INTEGRATION).await?;
    let domain = if dns {
        let domain = net.client().network_dns_domain(own, &port.network_id).await;
        domain.unwrap_or_else(|error| {
            tracing::warn!(port = port.id, %error, "the DNS domain of the port's network is not known");
            None
        })
    } else {
        None
    };
    let update = PortUpdate {
        device_id: Some(String::new()),
        device_owner: Some(String::new()),
        clear_host: true,
        profile: Some(without_ours(&port.profile)),
        dns_name: (dns && domain.is_none()).then(String::new),
        ..PortUpdate::default()
    };
    settle(&port.id, net.client().update_port(own, &port.id, &update).await)?;
    if domain.is_some() {
        // The name is in the user's own zone.
        let update = PortUpdate { dns_name: Some(String::new()), ..PortUpdate::default() };
        let updated = match net.client().update_port(user, &port.id, &update).await {
            Err(error) if refuses_user(&error) => net.client().update_port(own, &port.id, &update).await,
            other => other,
        };
        settle(&port.id, updated)?;
    }
    Ok(())
}

fn settle(port: &str, updated: Result<Port, Error>) -> Result<()> {
    match updated {
        Ok(_) => Ok(()),
        Err(error) if meaning(&error) == Meaning::Away => {
            Err(failed(&format!("port {port} cannot be unbound"), &error))
        }
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => {
            tracing::error!(port, %error, "the port could not be unbound and stays as it is");
            Ok(())
        }
    }
}

fn refuses_user(error: &Error) -> bool {
    matches!(error.status(), Some(401 | 403))
}

fn without_ours(profile: &Map<String, Value>) -> Map<String, Value> {
    let others = profile.iter().filter(|(name, _)| !OURS.contains(&name.as_str()));
    others.map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_put_into_a_profile_stays() {
        let Value::Object(profile) =
            json!({"allocation": "p", "pci_slot": "0", "local_link_information": [1]})
        else {
            panic!()
        };
        assert_eq!(Value::Object(without_ours(&profile)), json!({"local_link_information": [1]}));
    }

    #[test]
    fn a_port_that_cannot_be_unbound_now_is_unbound_later_and_what_neutron_refuses_is_final() {
        let catalog = Error::Endpoint { service: "network", message: "none".to_owned() };
        assert!(matches!(settle("p", Err(catalog)), Err(ports::Error::Unavailable(_))));
        let refused = |status| Error::Http {
            service: "network",
            status,
            code: None,
            message: "no".to_owned(),
            request_id: None,
        };
        settle("p", Err(refused(404))).unwrap();
        settle("p", Err(refused(409))).unwrap();
    }
}
