//! A crash dump (in stock: `trigger_crash_dump` of `nova/compute/manager.py` and of its Ironic driver).
//!
//! It has no task, and changes nothing of the server: what the machine does then is its operating system's affair. The driver
//! remembers that the interrupt was sent.

use super::existing::{Existing, Failure};
use super::{Operation, Retry, Rules, Try, caller};
use crate::ending::Ending;
use crate::instance::{Expect, Instance};
use crate::ports::{Event, Phase};
use crate::request::CrashDumpRequest;

/// Nothing of the server is in the hands of a crash dump.
pub(super) const RULES: Rules = Rules {
    stops_others: false,
    outlives_instance: false,
    has: |_, _, _| false,
    expect: |_| Expect::Anything,
};

/// One crash dump.
pub(crate) struct CrashDump {
    server: Existing,
}

impl Operation for CrashDump {
    async fn work(&mut self) -> Result<Ending, Retry> {
        let outcome = self.interrupt().await;
        let ending = self.server.ended(outcome)?;
        // The task that the server may have is another request's.
        Ok(Ending { change: None, ..ending })
    }

    fn instance(&mut self) -> &mut Instance {
        &mut self.server.instance
    }
}

impl CrashDump {
    pub(crate) fn new(this: Try, request: CrashDumpRequest) -> Self {
        Self { server: Existing::new(this, request.instance) }
    }

    async fn interrupt(&mut self) -> Result<(), Failure> {
        self.server.read_again(|_| true).await?;
        let node = self.server.node()?;
        self.server.announce_start(Event::TriggerCrashDump).await;
        let this = &self.server.this;
        this.tracker.phase("sending the machine an interrupt");
        let (caller, driver) = (caller(&this.context), this.shared.ports.driver.clone());
        driver.crash_dump(this.run(&caller), node).await?;
        self.server.notify(Event::TriggerCrashDump, Phase::End).await;
        Ok(())
    }
}
