//! The network information that users see of an instance, and its changes. One writer at a time: what is written follows from
//! what is stored at that moment, since Neutron's news and operations change it side by side.

use configdrive::network::NetworkInfo;
use driver::InstanceId;
use oslo::context::RequestContext;
use uuid::Uuid;

use super::Shared;
use crate::instance::Instance;
use crate::ports::Result;

/// Reads the ports again, or one of them, and stores what has changed.
pub(crate) async fn refresh(
    shared: &Shared,
    context: &RequestContext,
    id: InstanceId,
    port: Option<Uuid>,
) -> Result<()> {
    let _only_writer = shared.network_locks.lock(id).await;
    let Some(mut instance) = living(shared, context, id).await? else { return Ok(()) };
    let network = shared.ports.networks.refresh(context, &instance, port).await?;
    if network == instance.network {
        return Ok(());
    }
    shared.ports.instances.save_network(context, &mut instance, network).await
}

/// Changes what is stored.
pub(crate) async fn change(
    shared: &Shared,
    context: &RequestContext,
    id: InstanceId,
    change: impl FnOnce(&mut NetworkInfo) + Send,
) -> Result<()> {
    let _only_writer = shared.network_locks.lock(id).await;
    let Some(mut instance) = living(shared, context, id).await? else { return Ok(()) };
    let mut network = instance.network.clone();
    change(&mut network);
    if network == instance.network {
        return Ok(());
    }
    shared.ports.instances.save_network(context, &mut instance, network).await
}

/// Takes a port out of what is stored.
pub(crate) async fn forget(
    shared: &Shared,
    context: &RequestContext,
    id: InstanceId,
    port: &str,
) -> Result<()> {
    change(shared, context, id, |network| network.0.retain(|vif| vif.id != port)).await
}

/// An instance that is not deleted.
pub(crate) async fn living(
    shared: &Shared,
    context: &RequestContext,
    id: InstanceId,
) -> Result<Option<Instance>> {
    let found = shared.ports.instances.get(context, id).await?;
    Ok(found.filter(|instance| !instance.deleted))
}
