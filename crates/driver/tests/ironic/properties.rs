//! Whatever goes wrong, and however often the process is killed, an operation ends, and Ironic is asked for nothing twice.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use driver::Error;
use ironic_sim::{Action, Call, Fault, Kind, Matcher, Recorded, Sim, State, machine};
use proptest::prelude::*;
use tokio::sync::Notify;

use crate::support::{Host, assert_free, deployment, vif};

/// What happens to a request.
#[derive(Clone, Copy, Debug)]
enum Luck {
    Fine,
    Locked,
    Unavailable,
    /// Ironic is at its limit for a while.
    Full,
    NeverArrives,
    AnswerLost,
    KilledBefore,
    KilledAfter,
}

fn luck() -> impl Strategy<Value = Luck> {
    prop_oneof![
        6 => Just(Luck::Fine),
        1 => Just(Luck::Locked),
        1 => Just(Luck::Unavailable),
        1 => Just(Luck::Full),
        1 => Just(Luck::NeverArrives),
        1 => Just(Luck::AnswerLost),
        1 => Just(Luck::KilledBefore),
        1 => Just(Luck::KilledAfter),
    ]
}

#[expect(clippy::struct_excessive_bools, reason = "they are independent")]
#[derive(Clone, Debug)]
struct Case {
    lucks: Vec<Luck>,
    wait_states: bool,
    slow: bool,
    fails: bool,
    tear_down_fails: bool,
}

fn case() -> impl Strategy<Value = Case> {
    let lucks = prop::collection::vec(luck(), 0..40);
    (lucks, any::<bool>(), any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.2)).prop_map(
        |(lucks, wait_states, slow, fails, tear_down_fails)| Case {
            lucks,
            wait_states,
            slow,
            fails,
            tear_down_fails,
        },
    )
}

/// Whether a request changes something: only those meet with locks.
fn is_write(call: Call) -> bool {
    !matches!(
        call,
        Call::ListNodes
            | Call::GetNode
            | Call::ListVifs
            | Call::ListTargets
            | Call::Validate
            | Call::Versions
    )
}

/// Runs `work` under the case's luck; after a kill again, on a fresh host that knows nothing.
async fn under<T>(
    sim: &Sim,
    lucks: &Arc<Mutex<Vec<Luck>>>,
    work: impl AsyncFn(&Host) -> Result<T, Error>,
) -> Result<T, Error> {
    loop {
        let dying = Arc::new(Notify::new());
        let dead = Arc::new(AtomicBool::new(false));
        let hook = {
            let (dying, dead, lucks) = (Arc::clone(&dying), Arc::clone(&dead), Arc::clone(lucks));
            let now = Mutex::new(Luck::Fine);
            let locker = sim.clone();
            move |request: &Recorded| {
                let die = || {
                    dead.store(true, Ordering::SeqCst);
                    dying.notify_one();
                    Action::Drop
                };
                if dead.load(Ordering::SeqCst) {
                    return Action::Drop;
                }
                let mut now = now.lock().unwrap();
                if request.is_before() {
                    *now = lucks.lock().unwrap().pop().unwrap_or(Luck::Fine);
                    match *now {
                        Luck::NeverArrives => return Action::Drop,
                        Luck::KilledBefore => return die(),
                        Luck::Locked if is_write(request.call) => {
                            locker.fault(Fault::once(Matcher::call(request.call), Kind::Locked));
                        }
                        Luck::Unavailable => {
                            let body = ironic_sim::error_body(503, "Service Unavailable");
                            locker.fault(Fault::once(Matcher::call(request.call), Kind::Status(503, body)));
                        }
                        Luck::Full => {
                            let text = "The concurrent action limit for provisioning has been reached.";
                            let kind = Kind::Status(503, ironic_sim::error_body(503, text));
                            locker.fault(Fault {
                                matcher: Matcher::call(Call::SetProvision),
                                times: 20,
                                kind,
                            });
                        }
                        _ => {}
                    }
                    return Action::Go;
                }
                match *now {
                    Luck::AnswerLost => Action::Drop,
                    Luck::KilledAfter => die(),
                    _ => Action::Go,
                }
            }
        };
        sim.on_request(Box::new(hook));
        let host = Host::start(sim);
        let result = tokio::select! {
            biased;
            () = dying.notified() => None,
            result = work(&host) => (!dead.load(Ordering::SeqCst)).then_some(result),
        };
        sim.clear_hook();
        if let Some(result) = result {
            return result;
        }
    }
}

fn start(case: &Case) -> ironic_sim::Builder {
    let builder = if case.wait_states { Sim::builder().wait_states() } else { Sim::builder() };
    let slow = if case.slow { Duration::from_secs(45) } else { Duration::ZERO };
    builder.duration(State::Deploying, slow).duration(State::Deleting, slow)
}

fn run(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(true).build().unwrap().block_on(test);
}

/// Virtual time after which an operation that has not ended hangs.
const HANGS: Duration = Duration::from_hours(2);

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_build_ends_and_is_torn_down_whatever_goes_wrong(case in case()) {
        run(async {
            let sim = start(&case).start().await;
            let node = sim.enroll(1)[0];
            if case.fails {
                sim.fail_deploy(node, "no luck");
            }
            let wanted = deployment(node);
            let lucks = Arc::new(Mutex::new(case.lucks.clone()));
            let building = under(&sim, &lucks, async |host: &Host| host.build(&wanted, &[vif(1)]).await);
            let built = tokio::time::timeout(HANGS, building).await.expect("the build hangs");
            assert_eq!(sim.node(node).deploys, 1);
            match built {
                Ok(_) => assert_eq!(sim.node(node).provision_state, State::Active),
                Err(Error::AnotherNode(_)) => assert!(case.fails),
                Err(error) => panic!("{error:?}"),
            }
            if case.tear_down_fails {
                sim.fail_tear_down(node, "no luck either");
            }
            let tearing = under(&sim, &lucks, async |host: &Host| host.tear_down(&wanted).await);
            tokio::time::timeout(HANGS, tearing).await.expect("the tear down hangs").unwrap();
            assert_free(&sim.wait_for(node, |node| node.instance_uuid.is_none()).await);
            assert_eq!(sim.node(node).tear_downs, 1);
        });
    }

    #[test]
    fn a_tear_down_ends_from_every_state_whatever_goes_wrong(case in case(), nth in 0..machine::ALL_STATES.len()) {
        run(async {
            let sim = start(&case).start().await;
            let node = sim.enroll_with(|node| node.instance_uuid = Some(deployment(node.uuid).server.instance.0));
            let state = machine::ALL_STATES[nth];
            sim.set_state(node, state);
            let wanted = deployment(node);
            let lucks = Arc::new(Mutex::new(case.lucks.clone()));
            let tearing = under(&sim, &lucks, async |host: &Host| host.tear_down(&wanted).await);
            let result = tokio::time::timeout(HANGS, tearing).await.expect("the tear down hangs");
            if state == State::CleanHold {
                assert!(matches!(result, Err(Error::Retry(_)) | Ok(None)), "{result:?}");
            } else {
                result.unwrap();
                assert_free(&sim.node(node));
            }
            assert!(sim.node(node).tear_downs <= 1);
        });
    }
}
