//! Checks a configuration before anything starts, and reports every problem at once: at the start of `bessemer compute`,
//! when it reads the configuration again, and in `bessemer config`.

use std::net::ToSocketAddrs;

use oslo::config::{Config, Error, Problem};

use crate::clients::Clients;
use crate::{config, options};

/// All that is wrong, with file, line, option and what is allowed.
pub fn validate(config: &Config) -> Result<(), Error> {
    let mut problems = service(config);
    let mut keep = |result: Result<(), Error>| {
        if let Err(mut error) = result {
            problems.append(&mut error.problems);
        }
    };
    keep(oslo::log::Options::from_config(config, "nova-compute").map(drop));
    keep(config::transport_url(config).map(drop));
    keep(config::notification_url(config).map(drop));
    keep(config::rabbit_options(config).map(drop));
    keep(options::notifier(config).map(drop));
    keep(Clients::new(config).map(drop));
    if problems.is_empty() { Ok(()) } else { Err(Error { problems }) }
}

/// What this release cannot do as Nova would.
fn service(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    let (top, ironic, compute) = (config.top(), config.group("ironic"), config.group("compute"));
    // Nova imports what the option names below `nova.virt`: the module says the same as its package.
    if !["ironic.IronicDriver", "ironic.driver.IronicDriver"].contains(&top.text("compute_driver").as_str()) {
        let allowed = "ironic.IronicDriver, of which alone Bessemer takes the place; set it to that";
        problems.push(top.refused("compute_driver", allowed));
    }
    if top.text("servicegroup_driver") != "db" {
        let allowed = "db: Bessemer reports to the database alone, and Nova would look elsewhere; set it to db for all of \
                       Nova's services";
        problems.push(top.refused("servicegroup_driver", allowed));
    }
    if compute.int("max_disk_devices_to_attach") == 0 {
        problems.push(
            compute.refused("max_disk_devices_to_attach", "-1 or more than 0: no server could be built"),
        );
    }
    let own = options::host(config);
    if ironic.is_set("conductor_group") && !ironic.is_set("shard") && !ironic.list("peer_list").contains(&own)
    {
        problems
            .push(ironic.refused("peer_list", format!("a list with this service's own host {own:?} in it")));
    }
    if let Err(remedy) = options::providers(config) {
        problems.push(compute.missing("provider_config_location", remedy));
    }
    problems.extend(admin_host(config));
    problems
}

fn admin_host(config: &Config) -> Option<Problem> {
    let group = config.group("bessemer");
    let host = group.text("admin_host");
    let known = group.int("admin_port") == 0
        || (host.as_str(), 0).to_socket_addrs().is_ok_and(|mut addresses| addresses.next().is_some());
    (!known).then(|| {
        group.refused("admin_host", "an address or a name of this machine, like 127.0.0.1 or localhost")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A configuration that can be used, with more.
    fn refused(more: &str) -> Vec<String> {
        let none =
            |group: &str| format!("[{group}]\nauth_type = none\nendpoint_override = http://127.0.0.1:1\n");
        let text = format!(
            "[DEFAULT]\ncompute_driver = ironic.IronicDriver\nhost = here\n\
             transport_url = rabbit://u:p@h/\n{}{}{}{more}\n",
            none("ironic"),
            none("placement"),
            none("neutron"),
        );
        let folder = tempfile::tempdir().unwrap();
        let provider = format!("[compute]\nprovider_config_location = {}\n", folder.path().display());
        let checked = validate(&config::tests::config(&format!("{text}{provider}")));
        checked
            .err()
            .map(|error| error.problems.iter().map(ToString::to_string).collect())
            .unwrap_or_default()
    }

    #[test]
    fn what_can_be_used_is_not_refused() {
        assert_eq!(refused(""), Vec::<String>::new());
        assert_eq!(refused("[DEFAULT]\ncompute_driver = ironic.driver.IronicDriver"), Vec::<String>::new());
        assert_eq!(refused("[bessemer]\nadmin_host = localhost"), Vec::<String>::new());
        assert_eq!(refused("[ironic]\nconductor_group = g\npeer_list = here,there"), Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_used_is_named_with_file_line_and_what_is_allowed() {
        for (more, option, allowed) in [
            (
                "[DEFAULT]\ncompute_driver = libvirt.LibvirtDriver",
                "[DEFAULT] compute_driver = libvirt",
                "set it to that",
            ),
            ("[DEFAULT]\nservicegroup_driver = mc", "[DEFAULT] servicegroup_driver = mc", "set it to db"),
            ("[DEFAULT]\ndefault_log_levels = a", "[DEFAULT] default_log_levels = a", "logger=LEVEL"),
            ("[DEFAULT]\ntransport_url = kafka://h", "[DEFAULT] transport_url = kafka://h", "rabbit://"),
            (
                "[compute]\nmax_disk_devices_to_attach = 0",
                "[compute] max_disk_devices_to_attach = 0",
                "-1 or",
            ),
            ("[ironic]\nconductor_group = g\npeer_list = there", "[ironic] peer_list = there", "\"here\""),
            ("[bessemer]\nadmin_host = no host", "[bessemer] admin_host = no host", "localhost"),
            ("[ironic]\nendpoint_override = ironic", "[ironic] endpoint_override = ironic", "http://"),
            (
                "[notifications]\nnotification_format = versioned\n[oslo_messaging_notifications]\ndriver = pigeon",
                "[oslo_messaging_notifications] driver = pigeon",
                "messagingv2",
            ),
        ] {
            let problems = refused(more);
            let [problem] = problems.as_slice() else { panic!("{more}: {problems:?}") };
            assert!(problem.contains("nova.conf:"), "{problem}");
            assert!(problem.contains(option) && problem.contains(allowed), "{problem}");
        }
    }

    #[test]
    fn everything_is_told_at_once() {
        let problems = refused(
            "[DEFAULT]\nservicegroup_driver = mc\n[neutron]\nauth_type = kerberos\n[glance]\ncafile = /no/ca",
        );
        assert_eq!(problems.len(), 3, "{problems:?}");
    }
}
