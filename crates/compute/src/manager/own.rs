//! Requests that the service has for itself.

use super::Manager;
use crate::request::Request;

impl Manager {
    /// Journals and starts a request of the service's own.
    pub(super) async fn ask_itself(&self, request: Request) {
        self.keep(&request).await;
        self.start(request);
    }

    /// Journals a request of the service's own. One that the journal does not take is begun all the same: its trace is the instance's
    /// task, or what is found again in a later period.
    pub(super) async fn keep(&self, request: &Request) {
        if let Err(error) = Box::pin(self.admit(request)).await {
            let (operation, instance) = (request.kind().name(), request.instance().id);
            tracing::error!(operation, %instance, %error, "the operation cannot be journalled and is begun without; see [DEFAULT] state_path");
        }
    }

    /// Takes such a request back before it was started.
    pub(super) async fn withdraw(&self, request: &Request) {
        if let Err(error) = self.shared().journal.erase(&request.key()).await {
            let (operation, instance) = (request.kind().name(), request.instance().id);
            tracing::error!(operation, %instance, %error, "the journal entry could not be erased; the next start looks at the operation again");
        }
    }
}
