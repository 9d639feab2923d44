//! Prometheus metrics.

use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

/// Upper bounds of the latency histograms, in seconds: a quick database call to a slow list of nodes.
const BUCKETS: [f64; 10] = [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// Upper bounds of the histogram of operations, in seconds: a power change to a deployment of an hour.
const OPERATION_BUCKETS: [f64; 9] = [1.0, 5.0, 15.0, 60.0, 180.0, 600.0, 1200.0, 1800.0, 3600.0];

/// How often finished time series are folded away.
const UPKEEP: Duration = Duration::from_secs(5);

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
