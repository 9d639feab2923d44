//! RabbitMQ: the options of oslo.messaging, and the transport they make.

use oslo::config::{Config, Error, Kind, Opt};
use oslo::rpc::{RabbitOptions, TransportUrl};
use secrecy::ExposeSecret;

/// Options that could still stand in `[DEFAULT]` under the same name up to Nova 30.
const IN_DEFAULT: &[(&str, &str)] = &[("DEFAULT", "")];

/// `[oslo_messaging_rabbit]`; its other options steer oslo.messaging's own implementation. The former names of the options for
/// TLS are those up to Nova 30.
pub(super) const RABBIT: &[Opt] = &[
    Opt::bool("amqp_durable_queues").default("false").deprecated(&[("", "rabbit_durable_queues")]),
    Opt::bool("amqp_auto_delete").default("false").deprecated(IN_DEFAULT),
    Opt::bool("rabbit_quorum_queue").default("false"),
    Opt::bool("rabbit_transient_quorum_queue").default("false"),
    Opt::int("rabbit_quorum_delivery_limit").default("0"),
    // Misspelt up to Nova 31.
    Opt::int("rabbit_quorum_max_memory_length")
        .default("0")
        .deprecated(&[("", "rabbit_quroum_max_memory_length")]),
    Opt::int("rabbit_quorum_max_memory_bytes")
        .default("0")
        .deprecated(&[("", "rabbit_quroum_max_memory_bytes")]),
    Opt::bool("rabbit_ha_queues").default("false").deprecated(IN_DEFAULT),
    Opt::bool("rabbit_stream_fanout").default("false"),
    Opt::int_from("rabbit_transient_queues_ttl", 0).default("1800"),
    Opt::int("rabbit_qos_prefetch_count").default("0"),
    Opt::bool("enable_cancel_on_failover").default("false"),
    Opt::int("heartbeat_timeout_threshold").default("60"),
    Opt::int_from("rabbit_retry_interval", 1).default("1"),
    Opt::int_from("rabbit_retry_backoff", 0).default("2").deprecated(IN_DEFAULT),
    Opt::int_from("rabbit_interval_max", 1).default("30"),
    Opt::new("kombu_reconnect_delay", Kind::Float { min: Some(0.0), max: Some(4.5) })
        .default("1.0")
        .deprecated(IN_DEFAULT),
    Opt::new("kombu_reconnect_splay", Kind::Float { min: Some(0.0), max: None }).default("0.0"),
    Opt::int("kombu_missing_consumer_retry_timeout")
        .default("60")
        .deprecated(&[("", "kombu_reconnect_timeout")]),
    Opt::string("kombu_compression").default(""),
    Opt::choice("kombu_failover_strategy", &["round-robin", "shuffle"]).default("round-robin"),
    Opt::choice("rabbit_login_method", &["PLAIN", "AMQPLAIN", "EXTERNAL", "RABBIT-CR-DEMO"])
        .default("AMQPLAIN")
        .deprecated(IN_DEFAULT),
    Opt::bool("ssl").default("false").deprecated(&[("", "rabbit_use_ssl")]),
    Opt::string("ssl_version").default("").deprecated(&[("", "kombu_ssl_version")]),
    Opt::string("ssl_ca_file").default("").deprecated(&[("", "kombu_ssl_ca_certs")]),
    Opt::string("ssl_cert_file").default("").deprecated(&[("", "kombu_ssl_certfile")]),
    Opt::string("ssl_key_file").default("").deprecated(&[("", "kombu_ssl_keyfile")]),
    Opt::bool("ssl_enforce_hostname_verification").default("true"),
];

/// `[oslo_messaging_notifications]`; the former names are those up to Nova 30.
pub(super) const NOTIFICATIONS: &[Opt] = &[
    Opt::multi("driver").deprecated(&[("DEFAULT", "notification_driver")]),
    Opt::string("transport_url").secret_url().deprecated(&[("DEFAULT", "notification_transport_url")]),
];

/// Where the message bus is.
pub fn transport_url(config: &Config) -> Result<TransportUrl, Error> {
    url(config, oslo::config::DEFAULT_GROUP)
}

/// Where notifications go when that is another bus.
pub fn notification_url(config: &Config) -> Result<Option<TransportUrl>, Error> {
    let group = "oslo_messaging_notifications";
    config.group(group).is_set("transport_url").then(|| url(config, group)).transpose()
}

fn url(config: &Config, group: &str) -> Result<TransportUrl, Error> {
    let group = config.group(group);
    let text = group.secret("transport_url").unwrap_or_default();
    // The reason names the part that is wrong and shows none of it.
    TransportUrl::parse(text.expose_secret()).map_err(|reason| {
        group.refused("transport_url", format!("rabbit://user:password@host:5672/ ({reason})")).into()
    })
}

/// How to speak to the message bus.
pub fn rabbit_options(config: &Config) -> Result<RabbitOptions, Error> {
    let top = config.top();
    let group = config.group("oslo_messaging_rabbit");
    let mut options = RabbitOptions {
        control_exchange: top.text("control_exchange"),
        response_timeout: top.seconds("rpc_response_timeout"),
        program: "nova-compute".to_owned(),
        ..RabbitOptions::default()
    };
    let mut problems = Vec::new();
    for opt in RABBIT {
        let Some(entry) = group.entry(opt.name()) else { continue };
        if let Err(reason) = options.set(opt.name(), &entry.shown().concat()) {
            problems.push(group.refused(opt.name(), format!("something else: {reason}")));
        }
    }
    if problems.is_empty() { Ok(options) } else { Err(Error { problems }) }
}

#[cfg(test)]
mod tests {
    use super::super::tests::config;
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_defaults_are_those_of_the_transport() {
        let built = rabbit_options(&config("")).unwrap();
        let defaults = RabbitOptions { program: built.program.clone(), ..RabbitOptions::default() };
        assert_eq!(format!("{built:?}"), format!("{defaults:?}"));
    }

    #[test]
    fn options_reach_the_transport() {
        let config = config(
            "[DEFAULT]\ntransport_url=rabbit://u:p@h1,u:p@h2:1/v?ssl=1\nrpc_response_timeout=5\n\
             [oslo_messaging_rabbit]\nrabbit_quorum_queue=true\nheartbeat_timeout_threshold=0\nkombu_reconnect_delay=0.5\n\
             ssl_ca_file=/ca.pem\n",
        );
        let options = rabbit_options(&config).unwrap();
        assert!(options.rabbit_quorum_queue && options.heartbeat_timeout_threshold.is_zero());
        assert_eq!(options.response_timeout, Duration::from_secs(5));
        assert_eq!(options.kombu_reconnect_delay, Duration::from_millis(500));
        assert_eq!(options.ssl_ca_file, Some("/ca.pem".into()));
        assert_eq!(transport_url(&config).unwrap().hosts.len(), 2);
        assert!(notification_url(&config).unwrap().is_none());
    }

    #[test]
    fn a_wrong_option_is_named_and_the_password_is_not_shown() {
        let wrong = config(
            "[oslo_messaging_rabbit]\nssl_version=SSLv3\n[DEFAULT]\ntransport_url=kafka://u:hunter2@h/\n",
        );
        let error = rabbit_options(&wrong).unwrap_err().to_string();
        assert!(error.contains("nova.conf:2: [oslo_messaging_rabbit] ssl_version = SSLv3"), "{error}");
        let error = transport_url(&wrong).unwrap_err().to_string();
        assert!(error.contains("nova.conf:4: [DEFAULT] transport_url = kafka://u:***@h/"), "{error}");
        assert!(!error.contains("hunter2"));
    }
}
