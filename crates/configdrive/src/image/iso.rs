//! ISO 9660 with Rock Ridge and Joliet names.

use std::io::Cursor;

use hadris_iso::joliet::JolietLevel;
use hadris_iso::read::PathSeparator;
use hadris_iso::rrip::RripOptions;
use hadris_iso::write::options::{BaseIsoLevel, CreationFeatures, IsoFormatOptions};
use hadris_iso::write::{InputEntry, InputMetadata, InputTree, IsoImageWriter};

use super::tree::{Node, Tree};
use super::{Format, LABEL};
use crate::Error;

/// The length of the publisher's field in bytes.
const PUBLISHER: usize = 128;
/// Everybody may read and nobody write, as with `genisoimage -r`.
const FILE_MODE: u32 = 0o444;
const DIRECTORY_MODE: u32 = 0o555;

pub(super) fn write(tree: &Tree<'_>, publisher: &str) -> Result<Vec<u8>, Error> {
    let options = IsoFormatOptions {
        volume_name: LABEL.to_owned(),
        system_id: Some("LINUX".to_owned()),
        volume_set_id: None,
        publisher_id: Some(publisher[..publisher.floor_char_boundary(PUBLISHER)].to_owned()),
        preparer_id: None,
        application_id: None,
        sector_size: 2048,
        features: CreationFeatures {
            filenames: BaseIsoLevel::Level2 { supports_lowercase: true, supports_rrip: true },
            long_filenames: false,
            joliet: Some(JolietLevel::Level3),
            rock_ridge: Some(RripOptions::default()),
            el_torito: None,
            hybrid_boot: None,
        },
        path_separator: PathSeparator::ForwardSlash,
        strict_charset: false,
    };
    let input = InputTree::new(PathSeparator::ForwardSlash, entries(tree));
    IsoImageWriter::create(Cursor::new(Vec::new()), input, options)
        .map(Cursor::into_inner)
        .map_err(|error| Error::Image { format: Format::Iso9660, source: error.into() })
}

fn entries(tree: &Tree<'_>) -> Vec<InputEntry> {
    let owned =
        |mode| InputMetadata { mode: Some(mode), uid: Some(0), gid: Some(0), ..InputMetadata::default() };
    tree.0
        .iter()
        .map(|(name, node)| match node {
            Node::File(contents) => InputEntry::file(*name, *contents).with_metadata(owned(FILE_MODE)),
            Node::Directory(inner) => {
                InputEntry::directory(*name, entries(inner)).with_metadata(owned(DIRECTORY_MODE))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::reader::{Names, read_iso};
    use crate::{File, Format, build_image};

    fn expected(files: &[File]) -> BTreeMap<String, Vec<u8>> {
        files.iter().map(|file| (file.path.clone(), file.contents.clone())).collect()
    }

    #[test]
    fn both_name_trees_hold_every_file() {
        let files = [
            File::new("openstack/latest/meta_data.json", "{}"),
            File::new("openstack/latest/user_data", vec![7; 5000]),
            File::new("openstack/content/0000", ""),
            File::new("ec2/2009-04-04/meta-data.json", "{ }"),
            File::new(format!("{}.Longest.Name", "n".repeat(51)), "long"),
        ];
        let image = build_image(&files, Format::Iso9660, "OpenStack Nova 34.0.0").unwrap();
        for names in [Names::RockRidge, Names::Joliet] {
            let volume = read_iso(&image, names);
            assert_eq!(volume.files, expected(&files));
            assert_eq!(
                (volume.label.as_str(), volume.publisher.as_str()),
                ("config-2", "OpenStack Nova 34.0.0")
            );
        }
    }

    #[test]
    fn a_long_publisher_is_cut() {
        let image = build_image(&[File::new("a", "")], Format::Iso9660, &"ä".repeat(100)).unwrap();
        assert_eq!(read_iso(&image, Names::RockRidge).publisher, "ä".repeat(64));
    }

    #[test]
    fn a_drive_without_files_is_a_volume_all_the_same() {
        let image = build_image(&[], Format::Iso9660, "").unwrap();
        assert!(read_iso(&image, Names::Joliet).files.is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn any_files_come_back(
            contents in proptest::collection::btree_map("[a-z]{1,3}/[a-zA-Z0-9_.-]{1,60}x", proptest::collection::vec(any::<u8>(), 0..4000), 0..60)
        ) {
            let files: Vec<_> = contents.iter().map(|(path, contents)| File::new(path.as_str(), contents.as_slice())).collect();
            let image = build_image(&files, Format::Iso9660, "p").unwrap();
            prop_assert_eq!(&read_iso(&image, Names::RockRidge).files, &contents);
            prop_assert_eq!(&read_iso(&image, Names::Joliet).files, &contents);
        }
    }
}
