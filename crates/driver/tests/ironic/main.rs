//! The driver against a simulated Ironic.

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod consoles;
mod crash_dump;
mod deploying;
mod full;
mod hidden;
mod killed;
mod power;
mod properties;
mod rebuilding;
mod rescue;
mod support;
mod tearing_down;
mod watching;
