//! Ironic, the bare metal service.

mod state;
mod types;

pub use state::{PowerState, PowerTarget, ProvisionState, ProvisionTarget};
pub use types::{
    Console, ConsoleInfo, InterfaceValidation, NODE_FIELDS, NewVolumeTarget, Node, NodeId, NodeQuery, Patch,
    Port, PortGroup, Validation, VolumeConnector, VolumeTarget,
};
