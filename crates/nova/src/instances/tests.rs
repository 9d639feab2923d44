//! The instances against a scripted conductor.

use compute::instance::{Power, TaskState, VmState};
use compute::ports::Instances as _;
use compute::request::Kind;
use oslo::rpc::CallError;

use super::*;
use crate::conductor::testing::{Script, raised};
use crate::testing;

fn instances(script: &Script) -> Instances {
    Instances::new(script.conductor(), "lab-ironic", RecordIds::default())
}

fn spawning() -> (InstanceUpdate, Expect) {
    let update = InstanceUpdate { task_state: Some(Some(TaskState::Spawning)), ..InstanceUpdate::default() };
    (update, Expect::Task(vec![Some(TaskState::BlockDeviceMapping)]))
}

fn record(task: &str) -> Value {
    let mut instance = testing::build_args()["instance"].clone();
    instance["nova_object.data"]["task_state"] = json!(task);
    instance
}

#[tokio::test(start_paused = true)]
async fn the_instances_of_a_host_are_listed_page_by_page() {
    let page = |count: u128| {
        let members = (0..count).map(|number| {
            let mut instance = record("spawning");
            instance["nova_object.data"]["uuid"] = json!(Uuid::from_u128(number));
            instance
        });
        json!({"nova_object.name": "InstanceList", "nova_object.namespace": "nova", "nova_object.version": "2.6",
            "nova_object.data": {"objects": members.collect::<Vec<_>>()}})
    };
    let script = Script::default().then(Ok(page(PAGE as u128))).then(Ok(page(3)));
    let here = instances(&script).on_this_host(&RequestContext::admin()).await.unwrap();
    assert_eq!(here.len(), PAGE + 3);
    let markers: Vec<Value> =
        script.sent().iter().map(|sent| sent.args["kwargs"]["marker"].clone()).collect();
    assert_eq!(markers, [Value::Null, json!(Uuid::from_u128(PAGE as u128 - 1))]);
}

#[tokio::test(start_paused = true)]
async fn an_update_takes_over_what_was_sent_and_what_was_answered() {
    let script = Script::default().then(Ok(json!([{"power_state": 1, "obj_what_changed": []}, null])));
    let (update, expect) = spawning();
    let mut instance = testing::instance();
    instances(&script).update(&RequestContext::admin(), &mut instance, update, expect).await.unwrap();
    assert_eq!(instance.task_state, Some(TaskState::Spawning));
    assert_eq!(instance.power, Power::Running);
    let sent = &script.sent()[0];
    assert_eq!(sent.what, "Instance.save");
    assert_eq!(sent.args["kwargs"], json!({"expected_task_state": ["block_device_mapping"]}));
}

#[tokio::test(start_paused = true)]
async fn a_save_that_was_done_but_not_answered_is_not_done_twice() {
    let script = Script::default().then(Err(CallError::Timeout)).then(Ok(record("spawning")));
    let (update, expect) = spawning();
    let mut instance = testing::instance();
    instances(&script).update(&RequestContext::admin(), &mut instance, update, expect).await.unwrap();
    assert_eq!(instance.task_state, Some(TaskState::Spawning));
    assert_eq!(script.names(), ["Instance.save", "Instance.get_by_uuid"]);
}

#[tokio::test(start_paused = true)]
async fn a_save_that_was_lost_is_done_again() {
    let script = Script::default()
        .then(Err(CallError::Timeout))
        .then(Ok(record("block_device_mapping")))
        .then(Ok(json!([{}, null])));
    let (update, expect) = spawning();
    let mut instance = testing::instance();
    instances(&script).update(&RequestContext::admin(), &mut instance, update, expect).await.unwrap();
    assert_eq!(script.names(), ["Instance.save", "Instance.get_by_uuid", "Instance.save"]);
}

#[tokio::test(start_paused = true)]
async fn a_save_that_was_done_late_and_then_a_second_time_is_done() {
    let script = Script::default()
        .then(Err(CallError::Timeout))
        .then(Ok(record("block_device_mapping")))
        .then(raised("UnexpectedTaskStateError"))
        .then(Ok(record("spawning")));
    let (update, expect) = spawning();
    let mut instance = testing::instance();
    instances(&script).update(&RequestContext::admin(), &mut instance, update, expect).await.unwrap();
    assert_eq!(instance.task_state, Some(TaskState::Spawning));
    assert_eq!(
        script.names(),
        ["Instance.save", "Instance.get_by_uuid", "Instance.save", "Instance.get_by_uuid"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_save_that_finds_the_task_of_another_is_refused() {
    let script = Script::default().then(raised("UnexpectedTaskStateError")).then(Ok(record("powering-off")));
    let (update, expect) = spawning();
    let mut instance = testing::instance();
    let error = instances(&script).update(&RequestContext::admin(), &mut instance, update, expect).await;
    assert!(matches!(error, Err(ports::Error::UnexpectedTask(_))), "{error:?}");
    assert_eq!(script.names(), ["Instance.save", "Instance.get_by_uuid"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_saved_active_is_active_whatever_the_user_began_meanwhile() {
    for (class, task) in
        [("UnexpectedTaskStateError", "powering-off"), ("UnexpectedDeletingTaskStateError", "deleting")]
    {
        let mut active = record(task);
        active["nova_object.data"]["vm_state"] = json!("active");
        let script = Script::default().then(raised(class)).then(Ok(active));
        let update = InstanceUpdate {
            vm_state: Some(VmState::Active),
            task_state: Some(None),
            launched_now: true,
            ..InstanceUpdate::default()
        };
        let mut instance = testing::instance();
        let expect = Expect::Task(vec![Some(TaskState::Spawning)]);
        instances(&script).update(&RequestContext::admin(), &mut instance, update, expect).await.unwrap();
        assert_eq!(instance.vm_state, VmState::Active);
        assert_eq!(json!(instance.task_state), json!(task));
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_save_raises_says_what_became_of_the_instance() {
    for (class, expected) in [
        ("InstanceNotFound", "gone"),
        ("UnexpectedDeletingTaskStateError", "deleting"),
        ("UnexpectedTaskStateError", "other task"),
        ("ObjectActionError", "unavailable"),
    ] {
        let script = Script::default().then(raised(class)).then(Ok(record("deleting")));
        let (update, expect) = spawning();
        let mut instance = testing::instance();
        let error = instances(&script).update(&RequestContext::admin(), &mut instance, update, expect).await;
        let found = match error.unwrap_err() {
            ports::Error::InstanceGone(_) => "gone",
            ports::Error::Deleting(_) => "deleting",
            ports::Error::UnexpectedTask(_) => "other task",
            _ => "unavailable",
        };
        assert_eq!(found, expected, "{class}");
        assert_eq!(instance.task_state, Some(TaskState::Scheduling));
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_gone_is_destroyed_already() {
    let id = testing::instance();
    for answer in [
        raised("InstanceNotFound"),
        Ok({
            let mut deleted = record("deleting");
            deleted["nova_object.data"]["deleted"] = json!(true);
            deleted
        }),
    ] {
        let script = Script::default().then(answer);
        instances(&script).destroy(&RequestContext::admin(), &id).await.unwrap();
        assert_eq!(script.names(), ["Instance.get_by_uuid"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_destroy_names_the_host_so_that_it_is_not_guarded_by_having_none() {
    let mut there = record("deleting");
    there["nova_object.data"]["host"] = json!("lab-ironic");
    let script = Script::default().then(Ok(there)).then(Ok(json!([{}, null])));
    instances(&script).destroy(&RequestContext::admin(), &testing::instance()).await.unwrap();
    let sent = &script.sent()[1];
    assert_eq!(sent.what, "Instance.destroy");
    assert_eq!(
        sent.args["objinst"]["nova_object.data"],
        json!({"id": 4, "uuid": testing::instance().id, "host": "lab-ironic"})
    );
}

#[tokio::test(start_paused = true)]
async fn a_resumed_event_is_begun_only_when_it_was_not() {
    let list = |name: &str, members: Value| {
        json!({"nova_object.name": name, "nova_object.namespace": "nova", "nova_object.version": "1.1",
            "nova_object.data": {"objects": members}})
    };
    let action = json!({"nova_object.name": "InstanceAction", "nova_object.namespace": "nova",
        "nova_object.version": "1.2", "nova_object.data": {"id": 9}});
    let event = |finished: Value| {
        json!([{"nova_object.name": "InstanceActionEvent", "nova_object.namespace": "nova",
            "nova_object.version": "1.4", "nova_object.data": {"event": "compute_terminate_instance",
                "finish_time": finished}}])
    };
    for (events, begun) in
        [(event(Value::Null), false), (event(json!("2026-11-23T02:18:59Z")), true), (json!([]), true)]
    {
        let script = Script::default()
            .then(Ok(action.clone()))
            .then(Ok(list("InstanceActionEventList", events)))
            .then(Ok(Value::Null));
        let id = testing::instance().id;
        instances(&script)
            .start_event(&RequestContext::admin(), id, &Kind::Delete.into(), true)
            .await
            .unwrap();
        assert_eq!(script.names().contains(&"InstanceActionEvent.event_start".to_owned()), begun);
    }
}

#[tokio::test]
async fn events_have_the_names_of_stocks_methods() {
    let context = RequestContext::admin();
    let id = testing::instance().id;
    let script = Script::default();
    let refused = Action::Other("compute_pause_instance".to_owned());
    for action in [Kind::Create.into(), Kind::Delete.into(), Action::PowerUpdate, refused] {
        let script = script.clone().then(Ok(Value::Null)).then(Ok(Value::Null));
        instances(&script).start_event(&context, id, &action, false).await.unwrap();
        instances(&script).finish_event(&context, id, &action, None).await.unwrap();
    }
    let names: Vec<Value> = script.sent().iter().map(|sent| sent.args["args"][1].clone()).collect();
    let twice = |name: &str| [json!(name), json!(name)];
    let expected = [
        twice("compute__do_build_and_run_instance"),
        twice("compute_terminate_instance"),
        twice("compute_power_update"),
        twice("compute_pause_instance"),
    ];
    assert_eq!(names, expected.concat());
}

#[tokio::test(start_paused = true)]
async fn a_full_host_violates_an_anti_affinity_group() {
    let id = testing::instance().id;
    let group = json!({"nova_object.name": "InstanceGroup", "nova_object.namespace": "nova",
        "nova_object.version": "1.11", "nova_object.data": {"policy": "anti-affinity", "members": [id, "other"]}});
    for (here, allowed) in [(json!(["other"]), false), (json!([id]), true)] {
        let script = Script::default().then(Ok(group.clone())).then(Ok(here));
        let checked = instances(&script)
            .check_group_policy(&RequestContext::admin(), &testing::instance(), "a-name")
            .await;
        assert_eq!(checked.is_ok(), allowed);
        if let Err(error) = checked {
            assert!(matches!(error, ports::Error::Refused { why: ports::Refusal::GroupPolicy, .. }));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_that_the_conductor_cannot_read_sends_the_build_to_another_node() {
    let script = Script::default().then(raised("CantStartEngineError"));
    let checked =
        instances(&script).check_group_policy(&RequestContext::admin(), &testing::instance(), "a-name").await;
    assert!(matches!(checked, Err(ports::Error::Refused { .. })), "{checked:?}");
    assert_eq!(script.sent().len(), 1);
    // One that it cannot read now is another matter.
    let away = instances(&Script::default())
        .check_group_policy(&RequestContext::admin(), &testing::instance(), "a-name")
        .await;
    assert!(matches!(away, Err(ports::Error::Unavailable(_))), "{away:?}");
}
