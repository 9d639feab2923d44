//! The states of Ironic's machine and the targets that may be asked of it.
//!
//! Names as in `ironic/common/states.py` of Ironic 39. Older and newer releases differ by a few states: what
//! is not known decodes as `Other`, so that a new Ironic never breaks the decoding of a list.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

macro_rules! state {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            /// JSON null, or the field was not asked for.
            #[default]
            NoState,
            $($(#[$vdoc])* $variant,)*
            /// A state this release of ours does not know, as Ironic wrote it.
            Other(String),
        }

        impl $name {
            /// Every state with a name, without `NoState` and `Other`; for tests that walk through all.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Ironic's name; the empty text for `NoState`.
            pub fn as_str(&self) -> &str {
                match self {
                    Self::NoState => "",
                    $(Self::$variant => $text,)*
                    Self::Other(name) => name,
                }
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                match name {
                    "" => Self::NoState,
                    $($text => Self::$variant,)*
                    other => Self::Other(other.to_owned()),
                }
            }
        }

        impl FromStr for $name {
            type Err = std::convert::Infallible;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                Ok(Self::from(name))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    Self::NoState => "none",
                    named => named.as_str(),
                })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    Self::NoState => serializer.serialize_none(),
                    named => serializer.serialize_str(named.as_str()),
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;

                impl<'de> de::Visitor<'de> for Text {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a state's name or null")
                    }

                    fn visit_unit<E: de::Error>(self) -> Result<$name, E> {
                        Ok($name::NoState)
                    }

                    fn visit_none<E: de::Error>(self) -> Result<$name, E> {
                        Ok($name::NoState)
                    }

                    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<$name, D::Error> {
                        inner.deserialize_str(self)
                    }

                    fn visit_str<E: de::Error>(self, name: &str) -> Result<$name, E> {
                        Ok($name::from(name))
                    }
                }

                deserializer.deserialize_option(Text)
            }
        }
    };
}

state! {
    /// Where a node stands in Ironic's provisioning machine; also used for `target_provision_state`.
    ProvisionState {
        /// Known by name only, its management not yet verified.
        Enroll = "enroll",
        /// Its management credentials are being checked.
        Verifying = "verifying",
        /// Managed, not offered for deployment.
        Manageable = "manageable",
        /// Ready to be deployed.
        Available = "available",
        /// Deployed: carries an instance.
        Active = "active",
        /// A conductor prepares or writes the deployment.
        Deploying = "deploying",
        /// Deployment waits for the agent on the machine.
        WaitCallBack = "wait call-back",
        /// Deployment failed; `last_error` says why.
        DeployFailed = "deploy failed",
        /// Deployment stands still at an operator's `hold` step.
        DeployHold = "deploy hold",
        /// Written, about to become active (transient inside Ironic).
        DeployDone = "deploy complete",
        /// Torn down.
        Deleting = "deleting",
        /// Torn down, before cleaning (transient inside Ironic).
        Deleted = "deleted",
        /// Cleaning step runs.
        Cleaning = "cleaning",
        /// Cleaning waits for the agent.
        CleanWait = "clean wait",
        /// Cleaning failed; the node is in maintenance as a rule.
        CleanFailed = "clean failed",
        /// Cleaning stands still at an operator's `hold` step.
        CleanHold = "clean hold",
        /// Tear down failed.
        Error = "error",
        /// Deployed again with the same instance (a target; a state in old releases).
        Rebuild = "rebuild",
        /// Inspection runs.
        Inspecting = "inspecting",
        /// Inspection waits for the machine.
        InspectWait = "inspect wait",
        /// Inspection failed.
        InspectFailed = "inspect failed",
        /// A running machine is taken over.
        Adopting = "adopting",
        /// Taking over failed.
        AdoptFailed = "adopt failed",
        /// Runs the rescue ramdisk.
        Rescue = "rescue",
        /// Rescue is being prepared.
        Rescuing = "rescuing",
        /// Rescue waits for the agent.
        RescueWait = "rescue wait",
        /// Rescue failed.
        RescueFailed = "rescue failed",
        /// Goes back from rescue to the instance.
        Unrescuing = "unrescuing",
        /// Going back failed.
        UnrescueFailed = "unrescue failed",
        /// An operator's service step runs on the deployed node.
        Servicing = "servicing",
        /// Servicing waits for the agent.
        ServiceWait = "service wait",
        /// Servicing failed.
        ServiceFailed = "service failed",
        /// Servicing stands still at an operator's `hold` step.
        ServiceHold = "service hold",
    }
}

state! {
    /// A node's power as Ironic last saw it; also used for `target_power_state`, where `NoState` means no
    /// change is under way.
    PowerState {
        /// `power on`.
        On = "power on",
        /// `power off`.
        Off = "power off",
        /// `rebooting`, a target only.
        Rebooting = "rebooting",
        /// `soft rebooting`, a target only.
        SoftRebooting = "soft rebooting",
        /// `soft power off`, a target only.
        SoftOff = "soft power off",
        /// The machine's controller could not be asked.
        Error = "error",
    }
}

/// What `PUT /v1/nodes/{id}/states/provision` may ask for (`VERBS` of `ironic/common/states.py`, plus
/// `rebuild`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProvisionTarget {
    /// Deploy an `available` node (or retry a failed deployment).
    Active,
    /// Tear the deployment down.
    Deleted,
    /// Deploy the same instance again.
    Rebuild,
    /// Boot the rescue ramdisk; needs a password.
    Rescue,
    /// Leave rescue.
    Unrescue,
    /// `enroll` or failed states to `manageable`.
    Manage,
    /// `manageable` to `available`, through cleaning.
    Provide,
    /// Inspect a `manageable` node.
    Inspect,
    /// Abort what waits.
    Abort,
    /// Take over a machine that runs already.
    Adopt,
    /// Go on from a `hold` step.
    Unhold,
}

impl ProvisionTarget {
    /// The text of the request.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Deleted => "deleted",
            Self::Rebuild => "rebuild",
            Self::Rescue => "rescue",
            Self::Unrescue => "unrescue",
            Self::Manage => "manage",
            Self::Provide => "provide",
            Self::Inspect => "inspect",
            Self::Abort => "abort",
            Self::Adopt => "adopt",
            Self::Unhold => "unhold",
        }
    }
}

impl fmt::Display for ProvisionTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What `PUT /v1/nodes/{id}/states/power` may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PowerTarget {
    /// Power on.
    On,
    /// Cut the power.
    Off,
    /// Cut the power and restore it.
    Reboot,
    /// Ask the operating system to shut down (not every hardware type can: then 400).
    SoftOff,
    /// Ask the operating system to restart (not every hardware type can: then 400).
    SoftReboot,
}

impl PowerTarget {
    /// The text of the request.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::On => "power on",
            Self::Off => "power off",
            Self::Reboot => "rebooting",
            Self::SoftOff => "soft power off",
            Self::SoftReboot => "soft rebooting",
        }
    }
}

impl fmt::Display for PowerTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_state_survives_a_round_trip() {
        for state in ProvisionState::ALL {
            let text = serde_json::to_string(state).unwrap();
            assert_eq!(&serde_json::from_str::<ProvisionState>(&text).unwrap(), state);
        }
        for state in PowerState::ALL {
            let text = serde_json::to_string(state).unwrap();
            assert_eq!(&serde_json::from_str::<PowerState>(&text).unwrap(), state);
        }
    }

    #[test]
    fn null_is_no_state_and_an_unknown_name_is_kept() {
        assert_eq!(serde_json::from_str::<ProvisionState>("null").unwrap(), ProvisionState::NoState);
        assert_eq!(serde_json::to_string(&ProvisionState::NoState).unwrap(), "null");
        let new = serde_json::from_str::<ProvisionState>("\"polishing\"").unwrap();
        assert_eq!(new, ProvisionState::Other("polishing".into()));
        assert_eq!(serde_json::to_string(&new).unwrap(), "\"polishing\"");
    }
}
