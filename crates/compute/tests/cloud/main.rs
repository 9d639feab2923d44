//! The compute manager in a cloud of simulated services: its work through trouble and restarts.

#![allow(clippy::unwrap_used, clippy::option_option)] // a test may fail anywhere; an event has an end, which has a failure

mod conformance;
mod consoles;
mod endings;
mod hidden;
mod operations;
mod power;
mod restart;
mod trouble;
mod world;
