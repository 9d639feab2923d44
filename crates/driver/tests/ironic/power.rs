//! Power: on, off, reboot.

use std::time::Duration;

use driver::{Deployment, Error, PowerChange, Run};
use ironic_sim::{Call, Fault, Kind, Matcher, Sim, State};
use openstack::ironic::PowerState;

use crate::support::{Host, Journal, deployment, run};

const SOFT: PowerChange = PowerChange::Off { soft: Some(Duration::from_mins(1)) };

/// A machine with a server on it, on.
async fn server(sim: &Sim) -> (Host, Deployment) {
    let wanted = deployment(sim.enroll(1)[0]);
    let host = Host::start(sim);
    host.build(&wanted, &[]).await.unwrap();
    sim.clear_requests();
    (host, wanted)
}

async fn set(host: &Host, wanted: &Deployment, change: PowerChange) -> Result<PowerState, Error> {
    let node = host.driver.set_power(run(wanted.server.instance), wanted.node, change).await?;
    Ok(node.power_state)
}

/// What was asked of the machine's power.
fn asked(sim: &Sim) -> Vec<String> {
    sim.requests().into_iter().filter(|r| r.call == Call::SetPower).filter_map(|r| r.detail).collect()
}

#[tokio::test(start_paused = true)]
async fn a_machine_is_switched_off_and_on_and_restarted_without_a_list_of_all_machines() {
    let sim = Sim::builder().power_duration(Duration::from_secs(20)).start().await;
    let (host, wanted) = server(&sim).await;
    assert_eq!(set(&host, &wanted, SOFT).await.unwrap(), PowerState::Off);
    assert_eq!(set(&host, &wanted, PowerChange::On).await.unwrap(), PowerState::On);
    assert_eq!(set(&host, &wanted, PowerChange::Reboot { soft: true }).await.unwrap(), PowerState::On);
    assert_eq!(set(&host, &wanted, PowerChange::Off { soft: None }).await.unwrap(), PowerState::Off);
    assert_eq!(asked(&sim), ["soft power off", "power on", "soft rebooting", "power off"]);
    assert_eq!(sim.count(Call::ListNodes), 0);
    assert!(sim.count(Call::GetNode) <= 4 * 22, "{:?}", sim.shapes());
}

#[tokio::test(start_paused = true)]
async fn what_the_hardware_cannot_do_softly_is_done_hard() {
    let sim = Sim::builder().without_soft_power().start().await;
    let (host, wanted) = server(&sim).await;
    assert_eq!(set(&host, &wanted, PowerChange::Reboot { soft: true }).await.unwrap(), PowerState::On);
    assert_eq!(set(&host, &wanted, SOFT).await.unwrap(), PowerState::Off);
    assert_eq!(asked(&sim), ["soft rebooting", "rebooting", "soft power off", "power off"]);
}

#[tokio::test(start_paused = true)]
async fn an_operating_system_that_does_not_follow_is_cut_off() {
    let sim = Sim::builder().power_duration(Duration::from_mins(1)).start().await;
    let (host, wanted) = server(&sim).await;
    sim.fail_power(wanted.node.0, "timeout");
    assert_eq!(set(&host, &wanted, SOFT).await.unwrap(), PowerState::Off);
    sim.update(wanted.node.0, |node| node.power_state = Some("power on".into()));
    sim.fail_power(wanted.node.0, "timeout");
    assert_eq!(set(&host, &wanted, PowerChange::Reboot { soft: true }).await.unwrap(), PowerState::On);
    assert_eq!(asked(&sim), ["soft power off", "power off", "soft rebooting", "rebooting"]);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_ironic_fails_says_why() {
    let sim = Sim::builder().start().await;
    let (host, wanted) = server(&sim).await;
    for change in [PowerChange::Off { soft: None }, PowerChange::Reboot { soft: false }] {
        sim.fail_power(wanted.node.0, "the BMC hangs");
        let error = set(&host, &wanted, change).await.unwrap_err();
        assert!(matches!(&error, Error::Retry(text) if text.contains("the BMC hangs")), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_locked_node_is_waited_for_within_the_limit_and_the_wait_is_told() {
    let sim = Sim::builder().start().await;
    let (host, wanted) = server(&sim).await;
    sim.lock(wanted.node.0);
    let journal = Journal::default();
    let run = Run { progress: &journal, ..run(wanted.server.instance) };
    let begin = tokio::time::Instant::now();
    let error = host.driver.set_power(run, wanted.node, PowerChange::Off { soft: None }).await.unwrap_err();
    assert!(matches!(error, Error::Retry(_)), "{error:?}");
    assert!((120..125).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
    assert_eq!(*journal.waits.lock().unwrap(), ["the node is locked by a conductor ('active')"]);
    let unlocker = sim.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(30)).await;
        unlocker.unlock(wanted.node.0);
    });
    host.driver.set_power(run, wanted.node, PowerChange::Off { soft: None }).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_reboot_whose_answer_is_lost_is_not_repeated() {
    for power_duration in [0, 5, 60] {
        let sim = Sim::builder().power_duration(Duration::from_secs(power_duration)).start().await;
        let (host, wanted) = server(&sim).await;
        sim.fault(Fault::once(Matcher::call(Call::SetPower), Kind::DropAfter));
        set(&host, &wanted, PowerChange::Reboot { soft: false }).await.unwrap();
        assert_eq!(asked(&sim).len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reboot_waits_until_a_deployment_has_ended() {
    let sim = Sim::builder().duration(State::Deploying, Duration::from_hours(1)).start().await;
    let wanted = deployment(sim.enroll(1)[0]);
    let host = Host::start(&sim);
    host.reserve(&wanted).await.unwrap();
    sim.set_state(wanted.node.0, State::Deploying);
    assert_eq!(set(&host, &wanted, PowerChange::Reboot { soft: false }).await.unwrap(), PowerState::On);
    assert_eq!(asked(&sim), ["rebooting"]);
    assert_eq!(sim.node(wanted.node.0).provision_state, State::Active);
}
