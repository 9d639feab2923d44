//! Rebuild: a server's machine is deployed again, from another image or the same (in stock: `rebuild_instance` of
//! `nova/compute/manager.py` and `rebuild` of its Ironic driver).
//!
//! The driver finds by itself how far a rebuild had come that was cut off. That its success was written is seen by the time of the
//! launch, which is then another than in the request; what may be left is to switch a machine off that was off before.

use driver::{PowerChange, Server};
use openstack::ironic::Node;

use super::config_drive::{self, Drive};
use super::existing::{Existing, Failure};
use super::server::{self, Image};
use super::{Operation, Retry, Rules, Try, caller};
use crate::ending::{Change, Ending};
use crate::instance::{BlockDevice, Expect, Instance, InstanceUpdate, Power, TaskState, VmState};
use crate::ports::{self, Event, Phase};
use crate::request::{Kind, RebuildRequest};
use crate::user_message;

/// A rebuild has its server by the task that the API set, and by the one under which it switches the machine off again.
pub(super) const RULES: Rules = Rules {
    stops_others: false,
    outlives_instance: false,
    has: |_, instance, _| {
        let is_switched_off = instance.task_state == Some(TaskState::PoweringOff);
        !instance.deleted && (tasks().contains(&instance.task_state) || is_switched_off)
    },
    expect: |_| Expect::Task([tasks(), vec![Some(TaskState::PoweringOff)]].concat()),
};

/// One rebuild.
pub(crate) struct Rebuild {
    server: Existing,
    request: RebuildRequest,
}

impl Operation for Rebuild {
    async fn work(&mut self) -> Result<Ending, Retry> {
        match self.rebuild().await {
            Err(Failure::Failed(text)) => {
                tracing::warn!(reason = %text, "the rebuild failed; the server goes to ERROR and keeps its node");
                self.server.notify(Event::Rebuild, Phase::Error(&text)).await;
                Ok(Ending::failure(Kind::Rebuild, text.clone(), text, self.change_of_failure()))
            }
            Err(Failure::Superseded(why)) => {
                self.server.notify(Event::Rebuild, Phase::Error(&why)).await;
                self.server.ended(Err(Failure::Superseded(why)))
            }
            outcome => self.server.ended(outcome),
        }
    }

    fn instance(&mut self) -> &mut Instance {
        &mut self.server.instance
    }
}

impl Rebuild {
    pub(crate) fn new(this: Try, request: RebuildRequest) -> Self {
        Self { server: Existing::new(this, request.instance.clone()), request }
    }

    async fn rebuild(&mut self) -> Result<(), Failure> {
        let (is_resumed, launched) = (self.server.this.is_resumed(), self.request.instance.launched_at);
        let is_rebuilt = |instance: &Instance| is_resumed && instance.launched_at != launched;
        self.server
            .read_again(|instance| is_rebuilt(instance) || tasks().contains(&instance.task_state))
            .await?;
        if !is_rebuilt(&self.server.instance) {
            let disks = self.prepare().await?;
            let node = self.deploy(disks).await?;
            self.finish(&node).await?;
        }
        if self.was_off() {
            self.switch_off().await?;
        }
        let this = &self.server.this;
        this.shared.ports.announcer.instance_changed(&this.context, &self.server.instance).await;
        self.server.notify(Event::Rebuild, Phase::End).await;
        Ok(())
    }

    /// What cannot be done is refused before anything is touched.
    async fn prepare(&mut self) -> Result<Vec<BlockDevice>, Failure> {
        if self.server.instance.has_trusted_certs {
            return Err(Failure::Failed(user_message::TRUSTED_CERTS.to_owned()));
        }
        config_drive::user_data(&self.server.instance).map_err(Failure::Failed)?;
        config_drive::files(&self.request.injected_files).map_err(Failure::Failed)?;
        let this = &self.server.this;
        let instances = this.shared.ports.instances.clone();
        let disks = instances.block_devices(&this.context, self.server.instance.id).await?;
        self.server.announce_start(Event::Rebuild).await;
        let spawning = InstanceUpdate {
            task_state: Some(Some(TaskState::RebuildSpawning)),
            ..InstanceUpdate::default()
        };
        self.server.update(spawning, tasks()).await?;
        Ok(disks)
    }

    /// The machine gets its image, and its config drive.
    async fn deploy(&mut self, disks: Vec<BlockDevice>) -> Result<Node, Failure> {
        let (id, request) = (self.server.node()?, &self.request);
        let (this, instance) = (&self.server.this, &self.server.instance);
        this.tracker.phase("rebuilding");
        let image = Image { id: request.image_id, traits: &request.image_traits };
        let described = server::of(instance, &image, &disks, &this.shared.options)
            .map_err(|error| Failure::Failed(error.to_string()))?;
        let described = Server { preserve_ephemeral: Some(request.preserve_ephemeral), ..described };
        let drive = Drive {
            shared: this.shared.clone(),
            context: this.context.clone(),
            instance: instance.clone(),
            image: request.image_id,
            admin_password: request.admin_password.clone(),
            injected_files: request.injected_files.clone(),
            block_devices: disks,
        };
        let (caller, driver) = (caller(&this.context), this.shared.ports.driver.clone());
        Ok(driver.rebuild(this.run(&caller), id, described, &drive).await?)
    }

    /// The server is active. One that was off has the task to be switched off again with the same write, so that no other request comes
    /// between.
    async fn finish(&mut self, node: &Node) -> Result<(), Failure> {
        let this = &self.server.this;
        this.tracker.phase("finishing");
        let instance = &self.server.instance;
        let is_new_drive = server::needs_config_drive(instance, &this.shared.options.create.config_drive)
            && instance.config_drive.as_deref().unwrap_or_default().is_empty();
        let update = InstanceUpdate {
            vm_state: Some(VmState::Active),
            task_state: Some(self.was_off().then_some(TaskState::PoweringOff)),
            power: Some(Power::from(&node.power_state)),
            config_drive: is_new_drive.then(|| "True".to_owned()),
            launched_now: true,
            ..InstanceUpdate::default()
        };
        self.server.update(update, tasks()).await
    }

    /// The machine is switched off at once, unless that was done, in an event of its own.
    async fn switch_off(&mut self) -> Result<(), Failure> {
        let is_to_do = self.server.instance.task_state == Some(TaskState::PoweringOff);
        let switched = if is_to_do { self.stop().await } else { Ok(()) };
        let text = match &switched {
            Err(Failure::Away(_)) => return switched,
            Err(Failure::Failed(text) | Failure::Superseded(text)) => Some((text.as_str(), text.as_str())),
            Ok(()) => None,
        };
        let (this, id) = (&self.server.this, self.server.instance.id);
        let instances = &this.shared.ports.instances;
        match instances.finish_event(&this.context, id, &Kind::Stop.into(), text).await {
            Err(ports::Error::Unavailable(why)) => Err(Failure::Away(why)),
            Err(error) => {
                tracing::warn!(%error, "the end of the event of the stop could not be recorded");
                switched
            }
            Ok(()) => switched,
        }
    }

    async fn stop(&mut self) -> Result<(), Failure> {
        let (this, node) = (&self.server.this, self.server.node()?);
        this.tracker.phase("switching the machine off again");
        let (instances, id) = (&this.shared.ports.instances, self.server.instance.id);
        let resumed = this.is_resumed();
        match instances.start_event(&this.context, id, &Kind::Stop.into(), resumed).await {
            Err(ports::Error::Unavailable(why)) => return Err(Failure::Away(why)),
            Err(error) => tracing::info!(%error, "the machine is switched off without an event of its own"),
            Ok(()) => {}
        }
        self.server.notify(Event::PowerOff, Phase::Start).await;
        let (caller, driver) = (caller(&this.context), this.shared.ports.driver.clone());
        let off = driver.set_power(this.run(&caller), node, PowerChange::Off { soft: None }).await?;
        let update = InstanceUpdate {
            vm_state: Some(VmState::Stopped),
            power: Some(Power::from(&off.power_state)),
            task_state: Some(None),
            ..InstanceUpdate::default()
        };
        self.server.update(update, vec![Some(TaskState::PoweringOff)]).await?;
        self.server.notify(Event::PowerOff, Phase::End).await;
        Ok(())
    }

    /// Whether the server was off when its rebuild was asked for; it is off again afterwards.
    fn was_off(&self) -> bool {
        self.request.instance.vm_state == VmState::Stopped
    }

    /// A server whose machine is deployed anew and only could not be switched off is well.
    fn change_of_failure(&self) -> Change {
        match self.server.instance.task_state {
            Some(TaskState::PoweringOff) => Change::TaskEnds,
            _ => Change::Error,
        }
    }
}

/// The tasks of a server while a rebuild has it.
fn tasks() -> Vec<Option<TaskState>> {
    let tasks = [TaskState::Rebuilding, TaskState::RebuildBlockDeviceMapping, TaskState::RebuildSpawning];
    tasks.map(Some).to_vec()
}
