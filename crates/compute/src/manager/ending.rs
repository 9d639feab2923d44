//! What is written when work is over: the fault, the state, the end of the event, in this order: when the state changes
//! the user may look, and then all must be there.
//!
//! The control plane may be away at each of them. Then the outcome stands, what is left of it goes into the journal, and
//! the work is tried again from there: nothing of it is done, counted or announced twice.

use oslo::context::RequestContext;

use super::{Inner, Start};
use crate::instance::{Expect, Instance, InstanceUpdate, VmState};
use crate::journal::{Ending, Left, Work};
use crate::ports::{Action, Error, Fault};
use crate::request::Origin;

impl Inner {
    /// Writes down how a work goes on. Work that did not come through the journal (its trace is the instance's task) is
    /// found again without.
    pub(crate) async fn write_down(&self, work: &Work, origin: &Origin, start: &Start) {
        if origin.0.is_null() {
            return;
        }
        if let Err(error) = self.journal.write(start.entry(work.clone(), origin.clone())).await {
            tracing::warn!(?work, %error, "the journal could not be written; a restart would begin with what it has");
        }
    }

    /// Writes what is left of an ending. `Err`: the control plane is away, and this is left.
    pub(crate) async fn write_ending(
        &self,
        context: &RequestContext,
        instance: &mut Instance,
        action: Action,
        expect: Expect,
        ending: Ending,
    ) -> Result<(), Ending> {
        let (instances, id) = (&self.ports.instances, instance.id);
        let Ending { failure, mut left } = ending;
        if let (Left::Fault { homeless }, Some(shown)) = (left, &failure) {
            let fault = Fault { code: 500, message: shown.message.clone(), details: shown.details.clone() };
            match instances.record_fault(context, id, &fault).await {
                Err(Error::Unavailable(why)) => return Err(unwritten("fault", &why, failure, left)),
                Err(error) => tracing::warn!(%error, "the fault could not be recorded"),
                Ok(()) => {}
            }
            left = Left::State { homeless };
        }
        if let Left::State { homeless } = left {
            let update = InstanceUpdate {
                vm_state: Some(VmState::Error),
                task_state: Some(None),
                home: homeless.then_some(None),
                availability_zone: homeless.then_some(None),
                ..InstanceUpdate::default()
            };
            match instances.update(context, instance, update, expect).await {
                Err(Error::Unavailable(why)) => return Err(unwritten("state", &why, failure, left)),
                Err(error @ (Error::InstanceGone(_) | Error::Deleting(_) | Error::UnexpectedTask(_))) => {
                    tracing::info!(%error, "the instance is not set to error: another request changed it meanwhile");
                }
                Err(error) => tracing::error!(%error, "the instance could not be set to error"),
                Ok(()) => {}
            }
            left = Left::Event;
        }
        let shown = failure.as_ref().map(|shown| (shown.message.as_str(), shown.details.as_str()));
        match instances.finish_event(context, id, action, shown).await {
            Err(Error::Unavailable(why)) => Err(unwritten("event", &why, failure, left)),
            Err(error) => {
                tracing::warn!(%error, ?action, "the end of the event could not be recorded");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

fn unwritten(what: &str, why: &str, failure: Option<crate::journal::Shown>, left: Left) -> Ending {
    tracing::warn!(what, why, "the control plane is away; the outcome is written when it is back");
    Ending { failure, left }
}
