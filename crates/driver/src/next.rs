//! What a decision says.

use crate::Error;

/// The next step of an operation, from what is observed.
#[derive(Clone, Debug, PartialEq)]
pub enum Next<A> {
    /// Perform this one idempotent call, then decide again.
    Act(A),
    /// Nothing to do until the node leaves the state it is in.
    Wait,
    /// The operation has reached its end.
    Done,
    /// The operation cannot reach its end.
    Fail(Failure),
}

impl<A> Next<A> {
    /// The same decision with another kind of step.
    pub fn map<B>(self, step: impl FnOnce(A) -> B) -> Next<B> {
        match self {
            Self::Act(act) => Next::Act(step(act)),
            Self::Wait => Next::Wait,
            Self::Done => Next::Done,
            Self::Fail(failure) => Next::Fail(failure),
        }
    }
}

/// Why an operation cannot reach its end, seen from the node alone. The texts are for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The node cannot be had for the instance; another may.
    Unavailable(String),
    /// Ironic failed to deploy.
    DeployFailed(String),
    /// Ironic failed to tear down.
    TearDownFailed(String),
    /// The node carries a deployment, which must be torn down first.
    Deployed(String),
    /// The node does not belong to the instance any more.
    Gone(String),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unavailable(why) => Self::Unavailable(why),
            Failure::DeployFailed(why) => Self::DeployFailed(why),
            Failure::TearDownFailed(why) => Self::TearDownFailed(why),
            Failure::Deployed(why) => Self::Deployed(why),
            Failure::Gone(why) => Self::Gone(why),
        }
    }
}
