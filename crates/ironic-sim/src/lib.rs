//! An Ironic in process: real state machine, injected faults, any number of nodes.
//!
//! [`Sim`] listens on loopback and speaks Ironic's REST API as far as a compute service needs it; it takes
//! any token. It keeps no clock of its own: work takes the time it is told to, on tokio's clock, none by
//! default. [`machine`] is the state machine alone.
//!
//! Facts: Ironic 39 (`ironic/api/controllers/v1`, `ironic/conductor`), compared with recorded answers of a
//! real one.

#![deny(missing_docs)]

mod api;
mod engine;
pub mod machine;
mod model;
mod patch;
mod refusal;
mod server;
mod sim;
mod traffic;
mod world;

pub use api::error_body;
pub use machine::State;
pub use model::{Node, Port, PortGroup, VolumeConnector, VolumeTarget};
pub use sim::{Builder, Sim};
pub use traffic::{Action, Call, Fault, Hook, Kind, Matcher, Recorded};
