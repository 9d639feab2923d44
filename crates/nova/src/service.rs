//! Our entry in the control plane's list of services: made at start, kept alive by reports.
//!
//! Facts: `nova/service.py`, `nova/servicegroup/drivers/db.py`, `nova/objects/service.py`.

#[cfg(test)]
mod tests;

use std::time::Duration;

use oslo::context::RequestContext;
use oslo::object::Object;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::conductor::{Conductor, Repeat, Result};
use crate::instances::save::object;

/// The newest version of a compute service that we behave like (2026.2).
const OURS: i64 = 74;
/// The oldest version of a compute service that we can work beside (2023.1, what 2024.1 tolerates).
const OLDEST: i64 = 66;
/// `[DEFAULT] binary` of a compute service in the list of services.
const BINARY: &str = "nova-compute";
/// The topic that the record names.
const TOPIC: &str = "compute";
/// How long one of the first pings waits, and how many of them there are; later ones are more patient.
const EAGER_PING: Duration = Duration::from_secs(10);
const EAGER_PINGS: u32 = 10;
/// What a report is waited for at least.
const LEAST_PATIENCE: Duration = Duration::from_secs(10);
/// How often is looked whether the control plane has been upgraded.
const VERSION_LOOK: Duration = Duration::from_mins(5);

/// How the service reports.
#[derive(Debug, Clone)]
pub struct Options {
    /// `[DEFAULT] host`.
    pub host: String,
    /// `[DEFAULT] report_interval`; none when it is 0: nothing is reported then.
    pub report_interval: Option<Duration>,
    /// `[workarounds] disable_compute_service_check_for_ffu`: start beside computes of any age.
    pub tolerate_old_computes: bool,
}

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The conductor could not be asked.
    #[error(transparent)]
    Conductor(#[from] crate::conductor::Error),
    /// Somebody asked us to stop first.
    #[error("stopped before nova-conductor answered")]
    Stopped,
    /// A compute service is too old to share the cloud with this one.
    #[error(
        "the oldest nova-compute of this cloud has service version {found}, older than {OLDEST}: upgrade it first, or \
         set [workarounds] disable_compute_service_check_for_ffu = true"
    )]
    ComputeTooOld {
        /// Its version (`nova/objects/service.py`).
        found: i64,
    },
    /// The record that we made cannot be read.
    #[error("nova-conductor has no record of this service after it was made")]
    NoRecord,
}

/// Our service: its record, and the reports that keep it up.
pub struct Service {
    conductor: Conductor,
    options: Options,
    /// One context, and so one request id, for the life of the process, as in stock.
    context: RequestContext,
    record: Object,
    id: i64,
    version: i64,
    /// The version that the next report tells, when the control plane was upgraded.
    risen: Option<i64>,
    is_new: bool,
}

impl Service {
    /// Waits for the conductor, checks that we may start, and makes or brings up to date our record.
    pub async fn start(
        conductor: Conductor,
        options: Options,
        shutdown: &CancellationToken,
    ) -> Result<Self, Error> {
        let context = RequestContext::admin();
        tokio::select! {
            () = answered(&conductor, &context) => {}
            () = shutdown.cancelled() => return Err(Error::Stopped),
        }
        let computes = number(&conductor, &context, "get_minimum_version", json!([BINARY])).await?;
        if computes != 0 && computes < OLDEST && !options.tolerate_old_computes {
            return Err(Error::ComputeTooOld { found: computes });
        }
        let version = version(conductors(&conductor, &context).await?, computes);
        let known = find(&conductor, &context, &options.host).await?;
        let is_new = known.is_none();
        let record = match known {
            Some(known) => renew(&conductor, &context, known, version).await?,
            None => create(&conductor, &context, &options.host, version).await?,
        };
        let id = record.int("id").ok_or(Error::NoRecord)?;
        info!(id, version, new = is_new, "the service is registered");
        Ok(Self { conductor, options, context, record, id, version, risen: None, is_new })
    }

    /// The number of our record; compute node records refer to it.
    pub fn id(&self) -> i64 {
        self.id
    }

    /// The version that we told the control plane at the start: never one that it does not know.
    pub fn version(&self) -> i64 {
        self.version
    }

    /// Whether the control plane had never heard of this host before.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Whether an operator has disabled this service, as of the start.
    pub fn is_disabled(&self) -> bool {
        self.record.bool("disabled").unwrap_or_default()
    }

    /// Reports at once, then every `report_interval`, until the shutdown. A failure is logged once and tried again at
    /// the next report. The record stays as it is when we go: the control plane sees us down after its own time.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let Some(interval) = self.options.report_interval.filter(|interval| !interval.is_zero()) else {
            return shutdown.cancelled().await;
        };
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failing = false;
        let mut looked = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let reported = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                reported = self.report(interval) => reported,
            };
            if reported.is_ok() && looked.elapsed() >= VERSION_LOOK {
                looked = Instant::now();
                shutdown.run_until_cancelled(self.read_version()).await;
            }
            match reported {
                Ok(()) if failing => {
                    failing = false;
                    info!("reports reach the control plane again");
                }
                Ok(()) => {}
                Err(error) if failing => debug!(%error, "the report still fails"),
                Err(error) => {
                    failing = true;
                    warn!(%error, "the control plane could not be told that this service is up; trying on");
                }
            }
        }
    }

    async fn report(&mut self, interval: Duration) -> Result<()> {
        // The database takes a report as one only when its number is greater than the last: one that was not answered
        // may have been counted.
        let count = self.record.int("report_count").unwrap_or_default() + 1;
        self.record.clear_changes();
        self.record.set("report_count", count);
        if let Some(version) = self.risen {
            self.record.set("version", version);
        }
        let limit = interval.max(LEAST_PATIENCE);
        let save = self.conductor.act(&self.context, self.record.clone(), "save", json!({}), Repeat::Never);
        // A report that was lost with its broker must not keep the next one waiting until we are taken for dead.
        let acted = tokio::time::timeout(limit, save)
            .await
            .map_err(|_| crate::conductor::Error::Unanswered("Service.save".to_owned()))??;
        self.record.apply(&acted.updates);
        if let Some(version) = self.risen.take() {
            info!(version, "the control plane was upgraded: the service's version rises");
            self.version = version;
        }
        Ok(())
    }

    /// Has the next report tell a greater version when the control plane knows one by now. It looks APIs up by the number in the
    /// record, and would take us for old otherwise.
    async fn read_version(&mut self) {
        let conductors = tokio::time::timeout(LEAST_PATIENCE, conductors(&self.conductor, &self.context));
        match conductors.await {
            Ok(Ok(conductors)) => {
                let version = version(conductors, self.version);
                self.risen = Some(version).filter(|version| *version > self.version);
            }
            Ok(Err(error)) => debug!(%error, "the control plane's version could not be read"),
            Err(_) => debug!("the control plane's version could not be read in time"),
        }
    }
}

/// The version of the oldest conductor.
async fn conductors(conductor: &Conductor, context: &RequestContext) -> Result<i64> {
    number(conductor, context, "get_minimum_version_multi", json!([["nova-conductor"]])).await
}

/// Waits until the conductor answers, as long as it takes.
async fn answered(conductor: &Conductor, context: &RequestContext) {
    let mut tries = 0;
    loop {
        let limit = if tries < EAGER_PINGS { EAGER_PING } else { conductor.options().timeout };
        let began = Instant::now();
        match conductor.ping(context, limit).await {
            Ok(()) => return,
            Err(error) if tries == 0 => warn!(%error, "waiting for nova-conductor"),
            Err(error) => debug!(%error, tries, "still waiting for nova-conductor"),
        }
        tries += 1;
        // A ping that failed at once (no broker) is not repeated at once.
        tokio::time::sleep_until(began + Duration::from_secs(1)).await;
    }
}

async fn number(
    conductor: &Conductor,
    context: &RequestContext,
    method: &str,
    args: serde_json::Value,
) -> Result<i64> {
    let answer = conductor.read(context, "Service", method, args, json!({})).await?;
    Ok(answer.as_i64().unwrap_or_default())
}

/// Our version, but never one that the control plane does not know: it looks its API versions up by this number. Never
/// less than the other computes' either: the conductor refuses that.
fn version(conductors: i64, computes: i64) -> i64 {
    match conductors.max(computes) {
        0 => OURS,
        known => known.min(OURS),
    }
}

async fn find(conductor: &Conductor, context: &RequestContext, host: &str) -> Result<Option<Object>> {
    conductor
        .read_object(context, "Service", "get_by_host_and_binary", json!([host, BINARY]), json!({}))
        .await
}

async fn renew(
    conductor: &Conductor,
    context: &RequestContext,
    mut record: Object,
    version: i64,
) -> Result<Object> {
    record.clear_changes();
    if record.int("version") != Some(version) {
        record.set("version", version);
        let acted = conductor.act(context, record.clone(), "save", json!({}), Repeat::Freely).await?;
        record.apply(&acted.updates);
        record.clear_changes();
    }
    Ok(record)
}

async fn create(
    conductor: &Conductor,
    context: &RequestContext,
    host: &str,
    version: i64,
) -> Result<Object, Error> {
    let mut record = object("Service");
    record.set("host", host);
    record.set("binary", BINARY);
    record.set("topic", TOPIC);
    record.set("report_count", 0);
    record.set("version", version);
    let made = conductor.act(context, record.clone(), "create", json!({}), Repeat::IfNotDone).await;
    match made {
        Ok(acted) => {
            record.apply(&acted.updates);
            record.clear_changes();
            Ok(record)
        }
        Err(error)
            if error.is_transient() || error.is("ServiceBinaryExists") || error.is("ServiceTopicExists") =>
        {
            find(conductor, context, host).await?.ok_or(Error::NoRecord)
        }
        Err(error) => Err(error.into()),
    }
}
