//! The compute manager in a cloud of simulated services: its work through trouble and restarts, and its picture of the machines.

#![allow(clippy::unwrap_used, clippy::option_option)] // a test may fail anywhere; an event has an end, which has a failure

mod claims;
mod endings;
mod hidden;
mod reporting;
mod restart;
mod trouble;
mod world;
