//! The HTTP front: takes requests off the wire, logs them, lets hooks and faults strike, and answers.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use crate::api::{self, Incoming, error_body};
use crate::engine::Engine;
use crate::refusal::Refusal;
use crate::traffic::{Action, Call, Kind, Recorded, classify, detail};
use crate::world::CONDUCTOR;

/// Larger than any config drive Ironic takes.
const MAX_BODY: usize = 256 << 20;

pub(crate) async fn run(listener: TcpListener, engine: Arc<Engine>) -> io::Result<()> {
    let app = Router::new().fallback(serve).with_state(engine);
    axum::serve(Wires(listener), app.into_make_service_with_connect_info::<Line>()).await
}

async fn serve(
    State(engine): State<Arc<Engine>>,
    ConnectInfo(line): ConnectInfo<Line>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(bytes) = axum::body::to_bytes(body, MAX_BODY).await else {
        return line.cut();
    };
    let body: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    let path = parts.uri.path();
    let mut segments: Vec<String> = path.split('/').filter(|s| !s.is_empty()).map(str::to_owned).collect();
    if segments.len() > 1 && segments[0] == "v1" {
        segments.remove(0);
    }
    let names: Vec<&str> = segments.iter().map(String::as_str).collect();
    let query = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).map_or_else(|_| Vec::new(), |q| q.0);
    let (mut call, node) = classify(parts.method.as_str(), &names);
    if path.trim_matches('/') == "v1" {
        call = Call::Versions;
    }
    let mut recorded = Recorded {
        number: 0,
        call,
        method: parts.method.to_string(),
        path: path.to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        body_len: bytes.len(),
        node: node.or_else(|| query.iter().find(|(k, _)| k == "node").map(|(_, v)| v.clone())),
        detail: detail(call, &body),
        status: None,
    };
    engine.record(&mut recorded);
    tracing::debug!(method = %recorded.method, path = %recorded.path, "request");
    let minor = microversion(&parts.headers, engine.world().config.max_minor);
    let incoming =
        Incoming { method: recorded.method.clone(), path: segments, query, body, minor: minor.unwrap_or(1) };
    exchange(&engine, &line, recorded, &incoming, minor).await
}

/// Hook, fault, work, hook: and the answer, if the client gets one.
async fn exchange(
    engine: &Engine,
    line: &Line,
    mut recorded: Recorded,
    incoming: &Incoming,
    minor: Option<u32>,
) -> Response {
    match engine.ask(&recorded) {
        Action::Go => {}
        Action::Drop => return line.cut(),
        Action::Hang => return std::future::pending().await,
    }
    let mut lose = false;
    let mut late = None;
    let mut instead = None;
    match engine.strike(&recorded) {
        Some(Kind::Drop) => return line.cut(),
        Some(Kind::DropAfter) => lose = true,
        Some(Kind::DelayAfter(delay)) => late = Some(delay),
        Some(Kind::Delay(delay)) => tokio::time::sleep(delay).await,
        Some(Kind::Status(status, body)) => instead = Some((status, Some(body), None)),
        Some(Kind::Locked) => {
            let refusal = Refusal::locked(recorded.node.as_deref().unwrap_or("unknown"), CONDUCTOR);
            instead = Some((409, Some(error_body(409, &refusal.text)), None));
        }
        None => {}
    }
    let (status, body, location) = instead.unwrap_or_else(|| {
        let answer = if minor.is_some() { api::dispatch(engine, incoming) } else { Err(unacceptable()) };
        match answer {
            Ok(reply) => (reply.status, reply.body.map(|b| b.to_string()), reply.location),
            Err(refusal) => (refusal.status, Some(error_body(refusal.status, &refusal.text)), None),
        }
    });
    if let Some(delay) = late {
        tokio::time::sleep(delay).await;
    }
    recorded.status = Some(status);
    engine.answered(&recorded);
    match engine.ask(&recorded) {
        Action::Go if !lose => answer(engine, recorded.number, status, body, location, incoming.minor),
        Action::Go | Action::Drop => line.cut(),
        Action::Hang => std::future::pending().await,
    }
}

fn unacceptable() -> Refusal {
    Refusal::new(406, "The requested API version is not supported by this service.")
}

/// The 1.x a client asks for: `OpenStack-API-Version: baremetal 1.x` goes before the older header; 1.1
/// without any. None when it is out of range.
fn microversion(headers: &HeaderMap, max: u32) -> Option<u32> {
    let mut asked = None;
    if let Some(old) = headers.get("x-openstack-ironic-api-version").and_then(|v| v.to_str().ok()) {
        asked = Some(old.trim());
    }
    for value in headers.get_all("openstack-api-version").iter().filter_map(|v| v.to_str().ok()) {
        for one in value.split(',') {
            asked = one.trim().strip_prefix("baremetal ").map(str::trim).or(asked);
        }
    }
    match asked {
        None => Some(1),
        Some("latest") => Some(max),
        Some(text) => {
            let minor: u32 = text.strip_prefix("1.")?.parse().ok()?;
            (1..=max).contains(&minor).then_some(minor)
        }
    }
}

fn answer(
    engine: &Engine,
    number: u64,
    status: u16,
    body: Option<String>,
    location: Option<String>,
    minor: u32,
) -> Response {
    let id = format!("req-{}", uuid::Uuid::from_u128(u128::from(number)));
    let max = engine.world().config.max_minor;
    let mut response = Response::builder()
        .status(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
        .header("X-OpenStack-Ironic-API-Minimum-Version", "1.1")
        .header("X-OpenStack-Ironic-API-Maximum-Version", format!("1.{max}"))
        .header("X-OpenStack-Ironic-API-Version", format!("1.{minor}"))
        .header("openstack-request-id", &id)
        .header("x-openstack-request-id", &id);
    if let Some(location) = location {
        response = response.header(header::LOCATION, format!("{}/{location}", engine.base));
    }
    if body.is_some() {
        response = response.header(header::CONTENT_TYPE, "application/json");
    }
    let body = body.map_or_else(Body::empty, |text| Body::from(Bytes::from(text)));
    response.body(body).unwrap_or_default()
}

/// A client's connection, seen from a handler: it can be cut, so that nothing written any more gets out.
#[derive(Clone, Debug)]
pub(crate) struct Line(Arc<AtomicBool>);

impl Line {
    /// Cuts the connection. The answer returned never leaves the house.
    fn cut(&self) -> Response {
        self.0.store(true, Ordering::SeqCst);
        Response::default()
    }
}

impl Connected<IncomingStream<'_, Wires>> for Line {
    fn connect_info(stream: IncomingStream<'_, Wires>) -> Self {
        stream.remote_addr().clone()
    }
}

struct Wires(TcpListener);

impl Listener for Wires {
    type Io = Wire;
    type Addr = Line;

    async fn accept(&mut self) -> (Wire, Line) {
        loop {
            match self.0.accept().await {
                Ok((stream, _)) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "no TCP_NODELAY");
                    }
                    let line = Line(Arc::new(AtomicBool::new(false)));
                    return (Wire { stream, line: line.clone() }, line);
                }
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Line> {
        Ok(Line(Arc::new(AtomicBool::new(false))))
    }
}

/// A stream that fails once its line is cut.
struct Wire {
    stream: TcpStream,
    line: Line,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.line.0.load(Ordering::SeqCst) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
