//! `bessemer compute`: every part made, connected, run and stopped in order.

use std::sync::Arc;
use std::time::Duration;

use compute::machines::Publisher;
use compute::{Manager, Ports};
use driver::Driver;
use nova::announcer::Announcer;
use nova::conductor::Conductor;
use nova::consoles::Consoles;
use nova::instances::Instances;
use nova::inventory::{Placement, RecordIds, Records, Reporter, placement};
use nova::requests::Requests;
use nova::server::{Elsewhere, Endpoint};
use nova::service::Service;
use nova::virtual_interfaces::VirtualInterfaces;
use oslo::config::Config;
use oslo::notify::Notifier;
use oslo::rpc::{Server, ServerOptions, Transport};
use services::network::Networks;
use services::vendor_data;
use services::volumes::Volumes;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;

use crate::admin::{self, Pages, Readiness};
use crate::clients::Clients;
use crate::parts::Parts;
use crate::signals::{Asked, Signals};
use crate::validate::validate;
use crate::warnings::warnings;
use crate::{Files, config, options};

/// The topics that nova-api and nova-conductor send to; the second since 2026.1.
const TOPICS: [&str; 2] = ["compute", "compute-alt"];

/// How long short requests may take to end when we stop. Builds and deletes do not count: the next start resumes them.
const DRAIN: Duration = Duration::from_secs(20);

/// Runs the service until an operator ends it.
pub fn run(files: &Files) -> Result<(), String> {
    let config = files.load()?;
    validate(&config).map_err(|error| error.to_string())?;
    let log = oslo::log::Options::from_config(&config, "nova-compute").map_err(|error| error.to_string())?;
    let log = oslo::log::init(log).map_err(|error| error.to_string())?;
    for warning in warnings(&config) {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the runtime cannot be started: {error}"))?;
    let ended = runtime.block_on(serve(files, config, log));
    if let Err(error) = &ended {
        tracing::error!(%error, "the service stops because of an error");
    }
    // Whatever still blocks a thread has nothing left to say.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

/// What runs, for those who change it.
struct Running {
    reporter: Reporter,
    records: Records,
}

async fn serve(files: &Files, config: Config, log: oslo::log::Handle) -> Result<(), String> {
    let mut signals = Signals::listen().map_err(|error| format!("signals cannot be listened to: {error}"))?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), host = options::host(&config), "starting");
    let (parts, mut lost) = Parts::new();
    let readiness = Readiness::default();
    readiness.lacks("requests", "the service is starting");
    let (begun, made) = watch::channel(None);
    serve_admin(&config, &parts, &readiness, made)?;
    let transport = transport(&config)?;
    let bus = transport.clone();
    let asked = transport.clone();
    readiness.ask("message bus", move || {
        (!asked.is_connected()).then(|| "there is no connection to the message broker".to_owned())
    });
    parts.bus.run("message bus", |stop| async move { bus.run(stop).await });

    // What a start that is cut off has begun is waited for as well.
    let started = tokio::select! {
        started = start(&config, &transport, &parts, &readiness, &begun) => started.map(Some),
        () = stop_asked(&mut signals) => Ok(None),
        gone = gone(&mut lost) => Err(gone),
    };
    let ended = match started {
        Ok(Some(running)) => {
            readiness.has("requests");
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
            tracing::info!("ready");
            let ended = tokio::select! {
                () = attend(files, config, &log, &running, &mut signals) => Ok(()),
                gone = gone(&mut lost) => Err(gone),
            };
            readiness.lacks("requests", "the service is stopping");
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
            tracing::info!("stopping; the next start resumes the builds and deletes in progress");
            ended
        }
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    let manager = begun.borrow().clone();
    let drained = async {
        if let Some(manager) = manager {
            manager.drained().await;
        }
    };
    parts.end(drained).await;
    tracing::info!("stopped");
    ended
}

/// Waits until a part has ended that should not have.
async fn gone(lost: &mut UnboundedReceiver<&'static str>) -> String {
    match lost.recv().await {
        Some(name) => format!("a part of the service has ended: {name}"),
        // Parts that are there can still end.
        None => std::future::pending().await,
    }
}

fn serve_admin(
    config: &Config,
    parts: &Parts,
    readiness: &Readiness,
    manager: watch::Receiver<Option<Manager>>,
) -> Result<(), String> {
    let group = config.group("bessemer");
    let Ok(port @ 1..) = u16::try_from(group.int("admin_port")) else { return Ok(()) };
    let host = group.text("admin_host");
    let pages = Pages { readiness: readiness.clone(), recorder: admin::install()?, manager };
    parts.work.run("admin listener", move |stop| async move {
        // Servers are built without it as well.
        if let Err(error) = admin::serve(&host, port, pages, stop.clone()).await {
            tracing::error!(%error, "the admin listener is off: no metrics and no list of operations");
        }
        stop.cancelled().await;
    });
    Ok(())
}

fn transport(config: &Config) -> Result<Transport, String> {
    let url = config::transport_url(config).map_err(|error| error.to_string())?;
    let rabbit = config::rabbit_options(config).map_err(|error| error.to_string())?;
    Transport::new(url, rabbit).map_err(|error| error.to_string())
}

/// Starts every part; when this returns the service takes requests.
async fn start(
    config: &Config,
    transport: &Transport,
    parts: &Parts,
    readiness: &Readiness,
    begun: &watch::Sender<Option<Manager>>,
) -> Result<Running, String> {
    let clients = Clients::new(config).map_err(|error| error.to_string())?;
    let conductor = Conductor::new(Arc::new(transport.client()), options::conductor(config));
    let service = Service::start(conductor.clone(), options::service(config), parts.work.stop())
        .await
        .map_err(|error| error.to_string())?;
    let (record, version) = (service.id(), service.version());

    let driver = Driver::new(clients.ironic.clone(), options::driver(config));
    let watcher = driver.clone();
    parts.work.run("watcher of nodes", |stop| async move { watcher.run_watcher(stop).await });

    let records = Records::new(conductor.clone(), options::records(config), record);
    let ids = RecordIds::default();
    let instances = Instances::new(conductor.clone(), options::host(config), ids.clone());
    let reclaims = config.top().int("reclaim_instance_interval") > 0;
    let reporter = Reporter::new(
        options::reporter(config, version)?,
        driver.clone(),
        Arc::new(instances.clone()),
        Arc::new(records.clone()),
        Arc::new(Placement::new(clients.placement.clone(), placement::Options { reclaims })),
        ids,
    );
    let adapters = ports(config, &clients, &conductor, driver, transport, &reporter, &instances, parts)?;
    let publisher = adapters.publisher.clone();
    let asked = publisher.clone();
    readiness.ask("reports of nodes", move || asked.trouble());
    let manager = Manager::new(options::manager(config), adapters, parts.work.stop().clone());
    begun.send_replace(Some(manager.clone()));
    manager.resume().map_err(|error| {
        format!(
            "the journal in [DEFAULT] state_path cannot be read: {error}. Correct that before the next start: without \
             the journal the builds and deletes in progress would be lost"
        )
    })?;

    let undo = Elsewhere {
        conductor: conductor.clone(),
        images: clients.glance.clone(),
        volumes: clients.cinder.clone(),
        placement: clients.placement.clone(),
    };
    let consoles = Consoles::new(conductor.clone(), options::consoles(config));
    let cleaning = consoles.clone();
    parts.work.run("removal of expired console tokens", |stop| cleaning.clean(stop));
    let asked = nova::server::Ports {
        worker: Arc::new(manager.clone()),
        instances: Arc::new(instances),
        machines: Arc::new(reporter.clone()),
        undo: Arc::new(undo),
        consoles,
    };
    // What the API waits is in its own configuration, which is the same file or like it.
    let endpoint = Arc::new(Endpoint::new(asked, config.top().seconds("rpc_response_timeout")));
    for topic in TOPICS {
        let server = ServerOptions {
            drain: DRAIN,
            ping: config.top().bool("rpc_ping_enabled"),
            ..ServerOptions::new(topic, options::host(config))
        };
        let server =
            Server::new(transport.clone(), server, endpoint.clone()).map_err(|error| error.to_string())?;
        let server = Arc::new(server);
        let serving = server.clone();
        parts.requests.run("RPC server", |stop| async move { serving.run(stop).await });
        server.ready().await;
    }
    // Report "up" only once requests are accepted.
    parts.work.run("reports of the service", |stop| service.run(stop));
    parts.work.run("reports of nodes", |stop| async move { publisher.run(stop).await });
    let recording = reporter.clone();
    parts.work.run("record of what Placement has", |stop| async move { recording.run(stop).await });
    if options::manager(config).sync_interval.is_some() {
        let syncing = manager.clone();
        parts.work.run("sync with the scheduler", |stop| async move { syncing.sync_scheduler(stop).await });
    }
    let syncing = manager.clone();
    parts.work.run("power of the machines", |stop| async move {
        syncing.sync_power(stop.clone()).await;
        stop.cancelled().await;
    });
    let reaping = manager.clone();
    parts.work.run("machines of deleted servers", |stop| async move {
        reaping.reap(stop.clone()).await;
        stop.cancelled().await;
    });
    if options::manager(config).reclaim_after.is_some() {
        let reclaiming = manager.clone();
        parts.work.run("end of deleted servers", |stop| async move { reclaiming.reclaim(stop).await });
    }
    if options::manager(config).rescue_timeout.is_some() {
        let ending = manager.clone();
        parts.work.run("end of long rescues", |stop| async move { ending.end_overdue_rescues(stop).await });
    }
    if options::manager(config).heal_interval.is_some() {
        let healing = manager.clone();
        parts
            .work
            .run("healing of network information", |stop| async move { healing.heal_networks(stop).await });
    }
    Ok(Running { reporter, records })
}

/// The adapters behind the manager's ports.
#[allow(clippy::too_many_arguments)] // the one place where everything meets
fn ports(
    config: &Config,
    clients: &Clients,
    conductor: &Conductor,
    driver: Driver,
    transport: &Transport,
    reporter: &Reporter,
    instances: &Instances,
    parts: &Parts,
) -> Result<Ports, String> {
    let records = Arc::new(instances.clone());
    let machines: Arc<dyn compute::ports::Machines> = Arc::new(reporter.clone());
    let publisher = Publisher::new(driver.clone(), machines.clone(), options::report_interval(config));
    let notifier = notifier(config, transport, parts)?;
    Ok(Ports {
        driver,
        machines,
        publisher,
        instances: records.clone(),
        networks: Arc::new(Networks::new(
            clients.neutron.clone(),
            Arc::new(VirtualInterfaces::new(conductor.clone())),
            options::networks(config),
        )),
        volumes: Arc::new(Volumes::new(clients.cinder.clone(), records, options::volumes(config))),
        announcer: Arc::new(Announcer::new(conductor.clone(), options::announcer(config), notifier)),
        vendor_data: Arc::new(vendor_data::Source::new(
            options::vendor_data(config),
            clients.vendor_data.clone(),
        )),
        requests: Arc::new(Requests),
    })
}

/// Who is notified of what happens to instances, on the bus of all messages or on one of its own.
fn notifier(config: &Config, transport: &Transport, parts: &Parts) -> Result<Option<Notifier>, String> {
    let Some(options) = options::notifier(config).map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    let transport = match config::notification_url(config).map_err(|error| error.to_string())? {
        None => transport.clone(),
        Some(url) => {
            let rabbit = config::rabbit_options(config).map_err(|error| error.to_string())?;
            let own = Transport::new(url, rabbit).map_err(|error| error.to_string())?;
            let bus = own.clone();
            parts.bus.run("message bus of notifications", |stop| async move { bus.run(stop).await });
            own
        }
    };
    let notifier = Notifier::new(transport, options);
    let running = notifier.clone();
    parts.notifications.run("notifications", |stop| async move { running.run(stop).await });
    Ok(Some(notifier))
}

async fn stop_asked(signals: &mut Signals) {
    while signals.next().await != Asked::Stop {}
}

/// Serves the operator's signals until one asks to stop.
async fn attend(
    files: &Files,
    mut config: Config,
    log: &oslo::log::Handle,
    running: &Running,
    signals: &mut Signals,
) {
    while signals.next().await == Asked::Reload {
        let mut news = vec![sd_notify::NotifyState::Reloading];
        news.extend(sd_notify::NotifyState::monotonic_usec_now());
        let _ = sd_notify::notify(&news);
        match reload(files, &config, log, running) {
            Ok(next) => config = next,
            Err(error) => tracing::error!(
                %error,
                "the changed configuration cannot be used; the previous one stays in effect"
            ),
        }
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    }
}

/// Reads the configuration again. What may change while we run changes at once; the rest is named, because it takes a
/// restart, and stays as it is: what holds is returned.
fn reload(files: &Files, old: &Config, log: &oslo::log::Handle, running: &Running) -> Result<Config, String> {
    let fresh = files.load()?;
    let (next, changes) = old.mutated(&fresh);
    for config in [&fresh, &next] {
        validate(config).map_err(|error| error.to_string())?;
    }
    let options =
        oslo::log::Options::from_config(&next, "nova-compute").map_err(|error| error.to_string())?;
    log.reload(options).map_err(|error| error.to_string())?;
    running.reporter.set_scope(options::scope(&next));
    running.records.set_peers(options::records(&next).peers);
    for change in changes {
        let (group, option) = (change.group, change.name);
        if change.mutable {
            tracing::info!(group, option, "option reloaded");
        } else {
            tracing::warn!(group, option, "option changed; restart the service to apply it");
        }
    }
    Ok(next)
}
