//! The control plane port over a stock Nova: the RPC server, the conductor's client, Nova's objects, and Placement as a
//! nova-compute uses it.

#![deny(missing_docs)]

pub mod announcer;
pub mod conductor;
pub mod consoles;
pub mod instances;
pub mod inventory;
mod objects;
mod refusals;
pub mod requests;
pub mod server;
pub mod service;
#[cfg(test)]
mod testing;
pub mod virtual_interfaces;
