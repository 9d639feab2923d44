//! The server against scripted ports.

use std::sync::Arc;

use oslo::context::RequestContext;
use oslo::rpc::Endpoint as _;
use proptest::prelude::*;
use uuid::Uuid;

use super::fake::Fake;
use super::*;
use crate::testing;

fn endpoint(fake: &Fake) -> Endpoint {
    let fake = Arc::new(fake.clone());
    let consoles = Consoles::new(fake.conductor.conductor(), crate::consoles::Options::default());
    let (worker, instances, machines) = (fake.clone(), fake.clone(), fake.clone());
    Endpoint::new(Ports { worker, instances, machines, undo: fake, consoles }, Duration::from_mins(1))
}

fn request(method: &str, args: Map<String, Value>) -> Request {
    Request { version: "6.0".into(), ..Request::new(method, args, RequestContext::admin()) }
}

fn map(value: Value) -> Map<String, Value> {
    crate::conductor::arguments(value)
}

async fn send(fake: &Fake, request: Request) -> Result<Value, Failure> {
    let endpoint = endpoint(fake);
    endpoint.admit(&request).await?;
    endpoint.dispatch(request).await
}

const ID: &str = "2f7cfcfd-4a5b-4cc2-b73c-9ac0dc18007d";

#[tokio::test]
async fn a_build_is_journalled_before_it_begins() {
    let fake = Fake::default();
    let answer = send(&fake, request("build_and_run_instance", testing::build_args())).await;
    assert_eq!(answer, Ok(Value::Null));
    let node = "c6f082e5-e01c-4b7e-8489-e565b1177045";
    assert_eq!(fake.log.lines(), [format!("admit build {ID}"), format!("build {ID} on {node}")]);
}

#[tokio::test]
async fn a_delete_is_journalled_before_it_begins() {
    let fake = Fake::default();
    let args = testing::args(&testing::terminate_message());
    assert_eq!(send(&fake, request("terminate_instance", args)).await, Ok(Value::Null));
    assert_eq!(fake.log.lines(), [format!("admit delete {ID}"), format!("delete {ID}")]);
}

#[tokio::test]
async fn a_build_that_the_journal_does_not_take_goes_back() {
    let fake = Fake { no_journal: true, ..Fake::default() };
    let answer = send(&fake, request("build_and_run_instance", testing::build_args())).await;
    assert_eq!(answer, Ok(Value::Null));
    let reason = "the request could not be journalled: No space left on device";
    assert_eq!(fake.log.lines(), [format!("hand back {ID}: {reason}")]);
}

/// A build whose node cannot be read.
fn unreadable_build() -> Map<String, Value> {
    let mut args = testing::build_args();
    args.insert("node".into(), json!("nowhere"));
    args
}

#[tokio::test]
async fn a_build_that_cannot_be_read_ends_in_error_and_gives_the_node_back() {
    let fake = Fake::default();
    let answer = send(&fake, request("build_and_run_instance", unreadable_build())).await;
    assert!(answer.is_err());
    assert_eq!(
        fake.log.lines(),
        [
            "start compute__do_build_and_run_instance".to_owned(),
            "fault 500 the argument node is missing or malformed: the uuid of an Ironic node is needed"
                .to_owned(),
            "finish compute__do_build_and_run_instance Error".to_owned(),
            "update vm=Some(Error) task=Some(None)".to_owned(),
            format!("release {ID}"),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_refused_build_claimed_is_given_back_when_the_services_are_back() {
    for away in [1, 2, 5] {
        let fake = Fake::default();
        fake.away.store(away, std::sync::atomic::Ordering::Relaxed);
        send(&fake, request("build_and_run_instance", unreadable_build())).await.unwrap_err();
        let ended = ["update vm=Some(Error) task=Some(None)".to_owned(), format!("release {ID}")];
        assert_eq!(fake.log.lines()[3..], ended, "away {away} times");
    }
}

#[tokio::test]
async fn a_delete_that_the_journal_does_not_take_is_begun_all_the_same() {
    let fake = Fake { no_journal: true, ..Fake::default() };
    let args = testing::args(&testing::terminate_message());
    assert_eq!(send(&fake, request("terminate_instance", args)).await, Ok(Value::Null));
    assert_eq!(fake.log.lines(), [format!("delete {ID}")]);
}

#[tokio::test]
async fn a_build_that_is_unreadable_but_for_its_instance_is_not_lost_in_silence() {
    let fake = Fake::default();
    let mut args = testing::build_args();
    args.insert("node".into(), Value::Null);
    let answer = send(&fake, request("build_and_run_instance", args)).await;
    assert!(answer.unwrap_err().message.contains("node"));
    assert_eq!(fake.log.lines().len(), 5);
    assert!(fake.log.lines()[1].starts_with("fault 500 the argument node is missing"));
}

#[tokio::test]
async fn what_ironic_cannot_do_ends_with_fault_event_and_task_in_this_order() {
    let fake = Fake::default();
    let args = testing::args(&testing::stop_message());
    let failure = send(&fake, request("pause_instance", args)).await.unwrap_err();
    assert_eq!((failure.class.as_str(), failure.module.as_str()), ("NotImplementedError", "builtins"));
    assert_eq!(
        fake.log.lines(),
        [
            "start compute_pause_instance",
            "fault 500 NotImplementedError",
            "finish compute_pause_instance Error",
            "update vm=None task=Some(None)",
        ]
    );
}

#[tokio::test]
async fn what_this_release_cannot_do_yet_says_so() {
    let fake = Fake::default();
    let args = testing::args(&testing::stop_message());
    let failure = send(&fake, request("shelve_offload_instance", args.clone())).await.unwrap_err();
    assert_eq!(failure.module, "nova.exception");
    let told = "fault 500 shelve offload instance is not supported by this release of Bessemer";
    assert_eq!(fake.log.lines()[1], told);
    let call = Request { wants_reply: true, ..request("shelve_offload_instance", args) };
    assert_eq!(send(&fake, call).await.unwrap_err().module, "builtins");
}

#[tokio::test(start_paused = true)]
async fn what_a_refusal_takes_back_is_waited_for_but_not_by_a_caller() {
    for wants_reply in [false, true] {
        let fake = Fake::default();
        let endpoint = endpoint(&fake);
        fake.away.store(3, std::sync::atomic::Ordering::Relaxed);
        let args = testing::args(&testing::snapshot_message());
        let request = Request { wants_reply, ..request("snapshot_instance", args) };
        let is_deleted = || fake.log.lines().iter().any(|line| line.starts_with("delete image"));
        endpoint.dispatch(request).await.unwrap_err();
        assert_eq!(is_deleted(), !wants_reply);
        tokio::time::sleep(3 * RETRY).await;
        assert!(is_deleted());
    }
}

#[tokio::test]
async fn a_refused_snapshot_takes_its_image_back() {
    let fake = Fake::default();
    let args = testing::args(&testing::snapshot_message());
    let image = args["image_id"].as_str().unwrap().to_owned();
    assert!(send(&fake, request("snapshot_instance", args)).await.is_err());
    assert_eq!(fake.log.lines()[1], format!("delete image {image}"));
    assert_eq!(fake.log.lines().len(), 5);
}

#[tokio::test]
async fn a_rebuild_of_a_server_on_a_volume_leaves_it_as_it_was() {
    let fake = Fake::default();
    let mut args = testing::args(&testing::rebuild_message());
    args["instance"]["nova_object.data"]["image_ref"] = json!("");
    args["orig_sys_metadata"] = json!({"image_base_image_ref": "old"});
    let failure = send(&fake, request("rebuild_instance", args)).await.unwrap_err();
    assert!(failure.to_string().contains("rebuilding volume backed instances"), "{failure}");
    let lines = fake.log.lines();
    assert_eq!(lines[1], r#"restore image {"image_base_image_ref":"old"}"#);
    assert_eq!(lines.last().unwrap(), "update vm=None task=Some(None)");
}

#[tokio::test]
async fn a_live_migration_is_refused_before_it_begins_so_that_the_server_stays_as_it_is() {
    let fake = Fake::default();
    let args = testing::args(&testing::stop_message());
    let failure = send(&fake, request("check_can_live_migrate_destination", args)).await.unwrap_err();
    assert!(failure.is("MigrationPreCheckError"));
    assert!(!fake.log.lines().iter().any(|line| line.starts_with("update")));
}

#[tokio::test]
async fn an_evacuation_leaves_neither_claim_nor_migration() {
    let fake = Fake::default();
    let mut args = testing::args(&testing::stop_message());
    args.insert("recreate".into(), json!(true));
    args.insert("scheduled_node".into(), json!("00000000-0000-0000-0000-000000000001"));
    assert!(send(&fake, request("rebuild_instance", args)).await.is_err());
    let lines = fake.log.lines();
    assert_eq!(lines[1], "drop claim 00000000-0000-0000-0000-000000000001");
    assert_eq!(lines[2], "migration failed");
}

#[tokio::test]
async fn a_call_is_answered_with_the_class_that_gives_the_right_status() {
    let fake = Fake::default();
    let mut args = testing::args(&testing::stop_message());
    args.insert("console_type".into(), json!("serial"));
    args.insert("volume_id".into(), json!("v"));
    for (method, class) in [
        ("get_serial_console", "ConsoleTypeUnavailable"),
        ("get_console_output", "NotImplementedError"),
        ("reserve_block_device_name", "InvalidVolume"),
        ("get_host_uptime", "NotImplementedError"),
    ] {
        let failure = send(&fake, request(method, args.clone())).await.unwrap_err();
        assert!(failure.is(class), "{method}: {failure}");
    }
}

#[tokio::test]
async fn a_password_is_refused_differently_for_a_server_that_is_off() {
    let fake = Fake::default();
    let mut args = testing::args(&testing::terminate_message());
    let failure = send(&fake, request("set_admin_password", args.clone())).await.unwrap_err();
    assert!(failure.is("InstancePasswordSetFailed"));
    args["instance"]["nova_object.data"]["power_state"] = json!(1);
    let failure = send(&fake, request("set_admin_password", args)).await.unwrap_err();
    assert!(failure.is("NotImplementedError"));
}

#[tokio::test]
async fn news_of_a_port_reach_the_worker() {
    let fake = Fake::default();
    let args = testing::args(&testing::event_message());
    assert_eq!(send(&fake, request("external_instance_event", args)).await, Ok(Value::Null));
    let port: Uuid = "85519b84-2652-424b-bebf-dd9dde56c4d9".parse().unwrap();
    assert_eq!(fake.log.lines(), [format!("network changed {ID} {:?}", Some(port))]);
}

#[tokio::test]
async fn one_unreadable_piece_of_news_does_not_stop_those_after_it() {
    let fake = Fake::default();
    let mut args = testing::args(&testing::event_message());
    let mut off = args["events"][0].clone();
    off["nova_object.data"]["name"] = json!("power-update");
    off["nova_object.data"]["tag"] = json!("POWER_OFF");
    let mut grown = off.clone();
    grown["nova_object.data"]["name"] = json!("volume-extended");
    args.insert("events".into(), json!([null, 3, {"nova_object.name": 1}, grown, off]));
    assert!(send(&fake, request("external_instance_event", args)).await.is_ok());
    assert_eq!(
        fake.log.lines(),
        [
            "start compute_extend_volume".to_owned(),
            "fault 400 Volume size extension is not supported by the hypervisor.".to_owned(),
            "finish compute_extend_volume Error".to_owned(),
            format!("power {ID} false"),
        ]
    );
}

#[tokio::test]
async fn versions_and_namespaces_are_kept_to() {
    let fake = Fake::default();
    for (version, served) in
        [("6.0", true), ("6.5", true), ("5.13", true), ("6.6", false), ("5.14", false), ("7.0", false)]
    {
        let args = map(json!({"enabled": true}));
        let answer =
            send(&fake, Request { version: version.into(), ..request("set_host_enabled", args) }).await;
        match answer {
            Ok(answer) => assert!(served && answer == json!("enabled"), "{version}"),
            Err(failure) => assert!(!served && failure.is("UnsupportedVersion"), "{version}"),
        }
    }
    let ping = Request {
        namespace: Some("baseapi".into()),
        version: "1.0".into(),
        ..request("ping", map(json!({"arg": 1})))
    };
    assert_eq!(send(&fake, ping.clone()).await, Ok(json!({"service": "compute", "arg": 1})));
    let stranger = Request { namespace: Some("stranger".into()), ..ping };
    assert!(send(&fake, stranger).await.unwrap_err().is("UnsupportedVersion"));
    assert!(send(&fake, request("format_disk", Map::new())).await.unwrap_err().is("NoSuchMethod"));
}

#[tokio::test]
async fn images_are_not_cached_on_bare_metal() {
    let args = map(json!({"image_ids": ["a", "b", 3]}));
    let answer = send(&Fake::default(), request("cache_images", args)).await;
    assert_eq!(answer, Ok(json!({"a": "unsupported", "b": "unsupported"})));
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
        Just(json!(ID)),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((field(), inner), 0..5)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

fn field() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("nova_object.name".to_owned()),
        Just("nova_object.namespace".to_owned()),
        Just("nova_object.version".to_owned()),
        Just("nova_object.data".to_owned()),
        Just("nova_object.changes".to_owned()),
        Just("objects".to_owned()),
        Just("uuid".to_owned()),
        ".{0,6}",
    ]
}

/// The path of one value somewhere in a document.
fn paths(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                paths(value, &format!("{at}/{index}"), found);
            }
        }
        Value::Object(map) => {
            for (name, value) in map {
                let name = name.replace('~', "~0").replace('/', "~1");
                paths(value, &format!("{at}/{name}"), found);
            }
        }
        _ => {}
    }
}

fn run(fake: &Fake, request: Request) -> Result<Value, Failure> {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(send(fake, request))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_arguments_make_any_method_panic(
        method in prop::sample::select(super::methods::names().collect::<Vec<_>>()),
        names in prop::collection::vec(prop::sample::select(vec![
            "instance", "instances", "events", "bdms", "node", "image", "request_spec", "filter_properties",
            "injected_files", "requested_networks", "security_groups", "block_device_mapping", "migration",
            "image_id", "image_ids", "bdm", "orig_image_ref", "orig_sys_metadata", "enabled", "tag", "volume_id", "recreate", "scheduled_node",
        ]), 0..6),
        values in prop::collection::vec(anything(), 6),
    ) {
        let args = names.into_iter().map(str::to_owned).zip(values).collect();
        let _ = run(&Fake::default(), request(method, args));
    }

    #[test]
    fn a_captured_build_with_any_one_value_replaced_is_built_or_refused_aloud(
        at in any::<prop::sample::Index>(), value in anything(),
    ) {
        let mut args = Value::Object(testing::build_args());
        let mut found = Vec::new();
        paths(&args, "", &mut found);
        found.remove(0);
        *args.pointer_mut(&found[at.index(found.len())]).unwrap() = value;
        let fake = Fake::default();
        let answer = run(&fake, request("build_and_run_instance", map(args)));
        match answer {
            Ok(_) => prop_assert_eq!(fake.log.lines().len(), 2),
            // Without an instance there is nobody to tell but the log.
            Err(_) => prop_assert!(matches!(fake.log.lines().len(), 0 | 5)),
        }
    }
}

fn attach_args() -> Map<String, Value> {
    let mut args = testing::args(&testing::stop_message());
    for (name, value) in [
        ("network_id", json!("5058945c-91c2-42a7-aa3c-a8f779852e7d")),
        ("port_id", Value::Null),
        ("requested_ip", json!("10.88.0.9")),
        ("tag", Value::Null),
    ] {
        args.insert(name.to_owned(), value);
    }
    args["instance"]["nova_object.data"]["task_state"] = Value::Null;
    args
}

#[tokio::test]
async fn the_caller_of_an_attachment_gets_the_interface_or_the_class_that_its_api_knows() {
    let vif = configdrive::network::Vif::new("d9c1338a-6f6e-4f43-b987-258be2abcbee");
    let fake = Fake::default();
    *fake.attached.lock().unwrap() = Some(Ok(vif.clone()));
    let answer = send(&fake, request("attach_interface", attach_args())).await.unwrap();
    assert_eq!(answer, json!(vif));
    assert_eq!(fake.log.lines(), [format!("admit attach_interface {ID}"), format!("attach_interface {ID}")]);

    let refused = compute::ports::Error::Refused {
        why: compute::ports::Refusal::AddressInUse,
        message: "Fixed IP 10.88.0.9 is already in use.".to_owned(),
    };
    *fake.attached.lock().unwrap() = Some(Err(refused));
    let failure = send(&fake, request("attach_interface", attach_args())).await.unwrap_err();
    assert!(failure.is("FixedIpAlreadyInUse"));
    assert_eq!(failure.message, "Fixed IP 10.88.0.9 is already in use.");
}

#[tokio::test(start_paused = true)]
async fn the_caller_of_an_attachment_is_answered_before_it_gives_up_and_nobody_waits_after_that() {
    let fake = Fake::default();
    let began = tokio::time::Instant::now();
    let failure = send(&fake, request("attach_interface", attach_args())).await.unwrap_err();
    assert!(failure.is("InterfaceAttachFailed"));
    assert_eq!(began.elapsed(), Duration::from_secs(55));
    assert!(fake.held.lock().unwrap()[0].given_up().is_cancelled());
}

#[tokio::test]
async fn an_interface_request_that_the_journal_does_not_take_ends_no_task() {
    let fake = Fake { no_journal: true, ..Fake::default() };
    send(&fake, request("attach_interface", attach_args())).await.unwrap_err();
    assert_eq!(
        fake.log.lines(),
        [
            "start compute_attach_interface",
            "fault 500 the request could not be journalled: No space left on device",
            "finish compute_attach_interface Error",
        ]
    );
}
