//! The port to Neutron, onto the world's tables.

use std::collections::BTreeSet;

use async_trait::async_trait;
use compute::instance::Instance;
use compute::ports::{Addresses, Error, Networks, Refusal, Result};
use compute::request::{BuildRequest, NetworkRequest, NetworkRequests};
use configdrive::network::{NetworkInfo, Vif};
use driver::InstanceId;
use oslo::context::RequestContext;
use serde_json::json;
use uuid::Uuid;

use super::{Port, Tables};

/// What the user brought to a build.
fn brought(request: &BuildRequest) -> Option<Uuid> {
    match &request.networks {
        NetworkRequests::These(requests) => requests.iter().find_map(|request| request.port_id),
        _ => None,
    }
}

fn vif(port: Uuid, brought: bool) -> Vif {
    let vif = json!({"id": port, "address": "52:54:00:00:00:01", "preserve_on_delete": brought});
    serde_json::from_value(vif).unwrap()
}

impl Tables {
    fn ports_of(&self, id: InstanceId) -> Vec<Uuid> {
        self.neutron.iter().filter(|(_, of)| *of == id).map(|(port, _)| *port).collect()
    }

    fn make_port(&mut self, id: InstanceId) -> Uuid {
        let taken: BTreeSet<Uuid> = self.neutron.iter().map(|(port, _)| *port).collect();
        let port = (0xF000..0xFFFF).map(Uuid::from_u128).find(|port| !taken.contains(port)).unwrap();
        self.neutron.push((port, id));
        self.addresses.insert(port, BTreeSet::from(["10.0.0.1".to_owned()]));
        port
    }

    fn information(&self, instance: &Instance) -> NetworkInfo {
        let keeps = |port| instance.network.0.iter().any(|vif| vif.id == port && vif.preserve_on_delete);
        let ports = self.ports_of(instance.id).into_iter();
        NetworkInfo(ports.map(|port| vif(port, keeps(port.to_string()))).collect())
    }
}

#[async_trait]
impl Networks for Port {
    async fn allocate(&self, request: &BuildRequest, instance: &Instance) -> Result<NetworkInfo> {
        let id = instance.id;
        let brought = brought(request);
        let port = self
            .0
            .call("create_port", |t| {
                if let Some(port) = brought {
                    t.neutron.retain(|(known, _)| *known != port);
                    t.neutron.push((port, id));
                    return Ok(port);
                }
                Ok(t.ports_of(id).first().copied().unwrap_or_else(|| t.make_port(id)))
            })
            .await?;
        Ok(NetworkInfo(vec![vif(port, brought.is_some())]))
    }

    async fn deallocate(&self, _: &RequestContext, instance: &Instance, requested: &[Uuid]) -> Result<()> {
        let id = instance.id;
        let preserved = instance.network.0.iter().filter(|vif| vif.preserve_on_delete);
        let kept: Vec<Uuid> =
            preserved.map(|vif| vif.id.parse().unwrap()).chain(requested.iter().copied()).collect();
        self.0
            .call("delete_ports", |t| {
                for (port, _) in t.neutron.extract_if(.., |(_, owner)| *owner == id) {
                    if !kept.contains(&port) {
                        t.users_ports.remove(&port);
                    }
                }
                Ok(())
            })
            .await
    }

    async fn refresh(&self, _: &RequestContext, instance: &Instance, _: Option<Uuid>) -> Result<NetworkInfo> {
        self.0.call("refresh", |_| Ok(instance.network.clone())).await
    }

    async fn heal(&self, _: &RequestContext, instances: &[Instance]) -> Result<Vec<NetworkInfo>> {
        let all = |t: &mut Tables| Ok(instances.iter().map(|instance| t.information(instance)).collect());
        self.0.call("heal", all).await
    }

    async fn ports_of(&self, _: &RequestContext, instance: &Instance) -> Result<BTreeSet<Uuid>> {
        self.0.call("ports_of", |t| Ok(t.ports_of(instance.id).into_iter().collect())).await
    }

    async fn new_port(
        &self,
        _: &RequestContext,
        instance: &Instance,
        wanted: &NetworkRequest,
        had: &BTreeSet<Uuid>,
    ) -> Result<Uuid> {
        let id = instance.id;
        self.0
            .call("new_port", |t| {
                if let Some(port) = wanted.port_id {
                    return Ok(port);
                }
                let new = t.ports_of(id).into_iter().find(|port| !had.contains(port));
                let port = new.unwrap_or_else(|| t.make_port(id));
                t.unowned.insert(port);
                Ok(port)
            })
            .await
    }

    async fn bind_port(
        &self,
        _: &RequestContext,
        instance: &Instance,
        port: Uuid,
        brought: bool,
    ) -> Result<Vif> {
        let id = instance.id;
        self.0
            .call("bind_port", |t| {
                if !t.ports_of(id).contains(&port) && !brought {
                    let message = format!("Port id {port} could not be found.");
                    return Err(Error::Refused { why: Refusal::PortNotFound, message });
                }
                t.unowned.remove(&port);
                t.neutron.retain(|(known, _)| *known != port);
                t.neutron.push((port, id));
                Ok(vif(port, brought))
            })
            .await
    }

    async fn release_port(
        &self,
        _: &RequestContext,
        instance: &Instance,
        port: Uuid,
        brought: bool,
    ) -> Result<()> {
        let id = instance.id;
        self.0
            .call("release_port", |t| {
                let had = t.neutron.extract_if(.., |(known, of)| *known == port && *of == id).count();
                t.unowned.remove(&port);
                if had > 0 && !brought {
                    t.users_ports.remove(&port);
                }
                Ok(())
            })
            .await
    }

    async fn release_new_ports(
        &self,
        _: &RequestContext,
        instance: &Instance,
        had: &BTreeSet<Uuid>,
    ) -> Result<()> {
        let id = instance.id;
        self.0
            .call("release_new_ports", |t| {
                let unowned = std::mem::take(&mut t.unowned);
                t.neutron.retain(|(port, of)| *of != id || had.contains(port) || !unowned.contains(port));
                Ok(())
            })
            .await
    }

    async fn addresses(&self, _: &RequestContext, instance: &Instance, _: Uuid) -> Result<Addresses> {
        let id = instance.id;
        let all = |t: &mut Tables| {
            let ports = t.ports_of(id).into_iter();
            Ok(ports.map(|port| (port, t.addresses.get(&port).cloned().unwrap_or_default())).collect())
        };
        self.0.call("addresses", all).await
    }

    async fn add_address(
        &self,
        _: &RequestContext,
        instance: &Instance,
        _: Uuid,
        had: &Addresses,
    ) -> Result<()> {
        let id = instance.id;
        self.0
            .call("add_address", |t| {
                let port = t.ports_of(id)[0];
                let addresses = t.addresses.get_mut(&port).unwrap();
                if *addresses == had[&port] {
                    addresses.insert(format!("10.0.0.{}", addresses.len() + 1));
                }
                Ok(())
            })
            .await
    }

    async fn remove_address(&self, _: &RequestContext, instance: &Instance, address: &str) -> Result<bool> {
        let id = instance.id;
        self.0
            .call("remove_address", |t| {
                let ports = t.ports_of(id);
                let mut of = t.addresses.iter_mut().filter(|(port, _)| ports.contains(port));
                Ok(of.any(|(_, addresses)| addresses.remove(address)))
            })
            .await
    }

    async fn security_group_names(&self, _: &Instance) -> Result<Vec<String>> {
        self.0.call("security_group_names", |_| Ok(Vec::new())).await
    }
}
