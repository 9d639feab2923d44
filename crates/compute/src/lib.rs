//! The compute manager: what a request means, in order; claims, inventory, periodic work. It speaks to ports and knows
//! neither AMQP nor SQLite.

pub mod build;
mod delete;
mod durable;
pub mod instance;
pub mod inventory;
mod journal;
mod locks;
pub mod manager;
pub mod ports;
pub mod request;
#[cfg(test)]
mod testing;
mod told;

pub use manager::{Manager, Options, Ports};
