//! The control plane port over a stock Nova: the RPC server, the conductor's client, Nova's objects, Neutron, Placement
//! and Cinder as a nova-compute uses them.

pub mod announcer;
pub mod conductor;
pub mod instances;
pub mod inventory;
pub mod network;
pub mod placement;
pub mod server;
pub mod service;
pub mod vendordata;
pub mod virtual_interfaces;
pub mod volumes;
