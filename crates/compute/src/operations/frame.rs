//! The frame of one try: the event that users see, the work, and what is written of its outcome.

use super::{Operation, Retry, Rules, Start, Try};
use crate::ending::Ending;
use crate::ports;

/// One try of an operation, within its event and up to what is written of its outcome.
pub(super) async fn framed<O: Operation>(this: Try, rules: &Rules, mut operation: O) -> Result<(), Retry> {
    if let Start::Ending(ending) = this.start.clone() {
        let left = still_to_be_written(&this, rules, &mut operation, ending).await?;
        return write(&this, rules, &mut operation, left).await;
    }
    operation.ready().await;
    if operation.has_event() && !begin_event(&this, rules).await? {
        return Ok(());
    }
    let ending = operation.work().await?;
    let outcome = if ending.failure.is_none() { "ended" } else { "failed" };
    let labels = [("operation", this.key.kind.name()), ("outcome", outcome)];
    metrics::counter!("bessemer_operations_total", &labels).increment(1);
    metrics::histogram!("bessemer_operation_seconds", &labels).record(this.tracker.running().as_secs_f64());
    if ending.change.is_some() {
        // A restart must not begin anew: the server may be another's concern by then.
        this.note(&Start::Ending(ending.clone())).await;
    }
    write(&this, rules, &mut operation, ending).await
}

/// Begins the event that users see; `false`: what was to be done has lost its purpose.
async fn begin_event(this: &Try, rules: &Rules) -> Result<bool, Retry> {
    let (instances, kind) = (&this.shared.ports.instances, this.key.kind);
    let begun =
        instances.start_event(&this.context, this.key.instance, &kind.into(), this.is_resumed()).await;
    match begun {
        Ok(()) => {}
        Err(ports::Error::Unavailable(why)) => return Err(Retry { start: this.start.clone(), why }),
        Err(ports::Error::InstanceGone(_)) if !rules.outlives_instance && !this.is_resumed() => {
            return Ok(false);
        }
        // The action may be unknown (the operation was found by the instance's task): the work counts.
        Err(error) => {
            tracing::info!(%error, operation = kind.name(), "the operation goes on without its event");
        }
    }
    Ok(true)
}

/// Of an ending that was interrupted what still holds: another operation may have changed the instance since.
async fn still_to_be_written<O: Operation>(
    this: &Try,
    rules: &Rules,
    operation: &mut O,
    ending: Ending,
) -> Result<Ending, Retry> {
    if ending.change.is_none() {
        return Ok(ending);
    }
    match this.shared.ports.instances.get(&this.context, this.key.instance).await {
        Err(ports::Error::Unavailable(why)) => Err(Retry { start: Start::Ending(ending), why }),
        Ok(Some(found)) if (rules.has)(&this.key, &found, &this.shared.options.host) => {
            *operation.instance() = found;
            Ok(ending)
        }
        _ => Ok(Ending { fault: false, change: None, ..ending }),
    }
}

async fn write<O: Operation>(
    this: &Try,
    rules: &Rules,
    operation: &mut O,
    ending: Ending,
) -> Result<(), Retry> {
    this.tracker.phase("writing the outcome");
    let instances = this.shared.ports.instances.clone();
    let expect = (rules.expect)(this.key.kind);
    let ending = if operation.has_event() { ending } else { Ending { event: None, ..ending } };
    let written = ending.write(&*instances, &this.context, operation.instance(), expect).await;
    operation.written();
    written.map_err(|left| Retry {
        start: Start::Ending(left),
        why: "the outcome could not be written: the control plane is away".to_owned(),
    })
}
