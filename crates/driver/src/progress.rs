//! Where an operation reports what it waits for, and keeps what must survive a crash.

use std::io;

use async_trait::async_trait;
use openstack::Caller;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::InstanceId;

/// What follows an operation, and keeps its memory.
#[async_trait]
pub trait Progress: Send + Sync {
    /// The operation waits from now on, for this reason (a clause for the operator, without secrets), or goes on.
    fn waits(&self, because: Option<&str>);

    /// What an earlier run of this plan saved, if the request was cut off.
    async fn saved(&self, plan: &str) -> Option<Value>;

    /// Keeps what a plan remembers; when this returns a crash cannot lose it.
    async fn save(&self, plan: &str, memory: Value) -> io::Result<()>;
}

/// What every operation runs within.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// For whom Ironic is asked.
    pub caller: &'a Caller,
    /// The instance that the operation is about. No two operations of one instance may run at the same time.
    pub instance: InstanceId,
    /// Ends every wait of the operation at once.
    pub cancel: &'a CancellationToken,
    /// Who follows it.
    pub progress: &'a dyn Progress,
}

/// For short work that no one follows, and that is not resumed after a crash.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unfollowed;

#[async_trait]
impl Progress for Unfollowed {
    fn waits(&self, _because: Option<&str>) {}

    async fn saved(&self, _plan: &str) -> Option<Value> {
        None
    }

    async fn save(&self, _plan: &str, _memory: Value) -> io::Result<()> {
        Ok(())
    }
}
