//! An adapter: one service, seen through a session. Finds the endpoint, agrees on the version, adds the
//! headers, sends.

use std::{sync::Arc, time::Duration};

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use tracing::Instrument;
use url::Url;
use uuid::Uuid;

use crate::{
    AdapterOptions, Caller, Error,
    discovery::Offer,
    request::{ApiVersion, Request, Version},
    send::{Answer, Sending},
    service::Service,
    session::{Auth, Grant, Session, Wanted},
    shared::Shared,
};

/// A service token younger than this is not blamed for a 401.
const YOUNG: Duration = Duration::from_mins(1);

/// A cheap handle on one service; clones share what was discovered.
#[derive(Clone, Debug)]
pub struct Adapter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    service: Service,
    session: Session,
    service_session: Option<Session>,
    options: AdapterOptions,
    /// What the service offered; forgotten when it refuses a version.
    offer: Shared<Offer>,
}

/// What a request is sent with.
struct Credentials {
    grant: Option<Arc<Grant>>,
    service_grant: Option<Arc<Grant>>,
}

impl Adapter {
    /// An adapter for `service`.
    pub fn new(session: Session, service: Service, options: AdapterOptions) -> Self {
        Self(Arc::new(Inner { service, session, service_session: None, options, offer: Shared::default() }))
    }

    /// The same, sending the token of `service_user` as `X-Service-Token` with every call (`[service_user]
    /// send_service_user_token`): for Neutron, Glance and Cinder, with users' and with own credentials. Stock
    /// never does so with Placement and Ironic.
    #[must_use]
    pub fn with_service_token(&self, service_user: Session) -> Self {
        let inner = &self.0;
        Self(Arc::new(Inner {
            service: inner.service,
            session: inner.session.clone(),
            service_session: Some(service_user),
            options: inner.options.clone(),
            offer: Shared::default(),
        }))
    }

    /// The service.
    pub fn service(&self) -> Service {
        self.0.service
    }

    /// Sends a request and decodes the JSON answer.
    pub async fn json<T: DeserializeOwned>(&self, caller: &Caller, request: Request) -> Result<T, Error> {
        self.send(caller, &request).await?.decode()
    }

    /// Sends a request whose answer does not matter beyond its success.
    pub async fn empty(&self, caller: &Caller, request: Request) -> Result<(), Error> {
        self.send(caller, &request).await.map(|_| ())
    }

    /// The newest version that both sides know; asks the service once.
    pub async fn newest(&self, caller: &Caller) -> Result<ApiVersion, Error> {
        let credentials = self.credentials(caller).await?;
        self.agree(caller, &credentials, ApiVersion::new(0, 0)).await
    }

    /// Sends a request; answers other than 2xx are errors.
    async fn send(&self, caller: &Caller, request: &Request) -> Result<Answer, Error> {
        let label = request.label();
        let span = tracing::debug_span!(
            "http",
            service = self.0.service.name(),
            method = %request.method,
            path = label
        );
        self.send_with_renewal(caller, request, &label).instrument(span).await
    }

    async fn send_with_renewal(
        &self,
        caller: &Caller,
        request: &Request,
        label: &str,
    ) -> Result<Answer, Error> {
        let request_id = caller.request_id.clone().unwrap_or_else(|| format!("req-{}", Uuid::new_v4()));
        let mut credentials = self.credentials(caller).await?;
        let (mut renewed, mut agreed_again) = (false, false);
        loop {
            let version = match request.version {
                Version::Unversioned => None,
                Version::Exact(version) => Some(version),
                Version::Newest { at_least } => Some(self.agree(caller, &credentials, at_least).await?),
            };
            let answer = self.exchange(caller, &credentials, request, version, label, &request_id).await?;
            match (answer.status.as_u16(), version) {
                (200..=299, _) => return Ok(answer),
                (401, _) if !renewed => {
                    renewed = true;
                    let Some(new) = self.renew(caller, &credentials).await? else {
                        return Err(hiding(answer.into_error(), caller, &credentials));
                    };
                    credentials = new;
                }
                (406, Some(version)) => {
                    self.0.offer.forget();
                    if matches!(request.version, Version::Newest { .. }) && !agreed_again {
                        agreed_again = true;
                        continue;
                    }
                    let error = hiding(answer.into_error(), caller, &credentials);
                    let message = error.message().to_owned();
                    let needs = format!("API version {version}");
                    return Err(Error::Unsupported { service: self.0.service.name(), needs, message });
                }
                _ => return Err(hiding(answer.into_error(), caller, &credentials)),
            }
        }
    }

    async fn credentials(&self, caller: &Caller) -> Result<Credentials, Error> {
        // With a user's token, our own is needed only for the endpoint.
        let needed = caller.user_token.is_none() || self.endpoint_without_grant(caller).is_none();
        let grant = if needed { self.0.session.grant().await? } else { None };
        let service_grant = match &self.0.service_session {
            Some(session) => session.grant().await?,
            None => None,
        };
        Ok(Credentials { grant, service_grant })
    }

    /// After a 401: new credentials, or `None` where there is nothing that we could renew.
    async fn renew(&self, caller: &Caller, old: &Credentials) -> Result<Option<Credentials>, Error> {
        let mut any = false;
        let mut grant = old.grant.clone();
        if let (Some(refused), None) = (&old.grant, &caller.user_token) {
            grant = self.0.session.renew(refused).await?;
            any = true;
        }
        let mut service_grant = old.service_grant.clone();
        if let (Some(refused), Some(session)) = (&old.service_grant, &self.0.service_session)
            && refused.age() > YOUNG
        {
            service_grant = session.renew(refused).await?;
            any = true;
        }
        Ok(any.then_some(Credentials { grant, service_grant }))
    }

    async fn exchange(
        &self,
        caller: &Caller,
        credentials: &Credentials,
        request: &Request,
        version: Option<ApiVersion>,
        label: &str,
        request_id: &str,
    ) -> Result<Answer, Error> {
        let endpoint = self.endpoint(caller, credentials)?;
        let url = request.url(&self.0.service.versioned(&endpoint)?)?;
        let mut http = reqwest::Request::new(request.method.clone(), url);
        let headers = http.headers_mut();
        headers.insert(HeaderName::from_static("x-openstack-request-id"), value("request id", request_id)?);
        if let Some(version) = version {
            self.0.service.ask_version(version, headers)?;
        }
        self.authorize(caller, credentials, headers)?;
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(body) = &request.body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *http.body_mut() = Some(body.clone().into());
        }
        let sending = Sending {
            http: self.0.session.http(),
            service: self.0.service.name(),
            label,
            request_id,
            retry: &self.0.options.retry,
            idempotent: request.idempotent,
            retry_also: request.retry_also,
            deadline: self.0.session.deadline().max(request.deadline),
        };
        sending.send(http).await
    }

    fn authorize(
        &self,
        caller: &Caller,
        credentials: &Credentials,
        headers: &mut HeaderMap,
    ) -> Result<(), Error> {
        let own = credentials.grant.as_ref().map(|grant| &grant.token);
        if let Some(token) = caller.user_token.as_ref().or(own) {
            headers.insert(HeaderName::from_static("x-auth-token"), secret("token", token)?);
        } else if let Auth::HttpBasic { username, password, .. } = self.0.session.auth() {
            let pair = base64::Engine::encode(
                &base64::engine::general_purpose::STANDARD,
                format!("{username}:{}", password.expose_secret()),
            );
            headers.insert(AUTHORIZATION, secret("password", &format!("Basic {pair}").into())?);
        }
        if let Some(grant) = &credentials.service_grant {
            headers
                .insert(HeaderName::from_static("x-service-token"), secret("service token", &grant.token)?);
        }
        Ok(())
    }

    /// The endpoint where it does not need our catalog.
    fn endpoint_without_grant(&self, caller: &Caller) -> Option<String> {
        let given = match self.0.session.auth() {
            Auth::HttpBasic { endpoint, .. } | Auth::None { endpoint } => endpoint.as_deref(),
            _ => None,
        };
        if let Some(endpoint) = self.0.options.endpoint_override.as_deref().or(given) {
            return Some(endpoint.to_owned());
        }
        let catalog = caller.catalog.as_ref().filter(|_| caller.user_token.is_some())?;
        self.with_wanted(|wanted| catalog.find(wanted).map(str::to_owned))
    }

    fn with_wanted<T>(&self, look: impl FnOnce(&Wanted<'_>) -> T) -> T {
        let options = &self.0.options;
        let official = self.0.service.types();
        let first = options.service_type.as_deref().unwrap_or(self.0.service.name());
        let mut types = vec![first];
        if official.contains(&first) {
            types.extend(official.iter().filter(|kind| **kind != first));
        }
        look(&Wanted {
            types: &types,
            name: options.service_name.as_deref(),
            region: options.region_name.as_deref(),
            interfaces: &options.interfaces,
        })
    }

    fn endpoint(&self, caller: &Caller, credentials: &Credentials) -> Result<Url, Error> {
        let service = self.0.service;
        let own_project = credentials.grant.as_ref().and_then(|grant| grant.project_id.as_deref());
        let project = caller.project_id.as_deref().or(own_project);
        let mut text = match self.endpoint_without_grant(caller) {
            Some(text) => text,
            None => credentials
                .grant
                .as_ref()
                .and_then(|grant| self.with_wanted(|wanted| grant.catalog.find(wanted).map(str::to_owned)))
                .map(|text| in_project(text, own_project, project))
                .ok_or_else(|| {
                    self.with_wanted(|wanted| {
                        service.bad_endpoint(format!(
                            "the catalog has none for {wanted:?}; correct service_type, valid_interfaces or \
                             region_name, or set endpoint_override"
                        ))
                    })
                })?,
        };
        for name in ["project_id", "tenant_id"] {
            for pattern in [format!("%({name})s"), format!("$({name})s")] {
                if text.contains(&pattern) {
                    let project = project
                        .ok_or_else(|| service.bad_endpoint("it needs a project, and there is none"))?;
                    text = text.replace(&pattern, project);
                }
            }
        }
        Url::parse(text.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https")).ok_or_else(|| {
            service.bad_endpoint("not an http or https address; correct endpoint_override or the catalog")
        })
    }

    /// Agrees with the service on the newest version.
    async fn agree(
        &self,
        caller: &Caller,
        credentials: &Credentials,
        at_least: ApiVersion,
    ) -> Result<ApiVersion, Error> {
        let offer = self.0.offer.get(|_| true, async || self.discover(caller, credentials).await).await?;
        offer.choose(self.0.service, at_least)
    }

    async fn discover(&self, caller: &Caller, credentials: &Credentials) -> Result<Offer, Error> {
        let url = self.0.service.version_document(&self.endpoint(caller, credentials)?);
        let document = || {
            let mut http = reqwest::Request::new(reqwest::Method::GET, url.clone());
            http.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
            http
        };
        let sending = Sending {
            http: self.0.session.http(),
            service: self.0.service.name(),
            label: "/",
            request_id: caller.request_id.as_deref().unwrap_or("-"),
            retry: &self.0.options.retry,
            idempotent: true,
            retry_also: &[],
            deadline: self.0.session.deadline(),
        };
        // Version documents are open to all; one behind a proxy that is not gets our token.
        let mut answer = sending.send(document()).await?;
        if answer.status.as_u16() == 401 {
            let mut http = document();
            self.authorize(caller, credentials, http.headers_mut())?;
            answer = sending.send(http).await?;
        }
        match Offer::read(&answer) {
            Some(offer) => Ok(offer),
            None if answer.status.is_client_error() || answer.status.is_server_error() => {
                Err(hiding(answer.into_error(), caller, credentials))
            }
            None => Err(Error::Decode {
                service: self.0.service.name(),
                message: "its root is not a version document; correct endpoint_override or the catalog"
                    .into(),
            }),
        }
    }
}

/// The error, should a service repeat one of the tokens in it, without them.
fn hiding(mut error: Error, caller: &Caller, credentials: &Credentials) -> Error {
    let grants = [&credentials.grant, &credentials.service_grant];
    let ours = grants.into_iter().flatten().map(|grant| &grant.token);
    if let Error::Http { message, .. } = &mut error {
        for token in ours.chain(&caller.user_token).map(ExposeSecret::expose_secret) {
            if !token.is_empty() && message.contains(token) {
                *message = message.replace(token, "***");
            }
        }
    }
    error
}

/// Puts the caller's project in place of ours at the end of an address.
fn in_project(text: String, own: Option<&str>, wanted: Option<&str>) -> String {
    match (own, wanted) {
        (Some(own), Some(wanted)) if own != wanted => match text.trim_end_matches('/').strip_suffix(own) {
            Some(before) if before.ends_with(['/', '_']) => format!("{before}{wanted}"),
            _ => text,
        },
        _ => text,
    }
}

fn value(field: &'static str, text: &str) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(text)
        .map_err(|_| Error::Invalid { field, message: "holds characters that a header cannot carry".into() })
}

fn secret(field: &'static str, text: &SecretString) -> Result<HeaderValue, Error> {
    let mut value = value(field, text.expose_secret())?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_project_takes_the_place_of_ours() {
        let at = |text: &str, wanted| in_project(text.to_owned(), Some("own"), wanted);
        assert_eq!(at("http://c/v3/own", Some("user")), "http://c/v3/user");
        assert_eq!(at("http://c/v3/own/", Some("user")), "http://c/v3/user");
        assert_eq!(at("http://c/v3", Some("user")), "http://c/v3");
        assert_eq!(at("http://c/v3/own", None), "http://c/v3/own");
        assert_eq!(at("http://c/down", Some("user")), "http://c/down");
    }
}
