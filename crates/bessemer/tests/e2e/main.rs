//! The program itself, end to end: `bessemer compute` as a process, between a real RabbitMQ and a small cloud in the test's process:
//! a conductor, Keystone, Placement, Neutron, Glance, and a simulated Ironic.

#![allow(clippy::unwrap_used)] // tests

mod canary;
mod cloud;
mod lifecycle;
mod malformed;
mod operations;
mod options;
mod process;
mod restart;
mod secrets;
mod systemd;
mod unsupported;
mod until;
