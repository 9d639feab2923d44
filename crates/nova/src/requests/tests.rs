//! Requests as nova-api and nova-scheduler send them.

use std::collections::BTreeMap;

use async_trait::async_trait;
use compute::instance::{Power, TaskState, VmState};
use compute::ports::Requests as _;
use compute::ports::conformance::requests::ControlPlane;
use compute::request::{NetworkRequests, PowerAction, RescueAction};
use secrecy::ExposeSecret;

use super::*;
use crate::testing;

#[test]
fn a_captured_build_is_read_whole() {
    let message = testing::build_message();
    let context = RequestContext::from_message(&message);
    let build = create::read(&testing::build_args(), &context).unwrap();
    assert_eq!(build.node.to_string(), "c6f082e5-e01c-4b7e-8489-e565b1177045");
    assert_eq!(build.admin_password.as_ref().unwrap().expose_secret(), "PASSWORD");
    assert!(build.may_reschedule && build.server_group.is_none() && build.provider_mapping.is_empty());
    assert_eq!(build.security_groups, ["default"]);
    let NetworkRequests::These(networks) = &build.networks else { panic!("{:?}", build.networks) };
    assert_eq!(networks[0].network_id.unwrap().to_string(), "5058945c-91c2-42a7-aa3c-a8f779852e7d");
    assert_eq!(build.block_devices.len(), 1);
    assert!(build.block_devices[0].is_root() && !build.block_devices[0].is_volume());
    let instance = &build.instance;
    assert_eq!(instance.vm_state, VmState::Building);
    assert_eq!(instance.task_state, Some(TaskState::Scheduling));
    assert_eq!((instance.flavor.name.as_str(), instance.flavor.memory_mb), ("bm.lab", 16384));
    assert_eq!(instance.flavor.extra_specs["trait:CUSTOM_LAB"], "required");
    assert_eq!(instance.keypair.as_ref().unwrap().kind, "ssh");
    assert_eq!(instance.ec2_ids.instance_id.as_deref(), Some("i-00000004"));
    assert_eq!(instance.image_property("container_format"), Some("bare"));
    assert_eq!(instance.metadata, BTreeMap::from([("purpose".into(), "smoke".into())]));
    assert!(!instance.has_trusted_certs && instance.kernel_id.is_none());
}

#[test]
fn a_captured_delete_is_read_with_the_addresses_it_gives_back() {
    let message = testing::terminate_message();
    let delete = delete::read(&testing::args(&message), &RequestContext::from_message(&message)).unwrap();
    assert_eq!(delete.instance.task_state, Some(TaskState::Deleting));
    assert_eq!(delete.instance.network.0[0].id, "85519b84-2652-424b-bebf-dd9dde56c4d9");
    assert_eq!(delete.instance.power, Power::Shutdown);
    assert_eq!(delete.block_devices[0].device_name.as_deref(), Some("/dev/sda"));
}

#[test]
fn a_rescue_is_read_with_its_password_and_image_and_the_journal_keeps_both() {
    let mut args = testing::args(&testing::stop_message());
    args.insert("rescue_password".into(), json!("canary"));
    args.insert("rescue_image_ref".into(), json!("73faf9ad-eddf-4bb9-b0ae-6a20a98ac913"));
    args.insert("clean_shutdown".into(), json!(false));
    let read = |args: &Args| method(Kind::Rescue).read(args, &RequestContext::admin()).unwrap();
    let rescue = read(&args);
    assert!(!format!("{rescue:?}").contains("canary"));
    let Some(Request::Rescue(again)) = Requests.decode(Kind::Rescue, &rescue.origin().0) else { panic!() };
    let RescueAction::Rescue { password, image, gracefully } = again.action else { panic!() };
    assert_eq!(password.unwrap().expose_secret(), "canary");
    assert!(image.is_some() && !gracefully);
    for name in ["rescue_password", "rescue_image_ref", "clean_shutdown"] {
        args.insert(name.into(), json!(null));
    }
    let Request::Rescue(rescue) = read(&args) else { panic!() };
    let RescueAction::Rescue { password, image, gracefully } = rescue.action else { panic!() };
    assert!(password.is_none() && image.is_none() && gracefully);
}

#[test]
fn a_captured_rebuild_is_read_whole() {
    let message = testing::rebuild_message();
    let context = RequestContext::from_message(&message);
    let mut args = testing::args(&message);
    args["instance"]["nova_object.data"]["system_metadata"]["image_trait:CUSTOM_RAID"] = json!("required");
    args["preserve_ephemeral"] = json!(true);
    args["injected_files"] = json!([["/etc/motd", "aGk="]]);
    let Request::Rebuild(rebuild) = method(Kind::Rebuild).read(&args, &context).unwrap() else { panic!() };
    assert_eq!(rebuild.image_id.unwrap().to_string(), "73faf9ad-eddf-4bb9-b0ae-6a20a98ac913");
    assert_eq!(rebuild.image_traits, ["CUSTOM_RAID"]);
    assert_eq!(rebuild.admin_password.as_ref().unwrap().expose_secret(), "PASSWORD");
    assert_eq!(rebuild.injected_files[0].path, "/etc/motd");
    assert!(rebuild.preserve_ephemeral);
    assert_eq!(rebuild.instance.task_state, Some(TaskState::Rebuilding));
    assert!(rebuild.instance.launched_at.is_some());
    assert_eq!(rebuild.instance.node.unwrap().to_string(), "c6f082e5-e01c-4b7e-8489-e565b1177045");
    let again = Requests.decode(Kind::Rebuild, &rebuild.origin.0).unwrap();
    assert_eq!(again.instance().id, rebuild.instance.id);
}

#[test]
fn whether_a_server_boots_from_a_volume_is_seen_by_its_disks_or_its_image() {
    let mut args = testing::args(&testing::rebuild_message());
    args["reimage_boot_volume"] = json!(true);
    assert!(!rebuild::boots_from_volume(&args));
    let mut on_volume = args.clone();
    on_volume["bdms"]["nova_object.data"]["objects"][0]["nova_object.data"]["destination_type"] =
        json!("volume");
    assert!(rebuild::boots_from_volume(&on_volume));
    args["instance"]["nova_object.data"]["image_ref"] = json!("");
    args["bdms"] = json!(null);
    assert!(rebuild::boots_from_volume(&args));
}

#[test]
fn what_the_journal_keeps_is_the_request_again() {
    let message = testing::build_message();
    let context = RequestContext::from_message(&message);
    let build = create::read(&testing::build_args(), &context).unwrap();
    let text = serde_json::to_string(&build.origin.0).unwrap();
    let again = Requests.decode(Kind::Create, &serde_json::from_str(&text).unwrap());
    let Some(Request::Create(again)) = again else { panic!("{again:?}") };
    assert_eq!(again.origin.0, build.origin.0);
    assert_eq!(again.context.request_id, context.request_id);
    assert_eq!(again.context.auth_token.unwrap().expose_secret(), "TOKEN");
    assert_eq!(again.node, build.node);
    assert!(Requests.decode(Kind::Delete, &build.origin.0).is_none());
    assert!(Requests.decode(Kind::Create, &json!({"method": "build_and_run_instance"})).is_none());
}

#[test]
fn no_secret_of_a_request_is_printed() {
    let mut args = testing::build_args();
    args.insert("admin_password".into(), json!("canary-1"));
    args.insert("injected_files".into(), json!([["/etc/motd", "canary-2"]]));
    args["instance"]["nova_object.data"]["user_data"] = json!("canary-3");
    let build = create::read(&args, &RequestContext::from_message(&testing::build_message())).unwrap();
    let shown = format!("{build:?}");
    assert!(!shown.contains("canary") && !shown.contains("TOKEN"));
}

/// Nova keeps an empty text apart from none: the first is an empty file in the config drive.
#[test]
fn user_data_may_be_empty() {
    for (value, user_data) in [(json!(""), Some("")), (json!("IyE=\n"), Some("IyE=\n")), (json!(null), None)]
    {
        let mut args = testing::build_args();
        args["instance"]["nova_object.data"]["user_data"] = value;
        let build = create::read(&args, &RequestContext::admin()).unwrap();
        assert_eq!(build.instance.user_data.as_ref().map(ExposeSecret::expose_secret), user_data);
    }
}

#[test]
fn networks_may_be_automatic_or_none_or_left_to_the_project() {
    let with = |value: Value| {
        let mut args = testing::build_args();
        args.insert("requested_networks".into(), value);
        create::read(&args, &RequestContext::admin()).map(|build| build.networks)
    };
    let list = |id: &str| {
        json!({"nova_object.name": "NetworkRequestList", "nova_object.namespace": "nova",
            "nova_object.version": "1.1", "nova_object.data": {"objects": [
                {"nova_object.name": "NetworkRequest", "nova_object.namespace": "nova",
                 "nova_object.version": "1.3", "nova_object.data": {"network_id": id}}]}})
    };
    assert_eq!(with(Value::Null), Ok(NetworkRequests::Default));
    assert_eq!(with(list("auto")), Ok(NetworkRequests::Auto));
    assert_eq!(with(list("none")), Ok(NetworkRequests::None));
    assert!(with(list("no uuid")).is_err());
    assert!(with(json!("x")).is_err());
}

#[test]
fn an_image_that_requires_traits_says_so_in_either_form() {
    let mut args = testing::build_args();
    args["image"]["properties"] =
        json!({"trait:CUSTOM_A": "required", "trait:CUSTOM_B": "forbidden", "traits_required": ["CUSTOM_C"]});
    let build = create::read(&args, &RequestContext::admin()).unwrap();
    assert_eq!(build.image_traits, ["CUSTOM_C", "CUSTOM_A"]);
}

#[test]
fn the_hint_of_a_group_and_the_providers_of_ports_come_from_the_request_spec() {
    let mut args = testing::build_args();
    let spec = &mut args["request_spec"]["nova_object.data"];
    spec["scheduler_hints"] = json!({"group": ["g"]});
    let node = "c6f082e5-e01c-4b7e-8489-e565b1177045";
    spec["requested_resources"] = json!([{"nova_object.name": "RequestGroup", "nova_object.namespace": "nova",
        "nova_object.version": "1.3", "nova_object.data": {"requester_id": "port", "provider_uuids": [node]}}]);
    let build = create::read(&args, &RequestContext::admin()).unwrap();
    assert_eq!(build.server_group.as_deref(), Some("g"));
    assert_eq!(build.provider_mapping["port"][0].to_string(), node);
}

#[test]
fn a_request_of_the_services_own_is_read_again_from_the_journal() {
    let (context, instance) = (RequestContext::admin(), testing::instance());
    let again = |asked: &Request| Requests.decode(asked.kind(), &asked.origin().0).unwrap();
    let delete = again(&Requests.own_delete(&context, &instance));
    let Request::Delete(delete) = delete else { panic!("{delete:?}") };
    assert!(delete.is_own && delete.instance.id == instance.id);
    assert_eq!(delete.context.request_id, context.request_id);
    let stop = again(&Requests.own_stop(&context, &instance));
    let Request::Power(stop) = stop else { panic!("{stop:?}") };
    assert_eq!((stop.action, stop.instance.id), (PowerAction::Stop { gracefully: true }, instance.id));
}

#[test]
fn what_nova_api_asks_for_is_no_request_of_our_own() {
    let message = testing::terminate_message();
    let delete = delete::read(&testing::args(&message), &RequestContext::from_message(&message)).unwrap();
    assert!(!delete.is_own);
}

/// A stock Nova that asks for everything.
struct Stock;

#[async_trait]
impl ControlPlane for Stock {
    fn port(&self) -> &dyn ports::Requests {
        &Requests
    }

    async fn ask(&self) -> Vec<Request> {
        let context = RequestContext::from_message(&testing::build_message());
        let args = |kind| match kind {
            Kind::Create => testing::build_args(),
            Kind::Stop
            | Kind::Start
            | Kind::Rescue
            | Kind::Unrescue
            | Kind::SoftDelete
            | Kind::Restore
            | Kind::CrashDump => testing::args(&testing::stop_message()),
            Kind::Reboot => with(testing::args(&testing::stop_message()), &[("reboot_type", json!("HARD"))]),
            Kind::Rebuild => testing::args(&testing::rebuild_message()),
            Kind::AttachInterface | Kind::DetachInterface | Kind::AddAddress | Kind::RemoveAddress => {
                let port = json!("d9c1338a-6f6e-4f43-b987-258be2abcbee");
                let network = json!("5058945c-91c2-42a7-aa3c-a8f779852e7d");
                let more = [("port_id", port), ("network_id", network), ("address", json!("10.88.0.9"))];
                with(testing::args(&testing::stop_message()), &more)
            }
            Kind::Delete => testing::args(&testing::terminate_message()),
        };
        Kind::ALL.map(|kind| method(kind).read(&args(kind), &context).unwrap()).into()
    }
}

/// Arguments, and more.
fn with(mut args: Args, more: &[(&str, Value)]) -> Args {
    args.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    args
}

compute::conformance!(requests, async { Stock });
#[test]
fn requests_for_interfaces_are_read_and_found_in_the_journal_again() {
    let message = testing::stop_message();
    let context = RequestContext::from_message(&message);
    let mut args = testing::args(&message);
    let network = "5058945c-91c2-42a7-aa3c-a8f779852e7d";
    for (name, value) in [
        ("network_id", json!(network)),
        ("port_id", Value::Null),
        ("requested_ip", json!("10.88.0.9")),
        ("tag", json!("")),
        ("address", json!("10.88.0.9")),
    ] {
        args.insert(name.to_owned(), value);
    }
    let read = |kind, args: &Args| method(kind).read(args, &context);
    let Ok(Request::Attach(attach)) = read(Kind::AttachInterface, &args) else { panic!() };
    assert_eq!(attach.wanted.network_id.map(|id| id.to_string()).as_deref(), Some(network));
    assert_eq!((attach.wanted.port_id, attach.wanted.tag), (None, None));
    assert_eq!(attach.wanted.address.as_deref(), Some("10.88.0.9"));
    assert!(read(Kind::DetachInterface, &args).is_err());
    args["port_id"] = json!("no-uuid");
    assert!(read(Kind::AttachInterface, &args).is_err());
    for kind in [Kind::DetachInterface, Kind::AddAddress, Kind::RemoveAddress] {
        let request = read(kind, &args).unwrap();
        let again = Requests.decode(kind, &request.origin().0).unwrap();
        assert_eq!(again.key(), request.key());
    }
    let again = Requests.decode(Kind::AttachInterface, &attach.origin.0);
    assert!(matches!(again, Some(Request::Attach(again)) if again.answer.is_none()));
}
