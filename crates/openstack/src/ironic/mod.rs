//! Ironic, the bare metal service.

mod client;
mod state;
mod types;

pub use client::Client;
pub use state::{PowerState, PowerTarget, ProvisionState, ProvisionTarget};
pub use types::{
    Console, ConsoleInfo, InterfaceValidation, NODE_FIELDS, NewVolumeTarget, Node, NodeId, NodeQuery, Patch,
    Port, PortGroup, Validation, VolumeConnector, VolumeTarget,
};
