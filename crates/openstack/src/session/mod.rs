//! A session: who we are, towards all services that share the credentials.
//!
//! The token and the catalog are fetched when first needed and renewed before the token ends. However many
//! callers find the token missing, old or refused at the same time, Keystone is asked once and all share the
//! answer, good or bad.

mod auth;
mod catalog;
mod grant;
mod options;

use std::{sync::Arc, time::Duration};

use reqwest::{
    Client,
    header::{ACCEPT, HeaderValue},
};
use secrecy::SecretString;
use tokio::time::Instant;
use url::Url;

pub use auth::{AppCredential, Auth, Domain, Named, Scope};
pub(crate) use catalog::Wanted;
pub use catalog::{Catalog, Interface};
pub(crate) use grant::Grant;
use grant::IDENTITY;
pub use options::{CONNECT_TIMEOUT, DEFAULT_TIMEOUT, SessionOptions};

use crate::{Error, retry::RetryOptions, send::Sending, shared::Shared};

/// A cheap handle; clones share the token and the connections.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    http: Client,
    options: SessionOptions,
    tokens_url: Option<Url>,
    grant: Shared<Arc<Grant>>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("options", &self.0.options).finish_non_exhaustive()
    }
}

impl Session {
    /// Makes a session; reads the certificate files and asks nobody yet.
    pub fn new(options: SessionOptions) -> Result<Self, Error> {
        let http = options.client()?;
        let tokens_url = options.auth.auth_url().map(auth::tokens_url).transpose()?;
        Ok(Self(Arc::new(Inner { http, options, tokens_url, grant: Shared::default() })))
    }

    /// The token to send now; `None` where authentication works without one. Authenticates if there is none
    /// yet.
    pub async fn token(&self) -> Result<Option<SecretString>, Error> {
        Ok(self.grant().await?.map(|grant| grant.token.clone()))
    }

    /// The project that the token is scoped to.
    pub async fn project_id(&self) -> Result<Option<String>, Error> {
        Ok(self.grant().await?.and_then(|grant| grant.project_id.clone()))
    }

    pub(crate) fn http(&self) -> &Client {
        &self.0.http
    }

    pub(crate) fn auth(&self) -> &Auth {
        &self.0.options.auth
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.0.options.deadline()
    }

    /// A grant that is good for a while; `None` without Keystone.
    pub(crate) async fn grant(&self) -> Result<Option<Arc<Grant>>, Error> {
        self.grant_if(|_| true).await
    }

    /// A grant other than `refused`, which a service did not accept.
    pub(crate) async fn renew(&self, refused: &Arc<Grant>) -> Result<Option<Arc<Grant>>, Error> {
        self.grant_if(|grant| !Arc::ptr_eq(grant, refused)).await
    }

    async fn grant_if(&self, wanted: impl Fn(&Arc<Grant>) -> bool) -> Result<Option<Arc<Grant>>, Error> {
        let Some(url) = &self.0.tokens_url else { return Ok(None) };
        let good = |grant: &Arc<Grant>| !grant.is_stale() && wanted(grant);
        let ask = async || {
            let result = self.authenticate(url).await.map(Arc::new);
            if let Err(error) = &result {
                tracing::warn!(%error, "authentication with Keystone failed");
            }
            result
        };
        self.0.grant.get(good, ask).await.map(Some)
    }

    async fn authenticate(&self, url: &Url) -> Result<Grant, Error> {
        let body = self.auth().body().unwrap_or_default();
        let mut request = self
            .http()
            .post(url.clone())
            .json(&body)
            .build()
            .map_err(|_| Error::Invalid { field: "auth_url", message: "cannot be requested".into() })?;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        let retry = RetryOptions::default();
        let sending = Sending {
            http: self.http(),
            service: IDENTITY,
            label: "/v3/auth/tokens",
            request_id: "-",
            retry: &retry,
            idempotent: true,
            retry_also: &[],
            deadline: self.deadline(),
        };
        let asked = Instant::now();
        let answer = sending.send(request).await?;
        if answer.status.is_success() {
            return Grant::read(&answer, asked);
        }
        match answer.into_error() {
            Error::Http { status, message, .. } if status < 500 && status != 429 => {
                Err(Error::Auth { status, message })
            }
            error => Err(error),
        }
    }
}
