//! The clients' options: how to authenticate, connect to and find each service, from its group.

use openstack::{
    AdapterOptions, AppCredential, Auth, Domain, Interface, Named, RetryOptions, Scope, SessionOptions,
};
use oslo::config::{Config, Error, Group, Problem};
use secrecy::SecretString;
use url::Url;

const AUTH_TYPES: &str =
    "password, v3password, v3applicationcredential, token, v3token, http_basic, none or noauth";

/// How to authenticate for the service of a group; `None` when its `auth_type` is not set. The options may stand in the group that
/// `auth_section` names.
pub fn auth(config: &Config, group: &str) -> Result<Option<Auth>, Error> {
    let section = auth_section(config, group);
    let group = config.group(&section);
    if group.entry("auth_type").is_none() {
        return Ok(None);
    }
    let Some(auth_type) = group.filled("auth_type") else { return Ok(None) };
    let auth = match auth_type.as_str() {
        "password" | "v3password" => Auth::Password {
            auth_url: needed(
                group,
                "auth_url",
                "set it to Keystone's address, like https://keystone:5000/v3",
            )?,
            user: user(group)?,
            password: needed_secret(group, "password", "set the user's password")?,
            scope: scope(group)?,
        },
        "v3applicationcredential" => Auth::ApplicationCredential {
            auth_url: needed(
                group,
                "auth_url",
                "set it to Keystone's address, like https://keystone:5000/v3",
            )?,
            credential: credential(group)?,
            secret: needed_secret(group, "application_credential_secret", "set the credential's secret")?,
        },
        "token" | "v3token" => Auth::Token {
            auth_url: needed(
                group,
                "auth_url",
                "set it to Keystone's address, like https://keystone:5000/v3",
            )?,
            token: needed_secret(group, "token", "set the token")?,
            scope: scope(group)?,
        },
        "http_basic" => Auth::HttpBasic {
            username: needed(group, "username", "set the user's name")?,
            password: needed_secret(group, "password", "set the user's password")?,
            endpoint: address(group, "endpoint")?,
        },
        "none" | "noauth" => Auth::None { endpoint: address(group, "endpoint")? },
        _ => return Err(group.refused("auth_type", format!("one of {AUTH_TYPES}")).into()),
    };
    Ok(Some(auth))
}

/// The group that has the authentication options of a group.
fn auth_section(config: &Config, group: &str) -> String {
    config
        .group(group)
        .filled("auth_section")
        .map_or_else(|| group.to_owned(), |section| section.to_lowercase())
}

fn credential(group: Group<'_>) -> Result<AppCredential, Error> {
    if let Some(id) = group.filled("application_credential_id") {
        return Ok(AppCredential::Id(id));
    }
    let Some(name) = group.filled("application_credential_name") else {
        let remedy = "set it, or application_credential_name with its user";
        return Err(missing(group, "application_credential_id", remedy));
    };
    Ok(AppCredential::Name { name, user: user(group)? })
}

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

/// The address in an option.
fn address(group: Group<'_>, name: &str) -> Result<Option<String>, Error> {
    match group.filled(name) {
        Some(text) if !is_address(&text) => {
            Err(group.refused(name, "an address that begins with http:// or https://").into())
        }
        given => Ok(given),
    }
}

/// An http or https address, in which the project may be left open: `%(project_id)s`.
fn is_address(text: &str) -> bool {
    let mut text = text.trim().to_owned();
    for name in ["project_id", "tenant_id"] {
        for pattern in [format!("%({name})s"), format!("$({name})s")] {
            text = text.replace(&pattern, name);
        }
    }
    Url::parse(&text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
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

fn needed(group: Group<'_>, name: &str, remedy: &str) -> Result<String, Error> {
    group.filled(name).ok_or_else(|| missing(group, name, remedy))
}

fn needed_secret(group: Group<'_>, name: &str, remedy: &str) -> Result<SecretString, Error> {
    group.secret(name).ok_or_else(|| missing(group, name, remedy))
}

fn missing(group: Group<'_>, name: &str, remedy: &str) -> Error {
    group.missing(name, format!("is not set, and {}; {remedy}", needs(group))).into()
}

/// Which `auth_type` needs something, and where it stands.
fn needs(group: Group<'_>) -> String {
    let auth_type = group.text("auth_type");
    let place = group.entry("auth_type").map(|entry| format!(" ({})", entry.source())).unwrap_or_default();
    format!("auth_type = {auth_type}{place} needs it")
}

/// `<what>_domain_id` or `_name`, else the default one.
fn domain(group: Group<'_>, what: &str) -> Option<Domain> {
    [what, "default"].iter().find_map(|what| {
        let by_id = group.filled(&format!("{what}_domain_id")).map(Domain::Id);
        by_id.or_else(|| group.filled(&format!("{what}_domain_name")).map(Domain::Name))
    })
}

fn user(group: Group<'_>) -> Result<Named, Error> {
    if let Some(id) = group.filled("user_id") {
        return Ok(Named::Id(id));
    }
    let name = needed(group, "username", "set it, or user_id")?;
    let domain = domain(group, "user").ok_or_else(|| {
        missing(
            group,
            "user_domain_name",
            "a user's name is unique within its domain only: set it, or user_domain_id",
        )
    })?;
    Ok(Named::Name { name, domain })
}

/// What the token is for; keystoneauth refuses more than one.
fn scope(group: Group<'_>) -> Result<Scope, Error> {
    let mut scopes = Vec::new();
    if let Some(id) = group.filled("project_id") {
        scopes.push(Scope::Project(Named::Id(id)));
    } else if let Some(name) = group.filled("project_name") {
        let domain = domain(group, "project").ok_or_else(|| {
            let remedy = "a project's name is unique within its domain only: set it, or project_domain_id";
            missing(group, "project_domain_name", remedy)
        })?;
        scopes.push(Scope::Project(Named::Name { name, domain }));
    }
    let of_domain =
        group.filled("domain_id").map(Domain::Id).or_else(|| group.filled("domain_name").map(Domain::Name));
    scopes.extend(of_domain.map(Scope::Domain));
    scopes.extend(group.filled("trust_id").map(Scope::Trust));
    if let Some(system) = group.filled("system_scope") {
        if system != "all" {
            return Err(group.refused("system_scope", "all").into());
        }
        scopes.push(Scope::System);
    }
    if scopes.len() > 1 {
        let remedy = "project, domain, trust and system_scope exclude each other; leave only one of them";
        return Err(group.missing("auth_type", remedy).into());
    }
    Ok(scopes.pop().unwrap_or(Scope::Unscoped))
}

#[cfg(test)]
mod tests {
    use super::super::tests::config;
    use super::*;
    use std::time::Duration;

    fn auth_of(text: &str) -> Result<Option<Auth>, String> {
        auth(&config(text), "ironic").map_err(|error| error.to_string())
    }

    fn refusal(text: &str) -> String {
        auth_of(text).unwrap_err()
    }

    const PASSWORD: &str =
        "[ironic]\nauth_type=password\nauth_url=http://k\nusername=u\npassword=p\nuser_domain_name=Default\n";

    #[test]
    fn a_password_with_a_project_is_understood() {
        let text = format!("{PASSWORD}tenant_name=service\nproject_domain_id=default\n");
        let Ok(Some(Auth::Password { user, scope, auth_url, .. })) = auth_of(&text) else { panic!() };
        assert_eq!(auth_url, "http://k");
        assert_eq!(user, Named::Name { name: "u".into(), domain: Domain::Name("Default".into()) });
        let project = Named::Name { name: "service".into(), domain: Domain::Id("default".into()) };
        assert_eq!(scope, Scope::Project(project));
    }

    #[test]
    fn the_default_domain_stands_in_for_the_others() {
        let text = "[ironic]\nauth_type=password\nauth_url=http://k\nusername=u\npassword=p\nproject_name=x\ndefault_domain_id=d\n";
        let Ok(Some(Auth::Password { user, scope, .. })) = auth_of(text) else { panic!() };
        let domain = Domain::Id("d".into());
        assert_eq!(user, Named::Name { name: "u".into(), domain: domain.clone() });
        assert_eq!(scope, Scope::Project(Named::Name { name: "x".into(), domain }));
    }

    #[test]
    fn every_scope_is_understood_and_two_are_refused() {
        for (option, expected) in [
            ("system_scope=all", Scope::System),
            ("domain_name=d", Scope::Domain(Domain::Name("d".into()))),
            ("trust_id=t", Scope::Trust("t".into())),
            ("project_id=x", Scope::Project(Named::Id("x".into()))),
            ("", Scope::Unscoped),
        ] {
            let Ok(Some(Auth::Password { scope, .. })) = auth_of(&format!("{PASSWORD}{option}\n")) else {
                panic!()
            };
            assert_eq!(scope, expected);
        }
        assert!(
            refusal(&format!("{PASSWORD}system_scope=all\nproject_id=x\n")).contains("exclude each other")
        );
        assert!(refusal(&format!("{PASSWORD}system_scope=some\n")).contains("must be all"));
    }

    #[test]
    fn the_other_ways_are_understood() {
        assert!(matches!(
            auth_of("[ironic]\nauth_type=none\nendpoint=http://i\n"),
            Ok(Some(Auth::None { endpoint: Some(_) }))
        ));
        assert!(matches!(auth_of("[ironic]\n"), Ok(None)));
        assert!(matches!(
            auth_of("[ironic]\nauth_type=http_basic\nusername=u\npassword=p\n"),
            Ok(Some(Auth::HttpBasic { .. }))
        ));
        assert!(matches!(
            auth_of("[ironic]\nauth_type=v3token\nauth_url=http://k\ntoken=t\n"),
            Ok(Some(Auth::Token { .. }))
        ));
        let credential = "[ironic]\nauth_type=v3applicationcredential\nauth_url=http://k\napplication_credential_secret=s\n";
        let by_id = auth_of(&format!("{credential}application_credential_id=c\n"));
        assert!(matches!(
            by_id,
            Ok(Some(Auth::ApplicationCredential { credential: AppCredential::Id(_), .. }))
        ));
        let by_name = auth_of(&format!("{credential}application_credential_name=c\nuser_id=u\n"));
        assert!(matches!(
            by_name,
            Ok(Some(Auth::ApplicationCredential { credential: AppCredential::Name { .. }, .. }))
        ));
        assert!(refusal(credential).contains("[ironic] application_credential_id: is not set"));
    }

    #[test]
    fn what_is_missing_is_named_with_its_remedy() {
        assert!(refusal("[ironic]\nauth_type=password\n").starts_with("[ironic] auth_url: is not set"));
        let error = refusal("[ironic]\nauth_type=v3kerberos\n");
        assert!(
            error.contains("nova.conf:2: [ironic] auth_type = v3kerberos: must be one of password"),
            "{error}"
        );
        let text =
            "[ironic]\nauth_section=Shared\n[shared]\nauth_type=password\nauth_url=http://k\nusername=u\n";
        assert!(refusal(text).starts_with("[shared] user_domain_name: is not set"), "{}", refusal(text));
        let error = required_session(&config(""), "placement").unwrap_err().to_string();
        assert!(error.starts_with("[placement] auth_type: is not set; set it to one of password"), "{error}");
    }

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
        let error = refusal("[ironic]\nauth_type=none\nendpoint=nowhere\n");
        assert!(error.contains("nova.conf:3: [ironic] endpoint = nowhere"), "{error}");
        let template = config("[cinder]\nendpoint_template = http://c/v3/%(project_id)s\n");
        assert!(adapter_options(&template, "cinder").is_ok());
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
