//! Instance metadata and the config drive image: structs in, bytes out.
//!
//! [`files`] lays out what a server is told about itself ([`Metadata`]) as the files of a config drive, for
//! every version of the EC2 and the OpenStack layout that Nova 34.0.0 writes. [`build_image`] makes a disk
//! image of them and [`encode`] the text that Ironic takes as `configdrive`. Nothing here does I/O; random
//! seeds and the times in an image come from the operating system. Making and compressing an image is work
//! for a blocking thread, above all the 64 MiB of vfat.
//!
//! ```
//! # fn main() -> Result<(), configdrive::Error> {
//! let metadata = configdrive::Metadata::new(uuid::Uuid::nil(), "web-1");
//! let files = configdrive::files(&metadata)?;
//! let image = configdrive::build_image(&files, configdrive::Format::Iso9660, "OpenStack Nova")?;
//! let text = configdrive::encode(image)?;
//! # let _ = text;
//! # Ok(())
//! # }
//! ```

#![deny(missing_docs)]

mod base64;
mod cidr;
mod ec2;
mod error;
mod image;
mod interfaces;
mod metadata;
pub mod network;
mod network_data;
mod openstack;
mod spaced;
pub mod vendordata;

pub use base64::{NotBase64, decode_base64};
pub use error::Error;
pub use image::{Format, build_image, encode};
pub use metadata::{BlockDevice, Ec2Ids, File, KeyPair, Metadata, NodePort, NodePortGroup, vif_port_id};
pub use network::{FixedIp, Ip, Network, NetworkInfo, Route, Subnet, Vif};
pub use network_data::{Link, NetworkData, network_data};

/// The files of the config drive, paths relative to its root: `ec2/…`, `openstack/…`.
pub fn files(metadata: &Metadata) -> Result<Vec<File>, Error> {
    let mut files = ec2::files(metadata)?;
    files.extend(openstack::files(metadata)?);
    Ok(files)
}
