//! Requests that the service has for itself.

use super::Manager;
use crate::request::Request;

impl Manager {
    /// Journals and starts a request of the service's own. One that the journal does not take is begun all the same: its trace is the
    /// instance's task, or what is found again in a later period.
    pub(super) async fn ask_itself(&self, request: Request) {
        if let Err(error) = self.admit(&request).await {
            let (operation, instance) = (request.kind().name(), request.instance().id);
            tracing::error!(operation, %instance, %error, "the operation cannot be journalled and is begun without; see [DEFAULT] state_path");
        }
        self.start(request);
    }
}
