//! Requests whose callers wait for the outcome of an operation.

use std::time::Duration;

use compute::answer::Answer;
use compute::request::AttachRequest;
use oslo::rpc::Failure;
use serde_json::Value;

use super::Worker;
use super::outcome::{failure, nova};

/// Starts an attachment, and answers the interface as `nova.network.model` has it, which nova-api waits for. Past its `patience`
/// the caller hears of a failure, and the attachment is taken back.
pub async fn attach(
    worker: &dyn Worker,
    mut request: AttachRequest,
    patience: Duration,
) -> Result<Value, Failure> {
    let id = request.instance.id;
    let (answer, awaited) = Answer::awaited();
    request.answer = Some(answer);
    worker.start(request.into());
    match tokio::time::timeout(patience, awaited.received()).await {
        Ok(Some(Ok(vif))) => {
            serde_json::to_value(vif).map_err(|error| nova("NovaException", 500, &error.to_string(), &[]))
        }
        Ok(Some(Err(error))) => Err(failure(error)),
        Ok(None) | Err(_) => {
            let text = format!("Failed to attach network adapter device to {id}");
            Err(nova("InterfaceAttachFailed", 500, &text, &[("instance_uuid", &id.to_string())]))
        }
    }
}
