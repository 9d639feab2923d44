//! The way in: a handle on Ironic with one function for each operation.

mod consoles;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use openstack::{
    Caller,
    ironic::{Client, NewVolumeTarget, Node, NodeQuery, Port, ProvisionState},
};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    Error, InstanceId, NodeId, Run, Server, Sight, Unfollowed,
    gate::Gates,
    ironic::Ironic,
    limits::Alarm,
    operations::{
        crash_dump::{self, CrashDump},
        deploy::{self, Deploy},
        deploy_request::DeployRequest,
        power::{self, Power, PowerChange},
        rebuild::{self, Rebuild},
        rescue::{self, Rescue},
        reserve::{self, Reserve},
        tear_down::TearDown,
        vifs::{self, Vifs},
    },
    runner::Runner,
    setback::{Setback, refused},
    unseen::Unseen,
    watch::{Source, Until, Watched, Watcher},
};

/// How patient the driver is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How often a call to a locked node is repeated (`[ironic] api_max_retries`).
    pub api_max_retries: u32,
    /// The pause before each repetition (`[ironic] api_retry_interval`).
    pub api_retry_interval: Duration,
    /// How long Ironic may be unreachable before an operation that must call it fails; `None` as long as it takes. Waiting for a
    /// node has no such limit.
    pub patience: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self { api_max_retries: 60, api_retry_interval: Duration::from_secs(2), patience: None }
    }
}

impl Options {
    /// How long a node may stay locked.
    pub(crate) fn lock_limit(&self) -> Duration {
        self.api_retry_interval * self.api_max_retries
    }

    /// The time between the two looks that prove a node gone.
    fn confirmation(&self) -> Duration {
        self.api_retry_interval * 5
    }
}

/// Makes the config drive of a deployment.
#[async_trait]
pub trait ConfigDrive: Send + Sync {
    /// The gzipped and base64 encoded image, or `None` for a deployment without. Called when the node is about to be
    /// deployed, and not at all where it is being deployed already.
    async fn build(&self, node: &Node) -> Result<Option<SecretString>, NoDrive>;
}

/// Why there is no config drive. The texts are for the user.
#[derive(Debug)]
pub enum NoDrive {
    /// A service that it is made from is unavailable: ask again later, for as long as the driver's patience lasts.
    Away(String),
    /// It cannot be made.
    Failed(String),
}

impl From<NoDrive> for Setback {
    fn from(error: NoDrive) -> Self {
        let failed = |text| Error::AnotherNode(format!("the config drive could not be made: {text}"));
        match error {
            NoDrive::Away(text) => Self::Away(failed(text)),
            NoDrive::Failed(text) => Self::Over(failed(text)),
        }
    }
}

/// A deployment that is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployment {
    /// The node, reserved for the server's instance.
    pub node: NodeId,
    /// The server.
    pub server: Server,
    /// Volumes for the node to connect to.
    pub volume_targets: Vec<NewVolumeTarget>,
}

/// The Ironic driver. A cheap handle.
///
/// Every operation may be started again after it was cut off anywhere, and goes on from what it finds; none may run twice at
/// the same time for one instance. [`Driver::run_watcher`] must be running for an operation that waits to end.
#[derive(Clone)]
pub struct Driver {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    options: Options,
    watcher: Watcher,
    gates: Gates,
    alarm: Alarm,
    sight: Arc<Sight>,
}

#[async_trait]
impl Source for Client {
    async fn nodes_in(&self, state: &ProvisionState) -> Result<Vec<Node>, openstack::Error> {
        let query = NodeQuery {
            fields: &["uuid", "instance_uuid", "provision_state", "target_provision_state"],
            provision_state: Some(state.clone()),
            ..NodeQuery::default()
        };
        self.nodes(&Caller::default(), &query).await
    }

    async fn node(&self, node: NodeId) -> Result<Option<Node>, openstack::Error> {
        match self.node(&Caller::default(), node, &[]).await {
            Err(error) if error.is_not_found() => Ok(None),
            found => found.map(Some),
        }
    }
}

impl Driver {
    /// A driver on this Ironic.
    pub fn new(client: Client, options: Options) -> Self {
        let watcher = Watcher::new(client.clone());
        let sight = Arc::new(Sight::new(options.confirmation()));
        let (gates, alarm) = (Gates::new(), Alarm::default());
        Self { shared: Arc::new(Shared { client, options, watcher, gates, alarm, sight }) }
    }

    /// What Ironic shows of our nodes: until it is told which they are, no node is taken for gone.
    pub fn sight(&self) -> &Sight {
        &self.shared.sight
    }

    /// Watches for everybody, until shut down.
    pub async fn run_watcher(&self, shutdown: CancellationToken) {
        self.shared.watcher.run(shutdown).await;
    }

    /// The watcher, to be poked by those who hear of a node's change.
    pub fn watcher(&self) -> &Watcher {
        &self.shared.watcher
    }

    /// A node.
    pub async fn node(&self, caller: &Caller, node: NodeId) -> Result<Node, openstack::Error> {
        self.shared.client.node(&caller.as_own(), node, &[]).await
    }

    /// The node that carries an instance; `None` if there is none.
    pub async fn node_of(
        &self,
        caller: &Caller,
        instance: InstanceId,
    ) -> Result<Option<Node>, openstack::Error> {
        self.ironic(caller).node_of(instance).await
    }

    /// Whether a node that Ironic answers 404 for is proven gone, and not only hidden from us. Asked for the first time, the answer
    /// is no: it takes two looks, some seconds apart.
    pub async fn is_gone(&self, caller: &Caller, node: NodeId) -> Result<bool, openstack::Error> {
        self.shared.sight.is_gone(&self.shared.client, &caller.as_own(), node).await
    }

    /// Nodes.
    pub async fn nodes(&self, caller: &Caller, query: &NodeQuery) -> Result<Vec<Node>, openstack::Error> {
        self.shared.client.nodes(&caller.as_own(), query).await
    }

    /// The client, for reads that are not the driver's business: ports, port groups, volume connectors.
    pub fn client(&self) -> &Client {
        &self.shared.client
    }

    /// A node's ports, in detail.
    pub async fn ports(&self, caller: &Caller, node: NodeId) -> Result<Vec<Port>, openstack::Error> {
        self.shared.client.ports(&caller.as_own(), node, true).await
    }

    /// Reserves a node for the run's instance. A node that is the instance's already is fine, in any provision state.
    pub async fn reserve(&self, run: Run<'_>, node: NodeId) -> Result<Node, Error> {
        let wanted = reserve::Wanted { node, instance: run.instance };
        let mut operation = Reserve { ironic: self.ironic(run.caller), wanted };
        let seen = self.runner(run).run(&mut operation).await?;
        seen.node.ok_or_else(|| Error::Gone(format!("Ironic does not have node {node} any more")))
    }

    /// Attaches VIFs of the run's instance to its node, in this order; those that are attached already are left alone.
    pub async fn attach_vifs(&self, run: Run<'_>, node: NodeId, vifs: &[Uuid]) -> Result<(), Error> {
        self.vifs(run, node, vifs::Wanted::Attached(vifs.to_vec())).await
    }

    /// Detaches VIFs of the run's instance from its node; those that are not attached are fine.
    pub async fn detach_vifs(&self, run: Run<'_>, node: NodeId, vifs: &[Uuid]) -> Result<(), Error> {
        self.vifs(run, node, vifs::Wanted::Detached(vifs.to_vec())).await
    }

    /// Deploys a reserved node and waits until it is `active`; returns it then. On an error nothing is undone:
    /// [`Driver::tear_down`] cleans up whatever the state.
    pub async fn deploy(
        &self,
        run: Run<'_>,
        deployment: &Deployment,
        config_drive: &dyn ConfigDrive,
    ) -> Result<Node, Error> {
        let Deployment { node, server, volume_targets } = deployment.clone();
        let wanted = deploy::Wanted { node, server, targets: volume_targets };
        let request = DeployRequest::new(config_drive, run.cancel);
        let mut operation = Deploy::new(self.ironic(run.caller), wanted, request);
        let seen = self.runner(run).run(&mut operation).await?;
        seen.node.ok_or_else(|| Error::Gone(format!("Ironic does not have node {node} any more")))
    }

    /// Deploys the node that carries the server again, as the server is now, and waits until it is `active`; returns it then. The
    /// node is deployed once, however often this is started again with what [`Run::progress`] kept.
    pub async fn rebuild(
        &self,
        run: Run<'_>,
        node: NodeId,
        server: Server,
        config_drive: &dyn ConfigDrive,
    ) -> Result<Node, Error> {
        let wanted = rebuild::Wanted { node, server };
        let request = DeployRequest::new(config_drive, run.cancel);
        let mut operation = Rebuild { ironic: self.ironic(run.caller), wanted, request };
        let seen = self.runner(run).run(&mut operation).await?;
        seen.node.ok_or_else(|| Error::Gone(format!("Ironic does not have node {node} any more")))
    }

    /// Frees the node that carries the run's instance, whatever its state, and returns it as it was seen last; `None` if no node
    /// carries the instance. The node is looked for first where the hint says.
    pub async fn tear_down(&self, run: Run<'_>, hint: Option<NodeId>) -> Result<Option<Node>, Error> {
        self.free(run, TearDown::anywhere(self.ironic(run.caller), run.instance, hint)).await
    }

    /// The same for one node: what the instance has on another, where it may have been built since, is left alone.
    pub async fn tear_down_on(&self, run: Run<'_>, node: NodeId) -> Result<Option<Node>, Error> {
        self.free(run, TearDown::on(self.ironic(run.caller), run.instance, Some(node))).await
    }

    /// Changes the power of the run's instance's node, and returns the node as it is then.
    pub async fn set_power(&self, run: Run<'_>, node: NodeId, change: PowerChange) -> Result<Node, Error> {
        let wanted = power::Wanted { node, instance: run.instance, change };
        let mut operation = Power { ironic: self.ironic(run.caller), wanted };
        let seen = self.runner(run).run(&mut operation).await?;
        seen.node.ok_or_else(|| Error::Gone(format!("Ironic does not have node {node} any more")))
    }

    /// Sends the run's instance's machine the interrupt at which its operating system writes a crash dump, once. An error where it is not
    /// known whether the machine got it.
    pub async fn crash_dump(&self, run: Run<'_>, node: NodeId) -> Result<(), Error> {
        let wanted = crash_dump::Wanted { node, instance: run.instance };
        let mut operation = CrashDump { ironic: self.ironic(run.caller), wanted };
        self.runner(run).run(&mut operation).await?;
        Ok(())
    }

    /// Switches the machine of the run's instance off and boots the rescue system on it, with this password; returns the node as it
    /// is then, on. `soft` is how long the operating system may take to shut down; `None` cuts the power at once.
    pub async fn rescue(
        &self,
        run: Run<'_>,
        node: NodeId,
        password: &SecretString,
        soft: Option<Duration>,
    ) -> Result<Node, Error> {
        // Once the rescue was asked for, what runs there is the rescue system.
        if !rescue::is_asked(run.progress).await {
            self.set_power(run, node, PowerChange::Off { soft }).await?;
        }
        self.rescued(run, node, rescue::Goal::Rescued, Some(password.clone())).await?;
        self.set_power(run, node, PowerChange::On).await
    }

    /// Ends a rescue, also one that failed: the machine boots its own system again, unless the rescue interface leaves it off. A
    /// node that is not rescued is left as it is.
    pub async fn unrescue(&self, run: Run<'_>, node: NodeId) -> Result<(), Error> {
        self.rescued(run, node, rescue::Goal::Active, None).await
    }

    /// Reads what an operation of the caller's needs of a node: again and again while Ironic cannot be reached, for as long as the
    /// driver's patience lasts, or while it hides the node.
    pub async fn read<T, F>(
        &self,
        run: Run<'_>,
        node: NodeId,
        mut look: impl FnMut() -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, openstack::Error>>,
    {
        let ironic = self.ironic(run.caller);
        let look = || {
            let (looked, ironic) = (look(), &ironic);
            async move {
                match looked.await {
                    // Of a node that is there, or proven gone, this is the answer.
                    Err(error) if error.is_not_found() => ironic.node(node).await.map(|_| Err(error)),
                    Err(error) => Err(Unseen::Failed(error)),
                    Ok(found) => Ok(Ok(found)),
                }
            }
        };
        self.runner(run).read(look).await?.map_err(|error| refused(&error))
    }

    /// Waits until a freed node is not being cleaned any more, and returns it then; `None` if it is proven gone, or carries an
    /// instance already. One that Ironic may only hide is waited for.
    pub async fn settled(&self, caller: &Caller, node: NodeId) -> Result<Option<Node>, Error> {
        let ironic = self.ironic(caller);
        let forever = CancellationToken::new();
        // Whose it was does not matter: it spreads the looks of many nodes.
        let run = Run { caller, instance: InstanceId(node.0), cancel: &forever, progress: &Unfollowed };
        let runner = self.runner(run);
        let mut fresh = None;
        loop {
            let found = match fresh.take() {
                Some(node) => Some(node),
                None => runner.read(|| Box::pin(ironic.node(node))).await?,
            };
            let Some(found) = found.filter(|node| node.instance_uuid.is_none()) else { return Ok(None) };
            if !is_being_cleaned(&found.provision_state) {
                return Ok(Some(found));
            }
            let (state, target) = (found.provision_state, found.target_provision_state);
            let until = Until::LeavesProvision { state, target };
            let watched = Watched { node: found.uuid, instance: None, until };
            fresh = self.shared.watcher.wait(watched, &forever).await?;
        }
    }

    async fn vifs(&self, run: Run<'_>, node: NodeId, wanted: vifs::Wanted) -> Result<(), Error> {
        let mut operation = Vifs { ironic: self.ironic(run.caller), node, wanted };
        self.runner(run).run(&mut operation).await?;
        Ok(())
    }

    async fn rescued(
        &self,
        run: Run<'_>,
        node: NodeId,
        goal: rescue::Goal,
        password: Option<SecretString>,
    ) -> Result<(), Error> {
        let wanted = rescue::Wanted { node, instance: run.instance, goal };
        let mut operation = Rescue { ironic: self.ironic(run.caller), wanted, password };
        self.runner(run).run(&mut operation).await?;
        Ok(())
    }

    async fn free(&self, run: Run<'_>, mut operation: TearDown) -> Result<Option<Node>, Error> {
        self.runner(run).run(&mut operation).await?;
        Ok(operation.into_last())
    }

    fn ironic(&self, caller: &Caller) -> Ironic {
        Ironic::new(&self.shared.client, caller, &self.shared.sight)
    }

    fn runner<'a>(&'a self, run: Run<'a>) -> Runner<'a> {
        let Shared { watcher, gates, options, alarm, .. } = &*self.shared;
        Runner { watcher, gates, options, alarm, run }
    }
}

fn is_being_cleaned(state: &ProvisionState) -> bool {
    use ProvisionState as S;
    matches!(state, S::Deleting | S::Deleted | S::Cleaning | S::CleanWait | S::CleanHold)
}
