//! The books that a stock Nova keeps of the machines, as plain tables, and a simulated Ironic.

mod books;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use compute::instance::Instance;
use compute::ports::{self, Result};
use driver::{Driver, InstanceId, NodeId};
use ironic_sim::Sim;
use nova::inventory::books::{KnownProvider, Record};
use nova::inventory::{Options, ProviderConfig, RecordIds, Reporter, Rules, Scope};
use uuid::Uuid;

use books::Books;

pub const HOST: &str = "compute1";

/// What Nova and Placement have.
#[derive(Default)]
pub struct Tables {
    pub instances: HashMap<InstanceId, Instance>,
    pub allocations: HashMap<InstanceId, NodeId>,
    /// 0 where nothing else is said.
    pub claim_generations: HashMap<InstanceId, i64>,
    pub providers: HashMap<NodeId, KnownProvider>,
    pub records: HashMap<NodeId, Record>,
    /// Other services that share the nodes.
    pub peers: Vec<String>,
    /// Calls by name, for the tests that count them.
    pub calls: BTreeMap<&'static str, usize>,
}

type OnCall = (&'static str, Box<dyn FnOnce() + Send + Sync>);

pub struct World {
    pub sim: Sim,
    tables: Mutex<Tables>,
    on_call: Mutex<Option<OnCall>>,
    trouble: Mutex<Vec<(&'static str, Trouble)>>,
}

/// What a service answers in place of its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    Unavailable,
    Broken,
}

impl World {
    pub fn new(sim: Sim) -> Arc<Self> {
        let (tables, on_call, trouble) = (Mutex::default(), Mutex::new(None), Mutex::default());
        Arc::new(Self { sim, tables, on_call, trouble })
    }

    pub fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap()
    }

    /// Does this, once, when this call is made.
    pub fn on_call(&self, call: &'static str, act: impl FnOnce() + Send + Sync + 'static) {
        *self.on_call.lock().unwrap() = Some((call, Box::new(act)));
    }

    /// The next call of this name meets with trouble, and each further one that was asked for.
    pub fn trouble(&self, name: &'static str, trouble: Trouble) {
        self.trouble.lock().unwrap().push((name, trouble));
    }

    async fn call<T>(&self, name: &'static str, effect: impl FnOnce(&mut Tables) -> Result<T>) -> Result<T> {
        // As with a real service, others run meanwhile.
        tokio::task::yield_now().await;
        let act = self.on_call.lock().unwrap().take_if(|(call, _)| *call == name);
        if let Some((_, act)) = act {
            act();
        }
        let trouble = {
            let mut troubles = self.trouble.lock().unwrap();
            let due = troubles.iter().position(|(whose, _)| *whose == name);
            due.map(|due| troubles.remove(due).1)
        };
        let mut tables = self.tables();
        *tables.calls.entry(name).or_default() += 1;
        match trouble {
            Some(Trouble::Unavailable) => Err(ports::Error::Unavailable("away".to_owned())),
            Some(Trouble::Broken) => Err(ports::Error::Broken("refused".to_owned())),
            None => effect(&mut tables),
        }
    }

    /// A server that the scheduler has placed on a node.
    pub fn server(&self, number: u128, node: NodeId) -> InstanceId {
        let id = InstanceId(Uuid::from_u128(number));
        let mut tables = self.tables();
        tables.instances.insert(id, Instance::new(id));
        tables.allocations.insert(id, node);
        id
    }

    /// A reporter in this world.
    pub fn reporter(self: &Arc<Self>, state: &Path) -> Reporter {
        let driver = Driver::new(ironic(&self.sim), patience());
        let books = Arc::new(Books(self.clone()));
        Reporter::new(options(state), driver, books.clone(), books.clone(), books, RecordIds::default())
    }
}

fn ironic(sim: &Sim) -> openstack::ironic::Client {
    let auth = openstack::Auth::None { endpoint: None };
    let session = openstack::Session::new(openstack::SessionOptions::new(auth)).unwrap();
    let options = openstack::AdapterOptions::at(sim.url());
    openstack::ironic::Client::new(openstack::Adapter::new(session, openstack::Service::Baremetal, options))
}

fn patience() -> driver::Options {
    driver::Options {
        api_max_retries: 5,
        api_retry_interval: Duration::from_millis(5),
        ..driver::Options::default()
    }
}

fn options(state: &Path) -> Options {
    Options {
        host: HOST.to_owned(),
        scope: Scope::default(),
        shard: None,
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
        providers: ProviderConfig::default(),
        state_file: state.join("bessemer").join("inventory.json"),
    }
}
