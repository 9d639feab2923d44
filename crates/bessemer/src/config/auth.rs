//! How to authenticate towards each service: keystoneauth's ways, from a group's options.

use openstack::{AppCredential, Auth, Domain, Named, Scope};
use oslo::config::{Config, Error, Group};
use secrecy::SecretString;

use super::address::address;

pub(super) const AUTH_TYPES: &str =
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
pub(super) fn auth_section(config: &Config, group: &str) -> String {
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
pub(super) fn needs(group: Group<'_>) -> String {
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
pub(super) mod tests {
    use super::super::tests::config;
    use super::*;
    use crate::config::required_session;

    fn auth_of(text: &str) -> Result<Option<Auth>, String> {
        auth(&config(text), "ironic").map_err(|error| error.to_string())
    }

    fn refusal(text: &str) -> String {
        auth_of(text).unwrap_err()
    }

    pub(in super::super) const PASSWORD: &str =
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
}
