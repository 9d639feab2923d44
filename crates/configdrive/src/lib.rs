//! Instance metadata and the config drive image.

mod cidr;
pub mod network;

pub use network::{FixedIp, Ip, Network, NetworkInfo, Route, Subnet, Vif};
