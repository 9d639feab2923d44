//! The compute manager in a cloud of simulated services: its work through trouble and restarts.

#![allow(clippy::unwrap_used, clippy::option_option)] // a test may fail anywhere; an event has an end, which has a failure

mod conformance;
mod consoles;
mod crash_dump;
mod endings;
mod hidden;
mod interfaces;
mod operations;
mod power;
mod power_sync;
mod reaping;
mod rebuild;
mod rescue;
mod restart;
mod soft_delete;
mod trouble;
mod world;
