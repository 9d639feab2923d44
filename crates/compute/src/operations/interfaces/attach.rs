//! A port becomes an interface of a server's machine.
//!
//! The user's request waits for the answer, in the API and for the time that the API has. So an attachment that nobody waits for
//! any more is taken back: who was told that it failed must not find the interface there a moment later, or twice after asking
//! again. That is so when the caller's time is over, and always after a restart, since no answer of ours reaches a caller of the
//! process before. The journal has what taking back needs: the ports that the server had before, and the port that was made for it,
//! written before anything is done with it. Once all is done the outcome is in the journal before the caller reads it; from then on
//! the interface stays.
//!
//! A failure is taken back in the same way. As long as a service is away that is needed for it, the entry stays and it is tried
//! again; the caller has the answer meanwhile.

use std::collections::BTreeSet;

use configdrive::network::Vif;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::existing::Existing;
use super::super::{Operation, Retry, Start, Try, caller, network};
use super::{Failure, fault, remember, remembered};
use crate::answer::Answer;
use crate::ending::Ending;
use crate::instance::Instance;
use crate::ports::{self, Event, Fault, Phase, Refusal};
use crate::request::{AttachRequest, Attached, NetworkRequest};
use crate::user_message;

/// One attachment.
pub(crate) struct Attach {
    server: Existing,
    wanted: NetworkRequest,
    answer: Option<Answer<Attached>>,
    /// For the caller, once it is written.
    outcome: Option<Attached>,
}

/// What taking back needs and cannot observe.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Memory {
    /// The ports that the server had before; `None`: nothing was begun.
    had: Option<BTreeSet<Uuid>>,
    /// The port that becomes the interface.
    port: Option<Uuid>,
    /// The attachment failed with this, and is being taken back.
    failed: Option<Fault>,
}

impl Operation for Attach {
    async fn work(&mut self) -> Result<Ending, Retry> {
        let mut memory: Memory = remembered(&self.server.this).await;
        if memory.failed.is_none() {
            let failure = match self.attach(&mut memory).await {
                Ok(vif) => return Ok(self.attached(vif).await),
                Err(Failure::Away(why)) if self.is_awaited() => {
                    return Err(Retry { start: self.server.resumed(), why });
                }
                Err(failure) => failure,
            };
            memory.failed = Some(self.failed(failure).await);
            if remember(&self.server.this, &memory).await.is_err() {
                tracing::error!("the journal cannot be written; the attachment is taken back all the same");
            }
        }
        match self.take_back(&memory).await {
            Ok(()) | Err(Failure::Superseded(_)) => {}
            Err(Failure::Away(why)) => {
                self.written();
                return Err(Retry { start: self.server.resumed(), why });
            }
            Err(Failure::Refused { message, .. }) => {
                tracing::error!(reason = %message, port = ?memory.port, "the port of a failed attachment is left behind");
            }
        }
        let kind = self.server.this.key.kind;
        let fault = memory.failed.unwrap_or_else(|| given_up(self.server.instance.id));
        let ending = if self.server.this.cancel.is_cancelled() {
            Ending::superseded(kind, fault.message)
        } else {
            Ending::refusal(kind, fault)
        };
        self.server.this.note(&Start::Ending(ending.clone())).await;
        Ok(ending)
    }

    fn instance(&mut self) -> &mut Instance {
        &mut self.server.instance
    }

    fn written(&mut self) {
        if let (Some(answer), Some(outcome)) = (&self.answer, self.outcome.take()) {
            answer.give(outcome);
        }
    }
}

impl Attach {
    pub(crate) fn new(this: Try, request: AttachRequest) -> Self {
        let AttachRequest { instance, wanted, answer, .. } = request;
        Self { server: Existing::new(this, instance), wanted, answer, outcome: None }
    }

    fn is_awaited(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| !answer.given_up().is_cancelled())
    }

    async fn attach(&mut self, memory: &mut Memory) -> Result<Vif, Failure> {
        let nobody = || Failure::Away("the caller waits no longer".to_owned());
        let given_up = self.answer.as_ref().map(|answer| answer.given_up().clone()).ok_or_else(nobody)?;
        if given_up.is_cancelled() {
            return Err(nobody());
        }
        if self.wanted.tag.is_some() {
            let message = user_message::TAGGED_INTERFACE.to_owned();
            return Err(Failure::Refused { why: Refusal::TaggedInterface, message, story: None });
        }
        self.server.read_again(|_| true).await?;
        let node = self.server.node()?;
        self.server.announce_start(Event::InterfaceAttach).await;
        let (this, instance) = (&self.server.this, &self.server.instance);
        let (networks, context) = (&this.shared.ports.networks, &this.context);
        this.tracker.phase("making the port");
        if memory.had.is_none() {
            memory.had = Some(networks.ports_of(context, instance).await?);
            remember(this, memory).await?;
        }
        let port = if let Some(port) = memory.port {
            port
        } else {
            let had = memory.had.get_or_insert_default();
            let port = networks.new_port(context, instance, &self.wanted, had).await?;
            memory.port = Some(port);
            remember(this, memory).await?;
            port
        };
        let vif = networks.bind_port(context, instance, port, self.is_brought()).await?;
        network::change(&this.shared, context, instance.id, |network| put(network, vif.clone())).await?;
        this.tracker.phase("attaching the port");
        let (driver, caller, ports) = (&this.shared.ports.driver, caller(context), [port]);
        let attached = driver.attach_vifs(this.run(&caller), node, &ports);
        // Only Ironic is waited for; a request to Neutron ends by itself, and must be seen to end.
        let attached = given_up.run_until_cancelled(attached).await.ok_or_else(nobody)?;
        attached.map_err(|error| {
            Failure::of_driver(error, Refusal::NotAttached, user_message::not_attached(instance.id))
        })?;
        Ok(vif)
    }

    /// The user made the port.
    fn is_brought(&self) -> bool {
        self.wanted.port_id.is_some()
    }

    async fn attached(&mut self, vif: Vif) -> Ending {
        let seconds = self.server.this.tracker.running().as_secs_f64();
        tracing::info!(port = vif.id, seconds, "interface attached");
        let ending = Ending::success(self.server.this.key.kind);
        // From here on it stays, whatever becomes of the answer.
        self.server.this.note(&Start::Ending(ending.clone())).await;
        self.server.notify(Event::InterfaceAttach, Phase::End).await;
        self.outcome = Some(Ok(vif));
        ending
    }

    /// What the user reads of a failure.
    async fn failed(&mut self, failure: Failure) -> Fault {
        let id = self.server.instance.id;
        let (fault, error) = match failure {
            Failure::Superseded(why) => {
                let fault = Fault { code: 500, message: why.clone(), details: why.clone() };
                (fault, ports::Error::Deleting(why))
            }
            Failure::Away(why) => {
                tracing::warn!(%why, "the attachment is taken back: its caller does not wait any more");
                return given_up(id);
            }
            Failure::Refused { why, message, story } => {
                if why == Refusal::NotAttached {
                    self.server.notify(Event::InterfaceAttach, Phase::Error(&message)).await;
                }
                (fault(why, &message, story.as_deref()), ports::Error::Refused { why, message })
            }
        };
        tracing::warn!(
            reason = fault.details,
            "the interface cannot be attached; what was done for it is taken back"
        );
        self.outcome = Some(Err(error));
        fault
    }

    /// Takes back whatever an attachment that was cut off anywhere may have left. The machine first: a port that is deleted
    /// under a VIF leaves the network card taken.
    async fn take_back(&self, memory: &Memory) -> Result<(), Failure> {
        let Some(had) = &memory.had else { return Ok(()) };
        let (this, instance) = (&self.server.this, &self.server.instance);
        let (networks, context) = (&this.shared.ports.networks, &this.context);
        this.tracker.phase("taking the port back");
        let living = network::living(&this.shared, context, instance.id).await?;
        let Some(port) = memory.port else {
            return Ok(networks.release_new_ports(context, instance, had).await?);
        };
        // A delete takes everything off the machine by itself.
        if let Some(node) = living.and_then(|living| living.node)
            && !this.cancel.is_cancelled()
        {
            let (driver, caller) = (&this.shared.ports.driver, caller(context));
            match driver.detach_vifs(this.run(&caller), node, &[port]).await {
                Ok(()) | Err(driver::Error::Cancelled | driver::Error::Gone(_)) => {}
                Err(error) => return Err(Failure::Away(error.to_string())),
            }
        }
        networks.release_port(context, instance, port, self.is_brought()).await?;
        network::forget(&this.shared, context, instance.id, &port.to_string()).await?;
        Ok(())
    }
}

/// What is recorded of an attachment whose caller heard nothing of it.
fn given_up(id: driver::InstanceId) -> Fault {
    let message = user_message::not_attached(id);
    let details = format!(
        "{message}: the time of the request was over, or the service was restarted; it was taken back"
    );
    Fault { code: 500, message, details }
}

/// Puts a VIF in its place, or last.
fn put(network: &mut configdrive::network::NetworkInfo, vif: Vif) {
    match network.0.iter_mut().find(|known| known.id == vif.id) {
        Some(known) => *known = vif,
        None => network.0.push(vif),
    }
}
