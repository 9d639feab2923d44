//! The provision states.

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
