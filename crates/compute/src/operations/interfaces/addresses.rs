//! A server's port gets one more address of its network, or loses one.

use serde::{Deserialize, Serialize};

use super::super::existing::Existing;
use super::super::{Operation, Retry, Try, network};
use super::{Failure, ended, remember, remembered};
use crate::ending::Ending;
use crate::instance::Instance;
use crate::ports::{Addresses, Refusal};
use crate::request::{AddressChange, AddressRequest};

/// One change of addresses. Users see no event of it.
pub(crate) struct ChangeAddresses {
    server: Existing,
    change: AddressChange,
}

/// What tells a change that was made from one that was not.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Memory {
    /// The addresses on the network before one was added.
    had: Option<Addresses>,
}

impl Operation for ChangeAddresses {
    async fn work(&mut self) -> Result<Ending, Retry> {
        let outcome = self.change().await;
        ended(&self.server, outcome).await
    }

    fn instance(&mut self) -> &mut Instance {
        &mut self.server.instance
    }

    fn has_event(&self) -> bool {
        false
    }
}

impl ChangeAddresses {
    pub(crate) fn new(this: Try, request: AddressRequest) -> Self {
        Self { server: Existing::new(this, request.instance), change: request.change }
    }

    async fn change(&mut self) -> Result<(), Failure> {
        self.server.read_again(|_| true).await?;
        let (this, instance) = (&self.server.this, &self.server.instance);
        let (networks, context) = (&this.shared.ports.networks, &this.context);
        match &self.change {
            AddressChange::Add { network } => {
                let mut memory: Memory = remembered(this).await;
                if memory.had.is_none() {
                    memory.had = Some(networks.addresses(context, instance, *network).await?);
                    remember(this, &memory).await?;
                }
                let had = memory.had.unwrap_or_default();
                networks.add_address(context, instance, *network, &had).await?;
            }
            AddressChange::Remove { address } => {
                // Before a restart it may have been removed.
                if !networks.remove_address(context, instance, address).await? && !this.is_resumed() {
                    let message = format!("Instance {} does not have fixed IP '{address}'.", instance.id);
                    return Err(Failure::Refused { why: Refusal::AddressNotFound, message, story: None });
                }
            }
        }
        network::refresh(&this.shared, context, instance.id, None).await?;
        Ok(())
    }
}
