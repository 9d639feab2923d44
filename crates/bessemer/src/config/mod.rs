//! The configuration of the service: nova-compute's options, keystoneauth's, oslo's and our own `[bessemer]`.
//!
//! Names, defaults and limits are those of Nova 34.0.0 and its libraries, so that a `nova.conf` is read as nova-compute reads it.
//! Options that Nova knows and this service has no use for are ignored; what neither knows is mentioned in a warning.

mod address;
mod auth;
mod clients;
#[cfg(test)]
mod former;
mod general;
mod groups;
mod keystoneauth;
mod machine;
mod messaging;
mod render;

use oslo::config::{Config, DEFAULT_GROUP, Error, Named, Schema, Sources};

pub use auth::auth;
pub use clients::{
    adapter_options, has_address, required_session, service_user_session, session_options, session_problem,
    session_with,
};
pub use messaging::{notification_url, rabbit_options, transport_url};
pub use render::render;

/// The groups with keystoneauth's options, and the service type that each defaults to.
const SERVICES: &[(&str, &str)] =
    &[("ironic", "baremetal"), ("placement", "placement"), ("neutron", "network"), ("glance", "image")];

/// Every option of the service.
pub fn schema() -> Schema {
    use keystoneauth::{ADAPTER, AUTH, SESSION};

    let mut schema = Schema::new(include_str!("nova-options.txt"))
        .group(DEFAULT_GROUP, &[general::SERVICE, general::COMPUTE, general::MESSAGING, oslo::log::OPTIONS])
        .with_default(DEFAULT_GROUP, "host", machine::host_name())
        .with_default(DEFAULT_GROUP, "my_ip", machine::address())
        .with_default(DEFAULT_GROUP, "default_log_levels", general::log_levels())
        .group("bessemer", &[groups::BESSEMER])
        .group("ironic", &[groups::IRONIC])
        .group("neutron", &[groups::NEUTRON])
        .group("glance", &[groups::GLANCE, groups::GLANCE_SESSION]);
    for (group, service_type) in SERVICES {
        schema =
            schema.group(group, &[SESSION, AUTH, ADAPTER]).with_default(group, "service_type", *service_type);
    }
    schema
        .group("cinder", &[groups::CINDER, SESSION, AUTH])
        .group("service_user", &[groups::SERVICE_USER, SESSION, AUTH])
        .group("api", &[groups::API])
        .group("vendordata_dynamic_auth", &[SESSION, AUTH])
        .group("compute", &[groups::COMPUTE])
        .group("workarounds", &[groups::WORKAROUNDS])
        .group("notifications", &[groups::NOTIFICATIONS])
        .group("filter_scheduler", &[groups::FILTER_SCHEDULER])
        .group("serial_console", &[groups::SERIAL_CONSOLE])
        .group("vnc", &[groups::VNC])
        .group("spice", &[groups::OTHER_CONSOLE])
        .group("mks", &[groups::OTHER_CONSOLE])
        .group("consoleauth", &[groups::CONSOLEAUTH])
        .group("oslo_messaging_rabbit", &[messaging::RABBIT])
        .group("oslo_messaging_notifications", &[messaging::NOTIFICATIONS])
        .follow("auth_section", AUTH)
}

/// Loads what the command line names, or else what nova-compute would find by itself; with the environment.
pub fn load(named: &[Named]) -> Result<Config, Error> {
    Config::load(&Sources::of("nova", "nova-compute", named), &schema())
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn config(text: &str) -> Config {
        try_config(text).unwrap()
    }

    pub(super) fn try_config(text: &str) -> Result<Config, Error> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("nova.conf");
        std::fs::write(&path, text).unwrap();
        Config::load(&Sources { paths: vec![path], ..Sources::default() }, &schema())
    }

    #[test]
    fn every_default_is_allowed() {
        let config = config("");
        assert_eq!(config.warnings, []);
        assert_eq!(config.top().seconds("report_interval").as_secs(), 10);
        assert_eq!(config.top().text("state_path"), "/var/lib/nova");
        assert_eq!(config.group("bessemer").int("admin_port"), 9180);
        assert_eq!(config.group("glance").text("service_type"), "image");
        assert!(!config.top().text("host").is_empty());
    }

    #[test]
    fn options_of_nova_that_are_not_used_are_ignored_in_silence() {
        let config = config(
            "[DEFAULT]\nosapi_compute_workers=2\n[libvirt]\nvirt_type=kvm\n[database]\nconnection=sqlite://\n\
             [neutron_physnet_foo]\nnuma_nodes=1\n[oslo_messaging_rabbit]\nheartbeat_in_pthread=false\n\
             [ironic]\npartition_key=x\n[vnc]\nnovncproxy_port=nowhere\n[upgrade_levels]\ncompute=auto\n\
             [oslo_messaging_notifications]\nretry=soon\n[keystone]\nservice_type=identity\n[neutron]\nphysnets=a\n\
             [DEFAULT]\ngraceful_shutdown_timeout=x\nimage_cache_manager_interval=soon\nreboot_timeout=x\nperiodic_fuzzy_delay=x\n",
        );
        let said: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("conductor_group"));
    }

    #[test]
    fn old_names_of_glance_options_stand_in_other_groups() {
        let config = config("[ssl]\nca_file=/ca.pem\n[glance]\napi_insecure=true\n");
        assert_eq!(config.group("glance").text("cafile"), "/ca.pem");
        assert!(config.group("glance").bool("insecure"));
        assert!(!config.group("ironic").bool("insecure"));
    }

    #[test]
    fn malformed_values_of_nova_options_are_refused() {
        for (text, allowed) in [
            ("[DEFAULT]\nhost=a b\n", "a host name"),
            ("[DEFAULT]\nreport_interval=-1\n", "a whole number, 0 or more"),
            ("[DEFAULT]\nconfig_drive_format=ext4\n", "one of iso9660, vfat"),
            ("[ironic]\nshard=\n", "letters, digits"),
            ("[ironic]\nconductor_group=a b\n", "letters, digits"),
            ("[cinder]\ncatalog_info=volumev3\n", "<type>:<name>:<interface>"),
            ("[bessemer]\nparallel_updates=0\n", "1 or more"),
            ("[oslo_messaging_rabbit]\nrabbit_login_method=plain\n", "one of PLAIN"),
        ] {
            let error = try_config(text).unwrap_err().to_string();
            assert!(error.contains(allowed), "{error}");
        }
    }
}
