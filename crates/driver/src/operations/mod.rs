//! The operations on a node: what each wants, how it decides, and its calls.

pub(crate) mod console;
pub(crate) mod crash_dump;
pub(crate) mod deploy;
pub(crate) mod deploy_request;
pub(crate) mod lock;
pub(crate) mod power;
pub(crate) mod rebuild;
pub(crate) mod rescue;
pub(crate) mod reserve;
pub(crate) mod tear_down;
pub(crate) mod vifs;
