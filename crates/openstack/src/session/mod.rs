//! A session: who we are, towards all services that share the credentials.
//!
//! The token and the catalog are fetched when first needed and renewed before the token ends. However many callers find
//! the token missing, old or refused at the same time, Keystone is asked once and all share the answer, good or bad.

mod auth;
mod catalog;
mod grant;
mod options;

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use reqwest::{
    Client,
    header::{ACCEPT, HeaderValue},
};
use secrecy::SecretString;
use tokio::{sync::Mutex, time::Instant};
use url::Url;

pub use auth::{AppCredential, Auth, Domain, Named, Scope};
pub(crate) use catalog::Wanted;
pub use catalog::{Catalog, Interface};
pub(crate) use grant::Grant;
use grant::IDENTITY;
pub use options::{CONNECT_TIMEOUT, DEFAULT_TIMEOUT, SessionOptions};

use crate::{Error, retry::RetryOptions, send::Sending};

/// A cheap handle; clones share the token and the connections.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    http: Client,
    options: SessionOptions,
    tokens_url: Option<Url>,
    grant: RwLock<Option<Arc<Grant>>>,
    /// Held while Keystone is asked; carries the last refusal.
    asking: Mutex<Option<Error>>,
    /// Times Keystone was asked to the end.
    asked: AtomicU64,
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
        let (grant, asking, asked) = (RwLock::default(), Mutex::default(), AtomicU64::new(0));
        Ok(Self(Arc::new(Inner { http, options, tokens_url, grant, asking, asked })))
    }

    /// The token to send now; `None` where authentication works without one. Authenticates if there is none yet.
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

    fn current(&self) -> Option<Arc<Grant>> {
        self.0.grant.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A grant that is good for a while; `None` without Keystone.
    pub(crate) async fn grant(&self) -> Result<Option<Arc<Grant>>, Error> {
        let Some(url) = &self.0.tokens_url else { return Ok(None) };
        match self.current() {
            Some(grant) if !grant.is_stale() => Ok(Some(grant)),
            stale => self.ask(url, stale.as_ref()).await.map(Some),
        }
    }

    /// A grant other than `refused`, which a service did not accept.
    pub(crate) async fn renew(&self, refused: &Arc<Grant>) -> Result<Option<Arc<Grant>>, Error> {
        match &self.0.tokens_url {
            Some(url) => self.ask(url, Some(refused)).await.map(Some),
            None => Ok(None),
        }
    }

    /// Asks Keystone, unless somebody else did while we waited for our turn.
    async fn ask(&self, url: &Url, unwanted: Option<&Arc<Grant>>) -> Result<Arc<Grant>, Error> {
        let before = self.0.asked.load(Ordering::Acquire);
        let mut refusal = self.0.asking.lock().await;
        if let Some(grant) = self.current()
            && !unwanted.is_some_and(|unwanted| Arc::ptr_eq(unwanted, &grant))
            && !grant.is_stale()
        {
            return Ok(grant);
        }
        if self.0.asked.load(Ordering::Acquire) != before
            && let Some(error) = &*refusal
        {
            return Err(error.clone());
        }
        let result = self.authenticate(url).await;
        self.0.asked.fetch_add(1, Ordering::Release);
        match result {
            Ok(grant) => {
                let grant = Arc::new(grant);
                *self.0.grant.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&grant));
                *refusal = None;
                Ok(grant)
            }
            Err(error) => {
                tracing::warn!(%error, "authentication failed");
                *refusal = Some(error.clone());
                Err(error)
            }
        }
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
