//! Nova's objects, read into what the manager works with.

pub mod parse;
pub mod system_metadata;
