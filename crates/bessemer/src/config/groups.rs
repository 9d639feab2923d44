//! The options of the groups beside `[DEFAULT]` (`nova/conf/*.py`).

use oslo::config::{Item, Kind, Opt};

/// Options that used to stand in `[DEFAULT]` under the same name.
const IN_DEFAULT: &[(&str, &str)] = &[("DEFAULT", "")];

/// Our own.
pub(super) const BESSEMER: &[Opt] = &[
    // Where metrics, health and the list of operations are served; port 0 switches it off.
    Opt::string("admin_host").default("127.0.0.1"),
    Opt::new("admin_port", Kind::Int { min: Some(0), max: Some(65535) }).default("9180"),
    // How many nodes' inventories are written to Placement and the conductor at once.
    // How many seconds an operation waits for an Ironic that cannot be reached; 0: as long as it takes.
    Opt::int_from("ironic_outage_timeout", 0).default("0"),
    Opt::int_from("parallel_updates", 1).default("8"),
    // How many nodes may be missing from one list of Ironic's that is believed.
    Opt::int_from("max_node_removals", 0).mutable(),
];

pub(super) const IRONIC: &[Opt] = &[
    Opt::int("api_max_retries").default("60"),
    Opt::int("api_retry_interval").default("2"),
    Opt::new(
        "conductor_group",
        Kind::Checked { allowed: "letters, digits, '-', '_' and '.', or empty", check: is_label_or_empty },
    )
    .deprecated(&[("", "partition_key")])
    .mutable(),
    Opt::new("shard", Kind::Checked { allowed: "letters, digits, '-', '_' and '.'", check: is_label }),
    Opt::list("peer_list").default("").mutable(),
    Opt::int_from("serial_console_state_timeout", 0).default("10"),
    Opt::int_from("vnc_console_state_timeout", 0).default("60"),
];

pub(super) const NEUTRON: &[Opt] = &[
    Opt::string("ovs_bridge").default("br-int"),
    Opt::int("extension_sync_interval").default("600"),
    Opt::int("http_retries").default("3"),
];

pub(super) const GLANCE: &[Opt] = &[Opt::list("api_servers"), Opt::int("num_retries").default("3")];

/// keystoneauth's session options that have old names in this group.
pub(super) const GLANCE_SESSION: &[Opt] = &[
    Opt::string("cafile").deprecated(&[("ssl", "ca_file")]),
    Opt::string("certfile").deprecated(&[("ssl", "cert_file")]),
    Opt::string("keyfile").deprecated(&[("ssl", "key_file")]),
    Opt::bool("insecure").default("false").deprecated(&[("glance", "api_insecure")]),
];

pub(super) const CINDER: &[Opt] = &[
    Opt::new("catalog_info", Kind::Checked { allowed: "<type>:<name>:<interface>", check: is_catalog_info })
        .default("volumev3::publicURL"),
    Opt::string("endpoint_template"),
    Opt::string("os_region_name"),
    Opt::int("http_retries").default("3"),
    Opt::bool("cross_az_attach").default("true"),
];

pub(super) const SERVICE_USER: &[Opt] = &[Opt::bool("send_service_user_token").default("false")];

/// What the config drive needs. Up to Nova 33 these could still stand in `[DEFAULT]`.
pub(super) const API: &[Opt] = &[
    Opt::string("dhcp_domain").default("novalocal").deprecated(IN_DEFAULT),
    Opt::string("config_drive_skip_versions")
        .default("1.0 2007-01-19 2007-03-01 2007-08-29 2007-10-10 2007-12-15 2008-02-01 2008-09-01")
        .deprecated(IN_DEFAULT),
    Opt::new("vendordata_providers", Kind::List(Item::Choice(&["StaticJSON", "DynamicJSON"])))
        .default("StaticJSON")
        .deprecated(IN_DEFAULT),
    Opt::string("vendordata_jsonfile_path").deprecated(IN_DEFAULT),
    Opt::list("vendordata_dynamic_targets").default("").deprecated(IN_DEFAULT),
    Opt::string("vendordata_dynamic_ssl_certfile").default("").deprecated(IN_DEFAULT),
    Opt::int_from("vendordata_dynamic_connect_timeout", 3).default("5").deprecated(IN_DEFAULT),
    Opt::int("vendordata_dynamic_read_timeout").default("5").deprecated(IN_DEFAULT),
    Opt::bool("vendordata_dynamic_failure_fatal").default("false"),
];

pub(super) const COMPUTE: &[Opt] = &[
    Opt::int("consecutive_build_service_disable_threshold").default("10"),
    Opt::int("resource_provider_association_refresh").default("300").mutable(),
    Opt::string("provider_config_location").default("/etc/nova/provider_config/"),
    Opt::list("image_type_exclude_list").default(""),
    Opt::int_from("max_disk_devices_to_attach", -1).default("-1"),
];

pub(super) const WORKAROUNDS: &[Opt] = &[
    Opt::bool("skip_reserve_in_use_ironic_nodes").default("false"),
    Opt::bool("disable_group_policy_check_upcall").default("false"),
    Opt::bool("disable_compute_service_check_for_ffu").default("false"),
];

pub(super) const NOTIFICATIONS: &[Opt] = &[
    Opt::choice("notification_format", &["both", "versioned", "unversioned"])
        .default("unversioned")
        .deprecated(IN_DEFAULT),
    Opt::list("versioned_notifications_topics").default("versioned_notifications"),
];

pub(super) const FILTER_SCHEDULER: &[Opt] = &[Opt::bool("track_instance_changes").default("true")];

pub(super) const SERIAL_CONSOLE: &[Opt] =
    &[Opt::bool("enabled").default("false"), Opt::string("base_url").default("ws://127.0.0.1:6083/")];

pub(super) const VNC: &[Opt] = &[
    Opt::bool("enabled").default("true").deprecated(&[("DEFAULT", "vnc_enabled")]),
    Opt::string("novncproxy_base_url").default("http://127.0.0.1:6080/vnc_auto.html").deprecated(IN_DEFAULT),
];

/// Kinds of consoles that Ironic does not have.
pub(super) const OTHER_CONSOLE: &[Opt] = &[Opt::bool("enabled").default("false")];

pub(super) const CONSOLEAUTH: &[Opt] =
    &[Opt::int_from("token_ttl", 0).default("600").deprecated(&[("DEFAULT", "console_token_ttl")])];

/// `^[a-zA-Z0-9_.-]*$`
fn is_label_or_empty(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// `^[a-zA-Z0-9_.-]+$`
fn is_label(text: &str) -> bool {
    !text.is_empty() && is_label_or_empty(text)
}

/// `^[\w-]+:\w*:.*$`
fn is_catalog_info(text: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let mut parts = text.splitn(3, ':');
    let (service_type, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    parts.next().is_some()
        && !service_type.is_empty()
        && service_type.chars().all(|c| word(c) || c == '-')
        && name.chars().all(word)
}
