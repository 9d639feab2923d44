//! The requests that were taken and are not ended: what cannot be observed of them is kept in `state_path` until it is
//! not needed any more, so that a killed process loses none. The entries hold secrets (the admin password, injected
//! files, the user's token): only the owner may read them, and they are erased when the work ends.

use std::io;
use std::path::{Path, PathBuf};

use driver::{InstanceId, NodeId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::atomic_file;
use crate::request::Origin;

/// Which work an entry is about. A build is known by its node too: after a reschedule the same instance is built anew.
/// The request's id tells a second delete from the first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    Build { instance: InstanceId, node: NodeId, request: String },
    Delete { instance: InstanceId, request: String },
}

impl Work {
    pub fn instance(&self) -> InstanceId {
        match self {
            Self::Build { instance, .. } | Self::Delete { instance, .. } => *instance,
        }
    }

    /// The file's name. Request ids come from others: what has no place in a name is left out.
    fn file_name(&self) -> String {
        let safe = |id: &str| -> String {
            id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(64).collect()
        };
        match self {
            Self::Build { instance, node, request } => {
                format!("build-{instance}-{node}-{}.json", safe(request))
            }
            Self::Delete { instance, request } => format!("delete-{instance}-{}.json", safe(request)),
        }
    }
}

/// Why a build failed. It cannot be observed, and decides how the build ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub reason: String,
    /// Another node may do better: the request goes back to the control plane, if it may.
    pub reschedule: bool,
    /// It was no fault of the node's.
    pub by_policy: bool,
    #[serde(default)]
    pub stage: Stage,
}

/// How far the end of a failed build has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    #[default]
    Failed,
    /// It was counted, and those who listen to notifications know.
    Told,
    /// The request is about to go back, or has gone back; this was told before.
    HandingBack,
}

/// What listeners to notifications know of work already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Announced {
    #[default]
    Nothing,
    /// That it began.
    Start,
    /// That the machine of a delete is off.
    Shutdown,
}

/// The outcome of work that is over, as long as not all of it could be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// `None`: the work did not fail.
    pub failure: Option<Shown>,
    pub left: Left,
}

/// What users see of a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// One line.
    pub message: String,
    /// The longer story.
    pub details: String,
}

/// What of an ending is still to be written, with all that comes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Left {
    /// The fault, then the state.
    Fault { homeless: bool },
    /// The state, error, then the event; `homeless`: the server leaves its node.
    State { homeless: bool },
    /// The end of the event that users see.
    Event,
}

/// A request as it was taken, and what became of it that cannot be observed.
#[derive(Debug, Clone)]
pub struct Entry {
    pub work: Work,
    pub origin: Origin,
    /// Why a build failed.
    pub verdict: Option<Verdict>,
    /// What was said of it.
    pub announced: Announced,
    /// The outcome.
    pub ending: Option<Ending>,
}

impl Entry {
    /// A request of which nothing was done yet.
    pub fn new(work: Work, origin: Origin) -> Self {
        Self { work, origin, verdict: None, announced: Announced::Nothing, ending: None }
    }
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    work: Work,
    origin: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verdict: Option<Verdict>,
    #[serde(default)]
    announced: Announced,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ending: Option<Ending>,
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
        let path = self.folder.join(entry.work.file_name());
        blocking(move || {
            let Entry { work, origin, verdict, announced, ending } = entry;
            let document = Document { version: VERSION, work, origin: origin.0, verdict, announced, ending };
            atomic_file::write(&path, &serde_json::to_vec(&document)?)
        })
        .await
    }

    /// Writes an entry, unless there is one: that one may say how the work has gone since.
    pub async fn keep(&self, entry: Entry) -> io::Result<()> {
        let path = self.folder.join(entry.work.file_name());
        if blocking(move || path.try_exists()).await? { Ok(()) } else { self.write(entry).await }
    }

    /// Erases an entry; one that is not there is no error.
    pub async fn erase(&self, work: &Work) -> io::Result<()> {
        let path = self.folder.join(work.file_name());
        blocking(move || atomic_file::remove(&path)).await
    }

    /// Every entry, for a start. What a crash left half written is removed: its request was never acknowledged. An entry
    /// that cannot be read is set aside under another name, for the operator, and named in the log.
    pub fn entries(&self) -> io::Result<Vec<Entry>> {
        let files = match std::fs::read_dir(&self.folder) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut entries = Vec::new();
        for file in files {
            let path = file?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("json") => match read(&path) {
                    Ok(entry) => entries.push(entry),
                    Err(error) => self.rename(&path, &error),
                },
                Some(atomic_file::UNFINISHED) => atomic_file::remove(&path)?,
                _ => {}
            }
        }
        Ok(entries)
    }

    /// Sets an entry aside whose request cannot be read, for the operator, and names it in the log.
    pub fn set_aside(&self, work: &Work) {
        let error = io::Error::new(io::ErrorKind::InvalidData, "it holds no request of this control plane");
        self.rename(&self.folder.join(work.file_name()), &error);
    }

    fn rename(&self, path: &Path, error: &io::Error) {
        let aside = path.with_extension("unreadable");
        tracing::error!(path = %aside.display(), %error, "a journal entry cannot be read and is set aside; it may hold secrets: remove it when it has served");
        if let Err(error) = std::fs::rename(path, &aside) {
            tracing::error!(folder = %self.folder.display(), %error, "it could not be renamed");
        }
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
    let Document { work, origin, verdict, announced, ending, .. } = document;
    Ok(Entry { work, origin: Origin(origin), verdict, announced, ending })
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
        let (instance, node) = (InstanceId(Uuid::from_u128(1)), NodeId(Uuid::from_u128(2)));
        let work = Work::Build { instance, node, request: "req-../1".to_owned() };
        Entry::new(work, Origin(json!({"admin_password": "canary"})))
    }

    #[tokio::test]
    async fn a_request_that_was_taken_is_there_after_a_restart_and_gone_when_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::new(folder.path().join("journal"));
        assert!(journal.entries().unwrap().is_empty());
        journal.write(entry()).await.unwrap();
        let found = journal.entries().unwrap();
        assert_eq!((&found[0].work, &found[0].origin), (&entry().work, &entry().origin));
        journal.erase(&entry().work).await.unwrap();
        journal.erase(&entry().work).await.unwrap();
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
    async fn an_entry_that_is_there_is_kept_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::new(folder.path());
        let verdict =
            Verdict { reason: "broken".to_owned(), reschedule: true, by_policy: false, stage: Stage::Failed };
        journal.keep(Entry { verdict: Some(verdict.clone()), ..entry() }).await.unwrap();
        journal.keep(entry()).await.unwrap();
        assert_eq!(journal.entries().unwrap()[0].verdict, Some(verdict));
    }

    #[tokio::test]
    async fn an_entry_of_the_release_before_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let (instance, node) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let old = json!({
            "version": 1,
            "work": {"build": {"instance": instance, "node": node, "request": "req-1"}},
            "origin": {"admin_password": "canary"},
            "verdict": {"reason": "broken", "reschedule": true, "by_policy": false, "stage": "handing_back"},
        });
        std::fs::write(folder.path().join("build-old.json"), old.to_string()).unwrap();
        let found = Journal::new(folder.path()).entries().unwrap();
        assert_eq!(found[0].verdict.as_ref().unwrap().stage, Stage::HandingBack);
        assert_eq!((found[0].announced, &found[0].ending), (Announced::Nothing, &None));
    }

    #[tokio::test]
    async fn what_is_left_of_an_ending_survives() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::new(folder.path());
        let failure = Some(Shown { message: "m".to_owned(), details: "d".to_owned() });
        let ending = Some(Ending { failure, left: Left::State { homeless: true } });
        journal
            .write(Entry { ending: ending.clone(), announced: Announced::Start, ..entry() })
            .await
            .unwrap();
        let found = journal.entries().unwrap().remove(0);
        assert_eq!((found.ending, found.announced), (ending, Announced::Start));
    }

    #[tokio::test]
    async fn a_damaged_entry_does_not_stop_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::new(folder.path());
        journal.write(entry()).await.unwrap();
        std::fs::write(folder.path().join("build-x.json"), b"{").unwrap();
        std::fs::write(folder.path().join("build-y.new"), b"half").unwrap();
        assert_eq!(journal.entries().unwrap().len(), 1);
        assert!(folder.path().join("build-x.unreadable").exists());
        assert!(!folder.path().join("build-y.new").exists());
    }
}
