//! Ironic, the bare metal service.

mod client;
mod node;
mod parts;
mod state;

pub use client::Client;
pub use node::{NODE_FIELDS, Node, NodeId, NodeQuery, Patch};
pub use parts::{
    Console, ConsoleInfo, InterfaceValidation, NewVolumeTarget, Port, PortGroup, Validation, VolumeConnector,
    VolumeTarget,
};
pub use state::{PowerState, PowerTarget, ProvisionState, ProvisionTarget};
