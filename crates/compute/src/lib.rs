//! The compute manager: what a request means, in order; claims, when the machines are published. It speaks to ports and knows
//! neither AMQP nor SQLite.

#![deny(missing_docs)]

pub mod answer;
pub mod architecture;
pub mod atomic_file;
pub mod ending;
pub mod error;
pub mod instance;
mod journal;
pub mod locks;
pub mod machines;
pub mod manager;
mod operations;
pub mod options;
pub mod origin;
pub mod ports;
mod registry;
pub mod request;
mod resets;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod user_message;

pub use manager::Manager;
pub use operations::Ports;
pub use options::Options;
pub use registry::OperationStatus;
