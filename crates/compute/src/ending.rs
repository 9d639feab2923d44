//! How an operation ends, for those who look at it from outside: the fault, the end of the event, the state, in this order
//! (the decorators of `nova/compute/manager.py`). The order matters: when the task is over the user may look, and then all
//! must be there.
//!
//! The control plane may be away at each of them. Then the outcome stands, and what is left of it is tried again: nothing
//! of it is written twice.

use oslo::context::RequestContext;
use serde::{Deserialize, Serialize};

use crate::instance::{Expect, Instance, InstanceUpdate, VmState};
use crate::ports::{Action, Error, Fault, Instances};

/// What is still to be written of an outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// What users read of the failure; `None`: there was none.
    pub failure: Option<Fault>,
    /// The failure is to be stored as the server's fault.
    pub fault: bool,
    /// This event is to be ended.
    pub event: Option<Event>,
    /// The instance is to be changed.
    pub change: Option<Change>,
}

/// An event that is to be ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What it is of.
    pub action: Action,
    /// The failure shows in it; else it shows success.
    pub shows_failure: bool,
}

/// What becomes of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Its task is over.
    TaskEnds,
    /// It is in error.
    Error,
    /// It is in error and has no node any more.
    ErrorWithoutNode,
}

impl Ending {
    /// The operation is over, and nothing failed.
    pub fn success(action: impl Into<Action>) -> Self {
        Self { event: Some(Event { action: action.into(), shows_failure: false }), ..Self::default() }
    }

    /// The operation failed: the user reads `message`, an administrator `details` as well.
    pub fn failure(
        action: impl Into<Action>,
        message: String,
        details: String,
        change: impl Into<Option<Change>>,
    ) -> Self {
        Self {
            failure: Some(Fault { code: 500, message, details }),
            fault: true,
            event: Some(Event { action: action.into(), shows_failure: true }),
            change: change.into(),
        }
    }

    /// The operation is over, and did not do what was asked: nothing changes at the instance.
    pub fn refusal(action: impl Into<Action>, fault: Fault) -> Self {
        let event = Some(Event { action: action.into(), shows_failure: true });
        Self { failure: Some(fault), fault: true, event, change: None }
    }

    /// The operation is over because another request has the instance: only its event shows that.
    pub fn superseded(action: impl Into<Action>, why: String) -> Self {
        let event = Some(Event { action: action.into(), shows_failure: true });
        Self {
            failure: Some(Fault { code: 500, details: why.clone(), message: why }),
            event,
            ..Self::default()
        }
    }

    /// The same outcome, but the event shows success: the server goes on, and only its fault says what happened.
    #[must_use]
    pub fn with_event_of_success(mut self) -> Self {
        if let Some(event) = &mut self.event {
            event.shows_failure = false;
        }
        self
    }

    /// Writes it. `Err`: the control plane is away, and this is left. What it refuses is logged.
    pub async fn write(
        mut self,
        instances: &dyn Instances,
        context: &RequestContext,
        instance: &mut Instance,
        expect: Expect,
    ) -> Result<(), Self> {
        let id = instance.id;
        if let (true, Some(fault)) = (self.fault, &self.failure)
            && let Err(error) = instances.record_fault(context, id, fault).await
        {
            if let Error::Unavailable(why) = error {
                return Err(self.left("fault", &why));
            }
            tracing::warn!(instance = %id, %error, "the fault could not be recorded");
        }
        self.fault = false;
        if let Some(event) = &self.event {
            let failure = self.failure.as_ref().filter(|_| event.shows_failure);
            let shown = failure.map(|fault| (fault.message.as_str(), fault.details.as_str()));
            if let Err(error) = instances.finish_event(context, id, &event.action, shown).await {
                if let Error::Unavailable(why) = error {
                    return Err(self.left("event", &why));
                }
                tracing::warn!(instance = %id, %error, action = ?event.action, "the end of the event could not be recorded");
            }
        }
        self.event = None;
        let Some(change) = self.change else { return Ok(()) };
        match instances.update(context, instance, change.update(), expect).await {
            Ok(()) => Ok(()),
            Err(Error::Unavailable(why)) => Err(self.left("state", &why)),
            Err(error @ (Error::InstanceGone(_) | Error::Deleting(_) | Error::UnexpectedTask(_))) => {
                tracing::info!(instance = %id, %error, "the instance is left as it is: another request changed it meanwhile");
                Ok(())
            }
            Err(error) => {
                tracing::error!(instance = %id, %error, "the task of the instance could not be ended");
                Ok(())
            }
        }
    }

    fn left(self, what: &str, why: &str) -> Self {
        tracing::warn!(what, why, "the control plane is away; the outcome is written when it is back");
        self
    }
}

impl Change {
    fn update(self) -> InstanceUpdate {
        let ended = InstanceUpdate { task_state: Some(None), ..InstanceUpdate::default() };
        let failed = InstanceUpdate { vm_state: Some(VmState::Error), ..ended.clone() };
        match self {
            Self::TaskEnds => ended,
            Self::Error => failed,
            Self::ErrorWithoutNode => {
                InstanceUpdate { home: Some(None), availability_zone: Some(None), ..failed }
            }
        }
    }
}
