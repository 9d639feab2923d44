//! Keystone session and clients of Ironic, Placement, Neutron, Cinder and Glance.
//!
//! A [`Session`] knows who we are, an [`Adapter`] knows one service, and each service's `Client` knows its
//! calls. Building requests ([`Request`]) is apart from sending them. Every call takes a [`Caller`], has a
//! deadline, a retry rule and a request id, and fails with an [`Error`] that says what its caller can do.

#![deny(missing_docs)]

mod adapter;
mod body;
mod caller;
pub mod cinder;
mod discovery;
mod error;
pub mod external;
pub mod glance;
pub mod ironic;
pub mod neutron;
mod options;
pub mod placement;
mod request;
mod retry;
mod send;
mod service;
mod session;
mod shared;

pub use adapter::Adapter;
pub use caller::Caller;
pub use error::Error;
pub use options::AdapterOptions;
pub use request::{ApiVersion, Request, Version};
pub use retry::RetryOptions;
pub use service::Service;
pub use session::{
    AppCredential, Auth, CONNECT_TIMEOUT, Catalog, DEFAULT_TIMEOUT, Domain, Interface, Named, Scope, Session,
    SessionOptions,
};
