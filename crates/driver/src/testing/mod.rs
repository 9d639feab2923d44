//! What the tests of the plans share.

pub(crate) mod model;

use openstack::ironic::ProvisionState;

/// Every state a node can be in: the named, none, and one that only a newer Ironic knows.
pub(crate) fn states() -> Vec<ProvisionState> {
    let mut states = ProvisionState::ALL.to_vec();
    states.extend([ProvisionState::NoState, ProvisionState::Other("polishing".into())]);
    states
}

pub(crate) fn http(status: u16, message: &str) -> openstack::Error {
    openstack::Error::Http {
        service: "baremetal",
        status,
        code: None,
        message: message.into(),
        request_id: None,
    }
}
