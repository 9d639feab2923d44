//! What Placement was last seen to have, kept in `state_path` so that a restart need not look at every provider again: a
//! provider whose generation is the one recorded has not changed since.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use driver::NodeId;
use serde::{Deserialize, Serialize};

use crate::inventory::books::KnownProvider;
use compute::atomic_file;

/// The file of known providers.
#[derive(Debug, Clone)]
pub struct KnownFile {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Document<T> {
    version: u32,
    providers: T,
}

/// The layout of the file. A file of another version is ignored: it only saves time.
const VERSION: u32 = 1;

impl KnownFile {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// What was recorded; empty when there is no file or it cannot be understood.
    pub fn load(&self) -> HashMap<NodeId, KnownProvider> {
        let document = match std::fs::read(&self.path) {
            Ok(bytes) => serde_json::from_slice::<Document<_>>(&bytes).ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return HashMap::new(),
            Err(_) => None,
        };
        if let Some(Document { version: VERSION, providers }) = document {
            return providers;
        }
        tracing::warn!(path = %self.path.display(), "the record of known providers cannot be read; every provider will be looked at");
        HashMap::new()
    }

    /// Records what is known, whole or not at all.
    pub fn save(&self, providers: &HashMap<NodeId, KnownProvider>) -> io::Result<()> {
        let document = Document { version: VERSION, providers };
        atomic_file::write(&self.path, &serde_json::to_vec(&document)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::Inventory;
    use crate::inventory::testing::node;

    #[test]
    fn what_was_recorded_is_known_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let file = KnownFile::new(folder.path().join("inventory.json"));
        assert!(file.load().is_empty());
        let known = KnownProvider {
            generation: 3,
            inventory: [("CUSTOM_A".to_owned(), Inventory::machine(true))].into(),
            traits: ["CUSTOM_T".to_owned()].into(),
        };
        let providers = HashMap::from([(node().uuid, known)]);
        file.save(&providers).unwrap();
        assert_eq!(file.load(), providers);
    }

    #[test]
    fn a_damaged_record_only_costs_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("inventory.json");
        std::fs::write(&path, b"{\"version\": 1, \"prov").unwrap();
        assert!(KnownFile::new(path).load().is_empty());
    }
}
