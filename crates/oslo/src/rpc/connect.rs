//! One connection to one broker: TCP, TLS, the AMQP handshake, and the news of its loss.

use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use lapin::tcp::RustlsConnector;
use lapin::types::ShortString;
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo, SASLMechanism};
use lapin::{AsyncTcpStream, Connection, ConnectionProperties, Event};
use secrecy::ExposeSecret;
use tracing::{info, warn};
use uuid::Uuid;

use super::options::Login;
use super::url::Host;
use super::{RabbitOptions, TransportUrl, tls};

/// How long a broker may take from the first TCP packet to the end of the AMQP handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// The largest frame that we propose, in bytes. lapin keeps two buffers of 32 frames for each connection, all
/// of it resident from the start: with the broker's own 128 KiB these are 8 MiB. A longer message travels in
/// several frames.
const FRAME_SIZE: u32 = 16 << 10;

/// How often a connection is looked at in case its loss was not announced.
const LOOK: Duration = Duration::from_secs(1);

/// An open connection. When it is dropped its socket is shut, so that nothing of it lingers.
pub(super) struct Wire {
    pub connection: Connection,
    socket: Socket,
}

/// A second handle of the connection's socket, to shut it when the peer went silent.
#[derive(Clone, Default)]
struct Socket(Arc<Mutex<Option<std::net::TcpStream>>>);

impl Socket {
    fn keep(&self, stream: std::net::TcpStream) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
    }

    fn shut(&self) {
        if let Some(stream) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.socket.shut();
    }
}

/// Connects to one broker. The error is for a log: it names no credential.
pub(super) async fn connect(
    options: &RabbitOptions,
    url: &TransportUrl,
    host: &Host,
) -> Result<Wire, String> {
    let socket = Socket::default();
    let attempt = handshake(options, url, host, socket.clone());
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, attempt).await {
        Ok(Ok(connection)) => Ok(Wire { connection, socket }),
        Ok(Err(error)) => Err(error),
        Err(_) => {
            socket.shut();
            Err(format!("no answer within {} s", HANDSHAKE_TIMEOUT.as_secs()))
        }
    }
}

async fn handshake(
    options: &RabbitOptions,
    url: &TransportUrl,
    host: &Host,
    socket: Socket,
) -> Result<Connection, String> {
    let tls = if options.ssl {
        let config = tls::client_config(options, url.hosts.len()).map_err(|error| error.to_string())?;
        Some(RustlsConnector::from(config))
    } else {
        None
    };
    let uri = AMQPUri {
        scheme: if options.ssl { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo {
                username: host.username.clone(),
                password: host.password.expose_secret().to_owned(),
            },
            host: host.name.clone(),
            port: host.port,
        },
        vhost: url.virtual_host.clone(),
        query: AMQPQueryString {
            frame_max: Some(FRAME_SIZE),
            heartbeat: u16::try_from(options.heartbeat_timeout_threshold.as_secs()).ok(),
            auth_mechanism: Some(match options.rabbit_login_method {
                Login::AmqPlain => SASLMechanism::AMQPlain,
                Login::Plain => SASLMechanism::Plain,
                Login::External => SASLMechanism::External,
                Login::RabbitCrDemo => SASLMechanism::RabbitCrDemo,
            }),
            ..AMQPQueryString::default()
        },
    };
    // lapin panics on a virtual host that does not fit a short string.
    ShortString::try_new(url.virtual_host.as_str())
        .map_err(|_| "the virtual host's name is longer than 255 bytes".to_owned())?;
    let name = format!("{}:{}:{}", options.program, std::process::id(), Uuid::new_v4());
    let properties = ConnectionProperties::default()
        .with_connection_name(name.as_str().into())
        .with_client_property("product".into(), options.program.as_str().into())
        .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into());

    let addresses: Vec<_> = tokio::net::lookup_host((host.name.as_str(), host.port))
        .await
        .map_err(|error| format!("cannot resolve the name: {error}"))?
        .collect();
    let server_name = host.name.clone();
    let runtime = lapin::runtime::default_runtime().map_err(|error| error.to_string())?;
    let connecting = Connection::connector(
        uri,
        runtime,
        async move |_: AMQPUri, runtime| {
            hush_this_thread();
            let stream = AsyncTcpStream::connect(&runtime, addresses.clone()).await?;
            if let AsyncTcpStream::Plain(plain) = &stream {
                socket.keep(plain.get_ref().as_fd().try_clone_to_owned()?.into());
            }
            match &tls {
                Some(connector) => Ok(stream.into_rustls(connector, &server_name).await?),
                None => Ok(stream),
            }
        },
        properties,
    );
    connecting.await.map_err(|error| error.to_string())
}

/// lapin's I/O thread logs whole messages (returned ones at WARN, frames at TRACE). What a message holds must
/// not reach a log, so that thread has none; everything worth telling is logged from here.
fn hush_this_thread() {
    if std::thread::current().name() == Some("lapin-io-loop") {
        std::mem::forget(tracing::subscriber::set_default(tracing::subscriber::NoSubscriber::default()));
    }
}

impl Wire {
    /// Waits until the connection is lost; says why.
    pub(super) async fn watch(&self) -> String {
        let mut events = Box::pin(self.connection.events_listener());
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                event = events.next() => match event {
                    // A refusal that closed a channel is told here too; the connection goes on then.
                    Some(Event::Error(error)) if !self.connection.status().connected() => {
                        return error.to_string();
                    }
                    Some(Event::ConnectionBlocked(reason)) => {
                        warn!(
                            %reason,
                            "the broker is short of resources and blocks publishing; messages wait"
                        );
                    }
                    Some(Event::ConnectionUnblocked) => info!("the broker accepts messages again"),
                    Some(_) => {}
                    None => return "the connection ended".to_owned(),
                },
                _ = look.tick() => if !self.connection.status().connected() {
                    return "the connection is closed".to_owned();
                },
            }
        }
    }
}
