//! What can go wrong while a config drive is made. No message carries contents: they hold passwords.

use crate::Format;

/// Why there is no config drive. None of these passes by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A subnet or a route in the network info has an address block that is none.
    #[error(
        "network info: `cidr` is {cidr:?}, not an address block; refresh the instance's network info cache"
    )]
    Cidr {
        /// What stands there.
        cidr: String,
    },

    /// The operator's static vendor data cannot be used.
    #[error("[api] vendordata_jsonfile_path: {reason}; put one JSON document into the file")]
    StaticVendorData {
        /// What is wrong, with line and column.
        reason: String,
    },

    /// An entry of the list of dynamic vendor data services cannot be used.
    #[error("[api] vendordata_dynamic_targets: {target:?} is not `name@url`")]
    Target {
        /// The entry as configured.
        target: String,
    },

    /// A path cannot be put on a drive.
    #[error("config drive path {path:?}: {reason}")]
    Path {
        /// The path asked for.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// The drive has a fixed size and the files exceed it.
    #[error(
        "the files take more than the {limit} bytes of a vfat config drive; set [DEFAULT] \
         config_drive_format = iso9660"
    )]
    TooLarge {
        /// Bytes that the drive holds.
        limit: usize,
    },

    /// The image could not be written: a defect here, not in the input.
    #[error("cannot write a {format} image")]
    Image {
        /// The image's format.
        format: Format,
        /// What the writer of the format says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// The image could not be compressed.
    #[error("cannot compress the config drive")]
    Compress(#[source] std::io::Error),

    /// A document could not be written as JSON: a defect here, not in the input.
    #[error("cannot write JSON")]
    Json(#[from] serde_json::Error),
}
