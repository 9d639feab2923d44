//! What every adapter of [`Machines`] keeps.

use async_trait::async_trait;
use driver::{InstanceId, NodeId};
use oslo::context::RequestContext;
use uuid::Uuid;

use crate::instance::Instance;
use crate::ports::{Error, Machines};

/// An Ironic and the control plane's books of it that a test can arrange, with the adapter in front of them.
#[async_trait]
pub trait Cloud: Send + Sync {
    /// The adapter.
    fn port(&self) -> &dyn Machines;

    /// Some nodes of this service, free and published.
    async fn nodes(&self) -> Vec<NodeId>;

    /// Has an instance on a node in Ironic, or none any more.
    async fn occupy(&self, node: NodeId, instance: Option<InstanceId>);

    /// Has Ironic clean a node, or end that.
    async fn clean(&self, node: NodeId, under_way: bool);

    /// Has Ironic hide a node from the service.
    async fn hide(&self, node: NodeId);

    /// Has an instance hold a node, as the scheduler does.
    async fn hold(&self, instance: InstanceId, node: NodeId);

    /// Whether the scheduler would offer a node that nobody holds.
    async fn is_offered(&self, node: NodeId) -> bool;
}

const SERVER: InstanceId = InstanceId(Uuid::from_u128(0x5E));

async fn publish(cloud: &impl Cloud, node: NodeId, occupant: Option<&Instance>) {
    let published = cloud.port().publish_one(&RequestContext::admin(), node, occupant).await;
    published.expect("the node is published");
}

/// One that is free may be booked.
pub async fn a_node_with_a_server_is_withheld_until_it_is_free_again(cloud: &impl Cloud) {
    let node = cloud.nodes().await[0];
    assert!(cloud.is_offered(node).await && !cloud.port().is_withheld(node));
    cloud.occupy(node, Some(SERVER)).await;
    publish(cloud, node, Some(&Instance::new(SERVER))).await;
    assert!(!cloud.is_offered(node).await && cloud.port().is_withheld(node));
    cloud.occupy(node, None).await;
    publish(cloud, node, None).await;
    assert!(cloud.is_offered(node).await && !cloud.port().is_withheld(node));
}

/// The claim of its last server goes while Ironic cleans.
pub async fn a_node_that_is_being_cleaned_is_withheld(cloud: &impl Cloud) {
    let node = cloud.nodes().await[0];
    cloud.clean(node, true).await;
    publish(cloud, node, None).await;
    assert!(!cloud.is_offered(node).await && cloud.port().is_withheld(node));
    cloud.clean(node, false).await;
    publish(cloud, node, None).await;
    assert!(cloud.is_offered(node).await);
}

/// That Ironic does not show it says nothing of it: what is known stays, and the caller asks again.
pub async fn a_node_that_ironic_hides_is_away(cloud: &impl Cloud) {
    let node = cloud.nodes().await[0];
    cloud.hide(node).await;
    let published = cloud.port().publish_one(&RequestContext::admin(), node, None).await;
    assert!(matches!(published, Err(Error::Unavailable(_))), "{published:?}");
}

/// A request for a node of another service is refused by the manager.
pub async fn a_home_is_on_a_node_of_this_service(cloud: &impl Cloud) {
    let node = cloud.nodes().await[0];
    let context = RequestContext::admin();
    let home = cloud.port().home(&context, node).await.expect("it can be asked");
    assert_eq!(home.map(|home| home.node), Some(node));
    let stranger = NodeId(Uuid::from_u128(0x0DD));
    assert_eq!(cloud.port().home(&context, stranger).await.expect("it can be asked"), None);
}

/// A delete that was cut off is run again.
pub async fn what_an_instance_holds_is_released_and_again_is_no_error(cloud: &impl Cloud) {
    let (nodes, context) = (cloud.nodes().await, RequestContext::admin());
    let other = InstanceId(Uuid::from_u128(0x5F));
    cloud.hold(SERVER, nodes[0]).await;
    cloud.hold(other, nodes[1]).await;
    assert_eq!(cloud.port().held_by(SERVER).await.expect("it can be asked"), [nodes[0]]);
    for _ in 0..2 {
        cloud.port().release(&context, SERVER).await.expect("it is released");
        assert_eq!(cloud.port().held_by(SERVER).await.expect("it can be asked"), []);
    }
    assert_eq!(cloud.port().held_by(other).await.expect("it can be asked"), [nodes[1]]);
}

/// In a steady state a report writes nothing.
pub async fn a_report_writes_what_changed_and_the_next_one_nothing(cloud: &impl Cloud) {
    let (nodes, context) = (cloud.nodes().await, RequestContext::admin());
    cloud.clean(nodes[0], true).await;
    let first = cloud.port().publish(&context).await.expect("they are published");
    assert_eq!((first.nodes, first.written, first.failed, first.removed), (nodes.len(), 1, 0, 0));
    let second = cloud.port().publish(&context).await.expect("they are published");
    assert_eq!(second.written, 0);
}
