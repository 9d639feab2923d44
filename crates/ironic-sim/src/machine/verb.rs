//! What a node can be asked for.

use std::str::FromStr;

use super::UnknownName;

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
