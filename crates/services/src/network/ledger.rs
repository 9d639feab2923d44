//! The control plane's records of an instance's ports.

use async_trait::async_trait;
use compute::ports::Result;
use driver::InstanceId;
use openstack::neutron::Port;
use oslo::context::RequestContext;

/// The control plane's entries of the ports of its instances; they keep the tags that users gave them.
#[async_trait]
pub trait PortLedger: Send + Sync {
    /// The ids of the instance's ports that have an entry, in the order in which they were entered.
    async fn recorded(&self, context: &RequestContext, instance: InstanceId) -> Result<Vec<String>>;

    /// Enters a port of the instance. One that has an entry already, because an answer was lost, is no error.
    async fn record(
        &self,
        context: &RequestContext,
        instance: InstanceId,
        port: &Port,
        tag: Option<&str>,
    ) -> Result<()>;

    /// Removes the entry of one port; no error when there is none.
    async fn forget_port(&self, context: &RequestContext, instance: InstanceId, port: &str) -> Result<()>;

    /// Removes all entries of the instance; no error when there are none.
    async fn forget(&self, context: &RequestContext, instance: InstanceId) -> Result<()>;
}
