//! A Cinder in process and the disks' records, for tests.

use std::sync::{Mutex, MutexGuard};

use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use compute::ports::Volumes as _;
use driver::NodeId;
use openstack::{Adapter, AdapterOptions, Auth, RetryOptions, Service, Session, SessionOptions};
use serde_json::{Value, json};

use super::*;
use compute::testing;

pub const VOLUME: Uuid = Uuid::from_u128(0xa);

/// What is recorded of a disk.
#[derive(Clone)]
pub struct Record {
    pub device: BlockDevice,
    pub connection: Option<Value>,
}

/// Cinder's volumes and attachments, and the control plane's records of the disks.
#[derive(Default)]
pub struct World {
    pub volumes: Vec<Value>,
    pub attachments: Vec<Value>,
    pub records: Vec<Record>,
    /// Completing an attachment fails so.
    pub refuses: Option<u16>,
    /// Cinder does what this call asks, and its answer is lost.
    pub lost: Option<&'static str>,
    /// The records cannot be written.
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
impl DiskLedger for Shared {
    async fn disks(&self, _: &RequestContext, _: &Instance) -> Result<Vec<BlockDevice>> {
        Ok(self.world().records.iter().map(|record| record.device.clone()).collect())
    }

    async fn save_disk(
        &self,
        _: &RequestContext,
        device: &mut BlockDevice,
        change: DiskChange,
    ) -> Result<()> {
        let id = |text: &String| text.parse().ok();
        let DiskChange { volume_id, attachment_id, connection, volume_size } = change;
        device.volume_id = volume_id.as_ref().and_then(id).or(device.volume_id);
        device.attachment_id = attachment_id.as_ref().and_then(id).or(device.attachment_id);
        device.volume_size = volume_size.or(device.volume_size);
        let mut world = self.world();
        if world.unwritable {
            return Err(ports::Error::Broken("the disks cannot be written".to_owned()));
        }
        let record = world.records.iter_mut().find(|record| record.device.id == device.id).unwrap();
        record.device = device.clone();
        record.connection = connection.or(record.connection.take());
        Ok(())
    }
}

/// A disk on a volume that is made of this.
pub fn made_of(source: &str) -> BlockDevice {
    BlockDevice {
        source: source.to_owned(),
        destination: "volume".to_owned(),
        boot_index: Some(0),
        image_id: (source == "image").then(|| "i".to_owned()),
        snapshot_id: (source == "snapshot").then(|| "s".to_owned()),
        volume_size: Some(5),
        delete_on_termination: true,
        ..BlockDevice::default()
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
    pub fn disk(&self, disk: BlockDevice) -> BlockDevice {
        let mut world = self.shared.world();
        let number = world.records.len() + 1;
        let device = BlockDevice {
            id: Uuid::from_u128(number as u128),
            device_name: Some(format!("/dev/sd{number}")),
            ..disk
        };
        world.records.push(Record { device: device.clone(), connection: None });
        device
    }

    /// A disk on a volume that the control plane reserved.
    pub fn reserved(&self) -> BlockDevice {
        let attachment = Uuid::from_u128(0xaa);
        let mut world = self.shared.world();
        world.volumes.push(json!({"id": VOLUME, "status": "reserved", "size": 7}));
        world.attachments.push(json!({"id": attachment, "status": "reserved", "volume_id": VOLUME}));
        drop(world);
        self.disk(BlockDevice {
            volume_id: Some(VOLUME),
            attachment_id: Some(attachment),
            volume_size: None,
            ..made_of("volume")
        })
    }

    pub async fn attach(&self, devices: &mut [BlockDevice]) -> Result<Vec<NewVolumeTarget>> {
        let connector = Connector {
            host: "server".to_owned(),
            initiator: Some("iqn".to_owned()),
            ..Connector::default()
        };
        self.volumes
            .attach(&self.context, &self.instance, devices, &connector, self.resumed, &self.cancel)
            .await
    }

    /// What is recorded of the first disk.
    pub fn recorded(&self) -> Record {
        self.shared.world().records[0].clone()
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
    let mut instance = testing::instance();
    instance.node = Some(NodeId(Uuid::from_u128(1)));
    let mut context = RequestContext::admin();
    context.auth_token = Some("user".into());
    let cancel = CancellationToken::new();
    Lab {
        volumes: Volumes::new(Client::new(adapter), Arc::new(shared.clone()), options),
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
