//! The steps of a build, in the order in which they are taken.

use driver::Deployment;
use openstack::ironic::{NewVolumeTarget, Node};
use uuid::Uuid;

use super::Create;
use super::connector::{connector, takes_volumes};
use super::failure::Failure;
use super::slot::Leaving;
use crate::instance::{BuildNetworks, Expect, InstanceUpdate, Power, TaskState, VmState};
use crate::operations::config_drive::{self, Drive};
use crate::operations::server::{self, Image};
use crate::operations::{Start, caller};
use crate::ports::{self, Event, Phase};
use crate::request::NetworkRequests;
use crate::user_message;

/// The pauses between tries to allocate networks, in seconds, as stock makes them.
const NETWORK_PAUSES: [u64; 6] = [1, 2, 4, 8, 16, 30];

impl Create {
    /// The instance is building here, if nobody else took it meanwhile.
    pub(super) async fn begin(&mut self) -> Result<(), Failure> {
        self.this.tracker.phase("beginning");
        let update = InstanceUpdate {
            vm_state: Some(VmState::Building),
            task_state: Some(None),
            ..InstanceUpdate::default()
        };
        let expect = self.expect(&[Some(TaskState::Scheduling), None]);
        let instances = self.this.shared.ports.instances.clone();
        match instances.update(&self.request.context, &mut self.instance, update, expect).await {
            // Whatever it is that goes on, it is not this build.
            Err(ports::Error::UnexpectedTask(text)) => return Err(Failure::Superseded(text)),
            begun => begun?,
        }
        if !std::mem::replace(&mut self.announced, true) {
            let announcer = &self.this.shared.ports.announcer;
            announcer.notify(&self.request.context, &self.instance, Event::Create, Phase::Start).await;
        }
        Ok(())
    }

    /// What Ironic cannot do at all, and what the user sent that cannot be read, refused before anything is touched.
    pub(super) fn refuse_unsupported(&self) -> Result<(), Failure> {
        let tagged_port = match &self.request.networks {
            NetworkRequests::These(requests) => requests.iter().any(|request| request.tag.is_some()),
            _ => false,
        };
        let tagged_disk = self.request.block_devices.iter().any(|device| device.tag.is_some());
        if tagged_port || tagged_disk {
            return Err(Failure::Abort(user_message::TAGGED_DEVICES.to_owned()));
        }
        if self.instance.has_trusted_certs {
            return Err(Failure::Abort(user_message::TRUSTED_CERTS.to_owned()));
        }
        config_drive::user_data(&self.instance).map_err(Failure::Abort)?;
        config_drive::files(&self.request.injected_files).map_err(Failure::Abort)?;
        Ok(())
    }

    /// The instance is ours, and on this node.
    pub(super) async fn claim(&mut self) -> Result<(), Failure> {
        self.this.tracker.phase("claiming the node");
        let (context, node) = (self.request.context.clone(), self.node());
        let host = self.this.shared.options.host.clone();
        // Before a restart it may have been claimed already.
        if self.instance.node != Some(node) || self.instance.host.as_ref() != Some(&host) {
            self.take_node().await?;
        }
        if let (Some(group), true) =
            (&self.request.server_group, self.this.shared.options.create.check_group_policy)
        {
            let instances = &self.this.shared.ports.instances;
            match instances.check_group_policy(&context, &self.instance, group).await {
                Err(ports::Error::Refused { message, .. }) => {
                    return Err(Failure::Reschedule { reason: message, by_policy: true });
                }
                other => other?,
            }
        }
        Ok(())
    }

    async fn take_node(&mut self) -> Result<(), Failure> {
        let (context, node) = (self.request.context.clone(), self.node());
        let home = match self.this.shared.ports.machines.home(&context, node).await {
            Ok(Some(home)) => home,
            Ok(None) => {
                return Err(Failure::Reschedule {
                    reason: user_message::no_resources(node),
                    by_policy: false,
                });
            }
            Err(error) => return Err(Failure::Away(error.to_string())),
        };
        self.claimed = true;
        let update = InstanceUpdate {
            home: Some(Some(home)),
            boot_roles: Some(context.roles),
            ..InstanceUpdate::default()
        };
        self.update(update, Expect::Anything).await
    }

    /// Ports, the node's reservation, VIFs, disks: all that the deployment needs. Answers the volumes that the machine
    /// connects to.
    pub(super) async fn prepare(&mut self) -> Result<Vec<NewVolumeTarget>, Failure> {
        self.this.tracker.phase("networks and reservation");
        let update = InstanceUpdate {
            vm_state: Some(VmState::Building),
            task_state: Some(Some(TaskState::Networking)),
            ..InstanceUpdate::default()
        };
        let expect = self.expect(&[None]);
        self.update(update, expect).await?;
        self.stop_if_cancelled()?;
        let (network, reserved) = tokio::join!(self.allocate_networks(), self.reserve());
        reserved?;
        let network = network?;
        self.slot.take(&self.this.cancel).await;
        let vifs: Vec<Uuid> = network.0.iter().filter_map(|vif| vif.id.parse().ok()).collect();
        self.save_network(network).await?;
        self.stop_if_cancelled()?;
        let context = self.request.context.clone();
        let driver = self.this.shared.ports.driver.clone();
        self.this.tracker.phase("attaching ports");
        let leaving = Leaving { this: &self.this, slot: &self.slot };
        let attached = driver.attach_vifs(leaving.run(&caller(&context)), self.node(), &vifs).await;
        attached.map_err(Failure::of_preparation)?;
        self.slot.take(&self.this.cancel).await;
        self.name_disks().await?;
        let update = InstanceUpdate {
            vm_state: Some(VmState::Building),
            task_state: Some(Some(TaskState::BlockDeviceMapping)),
            root_device_name: self.instance.root_device_name.clone(),
            build_networks: Some(BuildNetworks::Allocated),
            ..InstanceUpdate::default()
        };
        // Stock checks nothing here; a delete that came meanwhile would go unseen.
        let expect = self.expect(&[Some(TaskState::Networking)]);
        self.update(update, expect).await?;
        self.attach_volumes().await
    }

    async fn reserve(&self) -> Result<(), Failure> {
        let (driver, caller) = (&self.this.shared.ports.driver, caller(&self.request.context));
        let leaving = Leaving { this: &self.this, slot: &self.slot };
        let reserved = driver.reserve(leaving.run(&caller), self.node()).await;
        reserved.map(drop).map_err(Failure::of_preparation)
    }

    async fn allocate_networks(&self) -> Result<configdrive::network::NetworkInfo, Failure> {
        if self.request.networks == NetworkRequests::None {
            return Ok(configdrive::network::NetworkInfo::default());
        }
        if self.start != Start::Fresh && self.instance.networks_allocated {
            // Before a restart: allocated, on the node, and perhaps bound by Ironic since.
            return Ok(self.instance.network.clone());
        }
        let retries = self.this.shared.options.create.network_retries;
        let mut pauses = NETWORK_PAUSES.into_iter().chain(std::iter::repeat(NETWORK_PAUSES[5]));
        let mut tries = 0;
        loop {
            match self.this.shared.ports.networks.allocate(&self.request, &self.instance).await {
                Err(error @ ports::Error::Unavailable(_)) if tries < retries => {
                    tries += 1;
                    tracing::warn!(%error, tries, "the networks could not be allocated; trying again");
                    let pause = std::time::Duration::from_secs(pauses.next().unwrap_or(1));
                    let slept = self.this.cancel.run_until_cancelled(tokio::time::sleep(pause)).await;
                    slept.ok_or_else(Failure::deleting)?;
                }
                Err(ports::Error::Unavailable(why) | ports::Error::Broken(why)) => {
                    return Err(self.failed_unless_away(why, user_message::NO_NETWORK).await);
                }
                Err(ports::Error::Refused { message, .. }) => {
                    return Err(Failure::Abort(format!("{} {message}", user_message::NO_NETWORK)));
                }
                other => return Ok(other?),
            }
        }
    }

    async fn save_network(&mut self, network: configdrive::network::NetworkInfo) -> Result<(), Failure> {
        let _only_writer = self.this.shared.network_locks.lock(self.instance.id).await;
        let instances = self.this.shared.ports.instances.clone();
        instances.save_network(&self.request.context, &mut self.instance, network).await?;
        Ok(())
    }

    /// Gives every disk the name that the control plane shows for it.
    async fn name_disks(&mut self) -> Result<(), Failure> {
        self.this.tracker.phase("disks");
        let instances = self.this.shared.ports.instances.clone();
        let devices = &mut self.request.block_devices;
        let named = |device: &crate::instance::BlockDevice| device.device_name.clone();
        let root = devices
            .iter()
            .find(|device| device.is_root())
            .and_then(named)
            .or_else(|| self.instance.root_device_name.clone())
            .unwrap_or_else(|| "/dev/sda".to_owned());
        let mut taken: Vec<String> = devices.iter().filter_map(named).collect();
        for device in devices.iter_mut().filter(|device| device.device_name.is_none() && !device.no_device) {
            let name = if device.is_root() { root.clone() } else { server::next_device(&root, &taken) };
            instances.save_device_name(&self.request.context, device, &name).await?;
            taken.push(name);
        }
        self.instance.root_device_name = Some(root);
        Ok(())
    }

    async fn attach_volumes(&mut self) -> Result<Vec<NewVolumeTarget>, Failure> {
        if !self.request.block_devices.iter().any(crate::instance::BlockDevice::is_volume) {
            return Ok(Vec::new());
        }
        let ports = self.this.shared.ports.clone();
        let (context, cancel) = (self.request.context.clone(), self.this.cancel.clone());
        let (caller, node, instance) = (caller(&context), self.node(), &self.instance);
        let presented = || async {
            let node = ports.driver.node(&caller, node).await?;
            if !takes_volumes(&node) {
                return Ok(None);
            }
            connector(&ports.driver, &caller, &node, instance).await.map(Some)
        };
        let leaving = Leaving { this: &self.this, slot: &self.slot };
        let presented = Box::pin(ports.driver.read(leaving.run(&caller), self.node(), presented)).await;
        let Some(connector) = presented.map_err(Failure::of_preparation)? else { return Ok(Vec::new()) };
        let devices = &mut self.request.block_devices;
        self.this.tracker.phase("volumes");
        // The slot bounds work of ours; from here on Cinder works.
        self.slot.leave();
        let resumed = self.start != Start::Fresh;
        let attached =
            ports.volumes.attach(&context, &self.instance, devices, &connector, resumed, &cancel).await;
        self.stop_if_cancelled()?;
        match attached {
            Err(ports::Error::Unavailable(why) | ports::Error::Broken(why)) => {
                Err(self.failed_unless_away(why, user_message::NO_DISKS).await)
            }
            attached => attached.map_err(|error| match Failure::from(error) {
                Failure::Abort(text) => Failure::Abort(format!("{} {text}", user_message::NO_DISKS)),
                other => other,
            }),
        }
    }

    /// The machine gets its image, and its config drive.
    pub(super) async fn deploy(&mut self, volumes: Vec<NewVolumeTarget>) -> Result<Node, Failure> {
        self.this.tracker.phase("deploying");
        let update = InstanceUpdate {
            vm_state: Some(VmState::Building),
            task_state: Some(Some(TaskState::Spawning)),
            default_ephemeral_device: (self.instance.flavor.ephemeral_gb > 0).then(|| "/dev/sda1".to_owned()),
            ..InstanceUpdate::default()
        };
        let expect = self.expect(&[Some(TaskState::BlockDeviceMapping)]);
        self.update(update, expect).await?;
        let request = &self.request;
        let image = Image { id: request.image_id, traits: &request.image_traits };
        let deployment = Deployment {
            node: self.node(),
            server: server::of(&self.instance, &image, &request.block_devices, &self.this.shared.options)
                .map_err(|error| Failure::Abort(error.to_string()))?,
            volume_targets: volumes,
        };
        let context = request.context.clone();
        let drive = Drive {
            shared: self.this.shared.clone(),
            context: context.clone(),
            instance: self.instance.clone(),
            image: request.image_id,
            admin_password: request.admin_password.clone(),
            injected_files: request.injected_files.clone(),
            block_devices: request.block_devices.clone(),
        };
        let driver = self.this.shared.ports.driver.clone();
        // The slot bounds work of ours; from here on Ironic works.
        self.slot.leave();
        let deployed = driver.deploy(self.this.run(&caller(&context)), &deployment, &drive).await;
        deployed.map_err(Failure::of_deployment)
    }

    /// The server is active.
    pub(super) async fn finish(&mut self, node: &Node) -> Result<(), Failure> {
        self.this.tracker.phase("finishing");
        let (access_ip_v4, access_ip_v6) = server::access_addresses(
            &self.instance,
            self.this.shared.options.create.access_network.as_deref(),
        );
        let forced =
            server::needs_config_drive(&self.instance, &self.this.shared.options.create.config_drive)
                && self.instance.config_drive.as_deref().unwrap_or_default().is_empty();
        let update = InstanceUpdate {
            vm_state: Some(VmState::Active),
            task_state: Some(None),
            power: Some(Power::from(&node.power_state)),
            build_networks: Some(BuildNetworks::Over),
            config_drive: forced.then(|| "True".to_owned()),
            launched_now: true,
            access_ip_v4,
            access_ip_v6,
            ..InstanceUpdate::default()
        };
        let expect = self.expect(&[Some(TaskState::Spawning)]);
        self.update(update, expect).await?;
        self.this.shared.ports.machines.build_ended(self.node(), true);
        self.announce_end().await;
        Ok(())
    }

    /// Tells everybody who listens that the server is there, and Placement that its node is taken.
    pub(super) async fn announce_end(&mut self) {
        let ports = &self.this.shared.ports;
        let context = &self.request.context;
        if let Err(error) = ports.machines.publish_one(context, self.node(), Some(&self.instance)).await {
            tracing::warn!(%error, "the node could not be reported at once; the next period will");
        }
        ports.announcer.instance_changed(context, &self.instance).await;
        ports.announcer.notify(context, &self.instance, Event::Create, Phase::End).await;
    }

    fn stop_if_cancelled(&self) -> Result<(), Failure> {
        if self.this.cancel.is_cancelled() {
            return Err(Failure::deleting());
        }
        Ok(())
    }

    async fn update(&mut self, update: InstanceUpdate, expect: Expect) -> Result<(), Failure> {
        let instances = self.this.shared.ports.instances.clone();
        instances.update(&self.request.context, &mut self.instance, update, expect).await?;
        Ok(())
    }
}
