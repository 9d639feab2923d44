//! The table of crates in ARCHITECTURE.md is what their manifests say: which of our crates may use which.

#![allow(clippy::unwrap_used)] // tests

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

type Names = BTreeSet<String>;

/// What a crate uses of ours.
#[derive(Debug, Default, PartialEq, Eq)]
struct Uses {
    /// In the service.
    ships: Names,
    /// In its tests alone.
    tests: Names,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The crates by the names of their folders, by which they use each other.
fn manifests() -> BTreeMap<String, Uses> {
    let folders = std::fs::read_dir(root().join("crates")).unwrap();
    let manifests = folders.map(|folder| folder.unwrap()).map(|folder| {
        let text = std::fs::read_to_string(folder.path().join("Cargo.toml")).unwrap();
        (folder.file_name().into_string().unwrap(), text)
    });
    let manifests: BTreeMap<_, _> = manifests.collect();
    let ours: Names = manifests.keys().cloned().collect();
    manifests
        .into_iter()
        .map(|(name, text)| {
            let mut uses = uses(&text, &ours);
            // Tests may want more of what the crate uses anyway, or of itself: that is no other arrow.
            uses.tests.retain(|other| *other != name && !uses.ships.contains(other));
            (name, uses)
        })
        .collect()
}

/// Reads the sections of dependencies, also those of a target and those that name one dependency (`[dependencies.x]`).
fn uses(manifest: &str, ours: &Names) -> Uses {
    let mut uses = Uses::default();
    let mut section = "";
    for line in manifest.lines() {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']');
        }
        let Some((kind, one)) = section.split_once("dependencies") else { continue };
        let name = match one.strip_prefix('.') {
            Some(name) => name,
            None => line.split(['.', ' ', '=']).next().unwrap_or_default(),
        };
        if ours.contains(name) {
            let list = if kind.ends_with("dev-") { &mut uses.tests } else { &mut uses.ships };
            list.insert(name.to_owned());
        }
    }
    uses
}

/// The rows of the table: a crate, what is in it, what it uses, what its tests use beside that.
fn table() -> BTreeMap<String, Uses> {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, house) = text.split_once("| crate |").unwrap();
    let rows = house.lines().skip(2).take_while(|line| line.starts_with('|'));
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Names>();
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split('|').collect();
        let [name, _, ships, tests] = cells.as_slice() else { panic!("a row of other columns: {row}") };
        let name = names(name).pop_first().unwrap();
        (name, Uses { ships: names(ships), tests: names(tests) })
    })
    .collect()
}

#[test]
fn our_crates_use_each_other_as_the_table_says() {
    let (manifests, table) = (manifests(), table());
    for (name, uses) in &manifests {
        assert_eq!(
            Some(uses),
            table.get(name),
            "left: crates/{name}/Cargo.toml, right: its row in ARCHITECTURE.md"
        );
    }
    assert_eq!(manifests.len(), table.len(), "a row of a crate that is not there");
}

#[test]
fn every_way_to_write_a_dependency_is_read() {
    let ours = ["a", "b", "c", "d", "e"].map(str::to_owned).into();
    let manifest = "[package]\nname = \"a\"\n[dependencies]\nb.workspace = true\nserde = \"1\"\n[dependencies.c]\npath = \"../c\"\n\
                    [target.'cfg(unix)'.dependencies]\nd = { workspace = true }\n[dev-dependencies]\ne.workspace = true\n";
    let named = |names: &[&str]| names.iter().copied().map(str::to_owned).collect();
    assert_eq!(uses(manifest, &ours), Uses { ships: named(&["b", "c", "d"]), tests: named(&["e"]) });
}
