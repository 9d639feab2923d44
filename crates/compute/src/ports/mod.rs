//! What the compute manager needs from the world, as traits. Each adapter (a stock Nova, the embedded control
//! plane) implements them; none of them knows which.

#[cfg(feature = "testing")]
pub mod conformance;
mod events;
mod instances;
mod machines;
mod networks;
mod requests;
mod vendor_data;
mod volumes;

pub use crate::error::{Error, Refusal, Result};
pub use events::{Announcer, Event, Phase};
pub use instances::{Action, Fault, Instances};
pub use machines::{Found, Machines, Published};
pub use networks::{Addresses, Networks};
pub use requests::Requests;
pub use vendor_data::{VendorData, VendorDataSource};
pub use volumes::{Connector, Volumes};
