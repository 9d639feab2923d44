//! The control plane port over a stock Nova: the RPC server, the conductor's client, Nova's objects, and Placement as a
//! nova-compute uses it.

pub mod announcer;
pub mod conductor;
pub mod instances;
pub mod inventory;
mod refusals;
pub mod server;
pub mod service;
pub mod virtual_interfaces;
