//! The Ironic driver: decide, act, watch.
//!
//! Each operation on a node is a pure function `decide` from what is observed to the next step ([`Next`]), an act that performs
//! that step, and one loop for all of them. Waiting is the business of one watcher for all. Because the next step
//! follows from what is observed, an operation that was cut off anywhere is resumed by starting it again.
//!
//! [`Driver`] is the way in.

mod act;
pub mod deploy;
mod drive;
mod driver;
mod error;
mod gate;
mod ids;
#[cfg(test)]
mod model;
mod next;
pub mod release;
pub mod reserve;
pub mod server;
mod sight;
pub mod teardown;
pub mod vifs;
pub mod watch;

pub use driver::{ConfigDrive, Deployment, Driver, NoDrive, Options};
pub use error::Error;
pub use ids::{InstanceId, NodeId};
pub use next::{Failure, Next};
pub use server::Server;
pub use sight::{Sight, is_believable};
