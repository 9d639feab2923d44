//! Ironic, asked on behalf of a request.

use std::collections::BTreeSet;

use openstack::{
    Caller,
    ironic::{Client, Node},
};

use crate::{InstanceId, NodeId};

/// A client with the caller. The credentials are always this service's own: what is done to a node is no user's right, and
/// outlives their tokens.
#[derive(Clone)]
pub(crate) struct Ironic {
    pub(crate) client: Client,
    pub(crate) caller: Caller,
}

impl Ironic {
    pub(crate) fn new(client: &Client, caller: &Caller) -> Self {
        Self { client: client.clone(), caller: caller.as_own() }
    }

    /// The node: the one that the watcher has just seen, or else as Ironic has it now.
    pub(crate) async fn fresh_or_read(
        &self,
        fresh: Option<Node>,
        id: NodeId,
    ) -> Result<Option<Node>, openstack::Error> {
        match fresh {
            Some(node) => Ok(Some(node)),
            None => self.node(id).await,
        }
    }

    /// A node; `None` if there is no such node.
    pub(crate) async fn node(&self, id: NodeId) -> Result<Option<Node>, openstack::Error> {
        match self.client.node(&self.caller, id, &[]).await {
            Ok(node) => Ok(Some(node)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The node that carries an instance.
    pub(crate) async fn node_of(&self, instance: InstanceId) -> Result<Option<Node>, openstack::Error> {
        self.client.node_by_instance(&self.caller, instance.0, &[]).await
    }

    /// The VIFs attached to a node.
    pub(crate) async fn vifs(&self, node: NodeId) -> Result<BTreeSet<String>, openstack::Error> {
        Ok(self.client.vifs(&self.caller, node).await?.into_iter().collect())
    }

    /// Detaches a VIF; one that is not attached (400), or not there at all, is fine.
    pub(crate) async fn detach_vif(&self, node: NodeId, vif: &str) -> Result<(), openstack::Error> {
        match self.client.detach_vif(&self.caller, node, vif).await {
            Err(error) if !error.is_bad_request() && !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}

/// Ironic's own word on what went wrong.
pub(crate) fn last_error(node: &Node) -> &str {
    node.last_error.as_deref().filter(|text| !text.is_empty()).unwrap_or("Ironic gives no reason")
}
