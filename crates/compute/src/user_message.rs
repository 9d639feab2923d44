//! What a user may read of a failure. Faults and events are the user's: what a service refuses is said in its own
//! words; where a service is and why it cannot be reached is for the log alone, as with stock.

use driver::{Error as DriverError, InstanceId, NodeId};

// What follows is stock's, word for word: users and their tools know it.

/// No ports.
pub const NO_NETWORK: &str = "Failed to allocate the network(s), not rescheduling.";
/// No disks, or no node for them.
pub const NO_DISKS: &str = "Failure prepping block device.";
pub const TAGGED_DEVICES: &str =
    "Attempt to boot guest with tagged devices on host that does not support tagging.";
pub const TRUSTED_CERTS: &str =
    "Trusted image certificates provided on host that does not support certificate validation.";

pub const TAGGED_INTERFACE: &str =
    "Tagged network interface attachment is not supported for this server instance.";

/// The machine does not take the interface.
pub fn not_attached(instance: InstanceId) -> String {
    format!("Failed to attach network adapter device to {instance}")
}

/// The machine does not let the interface go.
pub fn not_detached(instance: InstanceId) -> String {
    format!("Failed to detach network adapter device from {instance}")
}

/// The node is not this service's.
pub fn no_resources(node: NodeId) -> String {
    format!("Insufficient compute resources: node {node} is not managed by this service.")
}

/// The build fails on every node.
pub fn aborted(instance: InstanceId, reason: &str) -> String {
    format!("Build of instance {instance} aborted: {reason}")
}

/// The build failed on this node.
pub fn rescheduled(instance: InstanceId, reason: &str) -> String {
    format!("Build of instance {instance} was re-scheduled: {reason}")
}

/// Of an operation on a node; what it does not say is logged.
pub fn of_driver(error: &DriverError) -> String {
    if let DriverError::Unreachable(error) = error {
        tracing::warn!(%error, "an operation on a node failed");
    }
    error.user_message()
}

/// Whether Ironic cannot be reached, rather than that it answers with a failure: the operation may be asked for again until it
/// answers.
pub fn is_away(error: &DriverError) -> bool {
    matches!(error, DriverError::Unreachable(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_and_an_address_is_not() {
        let refused = openstack::Error::Http {
            service: "baremetal",
            status: 403,
            code: None,
            message: "the node is protected".to_owned(),
            request_id: None,
        };
        assert_eq!(driver::user_message(&refused), "Ironic refuses: the node is protected");
        let away = openstack::Error::Connect {
            service: "baremetal",
            address: "10.0.0.5:6385".to_owned(),
            message: "connection refused".to_owned(),
        };
        assert!(!of_driver(&away.into()).contains("10.0.0.5"));
        let failed = DriverError::AnotherNode("no disk".to_owned());
        assert_eq!(of_driver(&failed), "no disk");
    }
}
