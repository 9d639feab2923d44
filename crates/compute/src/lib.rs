//! The compute manager: what a request means, in order; claims, inventory, periodic work. It speaks to ports and knows
//! neither AMQP nor SQLite.

mod atomic_file;
pub mod instance;
pub mod inventory;
mod journal;
mod locks;
pub mod manager;
pub mod operations;
pub mod ports;
pub mod request;
#[cfg(test)]
mod testing;
mod user_message;

pub use manager::{Manager, Options, Ports};
