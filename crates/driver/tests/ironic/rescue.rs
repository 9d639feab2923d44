//! Rescue and its end.

use std::time::Duration;

use driver::{Deployment, Error, Run};
use ironic_sim::{Builder, Call, Fault, Kind, Matcher, Sim, State};
use openstack::ironic::{PowerState, ProvisionState};
use secrecy::SecretString;

use crate::support::{Host, Journal, deployment, run};

const SOFT: Option<Duration> = Some(Duration::from_mins(1));

fn password() -> SecretString {
    "first".into()
}

/// A machine with a server on it, on.
async fn server(builder: Builder) -> (Sim, Host, Deployment) {
    let sim = builder.start().await;
    let wanted = deployment(sim.enroll(1)[0]);
    let host = Host::start(&sim);
    host.build(&wanted, &[]).await.unwrap();
    sim.clear_requests();
    (sim, host, wanted)
}

/// What was asked of the machine, in this order.
fn asked(sim: &Sim) -> Vec<String> {
    let changes = [Call::SetPower, Call::SetProvision];
    let asked = sim.requests().into_iter().filter(|request| changes.contains(&request.call));
    asked.filter_map(|request| request.detail).collect()
}

#[tokio::test(start_paused = true)]
async fn a_machine_is_switched_off_rescued_with_the_password_and_runs_its_own_system_again() {
    let (sim, host, wanted) = server(Sim::builder().wait_states()).await;
    let run = run(wanted.server.instance);
    let rescued = host.driver.rescue(run, wanted.node, &password(), SOFT).await.unwrap();
    assert_eq!((rescued.provision_state, rescued.power_state), (ProvisionState::Rescue, PowerState::On));
    assert_eq!(sim.node(wanted.node.0).rescue_password.as_deref(), Some("first"));
    host.driver.unrescue(run, wanted.node).await.unwrap();
    let active = sim.node(wanted.node.0);
    assert_eq!((active.provision_state, active.power_state.as_deref()), (State::Active, Some("power on")));
    assert_eq!(asked(&sim), ["soft power off", "rescue", "unrescue"]);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_the_rescue_interface_leaves_off_is_switched_on() {
    let (sim, host, wanted) = server(Sim::builder().fake_rescue()).await;
    let run = run(wanted.server.instance);
    let rescued = host.driver.rescue(run, wanted.node, &password(), None).await.unwrap();
    assert_eq!(rescued.power_state, PowerState::On);
    assert_eq!(asked(&sim), ["power off", "rescue", "power on"]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_rescued_already_gets_the_password_of_this_request() {
    let (sim, host, wanted) = server(Sim::builder()).await;
    for word in ["first", "second"] {
        let run = run(wanted.server.instance);
        host.driver.rescue(run, wanted.node, &word.into(), None).await.unwrap();
        assert_eq!(sim.node(wanted.node.0).rescue_password.as_deref(), Some(word));
    }
}

#[tokio::test(start_paused = true)]
async fn a_rescue_that_fails_says_why_and_is_ended_or_asked_for_again() {
    let (sim, host, wanted) = server(Sim::builder()).await;
    let run = run(wanted.server.instance);
    sim.fail_rescue(wanted.node.0, "the ramdisk does not call back");
    let error = host.driver.rescue(run, wanted.node, &password(), None).await.unwrap_err();
    assert!(
        matches!(&error, Error::Retry(text) if text.contains("the ramdisk does not call back")),
        "{error:?}"
    );
    assert_eq!(sim.node(wanted.node.0).provision_state, State::RescueFailed);
    host.driver.rescue(run, wanted.node, &password(), None).await.unwrap();
    sim.fail(wanted.node.0, State::Unrescuing, "the BMC hangs");
    let error = host.driver.unrescue(run, wanted.node).await.unwrap_err();
    assert!(matches!(&error, Error::Retry(text) if text.contains("the BMC hangs")), "{error:?}");
    host.driver.unrescue(run, wanted.node).await.unwrap();
    assert_eq!(sim.node(wanted.node.0).provision_state, State::Active);
}

#[tokio::test(start_paused = true)]
async fn a_node_without_rescue_is_refused_in_ironics_words_and_stays_as_it_is() {
    let (sim, host, wanted) = server(Sim::builder()).await;
    sim.update(wanted.node.0, |node| node.maintenance = true);
    let error = host.driver.rescue(run(wanted.server.instance), wanted.node, &password(), None).await;
    let error = error.unwrap_err();
    assert!(matches!(&error, Error::Retry(text) if text.contains("maintenance")), "{error:?}");
    assert_eq!(sim.node(wanted.node.0).provision_state, State::Active);
}

#[tokio::test(start_paused = true)]
async fn a_rescue_whose_answer_is_lost_is_not_repeated() {
    for seconds in [0, 5, 600] {
        let builder = Sim::builder().duration(State::Rescuing, Duration::from_secs(seconds));
        let (sim, host, wanted) = server(builder).await;
        let journal = Journal::default();
        let run = Run { progress: &journal, ..run(wanted.server.instance) };
        sim.fault(Fault::once(Matcher::call(Call::SetProvision), Kind::DropAfter));
        host.driver.rescue(run, wanted.node, &password(), None).await.unwrap();
        assert_eq!(sim.node(wanted.node.0).rescues, 1);
        sim.fault(Fault::once(Matcher::call(Call::SetProvision), Kind::DropAfter));
        host.driver.unrescue(run, wanted.node).await.unwrap();
        assert_eq!(sim.node(wanted.node.0).provision_state, State::Active);
    }
}

#[tokio::test(start_paused = true)]
async fn a_rescue_waits_for_ironic_without_a_request_for_each_look() {
    let builder = Sim::builder().duration(State::Rescuing, Duration::from_mins(20));
    let (sim, host, wanted) = server(builder).await;
    host.driver.rescue(run(wanted.server.instance), wanted.node, &password(), None).await.unwrap();
    assert!(sim.requests().len() < 150, "{:?}", sim.shapes());
}
