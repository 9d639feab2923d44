//! The port against a Neutron and a ledger in process: builds, failures, crashes in between, and releases.

use compute::ports::{Networks as _, Refusal};
use compute::request::{NetworkRequest, NetworkRequests};
use serde_json::{Value, json};

use super::testing::{Lab, NET, SUBNET, build, given, lab};
use super::*;

fn these(requests: Vec<NetworkRequest>) -> BuildRequest {
    build(NetworkRequests::These(requests))
}

fn on_net() -> NetworkRequest {
    NetworkRequest { network_id: Some(NET.parse().unwrap()), ..NetworkRequest::default() }
}

fn with_port(port: &str) -> NetworkRequest {
    NetworkRequest { port_id: Some(port.parse().unwrap()), ..NetworkRequest::default() }
}

async fn allocate(lab: &Lab, request: &BuildRequest) -> ports::Result<NetworkInfo> {
    lab.networks.allocate(request, &request.instance).await
}

fn why(error: ports::Error) -> Refusal {
    match error {
        ports::Error::Refused { why, .. } => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_plain_build_makes_a_port_as_the_user_and_binds_it_as_ourselves() {
    let lab = lab().await;
    let request = these(vec![on_net()]);
    let info = allocate(&lab, &request).await.unwrap();
    let id = request.instance.id.to_string();
    let provider = "fields=provider%3Aphysical_network&fields=provider%3Anetwork_type";
    assert_eq!(
        lab.log(),
        [
            format!("own GET /v2.0/ports?device_id={id}"),
            format!("user GET /v2.0/networks?id={NET}"),
            "user POST /v2.0/ports".to_owned(),
            "own GET /v2.0/extensions".to_owned(),
            format!("own PUT /v2.0/ports/{}", info.0[0].id),
            format!("own GET /v2.0/subnets?id={SUBNET}"),
            format!("own GET /v2.0/networks/{NET}?{provider}"),
        ]
    );
    let port = lab.neutron().ports[0].clone();
    assert_eq!(
        (port["device_owner"].as_str(), &port["binding:host_id"]),
        (Some("compute:nova"), &Value::Null)
    );
    assert!(port.get("binding:host_id").is_some());
    assert_eq!(lab.rows(), [(info.0[0].id.clone(), None)]);
    let vif = &info.0[0];
    assert_eq!(info.first_ipv4(), Some("10.88.0.10"));
    assert_eq!((vif.vif_type.as_deref(), vif.preserve_on_delete), (Some("unbound"), false));
    assert_eq!(vif.network.as_ref().unwrap().physical_network(), Some("physnet1"));

    // The second build shares what is known of the extensions and the network.
    let mut second = request.clone();
    second.instance.id = InstanceId(Uuid::from_u128(2));
    allocate(&lab, &second).await.unwrap();
    assert_eq!(lab.log().len(), 5);
}

#[tokio::test]
async fn ports_come_in_the_order_of_the_requests_and_the_users_port_is_preserved() {
    let lab = lab().await;
    let port = given(&lab);
    let tagged = NetworkRequest { tag: Some("nic".into()), address: Some("10.88.0.200".into()), ..on_net() };
    let request = these(vec![tagged, with_port(&port), on_net()]);
    let info = allocate(&lab, &request).await.unwrap();
    let ips: Vec<_> = info.fixed_ips().filter_map(|ip| ip.address.clone()).collect();
    assert_eq!(ips, ["10.88.0.200", "10.88.0.77", "10.88.0.11"]);
    let preserve: Vec<bool> = info.0.iter().map(|vif| vif.preserve_on_delete).collect();
    assert_eq!(preserve, [false, true, false]);
    assert_eq!(lab.neutron().port(&port)["binding:profile"], json!({"mine": 1}));
    assert_eq!(lab.rows()[0].1.as_deref(), Some("nic"));
}

#[tokio::test]
async fn a_build_that_was_killed_after_the_port_was_made_goes_on_with_it() {
    let lab = lab().await;
    let port = given(&lab);
    let request = these(vec![on_net(), with_port(&port), on_net()]);
    lab.neutron().hang = Some("PUT");
    tokio::select! {
        _ = allocate(&lab, &request) => panic!(),
        () = lab.hung() => {}
    }
    lab.neutron().hang = None;
    assert_eq!(lab.neutron().ports.len(), 3);
    let made = lab.neutron().ports[1]["id"].as_str().unwrap().to_owned();
    let info = allocate(&lab, &request).await.unwrap();
    assert_eq!(lab.neutron().ports.len(), 3);
    assert_eq!((&info.0[0].id, &info.0[1].id), (&made, &port));
    assert_eq!(lab.rows().len(), 3);
}

#[tokio::test]
async fn a_third_try_changes_nothing_of_what_ironic_bound_meanwhile() {
    let lab = lab().await;
    let request = these(vec![on_net()]);
    allocate(&lab, &request).await.unwrap();
    lab.neutron().ports[0]["mac_address"] = json!("52:54:00:00:00:01");
    lab.neutron().ports[0]["binding:host_id"] = json!("node");
    lab.log();
    let info = allocate(&lab, &request).await.unwrap();
    assert!(lab.log().iter().all(|line| line.contains(" GET ")));
    assert_eq!(info.0[0].address.as_deref(), Some("52:54:00:00:00:01"));
    assert_eq!(lab.neutron().ports[0]["binding:host_id"], "node");
    assert_eq!(lab.rows().len(), 1);
}

#[tokio::test]
async fn a_port_of_a_lost_answer_that_nobody_needs_is_deleted() {
    let lab = lab().await;
    let request = these(vec![on_net()]);
    let info = allocate(&lab, &request).await.unwrap();
    let mut twin = lab.neutron().ports[0].clone();
    (twin["id"], twin["device_owner"]) = (json!(Uuid::from_u128(5)), json!(""));
    lab.neutron().ports.push(twin);
    assert_eq!(allocate(&lab, &request).await.unwrap(), info);
    assert_eq!(lab.neutron().ports.len(), 1);
}

#[tokio::test]
async fn a_failure_deletes_what_was_made_and_unbinds_what_was_given() {
    let lab = lab().await;
    let port = given(&lab);
    let request = these(vec![with_port(&port), on_net(), on_net()]);
    lab.neutron().fail = Some(("PUT", 2, 409, "HostNotCompatibleWithFixedIps"));
    assert_eq!(why(allocate(&lab, &request).await.unwrap_err()), Refusal::AddressNotOnHost);
    let ports = lab.neutron().ports.clone();
    assert_eq!(ports.len(), 1);
    assert_eq!((&ports[0]["device_id"], &ports[0]["device_owner"]), (&json!(""), &json!("")));
    assert_eq!(ports[0]["binding:profile"], json!({"mine": 1}));
    assert_eq!(lab.rows(), []);
}

#[tokio::test]
async fn refusals_have_novas_names_and_leave_nothing_behind() {
    let lab = lab().await;
    let other = given(&lab);
    lab.neutron().ports[0]["device_id"] = json!("other");
    lab.neutron().ports[0]["device_owner"] = json!("compute:nova");
    let nowhere = Uuid::from_u128(99);
    for (request, expected) in [
        (with_port(&other), Refusal::PortInUse),
        (with_port(&nowhere.to_string()), Refusal::PortNotFound),
        (NetworkRequest { network_id: Some(nowhere), ..on_net() }, Refusal::NetworkNotFound),
    ] {
        assert_eq!(why(allocate(&lab, &these(vec![request])).await.unwrap_err()), expected);
    }
    let groups = BuildRequest { security_groups: vec!["nothing".into()], ..these(vec![on_net()]) };
    assert_eq!(why(allocate(&lab, &groups).await.unwrap_err()), Refusal::SecurityGroupNotFound);
    lab.neutron().fail = Some(("POST", 2, 409, "OverQuota"));
    let two = these(vec![on_net(), on_net()]);
    assert_eq!(why(allocate(&lab, &two).await.unwrap_err()), Refusal::PortQuota);
    let mut late = these(vec![on_net()]);
    late.context.auth_token = Some("ended".into());
    assert_eq!(why(allocate(&lab, &late).await.unwrap_err()), Refusal::Unauthenticated);
    assert_eq!(lab.neutron().ports.len(), 1);
    assert_eq!(lab.neutron().ports[0]["device_id"], "other");
}

#[tokio::test]
async fn without_a_request_the_one_network_is_taken_and_two_are_ambiguous() {
    let lab = lab().await;
    assert_eq!(allocate(&lab, &build(NetworkRequests::Default)).await.unwrap().0.len(), 1);
    let mut second = lab.neutron().networks[0].clone();
    second["id"] = json!(Uuid::from_u128(4));
    lab.neutron().networks.push(second);
    let ambiguous = allocate(&lab, &build(NetworkRequests::Default)).await.unwrap_err();
    assert_eq!(why(ambiguous), Refusal::NetworkAmbiguous);
    assert_eq!(lab.neutron().ports.len(), 0);
    lab.neutron().networks.clear();
    assert_eq!(allocate(&lab, &build(NetworkRequests::Default)).await.unwrap().0.len(), 0);
    let automatic = allocate(&lab, &build(NetworkRequests::Auto)).await.unwrap_err();
    assert_eq!(why(automatic), Refusal::NoAutomaticNetwork);
    assert_eq!(allocate(&lab, &build(NetworkRequests::None)).await.unwrap().0.len(), 0);
}

#[tokio::test]
async fn a_name_is_published_by_us_or_in_the_users_zone() {
    let lab = lab().await;
    lab.neutron().extensions.push("dns-integration");
    let request = these(vec![on_net()]);
    allocate(&lab, &request).await.unwrap();
    assert_eq!(lab.neutron().ports[0]["dns_name"], request.instance.hostname.as_str());
    lab.networks.deallocate(&request.context, &request.instance, &[]).await.unwrap();

    let port = given(&lab);
    lab.neutron().networks[0]["dns_domain"] = json!("example.org.");
    let request = these(vec![with_port(&port)]);
    lab.log();
    let info = allocate(&lab, &request).await.unwrap();
    assert_eq!(lab.neutron().port(&port)["dns_name"], request.instance.hostname.as_str());
    let instance = Instance { network: info, ..request.instance };
    lab.networks.deallocate(&request.context, &instance, &[]).await.unwrap();
    assert_eq!(lab.neutron().port(&port)["dns_name"], "");
    let puts: Vec<String> = lab.log().into_iter().filter(|line| line.contains("PUT")).collect();
    let who: Vec<&str> = puts.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(who, ["own", "user", "own", "user"]);
}

#[tokio::test]
async fn a_delete_deletes_ours_keeps_the_users_and_works_when_the_token_has_ended() {
    let lab = lab().await;
    let port = given(&lab);
    let request = these(vec![with_port(&port), on_net()]);
    let info = allocate(&lab, &request).await.unwrap();
    assert_eq!(lab.neutron().ports.len(), 2);
    let instance = Instance { network: info, ..request.instance };
    let mut late = request.context.clone();
    late.auth_token = Some("ended".into());
    lab.networks.deallocate(&late, &instance, &[]).await.unwrap();
    assert_eq!(lab.neutron().ports.len(), 1);
    assert_eq!(lab.neutron().port(&port)["device_id"], "");
    assert_eq!(lab.rows(), []);
    // Nothing is left to do, and a port that is another server's by now is not touched.
    lab.neutron().ports[0]["device_id"] = json!("other");
    lab.networks.deallocate(&late, &instance, &[]).await.unwrap();
    assert_eq!(lab.neutron().port(&port)["device_id"], "other");
}

#[tokio::test]
async fn a_port_that_cannot_be_deleted_is_an_error_after_all_were_tried() {
    let lab = lab().await;
    let request = these(vec![on_net(), on_net()]);
    allocate(&lab, &request).await.unwrap();
    lab.neutron().fail = Some(("DELETE", 1, 500, "Boom"));
    let failed = lab.networks.deallocate(&request.context, &request.instance, &[]).await.unwrap_err();
    assert!(matches!(failed, ports::Error::Unavailable(_)), "{failed:?}");
    assert_eq!((lab.neutron().ports.len(), lab.rows().len()), (1, 2));
    lab.networks.deallocate(&request.context, &request.instance, &[]).await.unwrap();
    assert_eq!((lab.neutron().ports.len(), lab.rows().len()), (0, 0));
}

#[tokio::test]
async fn a_refresh_reads_what_neutron_has_and_never_forgets_what_to_preserve() {
    let lab = lab().await;
    let port = given(&lab);
    let request = these(vec![with_port(&port), on_net()]);
    let info = allocate(&lab, &request).await.unwrap();
    let instance = Instance { network: info.clone(), ..request.instance };
    for (at, mac) in [(0, "52:54:00:00:00:01"), (1, "52:54:00:00:00:02")] {
        lab.neutron().ports[at]["mac_address"] = json!(mac);
    }
    lab.neutron().floating.push(json!({"id": "f", "floating_ip_address": "1.2.3.4",
        "fixed_ip_address": "10.88.0.77", "port_id": port}));
    let context = RequestContext::admin();
    let one = lab.networks.refresh(&context, &instance, Some(port.parse().unwrap())).await.unwrap();
    assert_eq!(one.0[1], info.0[1]);
    assert_eq!(
        (one.0[0].address.as_deref(), one.first_floating()),
        (Some("52:54:00:00:00:01"), Some("1.2.3.4"))
    );
    assert!(one.0[0].preserve_on_delete);
    let all = lab.networks.refresh(&context, &instance, None).await.unwrap();
    assert_eq!((&all.0[0], all.0[1].address.as_deref()), (&one.0[0], Some("52:54:00:00:00:02")));

    let gone = info.0[1].id.clone();
    lab.neutron().ports.retain(|port| port["id"] != gone.as_str());
    let kept = lab.networks.refresh(&context, &instance, Some(gone.parse().unwrap())).await.unwrap();
    assert_eq!(kept, info);
    assert_eq!(lab.networks.refresh(&context, &instance, None).await.unwrap().0.len(), 1);
}

#[tokio::test]
async fn the_names_of_the_security_groups_are_those_of_the_ports() {
    let lab = lab().await;
    lab.neutron().groups.push(json!({"id": "g1", "name": "web"}));
    let request = BuildRequest { security_groups: vec!["web".into()], ..these(vec![on_net()]) };
    assert_eq!(lab.networks.security_group_names(&request.instance).await.unwrap(), [""; 0]);
    allocate(&lab, &request).await.unwrap();
    assert_eq!(lab.networks.security_group_names(&request.instance).await.unwrap(), ["web"]);
}
