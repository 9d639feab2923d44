//! A driver on a simulated Ironic, and a server to deploy with it.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use driver::{
    ConfigDrive, Deployment, Driver, Error, InstanceId, NoDrive, NodeId, Options, Progress, Run, Server,
    Unfollowed,
};
use ironic_sim::{Builder, Sim, State};
use openstack::{
    Adapter, AdapterOptions, Auth, Caller, RetryOptions, Service, Session, SessionOptions,
    ironic::{Client, Node},
};
use secrecy::SecretString;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A driver with its watcher running. Stops when dropped.
pub struct Host {
    pub driver: Driver,
    watching: JoinHandle<()>,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

impl Host {
    /// A process that starts with nothing but its configuration.
    pub fn start(sim: &Sim) -> Self {
        Self::start_with(sim, Options::default())
    }

    pub fn start_with(sim: &Sim, options: Options) -> Self {
        let session = Session::new(SessionOptions::new(Auth::None { endpoint: None })).unwrap();
        // The driver's own patience is what is tested here.
        let retry = RetryOptions { connect_retries: Some(0), ..RetryOptions::default() };
        let adapter = AdapterOptions { retry, ..AdapterOptions::at(sim.url()) };
        let client = Client::new(Adapter::new(session, Service::Baremetal, adapter));
        let driver = Driver::new(client, options);
        // As a report of the machines does.
        driver.sight().know(sim.nodes().iter().map(|node| NodeId(node.uuid)).collect(), None);
        let watcher = driver.clone();
        let watching = tokio::spawn(async move { watcher.run_watcher(CancellationToken::new()).await });
        Self { driver, watching }
    }

    /// Reserves, attaches and deploys, as a build does.
    pub async fn build(&self, deployment: &Deployment, vifs: &[Uuid]) -> Result<Node, Error> {
        self.reserve(deployment).await?;
        self.driver.attach_vifs(run(deployment.server.instance), deployment.node, vifs).await?;
        self.driver.deploy(run(deployment.server.instance), deployment, &Drive::default()).await
    }

    pub async fn reserve(&self, deployment: &Deployment) -> Result<Node, Error> {
        self.driver.reserve(run(deployment.server.instance), deployment.node).await
    }

    pub async fn tear_down(&self, deployment: &Deployment) -> Result<Option<Node>, Error> {
        self.driver.tear_down(run(deployment.server.instance), Some(deployment.node)).await
    }
}

static CALLER: LazyLock<Caller> = LazyLock::new(Caller::default);
static NEVER: LazyLock<CancellationToken> = LazyLock::new(CancellationToken::new);

/// Work for an instance that no one cancels.
pub fn run(instance: InstanceId) -> Run<'static> {
    Run { caller: &CALLER, instance, cancel: &NEVER, progress: &Unfollowed }
}

/// What a journal keeps of one operation.
#[derive(Default)]
pub struct Journal {
    saved: Mutex<BTreeMap<String, Value>>,
    /// Reasons of waits, in their order.
    pub waits: Mutex<Vec<String>>,
}

#[async_trait]
impl Progress for Journal {
    fn waits(&self, because: Option<&str>) {
        self.waits.lock().unwrap().extend(because.map(str::to_owned));
    }

    async fn saved(&self, plan: &str) -> Option<Value> {
        self.saved.lock().unwrap().get(plan).cloned()
    }

    async fn save(&self, plan: &str, memory: Value) -> io::Result<()> {
        self.saved.lock().unwrap().insert(plan.to_owned(), memory);
        Ok(())
    }
}

/// A config drive that counts how often it was asked for.
#[derive(Clone, Default)]
pub struct Drive {
    pub built: Arc<AtomicUsize>,
    /// How often it finds something away before it is built.
    pub away: Arc<AtomicUsize>,
}

#[async_trait]
impl ConfigDrive for Drive {
    async fn build(&self, _node: &Node) -> Result<Option<SecretString>, NoDrive> {
        self.built.fetch_add(1, Ordering::SeqCst);
        if self.away.load(Ordering::SeqCst) > 0 {
            self.away.fetch_sub(1, Ordering::SeqCst);
            return Err(NoDrive::Away("Neutron is away".into()));
        }
        Ok(Some("SDRzSQ==".into()))
    }
}

/// Work takes no time and passes through the waiting states, as with machines that boot a ramdisk.
pub fn sim() -> Builder {
    Sim::builder().wait_states()
}

pub fn deployment(node: Uuid) -> Deployment {
    numbered_deployment(node, 0xca6b_6dc5)
}

pub fn numbered_deployment(node: Uuid, instance: u128) -> Deployment {
    Deployment {
        node: NodeId(node),
        server: Server {
            instance: InstanceId(Uuid::from_u128(instance)),
            image_ref: Some("73faf9ad-eddf-4bb9-b0ae-6a20a98ac913".into()),
            root_gb: 100,
            swap_mb: 0,
            ephemeral_gb: 0,
            ephemeral_format: None,
            preserve_ephemeral: None,
            display_name: Some("smoke-1".into()),
            vcpus: 8,
            memory_mb: 16384,
            host: "lab-ironic".into(),
            project_id: "93eb11920d2a4f239fb19bdf1fe772ae".into(),
            project_name: "admin".into(),
            user_id: "c03e2145a9224528b04fe246318a1a8c".into(),
            user_name: "admin".into(),
            flavor_name: "bm.lab".into(),
            extra_specs: BTreeMap::new(),
            image_traits: vec![],
            fixed_ips: "[]".into(),
            floating_ips: "[]".into(),
            has_root_volume: false,
        },
        volume_targets: vec![],
    }
}

pub fn vif(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

/// A node with the instance of its [`deployment`] on it, in this state.
pub fn carrying(sim: &Sim, state: State) -> Uuid {
    let node = sim.enroll_with(|node| {
        node.instance_uuid = Some(deployment(node.uuid).server.instance.0);
        node.instance_info.insert("image_source".into(), serde_json::json!("img"));
    });
    sim.set_state(node, state);
    node
}

/// What a node must be like when it was given back: nothing of the instance is left on it.
pub fn assert_free(node: &ironic_sim::Node) {
    assert_eq!(node.instance_uuid, None);
    assert!(node.instance_info.is_empty(), "{:?}", node.instance_info);
    assert!(node.targets.is_empty(), "{:?}", node.targets);
    for port in &node.ports {
        assert!(!port.internal_info.contains_key("tenant_vif_port_id"), "{port:?}");
    }
}
