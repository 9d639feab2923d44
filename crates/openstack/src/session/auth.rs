//! Ways to authenticate, and the bodies of Keystone's `POST /v3/auth/tokens`.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use url::Url;

use crate::{Error, body::scrub};

/// A domain, by id or by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Domain {
    /// `*_domain_id`.
    Id(String),
    /// `*_domain_name`.
    Name(String),
}

impl Domain {
    fn json(&self) -> Value {
        match self {
            Self::Id(id) => json!({ "id": id }),
            Self::Name(name) => json!({ "name": name }),
        }
    }
}

/// Something that is named within a domain: a user or a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// `user_id`, `project_id`.
    Id(String),
    /// `username`, `project_name` with its domain.
    Name {
        /// The name.
        name: String,
        /// The domain it is unique in.
        domain: Domain,
    },
}

impl Named {
    fn json(&self) -> Value {
        match self {
            Self::Id(id) => json!({ "id": id }),
            Self::Name { name, domain } => json!({ "name": name, "domain": domain.json() }),
        }
    }
}

/// What a token is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Nothing but asking for another.
    Unscoped,
    /// A project; the usual one.
    Project(Named),
    /// A domain.
    Domain(Domain),
    /// The whole deployment (`system_scope = all`).
    System,
    /// What a trust delegates, by its id.
    Trust(String),
}

impl Scope {
    fn json(&self) -> Option<Value> {
        match self {
            Self::Unscoped => None,
            Self::Project(project) => Some(json!({ "project": project.json() })),
            Self::Domain(domain) => Some(json!({ "domain": domain.json() })),
            Self::System => Some(json!({ "system": { "all": true } })),
            Self::Trust(id) => Some(json!({ "OS-TRUST:trust": { "id": id } })),
        }
    }
}

/// Which application credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppCredential {
    /// `application_credential_id`.
    Id(String),
    /// `application_credential_name` with the user it belongs to.
    Name {
        /// The name.
        name: String,
        /// Its owner.
        user: Named,
    },
}

/// How a session proves who it is. `Debug` shows only the way, the address and the scope.
#[derive(Clone)]
pub enum Auth {
    /// `password`, `v3password`.
    Password {
        /// Keystone's address, with or without `/v3`.
        auth_url: String,
        /// Who.
        user: Named,
        /// The password.
        password: SecretString,
        /// For what.
        scope: Scope,
    },
    /// `v3applicationcredential`; the credential implies its project.
    ApplicationCredential {
        /// Keystone's address, with or without `/v3`.
        auth_url: String,
        /// Which.
        credential: AppCredential,
        /// Its secret.
        secret: SecretString,
    },
    /// `v3token`: another token in exchange for this one. Ends when this one expires.
    Token {
        /// Keystone's address, with or without `/v3`.
        auth_url: String,
        /// The token.
        token: SecretString,
        /// For what.
        scope: Scope,
    },
    /// `http_basic`: Ironic without Keystone.
    HttpBasic {
        /// User name.
        username: String,
        /// Password.
        password: SecretString,
        /// The service's address, unless `endpoint_override` says it.
        endpoint: Option<String>,
    },
    /// `none`, `noauth`: Ironic without authentication.
    None {
        /// The service's address, unless `endpoint_override` says it.
        endpoint: Option<String>,
    },
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (way, address, scope) = match self {
            Self::Password { auth_url, scope, .. } => ("Password", Some(auth_url), Some(scope)),
            Self::ApplicationCredential { auth_url, .. } => ("ApplicationCredential", Some(auth_url), None),
            Self::Token { auth_url, scope, .. } => ("Token", Some(auth_url), Some(scope)),
            Self::HttpBasic { endpoint, .. } => ("HttpBasic", endpoint.as_ref(), None),
            Self::None { endpoint } => ("None", endpoint.as_ref(), None),
        };
        let address = address.map(|address| scrub(address));
        f.debug_struct(way).field("address", &address).field("scope", &scope).finish_non_exhaustive()
    }
}

impl Auth {
    /// Whether both get the same token from the same Keystone.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.auth_url().is_some() && self.auth_url() == other.auth_url() && self.body() == other.body()
    }

    /// Keystone's address, where this way needs Keystone.
    pub(crate) fn auth_url(&self) -> Option<&str> {
        match self {
            Self::Password { auth_url, .. }
            | Self::ApplicationCredential { auth_url, .. }
            | Self::Token { auth_url, .. } => Some(auth_url),
            Self::HttpBasic { .. } | Self::None { .. } => None,
        }
    }

    /// Body of `POST /v3/auth/tokens`.
    pub(crate) fn body(&self) -> Option<Value> {
        let (identity, scope) = match self {
            Self::Password { user, password, scope, .. } => {
                let mut user = user.json();
                user["password"] = json!(password.expose_secret());
                (json!({ "methods": ["password"], "password": { "user": user } }), scope.json())
            }
            Self::ApplicationCredential { credential, secret, .. } => {
                let mut credential = match credential {
                    AppCredential::Id(id) => json!({ "id": id }),
                    AppCredential::Name { name, user } => json!({ "name": name, "user": user.json() }),
                };
                credential["secret"] = json!(secret.expose_secret());
                (json!({ "methods": ["application_credential"], "application_credential": credential }), None)
            }
            Self::Token { token, scope, .. } => {
                (json!({ "methods": ["token"], "token": { "id": token.expose_secret() } }), scope.json())
            }
            Self::HttpBasic { .. } | Self::None { .. } => return None,
        };
        let mut auth = json!({ "identity": identity });
        if let Some(scope) = scope {
            auth["scope"] = scope;
        }
        Some(json!({ "auth": auth }))
    }
}

/// `…/v3/auth/tokens` for an `auth_url` with or without a version. Keystone has no other version any more,
/// and its v3 API stands at `/v3` under its root, so the version document is not asked for.
pub(crate) fn tokens_url(auth_url: &str) -> Result<Url, Error> {
    let bad = |message: String| Error::Invalid { field: "auth_url", message };
    let mut url = Url::parse(auth_url.trim()).map_err(|error| {
        bad(format!("{error}; give the address of Keystone, like https://keystone:5000/v3"))
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("must begin with http:// or https://".into()));
    }
    let version = url
        .path_segments()
        .and_then(|mut segments| segments.rfind(|segment| !segment.is_empty()).map(str::to_owned));
    let mut segments = url.path_segments_mut().map_err(|()| bad("not an http or https address".into()))?;
    segments.pop_if_empty();
    match version.as_deref() {
        Some("v3") => {}
        Some("v2.0") => {
            segments.pop().push("v3");
        }
        _ => {
            segments.push("v3");
        }
    }
    segments.extend(["auth", "tokens"]);
    drop(segments);
    url.set_query(None);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admin() -> Named {
        Named::Name { name: "nova".into(), domain: Domain::Name("Default".into()) }
    }

    #[test]
    fn the_password_body_is_keystones() {
        let auth = Auth::Password {
            auth_url: "http://k/v3".into(),
            user: admin(),
            password: "hunter2".into(),
            scope: Scope::Project(Named::Name {
                name: "service".into(),
                domain: Domain::Id("default".into()),
            }),
        };
        assert_eq!(
            auth.body().unwrap(),
            json!({"auth": {
                "identity": {"methods": ["password"], "password": {"user": {
                    "name": "nova", "domain": {"name": "Default"}, "password": "hunter2"}}},
                "scope": {"project": {"name": "service", "domain": {"id": "default"}}}
            }})
        );
        assert!(!format!("{auth:?}").contains("hunter2"));
    }

    #[test]
    fn scopes_are_keystones() {
        assert_eq!(Scope::System.json(), Some(json!({"system": {"all": true}})));
        assert_eq!(Scope::Trust("t".into()).json(), Some(json!({"OS-TRUST:trust": {"id": "t"}})));
        assert_eq!(Scope::Domain(Domain::Name("d".into())).json(), Some(json!({"domain": {"name": "d"}})));
        assert_eq!(Scope::Unscoped.json(), None);
    }

    #[test]
    fn an_application_credential_is_named_by_id_or_with_its_user() {
        let by_name = Auth::ApplicationCredential {
            auth_url: "http://k".into(),
            credential: AppCredential::Name { name: "c".into(), user: Named::Id("u".into()) },
            secret: "s".into(),
        };
        assert_eq!(
            by_name.body().unwrap()["auth"],
            json!({"identity": {"methods": ["application_credential"],
                "application_credential": {"name": "c", "user": {"id": "u"}, "secret": "s"}}})
        );
    }

    #[test]
    fn the_token_address_is_found_with_and_without_a_version() {
        for given in
            ["http://k:5000", "http://k:5000/", "http://k:5000/v3", "http://k:5000/v3/", "http://k:5000/v2.0"]
        {
            assert_eq!(tokens_url(given).unwrap().as_str(), "http://k:5000/v3/auth/tokens", "{given}");
        }
        assert_eq!(
            tokens_url("https://api/identity").unwrap().as_str(),
            "https://api/identity/v3/auth/tokens"
        );
        assert!(tokens_url("keystone:5000").is_err());
        assert!(tokens_url("").is_err());
    }
}
