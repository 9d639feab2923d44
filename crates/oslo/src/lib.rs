//! What OpenStack services speak among themselves: configuration files, RPC over AMQP, request context,
//! versioned objects, log format.

#![deny(missing_docs)]

pub mod config;
pub mod context;
pub mod log;
pub mod notify;
pub mod object;
pub mod rpc;
