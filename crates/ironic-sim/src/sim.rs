//! The handle that tests, benchmarks and the demo hold: set up, watch, disturb.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::api::{NODE_ID, PORT_ID};
use crate::engine::{self, Engine};
use crate::machine::State;
use crate::model::{Node, Port};
use crate::server;
use crate::traffic::{Call, Fault, Hook, Recorded};
use crate::world::{CONDUCTOR, Config, World, enter};

/// Sets an Ironic up.
#[derive(Clone, Debug)]
pub struct Builder {
    config: Config,
    address: SocketAddr,
}

impl Builder {
    /// How long nodes stay in a state that Ironic leaves by itself. Zero unless set: until the next scheduler
    /// yield.
    #[must_use]
    pub fn duration(mut self, state: State, duration: Duration) -> Self {
        self.config.durations.insert(state, duration);
        self
    }

    /// How long a power action takes. Zero unless set.
    #[must_use]
    pub fn power_duration(mut self, duration: Duration) -> Self {
        self.config.power_duration = duration;
        self
    }

    /// How long it takes to switch a console. Zero unless set.
    #[must_use]
    pub fn console_duration(mut self, duration: Duration) -> Self {
        self.config.console_duration = duration;
        self
    }

    /// Deploys, cleans, inspections, rescues and services pass through their waiting state (`wait call-back`
    /// …), as with real machines that call back.
    #[must_use]
    pub fn wait_states(mut self) -> Self {
        self.config.wait_states = true;
        self
    }

    /// The driver knows no soft power actions: they get 400.
    #[must_use]
    pub fn without_soft_power(mut self) -> Self {
        self.config.soft_power = false;
        self
    }

    /// The driver can send a machine a non-maskable interrupt; without it that gets 400, as from Ironic's own fake hardware.
    #[must_use]
    pub fn nmi(mut self) -> Self {
        self.config.nmi = true;
        self
    }

    /// The rescue interface is `fake`: a rescue and its end leave the machine's power as it is.
    #[must_use]
    pub fn fake_rescue(mut self) -> Self {
        self.config.fake_rescue = true;
        self
    }

    /// The largest page of a list; Ironic's default, 1000, unless set.
    #[must_use]
    pub fn max_limit(mut self, limit: usize) -> Self {
        self.config.max_limit = limit;
        self
    }

    /// How many nodes are deployed at once (`[conductor] max_concurrent_deploy`); without limit unless set.
    /// Ironic's default is 250.
    #[must_use]
    pub fn max_concurrent_deploy(mut self, limit: usize) -> Self {
        self.config.max_deploys = Some(limit);
        self
    }

    /// How many nodes are torn down and cleaned at once (`[conductor] max_concurrent_clean`); without limit
    /// unless set. Ironic's default is 50.
    #[must_use]
    pub fn max_concurrent_clean(mut self, limit: usize) -> Self {
        self.config.max_cleans = Some(limit);
        self
    }

    /// The newest microversion 1.x offered; 1.115 (Ironic 39) unless set.
    #[must_use]
    pub fn max_minor(mut self, minor: u32) -> Self {
        self.config.max_minor = minor;
        self
    }

    /// The address to listen at, in place of a free port on loopback.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// Listens, in the present runtime.
    ///
    /// # Panics
    /// When the address is taken; see [`Builder::try_start`].
    pub async fn start(self) -> Sim {
        match self.try_start().await {
            Ok(sim) => sim,
            Err(error) => panic!("the simulated Ironic cannot listen: {error}"),
        }
    }

    /// Listens, in the present runtime.
    pub async fn try_start(self) -> io::Result<Sim> {
        let listener = TcpListener::bind(self.address).await?;
        let engine = Engine::new(format!("http://{}", listener.local_addr()?), World::new(self.config));
        let serving = Arc::clone(&engine);
        let server = tokio::spawn(async move {
            if let Err(error) = server::run(listener, serving).await {
                tracing::error!(%error, "the simulated Ironic stopped");
            }
        });
        Ok(Sim { engine, server: Arc::new(Server(server)) })
    }
}

/// A running Ironic. Cheap to clone; it stops listening when the last clone is dropped.
#[derive(Clone)]
pub struct Sim {
    engine: Arc<Engine>,
    #[expect(dead_code, reason = "dropping it stops the server")]
    server: Arc<Server>,
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim").field("url", &self.url()).finish_non_exhaustive()
    }
}

struct Server(JoinHandle<()>);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Sim {
    /// An Ironic with everything as real as it gets, except that work takes no time.
    pub fn builder() -> Builder {
        let config = Config {
            durations: HashMap::new(),
            power_duration: Duration::ZERO,
            console_duration: Duration::ZERO,
            wait_states: false,
            soft_power: true,
            nmi: false,
            fake_rescue: false,
            max_limit: 1000,
            max_deploys: None,
            max_cleans: None,
            max_minor: 115,
        };
        Builder { config, address: SocketAddr::from(([127, 0, 0, 1], 0)) }
    }

    /// The endpoint, without a version: `http://127.0.0.1:<port>`.
    pub fn url(&self) -> &str {
        &self.engine.base
    }

    /// Adds n nodes in `available`, powered off, with one port each, like those the lab enrolls. Returns
    /// their ids.
    pub fn enroll(&self, n: usize) -> Vec<Uuid> {
        (0..n).map(|_| self.enroll_with(|_| {})).collect()
    }

    /// Adds one such node, changed by `change` before anybody sees it.
    pub fn enroll_with(&self, change: impl FnOnce(&mut Node)) -> Uuid {
        let mut world = self.engine.world();
        let number = world.len();
        let id = world.fresh_id(NODE_ID);
        let mut node = Node::new(id);
        node.name = Some(format!("lab-{number:04}"));
        node.resource_class = Some("baremetal".into());
        node.provision_state = State::Available;
        node.power_state = Some("power off".into());
        node.traits = vec!["CUSTOM_LAB".into(), "HW_CPU_X86_VMX".into()];
        node.properties = Map::from_iter([
            ("cpus".to_owned(), json!(8)),
            ("memory_mb".to_owned(), json!(16384)),
            ("local_gb".to_owned(), json!(100)),
            ("cpu_arch".to_owned(), json!("x86_64")),
            ("capabilities".to_owned(), json!("boot_mode:uefi")),
        ]);
        let port = world.fresh_id(PORT_ID);
        node.ports.push(lab_port(port, number, 0));
        change(&mut node);
        node.uuid = id;
        world.insert(node);
        drop(world);
        engine::drive(&self.engine, id);
        id
    }

    /// Gives a node one more port; only the first of a node boots over the network. Returns its id.
    pub fn add_port(&self, node: Uuid) -> Uuid {
        let mut world = self.engine.world();
        let id = world.fresh_id(PORT_ID);
        let number = usize::from_str_radix(&id.simple().to_string()[24..], 16).unwrap_or_default();
        world.edit(node, |record| {
            let place = record.node.ports.len();
            record.node.ports.push(lab_port(id, number, place));
        });
        id
    }

    /// The node as it is now.
    ///
    /// # Panics
    /// When there is no such node; see [`Sim::find`].
    pub fn node(&self, id: Uuid) -> Node {
        match self.find(id) {
            Some(node) => node,
            None => panic!("the simulated Ironic has no node {id}"),
        }
    }

    /// The node as it is now, if there is one.
    pub fn find(&self, id: Uuid) -> Option<Node> {
        self.engine.world().get(id).map(|r| r.node.clone())
    }

    /// The node that an instance holds.
    pub fn by_instance(&self, instance: Uuid) -> Option<Node> {
        self.engine.world().by_instance(instance).map(|r| r.node.clone())
    }

    /// All nodes, in the order they were enrolled.
    pub fn nodes(&self) -> Vec<Node> {
        self.engine.world().after(None).map(|r| r.node.clone()).collect()
    }

    /// Changes a node behind the API's back. A changed provision state counts as a transition; Ironic's own
    /// work goes on from there. (Use [`Sim::set_state`] to get the matching target and lock too.)
    pub fn update(&self, id: Uuid, change: impl FnOnce(&mut Node)) {
        self.engine.world().edit(id, |record| change(&mut record.node));
        engine::drive(&self.engine, id);
    }

    /// Puts a node in a state, with target state and lock as Ironic would have them.
    pub fn set_state(&self, id: Uuid, state: State) {
        self.engine.world().edit(id, |record| enter(record, state, state.target()));
        engine::drive(&self.engine, id);
    }

    /// Somebody else locks the node: every write gets 409 until [`Sim::unlock`].
    pub fn lock(&self, id: Uuid) {
        self.update(id, |node| node.reservation = Some(CONDUCTOR.to_owned()));
    }

    /// Ends [`Sim::lock`].
    pub fn unlock(&self, id: Uuid) {
        self.update(id, |node| node.reservation = None);
    }

    /// Takes a node away, as an operator may.
    pub fn remove(&self, id: Uuid) -> Option<Node> {
        self.engine.world().remove(id)
    }

    /// Ironic's policy hides every node from the client, or shows them again: lists are empty, and a request
    /// for a node gets 404.
    pub fn hide(&self, hidden: bool) {
        for node in self.nodes() {
            self.update(node.uuid, |node| node.hidden = hidden);
        }
    }

    /// Waits until the node satisfies the condition, and returns it then. Never returns for a node that goes
    /// away.
    pub async fn wait_for(&self, id: Uuid, condition: impl Fn(&Node) -> bool) -> Node {
        loop {
            let Some(changed) = self.engine.world().get(id).map(|r| Arc::clone(&r.changed)) else {
                return std::future::pending().await;
            };
            let notified = changed.notified();
            if let Some(node) = self.find(id).filter(|node| condition(node)) {
                return node;
            }
            notified.await;
        }
    }

    /// Waits until the node is in this provision state.
    pub async fn wait_for_state(&self, id: Uuid, state: State) -> Node {
        self.wait_for(id, |node| node.provision_state == state).await
    }

    /// Nodes that are in this state, or get there, stay in it until released.
    pub fn hold(&self, state: State) {
        self.engine.gate().hold(None, state);
    }

    /// The same for one node.
    pub fn hold_node(&self, id: Uuid, state: State) {
        self.engine.gate().hold(Some(id), state);
    }

    /// Lets all held nodes go on.
    pub fn release(&self) {
        self.engine.gate().release(|_, _| true);
    }

    /// Lets the nodes held in this state go on.
    pub fn release_state(&self, state: State) {
        self.engine.gate().release(|_, held| held == state);
    }

    /// The next work that `node` does in `state` fails with this error.
    pub fn fail(&self, node: Uuid, state: State, error: &str) {
        self.engine.world().edit(node, |record| record.failures.push((state, error.to_owned())));
    }

    /// The next deploy (or rebuild) of the node fails: `deploy failed`.
    pub fn fail_deploy(&self, node: Uuid, error: &str) {
        self.fail(node, State::Deploying, error);
    }

    /// The next clean of the node fails: `clean failed`, in maintenance, as when a clean step was running.
    pub fn fail_clean(&self, node: Uuid, error: &str) {
        self.fail(node, State::Cleaning, error);
    }

    /// The next tear down of the node fails: `error`, though the instance leaves the node when `error` has
    /// lasted its duration.
    pub fn fail_tear_down(&self, node: Uuid, error: &str) {
        self.fail(node, State::Deleting, error);
    }

    /// The next rescue of the node fails.
    pub fn fail_rescue(&self, node: Uuid, error: &str) {
        self.fail(node, State::Rescuing, error);
    }

    /// The next power action of the node changes nothing but `last_error`.
    pub fn fail_power(&self, node: Uuid, error: &str) {
        self.engine.world().edit(node, |record| record.power_failures.push(error.to_owned()));
    }

    /// The next change of the node's console changes nothing but `last_error`.
    pub fn fail_console(&self, node: Uuid, error: &str) {
        self.engine.world().edit(node, |record| record.console_failures.push(error.to_owned()));
    }

    /// `validate` finds fault with this interface (`power`, `deploy`, `storage`, …) of the node; with no
    /// reason it is content again. Without this, only `deploy` of a node with nothing to boot is wrong.
    pub fn set_validation(&self, node: Uuid, interface: &str, reason: Option<&str>) {
        self.engine.world().edit(node, |record| match reason {
            Some(reason) => record.invalid.insert(interface.to_owned(), reason.to_owned()),
            None => record.invalid.remove(interface),
        });
    }

    /// Puts a fault in the way of requests.
    pub fn fault(&self, fault: Fault) {
        self.engine.add_fault(fault);
    }

    /// Takes all faults away.
    pub fn clear_faults(&self) {
        self.engine.clear_faults();
    }

    /// Asks the hook at each request, before the work and after it. It runs in the server's task: it may use
    /// the simulator, and must not block. In place of an earlier hook.
    pub fn on_request(&self, hook: Hook) {
        self.engine.set_hook(Some(Arc::from(hook)));
    }

    /// Takes the hook away.
    pub fn clear_hook(&self) {
        self.engine.set_hook(None);
    }

    /// Every request so far, struck by faults or not, in the order of arrival.
    pub fn requests(&self) -> Vec<Recorded> {
        self.engine.log(<[Recorded]>::to_vec)
    }

    /// How many requests of this name came.
    pub fn count(&self, call: Call) -> usize {
        self.engine.log(|log| log.iter().filter(|r| r.call == call).count())
    }

    /// How many requests of each shape came: `GET /v1/nodes/{}/validate` → 3.
    pub fn shapes(&self) -> BTreeMap<String, usize> {
        self.engine.log(|log| {
            let mut shapes = BTreeMap::new();
            for request in log {
                *shapes.entry(request.shape()).or_default() += 1;
            }
            shapes
        })
    }

    /// Forgets the requests so far; numbers go on.
    pub fn clear_requests(&self) {
        self.engine.clear_log();
    }
}

fn lab_port(uuid: Uuid, number: usize, place: usize) -> Port {
    let byte = |shift: u32| number >> shift & 0xff;
    Port {
        uuid,
        address: format!("52:54:{:02x}:{:02x}:{:02x}:{:02x}", 0x10 + place, byte(16), byte(8), byte(0)),
        name: None,
        pxe_enabled: place == 0,
        physical_network: Some("physnet1".into()),
        port_group: None,
        local_link_connection: Map::new(),
        extra: Map::new(),
        internal_info: Map::new(),
    }
}
