//! The port to the instances' records, and to what users see of them: faults and action events.

use async_trait::async_trait;
use configdrive::network::NetworkInfo;
use driver::InstanceId;
use oslo::context::RequestContext;
use serde::{Deserialize, Serialize};

use super::Result;
use crate::instance::{BlockDevice, Expect, Instance, InstanceUpdate};
use crate::request::{BuildRequest, Kind};

/// What a user reads when a server failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The HTTP status class of the failure: 500 for ours, 4xx for the user's.
    pub code: u16,
    /// One line, at most 255 bytes.
    pub message: String,
    /// The longer story; only kept with code 500.
    pub details: String,
}

/// What users see under way in an instance's list of actions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// An operation of the compute manager.
    Operation(Kind),
    /// A machine's power changed without the control plane.
    PowerUpdate,
    /// What the control plane asked for and knows by this name; no operation of the manager's.
    Other(String),
}

impl From<Kind> for Action {
    fn from(kind: Kind) -> Self {
        Self::Operation(kind)
    }
}

/// The instances of the control plane.
#[async_trait]
pub trait Instances: Send + Sync {
    /// One instance, deleted ones included; `None` when the control plane never had it or has purged it.
    async fn get(&self, context: &RequestContext, id: InstanceId) -> Result<Option<Instance>>;

    /// All instances whose host is this service, without deleted ones. Of what belongs to an instance only
    /// its flavor comes with it: no network, no metadata.
    async fn on_this_host(&self, context: &RequestContext) -> Result<Vec<Instance>>;

    /// Some instances whose host is this service, without deleted ones, ordered by their ids: the first `limit` of those after
    /// `after`. Of what belongs to an instance only its network information comes with it.
    async fn networks_on_this_host(
        &self,
        context: &RequestContext,
        after: Option<InstanceId>,
        limit: usize,
    ) -> Result<Vec<Instance>>;

    /// The ids of all instances whose host is this service, without deleted ones.
    async fn ids_on_this_host(&self, context: &RequestContext) -> Result<Vec<InstanceId>> {
        Ok(self.on_this_host(context).await?.into_iter().map(|instance| instance.id).collect())
    }

    /// The instances of this service that were deleted so that they can be restored, and have no task.
    async fn soft_deleted_here(&self, context: &RequestContext) -> Result<Vec<Instance>>;

    /// Those of these instances that are deleted, and were on this service's host to the last.
    async fn deleted_here(&self, context: &RequestContext, ids: &[InstanceId]) -> Result<Vec<Instance>>;

    /// The instances of this service that are rescued and have no task.
    async fn rescued_here(&self, context: &RequestContext) -> Result<Vec<Instance>>;

    /// Writes a change if the instance's task is an expected one, and brings `instance` up to date with the
    /// answer.
    async fn update(
        &self,
        context: &RequestContext,
        instance: &mut Instance,
        update: InstanceUpdate,
        expect: Expect,
    ) -> Result<()>;

    /// Stores the addresses that users see; the instance's own copy follows.
    async fn save_network(
        &self,
        context: &RequestContext,
        instance: &mut Instance,
        network: NetworkInfo,
    ) -> Result<()>;

    /// Removes the record; the last step of a delete.
    async fn destroy(&self, context: &RequestContext, instance: &Instance) -> Result<()>;

    /// The disks of an instance.
    async fn block_devices(&self, context: &RequestContext, id: InstanceId) -> Result<Vec<BlockDevice>>;

    /// Stores the device name of a disk.
    async fn save_device_name(
        &self,
        context: &RequestContext,
        device: &mut BlockDevice,
        name: &str,
    ) -> Result<()>;

    /// Stores a fault. An instance that is gone has no faults: no error then.
    async fn record_fault(&self, context: &RequestContext, id: InstanceId, fault: &Fault) -> Result<()>;

    /// Records an action that the service has for itself, under the context's request id: what users see under way begins with
    /// its event.
    async fn record_action(&self, context: &RequestContext, id: InstanceId, kind: Kind) -> Result<()>;

    /// Begins what the request id names. `resumed`: it may have begun before a restart; it is
    /// begun only if it was not.
    async fn start_event(
        &self,
        context: &RequestContext,
        id: InstanceId,
        action: &Action,
        resumed: bool,
    ) -> Result<()>;

    /// Ends it: success, or the failure's text and its longer story. One that never began has no end: no
    /// error then.
    async fn finish_event(
        &self,
        context: &RequestContext,
        id: InstanceId,
        action: &Action,
        failure: Option<(&str, &str)>,
    ) -> Result<()>;

    /// Removes the console tokens of a deleted instance; nothing to do where the control plane has none.
    async fn clean_console_tokens(&self, _context: &RequestContext, _id: InstanceId) -> Result<()> {
        Ok(())
    }

    /// Whether the policy of a server group still allows the instance on this service's host, which the
    /// scheduler may have missed when it placed several servers at once; `Err(Refused)` with `GroupPolicy`
    /// when it does not. A scheduler that cannot miss it has nothing to check.
    async fn check_group_policy(
        &self,
        _context: &RequestContext,
        _instance: &Instance,
        _group: &str,
    ) -> Result<()> {
        Ok(())
    }

    /// Hands a build back to be tried on another node. `reason` is one line; `details` the longer story.
    async fn reschedule(&self, request: &BuildRequest, reason: &str, details: &str) -> Result<()>;
}
