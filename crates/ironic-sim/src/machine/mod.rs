//! Ironic's provision state machine as a pure table: states, verbs, and where a finished step leads.
//!
//! Facts: `ironic/common/states.py` (names, verbs) and `ironic/common/state_machine.py` (transitions,
//! targets), Ironic 39.

use std::fmt;
use std::str::FromStr;

/// A provision state of Ironic's machine. [`State::as_str`] is the name on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Known to Ironic, not yet verified.
    Enroll,
    /// The conductor checks that it can reach the BMC.
    Verifying,
    /// Verified; an operator may inspect, clean or adopt it.
    Manageable,
    /// Clean, and free for a server.
    Available,
    /// The conductor works at a deployment.
    Deploying,
    /// `wait call-back`
    DeployWait,
    /// `last_error` says why; waits for a tear down or another deployment.
    DeployFailed,
    /// A hold step waits for an operator.
    DeployHold,
    /// Deployed.
    Active,
    /// The conductor tears the server down.
    Deleting,
    /// A tear down failed.
    Error,
    /// The conductor cleans the disks and settings.
    Cleaning,
    /// The ramdisk cleans, and is waited for.
    CleanWait,
    /// `last_error` says why; the node is set to maintenance.
    CleanFailed,
    /// A hold step waits for an operator.
    CleanHold,
    /// The conductor begins an inspection.
    Inspecting,
    /// The ramdisk inspects, and is waited for.
    InspectWait,
    /// `last_error` says why.
    InspectFailed,
    /// The conductor takes over a machine that runs.
    Adopting,
    /// `last_error` says why.
    AdoptFailed,
    /// The conductor begins a rescue.
    Rescuing,
    /// The rescue ramdisk boots, and is waited for.
    RescueWait,
    /// `last_error` says why.
    RescueFailed,
    /// The rescue ramdisk runs with the user's password.
    Rescue,
    /// The conductor boots the server's own system again.
    Unrescuing,
    /// `last_error` says why.
    UnrescueFailed,
    /// The conductor carries out service steps on a deployed node.
    Servicing,
    /// The ramdisk carries out service steps, and is waited for.
    ServiceWait,
    /// `last_error` says why.
    ServiceFailed,
    /// A hold step waits for an operator.
    ServiceHold,
}

use State::{
    Active, AdoptFailed, Adopting, Available, CleanFailed, CleanHold, CleanWait, Cleaning, Deleting,
    DeployFailed, DeployHold, DeployWait, Deploying, Enroll, Error, InspectFailed, InspectWait, Inspecting,
    Manageable, Rescue, RescueFailed, RescueWait, Rescuing, ServiceFailed, ServiceHold, ServiceWait,
    Servicing, UnrescueFailed, Unrescuing, Verifying,
};

/// Every state the machine knows. (`deleted` and `deploy complete` are constants of Ironic that no node is
/// ever seen in.)
pub const ALL_STATES: [State; 30] = [
    Enroll,
    Verifying,
    Manageable,
    Available,
    Deploying,
    DeployWait,
    DeployFailed,
    DeployHold,
    Active,
    Deleting,
    Error,
    Cleaning,
    CleanWait,
    CleanFailed,
    CleanHold,
    Inspecting,
    InspectWait,
    InspectFailed,
    Adopting,
    AdoptFailed,
    Rescuing,
    RescueWait,
    RescueFailed,
    Rescue,
    Unrescuing,
    UnrescueFailed,
    Servicing,
    ServiceWait,
    ServiceFailed,
    ServiceHold,
];

impl State {
    /// The name in Ironic's API.
    pub fn as_str(self) -> &'static str {
        match self {
            Enroll => "enroll",
            Verifying => "verifying",
            Manageable => "manageable",
            Available => "available",
            Deploying => "deploying",
            DeployWait => "wait call-back",
            DeployFailed => "deploy failed",
            DeployHold => "deploy hold",
            Active => "active",
            Deleting => "deleting",
            Error => "error",
            Cleaning => "cleaning",
            CleanWait => "clean wait",
            CleanFailed => "clean failed",
            CleanHold => "clean hold",
            Inspecting => "inspecting",
            InspectWait => "inspect wait",
            InspectFailed => "inspect failed",
            Adopting => "adopting",
            AdoptFailed => "adopt failed",
            Rescuing => "rescuing",
            RescueWait => "rescue wait",
            RescueFailed => "rescue failed",
            Rescue => "rescue",
            Unrescuing => "unrescuing",
            UnrescueFailed => "unrescue failed",
            Servicing => "servicing",
            ServiceWait => "service wait",
            ServiceFailed => "service failed",
            ServiceHold => "service hold",
        }
    }

    /// Where the machine is heading while in this state (`target_provision_state`); `None` for the stable
    /// states. A manual clean heads for `manageable` instead: the node knows, the table does not.
    pub fn target(self) -> Option<State> {
        match self {
            Enroll | Manageable | Available | Active | Error | Rescue => None,
            Verifying | Inspecting | InspectWait | InspectFailed => Some(Manageable),
            Deploying | DeployWait | DeployFailed | DeployHold | Adopting | AdoptFailed | Unrescuing
            | UnrescueFailed | Servicing | ServiceWait | ServiceFailed | ServiceHold => Some(Active),
            Deleting | Cleaning | CleanWait | CleanFailed | CleanHold => Some(Available),
            Rescuing | RescueWait | RescueFailed => Some(Rescue),
        }
    }

    /// A state that changes only when somebody asks.
    pub fn is_stable(self) -> bool {
        self.target().is_none()
    }

    /// A conductor is at work and holds the node's lock: writes get 409.
    pub fn is_locked(self) -> bool {
        matches!(
            self,
            Verifying
                | Deploying
                | Deleting
                | Cleaning
                | Inspecting
                | Adopting
                | Rescuing
                | Unrescuing
                | Servicing
        )
    }

    /// A state in which the API lets a node be patched although it has a target state
    /// (`UPDATE_ALLOWED_STATES`).
    pub fn allows_update(self) -> bool {
        matches!(
            self,
            DeployFailed
                | Inspecting
                | InspectFailed
                | InspectWait
                | CleanFailed
                | Error
                | Verifying
                | AdoptFailed
                | RescueFailed
                | UnrescueFailed
                | ServiceHold
                | ServiceFailed
        )
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name the machine does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName(pub String);

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ironic's state machine has no \"{}\"", self.0)
    }
}

impl std::error::Error for UnknownName {}

impl FromStr for State {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        ALL_STATES.into_iter().find(|s| s.as_str() == name).ok_or_else(|| UnknownName(name.to_owned()))
    }
}

/// What `PUT …/states/provision {"target": …}` may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// `active`, or its alias `deploy`
    Deploy,
    /// Deploys the server on the node again.
    Rebuild,
    /// `deleted`, or its alias `undeploy`
    Delete,
    /// Makes a node manageable: verifies it first where it is new.
    Manage,
    /// Cleans a manageable node and makes it available.
    Provide,
    /// Has the hardware found out.
    Inspect,
    /// Ends a wait.
    Abort,
    /// Cleans by the steps that came with it, and leaves the node manageable.
    Clean,
    /// Takes over a machine that runs, without deploying it.
    Adopt,
    /// Boots the rescue ramdisk; takes a `rescue_password`.
    Rescue,
    /// Boots the server's own system again.
    Unrescue,
    /// Goes on from a hold step.
    Unhold,
    /// Carries out service steps on a deployed node.
    Service,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Verb; 13] = [
        Verb::Deploy,
        Verb::Rebuild,
        Verb::Delete,
        Verb::Manage,
        Verb::Provide,
        Verb::Inspect,
        Verb::Abort,
        Verb::Clean,
        Verb::Adopt,
        Verb::Rescue,
        Verb::Unrescue,
        Verb::Unhold,
        Verb::Service,
    ];

    /// The `target` on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Deploy => "active",
            Verb::Rebuild => "rebuild",
            Verb::Delete => "deleted",
            Verb::Manage => "manage",
            Verb::Provide => "provide",
            Verb::Inspect => "inspect",
            Verb::Abort => "abort",
            Verb::Clean => "clean",
            Verb::Adopt => "adopt",
            Verb::Rescue => "rescue",
            Verb::Unrescue => "unrescue",
            Verb::Unhold => "unhold",
            Verb::Service => "service",
        }
    }
}

impl FromStr for Verb {
    type Err = UnknownName;

    fn from_str(target: &str) -> Result<Self, UnknownName> {
        match target {
            "deploy" => Ok(Verb::Deploy),
            "undeploy" => Ok(Verb::Delete),
            _ => Verb::ALL
                .into_iter()
                .find(|v| v.as_str() == target)
                .ok_or_else(|| UnknownName(target.to_owned())),
        }
    }
}

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
