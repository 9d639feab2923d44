//! Prometheus metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use compute::OperationStatus;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

/// Upper bounds of the latency histograms, in seconds: a quick database call to a slow list of nodes.
const BUCKETS: [f64; 10] = [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// Upper bounds of the histogram of operations, in seconds: a power change to a deployment of an hour.
const OPERATION_BUCKETS: [f64; 9] = [1.0, 5.0, 15.0, 60.0, 180.0, 600.0, 1200.0, 1800.0, 3600.0];

/// How often finished time series are folded away.
const UPKEEP: Duration = Duration::from_secs(5);

/// `bessemer_oldest_operation_seconds`: for how long the oldest operation of a kind has been in a phase, made when it is asked for.
#[derive(Clone, Default)]
pub struct Oldest(Arc<Mutex<BTreeSet<(&'static str, &'static str)>>>);

impl Oldest {
    /// Brings the gauge up to date; phases that no operation is in any more are 0.
    pub fn show(&self, operations: &[OperationStatus]) {
        let mut oldest = BTreeMap::new();
        for operation in operations {
            let age = oldest.entry((operation.kind.name(), operation.phase)).or_insert(Duration::ZERO);
            *age = operation.in_phase.max(*age);
        }
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shown.extend(oldest.keys());
        for (operation, phase) in shown.iter() {
            let age = oldest.get(&(*operation, *phase)).map_or(0.0, Duration::as_secs_f64);
            metrics::gauge!("bessemer_oldest_operation_seconds", "operation" => *operation, "phase" => *phase)
                .set(age);
        }
    }
}

/// What collects the metrics; a cheap handle.
#[derive(Clone)]
pub struct Recorder(PrometheusHandle);

/// Begins to collect; what is recorded before is lost.
pub fn install() -> Result<Recorder, String> {
    let text =
        |error: metrics_exporter_prometheus::BuildError| format!("metrics cannot be collected: {error}");
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full("bessemer_operation_seconds".to_owned()), &OPERATION_BUCKETS)
        .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS))
        .map_err(text)?
        .install_recorder()
        .map(Recorder)
        .map_err(text)
}

impl Recorder {
    /// The metrics as Prometheus reads them.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Folds finished time series away until the shutdown.
    pub async fn keep_up(&self, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => self.0.run_upkeep(),
            }
        }
    }
}
