//! The acts: each operation's calls to Ironic, and what an error of a call means for the operation that made it.

mod deploy;
mod release;
mod reserve;
mod teardown;
mod vifs;

use std::{collections::BTreeSet, sync::Arc};

pub(crate) use self::{deploy::Deploy, release::Release, reserve::Reserve, teardown::TearDown, vifs::Vifs};
use crate::{Error, InstanceId, NodeId, Sight};
use openstack::{
    Caller,
    ironic::{Client, Node, ProvisionState},
};

/// Ironic, within somebody's request. The credentials are always our own: what is done to a node is no user's right,
/// and outlives their tokens.
#[derive(Clone)]
pub(crate) struct Ironic {
    pub(crate) client: Client,
    pub(crate) caller: Caller,
    pub(crate) sight: Arc<Sight>,
}

impl Ironic {
    pub(crate) fn new(client: &Client, caller: &Caller, sight: &Arc<Sight>) -> Self {
        Self { client: client.clone(), caller: caller.as_own(), sight: sight.clone() }
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

/// Why a look showed nothing.
#[derive(Debug)]
pub(crate) enum Unseen {
    /// Ironic does not show what was looked for, and nothing proves that it is gone.
    Hidden(String),
    /// Ironic could not be asked, or refused.
    Failed(openstack::Error),
}

impl From<openstack::Error> for Unseen {
    fn from(error: openstack::Error) -> Self {
        if error.is_not_found() { Self::Hidden(error.to_string()) } else { Self::Failed(error) }
    }
}

impl From<Unseen> for Setback {
    fn from(unseen: Unseen) -> Self {
        match unseen {
            Unseen::Hidden(text) => Self::Hidden(text),
            Unseen::Failed(error) => error.into(),
        }
    }
}

/// Why a step did not happen, by what the loop does about it.
#[derive(Debug)]
pub(crate) enum Setback {
    /// The node is locked, or in a transition that allows no change: look again a little later, within the limit of
    /// `api_max_retries`.
    Busy(openstack::Error),
    /// Ironic is away, or its answer was lost: look again later, for as long as the driver's patience lasts.
    Away(Error),
    /// Ironic does not show the node, and nothing proves that it is gone: look again later, for as long as it takes.
    Hidden(String),
    /// Ironic is well and takes no more at once: line up, for as long as it takes.
    Full,
    /// Refused for good, as things were when we looked: look again once. If the same step is due still, that was the answer.
    Refused(openstack::Error),
    /// The operation is over.
    Over(Error),
}

impl Setback {
    /// The word for it in metrics and logs.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Busy(_) => "busy",
            Self::Away(_) => "away",
            Self::Hidden(_) => "hidden",
            Self::Full => "full",
            Self::Refused(_) => "refused",
            Self::Over(_) => "over",
        }
    }
}

impl From<openstack::Error> for Setback {
    fn from(error: openstack::Error) -> Self {
        if error.is_conflict() {
            Self::Busy(error)
        } else if is_verdict(&error) {
            Self::Over(Error::Remote(error))
        } else if is_full(&error) {
            Self::Full
        } else if is_away(&error) {
            Self::Away(Error::Remote(error))
        } else {
            Self::Refused(error)
        }
    }
}

/// Whether Ironic cannot be asked now and may be later: it is away, or our credentials, the catalog or something
/// between us and Ironic is wrong until an operator has put it right.
pub(crate) fn is_away(error: &openstack::Error) -> bool {
    error.is_transient() || needs_operator(error)
}

/// Whether only an operator can help.
pub(crate) fn needs_operator(error: &openstack::Error) -> bool {
    use openstack::Error as E;
    error.is_unauthorized() || is_denied(error) || matches!(error, E::Endpoint { .. } | E::Decode { .. })
}

/// Whether Ironic's policy denies it to our user (`HTTPForbidden`). A 403 of another text is about the node: it is protected.
fn is_denied(error: &openstack::Error) -> bool {
    error.status() == Some(403) && error.message().contains("Access was denied to the following resource")
}

/// Ironic answers 500 to a deployment or tear-down that fails its own checks (`InstanceDeployFailure` has no status of its
/// own): "Failed to validate …". That is an answer, not an outage.
fn is_verdict(error: &openstack::Error) -> bool {
    error.status() == Some(500) && error.message().contains("Failed to validate")
}

/// Whether Ironic refuses because it is at work on as much as it takes at once (`ConcurrentActionLimit`,
/// `NoFreeConductorWorker`): both are a 503 like an outage, and tell themselves apart by their text alone.
fn is_full(error: &openstack::Error) -> bool {
    let texts = ["concurrent action limit", "lack of free conductor workers"];
    error.status() == Some(503) && texts.iter().any(|text| error.message().contains(text))
}

/// Whether Ironic says that the instance's uuid is on another node already (`InstanceAssociated`).
pub(crate) fn is_elsewhere(error: &openstack::Error) -> bool {
    error.is_conflict() && error.message().contains("already associated with a node")
}

/// Whether Ironic refuses the image itself (`InvalidImage`): no node will take it.
pub(crate) fn is_bad_image(error: &openstack::Error) -> bool {
    error.message().contains("InvalidImage")
}

/// Whether Ironic says that the VIF is attached already (`VifAlreadyAttached`).
pub(crate) fn is_attached(error: &openstack::Error) -> bool {
    error.is_conflict() && error.message().contains("already attached")
}

/// Whether Ironic says that the VIF cannot be attached (`VifInvalidForAttach` is a 409, everything else a 400).
pub(crate) fn is_unattachable(error: &openstack::Error) -> bool {
    error.is_bad_request() || (error.is_conflict() && error.message().contains("Unable to attach VIF"))
}

/// Whether a node is in exactly the place it was left in.
pub(crate) fn same_place(node: &Node, state: &ProvisionState, target: &ProvisionState) -> bool {
    node.provision_state == *state && node.target_provision_state == *target
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Every state a node can be in: the named, none, and one that only a newer Ironic knows.
    pub(crate) fn states() -> Vec<ProvisionState> {
        let mut states = ProvisionState::ALL.to_vec();
        states.extend([ProvisionState::NoState, ProvisionState::Other("polishing".into())]);
        states
    }

    pub(crate) fn http(status: u16, message: &str) -> openstack::Error {
        openstack::Error::Http {
            service: "baremetal",
            status,
            code: None,
            message: message.into(),
            request_id: None,
        }
    }

    #[test]
    fn errors_are_told_apart_by_what_to_do() {
        let cases = [
            (http(409, "Node x is locked by host y, please retry"), "busy"),
            (http(409, "Node x can not be updated while a state transition is in progress."), "busy"),
            (http(503, "Service Unavailable"), "away"),
            (
                http(503, "Requested action cannot be performed due to lack of free conductor workers."),
                "full",
            ),
            (
                http(
                    503,
                    "Unable to process request at this time. The concurrent action limit for provisioning has been \
                     reached. Please contact your administrator and try again later.",
                ),
                "full",
            ),
            (http(500, "MessagingTimeout"), "away"),
            (http(429, "slow down"), "away"),
            (http(500, "Failed to validate deploy or power info for node x: no image"), "over"),
            (http(400, "The requested action \"deploy\" can not be performed"), "refused"),
            (http(404, "Node x could not be found."), "refused"),
            (http(403, "Node x is protected and cannot be undeployed, rebuilt or deleted"), "refused"),
            (http(403, "Access was denied to the following resource: baremetal:node:update"), "away"),
            (openstack::Error::Lost { service: "baremetal", message: String::new() }, "away"),
            (openstack::Error::Auth { status: 401, message: String::new() }, "away"),
            (openstack::Error::Endpoint { service: "baremetal", message: String::new() }, "away"),
        ];
        for (error, expected) in cases {
            let text = error.to_string();
            assert_eq!(Setback::from(error).name(), expected, "{text}");
        }
    }

    #[test]
    fn the_texts_of_ironic_that_matter_are_recognised() {
        let elsewhere =
            "Instance a is already associated with a node, it cannot be associated with this other node b";
        assert!(is_elsewhere(&http(409, elsewhere)));
        assert!(!is_elsewhere(&http(409, "Node b is associated with instance c.")));
        let attached = http(409, "Unable to attach VIF because VIF v is already attached to Ironic Port p");
        assert!(is_attached(&attached));
        assert!(is_unattachable(&http(409, "Unable to attach VIF v to node n. Reason: no")));
        assert!(is_unattachable(&http(400, "Unable to attach VIF v, not enough free physical ports.")));
        assert!(!is_unattachable(&http(409, "Node n is locked by host h")));
    }
}
