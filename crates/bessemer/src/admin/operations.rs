//! The operations that run, as the admin listener shows them and `bessemer operations` prints them.

use std::fmt::Write as _;

use compute::OperationStatus;
use oslo::config::Config;
use serde::{Deserialize, Serialize};

use crate::Files;

/// One operation. Times are whole seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// `create`, `delete` …
    pub kind: String,
    /// The server's uuid.
    pub instance: String,
    /// The node's uuid, where the operation is about one.
    pub node: Option<String>,
    /// The id of the request, as nova-api logged it.
    pub request: String,
    /// What it does at the moment.
    pub phase: String,
    /// Why it waits, where it does.
    pub waits_for: Option<String>,
    /// For how long it has been in this phase.
    pub phase_seconds: u64,
    /// For how long it has been running in this process.
    pub seconds: u64,
}

impl From<OperationStatus> for Operation {
    fn from(status: OperationStatus) -> Self {
        Self {
            kind: status.kind.name().to_owned(),
            instance: status.instance.to_string(),
            node: status.node.map(|node| node.to_string()),
            request: status.request,
            phase: status.phase.to_owned(),
            waits_for: status.reason,
            phase_seconds: status.in_phase.as_secs(),
            seconds: status.running.as_secs(),
        }
    }
}

/// The operations of the service that runs with this configuration, as text: a table, or JSON.
pub fn listed(files: &Files, instance: Option<&str>, json: bool) -> Result<String, String> {
    let config = files.load()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the runtime cannot be started: {error}"))?;
    let mut operations = runtime.block_on(ask(&config))?;
    operations.retain(|operation| instance.is_none_or(|instance| operation.instance == instance));
    if json {
        let text = serde_json::to_string_pretty(&operations).map_err(|error| error.to_string())?;
        return Ok(text + "\n");
    }
    Ok(table(&operations))
}

async fn ask(config: &Config) -> Result<Vec<Operation>, String> {
    let group = config.group("bessemer");
    let (host, port) = (group.text("admin_host"), group.int("admin_port"));
    if port == 0 {
        return Err("the service has no admin listener: set [bessemer] admin_port and restart it".to_owned());
    }
    let host = match host.as_str() {
        "0.0.0.0" => "127.0.0.1".to_owned(),
        "::" => "[::1]".to_owned(),
        other if other.contains(':') => format!("[{other}]"),
        other => other.to_owned(),
    };
    let url = format!("http://{host}:{port}/operations");
    let failed = |error: reqwest::Error| {
        format!(
            "the service does not answer on {url}: {}. Is it running with these files?",
            error.without_url()
        )
    };
    // The client is not made without a provider of TLS, though it speaks plain HTTP. Fails only if one is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().map_err(failed)?;
    let answer =
        client.get(&url).send().await.and_then(reqwest::Response::error_for_status).map_err(failed)?;
    answer.json().await.map_err(failed)
}

/// Columns as wide as what stands in them.
fn table(operations: &[Operation]) -> String {
    if operations.is_empty() {
        return "no operations\n".to_owned();
    }
    let heads = ["OPERATION", "SERVER", "NODE", "REQUEST", "FOR", "PHASE", "SINCE", "WAITS FOR"];
    let rows = operations.iter().map(|operation| {
        [
            operation.kind.clone(),
            operation.instance.clone(),
            operation.node.clone().unwrap_or_else(|| "-".to_owned()),
            operation.request.clone(),
            duration(operation.seconds),
            operation.phase.clone(),
            duration(operation.phase_seconds),
            operation.waits_for.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    });
    let rows: Vec<[String; 8]> = std::iter::once(heads.map(str::to_owned)).chain(rows).collect();
    let mut widths = [0; 8];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            // Writing to a String cannot fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Seconds as an operator reads them: `42s`, `3m07s`, `2h05m`.
fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_says_what_waits_and_why() {
        let operation = Operation {
            kind: "create".to_owned(),
            instance: "5a4b".to_owned(),
            node: None,
            request: "req-1".to_owned(),
            phase: "deploy".to_owned(),
            waits_for: Some("Ironic deploys the node ('wait call-back')".to_owned()),
            phase_seconds: 67,
            seconds: 7500,
        };
        assert_eq!(
            table(&[operation]),
            "OPERATION  SERVER  NODE  REQUEST  FOR    PHASE   SINCE  WAITS FOR\n\
             create     5a4b    -     req-1    2h05m  deploy  1m07s  Ironic deploys the node ('wait call-back')\n"
        );
        assert_eq!(table(&[]), "no operations\n");
    }

    #[test]
    fn durations_are_short() {
        assert_eq!(
            [0, 59, 60, 3599, 3600, 90000].map(duration),
            ["0s", "59s", "1m00s", "59m59s", "1h00m", "25h00m"]
        );
    }
}
