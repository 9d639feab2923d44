//! Consoles: switched on, reset, and found.

use std::time::Duration;

use openstack::ironic::Node;
use tracing::warn;

use super::Driver;
use crate::{
    Error, NodeId, Run,
    operations::console::{self, Console, ConsoleAddress, ConsoleKind},
};

impl Driver {
    /// Where the console of the run's instance's node is, switched on for it. Ironic may take so long to switch it on; `None` as long
    /// as it takes. A serial console that is on is reset, which ends the session that is open; one that is off stays off.
    ///
    /// # Errors
    ///
    /// [`Error::Retry`] where the node has no such console, or its operator keeps it off, or Ironic failed to switch it on.
    pub async fn console(
        &self,
        run: Run<'_>,
        node: NodeId,
        kind: ConsoleKind,
        limit: Option<Duration>,
    ) -> Result<ConsoleAddress, Error> {
        if kind == ConsoleKind::Serial {
            // A session on another kind of console is not ended for nothing.
            self.check_kind(run, node, kind).await?;
        }
        let wanted = console::Wanted { node, instance: run.instance, kind, limit };
        let mut operation = Console { ironic: self.ironic(run.caller), wanted, asked: None };
        let seen = match self.runner(run).run(&mut operation).await {
            Ok(seen) => seen.node,
            // What Ironic failed to switch off is of use all the same.
            Err(Error::Retry(_)) if operation.asked == Some(console::Step::Off) => None,
            Err(error) => return Err(error),
        };
        let found = self.address_of(run, node, kind, seen.as_ref()).await;
        if matches!(found, Err(Error::Retry(_)))
            && kind == ConsoleKind::Graphical
            && operation.asked.is_some()
        {
            // Another kind of console than was asked for is left as it was found.
            let client = &self.shared.client;
            if let Err(error) = client.set_console(&run.caller.as_own(), node, false).await {
                warn!(%node, %error, "the console stays switched on; its operator had switched it off");
            }
        }
        found
    }

    /// Where a console is that is on. Changes nothing.
    ///
    /// # Errors
    ///
    /// As [`Driver::console`].
    pub async fn console_of(
        &self,
        run: Run<'_>,
        node: NodeId,
        kind: ConsoleKind,
    ) -> Result<ConsoleAddress, Error> {
        let seen = self.read(run, node, || self.node(run.caller, node)).await?;
        if seen.instance_uuid != Some(run.instance.0) {
            return Err(Error::Gone(format!("Node {node} does not carry instance {}", run.instance)));
        }
        self.address_of(run, node, kind, Some(&seen)).await
    }

    /// Fails if the console is on and of another kind.
    async fn check_kind(&self, run: Run<'_>, node: NodeId, kind: ConsoleKind) -> Result<(), Error> {
        let (client, caller) = (&self.shared.client, run.caller.as_own());
        let found = self.read(run, node, || client.console(&caller, node)).await?;
        if !found.console_enabled {
            return Ok(());
        }
        console::address(kind, &found, None).map(drop).map_err(|why| unusable(node, &why))
    }

    async fn address_of(
        &self,
        run: Run<'_>,
        node: NodeId,
        kind: ConsoleKind,
        seen: Option<&Node>,
    ) -> Result<ConsoleAddress, Error> {
        let (client, caller) = (&self.shared.client, run.caller.as_own());
        let found = self.read(run, node, || client.console(&caller, node)).await?;
        console::address(kind, &found, seen).map_err(|why| unusable(node, &why))
    }
}

fn unusable(node: NodeId, why: &str) -> Error {
    Error::Retry(format!("The console of node {node} cannot be used: {why}"))
}
