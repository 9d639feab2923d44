//! A Cinder and a conductor in process, for tests.

use std::sync::{Arc, Mutex, MutexGuard};

use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use compute::ports::Volumes as _;
use driver::NodeId;
use openstack::{Adapter, AdapterOptions, Auth, RetryOptions, Service, Session, SessionOptions};
use oslo::rpc::{CallError, Target};

use super::*;
use crate::conductor::Rpc;
use crate::instances::testing;

pub const VOLUME: Uuid = Uuid::from_u128(0xa);

/// Cinder's volumes and attachments, and Nova's records of the disks.
#[derive(Default)]
pub struct World {
    pub volumes: Vec<Value>,
    pub attachments: Vec<Value>,
    pub records: Vec<Value>,
    /// Completing an attachment fails so.
    pub refuses: Option<u16>,
    /// Cinder does what this call asks, and its answer is lost.
    pub lost: Option<&'static str>,
    /// Nova's records cannot be written.
    pub unwritable: bool,
    /// Cinder does not list attachments.
    pub hidden: bool,
    /// How often a volume is found in use before it is detached.
    pub detaching: u32,
    pub log: Vec<String>,
}

#[derive(Clone, Default)]
pub struct Shared(Arc<Mutex<World>>);

impl Shared {
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    pub fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.world().log)
    }
}

fn of<'a>(list: &'a mut [Value], id: &str) -> Option<&'a mut Value> {
    list.iter_mut().find(|document| document["id"] == id)
}

async fn answer(
    shared: State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> Response {
    let call = format!("{method} {}", uri.path().split('/').nth(2).unwrap_or_default());
    let call = if uri.path().ends_with("/action") { "complete".to_owned() } else { call };
    let lost = shared.world().lost == Some(call.as_str());
    let answer = carry_out(shared, &method, &uri, &headers, &body);
    if lost { StatusCode::GATEWAY_TIMEOUT.into_response() } else { answer }
}

fn carry_out(
    State(shared): State<Shared>,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &str,
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
    let body: Value = serde_json::from_str(body).unwrap_or_default();
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
            if let Some(left) = world.detaching.checked_sub(1) {
                of(&mut world.volumes, id).unwrap()["status"] = json!("in-use");
                world.detaching = left;
                return StatusCode::BAD_REQUEST.into_response();
            }
            world.volumes.retain(|volume| volume["id"] != *id);
            StatusCode::ACCEPTED.into_response()
        }
        ("GET", ["attachments"]) if world.hidden => StatusCode::FORBIDDEN.into_response(),
        ("GET", ["attachments"]) => Json(json!({"attachments": world.attachments})).into_response(),
        ("GET", ["attachments", id]) => match of(&mut world.attachments, id) {
            None => missing(),
            Some(attachment) => Json(json!({ "attachment": attachment })).into_response(),
        },
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
                attachment["connection_info"] = json!({"driver_volume_type": "iscsi", "target_lun": 1,
                    "auth_password": "hunter2"});
                Json(json!({ "attachment": attachment })).into_response()
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
            "save" if world.unwritable => crate::conductor::testing::raised("DBError"),
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

pub struct Lab {
    pub volumes: Volumes,
    pub shared: Shared,
    pub instance: Instance,
    pub context: RequestContext,
    pub resumed: bool,
    pub cancel: CancellationToken,
}

impl Lab {
    /// Adds a disk, as the request brings it.
    pub fn disk(&self, fields: &Value) -> BlockDevice {
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
    pub fn reserved(&self) -> BlockDevice {
        let attachment = Uuid::from_u128(0xaa);
        let mut world = self.shared.world();
        world.volumes.push(json!({"id": VOLUME, "status": "reserved", "size": 7}));
        world.attachments.push(json!({"id": attachment, "status": "reserved", "volume_id": VOLUME}));
        drop(world);
        self.disk(&json!({"source_type": "volume", "volume_id": VOLUME, "attachment_id": attachment}))
    }

    pub async fn attach(&self, devices: &mut [BlockDevice]) -> Result<Vec<NewVolumeTarget>> {
        let connector = json!({"initiator": "iqn"});
        self.volumes
            .attach(&self.context, &self.instance, devices, &connector, self.resumed, &self.cancel)
            .await
    }

    pub fn saved(&self, field: &str) -> Value {
        self.shared.world().records[0]["nova_object.data"][field].clone()
    }
}

pub async fn lab(options: Options) -> Lab {
    let shared = Shared::default();
    let app = Router::new().fallback(answer).with_state(shared.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/v3", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let session = Session::new(SessionOptions::new(Auth::None { endpoint: None })).unwrap();
    let adapter = Adapter::new(
        session,
        Service::BlockStorage,
        AdapterOptions {
            retry: RetryOptions { status_code_retries: Some(0), ..RetryOptions::default() },
            ..AdapterOptions::at(address)
        },
    );
    let conductor = Conductor::new(Arc::new(shared.clone()), crate::conductor::Options::default());
    let mut instance = testing::instance();
    instance.node = Some(NodeId(Uuid::from_u128(1)));
    let mut context = RequestContext::admin();
    context.auth_token = Some("user".into());
    let cancel = CancellationToken::new();
    Lab {
        volumes: Volumes::new(Client::new(adapter), conductor, options),
        shared,
        instance,
        context,
        resumed: false,
        cancel,
    }
}

pub async fn quick() -> Lab {
    lab(Options { allocate_interval: Duration::ZERO, ..Options::default() }).await
}
