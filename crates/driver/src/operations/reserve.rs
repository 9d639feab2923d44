//! Reserving a node: writing the instance's uuid on it, so that no other instance takes it.
//!
//! Conditions as in `prepare_for_spawn` of Nova's driver.

use openstack::ironic::{Node, Patch, PowerState, ProvisionState};

use crate::{
    Error, InstanceId, NodeId,
    ironic::Ironic,
    plan::{self, Next, Perform, Plan},
    setback::{Setback, is_elsewhere},
    unseen::Unseen,
};

/// What reserving looks at.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Observed {
    /// The node; `None` if it is proven gone.
    pub(crate) node: Option<Node>,
}

/// What is wanted: this node for this instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The node.
    pub(crate) node: NodeId,
    /// The instance.
    pub(crate) instance: InstanceId,
}

/// The only step: `PATCH` of `/instance_uuid`, which Ironic refuses if the node has another instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Write the instance's uuid.
    Reserve,
}

impl plan::Step for Step {
    fn name(&self) -> &'static str {
        match self {
            Self::Reserve => "reserve",
        }
    }
}

impl Plan for Wanted {
    const NAME: &'static str = "reserve";
    type Observed = Observed;
    type Memory = ();
    type Step = Step;

    fn decide(&self, seen: &Observed, (): &()) -> Next<Step> {
        decide(seen, self)
    }

    fn node<'a>(&self, seen: &'a Observed) -> Option<&'a Node> {
        seen.node.as_ref()
    }
}

/// The next step. A node that is ours already is done in any provision state: the operation that follows looks at the state.
fn decide(seen: &Observed, wanted: &Wanted) -> Next<Step> {
    let id = wanted.node;
    let unavailable =
        |why: String| Next::Fail(Error::AnotherNode(format!("Node {id} is not available: {why}")));
    let Some(node) = &seen.node else {
        return unavailable("Ironic does not have it".into());
    };
    match node.instance_uuid {
        Some(instance) if instance == wanted.instance.0 => return Next::Done,
        Some(other) => return unavailable(format!("it belongs to instance {other}")),
        None => {}
    }
    if node.maintenance {
        return unavailable("it is in maintenance".into());
    }
    if matches!(node.power_state, PowerState::NoState | PowerState::Error) {
        return unavailable(format!("its power state is {}", node.power_state));
    }
    match node.provision_state {
        // Releases before Kilo wrote no state for `available`.
        ProvisionState::Available | ProvisionState::NoState => Next::Act(Step::Reserve),
        ref other => unavailable(format!("its provision state is '{other}'")),
    }
}

/// The operation.
pub(crate) struct Reserve {
    pub(crate) ironic: Ironic,
    pub(crate) wanted: Wanted,
}

impl Perform for Reserve {
    type Plan = Wanted;

    fn plan(&self) -> &Wanted {
        &self.wanted
    }

    async fn observe(&mut self, fresh: Option<Node>, (): &()) -> Result<Observed, Unseen> {
        Ok(Observed { node: self.ironic.fresh_or_read(fresh, self.wanted.node).await? })
    }

    async fn perform(&mut self, Step::Reserve: &Step, _seen: Observed) -> Result<Option<Observed>, Setback> {
        let Wanted { node, instance } = self.wanted;
        let patch = [Patch::replace("/instance_uuid", instance.to_string())];
        match self.ironic.client.patch_node(&self.ironic.caller, node, &patch).await {
            Ok(node) => Ok(Some(Observed { node: Some(node) })),
            Err(error) if is_elsewhere(&error) => Err(Setback::Over(Error::AnotherNode(format!(
                "Node {node} cannot be reserved: instance {instance} still holds another node"
            )))),
            // Taken by another instance in the meantime is a 409 too: the next observation tells.
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::testing::states;

    fn wanted() -> Wanted {
        Wanted { node: NodeId(Uuid::from_u128(1)), instance: InstanceId(Uuid::from_u128(2)) }
    }

    fn free() -> Node {
        Node {
            provision_state: ProvisionState::Available,
            power_state: PowerState::Off,
            ..Node::new(wanted().node)
        }
    }

    fn on(node: Node) -> Next<Step> {
        decide(&Observed { node: Some(node) }, &wanted())
    }

    #[test]
    fn only_an_available_node_is_reserved() {
        for state in states() {
            let next = on(Node { provision_state: state.clone(), ..free() });
            if matches!(state, ProvisionState::Available | ProvisionState::NoState) {
                assert_eq!(next, Next::Act(Step::Reserve), "{state}");
            } else {
                assert!(matches!(next, Next::Fail(Error::AnotherNode(_))), "{state}");
            }
        }
    }

    #[test]
    fn a_node_that_is_ours_is_done_in_every_state() {
        for state in states() {
            let ours = Node {
                provision_state: state,
                instance_uuid: Some(wanted().instance.0),
                maintenance: true,
                ..free()
            };
            assert_eq!(on(ours), Next::Done);
        }
    }

    #[test]
    fn a_node_that_cannot_be_had_says_why() {
        let cases = [
            (Node { instance_uuid: Some(Uuid::from_u128(9)), ..free() }, "belongs to instance"),
            (Node { maintenance: true, ..free() }, "maintenance"),
            (Node { power_state: PowerState::NoState, ..free() }, "power state is none"),
            (Node { power_state: PowerState::Error, ..free() }, "power state is error"),
        ];
        for (node, why) in cases {
            let Next::Fail(Error::AnotherNode(text)) = on(node) else { panic!("{why}") };
            assert!(text.contains(why), "{text}");
        }
        assert!(matches!(decide(&Observed { node: None }, &wanted()), Next::Fail(Error::AnotherNode(_))));
    }
}
