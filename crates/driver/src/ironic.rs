//! Ironic, asked on behalf of a request.

use std::{collections::BTreeSet, sync::Arc};

use openstack::{
    Caller,
    ironic::{Client, Node},
};

use crate::{InstanceId, NodeId, Sight, setback::Setback, unseen::Unseen};

/// A client with the caller. The credentials are always this service's own: what is done to a node is no user's right, and
/// outlives their tokens.
#[derive(Clone)]
pub(crate) struct Ironic {
    pub(crate) client: Client,
    pub(crate) caller: Caller,
    sight: Arc<Sight>,
}

impl Ironic {
    pub(crate) fn new(client: &Client, caller: &Caller, sight: &Arc<Sight>) -> Self {
        Self { client: client.clone(), caller: caller.as_own(), sight: sight.clone() }
    }

    /// The node: the one that the watcher has just seen, or else as Ironic has it now.
    pub(crate) async fn fresh_or_read(
        &self,
        fresh: Option<Node>,
        id: NodeId,
    ) -> Result<Option<Node>, Unseen> {
        match fresh {
            Some(node) => Ok(Some(node)),
            None => self.node(id).await,
        }
    }

    /// A node; `None` if it is proven gone.
    pub(crate) async fn node(&self, id: NodeId) -> Result<Option<Node>, Unseen> {
        match self.client.node(&self.caller, id, &[]).await {
            Ok(node) => Ok(Some(node)),
            Err(error) if error.is_not_found() => {
                let is_gone = Box::pin(self.sight.is_gone(&self.client, &self.caller, id)).await?;
                if is_gone { Ok(None) } else { Err(Unseen::Hidden(error.to_string())) }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// That a look-up finds none of our nodes means something: Ironic shows them.
    pub(crate) async fn sees_our_nodes(&self) -> Result<(), Unseen> {
        if Box::pin(self.sight.is_clear(&self.client, &self.caller)).await? {
            return Ok(());
        }
        Err(Unseen::Hidden("Ironic does not show the nodes that are ours".to_owned()))
    }

    /// The node that carries an instance. That none is found proves nothing where Ironic hides nodes.
    pub(crate) async fn node_of(&self, instance: InstanceId) -> Result<Option<Node>, openstack::Error> {
        self.client.node_by_instance(&self.caller, instance.0, &[]).await
    }

    /// The VIFs attached to a node; `None` if the node is proven gone.
    pub(crate) async fn vifs(&self, node: NodeId) -> Result<Option<BTreeSet<String>>, Unseen> {
        match self.client.vifs(&self.caller, node).await {
            Ok(vifs) => Ok(Some(vifs.into_iter().collect())),
            Err(error) if error.is_not_found() => match self.node(node).await? {
                Some(_) => Err(error.into()),
                None => Ok(None),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// Detaches a VIF; one that is not attached (400), or not there at all, is fine. Of a node that Ironic hides from us nothing
    /// is known.
    pub(crate) async fn detach_vif(&self, node: NodeId, vif: &str) -> Result<(), Setback> {
        match self.client.detach_vif(&self.caller, node, vif).await {
            Err(error) if error.is_bad_request() => Ok(()),
            Err(error) if error.is_not_found() => Ok(self.node(node).await.map(drop)?),
            detached => Ok(detached?),
        }
    }
}

/// Ironic's own word on what went wrong.
pub(crate) fn last_error(node: &Node) -> &str {
    node.last_error.as_deref().filter(|text| !text.is_empty()).unwrap_or("Ironic gives no reason")
}
