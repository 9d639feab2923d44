//! Consoles: where a server's one is, for the control plane that connects its user to it.
//!
//! These are calls that somebody waits for, and no operations: the server stays as it is, a console that is on is one already, and who
//! gets no answer asks again. So a request is not journalled. What is, is the one thing that a killed process would leave undone: a
//! serial console that was switched off to be switched on again ([`Resets`](crate::resets::Resets)).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use driver::{ConsoleAddress, ConsoleKind, InstanceId, NodeId, Progress, Run};
use oslo::context::RequestContext;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::Manager;
use crate::operations::{Shared, caller, unfollowed};
use crate::resets::{Reset, Resets};

/// Why there is no console.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The server is on no node.
    #[error("the server is on no node")]
    NowhereYet,
    /// The node has none of this kind, its operator keeps it off, or it did not come in time.
    #[error("{0}")]
    Unavailable(String),
}

impl From<driver::Error> for Error {
    fn from(error: driver::Error) -> Self {
        match error {
            driver::Error::Gone(_) => Self::NowhereYet,
            driver::Error::Cancelled => Self::Unavailable("the console did not come in time".to_owned()),
            other => Self::Unavailable(other.user_message()),
        }
    }
}

impl Manager {
    /// Where the console of a server is, switched on for it.
    pub async fn console(
        &self,
        context: &RequestContext,
        instance: InstanceId,
        node: Option<NodeId>,
        kind: ConsoleKind,
    ) -> Result<ConsoleAddress, Error> {
        let node = node.ok_or(Error::NowhereYet)?;
        let asked =
            Asked { shared: self.0.shared.clone(), instance, node, has_begun: AtomicBool::new(false) };
        let (asked, cancel) = (Arc::new(asked), CancellationToken::new());
        let mut finding = self.find(context.clone(), asked.clone(), kind, cancel.clone());
        let Ok(found) = tokio::time::timeout(self.shared().options.consoles.answer, &mut finding).await
        else {
            // A console that is off by now is switched on again first, for whoever asks next.
            if !asked.has_begun.load(Ordering::SeqCst) {
                cancel.cancel();
            }
            return Err(driver::Error::Cancelled.into());
        };
        found.unwrap_or(Err(driver::Error::Cancelled)).map_err(Error::from)
    }

    /// Whether the console of a server is still at this port. A serial one stays as it is: a proxy that asks is about to open a
    /// session on it.
    pub async fn is_console_at(
        &self,
        context: &RequestContext,
        instance: InstanceId,
        node: Option<NodeId>,
        kind: ConsoleKind,
        port: u16,
    ) -> Result<bool, Error> {
        let found = match kind {
            ConsoleKind::Graphical => self.console(context, instance, node, kind).await?,
            ConsoleKind::Serial => {
                let node = node.ok_or(Error::NowhereYet)?;
                let (caller, cancel) = (caller(context), CancellationToken::new());
                let driver = &self.shared().ports.driver;
                let looking = driver.console_of(unfollowed(&caller, instance, &cancel), node, kind);
                let found = tokio::time::timeout(self.shared().options.consoles.answer, looking).await;
                found.unwrap_or(Err(driver::Error::Cancelled))?
            }
        };
        Ok(found.port == port)
    }

    /// Switches the consoles on that the process before this one had switched off.
    pub(super) fn resume_consoles(&self) -> io::Result<()> {
        for Reset { instance, node, .. } in self.shared().resets.all()? {
            tracing::info!(%instance, %node, "the reset of a console that was cut off is resumed");
            let shared = self.0.shared.clone();
            let asked = Arc::new(Asked { shared, instance, node, has_begun: AtomicBool::new(true) });
            self.find(RequestContext::admin(), asked, ConsoleKind::Serial, CancellationToken::new());
        }
        Ok(())
    }

    /// Begins to look for a console, one request for a server at a time. It goes on when nobody waits for it any more.
    fn find(
        &self,
        context: RequestContext,
        asked: Arc<Asked>,
        kind: ConsoleKind,
        cancel: CancellationToken,
    ) -> tokio::task::JoinHandle<Result<ConsoleAddress, driver::Error>> {
        let (shared, shutdown) = (self.0.shared.clone(), self.0.shutdown.clone());
        let work = async move {
            let lock = shared.console_locks.lock(asked.instance);
            let _alone = cancel.run_until_cancelled(lock).await.ok_or(driver::Error::Cancelled)?;
            let caller = caller(&context);
            let run = Run { caller: &caller, instance: asked.instance, cancel: &cancel, progress: &*asked };
            let limits = &shared.options.consoles;
            let limit = match kind {
                ConsoleKind::Serial => limits.serial,
                ConsoleKind::Graphical => limits.graphical,
            };
            let found = Box::pin(shared.ports.driver.console(run, asked.node, kind, limit)).await;
            if asked.has_begun.load(Ordering::SeqCst)
                && let Err(error) = shared.resets.forget(asked.instance).await
            {
                tracing::warn!(instance = %asked.instance, %error, "the note of a console's reset could not be removed; the next start looks at the console again");
            }
            found
        };
        let stopped = async move { shutdown.run_until_cancelled(work).await };
        let work = async move { stopped.await.unwrap_or(Err(driver::Error::Cancelled)) };
        self.shared().tasks.spawn(work.in_current_span())
    }
}

/// A console that was asked for.
struct Asked {
    shared: Arc<Shared>,
    instance: InstanceId,
    node: NodeId,
    /// It is being switched off, to be switched on again.
    has_begun: AtomicBool,
}

impl Asked {
    fn resets(&self) -> &Resets {
        &self.shared.resets
    }
}

#[async_trait]
impl Progress for Asked {
    fn waits(&self, _because: Option<&str>) {}

    async fn saved(&self, _plan: &str) -> Option<Value> {
        let reset = self.resets().of(self.instance).await.filter(|reset| reset.node == self.node)?;
        self.has_begun.store(true, Ordering::SeqCst);
        Some(reset.memory)
    }

    async fn save(&self, _plan: &str, memory: Value) -> io::Result<()> {
        self.resets().keep(Reset { instance: self.instance, node: self.node, memory }).await?;
        self.has_begun.store(true, Ordering::SeqCst);
        Ok(())
    }
}
