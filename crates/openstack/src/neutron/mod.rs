//! Neutron, the network service.

mod client;
mod types;

pub use client::Client;
pub use types::{
    FixedIp, FloatingIp, HostRoute, Network, NetworkFilter, NewPort, Port, PortFilter, PortUpdate,
    ProviderNetwork, SecurityGroup, Subnet,
};
