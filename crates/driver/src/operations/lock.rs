//! A node that a conductor holds locked, of which nothing can be asked until it is let go.

use openstack::ironic::{Node, ProvisionState as S};

use crate::{
    plan::{Limit, Wait},
    watch::Until,
};

/// The wait for a locked node: with a limit, unless Ironic is at work on it. `None`: it is not locked.
pub(crate) fn wait(node: &Node) -> Option<Wait> {
    node.reservation.as_ref()?;
    let because = format!("the node is locked by a conductor ('{}')", node.provision_state);
    let wait = Wait { until: Until::Unlocked, ..Wait::provision(node, because) };
    Some(if is_under_way(&node.provision_state) { wait } else { wait.at_most(Limit::Lock) })
}

/// Whether Ironic is at work on the node and will let it go by itself, however long it takes.
fn is_under_way(state: &S) -> bool {
    matches!(
        state,
        S::Deploying
            | S::DeployDone
            | S::Rebuild
            | S::Deleting
            | S::Deleted
            | S::Cleaning
            | S::Rescuing
            | S::Unrescuing
            | S::Servicing
            | S::Adopting
            | S::Inspecting
            | S::Verifying
    )
}

#[cfg(test)]
mod tests {
    use ironic_sim::State;

    use super::*;
    use crate::testing::{model::node, states};

    #[test]
    fn a_lock_is_waited_for_with_a_limit_unless_ironic_is_at_work() {
        for state in states() {
            let free = Node { provision_state: state.clone(), ..node(State::Active, true) };
            assert_eq!(wait(&free), None, "{state}");
            let locked = Node { reservation: Some("conductor".into()), ..free };
            let wait = wait(&locked).unwrap();
            assert_eq!(
                (wait.until, wait.limit.is_none()),
                (Until::Unlocked, is_under_way(&state)),
                "{state}"
            );
        }
    }
}
