//! FAT with long names, 64 MiB.

use std::io::{Cursor, Read, Seek, Write};

use hadris_fat::format::{FatFormatOptions, FatTypeSelection, FatVolumeFormatter};
use hadris_fat::sync::{FatDir, FatVolume};
use hadris_fat::write::FatVolumeWriteExt;

use super::tree::{Node, Tree};
use super::{Format, LABEL};
use crate::Error;

/// The size of the drive in bytes.
const SIZE: usize = 64 * 1024 * 1024;
/// Where the boot sector of FAT16 keeps the label, and how long it is.
const LABEL_AT: usize = 43;
const LABEL_LEN: usize = 11;

pub(super) fn write(tree: &Tree<'_>) -> Result<Vec<u8>, Error> {
    let mut image = vec![0; SIZE];
    fill(&mut image, tree).map_err(|error| match error {
        hadris_fat::Error::NoFreeSpace => Error::TooLarge { limit: SIZE },
        error => Error::Image { format: Format::Vfat, source: error.into() },
    })?;
    Ok(image)
}

fn fill(image: &mut [u8], tree: &Tree<'_>) -> Result<(), hadris_fat::Error> {
    // FAT16 is what mkfs.vfat chooses for this size.
    let options = FatFormatOptions::new(SIZE as u64).volume_label(LABEL).fat_type(FatTypeSelection::Fat16);
    let volume = FatVolumeFormatter::format(Cursor::new(&mut *image), options)?;
    directory(&volume, &volume.root_dir(), tree)?;
    volume.set_root_label(&label())?;
    volume.sync()?;
    drop(volume);
    image[LABEL_AT..LABEL_AT + LABEL_LEN].copy_from_slice(&label());
    Ok(())
}

/// The label in lower case, which readers look for and mkfs.vfat writes too, though FAT asks for upper case.
fn label() -> [u8; LABEL_LEN] {
    let mut label = [b' '; LABEL_LEN];
    label[..LABEL.len()].copy_from_slice(LABEL.as_bytes());
    label
}

fn directory<'v, D: Read + Write + Seek>(
    volume: &'v FatVolume<D>,
    parent: &FatDir<'v, D>,
    tree: &Tree<'_>,
) -> Result<(), hadris_fat::Error> {
    for (name, node) in &tree.0 {
        match node {
            Node::Directory(inner) => directory(volume, &volume.create_dir(parent, name)?, inner)?,
            Node::File(contents) => {
                let entry = volume.create_file(parent, name)?;
                let mut writer = volume.write_file(&entry)?;
                let mut rest = *contents;
                while !rest.is_empty() {
                    let written = writer.write(rest)?;
                    rest = &rest[written..];
                }
                writer.finish()?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use hadris_fat::sync::FatVolumeReadExt;

    use super::*;
    use crate::{File, build_image};

    #[test]
    fn every_file_comes_back_by_its_long_name() {
        let files = [
            File::new("openstack/latest/meta_data.json", "{}"),
            File::new("openstack/latest/user_data", vec![7; 500_000]),
            File::new("openstack/content/0000", ""),
            File::new("ec2/2009-04-04/meta-data.json", "{ }"),
        ];
        let image = build_image(&files, Format::Vfat, "").unwrap();
        assert_eq!(image.len(), SIZE);
        let volume = FatVolume::open(Cursor::new(image)).unwrap();
        for file in &files {
            let entry = volume.open_path(&file.path).unwrap();
            assert_eq!(entry.name(), file.path.rsplit('/').next().unwrap());
            assert_eq!(volume.read_file(&entry).unwrap().read_to_vec().unwrap(), file.contents);
        }
    }

    #[test]
    fn the_label_is_in_lower_case_in_both_places() {
        let image = build_image(&[File::new("a", "")], Format::Vfat, "").unwrap();
        assert_eq!(&image[LABEL_AT..LABEL_AT + LABEL_LEN], b"config-2   ");
        let volume = FatVolume::open(Cursor::new(image)).unwrap();
        assert_eq!(volume.read_root_label().unwrap(), Some(*b"config-2   "));
    }

    #[test]
    fn files_beyond_the_fixed_size_are_refused_with_the_remedy() {
        let error = build_image(&[File::new("a", vec![0; SIZE])], Format::Vfat, "").unwrap_err();
        assert!(error.to_string().contains("config_drive_format = iso9660"), "{error}");
    }
}
