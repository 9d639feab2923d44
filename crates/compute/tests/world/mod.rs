//! A cloud in process: Nova's records, Neutron, Placement as plain tables behind the ports, and a simulated Ironic. A
//! compute service in it can be killed at its n-th remote call, before or after the call took effect.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use compute::build::{ConfigDriveOptions, Options as BuildOptions};
use compute::instance::{
    BlockDevice, Ec2Ids, Expect, Flavor, Instance, InstanceUpdate, Power, TaskState, VmState,
};
use compute::inventory::{Options as ReporterOptions, Reporter, Rules, Wanted};
use compute::ports::{
    Announcer, Error, Event, Fault, Instances, Inventory, KnownProvider, Networks, Phase, Placement,
    ProviderHead, Record, RecordFields, Result, VendorData, VendorDataSource, Volumes,
};
use compute::request::{BuildRequest, DeleteRequest, NetworkRequests, Origin};
use compute::{Manager, Options, Ports};
use configdrive::network::NetworkInfo;
use driver::{Driver, InstanceId, NodeId};
use ironic_sim::{Action, Sim};
use openstack::ironic::NewVolumeTarget;
use oslo::context::RequestContext;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub const HOST: &str = "compute1";

/// When the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kill {
    /// At which remote call, counted from 0.
    pub call: usize,
    /// The call took effect, but its answer was never seen.
    pub after: bool,
}

/// An event of an action, as users see it: `None` while it is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    pub instance: InstanceId,
    pub name: String,
    pub failure: Option<Option<String>>,
}

#[derive(Default)]
pub struct Tables {
    pub instances: HashMap<InstanceId, Instance>,
    pub requests: HashMap<String, BuildRequest>,
    /// Neutron's ports, by the instance they are for.
    pub neutron: Vec<(Uuid, InstanceId)>,
    pub allocations: HashMap<InstanceId, NodeId>,
    pub providers: HashMap<NodeId, KnownProvider>,
    pub records: HashMap<NodeId, Record>,
    pub events: Vec<Recorded>,
    pub faults: Vec<(InstanceId, String)>,
    pub rescheduled: Vec<InstanceId>,
    /// Remote calls by name, for the tests that count them.
    pub calls: BTreeMap<&'static str, usize>,
}

pub struct World {
    pub sim: Sim,
    tables: Mutex<Tables>,
    made: Mutex<usize>,
    kill: Mutex<Option<(Kill, CancellationToken)>>,
    rescheduled: Mutex<Option<Box<dyn Fn() + Send + Sync>>>,
}

impl World {
    pub fn new(sim: Sim) -> Arc<Self> {
        let world = Arc::new(Self {
            sim,
            tables: Mutex::default(),
            made: Mutex::new(0),
            kill: Mutex::new(None),
            rescheduled: Mutex::new(None),
        });
        let hook = Arc::downgrade(&world);
        world.sim.on_request(Box::new(move |request| {
            let Some(world) = hook.upgrade() else { return Action::Go };
            let dies = if request.is_before() { world.dies(true, false) } else { world.dies(false, true) };
            if dies { Action::Hang } else { Action::Go }
        }));
        world
    }

    pub fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap()
    }

    /// How many remote calls were made since the last process began.
    pub fn calls_made(&self) -> usize {
        *self.made.lock().unwrap()
    }

    /// Does this whenever a request goes back to the control plane.
    pub fn on_reschedule(&self, act: impl Fn() + Send + Sync + 'static) {
        *self.rescheduled.lock().unwrap() = Some(Box::new(act));
    }

    /// Counts a call when it begins, and says whether the process dies here.
    fn dies(&self, begins: bool, after: bool) -> bool {
        let mut made = self.made.lock().unwrap();
        if begins {
            *made += 1;
        }
        let now = *made - 1;
        match &*self.kill.lock().unwrap() {
            Some((kill, process)) if kill.call == now && kill.after == after => {
                process.cancel();
                true
            }
            _ => false,
        }
    }

    async fn call<T>(&self, name: &'static str, effect: impl FnOnce(&mut Tables) -> T) -> T {
        if self.dies(true, false) {
            std::future::pending::<()>().await;
        }
        let result = {
            let mut tables = self.tables();
            *tables.calls.entry(name).or_default() += 1;
            effect(&mut tables)
        };
        if self.dies(false, true) {
            std::future::pending::<()>().await;
        }
        result
    }
}

/// A compute service in the world.
pub struct Process {
    pub manager: Manager,
    pub reporter: Reporter,
    pub shutdown: CancellationToken,
    tasks: tokio_util::task::TaskTracker,
}

impl Process {
    /// Starts a service whose state is in `state`, as `bessemer compute` does; `kill` says where it dies.
    pub fn start(world: &Arc<World>, state: &Path, kill: Option<Kill>) -> Self {
        let shutdown = CancellationToken::new();
        *world.made.lock().unwrap() = 0;
        *world.kill.lock().unwrap() = kill.map(|kill| (kill, shutdown.clone()));
        let driver = Driver::new(ironic(&world.sim), driver_options());
        let port = Arc::new(Port(world.clone()));
        let reporter =
            Reporter::new(reporter_options(state), driver.clone(), port.clone(), port.clone(), port.clone());
        let ports = Ports {
            driver: driver.clone(),
            reporter: reporter.clone(),
            instances: port.clone(),
            networks: port.clone(),
            volumes: port.clone(),
            placement: port.clone(),
            announcer: port.clone(),
            vendor_data: port,
        };
        let manager = Manager::new(options(state), ports, shutdown.clone());
        let tasks = tokio_util::task::TaskTracker::new();
        let stop = shutdown.clone();
        tasks.spawn(async move { driver.run_watcher(stop).await });
        Self { manager, reporter, shutdown, tasks }
    }

    /// Waits until all work has ended, or the process has died.
    pub async fn ended(self) {
        self.manager.drained().await;
        self.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn ironic(sim: &Sim) -> openstack::ironic::Client {
    let auth = openstack::Auth::None { endpoint: None };
    let session = openstack::Session::new(openstack::SessionOptions::new(auth)).unwrap();
    let options = openstack::AdapterOptions::at(sim.url());
    openstack::ironic::Client::new(openstack::Adapter::new(session, openstack::Service::Baremetal, options))
}

fn driver_options() -> driver::Options {
    driver::Options {
        api_max_retries: 5,
        api_retry_interval: Duration::from_millis(5),
        ..driver::Options::default()
    }
}

fn reporter_options(state: &Path) -> ReporterOptions {
    ReporterOptions {
        host: HOST.to_owned(),
        conductor_group: None,
        shard: None,
        interval: None,
        audit_interval: None,
        parallel: 4,
        rules: Rules {
            host_ip: "127.0.0.1".to_owned(),
            reserved_host_cpus: 0,
            reserved_host_memory_mb: 512,
            reserved_host_disk_mb: 0,
            initial_ratios: [4.0, 1.0, 1.0],
            ratios: [None; 3],
            excluded_image_types: Vec::new(),
            skip_reserve_in_use: false,
            owner_trait: true,
        },
        providers: compute::inventory::ProviderConfig::default(),
        state_file: state.join("bessemer").join("inventory.json"),
    }
}

fn options(state: &Path) -> Options {
    Options {
        host: HOST.to_owned(),
        state_path: state.to_owned(),
        max_concurrent_builds: 10,
        sync_interval: None,
        build: BuildOptions {
            network_retries: 0,
            access_network: None,
            ephemeral_format: None,
            count_failures: true,
            check_group_policy: true,
            config_drive: ConfigDriveOptions {
                force: false,
                format: configdrive::Format::Iso9660,
                publisher: "Bessemer".to_owned(),
                dhcp_domain: "novalocal".to_owned(),
                skip_versions: Vec::new(),
                inject_network: false,
            },
        },
    }
}

/// A server that the scheduler has just placed on a node.
pub fn server(world: &World, number: u128, node: NodeId, may_reschedule: bool) -> BuildRequest {
    let id = InstanceId(Uuid::from_u128(number));
    let instance = Instance {
        id,
        project_id: "project".to_owned(),
        user_id: "user".to_owned(),
        host: None,
        node: None,
        vm_state: VmState::Building,
        task_state: Some(TaskState::Scheduling),
        power: Power::NoState,
        deleted: false,
        hostname: "server".to_owned(),
        display_name: "server".to_owned(),
        availability_zone: Some("nova".to_owned()),
        image_ref: Some(Uuid::from_u128(7).to_string()),
        kernel_id: None,
        ramdisk_id: None,
        flavor: Flavor {
            name: "bm".to_owned(),
            vcpus: 8,
            memory_mb: 16384,
            root_gb: 100,
            ..Flavor::default()
        },
        metadata: BTreeMap::new(),
        system_metadata: BTreeMap::new(),
        key_name: None,
        key_data: None,
        keypair: None,
        user_data: None,
        launch_index: 0,
        reservation_id: None,
        root_device_name: None,
        default_ephemeral_device: None,
        default_swap_device: None,
        config_drive: Some("True".to_owned()),
        launched_at: None,
        os_type: None,
        ec2_ids: Ec2Ids::default(),
        has_trusted_certs: false,
        network: NetworkInfo::default(),
    };
    let key = format!("{id} {node}");
    let request = BuildRequest {
        context: RequestContext::admin(),
        instance: instance.clone(),
        node,
        image_traits: Vec::new(),
        image_id: Some(Uuid::from_u128(7)),
        admin_password: Some("admin-password".into()),
        injected_files: Vec::new(),
        networks: NetworkRequests::Default,
        security_groups: Vec::new(),
        block_devices: Vec::new(),
        provider_mapping: BTreeMap::new(),
        server_group: None,
        may_reschedule,
        origin: Origin(json!(key)),
    };
    let mut tables = world.tables();
    tables.instances.insert(id, instance);
    tables.allocations.insert(id, node);
    tables.requests.insert(key, request.clone());
    request
}

/// A server that came back and was placed on another node.
pub fn placed_again(world: &World, id: InstanceId, node: NodeId) -> BuildRequest {
    let mut tables = world.tables();
    let instance = tables.instances[&id].clone();
    let key = format!("{id} {node}");
    let (_, request) = tables.requests.iter().next().unwrap();
    let request = BuildRequest { instance, node, origin: Origin(json!(key)), ..request.clone() };
    tables.allocations.insert(id, node);
    tables.requests.insert(key, request.clone());
    request
}

/// The request to delete a server, after the API has set its task.
pub fn delete(world: &World, id: InstanceId) -> DeleteRequest {
    let mut tables = world.tables();
    let instance = tables.instances.get_mut(&id).unwrap();
    instance.task_state = Some(TaskState::Deleting);
    DeleteRequest {
        context: RequestContext::admin(),
        instance: instance.clone(),
        block_devices: Vec::new(),
        origin: Origin(json!(id.to_string())),
    }
}

/// The ports of the compute manager, onto the tables.
struct Port(Arc<World>);

#[async_trait]
impl Instances for Port {
    async fn get(&self, _: &RequestContext, id: InstanceId) -> Result<Option<Instance>> {
        self.0.call("get", |t| Ok(t.instances.get(&id).cloned())).await
    }

    async fn on_this_host(&self, _: &RequestContext) -> Result<Vec<Instance>> {
        let here = |i: &&Instance| i.host.as_deref() == Some(HOST) && !i.deleted;
        self.0.call("on_this_host", |t| Ok(t.instances.values().filter(here).cloned().collect())).await
    }

    async fn update(
        &self,
        _: &RequestContext,
        instance: &mut Instance,
        update: InstanceUpdate,
        expect: Expect,
    ) -> Result<()> {
        let id = instance.id;
        let updated = self
            .0
            .call("update", |t| {
                let stored =
                    t.instances.get_mut(&id).filter(|i| !i.deleted).ok_or(Error::InstanceGone(id))?;
                if let Expect::Task(tasks) = &expect
                    && !tasks.contains(&stored.task_state)
                {
                    let text = format!("task is {:?}", stored.task_state);
                    return Err(match stored.task_state {
                        Some(TaskState::Deleting) => Error::Deleting(text),
                        _ => Error::UnexpectedTask(text),
                    });
                }
                apply(stored, update);
                Ok(stored.clone())
            })
            .await?;
        *instance = updated;
        Ok(())
    }

    async fn save_network(
        &self,
        _: &RequestContext,
        instance: &mut Instance,
        network: NetworkInfo,
    ) -> Result<()> {
        let id = instance.id;
        instance.network = network.clone();
        self.0
            .call("save_network", |t| {
                t.instances.get_mut(&id).ok_or(Error::InstanceGone(id))?.network = network;
                Ok(())
            })
            .await
    }

    async fn destroy(&self, _: &RequestContext, instance: &Instance) -> Result<()> {
        let id = instance.id;
        self.0
            .call("destroy", |t| {
                t.instances.get_mut(&id).filter(|i| !i.deleted).ok_or(Error::InstanceGone(id))?.deleted =
                    true;
                Ok(())
            })
            .await
    }

    async fn block_devices(&self, _: &RequestContext, _: InstanceId) -> Result<Vec<BlockDevice>> {
        Ok(Vec::new())
    }

    async fn save_device_name(&self, _: &RequestContext, _: &mut BlockDevice, _: &str) -> Result<()> {
        Ok(())
    }

    async fn record_fault(&self, _: &RequestContext, id: InstanceId, fault: &Fault) -> Result<()> {
        let message = fault.message.clone();
        self.0
            .call("record_fault", |t| {
                t.faults.push((id, message));
                Ok(())
            })
            .await
    }

    async fn start_event(&self, _: &RequestContext, id: InstanceId, name: &str, resumed: bool) -> Result<()> {
        let event = Recorded { instance: id, name: name.to_owned(), failure: None };
        self.0
            .call("start_event", |t| {
                if !resumed || !t.events.contains(&event) {
                    t.events.push(event);
                }
                Ok(())
            })
            .await
    }

    async fn finish_event(
        &self,
        _: &RequestContext,
        id: InstanceId,
        name: &str,
        failure: Option<(&str, &str)>,
    ) -> Result<()> {
        let failure = failure.map(|(message, _)| message.to_owned());
        let name = name.to_owned();
        self.0
            .call("finish_event", |t| {
                let open = |e: &&mut Recorded| e.instance == id && e.name == name && e.failure.is_none();
                if let Some(event) = t.events.iter_mut().rev().find(open) {
                    event.failure = Some(failure);
                }
                Ok(())
            })
            .await
    }

    async fn clean_console_tokens(&self, _: &RequestContext, _: InstanceId) -> Result<()> {
        self.0.call("clean_console_tokens", |_| Ok(())).await
    }

    async fn check_group_policy(&self, _: &RequestContext, _: &Instance, _: &str) -> Result<()> {
        Ok(())
    }

    async fn reschedule(&self, request: &BuildRequest, _: &str, _: &str) -> Result<()> {
        let id = request.instance.id;
        if let Some(act) = &*self.0.rescheduled.lock().unwrap() {
            act();
        }
        self.0
            .call("reschedule", |t| {
                t.rescheduled.push(id);
                // The conductor claims another node, if there is one, before it answers to anybody.
                let taken: Vec<NodeId> = t.allocations.values().copied().collect();
                let other = t.records.keys().find(|n| **n != request.node && !taken.contains(n)).copied();
                if let Some(other) = other {
                    t.allocations.insert(id, other);
                }
                Ok(())
            })
            .await
    }

    fn decode_build(&self, origin: &Value) -> Option<BuildRequest> {
        self.0.tables().requests.get(origin.as_str()?).cloned()
    }

    fn decode_delete(&self, origin: &Value) -> Option<DeleteRequest> {
        let id = InstanceId(origin.as_str()?.parse().ok()?);
        let instance = self.0.tables().instances.get(&id)?.clone();
        let origin = Origin(origin.clone());
        Some(DeleteRequest { context: RequestContext::admin(), instance, block_devices: Vec::new(), origin })
    }
}

fn apply(stored: &mut Instance, update: InstanceUpdate) {
    if let Some(state) = update.vm_state {
        stored.vm_state = state;
    }
    if let Some(task) = update.task_state {
        stored.task_state = task;
    }
    if let Some(power) = update.power {
        stored.power = power;
    }
    if let Some(home) = update.home {
        stored.host = home.as_ref().map(|home| home.host.clone());
        stored.node = home.map(|home| home.node);
    }
    if let Some(metadata) = update.system_metadata {
        stored.system_metadata = metadata;
    }
    if let Some(name) = update.root_device_name {
        stored.root_device_name = Some(name);
    }
    if update.launched_now {
        stored.launched_at = Some("2026-01-01T00:00:00Z".to_owned());
    }
}

#[async_trait]
impl Inventory for Port {
    async fn records_of_this_host(&self, _: &RequestContext) -> Result<Vec<Record>> {
        self.0.call("records_of_this_host", |t| Ok(t.records.values().cloned().collect())).await
    }

    async fn records_of(&self, _: &RequestContext, nodes: &[NodeId]) -> Result<Vec<Record>> {
        self.0
            .call("records_of", |t| Ok(nodes.iter().filter_map(|n| t.records.get(n).cloned()).collect()))
            .await
    }

    async fn create_record(&self, _: &RequestContext, node: NodeId, fields: &RecordFields) -> Result<i64> {
        self.0
            .call("create_record", |t| {
                let id = i64::try_from(t.records.len()).unwrap() + 1;
                let host = Some(HOST.to_owned());
                t.records.insert(node, Record { id, node, host, deleted: false, fields: fields.clone() });
                Ok(id)
            })
            .await
    }

    async fn save_record(
        &self,
        _: &RequestContext,
        _: i64,
        node: NodeId,
        changed: &RecordFields,
        _: bool,
    ) -> Result<()> {
        self.0
            .call("save_record", |t| {
                let record = t.records.get_mut(&node).unwrap();
                record.fields.extend(changed.clone());
                Ok(())
            })
            .await
    }

    async fn destroy_record(&self, _: &RequestContext, record: &Record) -> Result<()> {
        self.0
            .call("destroy_record", |t| {
                t.records.remove(&record.node);
                Ok(())
            })
            .await
    }

    async fn ring_members(&self, _: &RequestContext) -> Result<(BTreeSet<String>, bool)> {
        self.0.call("ring_members", |_| Ok((BTreeSet::from([HOST.to_owned()]), false))).await
    }
}

#[async_trait]
impl Placement for Port {
    async fn heads(&self) -> Result<HashMap<NodeId, ProviderHead>> {
        self.0
            .call("heads", |t| {
                let head =
                    |(n, p): (&NodeId, &KnownProvider)| (*n, ProviderHead { generation: p.generation });
                Ok(t.providers.iter().map(head).collect())
            })
            .await
    }

    async fn report(&self, wanted: &Wanted, _: Option<KnownProvider>, _: bool) -> Result<KnownProvider> {
        self.0
            .call("report", |t| {
                let generation = t.providers.get(&wanted.node).map_or(0, |p| p.generation) + 1;
                let now = KnownProvider {
                    generation,
                    inventory: wanted.inventory.clone(),
                    traits: wanted.traits.clone(),
                };
                t.providers.insert(wanted.node, now.clone());
                Ok(now)
            })
            .await
    }

    async fn remove(&self, node: NodeId, _: &[InstanceId]) -> Result<()> {
        self.0
            .call("remove", |t| {
                t.providers.remove(&node);
                Ok(())
            })
            .await
    }

    async fn held_by(&self, instance: InstanceId) -> Result<Vec<NodeId>> {
        self.0.call("held_by", |t| Ok(t.allocations.get(&instance).copied().into_iter().collect())).await
    }

    async fn release(&self, _: &RequestContext, instance: InstanceId) -> Result<()> {
        self.0
            .call("release", |t| {
                t.allocations.remove(&instance);
                Ok(())
            })
            .await
    }
}

#[async_trait]
impl Networks for Port {
    async fn allocate(&self, _: &BuildRequest, instance: &Instance) -> Result<NetworkInfo> {
        let id = instance.id;
        let port = self
            .0
            .call("create_port", |t| {
                let found = t.neutron.iter().find(|(_, owner)| *owner == id).map(|(port, _)| *port);
                found.unwrap_or_else(|| {
                    let port = Uuid::from_u128(0xF000 + t.neutron.len() as u128);
                    t.neutron.push((port, id));
                    port
                })
            })
            .await;
        Ok(serde_json::from_value(json!([{"id": port, "address": "52:54:00:00:00:01"}])).unwrap())
    }

    async fn deallocate(&self, _: &RequestContext, instance: &Instance, _: &[Uuid]) -> Result<()> {
        let id = instance.id;
        self.0
            .call("delete_ports", |t| {
                t.neutron.retain(|(_, owner)| *owner != id);
                Ok(())
            })
            .await
    }

    async fn refresh(&self, _: &RequestContext, instance: &Instance, _: Option<Uuid>) -> Result<NetworkInfo> {
        Ok(instance.network.clone())
    }

    async fn security_group_names(&self, _: &Instance) -> Result<Vec<String>> {
        self.0.call("security_group_names", |_| Ok(Vec::new())).await
    }
}

#[async_trait]
impl Volumes for Port {
    async fn attach(
        &self,
        _: &RequestContext,
        _: &Instance,
        _: &mut [BlockDevice],
        _: &Value,
    ) -> Result<Vec<NewVolumeTarget>> {
        Ok(Vec::new())
    }

    async fn detach(&self, _: &RequestContext, _: &Instance, _: &[BlockDevice], _: bool) {}
}

#[async_trait]
impl Announcer for Port {
    async fn notify(&self, _: &RequestContext, _: &Instance, _: Event, _: Phase<'_>) {}

    async fn instance_changed(&self, _: &RequestContext, _: &Instance) {
        self.0.call("instance_changed", |_| ()).await;
    }

    async fn instance_gone(&self, _: &RequestContext, _: InstanceId) {
        self.0.call("instance_gone", |_| ()).await;
    }

    async fn sync(&self, _: &RequestContext, _: &[InstanceId]) {}
}

#[async_trait]
impl VendorDataSource for Port {
    async fn vendor_data(&self, _: &RequestContext, _: &Instance, _: Option<Uuid>) -> Result<VendorData> {
        Ok(VendorData { fixed: Some(json!({})), dynamic: None })
    }
}
