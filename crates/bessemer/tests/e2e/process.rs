//! `bessemer` as a process.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::until::LONG;

/// The program with these arguments and nothing of our environment that it reads.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bessemer"));
    command.args(arguments).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// A running service. It is killed when it is dropped.
pub struct Process {
    child: Child,
    folder: PathBuf,
}

impl Process {
    /// Starts `bessemer compute`; what it prints is added to `stdout` and `stderr` in the folder.
    pub fn start(configuration: &Path, folder: &Path) -> Self {
        Self::start_with(configuration, folder, &[])
    }

    /// The same, with these variables in its environment.
    pub fn start_with(configuration: &Path, folder: &Path, variables: &[(&str, &Path)]) -> Self {
        let open = |name: &str| File::options().create(true).append(true).open(folder.join(name)).unwrap();
        let child = command(&["compute", "--config-file", configuration.to_str().unwrap()])
            .envs(variables.iter().copied())
            .stdout(open("stdout"))
            .stderr(open("stderr"))
            .spawn()
            .unwrap();
        Self { child, folder: folder.to_owned() }
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// `kill -9`.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// SIGHUP: read the configuration again.
    pub async fn reload(&self) {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().await.unwrap().success());
    }

    /// SIGTERM, and how it ended.
    pub async fn terminate(mut self, patience: Duration) -> ExitStatus {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
        tokio::time::timeout(patience, self.child.wait()).await.expect("SIGTERM ends the process").unwrap()
    }

    /// SIGTERM to a service that has nothing to do.
    pub async fn stop(self) {
        assert!(self.terminate(LONG).await.success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for name in ["stderr", "log/nova-compute.log"] {
                let text = std::fs::read_to_string(self.folder.join(name)).unwrap_or_default();
                let lines: Vec<&str> = text.lines().filter(|line| !line.contains(" TRACE ")).collect();
                eprintln!("== the end of {name}\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
            }
        }
    }
}
