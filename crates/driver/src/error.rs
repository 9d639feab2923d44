//! Why an operation on a node ended without success.

/// Variants by what the caller does about it. The texts are shown to the user as the instance's fault: they hold no secrets.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The node cannot be had: taken, in maintenance, not `available`. Try another node.
    #[error("{0}")]
    Unavailable(String),
    /// Ironic tried to deploy and failed. Clean up, try another node.
    #[error("{0}")]
    DeployFailed(String),
    /// Ironic tried to tear down and failed; an operator must look at the node. May be asked for again.
    #[error("{0}")]
    TearDownFailed(String),
    /// Ironic refuses the image itself: no node will take it. Do not try another.
    #[error("{0}")]
    Rejected(String),
    /// Ironic's validation says that this node cannot be deployed like this. Clean up, try another node.
    #[error("{0}")]
    Invalid(String),
    /// A VIF cannot be attached or detached.
    #[error("{0}")]
    Vif(String),
    /// Asked to release a node that carries a deployment; tear it down instead.
    #[error("{0}")]
    Deployed(String),
    /// The node was taken from the instance, or is being torn down, by somebody else.
    #[error("{0}")]
    Gone(String),
    /// The caller cancelled. Nothing was undone.
    #[error("the operation was cancelled")]
    Cancelled,
    /// The node stayed locked, or in a state that allows no change, for longer than `[ironic] api_max_retries` ×
    /// `api_retry_interval`. May be asked for again.
    #[error("{0}")]
    LockedTooLong(String),
    /// The config drive could not be made.
    #[error("the config drive could not be made: {0}")]
    ConfigDrive(String),
    /// Ironic refused, or was away for longer than the driver's patience.
    #[error(transparent)]
    Remote(#[from] openstack::Error),
}
