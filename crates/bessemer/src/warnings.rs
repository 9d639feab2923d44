//! Warnings about a configuration that can be used: unknown and former names, adjusted values, TLS without verification.

use oslo::config::{Config, DEFAULT_GROUP};
use oslo::rpc::TransportUrl;

use crate::{config, options};

/// The groups whose connections may use HTTPS.
const HTTPS: [&str; 7] =
    ["ironic", "placement", "neutron", "glance", "cinder", "service_user", "vendordata_dynamic_auth"];

/// Every warning, for the log at the start and for `bessemer config`.
pub fn warnings(config: &Config) -> Vec<String> {
    let mut found: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    found.extend(down_time(config));
    let url = config::transport_url(config).ok();
    found.extend(url.and_then(|url| unverified_broker(config, DEFAULT_GROUP, &url)));
    let group = "oslo_messaging_notifications";
    let url = config::notification_url(config).ok().flatten();
    found.extend(url.and_then(|url| unverified_broker(config, group, &url)));
    found.extend(HTTPS.iter().filter_map(|group| unverified_https(config, group)));
    found
}

fn down_time(config: &Config) -> Option<String> {
    let (set, used) = (config.top().int("service_down_time"), options::service_down_time(config).as_secs());
    (u64::try_from(set) != Ok(used)).then(|| {
        format!(
            "[DEFAULT] service_down_time = {set} is not greater than report_interval; {used}, 2.5 times report_interval, \
             is used instead"
        )
    })
}

/// The bus of a group's `transport_url`. Like oslo.messaging, which verifies nothing without a CA file.
fn unverified_broker(config: &Config, group: &str, url: &TransportUrl) -> Option<String> {
    let options = config::rabbit_options(config).ok()?.for_url(url).ok()?;
    (options.ssl && options.ssl_ca_file.is_none()).then(|| {
        format!(
            "the broker of [{group}] transport_url is used with TLS, but its certificate is not verified, so that an impostor \
             would get the password: set [oslo_messaging_rabbit] ssl_ca_file"
        )
    })
}

fn unverified_https(config: &Config, group: &str) -> Option<String> {
    let set = config.group(group).entry("insecure").filter(|_| config.group(group).bool("insecure"))?;
    Some(format!(
        "{}: [{group}] insecure = true: certificates are not verified, so that an impostor would get the credentials: set \
         [{group}] cafile instead",
        set.source()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::config;

    #[test]
    fn a_configuration_that_is_all_right_has_no_warning() {
        for text in [
            "",
            "[oslo_messaging_rabbit]\nssl = true\nssl_ca_file = /ca.pem\n",
            "[ironic]\ncafile = /ca.pem\n",
        ] {
            assert_eq!(warnings(&config(text)), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn tls_without_verification_is_named_with_the_remedy() {
        for (text, part) in [
            ("[oslo_messaging_rabbit]\nssl = true\n", "[DEFAULT] transport_url is used with TLS"),
            (
                "[DEFAULT]\ntransport_url = rabbit://u:hunter2@h/?ssl=1\n",
                "set [oslo_messaging_rabbit] ssl_ca_file",
            ),
            (
                "[oslo_messaging_notifications]\ntransport_url = rabbit://u:hunter2@h/?ssl=1\n",
                "[oslo_messaging_notifications] transport_url is",
            ),
            ("[neutron]\ninsecure = true\n", "nova.conf:2: [neutron] insecure = true"),
            ("[cinder]\ninsecure = true\n", "set [cinder] cafile"),
        ] {
            let said = warnings(&config(text));
            let [warning] = said.as_slice() else { panic!("{text}: {said:?}") };
            assert!(warning.contains(part) && !warning.contains("hunter2"), "{warning}");
        }
        let both = "[DEFAULT]\ntransport_url = rabbit://u:p@h/?ssl_ca_file=/ca.pem\n[oslo_messaging_rabbit]\nssl = true\n";
        assert_eq!(warnings(&config(both)), Vec::<String>::new());
    }

    /// A file of 2024.2: before, the old names were passed over, and the password went to whoever answered.
    #[test]
    fn the_former_names_of_tls_options_verify_the_broker() {
        let config = config(
            "[oslo_messaging_rabbit]\nrabbit_use_ssl = true\nkombu_ssl_ca_certs = /ca.pem\nkombu_ssl_certfile = /c.pem\n\
             kombu_ssl_keyfile = /k.pem\nkombu_ssl_version = TLSv1_2\n",
        );
        let options = config::rabbit_options(&config).unwrap();
        let files = [options.ssl_ca_file, options.ssl_cert_file, options.ssl_key_file];
        assert!(options.ssl && options.ssl_version.is_some());
        assert_eq!(files, ["/ca.pem", "/c.pem", "/k.pem"].map(|file| Some(file.into())));
        let said = warnings(&config);
        assert!(
            said.len() == 5 && said.iter().all(|warning| warning.contains("is the old name of")),
            "{said:?}"
        );
    }

    #[test]
    fn a_down_time_that_is_adjusted_is_named() {
        let said = warnings(&config("[DEFAULT]\nreport_interval = 60\n"));
        assert!(said[0].contains("150"), "{said:?}");
    }
}
