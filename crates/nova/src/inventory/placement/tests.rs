//! The port against a Placement in process: small, but with generations, resource classes, traits and allocations.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use crate::inventory::books::Providers as _;
use axum::extract::{Query, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use openstack::{Adapter, AdapterOptions, Auth, Service, Session, SessionOptions};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;

const NODE: NodeId = NodeId(Uuid::from_u128(1));

pub fn wanted(reserved: bool) -> Wanted {
    Wanted {
        node: NODE,
        inventory: BTreeMap::from([("CUSTOM_GOLD".to_owned(), Inventory::machine(reserved))]),
        traits: BTreeSet::from(["COMPUTE_NODE".to_owned(), "CUSTOM_FAST".to_owned()]),
    }
}

pub fn known(wanted: &Wanted, generation: i64) -> KnownProvider {
    KnownProvider { generation, inventory: wanted.inventory.clone(), traits: wanted.traits.clone() }
}

#[derive(Default)]
struct Provider {
    generation: i64,
    inventories: Value,
    traits: Vec<String>,
}

#[derive(Default)]
struct World {
    providers: BTreeMap<String, Provider>,
    classes: BTreeSet<String>,
    traits: BTreeSet<String>,
    /// Consumer to provider.
    allocations: BTreeMap<String, String>,
    /// Somebody else writes before each of the next writes.
    rivals: u32,
    log: Vec<String>,
}

type Shared = Arc<Mutex<World>>;

fn conflict(code: &str) -> Response {
    let body = json!({"errors": [{"status": 409, "code": code, "title": "Conflict", "detail": "no"}]});
    (StatusCode::CONFLICT, Json(body)).into_response()
}

async fn answer(
    State(world): State<Shared>,
    method: Method,
    uri: Uri,
    Query(query): Query<BTreeMap<String, String>>,
    body: String,
) -> Response {
    let mut world = world.lock().unwrap();
    world.log.push(format!("{method} {}", uri.path()));
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    let path: Vec<&str> = uri.path().trim_matches('/').split('/').collect();
    match (method.as_str(), path.as_slice()) {
        ("GET", ["resource_providers"]) => {
            let list: Vec<Value> = world
                .providers
                .iter()
                .filter(|(id, provider)| {
                    let class = query.get("resources").map(|asked| asked.strip_suffix(":1").unwrap());
                    let is_taken = world.allocations.values().any(|taken| taken == *id);
                    class.is_none_or(|class| !is_taken && provider.inventories[class]["reserved"] == 0)
                })
                .map(|(id, provider)| json!({"uuid": id, "name": id, "generation": provider.generation}))
                .collect();
            Json(json!({ "resource_providers": list })).into_response()
        }
        ("POST", ["resource_providers"]) => {
            let id = body["uuid"].as_str().unwrap().to_owned();
            if world.providers.contains_key(&id) {
                return conflict("placement.undefined_code");
            }
            world.providers.insert(id.clone(), Provider { inventories: json!({}), ..Provider::default() });
            Json(json!({"uuid": id, "name": id, "generation": 0})).into_response()
        }
        ("DELETE", ["resource_providers", id]) => {
            if world.allocations.values().any(|provider| provider == id) {
                return conflict("placement.undefined_code");
            }
            let gone = world.providers.remove(*id);
            gone.map_or(StatusCode::NOT_FOUND, |_| StatusCode::NO_CONTENT).into_response()
        }
        ("PUT", ["resource_classes", class]) => {
            world.classes.insert((*class).to_owned());
            StatusCode::CREATED.into_response()
        }
        ("GET", ["traits"]) => {
            let asked = query["name"].trim_start_matches("in:").split(',');
            let known: Vec<&str> = asked.filter(|name| world.traits.contains(*name)).collect();
            Json(json!({ "traits": known })).into_response()
        }
        ("PUT", ["traits", name]) => {
            world.traits.insert((*name).to_owned());
            StatusCode::CREATED.into_response()
        }
        ("GET", ["resource_providers", id, "allocations"]) => {
            let held = world.allocations.iter().filter(|(_, provider)| provider == id);
            let held: BTreeMap<_, _> =
                held.map(|(id, _)| (id, json!({"resources": {"CUSTOM_GOLD": 1}}))).collect();
            Json(json!({"allocations": held, "resource_provider_generation": 1})).into_response()
        }
        ("GET" | "PUT", ["resource_providers", id, what]) => provider(&mut world, &method, id, what, &body),
        ("GET", ["allocations", consumer]) => match world.allocations.get(*consumer) {
            Some(provider) => {
                Json(json!({"allocations": {provider: {"resources": {"CUSTOM_GOLD": 1}, "generation": 1}},
                "project_id": "p", "user_id": "u", "consumer_generation": 1}))
                .into_response()
            }
            None => Json(json!({"allocations": {}})).into_response(),
        },
        ("PUT", ["allocations", consumer]) => {
            if std::mem::take(&mut world.rivals) > 0 {
                return conflict("placement.concurrent_update");
            }
            let nothing =
                json!({"allocations": {}, "project_id": "p", "user_id": "u", "consumer_generation": 1});
            assert_eq!(body, nothing);
            world.allocations.remove(*consumer);
            StatusCode::NO_CONTENT.into_response()
        }
        ("DELETE", ["allocations", consumer]) => {
            let gone = world.allocations.remove(*consumer);
            gone.map_or(StatusCode::NOT_FOUND, |_| StatusCode::NO_CONTENT).into_response()
        }
        other => panic!("{other:?}"),
    }
}

fn provider(world: &mut World, method: &Method, id: &str, what: &str, body: &Value) -> Response {
    let World { providers, classes, traits, allocations, rivals, .. } = world;
    let Some(provider) = providers.get_mut(id) else { return StatusCode::NOT_FOUND.into_response() };
    if method == Method::PUT {
        if *rivals > 0 {
            (*rivals, provider.generation) = (*rivals - 1, provider.generation + 1);
        }
        if body["resource_provider_generation"] != provider.generation {
            return conflict("placement.concurrent_update");
        }
        if what == "inventories" {
            let new = body["inventories"].as_object().unwrap();
            if new.keys().any(|class| !classes.contains(class)) {
                return StatusCode::BAD_REQUEST.into_response();
            }
            let leaves =
                provider.inventories.as_object().unwrap().keys().any(|class| !new.contains_key(class));
            if leaves && allocations.values().any(|used| used == id) {
                return conflict("placement.inventory.inuse");
            }
            provider.inventories = body["inventories"].clone();
        } else {
            provider.traits = serde_json::from_value(body["traits"].clone()).unwrap();
            assert!(provider.traits.iter().all(|name| traits.contains(name)));
        }
        provider.generation += 1;
    }
    let value = if what == "inventories" { provider.inventories.clone() } else { json!(provider.traits) };
    Json(json!({"resource_provider_generation": provider.generation, what: value})).into_response()
}

async fn lab_with(options: Options) -> (Placement, Shared) {
    let world = Shared::default();
    world.lock().unwrap().traits.insert("COMPUTE_NODE".to_owned());
    let app = Router::new().fallback(answer).with_state(Arc::clone(&world));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let session = Session::new(SessionOptions::new(Auth::None { endpoint: None })).unwrap();
    let adapter = Adapter::new(session, Service::Placement, AdapterOptions::at(address));
    (Placement::new(Client::new(adapter), options), world)
}

async fn lab() -> (Placement, Shared) {
    lab_with(Options::default()).await
}

fn log(world: &Shared) -> Vec<String> {
    std::mem::take(&mut world.lock().unwrap().log)
}

#[tokio::test]
async fn a_new_node_costs_three_requests_once_its_class_and_traits_are_there() {
    let (placement, world) = lab().await;
    let first = placement.report(&wanted(false), None, false).await.unwrap();
    assert_eq!(first, known(&wanted(false), 2));
    let asked = log(&world);
    assert_eq!(asked.len(), 6, "{asked:?}");
    let other = Wanted { node: NodeId(Uuid::from_u128(2)), ..wanted(false) };
    placement.report(&other, None, false).await.unwrap();
    let provider = "/resource_providers/00000000-0000-0000-0000-000000000002";
    assert_eq!(
        log(&world),
        [
            "POST /resource_providers".to_owned(),
            format!("PUT {provider}/inventories"),
            format!("PUT {provider}/traits")
        ]
    );
}

#[tokio::test]
async fn nothing_is_asked_when_nothing_differs_and_one_write_when_one_thing_does() {
    let (placement, world) = lab().await;
    let known = placement.report(&wanted(false), None, false).await.unwrap();
    log(&world);
    let known = placement.report(&wanted(false), Some(known), true).await.unwrap();
    assert_eq!(log(&world).len(), 0);
    let known = placement.report(&wanted(true), Some(known), true).await.unwrap();
    assert_eq!((log(&world).len(), known.generation), (1, 3));
    assert_eq!(
        world.lock().unwrap().providers[&NODE.to_string()].inventories,
        json!({"CUSTOM_GOLD": {"total": 1, "reserved": 1, "min_unit": 1, "max_unit": 1, "step_size": 1,
            "allocation_ratio": 1.0}})
    );
}

#[tokio::test]
async fn a_provider_that_is_there_is_read_and_what_was_set_by_hand_is_replaced() {
    let (placement, world) = lab().await;
    placement.report(&wanted(false), None, false).await.unwrap();
    world.lock().unwrap().providers.get_mut(&NODE.to_string()).unwrap().traits.push("CUSTOM_BY_HAND".into());
    log(&world);
    let now = placement.report(&wanted(false), None, true).await.unwrap();
    assert_eq!(now, known(&wanted(false), 3));
    assert_eq!(log(&world).len(), 3);
}

#[tokio::test]
async fn a_conflict_is_met_by_reading_again_and_a_war_is_lost_after_four_attempts() {
    let (placement, world) = lab().await;
    let before = placement.report(&wanted(false), None, false).await.unwrap();
    world.lock().unwrap().rivals = 1;
    log(&world);
    let now = placement.report(&wanted(true), Some(before.clone()), true).await.unwrap();
    assert_eq!(now, known(&wanted(true), 4));
    assert_eq!(log(&world).len(), 4);

    world.lock().unwrap().rivals = 100;
    let lost = placement.report(&wanted(false), Some(now), true).await.unwrap_err();
    assert!(lost.to_string().contains("placement.concurrent_update"), "{lost}");
    assert_eq!(log(&world).iter().filter(|line| line.starts_with("PUT")).count(), 4);
}

#[tokio::test]
async fn a_class_in_use_stays_and_the_operator_is_told_which() {
    let (placement, world) = lab().await;
    let known = placement.report(&wanted(false), None, false).await.unwrap();
    world.lock().unwrap().allocations.insert(Uuid::from_u128(9).to_string(), NODE.to_string());
    let silver = Wanted {
        inventory: BTreeMap::from([("CUSTOM_SILVER".to_owned(), Inventory::machine(false))]),
        ..wanted(false)
    };
    let error = placement.report(&silver, Some(known), true).await.unwrap_err();
    let ports::Error::Broken(text) = error else { panic!("{error:?}") };
    assert!(text.contains(&NODE.to_string()) && text.contains("CUSTOM_GOLD"), "{text}");
}

#[tokio::test]
async fn a_provider_that_came_or_went_meanwhile_is_read_or_made() {
    let (placement, world) = lab().await;
    let before = placement.report(&wanted(false), None, false).await.unwrap();
    assert_eq!(placement.report(&wanted(false), None, false).await.unwrap(), before);
    world.lock().unwrap().providers.clear();
    assert_eq!(placement.report(&wanted(true), Some(before), true).await.unwrap(), known(&wanted(true), 2));
    world.lock().unwrap().providers.clear();
    assert_eq!(placement.report(&wanted(true), None, true).await.unwrap(), known(&wanted(true), 2));
}

#[tokio::test]
async fn a_class_that_was_deleted_is_made_again() {
    let (placement, world) = lab().await;
    let before = placement.report(&wanted(false), None, false).await.unwrap();
    world.lock().unwrap().classes.clear();
    placement.report(&wanted(true), Some(before), true).await.unwrap();
    assert!(world.lock().unwrap().classes.contains("CUSTOM_GOLD"));
}

#[tokio::test]
async fn a_thousand_reports_at_once_ensure_a_class_and_its_traits_once() {
    let (placement, world) = lab().await;
    let reports = (1..=1000).map(|number| {
        let wanted = Wanted { node: NodeId(Uuid::from_u128(number)), ..wanted(false) };
        let placement = placement.clone();
        async move { placement.report(&wanted, None, false).await.unwrap() }
    });
    futures_util::StreamExt::collect::<Vec<_>>(futures_util::StreamExt::buffer_unordered(
        futures_util::stream::iter(reports),
        100,
    ))
    .await;
    let asked = log(&world);
    assert_eq!(asked.len(), 3 * 1000 + 3);
    assert_eq!(placement.heads().await.unwrap().len(), 1000);
}

#[tokio::test]
async fn a_provider_goes_with_its_node_and_stays_while_an_instance_holds_it() {
    let (placement, world) = lab().await;
    placement.report(&wanted(false), None, false).await.unwrap();
    let instance = InstanceId(Uuid::from_u128(8));
    world.lock().unwrap().allocations.insert(instance.to_string(), NODE.to_string());
    assert!(!placement.remove(NODE).await.unwrap());
    assert_eq!(
        placement.held_by(instance).await.unwrap(),
        [NODE],
        "an allocation is never removed with a node"
    );
    assert_eq!(placement.heads().await.unwrap().len(), 1);
    world.lock().unwrap().allocations.clear();
    assert!(placement.remove(NODE).await.unwrap());
    assert_eq!(placement.heads().await.unwrap().len(), 0);
    assert!(placement.remove(NODE).await.unwrap(), "it is gone already");
}

#[tokio::test]
async fn an_allocation_is_deleted_or_where_instances_are_reclaimed_emptied() {
    let instance = InstanceId(Uuid::from_u128(8));
    for reclaims in [false, true] {
        let (placement, world) = lab_with(Options { reclaims }).await;
        world.lock().unwrap().allocations.insert(instance.to_string(), NODE.to_string());
        world.lock().unwrap().rivals = 1;
        placement.release(&RequestContext::admin(), instance).await.unwrap();
        assert_eq!(placement.held_by(instance).await.unwrap(), []);
        placement.release(&RequestContext::admin(), instance).await.unwrap();
        let put = log(&world).iter().filter(|line| line.starts_with("PUT")).count();
        assert_eq!(put, if reclaims { 2 } else { 0 });
    }
}

#[tokio::test]
async fn room_is_what_neither_a_reservation_nor_an_allocation_takes() {
    let (placement, world) = lab_with(Options::default()).await;
    placement.report(&wanted(false), None, false).await.unwrap();
    assert_eq!(placement.with_room("CUSTOM_GOLD").await.unwrap(), HashSet::from([NODE]));
    let instance = InstanceId(Uuid::from_u128(8));
    world.lock().unwrap().allocations.insert(instance.to_string(), NODE.to_string());
    assert_eq!(placement.with_room("CUSTOM_GOLD").await.unwrap(), HashSet::new());
    assert_eq!(placement.holders(NODE).await.unwrap(), [instance]);
}

#[tokio::test]
async fn a_claim_is_taken_away_only_as_it_was_seen() {
    let (placement, world) = lab_with(Options::default()).await;
    let instance = InstanceId(Uuid::from_u128(8));
    assert_eq!(placement.claim(instance).await.unwrap(), None);
    world.lock().unwrap().allocations.insert(instance.to_string(), NODE.to_string());
    let seen = placement.claim(instance).await.unwrap().unwrap();
    let older = Claim { generation: seen.generation - 1, ..seen.clone() };
    assert!(!placement.take_from(instance, NODE, &older).await.unwrap());
    world.lock().unwrap().rivals = 1;
    assert!(!placement.take_from(instance, NODE, &seen).await.unwrap());
    assert!(placement.take_from(instance, NODE, &seen).await.unwrap());
    assert!(!placement.take_from(instance, NODE, &seen).await.unwrap());
}

#[test]
fn a_placement_that_an_operator_must_correct_is_away_and_an_answer_is_not() {
    let missing = Error::Endpoint { service: "placement", message: String::new() };
    assert!(matches!(unavailable("w", &missing), ports::Error::Unavailable(_)));
    let strange = Error::Decode { service: "placement", message: String::new() };
    assert!(matches!(unavailable("w", &strange), ports::Error::Broken(_)));
}
