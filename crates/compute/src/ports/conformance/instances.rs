//! What every adapter of [`Instances`] keeps.

use async_trait::async_trait;
use configdrive::network::NetworkInfo;
use driver::{InstanceId, NodeId};
use oslo::context::RequestContext;
use serde_json::json;
use uuid::Uuid;

use crate::instance::{BuildNetworks, Expect, Home, Instance, InstanceUpdate, Power, TaskState, VmState};
use crate::ports::{Action, Error, Fault, Instances};
use crate::request::Kind;

const CREATE: Action = Action::Operation(Kind::Create);
const DELETE: Action = Action::Operation(Kind::Delete);

/// A control plane that a test can arrange, with the adapter in front of it.
#[async_trait]
pub trait ControlPlane: Send + Sync {
    /// The adapter.
    fn port(&self) -> &dyn Instances;

    /// The context of the request under way; the control plane knows its action.
    fn context(&self) -> RequestContext;

    /// The host of the service that the adapter works for.
    fn host(&self) -> String;

    /// Has an instance that is being built on this host, with this task, one disk without a name, and a
    /// network information that is empty.
    async fn has(&self, task: Option<TaskState>) -> InstanceId;

    /// Has a node that the service manages, and that an instance may have its home on.
    async fn manages(&self, node: NodeId);

    /// Deletes an instance, without the service.
    async fn delete(&self, id: InstanceId);

    /// How often the action began.
    async fn begun(&self, id: InstanceId, action: &Action) -> usize;

    /// The messages of the instance's faults.
    async fn faults(&self, id: InstanceId) -> Vec<String>;
}

const DAY: std::time::Duration = std::time::Duration::from_hours(24);

const SPAWNING: Option<TaskState> = Some(TaskState::Spawning);

async fn read(cloud: &impl ControlPlane, id: InstanceId) -> Instance {
    let found = cloud.port().get(&cloud.context(), id).await.expect("the instance can be read");
    found.expect("the instance is there")
}

fn active() -> InstanceUpdate {
    InstanceUpdate {
        vm_state: Some(VmState::Active),
        task_state: Some(None),
        power: Some(Power::Running),
        ..InstanceUpdate::default()
    }
}

/// Makes the change with this expectation, and answers what went wrong.
async fn refusal(cloud: &impl ControlPlane, id: InstanceId, expect: Expect) -> Error {
    let (before, mut copy) = (read(cloud, id).await, read(cloud, id).await);
    let changed = cloud.port().update(&cloud.context(), &mut copy, active(), expect).await;
    let error = changed.expect_err("the change is refused");
    for now in [read(cloud, id).await, copy] {
        assert_eq!((now.vm_state, now.task_state), (before.vm_state.clone(), before.task_state.clone()));
    }
    error
}

/// `Instance.save` answers what it changed, or what it did not have in common with it.
pub async fn a_change_is_made_and_the_copy_follows(cloud: &impl ControlPlane) {
    let id = cloud.has(SPAWNING).await;
    let mut copy = read(cloud, id).await;
    let expect = Expect::Task(vec![None, SPAWNING]);
    cloud.port().update(&cloud.context(), &mut copy, active(), expect).await.expect("the change is made");
    for now in [copy, read(cloud, id).await] {
        assert_eq!((now.vm_state, now.task_state, now.power), (VmState::Active, None, Power::Running));
    }
}

/// `UnexpectedTaskStateError` of `Instance.save` (`nova/db/main/api.py`, `_instance_update`: the database
/// compares and sets).
pub async fn a_change_that_finds_another_task_is_refused_and_changes_nothing(cloud: &impl ControlPlane) {
    let id = cloud.has(SPAWNING).await;
    let error = refusal(cloud, id, Expect::Task(vec![Some(TaskState::Networking), None])).await;
    assert!(matches!(error, Error::UnexpectedTask(_)), "{error:?}");
}

/// `UnexpectedDeletingTaskStateError`: the task is `deleting`, and that is not expected.
pub async fn a_change_that_finds_a_delete_says_so_and_changes_nothing(cloud: &impl ControlPlane) {
    let id = cloud.has(Some(TaskState::Deleting)).await;
    let error = refusal(cloud, id, Expect::Task(vec![SPAWNING])).await;
    assert!(matches!(error, Error::Deleting(_)), "{error:?}");
}

/// No task is an expectation of its own (`expected_task_state=[None]`), not the absence of one (`None`).
pub async fn a_change_that_expects_no_task_is_refused_where_there_is_one(cloud: &impl ControlPlane) {
    let id = cloud.has(SPAWNING).await;
    let error = refusal(cloud, id, Expect::Task(vec![None])).await;
    assert!(matches!(error, Error::UnexpectedTask(_)), "{error:?}");
}

/// `InstanceNotFound` of `Instance.save`: a deleted row is not there for it.
pub async fn a_change_of_an_instance_that_is_gone_says_so(cloud: &impl ControlPlane) {
    let id = cloud.has(SPAWNING).await;
    let mut copy = read(cloud, id).await;
    cloud.delete(id).await;
    let changed = cloud.port().update(&cloud.context(), &mut copy, active(), Expect::Anything).await;
    assert!(matches!(changed, Err(Error::InstanceGone(gone)) if gone == id), "{changed:?}");
}

/// `Instance.get_by_uuid` with `read_deleted=yes` in its context.
pub async fn a_deleted_instance_is_read_and_is_deleted(cloud: &impl ControlPlane) {
    let id = cloud.has(SPAWNING).await;
    assert!(!read(cloud, id).await.deleted);
    cloud.delete(id).await;
    assert!(read(cloud, id).await.deleted);
}

/// `InstanceNotFound` of `Instance.get_by_uuid`.
pub async fn an_instance_that_never_was_is_none(cloud: &impl ControlPlane) {
    let stranger = InstanceId(Uuid::from_u128(0x00DD));
    let found = cloud.port().get(&cloud.context(), stranger).await.expect("the control plane answers");
    assert!(found.is_none());
}

/// `InstanceList.get_by_filters` and `get_uuids_by_host`: a deleted row is on no host.
pub async fn the_instances_of_this_host_are_those_that_live(cloud: &impl ControlPlane) {
    let (living, deleted) = (cloud.has(SPAWNING).await, cloud.has(None).await);
    cloud.delete(deleted).await;
    let context = cloud.context();
    let here = cloud.port().on_this_host(&context).await.expect("they can be listed");
    assert_eq!(here.iter().map(|instance| instance.id).collect::<Vec<_>>(), [living]);
    assert_eq!(cloud.port().ids_on_this_host(&context).await.expect("they can be listed"), [living]);
}

/// `InstanceList.get_by_filters` with the state and without a task. `deleted_at` of a row that is not deleted is the API's to set.
pub async fn the_instances_that_wait_for_their_end_say_since_when(cloud: &impl ControlPlane) {
    let (waits, restored) = (cloud.has(None).await, cloud.has(None).await);
    let context = cloud.context();
    let soft_deleted = |task| InstanceUpdate {
        vm_state: Some(VmState::SoftDeleted),
        task_state: Some(task),
        deleted_now: true,
        ..InstanceUpdate::default()
    };
    for (id, task) in [(waits, None), (restored, Some(TaskState::Restoring)), (cloud.has(None).await, None)] {
        let mut copy = read(cloud, id).await;
        let update = if id == waits || id == restored { soft_deleted(task) } else { active() };
        cloud.port().update(&context, &mut copy, update, Expect::Anything).await.expect("it can be changed");
    }
    let found = cloud.port().soft_deleted_here(&context).await.expect("they can be listed");
    assert_eq!(found.iter().map(|instance| instance.id).collect::<Vec<_>>(), [waits]);
    assert!(found[0].deleted_at.is_some_and(|since| since.elapsed().is_ok_and(|age| age < DAY)));
}

/// `InstanceList.get_by_filters` with `deleted` and the host, which a deleted row keeps.
pub async fn the_deleted_instances_of_this_host_are_found_among_others(cloud: &impl ControlPlane) {
    let (living, deleted, not_asked) = (cloud.has(None).await, cloud.has(None).await, cloud.has(None).await);
    for id in [deleted, not_asked] {
        cloud.delete(id).await;
    }
    let stranger = InstanceId(Uuid::from_u128(0x00DD));
    let asked = [living, deleted, stranger];
    let found = cloud.port().deleted_here(&cloud.context(), &asked).await.expect("they can be listed");
    assert_eq!(found.iter().map(|instance| instance.id).collect::<Vec<_>>(), [deleted]);
    assert!(found[0].deleted);
}

/// `InstanceList.get_by_filters` with the state and without a task; `launched_at` of a row is what the rescue set.
pub async fn the_instances_that_are_rescued_say_since_when(cloud: &impl ControlPlane) {
    let (rescued, on_its_way, running) =
        (cloud.has(None).await, cloud.has(None).await, cloud.has(None).await);
    let context = cloud.context();
    let unrescuing = Some(TaskState::Unrescuing);
    for (id, vm_state, task) in [
        (rescued, VmState::Rescued, None),
        (on_its_way, VmState::Rescued, unrescuing),
        (running, VmState::Active, None),
    ] {
        let mut copy = read(cloud, id).await;
        let update = InstanceUpdate {
            vm_state: Some(vm_state),
            task_state: Some(task),
            launched_now: true,
            ..InstanceUpdate::default()
        };
        cloud.port().update(&context, &mut copy, update, Expect::Anything).await.expect("it can be changed");
    }
    let found = cloud.port().rescued_here(&context).await.expect("they can be listed");
    assert_eq!(found.iter().map(|instance| instance.id).collect::<Vec<_>>(), [rescued]);
    assert!(found[0].launched_at.is_some_and(|since| since.elapsed().is_ok_and(|age| age < DAY)));
}

/// Pages follow each other by the ids (`nova/db/main/api.py`, `instance_get_all_by_filters_sort`).
pub async fn the_instances_of_this_host_come_in_pages_with_their_networks(cloud: &impl ControlPlane) {
    let mut ids = [cloud.has(SPAWNING).await, cloud.has(None).await, cloud.has(None).await];
    ids.sort_by_key(|id| id.0);
    let context = cloud.context();
    let network = NetworkInfo(vec![configdrive::network::Vif::new("a")]);
    let mut copy = read(cloud, ids[2]).await;
    let saved = cloud.port().save_network(&context, &mut copy, network.clone()).await;
    saved.expect("the addresses are stored");
    let page = async |after| {
        let page = cloud.port().networks_on_this_host(&context, after, 2).await.expect("they can be listed");
        page.into_iter().map(|instance| (instance.id, instance.network)).collect::<Vec<_>>()
    };
    let none = NetworkInfo::default;
    assert_eq!(page(None).await, [(ids[0], none()), (ids[1], none())]);
    assert_eq!(page(Some(ids[1])).await, [(ids[2], network)]);
    assert_eq!(page(Some(ids[2])).await, []);
}

/// Host and node change together, and with them what else the control plane keeps of a home: `Instance.save` refuses a node without
/// its `compute_id`.
pub async fn a_home_is_taken_and_left(cloud: &impl ControlPlane) {
    let id = cloud.has(None).await;
    let (mut copy, node) = (read(cloud, id).await, NodeId(Uuid::from_u128(0x0DE)));
    cloud.manages(node).await;
    let home = Home { host: cloud.host(), node };
    for home in [Some(home), None] {
        let update = InstanceUpdate { home: Some(home.clone()), ..InstanceUpdate::default() };
        let changed = cloud.port().update(&cloud.context(), &mut copy, update, Expect::Anything).await;
        changed.expect("the change is made");
        let expected = (home.as_ref().map(|home| home.host.clone()), home.map(|home| home.node));
        let now = read(cloud, id).await;
        assert_eq!((now.host, now.node), expected);
        assert_eq!((copy.host.clone(), copy.node), expected);
    }
}

/// `network_allocated` in `system_metadata` (`nova/compute/manager.py`: `True` when a build has them, `False`
/// when it goes back, gone when the server is active).
pub async fn what_a_build_did_to_the_networks_is_known_until_it_is_over(cloud: &impl ControlPlane) {
    let id = cloud.has(SPAWNING).await;
    let mut copy = read(cloud, id).await;
    for (networks, known) in [
        (BuildNetworks::Allocated, true),
        (BuildNetworks::Released, false),
        (BuildNetworks::Allocated, true),
        (BuildNetworks::Over, false),
    ] {
        let update = InstanceUpdate { build_networks: Some(networks), ..InstanceUpdate::default() };
        let changed = cloud.port().update(&cloud.context(), &mut copy, update, Expect::Anything).await;
        changed.expect("the change is made");
        assert_eq!((copy.networks_allocated, read(cloud, id).await.networks_allocated), (known, known));
    }
}

/// `InstanceInfoCache.save`.
pub async fn the_addresses_are_read_as_they_were_stored(cloud: &impl ControlPlane) {
    let id = cloud.has(SPAWNING).await;
    let mut copy = read(cloud, id).await;
    assert_eq!(copy.network, NetworkInfo::default());
    let vifs = json!([{"id": Uuid::from_u128(0xF1), "address": "52:54:00:00:00:01"}]);
    let network: NetworkInfo = serde_json::from_value(vifs).expect("a network information");
    let saved = cloud.port().save_network(&cloud.context(), &mut copy, network.clone()).await;
    saved.expect("the addresses are stored");
    assert_eq!((&copy.network, &read(cloud, id).await.network), (&network, &network));
}

/// `BlockDeviceMapping.save`.
pub async fn the_name_of_a_disk_is_read_as_it_was_stored(cloud: &impl ControlPlane) {
    let id = cloud.has(SPAWNING).await;
    let context = cloud.context();
    let mut disks = cloud.port().block_devices(&context, id).await.expect("the disks can be read");
    assert_eq!(disks.iter().map(|disk| disk.device_name.as_deref()).collect::<Vec<_>>(), [None]);
    let named = cloud.port().save_device_name(&context, &mut disks[0], "/dev/sda").await;
    named.expect("the name is stored");
    let stored = cloud.port().block_devices(&context, id).await.expect("the disks can be read");
    for disk in [&disks[0], &stored[0]] {
        assert_eq!(disk.device_name.as_deref(), Some("/dev/sda"));
    }
}

/// `Instance.destroy`; a delete that was cut off after it is run again.
pub async fn a_record_is_removed_once_and_again_is_no_error(cloud: &impl ControlPlane) {
    let id = cloud.has(Some(TaskState::Deleting)).await;
    let instance = read(cloud, id).await;
    for _ in 0..2 {
        cloud.port().destroy(&cloud.context(), &instance).await.expect("the record is removed");
        assert!(read(cloud, id).await.deleted);
    }
}

/// `InstanceFault.create` once the instance is purged breaks the foreign key of `instance_faults`
/// (`nova/db/main/models.py`).
pub async fn a_fault_is_stored_and_one_of_an_instance_that_is_gone_is_no_error(cloud: &impl ControlPlane) {
    let fault = Fault { code: 500, message: "no disk".to_owned(), details: String::new() };
    let id = cloud.has(SPAWNING).await;
    for id in [id, InstanceId(Uuid::from_u128(0x00DD))] {
        cloud.port().record_fault(&cloud.context(), id, &fault).await.expect("the fault is no error");
    }
    assert_eq!(cloud.faults(id).await, ["no disk"]);
}

/// `InstanceActionEvent.event_start` makes a second row when it is called twice: what was begun is looked for
/// first.
pub async fn an_action_that_begins_again_after_a_restart_is_one(cloud: &impl ControlPlane) {
    let id = cloud.has(SPAWNING).await;
    for resumed in [false, true, true] {
        let begun = cloud.port().start_event(&cloud.context(), id, &CREATE, resumed).await;
        begun.expect("the action begins");
    }
    assert_eq!(cloud.begun(id, &CREATE).await, 1);
}

/// A process may have ended between its journal and `event_start`.
pub async fn an_action_that_had_not_begun_before_a_restart_begins(cloud: &impl ControlPlane) {
    let id = cloud.has(SPAWNING).await;
    let begun = cloud.port().start_event(&cloud.context(), id, &DELETE, true).await;
    begun.expect("the action begins");
    assert_eq!((cloud.begun(id, &DELETE).await, cloud.begun(id, &CREATE).await), (1, 0));
}

/// `InstanceActionEventNotFound` and `InstanceActionNotFound` of `event_finish_with_failure`.
pub async fn an_action_that_never_began_has_no_end_and_that_is_no_error(cloud: &impl ControlPlane) {
    let id = cloud.has(SPAWNING).await;
    for failure in [None, Some(("no disk", "no disk"))] {
        let ended = cloud.port().finish_event(&cloud.context(), id, &CREATE, failure).await;
        ended.expect("there is nothing to end");
    }
    assert_eq!(cloud.begun(id, &CREATE).await, 0);
}
