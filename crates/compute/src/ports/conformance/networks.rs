//! What every adapter of [`Networks`] keeps.

use async_trait::async_trait;
use configdrive::network::NetworkInfo;
use driver::InstanceId;
use uuid::Uuid;

use crate::instance::Instance;
use crate::ports::Networks;
use crate::request::{BuildRequest, NetworkRequest, NetworkRequests};

/// A network service that a test can arrange, with the adapter in front of it.
#[async_trait]
pub trait Cloud: Send + Sync {
    /// The adapter.
    fn port(&self) -> &dyn Networks;

    /// A build whose project has one network, and which names none.
    async fn build(&self) -> BuildRequest;

    /// Makes a port on that network, as the user of the build.
    async fn bring(&self) -> Uuid;

    /// The ports that belong to an instance.
    async fn ports_of(&self, id: InstanceId) -> Vec<Uuid>;

    /// Whether a port is there, whosever it is.
    async fn has(&self, port: Uuid) -> bool;
}

async fn allocate(cloud: &impl Cloud, request: &BuildRequest) -> NetworkInfo {
    let allocated = cloud.port().allocate(request, &request.instance).await;
    allocated.expect("the networks are allocated")
}

async fn deallocate(cloud: &impl Cloud, request: &BuildRequest, network: NetworkInfo, requested: &[Uuid]) {
    let instance = Instance { network, ..request.instance.clone() };
    let gone = cloud.port().deallocate(&request.context, &instance, requested).await;
    gone.expect("the networks are given back");
}

fn ids(network: &NetworkInfo) -> Vec<Uuid> {
    network.0.iter().map(|vif| vif.id.parse().expect("a port's id")).collect()
}

fn with_port(request: BuildRequest, port: Uuid) -> BuildRequest {
    let asked = NetworkRequest { port_id: Some(port), ..NetworkRequest::default() };
    BuildRequest { networks: NetworkRequests::These(vec![asked]), ..request }
}

/// Neutron keeps the instance's id in a port's `device_id`, from its creation (`nova/network/neutron.py`,
/// `_create_port_minimal`).
pub async fn a_second_allocation_finds_the_ports_of_the_first(cloud: &impl Cloud) {
    let request = cloud.build().await;
    let first = allocate(cloud, &request).await;
    assert_eq!(ids(&first).len(), 1);
    assert_eq!(allocate(cloud, &request).await, first);
    assert_eq!(cloud.ports_of(request.instance.id).await, ids(&first));
}

/// A port that is not there any more is no error (`nova/network/neutron.py`, `_delete_ports`).
pub async fn what_was_deallocated_is_gone_and_again_is_no_error(cloud: &impl Cloud) {
    let request = cloud.build().await;
    let network = allocate(cloud, &request).await;
    for _ in 0..2 {
        deallocate(cloud, &request, network.clone(), &[]).await;
        assert_eq!(cloud.ports_of(request.instance.id).await, Vec::<Uuid>::new());
        assert!(!cloud.has(ids(&network)[0]).await);
    }
}

/// `preserve_on_delete` of the network information (`nova/network/neutron.py`, `_build_vif_model`).
pub async fn a_port_that_the_user_brought_outlives_the_server(cloud: &impl Cloud) {
    let port = cloud.bring().await;
    let request = with_port(cloud.build().await, port);
    let network = allocate(cloud, &request).await;
    assert_eq!(ids(&network), [port]);
    assert!(network.0[0].preserve_on_delete);
    assert_eq!(cloud.ports_of(request.instance.id).await, [port]);
    deallocate(cloud, &request, network, &[]).await;
    assert_eq!(cloud.ports_of(request.instance.id).await, Vec::<Uuid>::new());
    assert!(cloud.has(port).await);
}

/// A build that fails before it stored the network information has only its request to go by
/// (`nova/network/neutron.py`, `deallocate_for_instance` with `requested_networks`).
pub async fn a_port_that_only_the_request_knows_outlives_the_server(cloud: &impl Cloud) {
    let port = cloud.bring().await;
    let request = with_port(cloud.build().await, port);
    allocate(cloud, &request).await;
    deallocate(cloud, &request, NetworkInfo::default(), &[port]).await;
    assert_eq!(cloud.ports_of(request.instance.id).await, Vec::<Uuid>::new());
    assert!(cloud.has(port).await);
}

/// The cache is rebuilt from what Neutron has (`nova/network/neutron.py`, `_build_network_info_model`).
pub async fn a_refresh_without_a_change_is_what_was_allocated(cloud: &impl Cloud) {
    let request = cloud.build().await;
    let network = allocate(cloud, &request).await;
    let instance = Instance { network: network.clone(), ..request.instance.clone() };
    for vif in [None, ids(&network).pop()] {
        let refreshed = cloud.port().refresh(&request.context, &instance, vif).await;
        assert_eq!(refreshed.expect("the ports can be read"), network);
    }
}
