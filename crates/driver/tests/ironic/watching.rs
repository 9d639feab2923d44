//! The watcher: what it costs and how soon it notices.

use std::time::Duration;

use driver::{
    InstanceId, NodeId,
    watch::{Until, Watched, Watcher},
};
use futures_util::future::join_all;
use ironic_sim::{Call, Fault, Kind, Matcher, Sim, State};
use openstack::ironic::{Node, PowerState, ProvisionState};
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::{Host, deployment};

/// A node that an instance is being deployed on.
fn deploying(sim: &Sim) -> Uuid {
    let node = sim.enroll_with(|node| node.instance_uuid = Some(node.uuid));
    sim.set_state(node, State::Deploying);
    node
}

fn watched(node: Uuid) -> Watched {
    Watched {
        node: NodeId(node),
        instance: Some(InstanceId(node)),
        until: Until::LeavesProvision { state: ProvisionState::Deploying, target: ProvisionState::Active },
    }
}

/// Waits in the background; returns when the watcher knows of it.
async fn waiting(watcher: &Watcher, node: Uuid) -> JoinHandle<Option<Node>> {
    let before = watcher.waiters();
    let (handle, place) = (watcher.clone(), watched(node));
    let task = tokio::spawn(async move { handle.wait(place, &CancellationToken::new()).await.unwrap() });
    while watcher.waiters() == before {
        tokio::task::yield_now().await;
    }
    task
}

/// Lists and look-ups while so many wait for two minutes, lists counted by their first page.
async fn cost(waiters: usize) -> (usize, usize) {
    let sim = Sim::builder().start().await;
    sim.hold(State::Deploying);
    let nodes: Vec<Uuid> = (0..waiters).map(|_| deploying(&sim)).collect();
    let host = Host::start(&sim);
    let cancel = CancellationToken::new();
    let waits = nodes.iter().map(|node| host.driver.watcher().wait(watched(*node), &cancel));
    let _ = tokio::time::timeout(Duration::from_mins(2), join_all(waits)).await;
    let requests = sim.requests();
    let lists = requests.iter().filter(|r| r.call == Call::ListNodes && !r.query.contains("marker"));
    assert!(
        requests.iter().all(|r| r.call != Call::ListNodes || r.query.contains("provision_state=deploying"))
    );
    (lists.count(), sim.count(Call::GetNode))
}

#[tokio::test(start_paused = true)]
async fn five_thousand_waiters_ask_no_more_often_than_one() {
    let one = cost(1).await;
    let many = cost(5000).await;
    assert_eq!(one.1, 0);
    assert_eq!(many.1, 0);
    assert!(many.0 <= one.0 + 1, "{one:?} {many:?}");
    assert!(one.0 < 45, "{one:?}");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_step_is_noticed_within_a_tenth_of_what_it_lasted() {
    for seconds in [1, 5, 30, 120, 600, 3600] {
        let length = Duration::from_secs(seconds);
        let sim = Sim::builder().duration(State::Deploying, length).start().await;
        let host = Host::start(&sim);
        let begin = Instant::now();
        let node = deploying(&sim);
        let found = host.driver.watcher().wait(watched(node), &CancellationToken::new()).await.unwrap();
        assert_eq!(found.unwrap().provision_state, ProvisionState::Active);
        let late = begin.elapsed().saturating_sub(length);
        let allowed = (length / 10).clamp(Duration::from_secs(1), Duration::from_secs(15));
        assert!(late <= allowed + Duration::from_millis(10), "{late:?} late after {seconds} s");
    }
}

#[tokio::test(start_paused = true)]
async fn newcomers_do_not_put_off_those_who_wait() {
    let sim = Sim::builder().start().await;
    let host = Host::start(&sim);
    sim.hold(State::Deploying);
    let first = deploying(&sim);
    let task = waiting(host.driver.watcher(), first).await;
    let mut others = Vec::new();
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        others.push(waiting(host.driver.watcher(), deploying(&sim)).await);
    }
    sim.set_state(first, State::Active);
    let begin = Instant::now();
    assert!(task.await.unwrap().is_some());
    assert!(begin.elapsed() <= Duration::from_millis(1100), "{:?}", begin.elapsed());
    assert_eq!(host.driver.watcher().waiters(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_poke_wakes_at_once_and_only_the_node_it_names() {
    let sim = Sim::builder().start().await;
    let host = Host::start(&sim);
    sim.hold(State::Deploying);
    let (one, two) = (deploying(&sim), deploying(&sim));
    let task = waiting(host.driver.watcher(), one).await;
    let other = waiting(host.driver.watcher(), two).await;
    tokio::time::sleep(Duration::from_mins(10)).await;
    sim.set_state(one, State::Active);
    let begin = Instant::now();
    host.driver.watcher().poke(NodeId(one));
    assert_eq!(task.await.unwrap().unwrap().provision_state, ProvisionState::Active);
    assert!(begin.elapsed() < Duration::from_millis(100));
    host.driver.watcher().poke(NodeId(two));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!other.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_disappears_ends_the_wait() {
    let sim = Sim::builder().start().await;
    let host = Host::start(&sim);
    sim.hold(State::Deploying);
    let node = deploying(&sim);
    let task = waiting(host.driver.watcher(), node).await;
    sim.remove(node);
    assert_eq!(task.await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_changes_hands_in_the_same_state_ends_the_wait() {
    let sim = Sim::builder().start().await;
    let host = Host::start(&sim);
    sim.hold(State::Deploying);
    let node = deploying(&sim);
    let task = waiting(host.driver.watcher(), node).await;
    sim.update(node, |node| node.instance_uuid = Some(Uuid::from_u128(5)));
    assert_eq!(task.await.unwrap().unwrap().instance_uuid, Some(Uuid::from_u128(5)));
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_waited_out_and_asked_through_seldom() {
    let sim = Sim::builder().start().await;
    let host = Host::start(&sim);
    sim.hold(State::Deploying);
    let node = deploying(&sim);
    let task = waiting(host.driver.watcher(), node).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    sim.clear_requests();
    sim.fault(Fault { matcher: Matcher::any(), times: u32::MAX, kind: Kind::Status(500, String::new()) });
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert!(!task.is_finished());
    assert!(sim.requests().len() < 260, "{:?}", sim.shapes());
    sim.clear_faults();
    sim.set_state(node, State::Active);
    assert!(task.await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_failed_look_up_keeps_the_waiter() {
    let sim = Sim::builder().start().await;
    let host = Host::start(&sim);
    sim.hold(State::Deploying);
    let node = deploying(&sim);
    let task = waiting(host.driver.watcher(), node).await;
    sim.fault(Fault {
        matcher: Matcher::call(Call::GetNode),
        times: 3,
        kind: Kind::Status(500, String::new()),
    });
    sim.set_state(node, State::Active);
    assert!(task.await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_build_survives_an_hour_without_ironic_while_it_waits() {
    let sim = Sim::builder().duration(State::Deploying, Duration::from_mins(2)).start().await;
    let node = sim.enroll(1)[0];
    let host = Host::start(&sim);
    let healer = sim.clone();
    tokio::spawn(async move {
        healer.wait_for_state(node, State::Deploying).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        healer.fault(Fault { matcher: Matcher::any(), times: u32::MAX, kind: Kind::Drop });
        tokio::time::sleep(Duration::from_hours(1)).await;
        healer.clear_faults();
    });
    let deployed = host.build(&deployment(node), &[]).await.unwrap();
    assert_eq!(deployed.provision_state, ProvisionState::Active);
}

#[tokio::test(start_paused = true)]
async fn a_freed_node_is_settled_when_it_is_cleaned() {
    let sim = Sim::builder().duration(State::Cleaning, Duration::from_mins(2)).start().await;
    let host = Host::start(&sim);
    let node = sim.enroll(1)[0];
    sim.set_state(node, State::Cleaning);
    let settled = host.driver.settled(&openstack::Caller::default(), NodeId(node)).await.unwrap();
    assert_eq!(settled.unwrap().provision_state, ProvisionState::Available);
}

#[tokio::test(start_paused = true)]
async fn a_look_that_began_before_a_wait_does_not_answer_it() {
    let sim = Sim::builder().start().await;
    let host = Host::start(&sim);
    sim.hold(State::Deploying);
    let node = sim.enroll_with(|node| node.instance_uuid = Some(node.uuid));
    // The look begins while the node is available, and its answer comes when it is being deployed.
    sim.fault(Fault::once(Matcher::call(Call::GetNode), Kind::DelayAfter(Duration::from_secs(5))));
    host.driver.watcher().poke(NodeId(node));
    while sim.count(Call::GetNode) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    sim.set_state(node, State::Deploying);
    let task = waiting(host.driver.watcher(), node).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(!task.is_finished());
    sim.set_state(node, State::Active);
    assert_eq!(task.await.unwrap().unwrap().provision_state, ProvisionState::Active);
}

#[tokio::test(start_paused = true)]
async fn nodes_are_looked_up_one_by_one_where_ironic_refuses_the_list() {
    let sim = Sim::builder().start().await;
    let host = Host::start(&sim);
    sim.hold(State::Deploying);
    let node = deploying(&sim);
    let forbidden = Kind::Status(403, ironic_sim::error_body(403, "no list for you"));
    sim.fault(Fault { matcher: Matcher::call(Call::ListNodes), times: u32::MAX, kind: forbidden });
    let task = waiting(host.driver.watcher(), node).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    sim.set_state(node, State::Active);
    let begin = Instant::now();
    assert!(task.await.unwrap().is_some());
    assert!(begin.elapsed() <= Duration::from_millis(1100), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn many_that_wait_for_their_power_are_looked_up_at_the_pace_of_one() {
    let sim = Sim::builder().start().await;
    let host = Host::start(&sim);
    let power = |node: Uuid| Watched {
        node: NodeId(node),
        instance: None,
        until: Until::LeavesPower {
            power: PowerState::Off,
            target: PowerState::NoState,
            provision: ProvisionState::Available,
        },
    };
    let nodes = sim.enroll(50);
    let cancel = CancellationToken::new();
    let waits = nodes.iter().map(|node| host.driver.watcher().wait(power(*node), &cancel));
    let _ = tokio::time::timeout(Duration::from_mins(2), join_all(waits)).await;
    assert_eq!(sim.count(Call::ListNodes), 0);
    let looks = sim.count(Call::GetNode);
    assert!((50 * 20..50 * 45).contains(&looks), "{looks}");
}
