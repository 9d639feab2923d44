//! RPC over RabbitMQ as oslo.messaging speaks it, so that a stock Nova does not notice the difference.
//!
//! * [`Transport`] keeps two connections up, one to publish and one to consume. [`Client`] calls and casts;
//!   [`Server`] hands requests to an [`Endpoint`].
//! * A broker that restarts, or is away for minutes, costs nothing that was promised: a call that the broker
//!   has not confirmed is published again, a cast too; replies wait for the broker; a request is acknowledged
//!   only after the endpoint made it durable ([`Endpoint::admit`]), and a second copy of it is dropped.
//! * What a message holds reaches no log: methods, ids and sizes do.

mod client;
mod connect;
mod consume;
mod endpoint;
mod envelope;
mod error;
mod failure;
mod link;
mod options;
mod publish;
mod publishers;
mod reply;
mod request;
mod seen;
mod server;
mod tls;
mod topology;
mod transport;
mod url;
mod work;

pub use client::{CallError, Client, Target};
pub use endpoint::{Endpoint, ServerOptions};
pub use error::Error;
pub use failure::{Failure, Parts};
pub use options::{Failover, Login, RabbitOptions, TlsVersion};
pub use request::{Malformed, ReplyTo, Request, can_serve};
pub use server::Server;
pub use transport::Transport;
pub use url::{Host, TransportUrl};

pub(crate) use envelope::{bare, wrap};
pub(crate) use publish::Unconfirmed;
