//! Prometheus metrics on a loopback port.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

/// Upper bounds of the latency histograms, in seconds: a quick database call to a slow list of nodes.
const BUCKETS: [f64; 10] = [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// How often finished time series are folded away.
const UPKEEP: Duration = Duration::from_secs(5);

/// Begins to collect; what is recorded before is lost.
pub fn install() -> Result<PrometheusHandle, String> {
    let text =
        |error: metrics_exporter_prometheus::BuildError| format!("metrics cannot be collected: {error}");
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS)
        .map_err(text)?
        .install_recorder()
        .map_err(text)
}

/// Serves `GET /metrics` until the shutdown.
pub async fn serve(
    host: &str,
    port: u16,
    handle: PrometheusHandle,
    shutdown: CancellationToken,
) -> Result<(), String> {
    let failed = |error: std::io::Error| {
        format!(
            "metrics cannot be served on {host}, port {port}: {error}. Set [bessemer] metrics_host and metrics_port; \
             port 0 switches them off"
        )
    };
    let listener = tokio::net::TcpListener::bind((host, port)).await.map_err(failed)?;
    let upkeep = handle.clone();
    let app = Router::new().route("/metrics", get(move || std::future::ready(handle.render())));
    let stop = shutdown.clone();
    let pages = axum::serve(listener, app).with_graceful_shutdown(async move { stop.cancelled().await });
    tokio::select! {
        ended = pages => ended.map_err(failed),
        () = keep_up(upkeep, shutdown) => Ok(()),
    }
}

async fn keep_up(handle: PrometheusHandle, shutdown: CancellationToken) {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => handle.run_upkeep(),
        }
    }
}
