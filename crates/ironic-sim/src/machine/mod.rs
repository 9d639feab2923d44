//! Ironic's provision state machine as a pure table: states, verbs, and where a finished step leads.
//!
//! Facts: `ironic/common/states.py` (names, verbs) and `ironic/common/state_machine.py` (transitions,
//! targets), Ironic 39.

mod state;
mod verb;

use std::fmt;

pub use state::{ALL_STATES, State, UnknownName};
pub use verb::Verb;

use State::{
    Active, AdoptFailed, Adopting, Available, CleanFailed, CleanHold, CleanWait, Cleaning, Deleting,
    DeployFailed, DeployHold, DeployWait, Deploying, Enroll, Error, InspectFailed, InspectWait, Inspecting,
    Manageable, Rescue, RescueFailed, RescueWait, Rescuing, ServiceFailed, ServiceHold, ServiceWait,
    Servicing, UnrescueFailed, Unrescuing, Verifying,
};

/// The verb is not possible from that state (HTTP 400 `InvalidStateRequested`, or 409 while the node is
/// locked).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The state the node is in.
    pub state: State,
    /// What was asked for.
    pub verb: Verb,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" is not possible in state \"{}\"", self.verb.as_str(), self.state)
    }
}

impl std::error::Error for Refused {}

/// How a step that Ironic runs by itself ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// On to the next state.
    Ok,
    /// On to the failed state.
    Fail,
}

/// The state a verb leads to at once, before any work is done.
pub fn verb(state: State, verb: Verb) -> Result<State, Refused> {
    let to = match (verb, state) {
        (Verb::Deploy, Available | DeployFailed) | (Verb::Rebuild, Active | DeployFailed | Error) => {
            Deploying
        }
        (
            Verb::Delete,
            Active | DeployWait | DeployFailed | Error | Rescue | RescueWait | RescueFailed | UnrescueFailed
            | ServiceWait | ServiceFailed,
        ) => Deleting,
        (Verb::Manage, Enroll) => Verifying,
        (Verb::Manage, Available | CleanFailed | InspectFailed | AdoptFailed) => Manageable,
        (Verb::Provide | Verb::Clean, Manageable) => Cleaning,
        (Verb::Inspect, Manageable | InspectFailed) => Inspecting,
        (Verb::Adopt, Manageable | AdoptFailed) => Adopting,
        (Verb::Rescue, Active | Rescue | RescueFailed | UnrescueFailed | ServiceFailed) => Rescuing,
        (Verb::Unrescue, Rescue | RescueFailed | UnrescueFailed) => Unrescuing,
        (Verb::Service, Active | ServiceHold | ServiceFailed) => Servicing,
        (Verb::Unhold, DeployHold) => DeployWait,
        (Verb::Unhold, CleanHold) => CleanWait,
        (Verb::Unhold, ServiceHold) => ServiceWait,
        (Verb::Abort, DeployWait | DeployHold) => DeployFailed,
        (Verb::Abort, CleanWait | CleanHold) => CleanFailed,
        (Verb::Abort, InspectWait) => InspectFailed,
        (Verb::Abort, RescueWait) => RescueFailed,
        (Verb::Abort, ServiceWait | ServiceHold) => ServiceFailed,
        (Verb::Abort, ServiceFailed) => Active,
        _ => return Err(Refused { state, verb }),
    };
    Ok(to)
}

/// Where Ironic goes by itself when the work of `state` ends; `state` itself where it waits for somebody's
/// request. A waiting state that ends well is resumed, that is, work goes on (`wait call-back` →
/// `deploying`).
pub fn next(state: State, outcome: Outcome) -> State {
    match (state, outcome) {
        (Verifying | Inspecting, Outcome::Ok) => Manageable,
        (Verifying, Outcome::Fail) => Enroll,
        (Deploying | Adopting | Unrescuing | Servicing, Outcome::Ok) => Active,
        (DeployWait, Outcome::Ok) => Deploying,
        (Deploying | DeployWait, Outcome::Fail) => DeployFailed,
        (Deleting | CleanWait, Outcome::Ok) => Cleaning,
        (Deleting, Outcome::Fail) => Error,
        (Cleaning, Outcome::Ok) => Available,
        (Cleaning | CleanWait, Outcome::Fail) => CleanFailed,
        (InspectWait, Outcome::Ok) => Inspecting,
        (Inspecting | InspectWait, Outcome::Fail) => InspectFailed,
        (Adopting, Outcome::Fail) => AdoptFailed,
        (Rescuing, Outcome::Ok) => Rescue,
        (RescueWait, Outcome::Ok) => Rescuing,
        (Rescuing | RescueWait, Outcome::Fail) => RescueFailed,
        (Unrescuing, Outcome::Fail) => UnrescueFailed,
        (ServiceWait, Outcome::Ok) => Servicing,
        (Servicing | ServiceWait | ServiceHold, Outcome::Fail) => ServiceFailed,
        _ => state,
    }
}

/// The state in which a step waits for the machine to call back, where Ironic has one for it.
pub fn waiting(state: State) -> Option<State> {
    match state {
        Deploying => Some(DeployWait),
        Cleaning => Some(CleanWait),
        Inspecting => Some(InspectWait),
        Rescuing => Some(RescueWait),
        Servicing => Some(ServiceWait),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back() {
        for state in ALL_STATES {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        for verb in Verb::ALL {
            assert_eq!(verb.as_str().parse(), Ok(verb));
        }
        assert_eq!("undeploy".parse(), Ok(Verb::Delete));
        assert!("deleted".parse::<State>().is_err());
    }

    #[test]
    fn work_that_always_ends_well_ends_in_a_stable_or_held_state() {
        for start in ALL_STATES {
            let mut state = start;
            for _ in 0..4 {
                state = next(state, Outcome::Ok);
            }
            assert_eq!(next(state, Outcome::Ok), state, "from {start}");
            assert!(!state.is_locked(), "from {start}");
        }
    }

    #[test]
    fn the_table_has_as_many_verbs_as_ironics() {
        let allowed = ALL_STATES.into_iter().flat_map(|s| Verb::ALL.map(|v| verb(s, v).is_ok()));
        // Ironic's machine counts 51, with two it takes from its own conductor only: `clean` while deleting,
        // `manage` while cleaning.
        assert_eq!(allowed.filter(|ok| *ok).count(), 49);
    }

    #[test]
    fn a_locked_state_takes_no_verb() {
        for state in ALL_STATES.into_iter().filter(|s| s.is_locked()) {
            for v in Verb::ALL {
                assert!(verb(state, v).is_err(), "{state} took {v:?}");
            }
        }
    }

    #[test]
    fn a_tenant_machine_is_cleaned_before_it_is_available_again() {
        let deleting = verb(Active, Verb::Delete).unwrap();
        let cleaning = next(deleting, Outcome::Ok);
        assert_eq!((deleting, cleaning, next(cleaning, Outcome::Ok)), (Deleting, Cleaning, Available));
        assert_eq!(next(deleting, Outcome::Fail), Error);
        assert_eq!(verb(Deploying, Verb::Delete), Err(Refused { state: Deploying, verb: Verb::Delete }));
    }
}
