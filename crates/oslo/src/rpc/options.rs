//! The options of `[oslo_messaging_rabbit]`, by their names, and the few others a transport needs.

use std::path::PathBuf;
use std::time::Duration;

use super::{Error, TransportUrl};

/// How the next broker is picked when a connection is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failover {
    /// The next in the list.
    RoundRobin,
    /// Any.
    Shuffle,
}

/// How a client proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// RabbitMQ's own form of user and password.
    AmqPlain,
    /// SASL PLAIN.
    Plain,
    /// The TLS client certificate.
    External,
    /// RabbitMQ's demonstration of a challenge.
    RabbitCrDemo,
}

/// TLS versions that `ssl_version` may insist on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2 only.
    V1_2,
    /// TLS 1.3 only.
    V1_3,
}

/// How to reach RabbitMQ and how queues are declared there. Durability and queue types must be those of the
/// control plane: both sides declare the same exchange and queues.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // oslo.messaging's own options
pub struct RabbitOptions {
    /// `[DEFAULT] control_exchange`; Nova's is `nova`.
    pub control_exchange: String,
    /// `[DEFAULT] rpc_response_timeout`: how long a call waits for its answer, a cast for its broker.
    pub response_timeout: Duration,
    /// The program's name, shown by the broker as `<program>:<pid>:<uuid>`.
    pub program: String,

    /// Durable exchange and queues.
    pub amqp_durable_queues: bool,
    /// Exchange and queues go when the last consumer does.
    pub amqp_auto_delete: bool,
    /// Quorum queues for topics and notifications.
    pub rabbit_quorum_queue: bool,
    /// Quorum queues for replies and fanouts.
    pub rabbit_transient_quorum_queue: bool,
    /// `x-delivery-limit` of quorum queues; 0: none.
    pub rabbit_quorum_delivery_limit: u32,
    /// `x-max-in-memory-length` of quorum queues; 0: none.
    pub rabbit_quorum_max_memory_length: u32,
    /// `x-max-in-memory-bytes` of quorum queues; 0: none.
    pub rabbit_quorum_max_memory_bytes: u32,
    /// Mirrored classic queues, by declaration (RabbitMQ before 3.0).
    pub rabbit_ha_queues: bool,
    /// One stream per topic in place of a fanout queue per process.
    pub rabbit_stream_fanout: bool,
    /// Unused reply and fanout queues go after this; zero: never.
    pub rabbit_transient_queues_ttl: Duration,
    /// Messages the broker sends ahead of their acknowledgement; 0: as many as a server works on at once.
    pub rabbit_qos_prefetch_count: u16,
    /// Consumers are told of a failover of a mirrored queue.
    pub enable_cancel_on_failover: bool,

    /// Proposed AMQP heartbeat; zero leaves it to the broker.
    pub heartbeat_timeout_threshold: Duration,
    /// First pause between attempts to connect.
    pub rabbit_retry_interval: Duration,
    /// How much longer each next pause is.
    pub rabbit_retry_backoff: Duration,
    /// The longest pause.
    pub rabbit_interval_max: Duration,
    /// Pause before the first attempt after a loss, so that a cluster can settle.
    pub kombu_reconnect_delay: Duration,
    /// Up to this much more, at random, so that not everybody comes at once.
    pub kombu_reconnect_splay: Duration,
    /// How long a reply waits for a reply queue that is not there.
    pub kombu_missing_consumer_retry_timeout: Duration,
    /// Order of brokers.
    pub kombu_failover_strategy: Failover,
    /// SASL mechanism.
    pub rabbit_login_method: Login,

    /// TLS.
    pub ssl: bool,
    /// Insist on this version.
    pub ssl_version: Option<TlsVersion>,
    /// Trust these authorities and no others; absent: the certificate is not verified.
    pub ssl_ca_file: Option<PathBuf>,
    /// Check the host name too, when one host is given and there is a CA file.
    pub ssl_enforce_hostname_verification: bool,
    /// Client certificate.
    pub ssl_cert_file: Option<PathBuf>,
    /// Its key; absent: in the file of the certificate.
    pub ssl_key_file: Option<PathBuf>,
}

impl Default for RabbitOptions {
    fn default() -> Self {
        Self {
            control_exchange: "nova".to_owned(),
            response_timeout: Duration::from_mins(1),
            program: "bessemer".to_owned(),
            amqp_durable_queues: false,
            amqp_auto_delete: false,
            rabbit_quorum_queue: false,
            rabbit_transient_quorum_queue: false,
            rabbit_quorum_delivery_limit: 0,
            rabbit_quorum_max_memory_length: 0,
            rabbit_quorum_max_memory_bytes: 0,
            rabbit_ha_queues: false,
            rabbit_stream_fanout: false,
            rabbit_transient_queues_ttl: Duration::from_mins(30),
            rabbit_qos_prefetch_count: 0,
            enable_cancel_on_failover: false,
            heartbeat_timeout_threshold: Duration::from_mins(1),
            rabbit_retry_interval: Duration::from_secs(1),
            rabbit_retry_backoff: Duration::from_secs(2),
            rabbit_interval_max: Duration::from_secs(30),
            kombu_reconnect_delay: Duration::from_secs(1),
            kombu_reconnect_splay: Duration::ZERO,
            kombu_missing_consumer_retry_timeout: Duration::from_mins(1),
            kombu_failover_strategy: Failover::RoundRobin,
            rabbit_login_method: Login::AmqPlain,
            ssl: false,
            ssl_version: None,
            ssl_ca_file: None,
            ssl_enforce_hostname_verification: true,
            ssl_cert_file: None,
            ssl_key_file: None,
        }
    }
}

impl RabbitOptions {
    /// The options of `[oslo_messaging_rabbit]` that [`set`](Self::set) understands and that have an effect.
    pub const NAMES: [&'static str; 28] = [
        "amqp_durable_queues",
        "amqp_auto_delete",
        "rabbit_quorum_queue",
        "rabbit_transient_quorum_queue",
        "rabbit_quorum_delivery_limit",
        "rabbit_quorum_max_memory_length",
        "rabbit_quorum_max_memory_bytes",
        "rabbit_ha_queues",
        "rabbit_stream_fanout",
        "rabbit_transient_queues_ttl",
        "rabbit_qos_prefetch_count",
        "enable_cancel_on_failover",
        "heartbeat_timeout_threshold",
        "rabbit_retry_interval",
        "rabbit_retry_backoff",
        "rabbit_interval_max",
        "kombu_reconnect_delay",
        "kombu_reconnect_splay",
        "kombu_missing_consumer_retry_timeout",
        "kombu_failover_strategy",
        "rabbit_login_method",
        "ssl",
        "ssl_version",
        "ssl_ca_file",
        "ssl_enforce_hostname_verification",
        "ssl_cert_file",
        "ssl_key_file",
        "rabbit_durable_queues",
    ];

    /// Options of oslo.messaging that steer its own implementation: accepted, without effect here. Of
    /// `kombu_compression` it is checked that we can read what it makes.
    pub const IGNORED: [&'static str; 11] = [
        "heartbeat_in_pthread",
        "rpc_conn_pool_size",
        "conn_pool_min_size",
        "conn_pool_ttl",
        "ssl_enforce_fips_mode",
        "kombu_compression",
        "heartbeat_rate",
        "direct_mandatory_flag",
        "use_queue_manager",
        "hostname",
        "processname",
    ];

    /// Sets an option by its name in `[oslo_messaging_rabbit]` from its text.
    pub fn set(&mut self, option: &str, text: &str) -> Result<(), Error> {
        let value = Text { option, text: text.trim() };
        match option {
            "amqp_durable_queues" | "rabbit_durable_queues" => self.amqp_durable_queues = value.flag()?,
            "amqp_auto_delete" => self.amqp_auto_delete = value.flag()?,
            "rabbit_quorum_queue" => self.rabbit_quorum_queue = value.flag()?,
            "rabbit_transient_quorum_queue" => self.rabbit_transient_quorum_queue = value.flag()?,
            "rabbit_quorum_delivery_limit" => self.rabbit_quorum_delivery_limit = value.number()?,
            "rabbit_quorum_max_memory_length" => self.rabbit_quorum_max_memory_length = value.number()?,
            "rabbit_quorum_max_memory_bytes" => self.rabbit_quorum_max_memory_bytes = value.number()?,
            "rabbit_ha_queues" => self.rabbit_ha_queues = value.flag()?,
            "rabbit_stream_fanout" => self.rabbit_stream_fanout = value.flag()?,
            "rabbit_transient_queues_ttl" => self.rabbit_transient_queues_ttl = value.seconds()?,
            "rabbit_qos_prefetch_count" => self.rabbit_qos_prefetch_count = value.number()?,
            "enable_cancel_on_failover" => self.enable_cancel_on_failover = value.flag()?,
            "heartbeat_timeout_threshold" => self.heartbeat_timeout_threshold = value.seconds()?,
            "rabbit_retry_interval" => self.rabbit_retry_interval = value.seconds()?,
            "rabbit_retry_backoff" => self.rabbit_retry_backoff = value.seconds()?,
            "rabbit_interval_max" => self.rabbit_interval_max = value.seconds()?,
            "kombu_reconnect_delay" => self.kombu_reconnect_delay = value.seconds()?,
            "kombu_reconnect_splay" => self.kombu_reconnect_splay = value.seconds()?,
            "kombu_missing_consumer_retry_timeout" => {
                self.kombu_missing_consumer_retry_timeout = value.seconds()?;
            }
            "kombu_failover_strategy" => {
                self.kombu_failover_strategy =
                    value.choice(&[("round-robin", Failover::RoundRobin), ("shuffle", Failover::Shuffle)])?;
            }
            "rabbit_login_method" => {
                self.rabbit_login_method = value.choice(&[
                    ("AMQPLAIN", Login::AmqPlain),
                    ("PLAIN", Login::Plain),
                    ("EXTERNAL", Login::External),
                    ("RABBIT-CR-DEMO", Login::RabbitCrDemo),
                ])?;
            }
            "ssl" => self.ssl = value.flag()?,
            "ssl_version" => {
                self.ssl_version = value.choice(&[
                    ("", None),
                    ("SSLv23", None),
                    ("TLSv1_2", Some(TlsVersion::V1_2)),
                    ("TLSv1.2", Some(TlsVersion::V1_2)),
                    ("TLSv1_3", Some(TlsVersion::V1_3)),
                    ("TLSv1.3", Some(TlsVersion::V1_3)),
                ])?;
            }
            "ssl_ca_file" => self.ssl_ca_file = value.path(),
            "ssl_enforce_hostname_verification" => self.ssl_enforce_hostname_verification = value.flag()?,
            "ssl_cert_file" => self.ssl_cert_file = value.path(),
            "ssl_key_file" => self.ssl_key_file = value.path(),
            "kombu_compression" => value.readable_compression()?,
            _ if Self::IGNORED.contains(&option) => {}
            _ => return Err(Error::option(option, "there is no such option; correct the name or remove it")),
        }
        Ok(())
    }

    /// Applies what the URL's query overrides, and refuses combinations that the broker would.
    pub fn for_url(mut self, url: &TransportUrl) -> Result<Self, Error> {
        for (option, text) in &url.query {
            self.set(option, text)?;
        }
        if self.rabbit_quorum_queue && self.rabbit_ha_queues {
            return Err(Error::option(
                "rabbit_quorum_queue",
                "cannot be used together with rabbit_ha_queues; unset one",
            ));
        }
        if self.rabbit_stream_fanout
            && !(self.rabbit_transient_quorum_queue && self.rabbit_qos_prefetch_count > 0)
        {
            let problem = "needs rabbit_transient_quorum_queue = true and rabbit_qos_prefetch_count above 0";
            return Err(Error::option("rabbit_stream_fanout", problem));
        }
        Ok(self)
    }
}

struct Text<'a> {
    option: &'a str,
    text: &'a str,
}

impl Text<'_> {
    fn error(&self, expected: &str) -> Error {
        Error::option(self.option, format!("{:?} is not {expected}", self.text))
    }

    fn flag(&self) -> Result<bool, Error> {
        match self.text.to_ascii_lowercase().as_str() {
            "true" | "1" | "on" | "yes" => Ok(true),
            "false" | "0" | "off" | "no" => Ok(false),
            _ => Err(self.error("a boolean: true or false")),
        }
    }

    fn number<N: std::str::FromStr>(&self) -> Result<N, Error> {
        self.text.parse().map_err(|_| self.error("a whole number in range"))
    }

    fn seconds(&self) -> Result<Duration, Error> {
        let seconds = self.text.parse().map_err(|_| self.error("a number of seconds"))?;
        Duration::try_from_secs_f64(seconds).map_err(|_| self.error("a number of seconds, 0 or more"))
    }

    fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, Error> {
        match choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(self.text)) {
            Some((_, value)) => Ok(*value),
            None => Err(self.error(&format!(
                "one of {}",
                choices.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ")
            ))),
        }
    }

    /// What we send is not compressed; what the others compress as this must be readable. `gzip` and `zlib`
    /// are one to kombu.
    fn readable_compression(&self) -> Result<(), Error> {
        match self.text {
            "" | "gzip" | "zlib" | "application/x-gzip" => Ok(()),
            _ => Err(self.error(
                "a compression that can be read here: set gzip, or nothing, in all of Nova's services",
            )),
        }
    }

    fn path(&self) -> Option<PathBuf> {
        (!self.text.is_empty()).then(|| PathBuf::from(self.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(query: &str) -> Result<RabbitOptions, Error> {
        RabbitOptions::default().for_url(&TransportUrl::parse(&format!("rabbit://h/?{query}")).unwrap())
    }

    #[test]
    fn the_query_of_the_url_overrides() {
        let options =
            with("ssl=1&ssl_ca_file=/ca.pem&heartbeat_timeout_threshold=0&kombu_reconnect_delay=0.5")
                .unwrap();
        assert!(options.ssl && options.ssl_ca_file == Some(PathBuf::from("/ca.pem")));
        assert_eq!(options.heartbeat_timeout_threshold, Duration::ZERO);
        assert_eq!(options.kombu_reconnect_delay, Duration::from_millis(500));
    }

    #[test]
    fn an_unknown_or_wrong_option_is_named() {
        assert!(with("colour=red").unwrap_err().to_string().contains("colour"));
        let error = with("ssl=perhaps").unwrap_err().to_string();
        assert_eq!(error, "[oslo_messaging_rabbit] ssl: \"perhaps\" is not a boolean: true or false");
        assert!(with("heartbeat_timeout_threshold=-1").is_err());
    }

    #[test]
    fn a_compression_that_cannot_be_read_is_refused_with_the_remedy() {
        for readable in ["", "gzip", "zlib"] {
            assert!(with(&format!("kombu_compression={readable}")).is_ok(), "{readable}");
        }
        for unreadable in ["bz2", "bzip2", "xz", "zstd"] {
            let error = with(&format!("kombu_compression={unreadable}")).unwrap_err().to_string();
            assert!(error.contains("kombu_compression") && error.contains("set gzip"), "{error}");
        }
    }

    #[test]
    fn every_listed_option_can_be_set() {
        for option in RabbitOptions::NAMES.iter().chain(&RabbitOptions::IGNORED) {
            let accepted = ["1", "round-robin", "PLAIN", "TLSv1_2", "gzip"]
                .iter()
                .any(|text| RabbitOptions::default().set(option, text).is_ok());
            assert!(accepted, "{option}");
        }
    }

    #[test]
    fn combinations_that_no_broker_takes_are_refused() {
        assert!(with("rabbit_quorum_queue=1&rabbit_ha_queues=1").is_err());
        assert!(with("rabbit_stream_fanout=1").is_err());
        assert!(
            with("rabbit_stream_fanout=1&rabbit_transient_quorum_queue=1&rabbit_qos_prefetch_count=10")
                .is_ok()
        );
    }

    /// `sslv23` is Python's name for whatever both sides can (`ssl.PROTOCOL_SSLv23`); oslo.messaging reads every name in any case.
    #[test]
    fn a_tls_version_is_read_as_oslo_messaging_does() {
        for (text, version) in [
            ("", None),
            ("SSLv23", None),
            ("sslv23", None),
            ("TLSv1_2", Some(TlsVersion::V1_2)),
            ("tlsv1_2", Some(TlsVersion::V1_2)),
            ("TLSV1.3", Some(TlsVersion::V1_3)),
        ] {
            assert_eq!(with(&format!("ssl_version={text}")).unwrap().ssl_version, version, "{text}");
        }
        let error = with("ssl_version=TLSv1").unwrap_err().to_string();
        assert!(error.contains("TLSv1_2"), "{error}");
    }

    #[test]
    fn options_that_steer_the_threads_of_oslo_messaging_are_ignored() {
        assert!(with("heartbeat_in_pthread=false").is_ok());
    }
}
