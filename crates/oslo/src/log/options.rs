//! oslo.log's options.

use std::path::PathBuf;

use time::format_description::{self, OwnedFormatItem};
use tracing_subscriber::filter::Targets;

use super::levels::{DEFAULT_LOG_LEVELS, levels};
use super::pattern::Pattern;
use crate::config::{Config, Error, Group, Kind, Opt, Problem};

/// What `log_rotation_type` may be. The process itself rotates nothing.
const ROTATIONS: &[&str] = &["interval", "size", "none"];

/// oslo.log's options in `[DEFAULT]` (`oslo_log/_options.py`).
pub const OPTIONS: &[Opt] = &[
    Opt::bool("debug").default("false").mutable(),
    Opt::string("log_config_append").deprecated(&[("", "log-config"), ("", "log_config")]).mutable(),
    Opt::string("log_date_format").default("%Y-%m-%d %H:%M:%S"),
    Opt::string("log_file").deprecated(&[("", "logfile")]),
    Opt::string("log_dir").deprecated(&[("", "logdir")]),
    Opt::bool("use_syslog").default("false"),
    Opt::bool("use_journal").default("false"),
    Opt::bool("use_json").default("false"),
    Opt::bool("use_stderr").default("false"),
    Opt::new("log_rotation_type", Kind::Choice { allowed: ROTATIONS, ignore_case: true }).default("none"),
    Opt::string("logging_context_format_string").default(
        "%(asctime)s.%(msecs)03d %(process)d %(levelname)s %(name)s \
         [%(global_request_id)s %(request_id)s %(user_identity)s] %(instance)s%(message)s",
    ),
    Opt::string("logging_default_format_string")
        .default("%(asctime)s.%(msecs)03d %(process)d %(levelname)s %(name)s [-] %(instance)s%(message)s"),
    // Stock's has %(funcName)s before it, which there is none of here.
    Opt::string("logging_debug_format_suffix").default("%(pathname)s:%(lineno)d"),
    Opt::string("logging_user_identity_format")
        .default("%(user)s %(project)s %(domain)s %(system_scope)s %(user_domain)s %(project_domain)s"),
    Opt::string("instance_format").default("[instance: %(uuid)s] "),
    Opt::list("default_log_levels").default(DEFAULT_LOG_LEVELS).mutable(),
];

/// What is logged, how and where to.
#[derive(Clone, Debug)]
pub struct Options {
    pub(super) levels: Targets,
    pub(super) file: Option<PathBuf>,
    pub(super) stderr: bool,
    pub(super) json: bool,
    pub(super) with_context: Pattern,
    pub(super) without_context: Pattern,
    pub(super) debug_suffix: Option<Pattern>,
    pub(super) user_identity: Pattern,
    pub(super) instance: Pattern,
    pub(super) date: OwnedFormatItem,
    pub(super) program: String,
    /// The machine's name, as JSON lines have it.
    pub(super) host: Option<String>,
}

impl Options {
    /// From `[DEFAULT]` of a configuration whose schema has [`OPTIONS`]. `program` names the file when only
    /// `log_dir` is set.
    pub fn from_config(config: &Config, program: &str) -> Result<Self, Error> {
        let group = config.top();
        let file = match (group.path("log_dir"), group.path("log_file")) {
            (Some(dir), Some(file)) => Some(dir.join(file)),
            (Some(dir), None) => Some(dir.join(format!("{program}.log"))),
            (None, file) => file,
        };
        let levels = levels(group.bool("debug"), &group.list("default_log_levels")).map_err(|pair| {
            group.refused(
                "default_log_levels",
                format!("logger=LEVEL pairs separated by commas, but {pair} is none"),
            )
        })?;
        let date = format_description::parse_strftime_owned(&group.text("log_date_format"))
            .map_err(|error| group.refused("log_date_format", format!("a format of strftime ({error})")))?;
        let suffix = "logging_debug_format_suffix";
        Ok(Self {
            levels,
            file,
            stderr: group.bool("use_stderr") || group.bool("use_journal") || group.bool("use_syslog"),
            json: group.bool("use_json"),
            with_context: pattern(group, "logging_context_format_string")?,
            without_context: pattern(group, "logging_default_format_string")?,
            debug_suffix: group.filled(suffix).map(|_| pattern(group, suffix)).transpose()?,
            user_identity: pattern(group, "logging_user_identity_format")?,
            instance: pattern(group, "instance_format")?,
            date,
            program: program.to_owned(),
            host: std::fs::read_to_string("/proc/sys/kernel/hostname")
                .ok()
                .map(|name| name.trim().to_owned()),
        })
    }
}

fn pattern(group: Group<'_>, name: &str) -> Result<Pattern, Error> {
    let refused = || -> Problem {
        group.refused(name, "a format of Python's logging: %(name)s, with %% for a percent sign")
    };
    Pattern::parse(&group.text(name)).ok_or_else(|| refused().into())
}
