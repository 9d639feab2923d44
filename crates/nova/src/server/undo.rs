//! What the caller of a refused method prepared elsewhere, and its taking back: images, volumes, claims, migrations.

use std::collections::BTreeMap;

use async_trait::async_trait;
use compute::instance::{BlockDevice, Instance};
use driver::{InstanceId, NodeId};
use openstack::placement::{Allocations, is_concurrent_update};
use openstack::{Caller, cinder, glance, placement};
use oslo::context::RequestContext;
use oslo::object::Object;
use serde_json::{Value, json};
use tracing::warn;
use uuid::Uuid;

use super::{RETRY, rebuild};
use crate::conductor::{Conductor, Repeat};

/// How often a claim is read again and written when somebody else wrote it meanwhile.
const TRIES: usize = 4;

/// Takes back. Nothing here can fail a refusal: errors are logged by who implements it, and whatever is away is waited for.
#[async_trait]
pub trait Undo: Send + Sync {
    /// Deletes the image that was made for a snapshot.
    async fn delete_image(&self, context: &RequestContext, image: Uuid);

    /// Gives a Migration object its last status.
    async fn end_migration(&self, context: &RequestContext, migration: &Value, status: &str);

    /// Moves the claim that a resize gave to the migration back to the instance.
    async fn return_claim(&self, context: &RequestContext, migration: &Value, instance: InstanceId);

    /// Takes a node out of an instance's claim.
    async fn drop_claim(&self, context: &RequestContext, instance: InstanceId, node: NodeId);

    /// Deletes a volume's attachment and the record of the disk.
    async fn forget_disk(&self, context: &RequestContext, disk: &BlockDevice);

    /// Deletes a volume's attachment.
    async fn forget_attachment(&self, context: &RequestContext, attachment: Uuid);

    /// A volume that was to be detached stays attached.
    async fn keep_volume(&self, context: &RequestContext, volume: Uuid);

    /// Gives a server that is not rebuilt the properties of its image back, in the system metadata that came with the request.
    async fn restore_image(&self, context: &RequestContext, instance: &Instance, metadata: &Value);
}

/// An error that may pass by itself.
trait Passing: std::fmt::Display {
    fn may_pass(&self) -> bool;
}

impl Passing for openstack::Error {
    /// 500 is an answer: what fails inside a service for good is not asked for ever.
    fn may_pass(&self) -> bool {
        self.is_transient() && self.status() != Some(500)
    }
}

impl Passing for crate::conductor::Error {
    fn may_pass(&self) -> bool {
        self.is_transient()
    }
}

/// Calls until the service is there to answer. The calls of this file may be made twice.
async fn answered<T, E: Passing, F: Future<Output = Result<T, E>>>(call: impl Fn() -> F) -> Result<T, E> {
    loop {
        match call().await {
            Err(error) if error.may_pass() => {
                warn!(%error, seconds = RETRY.as_secs(), "a service is away; what a refused request left is taken back when it answers");
                tokio::time::sleep(RETRY).await;
            }
            answer => return answer,
        }
    }
}

/// Takes back at Nova's conductor, Glance, Cinder and Placement.
pub struct Elsewhere {
    /// Nova's records.
    pub conductor: Conductor,
    /// Images made for snapshots.
    pub images: glance::Client,
    /// Volumes marked as being attached or detached.
    pub volumes: cinder::Client,
    /// Claims of moves.
    pub placement: placement::Client,
}

#[async_trait]
impl Undo for Elsewhere {
    async fn delete_image(&self, context: &RequestContext, image: Uuid) {
        let (caller, id) = (user(context), image.to_string());
        if let Err(error) = answered(|| self.images.delete_image(&caller, &id)).await {
            warn!(%image, %error, "the image of a refused snapshot stays in Glance");
        }
    }

    async fn end_migration(&self, context: &RequestContext, migration: &Value, status: &str) {
        let Some(change) = migration_change(migration, status) else { return };
        let save = || self.conductor.act(context, change.clone(), "save", json!({}), Repeat::Freely);
        if let Err(error) = answered(save).await {
            warn!(status, %error, "the migration of a refused move has no end");
        }
    }

    async fn return_claim(&self, context: &RequestContext, migration: &Value, instance: InstanceId) {
        let Some(migration) = migration_id(migration) else { return };
        if let Err(error) = move_claim(&self.placement, &own(context), migration, instance).await {
            warn!(%instance, %migration, %error, "the claim of a refused move could not be returned");
        }
    }

    async fn drop_claim(&self, context: &RequestContext, instance: InstanceId, node: NodeId) {
        if let Err(error) = self.shrink(&own(context), instance, node).await {
            warn!(%instance, %node, %error, "the claim of a refused move stays in Placement");
        }
    }

    async fn forget_disk(&self, context: &RequestContext, disk: &BlockDevice) {
        if let Some(attachment) = disk.attachment_id {
            self.forget_attachment(context, attachment).await;
        }
        let Ok(record) = Object::from_value(disk.origin.0.clone()) else { return };
        let destroy = || self.conductor.act(context, record.clone(), "destroy", json!({}), Repeat::Freely);
        match answered(destroy).await {
            Err(error) if !error.is("ObjectActionError") && !error.is("BDMNotFound") => {
                warn!(disk = %disk.id, %error, "the record of a disk that was not attached stays");
            }
            _ => {}
        }
    }

    async fn forget_attachment(&self, context: &RequestContext, attachment: Uuid) {
        let (caller, id) = (user(context), attachment.to_string());
        if let Err(error) = answered(|| self.volumes.delete_attachment(&caller, &id)).await {
            warn!(%attachment, %error, "the attachment of a refused request stays in Cinder");
        }
    }

    async fn keep_volume(&self, context: &RequestContext, volume: Uuid) {
        let (caller, id) = (user(context), volume.to_string());
        if let Err(error) = answered(|| self.volumes.roll_detaching(&caller, &id)).await {
            warn!(%volume, %error, "a volume that stays attached is still marked as being detached");
        }
    }

    async fn restore_image(&self, context: &RequestContext, instance: &Instance, metadata: &Value) {
        rebuild::restore(&self.conductor, context, instance, metadata).await;
    }
}

impl Elsewhere {
    async fn shrink(
        &self,
        caller: &Caller,
        instance: InstanceId,
        node: NodeId,
    ) -> Result<(), openstack::Error> {
        self.rewrite(caller, instance, |claim| claim.allocations.remove(&node.0).is_some()).await
    }

    /// Reads a claim, changes it, writes it; again when somebody else wrote it meanwhile.
    async fn rewrite(
        &self,
        caller: &Caller,
        instance: InstanceId,
        change: impl Fn(&mut Allocations) -> bool + Send + Sync,
    ) -> Result<(), openstack::Error> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut claim = answered(|| self.placement.allocations(caller, instance.0)).await?;
            if !change(&mut claim) {
                return Ok(());
            }
            match answered(|| self.placement.put_allocations(caller, instance.0, &claim)).await {
                Err(error) if tries < TRIES && is_concurrent_update(&error) => {}
                result => return result,
            }
        }
    }
}

/// The instance gets what the migration has, instead of what it has now: both in one write, or neither.
async fn move_claim(
    placement: &placement::Client,
    caller: &Caller,
    from: Uuid,
    to: InstanceId,
) -> Result<(), openstack::Error> {
    let mut tries = 0;
    loop {
        tries += 1;
        let held = answered(|| placement.allocations(caller, from)).await?;
        if held.allocations.is_empty() {
            return Ok(());
        }
        let now = answered(|| placement.allocations(caller, to.0)).await?;
        let given = Allocations { consumer_generation: now.consumer_generation, ..held.clone() };
        let left = Allocations { allocations: BTreeMap::new(), ..held };
        let wanted = BTreeMap::from([(from, left), (to.0, given)]);
        match answered(|| placement.replace_allocations(caller, &wanted)).await {
            Err(error) if tries < TRIES && is_concurrent_update(&error) => {}
            result => return result,
        }
    }
}

/// The user who asked, with their token and their catalog; ourselves where nobody did.
fn user(context: &RequestContext) -> Caller {
    let caller = Caller {
        request_id: Some(context.global_id().to_owned()),
        user_token: context.auth_token.clone(),
        project_id: context.project_id.clone(),
        catalog: None,
    };
    if caller.user_token.is_some() { caller.with_catalog(&context.service_catalog) } else { caller.as_own() }
}

/// Ourselves, within the request.
fn own(context: &RequestContext) -> Caller {
    Caller::own(context.global_id())
}

fn migration_id(migration: &Value) -> Option<Uuid> {
    Object::from_value(migration.clone()).ok()?.str("uuid").and_then(|text| Uuid::parse_str(text).ok())
}

/// The smallest save of a migration's status; the version is the sender's.
fn migration_change(migration: &Value, status: &str) -> Option<Object> {
    let known = Object::from_value(migration.clone()).ok().filter(|known| known.name() == "Migration")?;
    let mut change = Object::new("Migration", known.version());
    change.insert("id", known.int("id")?);
    change.set("status", status);
    Some(change)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::extract::{Path, State};
    use axum::http::StatusCode;
    use axum::response::{IntoResponse, Response};
    use axum::routing::get;
    use axum::{Json, Router};
    use openstack::{Adapter, AdapterOptions, Auth, Service, Session, SessionOptions};

    use super::*;

    const MIGRATION: Uuid = Uuid::from_u128(1);
    const SERVER: InstanceId = InstanceId(Uuid::from_u128(2));
    const OLD: Uuid = Uuid::from_u128(3);
    const NEW: Uuid = Uuid::from_u128(4);

    /// A Placement with what each consumer has, and the answers to the writes to come: 204 is a write that is done.
    #[derive(Default)]
    struct Claims {
        held: BTreeMap<Uuid, Allocations>,
        answers: Vec<StatusCode>,
    }

    type Shared = Arc<Mutex<Claims>>;

    async fn claimed(State(claims): State<Shared>, Path(consumer): Path<Uuid>) -> Json<Allocations> {
        Json(claims.lock().unwrap().held.get(&consumer).cloned().unwrap_or_default())
    }

    async fn write(
        State(claims): State<Shared>,
        Json(wanted): Json<BTreeMap<Uuid, Allocations>>,
    ) -> Response {
        let mut claims = claims.lock().unwrap();
        let status = claims.answers.remove(0);
        if status == StatusCode::NO_CONTENT {
            claims.held = wanted.into_iter().filter(|(_, has)| !has.allocations.is_empty()).collect();
        }
        let code =
            json!([{"status": status.as_u16(), "code": "placement.concurrent_update", "detail": "no"}]);
        (status, Json(json!({ "errors": code }))).into_response()
    }

    /// What server and migration have once a refused move was taken back: the nodes' numbers.
    async fn returned(answers: &[StatusCode]) -> (Result<(), openstack::Error>, Vec<(Uuid, Uuid)>) {
        let claim = |node, generation| Allocations {
            allocations: BTreeMap::from([(node, placement::Allocation::default())]),
            project_id: "p".into(),
            user_id: "u".into(),
            consumer_generation: Some(generation),
        };
        let held = BTreeMap::from([(MIGRATION, claim(OLD, 1)), (SERVER.0, claim(NEW, 5))]);
        let claims = Shared::new(Mutex::new(Claims { held, answers: answers.to_vec() }));
        let app = Router::new()
            .route("/allocations/{consumer}", get(claimed))
            .route("/allocations", axum::routing::post(write))
            .with_state(Arc::clone(&claims));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let service = tokio::spawn(async move { axum::serve(listener, app).await });
        let session = Session::new(SessionOptions::new(Auth::None { endpoint: None })).unwrap();
        let client =
            placement::Client::new(Adapter::new(session, Service::Placement, AdapterOptions::at(address)));
        let result = move_claim(&client, &own(&RequestContext::admin()), MIGRATION, SERVER).await;
        service.abort();
        let claims = claims.lock().unwrap();
        assert!(claims.answers.is_empty());
        let nodes =
            |(id, has): (&Uuid, &Allocations)| has.allocations.keys().map(|node| (*id, *node)).collect();
        (result, claims.held.iter().flat_map::<Vec<_>, _>(nodes).collect())
    }

    #[tokio::test]
    async fn the_claim_of_a_refused_move_returns_in_one_write_or_stays() {
        let (result, held) = returned(&[StatusCode::CONFLICT, StatusCode::NO_CONTENT]).await;
        result.unwrap();
        assert_eq!(held, [(SERVER.0, OLD)]);
        let (result, held) = returned(&[StatusCode::BAD_REQUEST]).await;
        result.unwrap_err();
        assert_eq!(held, [(MIGRATION, OLD), (SERVER.0, NEW)]);
    }

    #[test]
    fn a_migration_ends_by_a_save_of_its_status_alone() {
        let migration = json!({
            "nova_object.name": "Migration", "nova_object.namespace": "nova", "nova_object.version": "1.8",
            "nova_object.data": {"id": 7, "uuid": "u", "status": "accepted", "source_compute": "a"},
        });
        assert_eq!(
            migration_change(&migration, "error").map(Object::into_value),
            Some(json!({
                "nova_object.name": "Migration", "nova_object.namespace": "nova", "nova_object.version": "1.8",
                "nova_object.data": {"id": 7, "status": "error"},
                "nova_object.changes": ["status"],
            }))
        );
        assert_eq!(migration_change(&Value::Null, "error"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_is_away_is_waited_for_and_an_answer_is_not_asked_for_again() {
        let calls = std::cell::Cell::new(0);
        let ask = |answers: [u16; 3]| {
            let call = calls.replace(calls.get() + 1);
            async move {
                let status = answers[call];
                let (message, code, request_id) = ("no".to_owned(), None, None);
                let refused = openstack::Error::Http { service: "image", status, code, message, request_id };
                if status == 200 { Ok(()) } else { Err(refused) }
            }
        };
        answered(|| ask([503, 429, 200])).await.unwrap();
        assert_eq!(calls.replace(0), 3);
        answered(|| ask([503, 500, 200])).await.unwrap_err();
        assert_eq!(calls.get(), 2);
    }

    #[test]
    fn a_request_of_nobody_is_made_with_our_own_credentials() {
        let context = RequestContext::admin();
        assert!(user(&context).user_token.is_none());
        assert_eq!(user(&context).request_id.as_deref(), Some(context.request_id.as_str()));
    }
}
