//! A link: one connection to the cluster, kept up. It picks a broker, connects, notices the loss, and begins
//! again.
//!
//! A transport has two links, one to publish and one to consume: a broker short of memory stops reading from
//! connections that publish, and answers and acknowledgements must get through all the same.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::connect::{self, Wire};
use super::options::Failover;
use super::publishers::Publishers;
use super::{RabbitOptions, TransportUrl};

/// A connection in use. All that is bound to one connection lives and dies with it.
pub(super) struct Session {
    pub wire: Wire,
    /// Cancelled when the connection is lost.
    pub lost: CancellationToken,
    pub publishers: Publishers,
}

#[derive(Clone)]
enum State {
    /// No connection; why.
    Down(Arc<str>),
    Up(Arc<Session>),
    /// The transport was shut down.
    Closed,
}

/// Why there is no session.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum NoSession {
    /// It did not come up in time.
    #[error("no connection to the message broker: {0}")]
    Down(Arc<str>),
    /// The transport was shut down: waiting is no use.
    #[error("the transport to the message broker is shut down")]
    Closed,
}

/// The handle of one supervised connection.
pub(super) struct Link {
    name: &'static str,
    state: watch::Sender<State>,
}

impl Link {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, state: watch::Sender::new(State::Down("not connected yet".into())) }
    }

    /// Whether there is a connection now.
    pub(super) fn is_up(&self) -> bool {
        matches!(&*self.state.borrow(), State::Up(_))
    }

    /// Waits for a connection, until the deadline if there is one.
    pub(super) async fn session(&self, deadline: Option<Instant>) -> Result<Arc<Session>, NoSession> {
        let mut states = self.state.subscribe();
        let up = states.wait_for(|state| {
            matches!(state, State::Closed)
                || matches!(state, State::Up(session) if !session.lost.is_cancelled())
        });
        let settled = match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, up).await.ok(),
            None => Some(up.await),
        };
        match settled {
            Some(Ok(state)) => match &*state {
                State::Up(session) => Ok(Arc::clone(session)),
                State::Closed | State::Down(_) => Err(NoSession::Closed),
            },
            Some(Err(_)) => Err(NoSession::Closed),
            None => match &*self.state.borrow() {
                State::Down(why) => Err(NoSession::Down(Arc::clone(why))),
                State::Up(_) => Err(NoSession::Down("just lost".into())),
                State::Closed => Err(NoSession::Closed),
            },
        }
    }

    /// Keeps the connection up until the shutdown.
    pub(super) async fn run(
        &self,
        options: &RabbitOptions,
        url: &TransportUrl,
        shutdown: &CancellationToken,
    ) {
        let hosts = url.hosts.len();
        let mut at = if hosts > 1 { jitter(hosts) } else { 0 };
        let mut pause = options.rabbit_retry_interval;
        let mut failed = 0;
        let mut connected_before = false;
        loop {
            let host = &url.hosts[at % hosts];
            let attempt = tokio::select! {
                attempt = connect::connect(options, url, host) => attempt,
                () = shutdown.cancelled() => break,
            };
            match attempt {
                Ok(wire) => {
                    failed = 0;
                    pause = options.rabbit_retry_interval;
                    if connected_before {
                        metrics::counter!("bessemer_amqp_reconnects_total").increment(1);
                    }
                    connected_before = true;
                    info!(
                        link = self.name,
                        broker = %host.name,
                        port = host.port,
                        "connected to the message broker"
                    );
                    if let Some(reason) = self.hold(wire, shutdown).await {
                        warn!(
                            link = self.name,
                            broker = %host.name,
                            port = host.port,
                            %reason,
                            "connection to the message broker lost; reconnecting"
                        );
                    } else {
                        break;
                    }
                    let splay = options.kombu_reconnect_splay.mul_f64(fraction());
                    if sleep_unless(options.kombu_reconnect_delay + splay, shutdown).await {
                        break;
                    }
                }
                Err(reason) => {
                    failed += 1;
                    warn!(
                        link = self.name,
                        broker = %host.name,
                        port = host.port,
                        %reason,
                        "cannot connect to the message broker; retrying"
                    );
                    self.state
                        .send_replace(State::Down(format!("{}:{}: {reason}", host.name, host.port).into()));
                    // The whole cluster is tried before there is a pause.
                    if failed % hosts == 0 {
                        if sleep_unless(pause, shutdown).await {
                            break;
                        }
                        pause = (pause + options.rabbit_retry_backoff).min(options.rabbit_interval_max);
                    }
                }
            }
            at = match options.kombu_failover_strategy {
                Failover::RoundRobin => at + 1,
                Failover::Shuffle => jitter(hosts),
            };
        }
        self.state.send_replace(State::Closed);
    }

    /// Offers a connection until it is lost (why), or closes it at the shutdown (`None`).
    async fn hold(&self, wire: Wire, shutdown: &CancellationToken) -> Option<String> {
        let lost = CancellationToken::new();
        let session = Arc::new(Session { wire, lost: lost.clone(), publishers: Publishers::default() });
        self.state.send_replace(State::Up(Arc::clone(&session)));
        let reason = tokio::select! {
            reason = session.wire.watch() => Some(reason),
            () = shutdown.cancelled() => None,
        };
        match &reason {
            Some(reason) => self.state.send_replace(State::Down(reason.as_str().into())),
            None => self.state.send_replace(State::Closed),
        };
        lost.cancel();
        if reason.is_none() {
            let closing = session.wire.connection.close(200, "shutdown".into());
            let _ = tokio::time::timeout(Duration::from_secs(2), closing).await;
        }
        reason
    }
}

/// Sleeps; true when the shutdown came first.
async fn sleep_unless(pause: Duration, shutdown: &CancellationToken) -> bool {
    tokio::select! {
        () = tokio::time::sleep(pause) => false,
        () = shutdown.cancelled() => true,
    }
}

/// Chance enough to spread load: the random bits of a fresh UUID.
fn random() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().1 & u64::from(u32::MAX)
}

fn jitter(below: usize) -> usize {
    usize::try_from(random()).unwrap_or_default() % below
}

fn fraction() -> f64 {
    #[allow(clippy::cast_precision_loss)] // 32 bits fit
    let fraction = random() as f64 / f64::from(u32::MAX);
    fraction
}
