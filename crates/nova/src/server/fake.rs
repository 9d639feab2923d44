//! Scripted ports for the server's tests: every call that the server makes is written into one log, in order.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use compute::answer::Answer;
use compute::instance::{BlockDevice, Expect, Home, Instance, InstanceUpdate};
use compute::manager::consoles;
use compute::ports::{self, Action, Fault, Instances, Machines, Published};
use compute::request::{Attached, BuildRequest, Kind, Request};
use configdrive::network::NetworkInfo;
use driver::{ConsoleAddress, ConsoleKind, InstanceId, NodeId};
use oslo::context::RequestContext;
use serde_json::Value;
use uuid::Uuid;

use super::{Undo, Worker};
use crate::conductor::testing::Script;
use crate::instances::actions::event;

/// The calls.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn note(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    /// What was called, in order.
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// All ports in one.
#[derive(Clone, Default)]
pub struct Fake {
    pub log: Log,
    /// The journal takes nothing.
    pub no_journal: bool,
    /// Where every node has its console, if it has one.
    pub console: Option<ConsoleAddress>,
    /// What the conductor answers to those who make tokens.
    pub conductor: Script,
    /// How often Placement, and Nova where an instance is changed, are found away.
    pub away: Arc<AtomicUsize>,
    /// What comes of the next attachment; `None`: nothing for now.
    pub attached: Arc<Mutex<Option<Attached>>>,
    /// Attachments of which nothing came.
    pub held: Arc<Mutex<Vec<Answer<Attached>>>>,
}

impl Fake {
    fn is_there(&self) -> ports::Result<()> {
        let left = self.away.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        left.map_or(Ok(()), |_| Err(ports::Error::Unavailable("away".into())))
    }
}

#[async_trait]
impl Instances for Fake {
    async fn get(&self, _: &RequestContext, _: InstanceId) -> ports::Result<Option<Instance>> {
        Ok(None)
    }

    async fn on_this_host(&self, _: &RequestContext) -> ports::Result<Vec<Instance>> {
        Ok(Vec::new())
    }

    async fn soft_deleted_here(&self, _: &RequestContext) -> ports::Result<Vec<Instance>> {
        Ok(Vec::new())
    }

    async fn deleted_here(&self, _: &RequestContext, _: &[InstanceId]) -> ports::Result<Vec<Instance>> {
        Ok(Vec::new())
    }

    async fn rescued_here(&self, _: &RequestContext) -> ports::Result<Vec<Instance>> {
        Ok(Vec::new())
    }

    async fn networks_on_this_host(
        &self,
        _: &RequestContext,
        _: Option<InstanceId>,
        _: usize,
    ) -> ports::Result<Vec<Instance>> {
        Ok(Vec::new())
    }

    async fn update(
        &self,
        _: &RequestContext,
        _: &mut Instance,
        update: InstanceUpdate,
        _: Expect,
    ) -> ports::Result<()> {
        self.is_there()?;
        self.log.note(format!("update vm={:?} task={:?}", update.vm_state, update.task_state));
        Ok(())
    }

    async fn save_network(&self, _: &RequestContext, _: &mut Instance, _: NetworkInfo) -> ports::Result<()> {
        Ok(())
    }

    async fn destroy(&self, _: &RequestContext, _: &Instance) -> ports::Result<()> {
        Ok(())
    }

    async fn block_devices(&self, _: &RequestContext, _: InstanceId) -> ports::Result<Vec<BlockDevice>> {
        Ok(Vec::new())
    }

    async fn save_device_name(&self, _: &RequestContext, _: &mut BlockDevice, _: &str) -> ports::Result<()> {
        Ok(())
    }

    async fn record_fault(&self, _: &RequestContext, _: InstanceId, fault: &Fault) -> ports::Result<()> {
        self.log.note(format!("fault {} {}", fault.code, fault.message));
        Ok(())
    }

    async fn record_action(&self, _: &RequestContext, id: InstanceId, kind: Kind) -> ports::Result<()> {
        self.log.note(format!("record action {} {id}", kind.name()));
        Ok(())
    }

    async fn start_event(
        &self,
        _: &RequestContext,
        _: InstanceId,
        action: &Action,
        _: bool,
    ) -> ports::Result<()> {
        self.log.note(format!("start {}", event(action)));
        Ok(())
    }

    async fn finish_event(
        &self,
        _: &RequestContext,
        _: InstanceId,
        action: &Action,
        failure: Option<(&str, &str)>,
    ) -> ports::Result<()> {
        self.log.note(format!(
            "finish {} {}",
            event(action),
            if failure.is_some() { "Error" } else { "Success" }
        ));
        Ok(())
    }

    async fn reschedule(&self, _: &BuildRequest, _: &str, _: &str) -> ports::Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Machines for Fake {
    async fn publish(&self, _: &RequestContext) -> ports::Result<Published> {
        Ok(Published::default())
    }

    async fn publish_one(&self, _: &RequestContext, _: NodeId, _: Option<&Instance>) -> ports::Result<()> {
        Ok(())
    }

    fn is_withheld(&self, _: NodeId) -> bool {
        false
    }

    async fn home(&self, _: &RequestContext, _: NodeId) -> ports::Result<Option<Home>> {
        Ok(None)
    }

    async fn held_by(&self, _: InstanceId) -> ports::Result<Vec<NodeId>> {
        Ok(Vec::new())
    }

    async fn release(&self, _: &RequestContext, instance: InstanceId) -> ports::Result<()> {
        self.is_there()?;
        self.log.note(format!("release {instance}"));
        Ok(())
    }

    fn build_ended(&self, _: NodeId, _: bool) {}

    fn set_enabled(&self, _: bool) {}
}

#[async_trait]
impl Undo for Fake {
    async fn delete_image(&self, _: &RequestContext, image: Uuid) {
        while self.is_there().is_err() {
            tokio::time::sleep(super::RETRY).await;
        }
        self.log.note(format!("delete image {image}"));
    }

    async fn end_migration(&self, _: &RequestContext, _: &Value, status: &str) {
        self.log.note(format!("migration {status}"));
    }

    async fn return_claim(&self, _: &RequestContext, _: &Value, _: InstanceId) {
        self.log.note("return claim");
    }

    async fn drop_claim(&self, _: &RequestContext, _: InstanceId, node: NodeId) {
        self.log.note(format!("drop claim {node}"));
    }

    async fn forget_disk(&self, _: &RequestContext, _: &BlockDevice) {
        self.log.note("forget disk");
    }

    async fn forget_attachment(&self, _: &RequestContext, _: Uuid) {
        self.log.note("forget attachment");
    }

    async fn keep_volume(&self, _: &RequestContext, _: Uuid) {
        self.log.note("keep volume");
    }

    async fn restore_image(&self, _: &RequestContext, _: &Instance, metadata: &Value) {
        self.log.note(format!("restore image {metadata}"));
    }
}

fn name(request: &Request) -> &'static str {
    match request {
        Request::Create(_) => "build",
        other => other.kind().name(),
    }
}

#[async_trait]
impl Worker for Fake {
    async fn admit(&self, request: &Request) -> io::Result<()> {
        if self.no_journal {
            return Err(io::Error::other("No space left on device"));
        }
        self.log.note(format!("admit {} {}", name(request), request.instance().id));
        Ok(())
    }

    fn start(&self, request: Request) {
        let on = request.key().node.map(|node| format!(" on {node}")).unwrap_or_default();
        self.log.note(format!("{} {}{on}", name(&request), request.instance().id));
        if let Request::Attach(attach) = request
            && let Some(answer) = attach.answer
        {
            match self.attached.lock().unwrap().take() {
                Some(outcome) => answer.give(outcome),
                None => self.held.lock().unwrap().push(answer),
            }
        }
    }

    fn hand_back(&self, request: Request, reason: String) {
        self.log.note(format!("hand back {}: {reason}", request.instance().id));
    }

    async fn network_changed(&self, context: &RequestContext, id: InstanceId, port: Option<Uuid>) {
        assert!(context.is_admin || port.is_none());
        self.log.note(format!("network changed {id} {port:?}"));
    }

    async fn vif_deleted(&self, _: &RequestContext, id: InstanceId, port: Uuid) {
        self.log.note(format!("vif deleted {id} {port}"));
    }

    async fn power_update(&self, _: &RequestContext, id: InstanceId, on: bool) {
        self.log.note(format!("power {id} {on}"));
    }

    async fn console(
        &self,
        _: &RequestContext,
        id: InstanceId,
        node: Option<NodeId>,
        kind: ConsoleKind,
    ) -> Result<ConsoleAddress, consoles::Error> {
        self.log.note(format!("console {kind:?} {id}"));
        node.ok_or(consoles::Error::NowhereYet)?;
        self.console.clone().ok_or_else(|| consoles::Error::Unavailable("it is off".to_owned()))
    }

    async fn is_console_at(
        &self,
        _: &RequestContext,
        _: InstanceId,
        _: Option<NodeId>,
        kind: ConsoleKind,
        port: u16,
    ) -> Result<bool, consoles::Error> {
        self.log.note(format!("is console {kind:?} at {port}"));
        let console = self.console.as_ref();
        console.map(|at| at.port == port).ok_or_else(|| consoles::Error::Unavailable("it is off".to_owned()))
    }

    async fn set_enabled(&self, enabled: bool) {
        self.log.note(format!("enabled {enabled}"));
    }
}
