//! A compute service in the world, made as `bessemer compute` makes it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use compute::machines::Publisher;
use compute::options::{ConfigDriveOptions, ConsoleOptions, CreateOptions, ReapAction, Reaping};
use compute::request::Request;
use compute::{Manager, Options, Ports};
use driver::Driver;
use ironic_sim::Sim;
use tokio_util::sync::CancellationToken;

use super::port::Port;
use super::{HOST, Kill, World};

/// A compute service in the world.
pub struct Process {
    pub manager: Manager,
    pub publisher: Publisher,
    pub shutdown: CancellationToken,
    world: Arc<World>,
    tasks: tokio_util::task::TaskTracker,
}

impl Process {
    /// Starts a service whose state is in `state`, as `bessemer compute` does; `kill` says where it dies.
    pub fn start(world: &Arc<World>, state: &Path, kill: Option<Kill>) -> Self {
        Self::start_with(world, options(state), kill)
    }

    /// The same for a service that builds only so many servers at once.
    pub fn start_bounded(world: &Arc<World>, state: &Path, max_concurrent_builds: usize) -> Self {
        Self::start_with(world, Options { max_concurrent_builds, ..options(state) }, None)
    }

    /// The same, with a period for the healing of network information.
    pub fn healing(world: &Arc<World>, state: &Path) -> Self {
        let options = Options { heal_interval: Some(Duration::from_mins(1)), ..options(state) };
        Self::start_with(world, options, None)
    }

    fn start_with(world: &Arc<World>, options: Options, kill: Option<Kill>) -> Self {
        let shutdown = CancellationToken::new();
        *world.made.lock().unwrap() = 0;
        *world.kill.lock().unwrap() = kill.map(|kill| (kill, shutdown.clone()));
        let driver = Driver::new(ironic(&world.sim), driver_options());
        // As the first report does.
        driver.sight().know(world.tables().machines.keys().copied().collect(), None);
        let port = Arc::new(Port(world.clone()));
        let publisher = Publisher::new(driver.clone(), port.clone(), Some(Duration::from_mins(1)));
        let ports = Ports {
            driver: driver.clone(),
            machines: port.clone(),
            publisher: publisher.clone(),
            instances: port.clone(),
            networks: port.clone(),
            volumes: port.clone(),
            announcer: port.clone(),
            vendor_data: port.clone(),
            requests: port,
        };
        let manager = Manager::new(options, ports, shutdown.clone());
        let tasks = tokio_util::task::TaskTracker::new();
        let stop = shutdown.clone();
        tasks.spawn(async move { driver.run_watcher(stop).await });
        Self { manager, publisher, shutdown, world: world.clone(), tasks }
    }

    /// Takes a request, as the control plane's server does.
    pub async fn take(&self, request: impl Into<Request>) {
        let request = request.into();
        self.manager.admit(&request).await.unwrap();
        self.manager.start(request);
    }

    /// Has the service report its machines and do what it does in between, for so long.
    pub async fn runs_for(&self, time: Duration) {
        let stop = self.shutdown.child_token();
        let (publisher, power, reap) = (self.publisher.clone(), self.manager.clone(), self.manager.clone());
        let (one, two, three) = (stop.clone(), stop.clone(), stop.clone());
        let running = [
            tokio::spawn(async move { publisher.run(one).await }),
            tokio::spawn(async move { power.sync_power(two).await }),
            tokio::spawn(async move { reap.reap(three).await }),
        ];
        tokio::time::sleep(time).await;
        stop.cancel();
        for task in running {
            task.await.unwrap();
        }
    }

    /// Waits until all work has ended, or the process has died.
    pub async fn ended(self) {
        tokio::select! {
            () = self.manager.drained() => {}
            () = self.world.died_in_hand_over.notified() => {}
        }
        self.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl World {
    /// A publisher of the machines, without a period.
    pub fn publisher(self: &Arc<Self>) -> Publisher {
        let driver = Driver::new(ironic(&self.sim), driver_options());
        Publisher::new(driver, Arc::new(Port(self.clone())), None)
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

fn options(state: &Path) -> Options {
    Options {
        host: HOST.to_owned(),
        state_path: state.to_owned(),
        max_concurrent_builds: 10,
        sync_interval: None,
        consoles: ConsoleOptions::default(),
        power_sync_interval: Some(Duration::from_mins(10)),
        reaping: Some(Reaping {
            interval: Duration::from_mins(30),
            timeout: Duration::from_mins(1),
            action: ReapAction::Reap,
        }),
        reclaim_after: Some(Duration::from_hours(1)),
        rescue_timeout: Some(Duration::from_hours(1)),
        heal_interval: None,
        shutdown_timeout: Duration::from_mins(1),
        create: CreateOptions {
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
