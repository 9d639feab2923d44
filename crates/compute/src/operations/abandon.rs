//! Operations that cannot go on: the instance is taken out of them, and the user reads why.

use driver::InstanceId;
use oslo::context::RequestContext;

use super::table::rules;
use super::{RETRY, Shared};
use crate::ending::{Change, Ending};
use crate::instance::{Expect, Instance, TaskState};
use crate::ports::{Error, Fault, Result};
use crate::request::OperationKey;

/// What the user reads of a bug.
const BUG: &str =
    "The compute service hit a bug and gave the request up; its log says more. The server can be deleted.";

/// Takes the task off an instance, if it is as it was seen, and says why in a fault. While the control plane is away it is
/// waited for: a restart finds the task again.
pub(crate) async fn set_back(
    shared: &Shared,
    context: &RequestContext,
    mut instance: Instance,
    change: Change,
    message: &str,
) {
    let (instances, id) = (&shared.ports.instances, instance.id);
    let (seen_state, seen_task) = (instance.vm_state.clone(), instance.task_state.clone());
    // Only as it was seen: the work on it may have ended, or begun, meanwhile.
    let is_same = |now: &Instance| !now.deleted && now.vm_state == seen_state && now.task_state == seen_task;
    match patiently(id, || instances.get(context, id)).await {
        Ok(Some(now)) if is_same(&now) => {}
        _ => return,
    }
    tracing::warn!(instance = %id, "{message}");
    let fault = Fault { code: 500, message: message.to_owned(), details: message.to_owned() };
    let mut ending = Ending { failure: Some(fault), fault: true, event: None, change: Some(change) };
    loop {
        let expect = Expect::Task(vec![seen_task.clone()]);
        match ending.write(&**instances, context, &mut instance, expect).await {
            Ok(()) => return,
            Err(left) => ending = left,
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Ends an operation that panicked: to repeat it would be to repeat the panic, at every start. What it did on the node stays
/// for the user's delete.
pub(super) async fn after_panic(shared: &Shared, key: &OperationKey) {
    let (context, id) = (RequestContext::admin(), key.instance);
    tracing::error!(operation = key.kind.name(), instance = %id, "the operation panicked and is given up; report this as a bug");
    match patiently(id, || shared.ports.instances.get(&context, id)).await {
        Ok(Some(instance)) if (rules(key.kind).has)(key, &instance, &shared.options.host) => {
            set_back(shared, &context, instance, Change::Error, BUG).await;
        }
        Ok(_) => {}
        Err(error) => tracing::error!(instance = %id, %error, "the instance could not be set to error"),
    }
}

/// Asks the control plane until it answers.
async fn patiently<T, F: Future<Output = Result<T>>>(id: InstanceId, ask: impl Fn() -> F) -> Result<T> {
    loop {
        match ask().await {
            Err(error @ Error::Unavailable(_)) => {
                tracing::warn!(instance = %id, %error, seconds = RETRY.as_secs(), "the task of the instance is ended when the control plane is back");
                tokio::time::sleep(RETRY).await;
            }
            answered => return answered,
        }
    }
}

/// Whether a task is one of a rebuild.
pub(crate) fn is_rebuild(task: &TaskState) -> bool {
    use TaskState::{RebuildBlockDeviceMapping, RebuildSpawning, Rebuilding};
    matches!(task, Rebuilding | RebuildBlockDeviceMapping | RebuildSpawning)
}
