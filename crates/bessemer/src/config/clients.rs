//! The clients' options: how to connect to and find each service, from its group.

use openstack::{AdapterOptions, Auth, Interface, RetryOptions, SessionOptions};
use oslo::config::{Config, Error, Group, Problem};

use super::address::{address, is_address};
use super::auth::{AUTH_TYPES, auth, auth_section, needs};

/// The session of a group; `None` when it says not how to authenticate.
pub fn session_options(config: &Config, group: &str) -> Result<Option<SessionOptions>, Error> {
    Ok(auth(config, group)?.map(|auth| session_with(config, group, auth)))
}

/// The session of a group that authenticates this way.
pub fn session_with(config: &Config, group: &str, auth: Auth) -> SessionOptions {
    let group = config.group(group);
    SessionOptions {
        cafile: group.path("cafile"),
        certfile: group.path("certfile"),
        keyfile: group.path("keyfile"),
        insecure: group.bool("insecure"),
        timeout: group.optional_seconds("timeout"),
        ..SessionOptions::new(auth)
    }
}

/// What is wrong with the options of a group that no session could be made of.
pub fn session_problem(config: &Config, group: &str, error: &openstack::Error) -> Problem {
    match error {
        openstack::Error::Invalid { field: "auth_url", message } => config
            .group(&auth_section(config, group))
            .refused("auth_url", format!("Keystone's address: {message}")),
        openstack::Error::Invalid { field, message } => {
            config.group(group).refused(field, format!("a file that can be used: {message}"))
        }
        other => config.group(group).missing("auth_type", other.to_string()),
    }
}

/// That a service which is in no catalog has an address.
pub fn has_address(config: &Config, group: &str, auth: &Auth, adapter: &AdapterOptions) -> Result<(), Error> {
    let (Auth::None { endpoint } | Auth::HttpBasic { endpoint, .. }) = auth else { return Ok(()) };
    if endpoint.is_some() || adapter.endpoint_override.is_some() {
        return Ok(());
    }
    let section = auth_section(config, group);
    let needs = needs(config.group(&section));
    let remedy = format!("is not set, and {needs}, for there is no catalog; set it to the service's address");
    Err(config.group(group).missing("endpoint_override", remedy).into())
}

/// The session of a group that cannot do without.
pub fn required_session(config: &Config, group: &str) -> Result<SessionOptions, Error> {
    session_options(config, group)?.ok_or_else(|| {
        let remedy = format!("is not set; set it to one of {AUTH_TYPES}, with the options that it needs");
        config.group(group).missing("auth_type", remedy).into()
    })
}

/// The service user's session, when its token is to be sent with users' tokens.
pub fn service_user_session(config: &Config) -> Result<Option<SessionOptions>, Error> {
    let group = "service_user";
    config.group(group).bool("send_service_user_token").then(|| required_session(config, group)).transpose()
}

/// Where the service of a group is.
pub fn adapter_options(config: &Config, group: &str) -> Result<AdapterOptions, Error> {
    let group = config.group(group);
    if group.name() == "cinder" {
        return cinder(group);
    }
    let interfaces: Option<Vec<_>> =
        group.list("valid_interfaces").iter().map(|name| Interface::parse(name)).collect();
    let interfaces = interfaces.filter(|interfaces| !interfaces.is_empty()).ok_or_else(|| {
        group.refused("valid_interfaces", "some of internal, public, admin, separated by commas")
    })?;
    // Neutron's and Glance's clients have an option of their own for it.
    let own_retries = match group.name() {
        "neutron" => Some("http_retries"),
        "glance" => Some("num_retries"),
        _ => None,
    };
    let connect_retries = retries(group, "connect_retries")?;
    let own_retries = own_retries.map(|name| retries(group, name)).transpose()?.flatten();
    let endpoint = address(group, "endpoint_override")?;
    let api_server = if group.name() == "glance" { api_server(group)? } else { None };
    Ok(AdapterOptions {
        service_type: group.filled("service_type"),
        service_name: group.filled("service_name"),
        interfaces,
        region_name: group.filled("region_name"),
        endpoint_override: api_server.or(endpoint),
        retry: RetryOptions {
            connect_retries: connect_retries.or(own_retries),
            connect_retry_delay: group.optional_seconds("connect_retry_delay"),
            status_code_retries: retries(group, "status_code_retries")?,
            status_code_retry_delay: group.optional_seconds("status_code_retry_delay"),
            retriable_status_codes: status_codes(group)?,
        },
    })
}

/// `[cinder]` has options of its own instead of an adapter's (`nova/volume/cinder.py`).
fn cinder(group: Group<'_>) -> Result<AdapterOptions, Error> {
    let catalog = group.text("catalog_info");
    let mut parts = catalog.splitn(3, ':').map(|part| Some(part.to_owned()).filter(|part| !part.is_empty()));
    let (service_type, service_name, interface) = (parts.next(), parts.next(), parts.next());
    let interface = interface.flatten().and_then(|name| Interface::parse(&name)).ok_or_else(|| {
        group.refused("catalog_info", "<type>:<name>:<interface> with publicURL, internalURL or adminURL")
    })?;
    Ok(AdapterOptions {
        service_type: service_type.flatten(),
        service_name: service_name.flatten(),
        interfaces: vec![interface],
        region_name: group.filled("os_region_name"),
        endpoint_override: address(group, "endpoint_template")?,
        retry: RetryOptions { connect_retries: retries(group, "http_retries")?, ..RetryOptions::default() },
    })
}

/// The first of Glance's servers, all of which must be addresses.
fn api_server(group: Group<'_>) -> Result<Option<String>, Error> {
    let servers = group.list("api_servers");
    if servers.iter().all(|server| is_address(server)) {
        Ok(servers.into_iter().next())
    } else {
        Err(group.refused("api_servers", "http:// or https:// addresses, separated by commas").into())
    }
}

fn retries(group: Group<'_>, name: &str) -> Result<Option<u32>, Error> {
    let number = group.optional_int(name).map(u32::try_from).transpose();
    number.map_err(|_| group.refused(name, "a whole number, 0 or more").into())
}

fn status_codes(group: Group<'_>) -> Result<Vec<u16>, Error> {
    let name = "retriable_status_codes";
    let codes: Option<Vec<_>> = group
        .ints(name)
        .into_iter()
        .map(|code| u16::try_from(code).ok().filter(|code| (100..600).contains(code)))
        .collect();
    codes.ok_or_else(|| group.refused(name, "HTTP status codes, separated by commas").into())
}

#[cfg(test)]
mod tests {
    use super::super::auth::tests::PASSWORD;
    use super::super::tests::config;
    use super::*;
    use std::time::Duration;

    #[test]
    fn addresses_that_are_none_are_named_with_their_place() {
        for (group, option) in [
            ("ironic", "endpoint_override = ironic:6385"),
            ("cinder", "endpoint_template = cinder/%(project_id)s"),
            ("glance", "api_servers = http://g1,g2"),
        ] {
            let config = config(&format!("[{group}]\n{option}\n"));
            let error = adapter_options(&config, group).unwrap_err().to_string();
            assert!(
                error.contains(&format!("nova.conf:2: [{group}] ")) && error.contains("http://"),
                "{error}"
            );
        }
        let config = config("[ironic]\nauth_type=none\nendpoint=nowhere\n");
        let error = auth(&config, "ironic").unwrap_err().to_string();
        assert!(error.contains("nova.conf:3: [ironic] endpoint = nowhere"), "{error}");
    }

    #[test]
    fn without_a_catalog_an_address_is_needed() {
        let refused = |text: &str| {
            let config = config(text);
            let auth = auth(&config, "ironic").unwrap().unwrap();
            let adapter = adapter_options(&config, "ironic").unwrap();
            has_address(&config, "ironic", &auth, &adapter).err().map(|error| error.to_string())
        };
        let said = refused("[ironic]\nauth_type=none\n").unwrap();
        assert!(said.starts_with("[ironic] endpoint_override: is not set"), "{said}");
        assert!(said.contains("nova.conf:2"), "{said}");
        assert!(refused("[ironic]\nauth_type=http_basic\nusername=u\npassword=p\n").is_some());
        assert!(refused("[ironic]\nauth_type=none\nendpoint=http://i\n").is_none());
        assert!(refused("[ironic]\nauth_type=none\nendpoint_override=http://i\n").is_none());
        assert!(refused(&format!("{PASSWORD}project_id=x\n")).is_none());
    }

    #[test]
    fn the_service_users_token_is_sent_on_demand_only() {
        assert!(service_user_session(&config("[service_user]\nauth_type=none\n")).unwrap().is_none());
        let config = config(
            "[service_user]\nauth_type=none\nsend_service_user_token=true\ntimeout=2.5\ncafile=/ca.pem\n",
        );
        let session = service_user_session(&config).unwrap().unwrap();
        assert_eq!(
            (session.timeout, session.cafile),
            (Some(Duration::from_millis(2500)), Some("/ca.pem".into()))
        );
    }

    #[test]
    fn services_are_found_as_their_groups_say() {
        let config = config(
            "[ironic]\nvalid_interfaces=public, admin\nregion_name=R\nretriable_status_codes=503,409\nstatus_code_retries=4\n\
             [neutron]\nhttp_retries=7\n[cinder]\ncatalog_info=block-storage:name:internalURL\nos_region_name=R2\n\
             [glance]\napi_servers=http://g1,http://g2\n[placement]\nvalid_interfaces=secret\n",
        );
        let ironic = adapter_options(&config, "ironic").unwrap();
        assert_eq!(ironic.service_type.as_deref(), Some("baremetal"));
        assert_eq!(ironic.interfaces, [Interface::Public, Interface::Admin]);
        assert_eq!(ironic.retry.retriable_status_codes, [503, 409]);
        assert_eq!((ironic.retry.connect_retries, ironic.retry.status_code_retries), (None, Some(4)));
        assert_eq!(adapter_options(&config, "neutron").unwrap().retry.connect_retries, Some(7));
        let cinder = adapter_options(&config, "cinder").unwrap();
        assert_eq!(
            (cinder.service_type.as_deref(), cinder.service_name.as_deref()),
            (Some("block-storage"), Some("name"))
        );
        assert_eq!(
            (cinder.interfaces, cinder.region_name.as_deref()),
            (vec![Interface::Internal], Some("R2"))
        );
        assert_eq!(
            adapter_options(&config, "glance").unwrap().endpoint_override.as_deref(),
            Some("http://g1")
        );
        assert!(
            adapter_options(&config, "placement")
                .unwrap_err()
                .to_string()
                .contains("valid_interfaces = secret")
        );
    }
}
