//! The admin listener: what an operator, a supervisor or a Prometheus asks of the running service.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | Prometheus text |
//! | `/live` | 200 as long as the process serves requests |
//! | `/ready` | 200 when the service does its work; else 503. In both cases JSON: `{"missing": {"what": "why"}}` |
//! | `/operations` | JSON: every operation that runs or waits, the oldest first ([`Operation`]) |
//!
//! It changes nothing and holds no secret. It listens on loopback unless `[bessemer] admin_host` says otherwise.

mod metrics;
mod operations;
mod readiness;

use axum::Json;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use compute::Manager;
use serde_json::json;
use tokio_util::sync::CancellationToken;

pub use metrics::{Recorder, install};
pub use operations::{Operation, listed};
pub use readiness::Readiness;

/// What the pages are made from.
#[derive(Clone)]
pub struct Pages {
    /// What is missing until the service is ready; holds the manager as soon as there is one.
    pub readiness: Readiness,
    pub recorder: Recorder,
    pub manager: tokio::sync::watch::Receiver<Option<Manager>>,
}

/// Serves the pages until the shutdown.
pub async fn serve(host: &str, port: u16, pages: Pages, shutdown: CancellationToken) -> Result<(), String> {
    let failed = |error: std::io::Error| {
        format!(
            "the admin listener cannot listen on {host}, port {port}: {error}. Set [bessemer] admin_host and admin_port; port 0 \
             switches it off"
        )
    };
    let listener = tokio::net::TcpListener::bind((host, port)).await.map_err(failed)?;
    let upkeep = pages.recorder.clone();
    let stop = shutdown.clone();
    let serving =
        axum::serve(listener, router(pages)).with_graceful_shutdown(async move { stop.cancelled().await });
    tokio::select! {
        ended = serving => ended.map_err(failed),
        () = upkeep.keep_up(shutdown) => Ok(()),
    }
}

fn router(pages: Pages) -> Router {
    let Pages { readiness, recorder, manager } = pages;
    let (oldest, scraped) = (metrics::Oldest::default(), manager.clone());
    Router::new()
        .route(
            "/metrics",
            get(move || {
                oldest.show(&scraped.borrow().as_ref().map(Manager::operations).unwrap_or_default());
                std::future::ready(recorder.render())
            }),
        )
        .route("/live", get(|| std::future::ready("live\n")))
        .route(
            "/ready",
            get(move || {
                let missing = readiness.missing();
                let status =
                    if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                std::future::ready((status, Json(json!({ "missing": missing }))))
            }),
        )
        .route(
            "/operations",
            get(move || {
                let operations = manager.borrow().as_ref().map(Manager::operations).unwrap_or_default();
                let operations: Vec<Operation> = operations.into_iter().map(Operation::from).collect();
                std::future::ready(Json(operations))
            }),
        )
}
