//! Where lines go: a file, standard error, or, without either, standard output, as oslo.log does.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Error, Options};

/// How often we look whether the file was moved away (logrotate without a signal; Python's
/// `WatchedFileHandler` looks at every line).
const LOOK: Duration = Duration::from_secs(1);

pub(super) struct Output {
    file: Option<Mutex<LogFile>>,
    stderr: bool,
}

struct LogFile {
    path: PathBuf,
    file: File,
    looked: Instant,
}

impl Output {
    pub fn open(options: &Options) -> Result<Self, Error> {
        let file = options.file.as_ref().map(|path| {
            let file =
                open(path).map_err(|error| Error::Open { path: path.clone(), reason: error.to_string() })?;
            Ok(Mutex::new(LogFile { path: path.clone(), file, looked: Instant::now() }))
        });
        Ok(Self { file: file.transpose()?, stderr: options.stderr })
    }

    /// A line that cannot be written is lost: there is no better place to say so.
    pub fn write(&self, line: &str) {
        if let Some(file) = &self.file {
            file.lock().unwrap_or_else(PoisonError::into_inner).write(line);
        }
        if self.stderr {
            let _ = io::stderr().lock().write_all(line.as_bytes());
        } else if self.file.is_none() {
            let _ = io::stdout().lock().write_all(line.as_bytes());
        }
    }
}

impl LogFile {
    fn write(&mut self, line: &str) {
        if self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            self.follow();
        }
        let _ = self.file.write_all(line.as_bytes());
    }

    /// Opens the path anew when it is not this file any more. What cannot be opened leaves the old file in
    /// use.
    fn follow(&mut self) {
        let same = |ours: &std::fs::Metadata, now: &std::fs::Metadata| {
            (ours.dev(), ours.ino()) == (now.dev(), now.ino())
        };
        let moved = match (self.file.metadata(), std::fs::metadata(&self.path)) {
            (Ok(ours), Ok(now)) => !same(&ours, &now),
            _ => true,
        };
        if moved && let Ok(file) = open(&self.path) {
            self.file = file;
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_moved_away_is_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.log");
        let mut log = LogFile { path: path.clone(), file: open(&path).unwrap(), looked: Instant::now() };
        log.write("one\n");
        std::fs::rename(&path, directory.path().join("x.log.1")).unwrap();
        log.follow();
        log.write("two\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
        assert_eq!(std::fs::read_to_string(directory.path().join("x.log.1")).unwrap(), "one\n");
    }
}
