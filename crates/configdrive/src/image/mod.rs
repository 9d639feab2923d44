//! The disk image: an ISO 9660 or a vfat file system that is called `config-2`, and its text form for Ironic.

mod iso;
#[cfg(test)]
mod reader;
mod tree;
mod vfat;

use std::fmt;
use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use secrecy::SecretString;
use secrecy::zeroize::Zeroize;

use crate::{Error, File};
use tree::Tree;

/// The volume's name, by which the server finds its drive.
const LABEL: &str = "config-2";

/// `[DEFAULT] config_drive_format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// ISO 9660 with Rock Ridge and Joliet names, as large as it must be.
    #[default]
    Iso9660,
    /// FAT of 64 MiB.
    Vfat,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Iso9660 => "iso9660",
            Self::Vfat => "vfat",
        })
    }
}

/// Makes the disk image of these files. The publisher is noted in an ISO 9660 image, cut to 128 bytes.
///
/// Paths are relative, names at most 64 characters long (Joliet's limit) and directories at most 7 deep (ISO
/// 9660's).
pub fn build_image(files: &[File], format: Format, publisher: &str) -> Result<Vec<u8>, Error> {
    let tree = Tree::of(files)?;
    match format {
        Format::Iso9660 => iso::write(&tree, publisher),
        Format::Vfat => vfat::write(&tree),
    }
}

/// The text that Ironic takes as `configdrive`: the image, compressed with gzip, in base64 on one line.
pub fn encode(mut image: Vec<u8>) -> Result<SecretString, Error> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let compressed = encoder.write_all(&image).and_then(|()| encoder.finish());
    image.zeroize();
    let mut compressed = compressed.map_err(Error::Compress)?;
    let text = STANDARD.encode(&compressed);
    compressed.zeroize();
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn the_text_unpacks_to_the_image() {
        let image = b"an image".repeat(10_000);
        let text = encode(image.clone()).unwrap();
        assert!(
            text.expose_secret().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
        );
        let mut back = Vec::new();
        GzDecoder::new(&*STANDARD.decode(text.expose_secret()).unwrap()).read_to_end(&mut back).unwrap();
        assert_eq!(back, image);
    }
}
