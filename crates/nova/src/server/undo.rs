//! What the caller of a refused method prepared elsewhere, and its taking back: images, volumes, claims, migrations.

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

    /// Gives a server that is not rebuilt its image back, and the system metadata that came with it.
    async fn restore_image(
        &self,
        context: &RequestContext,
        instance: &Instance,
        image: &Value,
        metadata: &Value,
    );
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
    pub conductor: Conductor,
    pub images: glance::Client,
    pub volumes: cinder::Client,
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
        if let Err(error) = self.swap(&own(context), migration, instance).await {
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

    async fn restore_image(
        &self,
        context: &RequestContext,
        instance: &Instance,
        image: &Value,
        metadata: &Value,
    ) {
        rebuild::restore(&self.conductor, context, instance, image, metadata).await;
    }
}

impl Elsewhere {
    /// The instance gets what the migration has. The migration must let go first: a node holds one claim. When the
    /// instance cannot have it back it has none, and so holds no other node either.
    async fn swap(&self, caller: &Caller, from: Uuid, to: InstanceId) -> Result<(), openstack::Error> {
        let held = answered(|| self.placement.allocations(caller, from)).await?;
        if held.allocations.is_empty() {
            return Ok(());
        }
        answered(|| self.placement.delete_allocations(caller, from)).await?;
        let returned = self.rewrite(caller, to, |claim| {
            claim.allocations.clone_from(&held.allocations);
            claim.project_id.clone_from(&held.project_id);
            claim.user_id.clone_from(&held.user_id);
            true
        });
        if let Err(error) = returned.await {
            answered(|| self.placement.delete_allocations(caller, to.0)).await?;
            return Err(error);
        }
        Ok(())
    }

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
    use super::*;

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
