//! The requests that were taken and are not ended: what cannot be observed of them is kept in `state_path` until it is
//! not needed any more, so that a killed process loses none. The entries hold secrets (the admin password, injected
//! files, the user's token): only the owner may read them, and they are erased when the work ends.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use driver::{InstanceId, NodeId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Mutex;

use crate::atomic_file;
use crate::ending::Ending;
use crate::origin::Origin;
use crate::request::{Kind, OperationKey};

/// The name of an operation's file. Request ids come from others: what has no place in a name is left out. A create's is the
/// one that the release before gave it.
fn file_name(key: &OperationKey) -> String {
    let safe: String =
        key.request.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(64).collect();
    let kind = match key.kind {
        Kind::Create => "build",
        other => other.name(),
    };
    let node = key.node.map(|node| format!("-{node}")).unwrap_or_default();
    format!("{kind}-{}{node}-{safe}.json", key.instance)
}

/// Why an operation failed that has something to undo. It cannot be observed, and decides how the operation ends.
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

/// A request as it was taken, and what became of it that cannot be observed.
#[derive(Debug, Clone)]
pub struct Entry {
    pub key: OperationKey,
    pub origin: Origin,
    /// Why it failed, where something is to be undone.
    pub verdict: Option<Verdict>,
    /// What was said of it.
    pub announced: Announced,
    /// The outcome.
    pub ending: Option<Ending>,
    /// What plans of the driver's must know of what they did and cannot observe, by their names and in their own form.
    pub progress: BTreeMap<String, Value>,
}

impl Entry {
    /// A request of which nothing was done yet.
    pub fn new(key: OperationKey, origin: Origin) -> Self {
        Self {
            key,
            origin,
            verdict: None,
            announced: Announced::Nothing,
            ending: None,
            progress: BTreeMap::new(),
        }
    }
}

/// The layout of an entry.
const VERSION: u32 = 2;

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    operation: OperationKey,
    origin: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verdict: Option<Verdict>,
    #[serde(default)]
    announced: Announced,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ending: Option<Ending>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    progress: BTreeMap<String, Value>,
}

/// Only the version of an entry.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// An entry of the release before.
#[derive(Deserialize)]
struct FirstDocument {
    work: FirstWork,
    origin: Value,
    #[serde(default)]
    verdict: Option<Verdict>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum FirstWork {
    Build { instance: InstanceId, node: NodeId, request: String },
    Delete { instance: InstanceId, request: String },
}

impl From<FirstDocument> for Entry {
    fn from(document: FirstDocument) -> Self {
        let key = match document.work {
            FirstWork::Build { instance, node, request } => {
                OperationKey { kind: Kind::Create, instance, node: Some(node), request }
            }
            FirstWork::Delete { instance, request } => {
                OperationKey { kind: Kind::Delete, instance, node: None, request }
            }
        };
        Self { verdict: document.verdict, ..Self::new(key, Origin(document.origin)) }
    }
}

impl From<Document> for Entry {
    fn from(document: Document) -> Self {
        let Document { operation, origin, verdict, announced, ending, progress, .. } = document;
        Self { key: operation, origin: Origin(origin), verdict, announced, ending, progress }
    }
}

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
        let path = self.folder.join(file_name(&entry.key));
        blocking(move || {
            let Entry { key, origin, verdict, announced, ending, progress } = entry;
            let (version, operation, origin) = (VERSION, key, origin.0);
            let document = Document { version, operation, origin, verdict, announced, ending, progress };
            atomic_file::write(&path, &serde_json::to_vec(&document)?)
        })
        .await
    }

    /// Writes an entry, unless there is one: that one may say how the work has gone since.
    pub async fn keep(&self, entry: Entry) -> io::Result<()> {
        let path = self.folder.join(file_name(&entry.key));
        if blocking(move || path.try_exists()).await? { Ok(()) } else { self.write(entry).await }
    }

    /// Erases an entry; one that is not there is no error.
    pub async fn erase(&self, key: &OperationKey) -> io::Result<()> {
        let path = self.folder.join(file_name(key));
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
    pub fn set_aside(&self, key: &OperationKey) {
        let error = io::Error::new(io::ErrorKind::InvalidData, "it holds no request of this control plane");
        self.rename(&self.folder.join(file_name(key)), &error);
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
    let bytes = std::fs::read(path)?;
    match parse::<Version>(&bytes)?.version {
        VERSION => Ok(parse::<Document>(&bytes)?.into()),
        1 => Ok(parse::<FirstDocument>(&bytes)?.into()),
        other => {
            let text = format!("version {other} is none of 1 to {VERSION}");
            Err(io::Error::new(io::ErrorKind::InvalidData, text))
        }
    }
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> io::Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        // Where, not what: the text of a JSON error may quote the contents.
        let text = format!("malformed at line {} column {}", error.line(), error.column());
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
}

/// The entry of an operation that runs: what is written of it keeps what was written before. A cheap handle.
#[derive(Clone)]
pub struct Record {
    journal: Journal,
    entry: Arc<Mutex<Entry>>,
}

impl Record {
    pub fn new(journal: Journal, entry: Entry) -> Self {
        Self { journal, entry: Arc::new(Mutex::new(entry)) }
    }

    /// Changes the entry. An operation that did not come through the journal (its trace is the instance's task) is found
    /// again without: nothing is written of it.
    pub async fn write(&self, change: impl FnOnce(&mut Entry) + Send) -> io::Result<()> {
        let mut entry = self.entry.lock().await;
        change(&mut entry);
        if entry.origin.0.is_null() { Ok(()) } else { self.journal.write(entry.clone()).await }
    }

    /// What a plan of the driver's saved last, perhaps before a restart.
    pub async fn progress(&self, plan: &str) -> Option<Value> {
        self.entry.lock().await.progress.get(plan).cloned()
    }

    /// Erases the entry.
    pub async fn erase(&self) -> io::Result<()> {
        let entry = self.entry.lock().await;
        self.journal.erase(&entry.key).await
    }
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
        let (instance, node) = (InstanceId(Uuid::from_u128(1)), Some(NodeId(Uuid::from_u128(2))));
        let key = OperationKey { kind: Kind::Create, instance, node, request: "req-../1".to_owned() };
        Entry::new(key, Origin(json!({"admin_password": "canary"})))
    }

    #[tokio::test]
    async fn a_request_that_was_taken_is_there_after_a_restart_and_gone_when_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::new(folder.path().join("journal"));
        assert!(journal.entries().unwrap().is_empty());
        journal.write(entry()).await.unwrap();
        let found = journal.entries().unwrap();
        assert_eq!((&found[0].key, &found[0].origin), (&entry().key, &entry().origin));
        journal.erase(&entry().key).await.unwrap();
        journal.erase(&entry().key).await.unwrap();
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
    async fn entries_of_the_release_before_are_read_and_erased() {
        let folder = tempfile::tempdir().unwrap();
        let (instance, node) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let verdict =
            json!({"reason": "broken", "reschedule": true, "by_policy": false, "stage": "handing_back"});
        let build = json!({
            "version": 1, "work": {"build": {"instance": instance, "node": node, "request": "req-1"}},
            "origin": {"admin_password": "canary"}, "verdict": verdict,
        });
        let delete = json!({
            "version": 1, "work": {"delete": {"instance": instance, "request": "req-2"}}, "origin": "asked",
        });
        std::fs::write(folder.path().join(format!("build-{instance}-{node}-req-1.json")), build.to_string())
            .unwrap();
        std::fs::write(folder.path().join(format!("delete-{instance}-req-2.json")), delete.to_string())
            .unwrap();
        let journal = Journal::new(folder.path());
        let mut found = journal.entries().unwrap();
        found.sort_by_key(|entry| entry.key.kind);
        let [build, delete] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((build.key.kind, build.key.node), (Kind::Create, Some(NodeId(node))));
        assert_eq!(build.verdict.as_ref().unwrap().stage, Stage::HandingBack);
        assert_eq!((delete.key.kind, &delete.origin), (Kind::Delete, &Origin(json!("asked"))));
        for entry in &found {
            journal.write(entry.clone()).await.unwrap();
            journal.erase(&entry.key).await.unwrap();
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn what_is_written_of_an_operation_keeps_what_was_written_before() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::new(folder.path());
        let record = Record::new(journal.clone(), entry());
        assert_eq!(record.progress("power").await, None);
        record
            .write(|entry| {
                entry.progress.insert("power".to_owned(), json!({"rebooted": true}));
            })
            .await
            .unwrap();
        let ending = Ending::success(Kind::Delete);
        record.write(|entry| entry.announced = Announced::Start).await.unwrap();
        record.write(|entry| entry.ending = Some(ending.clone())).await.unwrap();
        let found = journal.entries().unwrap().remove(0);
        assert_eq!((found.ending.as_ref(), found.announced), (Some(&ending), Announced::Start));
        assert_eq!(Record::new(journal, found).progress("power").await, Some(json!({"rebooted": true})));
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
