//! The files of an image as a tree of directories, checked for what every format can hold.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::{Error, File};

/// Joliet's limit, in UTF-16 units.
const LONGEST_NAME: usize = 64;
/// ISO 9660's limit, the root included.
const DEEPEST: usize = 8;

/// A directory: its entries by name.
#[derive(Debug, Default)]
pub(super) struct Tree<'a>(pub(super) BTreeMap<&'a str, Node<'a>>);

#[derive(Debug)]
pub(super) enum Node<'a> {
    File(&'a [u8]),
    Directory(Tree<'a>),
}

impl<'a> Tree<'a> {
    pub(super) fn of(files: &'a [File]) -> Result<Self, Error> {
        let mut tree = Self::default();
        for file in files {
            tree.insert(file).map_err(|reason| Error::Path { path: file.path.clone(), reason })?;
        }
        Ok(tree)
    }

    fn insert(&mut self, file: &'a File) -> Result<(), &'static str> {
        let names: Vec<_> = file.path.split('/').collect();
        if names.len() > DEEPEST {
            return Err("too many directories; at most 7");
        }
        let Some((name, directories)) = names.split_last() else { return Err("empty") };
        let mut at = self;
        for directory in directories {
            check(directory)?;
            match at.0.entry(directory).or_insert_with(|| Node::Directory(Tree::default())) {
                Node::Directory(inner) => at = inner,
                Node::File(_) => return Err("a file is used as a directory"),
            }
        }
        check(name)?;
        match at.0.entry(name) {
            Entry::Vacant(place) => {
                place.insert(Node::File(&file.contents));
                Ok(())
            }
            Entry::Occupied(_) => Err("given twice"),
        }
    }
}

fn check(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("a name is empty; paths are relative to the drive, such as `openstack/latest/user_data`"),
        "." | ".." => Err("`.` and `..` are not names"),
        _ if name.encode_utf16().count() > LONGEST_NAME => Err("a name is longer than 64 characters"),
        _ if name.chars().any(|c| c.is_control() || "*/:;?\\\"<>|".contains(c)) => {
            Err("a name has a character that the drive's file systems cannot hold")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(paths: &[&str]) -> String {
        let files: Vec<_> = paths.iter().map(|path| File::new(*path, "secret")).collect();
        Tree::of(&files).unwrap_err().to_string()
    }

    #[test]
    fn paths_that_no_drive_can_hold_are_refused() {
        assert!(reason(&["/abs"]).contains("empty"));
        assert!(reason(&["a/../b"]).contains("not names"));
        assert!(reason(&["a", "a/b"]).contains("used as a directory"));
        assert!(reason(&["a/b", "a"]).contains("twice"));
        assert!(reason(&[&"x".repeat(65)]).contains("64"));
        assert!(reason(&["1/2/3/4/5/6/7/8/9"]).contains("directories"));
        assert!(!reason(&["a:b"]).contains("secret"));
    }
}
