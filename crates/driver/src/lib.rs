//! The Ironic driver: decide, act, watch.
//!
//! Each operation on a node is a plan: a pure decision from what is observed and remembered to the next step, and the call that
//! carries a step out. One runner runs them all, and one watcher waits for all of them. Because the next step follows from what is
//! observed, an operation that was cut off anywhere is resumed by starting it again.
//!
//! [`Driver`] is the way in.

#![deny(missing_docs)]

mod driver;
mod error;
mod gate;
mod ids;
pub mod instance_info;
mod ironic;
mod limits;
mod operations;
mod plan;
mod progress;
mod runner;
mod setback;
mod sight;
#[cfg(test)]
mod testing;
mod unseen;
pub mod watch;

pub use driver::{ConfigDrive, Deployment, Driver, NoDrive, Options};
pub use error::{Error, user_message};
pub use ids::{InstanceId, NodeId};
pub use instance_info::Server;
pub use operations::console::{ConsoleAddress, ConsoleKind};
pub use operations::power::PowerChange;
pub use progress::{Progress, Run, Unfollowed};
pub use sight::{Sight, is_believable};
