//! The port against a Cinder and a conductor in process.

use std::sync::{Arc, Mutex, MutexGuard};

use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use compute::ports::Volumes as _;
use openstack::{Adapter, AdapterOptions, Auth, Service, Session, SessionOptions};
use oslo::rpc::{CallError, Target};

use super::*;
use crate::conductor::Rpc;
use crate::instances::testing;

const VOLUME: Uuid = Uuid::from_u128(0xa);

/// Cinder's volumes and attachments, and Nova's records of the disks.
#[derive(Default)]
struct World {
    volumes: Vec<Value>,
    attachments: Vec<Value>,
    records: Vec<Value>,
    /// Completing an attachment fails so.
    refuses: Option<u16>,
    log: Vec<String>,
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<World>>);

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.world().log)
    }
}

fn of<'a>(list: &'a mut [Value], id: &str) -> Option<&'a mut Value> {
    list.iter_mut().find(|document| document["id"] == id)
}

async fn answer(
    State(shared): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> Response {
    let mut world = shared.world();
    let path: Vec<&str> = uri.path().trim_start_matches("/v3/").trim_matches('/').split('/').collect();
    if uri.path() == "/v3/" {
        let document = json!({"versions": [{"id": "v3.0", "version": "3.71", "min_version": "3.0"}]});
        return Json(document).into_response();
    }
    world.log.push(format!("{method} {}", path.join("/")));
    if headers.get("x-auth-token").is_some_and(|token| token == "ended") {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    let missing = || StatusCode::NOT_FOUND.into_response();
    match (method.as_str(), path.as_slice()) {
        ("POST", ["volumes"]) => {
            let mut volume = body["volume"].clone();
            let id = Uuid::from_u128(0xb0 + world.volumes.len() as u128);
            (volume["id"], volume["status"]) = (json!(id), json!("creating"));
            world.volumes.push(volume.clone());
            Json(json!({ "volume": volume })).into_response()
        }
        ("GET", ["volumes", id]) => match of(&mut world.volumes, id) {
            None => missing(),
            Some(volume) => {
                let seen = volume.clone();
                if volume["status"] == "creating" {
                    volume["status"] = json!("available");
                }
                Json(json!({ "volume": seen })).into_response()
            }
        },
        ("DELETE", ["volumes", id]) => {
            world.volumes.retain(|volume| volume["id"] != *id);
            StatusCode::ACCEPTED.into_response()
        }
        ("GET", ["attachments"]) => Json(json!({"attachments": world.attachments})).into_response(),
        ("POST", ["attachments"]) => {
            let id = Uuid::from_u128(0xc0 + world.attachments.len() as u128);
            let attachment = json!({"id": id, "status": "reserved", "instance": body["attachment"]["instance_uuid"],
                "volume_id": body["attachment"]["volume_uuid"]});
            world.attachments.push(attachment.clone());
            Json(json!({ "attachment": attachment })).into_response()
        }
        ("PUT", ["attachments", id]) => match of(&mut world.attachments, id) {
            None => missing(),
            Some(attachment) => {
                attachment["connector"] = body["attachment"]["connector"].clone();
                attachment["status"] = json!("attaching");
                let mut answer = attachment.clone();
                answer["connection_info"] = json!({"driver_volume_type": "iscsi", "target_lun": 1,
                    "auth_password": "hunter2"});
                Json(json!({ "attachment": answer })).into_response()
            }
        },
        ("POST", ["attachments", id, "action"]) => {
            if let Some(status) = world.refuses {
                return StatusCode::from_u16(status).unwrap().into_response();
            }
            match of(&mut world.attachments, id) {
                None => missing(),
                Some(attachment) => {
                    attachment["status"] = json!("attached");
                    StatusCode::NO_CONTENT.into_response()
                }
            }
        }
        ("DELETE", ["attachments", id]) => {
            world.attachments.retain(|attachment| attachment["id"] != *id);
            Json(json!({"attachments": []})).into_response()
        }
        other => panic!("{other:?}"),
    }
}

#[async_trait]
impl Rpc for Shared {
    async fn call(
        &self,
        _: &RequestContext,
        _: &Target,
        _: &str,
        args: Map<String, Value>,
        _: Duration,
    ) -> Result<Value, CallError> {
        let mut world = self.world();
        match args["objmethod"].as_str().unwrap() {
            "save" => {
                let change = &args["objinst"];
                let id = &change["nova_object.data"]["id"];
                let record =
                    world.records.iter_mut().find(|record| record["nova_object.data"]["id"] == *id).unwrap();
                for field in change["nova_object.changes"].as_array().unwrap() {
                    let field = field.as_str().unwrap();
                    record["nova_object.data"][field] = change["nova_object.data"][field].clone();
                }
                Ok(json!([{"obj_what_changed": []}, null]))
            }
            "get_by_instance_uuid" => Ok(json!({"nova_object.name": "BlockDeviceMappingList",
                "nova_object.namespace": "nova", "nova_object.version": "1.18",
                "nova_object.data": {"objects": world.records}})),
            other => panic!("{other}"),
        }
    }

    async fn cast(
        &self,
        _: &RequestContext,
        _: &Target,
        _: &str,
        _: Map<String, Value>,
        _: Duration,
    ) -> Result<(), CallError> {
        panic!()
    }
}

struct Lab {
    volumes: Volumes,
    shared: Shared,
    instance: Instance,
    context: RequestContext,
}

impl Lab {
    /// Adds a disk, as the request brings it.
    fn disk(&self, fields: &Value) -> BlockDevice {
        let mut world = self.shared.world();
        let number = world.records.len() + 1;
        let mut data = json!({"id": number, "uuid": Uuid::from_u128(number as u128), "destination_type": "volume",
            "device_name": format!("/dev/sd{number}"), "boot_index": 0, "volume_size": null,
            "delete_on_termination": true, "no_device": false});
        for (name, value) in fields.as_object().unwrap() {
            data[name] = value.clone();
        }
        let record = json!({"nova_object.name": "BlockDeviceMapping", "nova_object.namespace": "nova",
            "nova_object.version": "1.20", "nova_object.data": data});
        world.records.push(record.clone());
        parse::block_device(Object::from_value(record).unwrap())
    }

    /// A disk on a volume that Nova reserved.
    fn reserved(&self) -> BlockDevice {
        let attachment = Uuid::from_u128(0xaa);
        let mut world = self.shared.world();
        world.volumes.push(json!({"id": VOLUME, "status": "reserved", "size": 7}));
        world.attachments.push(json!({"id": attachment, "status": "reserved", "volume_id": VOLUME}));
        drop(world);
        self.disk(&json!({"source_type": "volume", "volume_id": VOLUME, "attachment_id": attachment}))
    }

    async fn attach(&self, devices: &mut [BlockDevice]) -> Result<Vec<NewVolumeTarget>> {
        let connector = json!({"initiator": "iqn"});
        self.volumes.attach(&self.context, &self.instance, devices, &connector).await
    }

    fn saved(&self, field: &str) -> Value {
        self.shared.world().records[0]["nova_object.data"][field].clone()
    }
}

async fn lab(options: Options) -> Lab {
    let shared = Shared::default();
    let app = Router::new().fallback(answer).with_state(shared.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/v3", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let session = Session::new(SessionOptions::new(Auth::None { endpoint: None })).unwrap();
    let adapter = Adapter::new(session, Service::BlockStorage, AdapterOptions::at(address));
    let conductor = Conductor::new(Arc::new(shared.clone()), crate::conductor::Options::default());
    let mut instance = testing::instance();
    instance.node = Some(NodeId(Uuid::from_u128(1)));
    let mut context = RequestContext::admin();
    context.auth_token = Some("user".into());
    Lab { volumes: Volumes::new(Client::new(adapter), conductor, options), shared, instance, context }
}

async fn quick() -> Lab {
    lab(Options { allocate_interval: Duration::ZERO, ..Options::default() }).await
}

fn text(error: &ports::Error) -> (&str, &str) {
    match error {
        ports::Error::Refused { class, message } => (class, message),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_reserved_volume_is_connected_written_down_and_completed() {
    let lab = quick().await;
    let mut devices = [lab.reserved()];
    let targets = lab.attach(&mut devices).await.unwrap();
    assert_eq!(targets.len(), 1);
    let target = &targets[0];
    assert_eq!((target.volume_type.as_str(), target.boot_index), ("iscsi", Some(0)));
    assert_eq!((target.volume_id.clone(), &target.properties["target_lun"]), (VOLUME.to_string(), &json!(1)));
    let world = lab.shared.world();
    assert_eq!(world.attachments[0]["status"], "attached");
    assert_eq!(world.attachments[0]["connector"], json!({"initiator": "iqn", "mountpoint": "/dev/sd1"}));
    drop(world);
    assert_eq!(lab.saved("volume_size"), 7);
    let info: Value = serde_json::from_str(lab.saved("connection_info").as_str().unwrap()).unwrap();
    assert_eq!((&info["driver_volume_type"], &info["serial"]), (&json!("iscsi"), &json!(VOLUME)));
}

#[tokio::test]
async fn a_volume_is_made_awaited_and_attached_and_a_second_try_makes_no_other() {
    let lab = quick().await;
    let asked = lab.disk(&json!({"source_type": "image", "image_id": "i", "volume_size": 5}));
    let mut devices = [asked.clone()];
    let first = lab.attach(&mut devices).await.unwrap();
    assert!(devices[0].volume_id.is_some() && devices[0].attachment_id.is_some());
    // After a restart the request is as it came.
    let mut devices = [asked];
    let second = lab.attach(&mut devices).await.unwrap();
    assert_eq!(second[0].volume_id, first[0].volume_id);
    let world = lab.shared.world();
    assert_eq!((world.volumes.len(), world.attachments.len()), (1, 1));
    assert_eq!((&world.volumes[0]["imageRef"], &world.volumes[0]["size"]), (&json!("i"), &json!(5)));
}

#[tokio::test]
async fn a_try_that_was_killed_between_two_notes_is_gone_on_with() {
    let lab = quick().await;
    let asked = lab.disk(&json!({"source_type": "blank", "volume_size": 5}));
    lab.attach(&mut [asked.clone()]).await.unwrap();
    // The attachment was made, and the process ended before it was written down.
    lab.shared.world().records[0]["nova_object.data"]["attachment_id"] = Value::Null;
    lab.attach(&mut [asked]).await.unwrap();
    assert_eq!(lab.shared.world().attachments.len(), 1);
    assert_eq!(lab.saved("attachment_id"), lab.shared.world().attachments[0]["id"]);
}

#[tokio::test]
async fn an_attachment_that_another_node_ended_is_made_anew() {
    let lab = quick().await;
    let mut devices = [lab.reserved()];
    lab.shared.world().attachments.clear();
    lab.attach(&mut devices).await.unwrap();
    assert_eq!(lab.shared.world().attachments.len(), 1);
    assert_eq!(json!(devices[0].attachment_id), lab.shared.world().attachments[0]["id"]);
}

#[tokio::test]
async fn what_a_server_cannot_have_is_refused() {
    let lab = lab(Options { cross_az_attach: false, ..Options::default() }).await;
    let mut devices = [lab.reserved()];
    lab.shared.world().volumes[0]["availability_zone"] = json!("elsewhere");
    let error = lab.attach(&mut devices).await.unwrap_err();
    assert!(text(&error).1.contains("not in the same availability_zone"), "{error}");
    lab.shared.world().volumes[0]["multiattach"] = json!(true);
    let error = lab.attach(&mut devices).await.unwrap_err();
    assert!(text(&error).0 == "InvalidBDM" && text(&error).1.contains("'multiattach'"), "{error}");
    lab.shared.world().attachments.clear();
    lab.shared.world().volumes[0]["status"] = json!("error");
    let mut made = [lab.disk(&json!({"source_type": "snapshot", "snapshot_id": "s", "volume_id": VOLUME}))];
    let error = lab.attach(&mut made).await.unwrap_err();
    assert!(text(&error).1.ends_with("And its status is error."), "{error}");
}

#[tokio::test]
async fn an_attachment_that_cannot_be_completed_is_deleted() {
    let lab = quick().await;
    let mut devices = [lab.reserved()];
    lab.shared.world().refuses = Some(400);
    lab.attach(&mut devices).await.unwrap_err();
    assert_eq!(lab.shared.world().attachments.len(), 0);
}

#[tokio::test]
async fn a_detach_ends_attachments_and_deletes_what_goes_with_the_server() {
    let lab = quick().await;
    let asked = [
        lab.disk(&json!({"source_type": "image", "image_id": "i", "volume_size": 5})),
        lab.disk(&json!({"source_type": "blank", "volume_size": 1, "delete_on_termination": false})),
        lab.disk(&json!({"source_type": "image", "destination_type": "local"})),
    ];
    lab.attach(&mut asked.clone()).await.unwrap();
    lab.volumes.detach(&lab.context, &lab.instance, &asked, false).await;
    let left = |world: &World| (world.attachments.len(), world.volumes.len());
    assert_eq!(left(&lab.shared.world()), (0, 2));
    // The token has ended meanwhile.
    let late = RequestContext { auth_token: Some("ended".into()), ..lab.context.clone() };
    lab.volumes.detach(&late, &lab.instance, &asked, true).await;
    assert_eq!(left(&lab.shared.world()), (0, 1));
}

#[tokio::test]
async fn a_server_without_volumes_asks_nobody() {
    let lab = quick().await;
    let mut devices = [lab.disk(&json!({"source_type": "image", "destination_type": "local"}))];
    assert_eq!(lab.attach(&mut devices).await.unwrap().len(), 0);
    lab.volumes.detach(&lab.context, &lab.instance, &devices, true).await;
    assert_eq!(lab.shared.log().len(), 0);
}
