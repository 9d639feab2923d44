//! A build's slot of `max_concurrent_builds`: it bounds the work of this service, and is free while a build waits for others.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use driver::{Progress, Run};
use openstack::Caller;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::operations::Try;

/// A slot, held or not.
pub(super) struct Slot {
    slots: Arc<Semaphore>,
    held: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Slot {
    /// A slot of these, not held yet.
    pub fn new(slots: Arc<Semaphore>) -> Self {
        Self { slots, held: Mutex::default() }
    }

    /// Waits until it is held. A build that is cancelled goes on without, to its end.
    pub async fn take(&self, cancel: &CancellationToken) {
        if self.held.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            return;
        }
        let slot = cancel.run_until_cancelled(self.slots.clone().acquire_owned()).await;
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = slot.and_then(Result::ok);
    }

    /// Leaves it to another build.
    pub fn leave(&self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// What the driver's part of a build runs within: the slot is left as soon as the driver waits.
pub(super) struct Leaving<'a> {
    pub this: &'a Try,
    pub slot: &'a Slot,
}

impl Leaving<'_> {
    pub fn run<'a>(&'a self, caller: &'a Caller) -> Run<'a> {
        Run { progress: self, ..self.this.run(caller) }
    }
}

#[async_trait]
impl Progress for Leaving<'_> {
    fn waits(&self, because: Option<&str>) {
        if because.is_some() {
            self.slot.leave();
        }
        self.this.waits(because);
    }

    async fn saved(&self, plan: &str) -> Option<Value> {
        self.this.saved(plan).await
    }

    async fn save(&self, plan: &str, memory: Value) -> io::Result<()> {
        self.this.save(plan, memory).await
    }
}
