//! Interfaces that are attached and detached, and addresses that come and go.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use compute::answer::{Answer, Awaited};
use compute::instance::VmState;
use compute::ports::{Error, Event, Refusal};
use compute::request::{AddressChange, AttachRequest, Attached, NetworkRequest};
use driver::NodeId;
use uuid::Uuid;

use crate::restart::{build, cloud, first, kill_at_each_of, nothing_is_journalled, start_again};
use crate::world::{Kill, Process, Trouble, World, addresses, attach, delete, detach};

const NETWORK: Uuid = Uuid::from_u128(0xE7);
/// A port that the user made.
const BROUGHT: Uuid = Uuid::from_u128(0xB047);

/// Ironic is away for whoever attaches a port.
fn hold(world: &World) {
    let kind = ironic_sim::Kind::Status(503, String::new());
    let matcher = ironic_sim::Matcher::call(ironic_sim::Call::AttachVif);
    world.sim.fault(ironic_sim::Fault { matcher, times: u32::MAX, kind });
}

/// Until an operation waits for something.
async fn is_held(process: &Process) {
    while !process.manager.operations().iter().any(|operation| operation.reason.is_some()) {
        tokio::task::yield_now().await;
    }
}

/// A world with a server on a machine with two network cards; its first port.
async fn running(state: &Path) -> (Arc<World>, NodeId, Uuid) {
    let (world, nodes) = cloud().await;
    world.sim.add_port(nodes[0].0);
    build(&world, state, nodes[0], 1, None).await;
    let port = world.tables().neutron[0].0;
    (world, nodes[0], port)
}

fn of_network() -> NetworkRequest {
    NetworkRequest { network_id: Some(NETWORK), ..NetworkRequest::default() }
}

fn of_port() -> NetworkRequest {
    NetworkRequest { port_id: Some(BROUGHT), ..NetworkRequest::default() }
}

fn awaited(mut request: AttachRequest) -> (AttachRequest, Awaited<Attached>) {
    let (answer, awaited) = Answer::awaited();
    request.answer = Some(answer);
    (request, awaited)
}

/// Attaches, and answers what the caller got; `None`: nothing.
async fn attached(
    world: &Arc<World>,
    state: &Path,
    wanted: NetworkRequest,
    kill: Option<Kill>,
) -> Option<Attached> {
    world.tables().users_ports.extend(wanted.port_id);
    let process = Process::start(world, state, kill);
    let (request, caller) = awaited(attach(world, first(), wanted));
    process.take(request).await;
    let (answer, ()) = tokio::join!(caller.received(), process.ended());
    answer
}

async fn detached(world: &Arc<World>, state: &Path, port: Uuid, kill: Option<Kill>) -> usize {
    let process = Process::start(world, state, kill);
    process.take(detach(world, first(), port)).await;
    process.ended().await;
    world.calls_made()
}

/// The server's ports in Neutron, in the network information and on the machine.
fn interfaces(world: &World, node: NodeId) -> [BTreeSet<Uuid>; 3] {
    let tables = world.tables();
    let information = &tables.instances[&first()].network.0;
    [
        tables.neutron.iter().filter(|(_, of)| *of == first()).map(|(port, _)| *port).collect(),
        information.iter().map(|vif| vif.id.parse().unwrap()).collect(),
        world.sim.node(node.0).vifs().iter().map(|vif| vif.parse().unwrap()).collect(),
    ]
}

fn has(world: &World, node: NodeId, ports: &[Uuid], why: &str) {
    let ports: BTreeSet<Uuid> = ports.iter().copied().collect();
    assert_eq!(interfaces(world, node), [ports.clone(), ports.clone(), ports], "{why}");
    assert!(world.tables().unowned.is_empty(), "{why}");
}

/// How the server's last event ended.
fn last_event(world: &World) -> Option<Option<String>> {
    world.tables().events.last().unwrap().failure.clone()
}

fn refusal(answer: Option<Attached>) -> (Refusal, String) {
    match answer {
        Some(Err(Error::Refused { why, message })) => (why, message),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_interface_is_attached_and_detached() {
    let state = tempfile::tempdir().unwrap();
    let (world, node, port) = running(state.path()).await;
    let vif = attached(&world, state.path(), of_network(), None).await.unwrap().unwrap();
    let new: Uuid = vif.id.parse().unwrap();
    has(&world, node, &[port, new], "attached");
    assert_eq!(last_event(&world), Some(None));
    detached(&world, state.path(), new, None).await;
    has(&world, node, &[port], "detached");
    assert_eq!(last_event(&world), Some(None));
    let told: Vec<_> = world.tables().told.iter().skip(2).map(|(_, event, phase)| (*event, *phase)).collect();
    let both = |event| [(event, "start"), (event, "end")];
    assert_eq!(told, [both(Event::InterfaceAttach), both(Event::InterfaceDetach)].concat());
    assert_eq!(world.tables().instances[&first()].vm_state, VmState::Active);
    assert!(world.tables().faults.is_empty());
    nothing_is_journalled(state.path());
}

#[tokio::test]
async fn a_port_that_the_user_brought_outlives_its_interface() {
    let state = tempfile::tempdir().unwrap();
    let (world, node, port) = running(state.path()).await;
    attached(&world, state.path(), of_port(), None).await.unwrap().unwrap();
    has(&world, node, &[port, BROUGHT], "attached");
    detached(&world, state.path(), BROUGHT, None).await;
    has(&world, node, &[port], "detached");
    assert!(world.tables().users_ports.contains(&BROUGHT));
}

#[tokio::test]
async fn an_attachment_is_whole_or_taken_back_wherever_the_process_is_killed() {
    for wanted in [of_network(), of_port()] {
        kill_at_each_of(8, async |kill, why| {
            let state = tempfile::tempdir().unwrap();
            let (world, node, port) = running(state.path()).await;
            let answer = attached(&world, state.path(), wanted.clone(), Some(kill)).await;
            let calls = world.calls_made();
            start_again(&world, state.path()).await;
            let why = format!("{why}, {wanted:?}");
            let now = interfaces(&world, node)[0].clone();
            has(&world, node, &now.iter().copied().collect::<Vec<_>>(), &why);
            // Whoever heard of success has the interface.
            assert!(now.contains(&port) && now.len() <= 2, "{why}");
            assert!(answer.is_none() || now.len() == 2, "{why}");
            assert_eq!(last_event(&world).unwrap().is_none(), now.len() == 2, "{why}");
            assert_eq!(world.tables().users_ports.contains(&BROUGHT), wanted.port_id.is_some(), "{why}");
            nothing_is_journalled(state.path());
            calls > kill.call
        })
        .await;
    }
}

#[tokio::test]
async fn a_detachment_goes_on_wherever_the_process_is_killed() {
    for wanted in [of_network(), of_port()] {
        kill_at_each_of(6, async |kill, why| {
            let state = tempfile::tempdir().unwrap();
            let (world, node, port) = running(state.path()).await;
            let vif = attached(&world, state.path(), wanted.clone(), None).await.unwrap().unwrap();
            let calls = detached(&world, state.path(), vif.id.parse().unwrap(), Some(kill)).await;
            start_again(&world, state.path()).await;
            has(&world, node, &[port], &why);
            assert_eq!(last_event(&world), Some(None), "{why}");
            assert!(world.tables().faults.is_empty(), "{why}");
            assert_eq!(world.tables().users_ports.contains(&BROUGHT), wanted.port_id.is_some(), "{why}");
            nothing_is_journalled(state.path());
            calls > kill.call
        })
        .await;
    }
}

#[tokio::test]
async fn one_address_more_is_one_wherever_the_process_is_killed() {
    kill_at_each_of(4, async |kill, why| {
        let state = tempfile::tempdir().unwrap();
        let (world, _, port) = running(state.path()).await;
        let events = world.tables().events.len();
        let mut calls = 0;
        for change in [
            AddressChange::Add { network: NETWORK },
            AddressChange::Remove { address: "10.0.0.1".to_owned() },
        ] {
            let process = Process::start(&world, state.path(), Some(kill));
            process.take(addresses(&world, first(), change)).await;
            process.ended().await;
            calls = world.calls_made();
            start_again(&world, state.path()).await;
        }
        assert_eq!(world.tables().addresses[&port], BTreeSet::from(["10.0.0.2".to_owned()]), "{why}");
        assert!(world.tables().faults.is_empty(), "{why}");
        assert_eq!(world.tables().events.len(), events, "{why}");
        nothing_is_journalled(state.path());
        calls > kill.call
    })
    .await;
}

#[tokio::test]
async fn a_machine_without_a_free_card_gives_the_port_back_with_a_fault() {
    let state = tempfile::tempdir().unwrap();
    let (world, node, port) = running(state.path()).await;
    let full = attached(&world, state.path(), of_network(), None).await.unwrap().unwrap();
    let both = [port, full.id.parse().unwrap()];
    for wanted in [of_network(), of_port()] {
        let (why, message) = refusal(attached(&world, state.path(), wanted, None).await);
        let expected = format!("Failed to attach network adapter device to {}", first());
        assert_eq!((why, &message), (Refusal::NotAttached, &expected));
        has(&world, node, &both, "taken back");
        assert_eq!(last_event(&world), Some(Some(expected)));
    }
    assert!(world.tables().users_ports.contains(&BROUGHT));
    assert_eq!(world.tables().faults.len(), 2);
    assert_eq!(world.tables().told.last().unwrap().2, "error");
    nothing_is_journalled(state.path());
}

#[tokio::test]
async fn what_is_refused_changes_nothing() {
    let state = tempfile::tempdir().unwrap();
    let (world, node, port) = running(state.path()).await;
    let tagged = NetworkRequest { tag: Some("mine".to_owned()), ..of_network() };
    let (why, _) = refusal(attached(&world, state.path(), tagged, None).await);
    assert_eq!(why, Refusal::TaggedInterface);
    world.trouble("new_port", Trouble::Refused);
    let (why, _) = refusal(attached(&world, state.path(), of_network(), None).await);
    assert_eq!(why, Refusal::PortQuota);
    detached(&world, state.path(), Uuid::from_u128(9), None).await;
    assert!(last_event(&world).unwrap().unwrap().contains("is not attached"));
    let process = Process::start(&world, state.path(), None);
    let nowhere = AddressChange::Remove { address: "10.9.9.9".to_owned() };
    process.take(addresses(&world, first(), nowhere)).await;
    process.ended().await;
    assert!(world.tables().faults.last().unwrap().1.contains("does not have fixed IP '10.9.9.9'"));
    has(&world, node, &[port], "as before");
    nothing_is_journalled(state.path());
}

#[tokio::test(start_paused = true)]
async fn an_attachment_waits_for_neutron_as_long_as_its_caller_does() {
    let state = tempfile::tempdir().unwrap();
    let (world, node, port) = running(state.path()).await;
    world.trouble("new_port", Trouble::Unavailable);
    let vif = attached(&world, state.path(), of_network(), None).await.unwrap().unwrap();
    has(&world, node, &[port, vif.id.parse().unwrap()], "attached at the second try");
    nothing_is_journalled(state.path());
}

#[tokio::test]
async fn an_attachment_that_nobody_waits_for_any_more_is_taken_back() {
    let state = tempfile::tempdir().unwrap();
    let (world, node, port) = running(state.path()).await;
    hold(&world);
    let process = Process::start(&world, state.path(), None);
    let (request, caller) = awaited(attach(&world, first(), of_network()));
    process.take(request).await;
    is_held(&process).await;
    drop(caller);
    process.ended().await;
    has(&world, node, &[port], "taken back");
    assert!(last_event(&world).unwrap().is_some());
    nothing_is_journalled(state.path());
}

#[tokio::test]
async fn a_delete_ends_an_attachment_and_the_users_port_outlives_both() {
    let state = tempfile::tempdir().unwrap();
    let (world, _, _) = running(state.path()).await;
    hold(&world);
    world.tables().users_ports.insert(BROUGHT);
    let process = Process::start(&world, state.path(), None);
    let (request, caller) = awaited(attach(&world, first(), of_port()));
    process.take(request).await;
    is_held(&process).await;
    process.take(delete(&world, first())).await;
    assert!(matches!(caller.received().await, Some(Err(Error::Deleting(_)))));
    process.ended().await;
    assert!(world.tables().instances[&first()].deleted);
    assert!(world.tables().neutron.is_empty());
    assert!(world.tables().users_ports.contains(&BROUGHT));
    nothing_is_journalled(state.path());
}

#[tokio::test]
async fn a_port_that_neutron_deletes_while_it_is_attached_leaves_the_machine() {
    let state = tempfile::tempdir().unwrap();
    let (world, node, port) = running(state.path()).await;
    hold(&world);
    let process = Process::start(&world, state.path(), None);
    let (request, caller) = awaited(attach(&world, first(), of_network()));
    process.take(request).await;
    is_held(&process).await;
    let new = {
        let mut tables = world.tables();
        let new = tables.neutron.iter().map(|(port, _)| *port).find(|new| *new != port).unwrap();
        tables.neutron.retain(|(port, _)| *port != new);
        new
    };
    let context = oslo::context::RequestContext::admin();
    let (manager, told) = (process.manager.clone(), async {
        tokio::task::yield_now().await;
        world.sim.clear_faults();
    });
    tokio::join!(manager.vif_deleted(&context, first(), new), told);
    caller.received().await;
    process.ended().await;
    has(&world, node, &[port], "gone");
    nothing_is_journalled(state.path());
}

#[tokio::test(start_paused = true)]
async fn network_information_that_is_wrong_is_healed_with_as_many_requests_as_for_one_server() {
    let state = tempfile::tempdir().unwrap();
    let (world, node, port) = running(state.path()).await;
    world.tables().instances.get_mut(&first()).unwrap().network.0.clear();
    let process = Process::healing(&world, state.path());
    let before = world.tables().calls.clone();
    let made = |call: &str| {
        let count =
            |calls: &std::collections::BTreeMap<&'static str, usize>| calls.get(call).copied().unwrap_or(0);
        count(&world.tables().calls) - count(&before)
    };
    let healing = process.manager.heal_networks(process.shutdown.clone());
    let turns = async {
        while made("networks_on_this_host") < 3 {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
        process.shutdown.cancel();
    };
    tokio::join!(healing, turns);
    has(&world, node, &[port], "healed");
    assert_eq!((made("heal"), made("get"), made("save_network")), (3 + 1, 1, 1));
    process.ended().await;
}
