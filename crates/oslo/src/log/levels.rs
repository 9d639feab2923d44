//! Which events are wanted: `debug` and `default_log_levels`.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

/// oslo.log's `default_log_levels`.
pub const DEFAULT_LOG_LEVELS: &str = "amqp=WARN,boto=WARN,sqlalchemy=WARN,suds=INFO,\
    oslo.messaging=INFO,oslo_messaging=INFO,iso8601=WARN,\
    requests.packages.urllib3.connectionpool=WARN,urllib3.connectionpool=WARN,websocket=WARN,\
    requests.packages.urllib3.util.retry=WARN,urllib3.util.retry=WARN,keystonemiddleware=WARN,\
    routes.middleware=WARN,stevedore=WARN,taskflow=WARN,keystoneauth=WARN,oslo.cache=INFO,\
    oslo_policy=INFO,dogpile.core.dogpile=INFO";

/// Libraries that say much: their levels stay here unless the options name them, also with `debug`.
const QUIET: [&str; 9] =
    ["lapin", "amq_protocol", "async_io", "hyper", "hyper_util", "reqwest", "rustls", "h2", "mio"];

/// What does here the work of the Python libraries that operators name.
const NAMESAKES: [(&str, &[&str]); 4] = [
    ("amqp", &["lapin", "amq_protocol"]),
    ("oslo.messaging", &["oslo::rpc", "oslo::notify"]),
    ("oslo_messaging", &["oslo::rpc", "oslo::notify"]),
    ("urllib3.connectionpool", &["reqwest", "hyper", "hyper_util"]),
];

/// lapin warns of each message that the broker returns, with the whole message. Our own publisher tells of
/// them.
const RETURNED: &str = "lapin::returned_messages";

/// The filter for `debug` and `logger=LEVEL` pairs, or the pair that is none.
///
/// A logger is named as in Python or as in a log line: `nova.server=DEBUG`.
pub(super) fn levels(debug: bool, pairs: &[String]) -> Result<Targets, String> {
    let general = if debug { LevelFilter::DEBUG } else { LevelFilter::INFO };
    let mut targets = Targets::new().with_default(general);
    for quiet in QUIET {
        targets = targets.with_target(quiet, LevelFilter::WARN);
    }
    for pair in pairs {
        let (name, level) = pair
            .split_once('=')
            .and_then(|(name, word)| Some((name.trim(), level(word.trim())?)))
            .ok_or_else(|| pair.clone())?;
        let namesakes = NAMESAKES.iter().find(|(python, _)| *python == name).map(|(_, ours)| *ours);
        for ours in namesakes.unwrap_or_default() {
            targets = targets.with_target(*ours, level);
        }
        if namesakes.is_none() {
            targets = targets.with_target(name.replace('.', "::"), level);
        }
    }
    Ok(targets.with_target(RETURNED, LevelFilter::ERROR))
}

/// A level of Python by name or number. Nothing here is more than an error, so CRITICAL silences. The least
/// is DEBUG: we say nothing below it, and libraries (lapin, the HTTP ones) print there what they carry,
/// passwords and tokens included.
fn level(word: &str) -> Option<LevelFilter> {
    Some(match word.to_ascii_uppercase().as_str() {
        "TRACE" | "NOTSET" | "DEBUG" => LevelFilter::DEBUG,
        "INFO" | "AUDIT" => LevelFilter::INFO,
        "WARN" | "WARNING" => LevelFilter::WARN,
        "ERROR" => LevelFilter::ERROR,
        "CRITICAL" | "FATAL" => LevelFilter::OFF,
        number => match number.parse::<u32>().ok()? {
            0..=10 => LevelFilter::DEBUG,
            11..=20 => LevelFilter::INFO,
            21..=30 => LevelFilter::WARN,
            31..=40 => LevelFilter::ERROR,
            _ => LevelFilter::OFF,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    fn pairs(text: &str) -> Vec<String> {
        text.split(',').map(str::to_owned).collect()
    }

    #[test]
    fn loggers_have_the_levels_that_operators_mean() {
        let filter = levels(true, &pairs(DEFAULT_LOG_LEVELS)).unwrap();
        assert!(filter.would_enable("nova::server", &Level::DEBUG));
        assert!(!filter.would_enable("nova::server", &Level::TRACE));
        assert!(!filter.would_enable("lapin::channel", &Level::INFO));
        assert!(!filter.would_enable("oslo::rpc::server", &Level::DEBUG));
        assert!(filter.would_enable("oslo::config", &Level::DEBUG));
        let filter = levels(false, &pairs("amqp=10,driver.watch=DEBUG,nova=ERROR")).unwrap();
        assert!(filter.would_enable("lapin", &Level::DEBUG));
        assert!(
            filter.would_enable("driver::watch", &Level::DEBUG)
                && !filter.would_enable("driver", &Level::DEBUG)
        );
        assert!(!filter.would_enable("nova::server", &Level::WARN));
    }

    #[test]
    fn no_option_makes_a_library_print_what_it_carries() {
        for pair in [
            "amqp=NOTSET",
            "amqp=TRACE",
            "lapin=TRACE",
            "lapin.frames=5",
            "urllib3.connectionpool=0",
            "=TRACE",
        ] {
            let filter = levels(true, &pairs(pair)).unwrap();
            for target in [
                "lapin",
                "lapin::frames",
                "amq_protocol_tcp",
                "hyper::proto::h1::io",
                "reqwest",
                "h2",
                "rustls",
            ] {
                assert!(!filter.would_enable(target, &Level::TRACE), "{pair}: {target}");
            }
        }
        for pair in [DEFAULT_LOG_LEVELS, "lapin.returned_messages=DEBUG", "amqp=INFO"] {
            let filter = levels(true, &pairs(pair)).unwrap();
            assert!(!filter.would_enable("lapin::returned_messages", &Level::WARN), "{pair}");
        }
        let filter = levels(false, &pairs("amqp=NOTSET")).unwrap();
        assert!(filter.would_enable("lapin", &Level::DEBUG));
    }

    #[test]
    fn a_pair_that_is_none_is_told() {
        assert_eq!(levels(false, &pairs("a=INFO,b=LOUD")).unwrap_err(), "b=LOUD");
        assert_eq!(levels(false, &pairs("a")).unwrap_err(), "a");
    }
}
