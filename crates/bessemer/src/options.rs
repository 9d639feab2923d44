//! The options of each part, from the configuration.

use std::path::{Path, PathBuf};
use std::time::Duration;

use compute::options::{ConfigDriveOptions, ConsoleOptions, CreateOptions, ReapAction, Reaping};
use nova::inventory::{self, ProviderConfig, Rules, records};
use oslo::config::{Config, Error};
use oslo::notify::NotifierOptions;

/// Seconds between looks at the nodes when the configuration says 0.
const PERIOD: Duration = Duration::from_mins(1);

/// An interval of Nova's: negative switches it off, 0 means each period. Without `periodic_enable` there are none.
fn interval(config: &Config, name: &str) -> Option<Duration> {
    if !config.top().bool("periodic_enable") {
        return None;
    }
    match u64::try_from(config.top().int(name)) {
        Ok(0) => Some(PERIOD),
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => None,
    }
}

/// The service's host name.
pub fn host(config: &Config) -> String {
    config.top().text("host")
}

fn state_path(config: &Config) -> PathBuf {
    PathBuf::from(config.top().text("state_path"))
}

/// The driver's patience.
pub fn driver(config: &Config) -> driver::Options {
    let group = config.group("ironic");
    driver::Options {
        api_max_retries: u32::try_from(group.int("api_max_retries")).unwrap_or_default(),
        api_retry_interval: group.seconds("api_retry_interval"),
        patience: Some(config.group("bessemer").seconds("ironic_outage_timeout"))
            .filter(|limit| !limit.is_zero()),
    }
}

/// How the picture of the machines is kept. `version`: the service version that the control plane agreed to.
pub fn reporter(config: &Config, version: i64) -> Result<inventory::Options, String> {
    let ironic = config.group("ironic");
    Ok(inventory::Options {
        host: host(config),
        scope: scope(config),
        shard: ironic.filled("shard"),
        parallel: config.group("bessemer").count("parallel_updates"),
        rules: rules(config, version),
        providers: providers(config)?,
        state_file: state_path(config).join("bessemer").join("inventory.json"),
    })
}

/// How often the machines are published; `None`: once.
pub fn report_interval(config: &Config) -> Option<Duration> {
    interval(config, "update_resources_interval")
}

/// What operators add to the inventories and traits of nodes.
pub fn providers(config: &Config) -> Result<ProviderConfig, String> {
    let folder = config.group("compute").text("provider_config_location");
    ProviderConfig::load(Path::new(&folder)).map_err(|error| error.to_string())
}

/// What of it may change while the service runs.
pub fn scope(config: &Config) -> inventory::Scope {
    let refresh = config.group("compute").seconds("resource_provider_association_refresh");
    let bessemer = config.group("bessemer");
    inventory::Scope {
        conductor_group: config.group("ironic").string("conductor_group"),
        audit_interval: Some(refresh).filter(|interval| !interval.is_zero()),
        max_node_removals: bessemer
            .optional_int("max_node_removals")
            .and_then(|most| usize::try_from(most).ok()),
    }
}

/// The service version from which Nova marks its providers as its own (2026.2).
const OWNER_TRAIT_SINCE: i64 = 74;

fn rules(config: &Config, version: i64) -> Rules {
    let top = config.top();
    let ratio = |name: &str| top.optional_float(&format!("{name}_allocation_ratio"));
    let initial = |name: &str| top.float(&format!("initial_{name}_allocation_ratio"));
    Rules {
        host_ip: top.text("my_ip"),
        reserved_host_cpus: top.int("reserved_host_cpus"),
        reserved_host_memory_mb: top.int("reserved_host_memory_mb"),
        reserved_host_disk_mb: top.int("reserved_host_disk_mb"),
        initial_ratios: ["cpu", "ram", "disk"].map(initial),
        ratios: ["cpu", "ram", "disk"].map(ratio),
        excluded_image_types: config.group("compute").list("image_type_exclude_list"),
        skip_reserve_in_use: config.group("workarounds").bool("skip_reserve_in_use_ironic_nodes"),
        owner_trait: version >= OWNER_TRAIT_SINCE,
    }
}

/// How the compute manager works.
pub fn manager(config: &Config) -> compute::Options {
    let top = config.top();
    compute::Options {
        host: host(config),
        state_path: state_path(config),
        max_concurrent_builds: top.count("max_concurrent_builds"),
        shutdown_timeout: config.top().seconds("shutdown_timeout"),
        heal_interval: interval(config, "heal_instance_info_cache_interval")
            .filter(|_| top.int("heal_instance_info_cache_interval") > 0),
        sync_interval: interval(config, "scheduler_instance_sync_interval")
            .filter(|_| config.group("filter_scheduler").bool("track_instance_changes")),
        consoles: console_limits(config),
        reclaim_after: u64::try_from(top.int("reclaim_instance_interval"))
            .ok()
            .filter(|seconds| *seconds > 0 && top.bool("periodic_enable"))
            .map(Duration::from_secs),
        power_sync_interval: interval(config, "sync_power_state_interval"),
        reaping: reaping(config),
        rescue_timeout: Some(top.seconds("rescue_timeout"))
            .filter(|timeout| !timeout.is_zero() && top.bool("periodic_enable")),
        create: CreateOptions {
            network_retries: u32::try_from(top.int("network_allocate_retries")).unwrap_or_default(),
            access_network: top.filled("default_access_ip_network_name"),
            ephemeral_format: top.filled("default_ephemeral_format"),
            count_failures: config.group("compute").int("consecutive_build_service_disable_threshold") != 0,
            check_group_policy: !config.group("workarounds").bool("disable_group_policy_check_upcall"),
            config_drive: config_drive(config),
        },
    }
}

fn console_limits(config: &Config) -> ConsoleOptions {
    let limit =
        |name: &str| Some(config.group("ironic").seconds(name)).filter(|limit: &Duration| !limit.is_zero());
    ConsoleOptions {
        answer: config.top().seconds("rpc_response_timeout"),
        serial: limit("serial_console_state_timeout"),
        graphical: limit("vnc_console_state_timeout"),
    }
}

/// Which consoles users may reach, and how.
pub fn consoles(config: &Config) -> nova::consoles::Options {
    let is_enabled = |group: &str| config.group(group).bool("enabled");
    let url = |group: &str, name: &str| is_enabled(group).then(|| config.group(group).text(name));
    nova::consoles::Options {
        serial: url("serial_console", "base_url"),
        vnc: url("vnc", "novncproxy_base_url"),
        spice: is_enabled("spice"),
        mks: is_enabled("mks"),
        token_ttl: config.group("consoleauth").seconds("token_ttl"),
        clean_interval: interval(config, "instance_delete_interval"),
    }
}

/// What becomes of the machines of servers that were deleted without us. An interval of 0 is none here.
fn reaping(config: &Config) -> Option<Reaping> {
    let top = config.top();
    let action = match top.text("running_deleted_instance_action").as_str() {
        "noop" => return None,
        "log" => ReapAction::Log,
        "shutdown" => ReapAction::Shutdown,
        _ => ReapAction::Reap,
    };
    let seconds = |name: &str| u64::try_from(top.int(name)).unwrap_or_default();
    let interval = Some(seconds("running_deleted_instance_poll_interval"));
    let interval = interval.filter(|seconds| *seconds > 0 && top.bool("periodic_enable"))?;
    let timeout = Duration::from_secs(seconds("running_deleted_instance_timeout"));
    Some(Reaping { interval: Duration::from_secs(interval), timeout, action })
}

fn config_drive(config: &Config) -> ConfigDriveOptions {
    let (top, api) = (config.top(), config.group("api"));
    ConfigDriveOptions {
        force: top.bool("force_config_drive"),
        format: match top.text("config_drive_format").as_str() {
            "vfat" => configdrive::Format::Vfat,
            _ => configdrive::Format::Iso9660,
        },
        publisher: concat!("Bessemer ", env!("CARGO_PKG_VERSION")).to_owned(),
        dhcp_domain: api.text("dhcp_domain"),
        skip_versions: api.text("config_drive_skip_versions").split_whitespace().map(str::to_owned).collect(),
        // Nova's default template is always there; only a file of the operator's own can be missing.
        inject_network: true,
    }
}

/// How the service reports to the control plane.
pub fn service(config: &Config) -> nova::service::Options {
    nova::service::Options {
        host: host(config),
        report_interval: config
            .top()
            .optional_seconds("report_interval")
            .filter(|interval| !interval.is_zero()),
        tolerate_old_computes: config.group("workarounds").bool("disable_compute_service_check_for_ffu"),
    }
}

/// After what silence a service is down. As in stock (`nova/servicegroup/api.py`), more than the time between two reports.
pub fn service_down_time(config: &Config) -> Duration {
    let (down, report) = (config.top().int("service_down_time"), config.top().int("report_interval"));
    let seconds = if down <= report { report.saturating_mul(5) / 2 } else { down };
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

/// Which services share the nodes.
pub fn records(config: &Config) -> records::Options {
    let ironic = config.group("ironic");
    let sharded = ironic.is_set("shard");
    records::Options {
        host: host(config),
        service_down_time: service_down_time(config),
        sharded,
        peers: (ironic.is_set("conductor_group") && !sharded).then(|| ironic.list("peer_list")),
    }
}

/// What is announced.
pub fn announcer(config: &Config) -> nova::announcer::Options {
    nova::announcer::Options {
        host: host(config),
        track_instance_changes: config.group("filter_scheduler").bool("track_instance_changes"),
        instance_name_template: config.top().text("instance_name_template"),
    }
}

/// How networks are described.
pub fn networks(config: &Config) -> services::network::Options {
    services::network::Options {
        extension_sync: config.group("neutron").seconds("extension_sync_interval"),
        ovs_bridge: config.group("neutron").text("ovs_bridge"),
        flat_injected: config.top().bool("flat_injected"),
    }
}

/// How volumes are attached.
pub fn volumes(config: &Config) -> services::volumes::Options {
    let top = config.top();
    services::volumes::Options {
        cross_az_attach: config.group("cinder").bool("cross_az_attach"),
        allocate_retries: u32::try_from(top.int("block_device_allocate_retries")).unwrap_or_default(),
        allocate_interval: top.seconds("block_device_allocate_retries_interval"),
    }
}

/// What the operator adds to the metadata of every server.
pub fn vendor_data(config: &Config) -> services::vendor_data::Options {
    let api = config.group("api");
    let providers = api.list("vendordata_providers");
    let has = |name: &str| providers.iter().any(|provider| provider == name);
    services::vendor_data::Options {
        fixed: has("StaticJSON"),
        file: api.path("vendordata_jsonfile_path"),
        dynamic: has("DynamicJSON"),
        targets: configdrive::vendordata::Target::parse_all(
            api.list("vendordata_dynamic_targets").iter().map(String::as_str),
        ),
        failure_fatal: api.bool("vendordata_dynamic_failure_fatal"),
    }
}

/// Where notifications about instances go; `None` when the operator switched them off.
pub fn notifier(config: &Config) -> Result<Option<NotifierOptions>, Error> {
    let group = config.group("oslo_messaging_notifications");
    let versioned = config.group("notifications").text("notification_format") != "unversioned";
    let names = group.list("driver");
    if !versioned || names.is_empty() {
        return Ok(None);
    }
    let drivers: Option<_> = names.iter().map(|name| oslo::notify::Driver::parse(name)).collect();
    let drivers = drivers
        .ok_or_else(|| group.refused("driver", "messagingv2, messaging, log or noop, each on a line"))?;
    Ok(Some(NotifierOptions {
        drivers,
        topics: config.group("notifications").list("versioned_notifications_topics"),
        ..NotifierOptions::new(&host(config))
    }))
}

/// How long calls to the conductor wait.
pub fn conductor(config: &Config) -> nova::conductor::Options {
    nova::conductor::Options {
        timeout: config.top().seconds("rpc_response_timeout"),
        ..nova::conductor::Options::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::config;

    #[test]
    fn a_service_is_not_down_between_two_reports() {
        for (text, seconds) in [
            ("", 60),
            ("report_interval = 60\n", 150),
            ("report_interval = 25\nservice_down_time = 20\n", 62),
            ("report_interval = 0\nservice_down_time = 0\n", 0),
        ] {
            let config = config(&format!("[DEFAULT]\n{text}"));
            assert_eq!(records(&config).service_down_time.as_secs(), seconds, "{text}");
        }
    }

    #[test]
    fn nothing_runs_periodically_without_periodic_enable() {
        let intervals = |text: &str| {
            let config =
                config(&format!("[DEFAULT]\n{text}\n[compute]\nprovider_config_location = /nonexistent\n"));
            (report_interval(&config), manager(&config).sync_interval)
        };
        assert_eq!(intervals(""), (Some(PERIOD), Some(Duration::from_mins(2))));
        assert_eq!(intervals("periodic_enable = false"), (None, None));
        assert_eq!(intervals("update_resources_interval = -1"), (None, Some(Duration::from_mins(2))));
    }

    #[test]
    fn network_information_is_healed_only_with_an_interval() {
        for (text, seconds) in [("", None), ("0", None), ("-1", None), ("90", Some(90))] {
            let text = if text.is_empty() {
                String::new()
            } else {
                format!("heal_instance_info_cache_interval = {text}")
            };
            let config = config(&format!("[DEFAULT]\n{text}\n"));
            assert_eq!(manager(&config).heal_interval, seconds.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn an_interval_of_0_means_no_reports() {
        let interval = |text: &str| service(&config(&format!("[DEFAULT]\n{text}"))).report_interval;
        assert_eq!(interval("report_interval = 0\n"), None);
        assert_eq!(interval(""), Some(Duration::from_secs(10)));
    }

    #[test]
    fn a_reload_takes_how_many_nodes_may_be_removed() {
        let old = config("");
        assert_eq!(scope(&old).max_node_removals, None);
        let (next, changes) = old.mutated(&config("[bessemer]\nmax_node_removals = 57\n"));
        assert_eq!(scope(&next).max_node_removals, Some(57));
        assert!(changes.iter().all(|change| change.mutable));
    }

    #[test]
    fn a_reload_takes_the_peers_and_leaves_the_shard_to_the_next_start() {
        let old = config("[ironic]\nconductor_group = a\npeer_list = h1\n");
        let fresh =
            config("[DEFAULT]\nhost = other\n[ironic]\nconductor_group = b\npeer_list = h1,h2\nshard = s\n");
        let (next, changes) = old.mutated(&fresh);
        let records = records(&next);
        assert_eq!((records.sharded, records.host), (false, host(&old)));
        assert_eq!(records.peers, Some(vec!["h1".to_owned(), "h2".to_owned()]));
        assert_eq!(scope(&next).conductor_group.as_deref(), Some("b"));
        let restart: Vec<_> =
            changes.iter().filter(|change| !change.mutable).map(|change| &*change.name).collect();
        assert_eq!(restart, ["host", "shard"]);
    }
}
