//! keystoneauth's option sets, which stand in the group of each service (`keystoneauth1/loading`).

use oslo::config::{Item, Kind, Opt};

/// How connections are made.
pub(super) const SESSION: &[Opt] = &[
    Opt::string("cafile"),
    Opt::string("certfile"),
    Opt::string("keyfile"),
    Opt::bool("insecure").default("false"),
    Opt::float("timeout"),
];

/// Who we are: the options of all the ways to authenticate that are supported.
pub(super) const AUTH: &[Opt] = &[
    Opt::string("auth_type").deprecated(&[("", "auth_plugin")]),
    Opt::string("auth_section"),
    Opt::string("auth_url"),
    Opt::string("username").deprecated(&[("", "user-name"), ("", "user_name")]),
    Opt::string("user_id"),
    Opt::string("user_domain_name"),
    Opt::string("user_domain_id"),
    Opt::string("password").secret(),
    Opt::string("project_name").deprecated(&[("", "tenant-name"), ("", "tenant_name")]),
    Opt::string("project_id").deprecated(&[("", "tenant-id"), ("", "tenant_id")]),
    Opt::string("project_domain_name"),
    Opt::string("project_domain_id"),
    Opt::string("domain_name"),
    Opt::string("domain_id"),
    Opt::string("default_domain_name"),
    Opt::string("default_domain_id"),
    Opt::string("system_scope"),
    Opt::string("trust_id"),
    Opt::string("application_credential_id"),
    Opt::string("application_credential_name"),
    Opt::string("application_credential_secret").secret(),
    Opt::string("token").secret(),
    Opt::string("endpoint"),
];

/// Where the service is. `service_type` has another default in each group.
pub(super) const ADAPTER: &[Opt] = &[
    Opt::string("service_type"),
    Opt::string("service_name"),
    Opt::list("valid_interfaces").default("internal,public"),
    Opt::string("region_name"),
    Opt::string("endpoint_override"),
    Opt::int("connect_retries"),
    Opt::float("connect_retry_delay"),
    Opt::int("status_code_retries"),
    Opt::float("status_code_retry_delay"),
    Opt::new("retriable_status_codes", Kind::List(Item::Int)),
];
