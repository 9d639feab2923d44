//! The options in `[DEFAULT]`: the service, the compute manager, messaging (`nova/conf/{base,compute,netconf,service,rpc}.py`,
//! oslo.messaging, oslo.service).

use oslo::config::{Kind, Opt};

/// The service as such.
pub(super) const SERVICE: &[Opt] = &[
    Opt::string("compute_driver"),
    Opt::new(
        "host",
        Kind::Checked { allowed: "a host name: letters, digits, '-', '_' and '.'", check: is_host },
    ),
    Opt::string("my_ip"),
    // Stock's default is the directory of its package; every distribution sets this one.
    Opt::string("state_path").default("/var/lib/nova"),
    Opt::int_from("report_interval", 0).default("10"),
    Opt::int("service_down_time").default("60"),
    Opt::choice("servicegroup_driver", &["db", "mc"]).default("db"),
    Opt::bool("periodic_enable").default("true"),
];

/// What the compute manager does, and how often.
pub(super) const COMPUTE: &[Opt] = &[
    Opt::string("instance_name_template").default("instance-%08x"),
    Opt::int("max_concurrent_builds").default("10"),
    Opt::int("network_allocate_retries").default("0"),
    Opt::int("block_device_allocate_retries").default("60"),
    Opt::int("block_device_allocate_retries_interval").default("3"),
    Opt::string("default_access_ip_network_name"),
    Opt::string("default_ephemeral_format"),
    Opt::bool("force_config_drive").default("false"),
    Opt::choice("config_drive_format", &["iso9660", "vfat"]).default("iso9660"),
    Opt::bool("flat_injected").default("false"),
    Opt::int("reserved_host_cpus").default("0"),
    Opt::int("reserved_host_memory_mb").default("512"),
    Opt::int("reserved_host_disk_mb").default("0"),
    Opt::float("cpu_allocation_ratio"),
    Opt::float("ram_allocation_ratio"),
    Opt::float("disk_allocation_ratio"),
    Opt::float("initial_cpu_allocation_ratio").default("4.0"),
    Opt::float("initial_ram_allocation_ratio").default("1.0"),
    Opt::float("initial_disk_allocation_ratio").default("1.0"),
    Opt::int("update_resources_interval").default("0"),
    Opt::int("scheduler_instance_sync_interval").default("120"),
    Opt::int("heal_instance_info_cache_interval").default("-1"),
    Opt::int_from("shutdown_timeout", 0).default("60"),
    Opt::int_from("rescue_timeout", 0).default("0"),
    Opt::int("reclaim_instance_interval").default("0"),
    Opt::int("instance_delete_interval").default("300"),
    Opt::int("sync_power_state_interval").default("600"),
    Opt::choice("running_deleted_instance_action", &["reap", "log", "shutdown", "noop"]).default("reap"),
    Opt::int("running_deleted_instance_poll_interval").default("1800"),
    Opt::int("running_deleted_instance_timeout").default("0"),
];

/// What passes between the services.
pub(super) const MESSAGING: &[Opt] = &[
    Opt::string("transport_url").default("rabbit://").secret_url(),
    Opt::string("control_exchange").default("nova"),
    Opt::int("rpc_response_timeout").default("60"),
    Opt::bool("rpc_ping_enabled").default("false"),
];

/// oslo.log's `default_log_levels` with what Nova adds (`nova/config.py: set_log_defaults`).
pub(super) fn log_levels() -> String {
    format!("{},glanceclient=WARN,oslo.privsep.daemon=INFO", oslo::log::DEFAULT_LOG_LEVELS)
}

/// `oslo_config.types.HostDomain`: an address, or a name whose labels have 1 to 63 letters, digits, `-` and `_`, no `-` at an end.
fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_name = text.len() <= 253
        && last.bytes().any(|b| b.is_ascii_alphabetic() || b == b'-')
        && name.split('.').all(label);
    is_name || text.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_those_that_oslo_config_takes() {
        for host in ["a", "compute-1", "c_1.example.org", "192.0.2.1", "::1", "example.org.", "1.2.x"] {
            assert!(is_host(host), "{host}");
        }
        for host in ["", "a b", "-a", "a-.b", "1.2.3", "a..b", "a/b"] {
            assert!(!is_host(host), "{host}");
        }
    }
}
