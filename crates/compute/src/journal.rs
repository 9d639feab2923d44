//! The requests that were taken and are not ended: what cannot be observed of them is kept in `state_path` until it is
//! not needed any more, so that a killed process loses none. The entries hold secrets (the admin password, injected
//! files, the user's token): only the owner may read them, and they are erased when the work ends.

use std::io;
use std::path::{Path, PathBuf};

use driver::{InstanceId, NodeId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::durable;
use crate::request::Origin;

/// Which work an entry is about. A build is known by its node too: after a reschedule the same instance is built anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    Build { instance: InstanceId, node: NodeId },
    Delete { instance: InstanceId },
}

/// A request as it was taken, and how far it was when that cannot be observed.
#[derive(Debug, Clone)]
pub struct Entry {
    pub work: Work,
    pub origin: Origin,
    /// Why the build was given up; it is being handed back to the control plane.
    pub handing_back: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    work: Work,
    origin: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    handing_back: Option<String>,
}

/// The layout of an entry.
const VERSION: u32 = 1;

/// The journal; a cheap handle to its folder.
#[derive(Debug, Clone)]
pub struct Journal {
    folder: PathBuf,
}

impl Journal {
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Writes an entry; when this returns, a crash cannot lose it.
    pub async fn write(&self, entry: Entry) -> io::Result<()> {
        let path = self.path(entry.work);
        blocking(move || {
            let Entry { work, origin, handing_back } = entry;
            let document = Document { version: VERSION, work, origin: origin.0, handing_back };
            durable::write(&path, &serde_json::to_vec(&document)?)
        })
        .await
    }

    /// Erases an entry; one that is not there is no error.
    pub async fn erase(&self, work: Work) -> io::Result<()> {
        let path = self.path(work);
        blocking(move || durable::remove(&path)).await
    }

    /// Every entry, for a start. One that cannot be read is left where it is and named in the log.
    pub fn entries(&self) -> io::Result<Vec<Entry>> {
        let files = match std::fs::read_dir(&self.folder) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut entries = Vec::new();
        for file in files {
            let path = file?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                match read(&path) {
                    Ok(entry) => entries.push(entry),
                    Err(error) => {
                        tracing::error!(path = %path.display(), %error, "a journal entry cannot be read and is left where it is");
                    }
                }
            }
        }
        Ok(entries)
    }

    fn path(&self, work: Work) -> PathBuf {
        self.folder.join(match work {
            Work::Build { instance, node } => format!("build-{instance}-{node}.json"),
            Work::Delete { instance } => format!("delete-{instance}.json"),
        })
    }
}

fn read(path: &Path) -> io::Result<Entry> {
    let document: Document = serde_json::from_slice(&std::fs::read(path)?).map_err(|error| {
        // Where, not what: the text of a JSON error may quote the contents.
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("malformed at line {} column {}", error.line(), error.column()),
        )
    })?;
    if document.version != VERSION {
        let text = format!("version {} is not {VERSION}", document.version);
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let Document { work, origin, handing_back, .. } = document;
    Ok(Entry { work, origin: Origin(origin), handing_back })
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn entry() -> Entry {
        let work = Work::Build { instance: InstanceId(Uuid::from_u128(1)), node: NodeId(Uuid::from_u128(2)) };
        Entry { work, origin: Origin(json!({"admin_password": "canary"})), handing_back: None }
    }

    #[tokio::test]
    async fn a_request_that_was_taken_is_there_after_a_restart_and_gone_when_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::new(folder.path().join("journal"));
        assert!(journal.entries().unwrap().is_empty());
        journal.write(entry()).await.unwrap();
        let found = journal.entries().unwrap();
        assert_eq!((found[0].work, &found[0].origin), (entry().work, &entry().origin));
        journal.erase(entry().work).await.unwrap();
        journal.erase(entry().work).await.unwrap();
        assert!(journal.entries().unwrap().is_empty());
        assert_eq!(std::fs::read_dir(folder.path().join("journal")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn only_the_owner_may_read_an_entry_and_none_is_printed() {
        let folder = tempfile::tempdir().unwrap();
        Journal::new(folder.path()).write(entry()).await.unwrap();
        let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!format!("{:?}", entry()).contains("canary"));
    }

    #[tokio::test]
    async fn a_damaged_entry_does_not_stop_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::new(folder.path());
        journal.write(entry()).await.unwrap();
        std::fs::write(folder.path().join("build-x.json"), b"{").unwrap();
        assert_eq!(journal.entries().unwrap().len(), 1);
    }
}
