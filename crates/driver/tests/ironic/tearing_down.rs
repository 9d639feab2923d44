//! Tear down and release, from every state.

use std::time::Duration;

use driver::{Error, InstanceId, NodeId};
use ironic_sim::{Call, Fault, Kind, Matcher, Sim, State, machine};
use uuid::Uuid;

use crate::support::{Host, assert_free, carrying, deployment, run, sim, vif};

#[tokio::test(start_paused = true)]
async fn a_node_is_freed_from_every_state() {
    // Ironic changes nothing on a node that an operator holds in the middle of cleaning: see the next test.
    for state in machine::ALL_STATES.into_iter().filter(|state| *state != State::CleanHold) {
        let sim = sim().duration(state, Duration::from_secs(20)).start().await;
        let node = carrying(&sim, state);
        let host = Host::start(&sim);
        let last = host.tear_down(&deployment(node)).await;
        let last = last.unwrap_or_else(|error| panic!("from '{state}': {error}"));
        assert_eq!(last.unwrap().uuid, NodeId(node), "from '{state}'");
        assert_free(&sim.node(node));
        assert!(sim.node(node).tear_downs <= 1, "from '{state}'");
        assert_eq!(host.tear_down(&deployment(node)).await.unwrap(), None, "again from '{state}'");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reservation_in_clean_hold_is_given_up_and_can_be_torn_down_later() {
    let sim = sim().start().await;
    let node = carrying(&sim, State::CleanHold);
    let host = Host::start(&sim);
    let error = host.tear_down(&deployment(node)).await.unwrap_err();
    assert!(matches!(error, Error::Retry(_)), "{error:?}");
    sim.set_state(node, State::CleanFailed);
    host.tear_down(&deployment(node)).await.unwrap();
    assert_free(&sim.node(node));
}

#[tokio::test(start_paused = true)]
async fn the_node_is_found_without_a_hint_and_with_a_wrong_one() {
    for hint in [None, Some(NodeId(Uuid::from_u128(404))), Some(NodeId(Uuid::from_u128(0)))] {
        let sim = sim().start().await;
        let free = sim.enroll(1)[0];
        let node = carrying(&sim, State::Active);
        let hint = hint.map(|id| if id.0.is_nil() { NodeId(free) } else { id });
        let instance = deployment(node).server.instance;
        let host = Host::start(&sim);
        let last = host.driver.tear_down(run(instance), hint).await.unwrap();
        assert_eq!(last.unwrap().uuid, NodeId(node));
        assert_free(&sim.node(node));
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_without_a_node_is_torn_down_already() {
    let sim = sim().start().await;
    let node = sim.enroll(1)[0];
    let other = carrying(&sim, State::Active);
    let host = Host::start(&sim);
    let instance = InstanceId(Uuid::from_u128(77));
    assert_eq!(host.driver.tear_down(run(instance), Some(NodeId(node))).await.unwrap(), None);
    assert_eq!(host.driver.tear_down(run(instance), Some(NodeId(other))).await.unwrap(), None);
    assert_eq!(sim.node(other).provision_state, State::Active);
}

#[tokio::test(start_paused = true)]
async fn a_tear_down_that_ironic_fails_ends_when_the_instance_is_off_the_node() {
    for seconds in [0, 20] {
        let sim = sim().duration(State::Error, Duration::from_secs(seconds)).start().await;
        let node = carrying(&sim, State::Active);
        sim.fail_tear_down(node, "the power is stuck");
        let last = Host::start(&sim).tear_down(&deployment(node)).await.unwrap().unwrap();
        assert_eq!(last.instance_uuid, None);
        assert_eq!(sim.node(node).provision_state, State::Error);
    }
}

#[tokio::test(start_paused = true)]
async fn what_ironic_works_at_may_take_as_long_as_it_takes() {
    for (from, slow) in [(State::Active, State::Deleting), (State::Deploying, State::Deploying)] {
        let sim = Sim::builder().duration(slow, Duration::from_hours(1)).start().await;
        let node = carrying(&sim, from);
        let begin = tokio::time::Instant::now();
        Host::start(&sim).tear_down(&deployment(node)).await.unwrap();
        let seconds = begin.elapsed().as_secs();
        assert!((3600..3620).contains(&seconds), "{slow}: {seconds}");
        assert_free(&sim.node(node));
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_tear_down_that_keeps_its_lock_is_given_up_after_the_limit() {
    let sim = sim().start().await;
    sim.hold(State::Error);
    let node = carrying(&sim, State::Active);
    sim.fail_tear_down(node, "the power is stuck");
    let host = Host::start(&sim);
    let begin = tokio::time::Instant::now();
    let error = host.tear_down(&deployment(node)).await.unwrap_err();
    assert!(matches!(&error, Error::Retry(text) if text.contains("'error'")), "{error:?}");
    assert!((120..125).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
    assert_eq!(sim.count(Call::SetProvision), 1);
    sim.release();
    host.tear_down(&deployment(node)).await.unwrap();
    assert_free(&sim.wait_for(node, |node| node.instance_uuid.is_none()).await);
}

#[tokio::test(start_paused = true)]
async fn a_failed_tear_down_that_leaves_the_instance_on_the_node_says_why() {
    let sim = sim().start().await;
    sim.hold(State::Error);
    let node = carrying(&sim, State::Active);
    sim.fail_tear_down(node, "the power is stuck");
    let unlocker = sim.clone();
    tokio::spawn(async move {
        unlocker.wait_for_state(node, State::Error).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        unlocker.unlock(node);
    });
    let error = Host::start(&sim).tear_down(&deployment(node)).await.unwrap_err();
    assert!(matches!(&error, Error::Retry(text) if text.contains("power is stuck")), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_locked_node_is_asked_again_and_a_lost_answer_looked_after() {
    for kind in [Kind::Locked, Kind::Drop, Kind::DropAfter, Kind::Status(503, String::new())] {
        let sim = sim().start().await;
        let node = carrying(&sim, State::Active);
        sim.fault(Fault { matcher: Matcher::call(Call::SetProvision), times: 3, kind });
        Host::start(&sim).tear_down(&deployment(node)).await.unwrap();
        assert_free(&sim.wait_for_state(node, State::Available).await);
        assert_eq!(sim.node(node).tear_downs, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reserved_node_is_released_and_others_are_left_alone() {
    let sim = sim().start().await;
    let node = carrying(&sim, State::Available);
    let host = Host::start(&sim);
    let instance = deployment(node).server.instance;
    host.driver.attach_vifs(run(instance), NodeId(node), &[vif(5)]).await.unwrap();
    host.driver.tear_down_on(run(InstanceId(Uuid::from_u128(8))), NodeId(node)).await.unwrap();
    assert_eq!(sim.node(node).instance_uuid, Some(instance.0));
    host.driver.tear_down_on(run(instance), NodeId(node)).await.unwrap();
    assert_free(&sim.node(node));
    assert_eq!(sim.node(node).tear_downs, 0);
    host.driver.tear_down_on(run(instance), NodeId(node)).await.unwrap();
}
