//! What every adapter of [`Networks`] keeps.

use std::collections::BTreeSet;

use async_trait::async_trait;
use configdrive::network::{NetworkInfo, Vif};
use driver::InstanceId;
use uuid::Uuid;

use crate::instance::Instance;
use crate::ports::{Addresses, Networks};
use crate::request::{BuildRequest, NetworkRequest, NetworkRequests};

/// A network service that a test can arrange, with the adapter in front of it.
#[async_trait]
pub trait Cloud: Send + Sync {
    /// The adapter.
    fn port(&self) -> &dyn Networks;

    /// A build whose project has one network, and which names none.
    async fn build(&self) -> BuildRequest;

    /// That network.
    async fn network(&self) -> Uuid;

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

/// Stock allocates the port of an interface as it does at a build, and deletes it in the end (`nova/compute/manager.py`,
/// `_attach_interface` and `_deallocate_port_for_instance`).
pub async fn the_port_of_an_interface_is_made_once_bound_and_released(cloud: &impl Cloud) {
    let BuildRequest { context, instance, .. } = cloud.build().await;
    let (port, wanted, had) = (cloud.port(), NetworkRequest::default(), BTreeSet::new());
    assert_eq!(port.ports_of(&context, &instance).await.expect("the ports can be read"), had);
    let ask = || port.new_port(&context, &instance, &wanted, &had);
    let made = ask().await.expect("a port is made");
    assert_eq!(ask().await.expect("the port is found"), made);
    for _ in 0..2 {
        let vif = port.bind_port(&context, &instance, made, false).await.expect("the port is bound");
        assert_eq!((vif.id, vif.preserve_on_delete), (made.to_string(), false));
    }
    port.release_new_ports(&context, &instance, &had).await.expect("nothing is left over");
    assert_eq!(cloud.ports_of(instance.id).await, [made]);
    for _ in 0..2 {
        port.release_port(&context, &instance, made, false).await.expect("the port is released");
        assert!(!cloud.has(made).await);
    }
}

/// A port that nothing was done with has no owner (`nova/network/neutron.py`, `_create_port_minimal`).
pub async fn a_port_that_was_made_and_not_bound_is_found_and_released(cloud: &impl Cloud) {
    let request = cloud.build().await;
    let before = ids(&allocate(cloud, &request).await);
    let BuildRequest { context, instance, .. } = request;
    let had = before.iter().copied().collect();
    let made = cloud.port().new_port(&context, &instance, &NetworkRequest::default(), &had).await;
    let made = made.expect("a port is made");
    cloud.port().release_new_ports(&context, &instance, &had).await.expect("it is released");
    assert!(!cloud.has(made).await);
    assert_eq!(cloud.ports_of(instance.id).await, before);
}

/// Detached, the user has it again (`nova/network/neutron.py`, `deallocate_port_for_instance`).
pub async fn a_port_brought_for_an_interface_outlives_it(cloud: &impl Cloud) {
    let brought = cloud.bring().await;
    let BuildRequest { context, instance, .. } = cloud.build().await;
    let wanted = NetworkRequest { port_id: Some(brought), ..NetworkRequest::default() };
    let made = cloud.port().new_port(&context, &instance, &wanted, &BTreeSet::new()).await;
    assert_eq!(made.expect("the port can be had"), brought);
    assert_eq!(cloud.ports_of(instance.id).await, Vec::<Uuid>::new());
    let vif = cloud.port().bind_port(&context, &instance, brought, true).await.expect("the port is bound");
    assert!(vif.preserve_on_delete);
    assert_eq!(cloud.ports_of(instance.id).await, [brought]);
    cloud.port().release_port(&context, &instance, brought, true).await.expect("the port is released");
    assert_eq!(cloud.ports_of(instance.id).await, Vec::<Uuid>::new());
    assert!(cloud.has(brought).await);
}

/// All that Neutron has of the instance counts (`nova/network/neutron.py`, `_get_instance_nw_info` with `force_refresh`).
pub async fn a_healing_finds_what_the_cache_has_lost_and_drops_what_is_gone(cloud: &impl Cloud) {
    let request = cloud.build().await;
    let network = allocate(cloud, &request).await;
    let gone = Vif::new("00000000-0000-0000-0000-00000000dead");
    let known = |network: Vec<Vif>| Instance { network: NetworkInfo(network), ..request.instance.clone() };
    let instances = [known(vec![]), known(network.0.iter().cloned().chain([gone]).collect())];
    let healed = cloud.port().heal(&request.context, &instances[..1]).await.expect("the ports can be read");
    assert_eq!(healed, std::slice::from_ref(&network));
    let healed = cloud.port().heal(&request.context, &instances[1..]).await.expect("the ports can be read");
    assert_eq!(healed, [network]);
    assert!(cloud.port().heal(&request.context, &[]).await.expect("nothing is asked").is_empty());
}

/// Neutron takes a free address of the subnet, and gives one for each time that it is asked (`nova/network/neutron.py`,
/// `add_fixed_ip_to_instance`).
pub async fn an_address_is_added_once_and_removed_once(cloud: &impl Cloud) {
    let request = cloud.build().await;
    allocate(cloud, &request).await;
    let (context, instance, network) = (&request.context, &request.instance, cloud.network().await);
    let read = || cloud.port().addresses(context, instance, network);
    let had = read().await.expect("the addresses can be read");
    for _ in 0..2 {
        let added = cloud.port().add_address(context, instance, network, &had).await;
        added.expect("an address is added");
    }
    let now = read().await.expect("the addresses can be read");
    let count = |addresses: &Addresses| addresses.values().map(BTreeSet::len).sum::<usize>();
    assert_eq!((count(&had), count(&now)), (1, 2));
    let added = now.values().flatten().find(|address| !had.values().flatten().any(|old| old == *address));
    let added = added.expect("an address is new");
    for there in [true, false] {
        let removed = cloud.port().remove_address(context, instance, added).await;
        assert_eq!(removed.expect("the address can be removed"), there);
    }
    assert_eq!(read().await.expect("the addresses can be read"), had);
}
