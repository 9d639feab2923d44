//! The driver against a simulated Ironic.

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod consoles;
mod deploying;
mod full;
mod hidden;
mod killed;
mod power;
mod properties;
mod support;
mod tearing_down;
mod watching;
