//! Consoles that are being switched off and on again: what is known of each is kept in `state_path` from before it is switched off
//! until it is on again, so that a process that is killed in between leaves no console off. There are no secrets in it.

use std::io;
use std::path::{Path, PathBuf};

use driver::{InstanceId, NodeId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::atomic_file;

/// A reset that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    pub instance: InstanceId,
    pub node: NodeId,
    /// What the driver's plan must know and cannot observe, in its own form.
    pub memory: Value,
}

/// The resets that have begun; a handle to their folder.
#[derive(Debug, Clone)]
pub struct Resets {
    folder: PathBuf,
}

impl Resets {
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Keeps what is known of a reset; when this returns, a crash cannot lose it.
    pub async fn keep(&self, reset: Reset) -> io::Result<()> {
        let path = self.path(reset.instance);
        blocking(move || atomic_file::write(&path, &serde_json::to_vec(&reset)?)).await
    }

    /// Forgets a reset that has ended; one that is not there is no error.
    pub async fn forget(&self, instance: InstanceId) -> io::Result<()> {
        let path = self.path(instance);
        blocking(move || atomic_file::remove(&path)).await
    }

    /// What is known of an instance's reset, if one has begun.
    pub async fn of(&self, instance: InstanceId) -> Option<Reset> {
        let path = self.path(instance);
        blocking(move || Ok(read(&path))).await.ok().flatten()
    }

    /// Every reset, for a start. What cannot be read is removed and named in the log.
    pub fn all(&self) -> io::Result<Vec<Reset>> {
        let files = match std::fs::read_dir(&self.folder) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut resets = Vec::new();
        for file in files {
            let path = file?.path();
            match read(&path) {
                Some(reset) => resets.push(reset),
                None => atomic_file::remove(&path)?,
            }
        }
        Ok(resets)
    }

    fn path(&self, instance: InstanceId) -> PathBuf {
        self.folder.join(format!("{instance}.json"))
    }
}

fn read(path: &Path) -> Option<Reset> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "what is known of a console's reset cannot be read; the console may stay switched off");
            return None;
        }
    };
    serde_json::from_slice(&bytes)
        .inspect_err(|error| {
            tracing::warn!(path = %path.display(), %error, "what is known of a console's reset cannot be read; the console may stay switched off");
        })
        .ok()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn a_reset_is_kept_until_it_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let resets = Resets::new(folder.path().join("consoles"));
        let (instance, node) = (InstanceId(Uuid::from_u128(1)), NodeId(Uuid::from_u128(2)));
        assert_eq!(resets.all().unwrap(), []);
        assert_eq!(resets.of(instance).await, None);
        let reset = Reset { instance, node, memory: json!({"asked": "Off"}) };
        resets.keep(reset.clone()).await.unwrap();
        assert_eq!(resets.of(instance).await, Some(reset.clone()));
        std::fs::write(folder.path().join("consoles").join("torn.new"), "{").unwrap();
        assert_eq!(resets.all().unwrap(), [reset]);
        resets.forget(instance).await.unwrap();
        resets.forget(instance).await.unwrap();
        assert_eq!(resets.all().unwrap(), []);
        assert_eq!(std::fs::read_dir(folder.path().join("consoles")).unwrap().count(), 0);
    }
}
