//! Free nodes that an allocation keeps from everybody: that of a deleted server goes, every other stays.

use driver::{InstanceId, NodeId};
use uuid::Uuid;

use crate::reporting::Watched;
use crate::world::Trouble;

/// A machine that is free and has the allocation of a server, which is deleted or not.
async fn held(is_deleted: bool) -> (Watched, NodeId, InstanceId) {
    let watched = Watched::new(3).await;
    let node = watched.nodes[0];
    let id = watched.world.server(1, node);
    watched.world.tables().instances.get_mut(&id).unwrap().deleted = is_deleted;
    (watched, node, id)
}

impl Watched {
    /// A report in which the allocations are due to be compared.
    async fn compare(&self) {
        tokio::time::advance(std::time::Duration::from_mins(5)).await;
        self.report().await;
    }

    fn is_held(&self, id: InstanceId) -> bool {
        self.world.tables().allocations.contains_key(&id)
    }

    fn calls_of(&self, name: &str) -> usize {
        self.world.tables().calls.get(name).copied().unwrap_or_default()
    }
}

#[tokio::test(start_paused = true)]
async fn the_allocation_of_a_deleted_server_goes_in_the_second_report_that_finds_it() {
    let (watched, node, id) = held(true).await;
    watched.compare().await;
    assert!(watched.is_held(id));
    assert_eq!(
        (watched.calls_of("with_room"), watched.calls_of("holders")),
        (1, 1),
        "only the suspect is asked about"
    );
    watched.report().await;
    assert!(!watched.is_held(id), "node {node} is lost");
    watched.report().await;
    assert_eq!(watched.calls_of("with_room"), 0, "nothing is left to confirm");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_deleted_keeps_its_allocation() {
    let (watched, _, id) = held(false).await;
    for _ in 0..3 {
        watched.compare().await;
    }
    assert!(watched.is_held(id));
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_nova_does_not_know_keeps_its_allocation() {
    let (watched, _, id) = held(true).await;
    watched.world.tables().instances.remove(&id);
    for _ in 0..3 {
        watched.compare().await;
    }
    assert!(watched.is_held(id));
}

#[tokio::test(start_paused = true)]
async fn an_allocation_that_changed_between_two_reports_is_confirmed_anew() {
    let (watched, _, id) = held(true).await;
    watched.compare().await;
    watched.world.tables().claim_generations.insert(id, 7);
    watched.report().await;
    assert!(watched.is_held(id));
    watched.report().await;
    assert!(!watched.is_held(id));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_taken_between_two_reports_keeps_its_allocation() {
    let (watched, node, id) = held(true).await;
    watched.compare().await;
    let sim = watched.world.sim.clone();
    watched.world.on_call("claim", move || {
        sim.update(node.0, |node| node.instance_uuid = Some(Uuid::from_u128(7)));
    });
    watched.report().await;
    assert_eq!(watched.calls_of("claim"), 1);
    assert!(watched.is_held(id));
}

#[tokio::test(start_paused = true)]
async fn allocations_are_not_compared_in_each_report() {
    let watched = Watched::new(3).await;
    watched.report().await;
    assert_eq!(watched.calls_of("with_room"), 0);
    watched.compare().await;
    assert_eq!(watched.calls_of("with_room"), 1);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_compared_stops_no_report_and_is_tried_again() {
    let (watched, _, id) = held(true).await;
    for call in ["with_room", "holders", "get", "claim", "take_from"] {
        watched.world.trouble(call, Trouble::Unavailable);
    }
    watched.compare().await;
    for _ in 0..8 {
        watched.report().await;
    }
    assert!(!watched.is_held(id));
}
