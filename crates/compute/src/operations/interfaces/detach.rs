//! An interface of a server's machine goes: off the machine, and its port back to its user or away.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::existing::Existing;
use super::super::{Operation, Retry, Try, caller, network};
use super::{Failure, ended, remember, remembered};
use crate::ending::Ending;
use crate::instance::Instance;
use crate::ports::{Event, Phase, Refusal};
use crate::request::DetachRequest;
use crate::user_message;

/// One detachment.
pub(crate) struct Detach {
    server: Existing,
    port: String,
}

/// What a restart cannot find any more once the interface has left the network information.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Memory {
    /// It was an interface of the server; the port is the user's, or not.
    brought: Option<bool>,
}

impl Operation for Detach {
    async fn work(&mut self) -> Result<Ending, Retry> {
        let outcome = self.detach().await;
        ended(&self.server, outcome).await
    }

    fn instance(&mut self) -> &mut Instance {
        &mut self.server.instance
    }
}

impl Detach {
    pub(crate) fn new(this: Try, request: DetachRequest) -> Self {
        Self { server: Existing::new(this, request.instance), port: request.port }
    }

    async fn detach(&mut self) -> Result<(), Failure> {
        self.server.read_again(|_| true).await?;
        let (port, brought) = self.interface().await?;
        self.server.announce_start(Event::InterfaceDetach).await;
        let (this, instance) = (&self.server.this, &self.server.instance);
        let (ports, context) = (&this.shared.ports, &this.context);
        if let Some(node) = instance.node {
            this.tracker.phase("detaching the port");
            let detached = ports.driver.detach_vifs(this.run(&caller(context)), node, &[port]).await;
            detached.map_err(|error| {
                Failure::of_driver(error, Refusal::NotDetached, user_message::not_detached(instance.id))
            })?;
        }
        this.tracker.phase("giving the port back");
        ports.networks.release_port(context, instance, port, brought).await?;
        network::forget(&this.shared, context, instance.id, &self.port).await?;
        self.server.notify(Event::InterfaceDetach, Phase::End).await;
        Ok(())
    }

    /// The port, and whether the user made it.
    async fn interface(&self) -> Result<(Uuid, bool), Failure> {
        let this = &self.server.this;
        let mut memory: Memory = remembered(this).await;
        let brought = if let Some(brought) = memory.brought {
            brought
        } else {
            let known = self.server.instance.network.0.iter().find(|vif| vif.id == self.port);
            let brought = known.ok_or_else(|| self.not_an_interface())?.preserve_on_delete;
            memory.brought = Some(brought);
            remember(this, &memory).await?;
            brought
        };
        Ok((self.port.parse().map_err(|_| self.not_an_interface())?, brought))
    }

    fn not_an_interface(&self) -> Failure {
        let message = format!("Port {} is not attached", self.port);
        Failure::Refused { why: Refusal::PortNotFound, message, story: None }
    }
}
