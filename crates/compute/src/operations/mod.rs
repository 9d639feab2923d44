//! What the compute manager does to an instance: one file or folder for each operation.

pub mod create;
pub(crate) mod delete;
