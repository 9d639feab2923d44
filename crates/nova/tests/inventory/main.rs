//! The control plane's picture of the machines, against a simulated Ironic and the books of a stock Nova as plain tables.

#![allow(clippy::unwrap_used)] // a test may fail anywhere

mod claims;
mod conformance;
mod hidden;
mod reporting;
mod world;
