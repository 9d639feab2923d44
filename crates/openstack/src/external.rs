//! Services that are in no catalog: the operator's own, at a configured address, with or without a token of
//! ours.

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;
use uuid::Uuid;

use crate::{
    Caller, Error,
    retry::RetryOptions,
    send::{Answer, Sending},
    session::Session,
};

/// Name of such a service in errors, logs and metrics.
const SERVICE: &str = "external";

/// Such services through a session, whose options (certificates, deadline, user agent) hold for all of them,
/// and the session that has the token for them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    services: Session,
    tokens: Session,
}

impl Client {
    /// Services that are reached by the options of `services` and sent the token of `tokens`; none where that
    /// authenticates by `none`.
    pub fn new(services: Session, tokens: Session) -> Self {
        Self { services, tokens }
    }

    /// Posts a JSON text to an address and reads the JSON answer, of whatever type; `None` for an answer of
    /// success without a body (204, or an empty 200). Only a failed connect is tried again.
    pub async fn post(
        &self,
        caller: &Caller,
        address: &str,
        body: &SecretString,
    ) -> Result<Option<Value>, Error> {
        let url = Url::parse(address)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or_else(|| Error::Invalid { field: "url", message: "not an http or https address".into() })?;
        let mut grant = self.tokens.grant().await?;
        let mut renewed = false;
        loop {
            let token = grant.as_ref().map(|grant| &grant.token);
            let answer = self.exchange(caller, url.clone(), token, body).await?;
            match (answer.status.as_u16(), &grant) {
                (200..=299, _) if answer.body.is_empty() => return Ok(None),
                (200..=299, _) => return answer.decode().map(Some),
                (401, Some(refused)) if !renewed => {
                    grant = self.tokens.renew(refused).await?;
                    renewed = true;
                }
                _ => return Err(answer.into_error()),
            }
        }
    }

    async fn exchange(
        &self,
        caller: &Caller,
        url: Url,
        token: Option<&SecretString>,
        body: &SecretString,
    ) -> Result<Answer, Error> {
        let request_id = caller.request_id.clone().unwrap_or_else(|| format!("req-{}", Uuid::new_v4()));
        let mut http = reqwest::Request::new(reqwest::Method::POST, url);
        let headers = http.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        put(headers, "x-openstack-request-id", &request_id, false)?;
        if let Some(token) = token {
            put(headers, "x-auth-token", token.expose_secret(), true)?;
        }
        *http.body_mut() = Some(body.expose_secret().to_owned().into());
        let sending = Sending {
            http: self.services.http(),
            service: SERVICE,
            // An operator's address may hold a secret anywhere.
            label: "-",
            request_id: &request_id,
            retry: &RetryOptions::default(),
            idempotent: false,
            retry_also: &[],
            deadline: self.services.deadline(),
        };
        sending.send(http).await
    }
}

fn put(headers: &mut HeaderMap, name: &'static str, text: &str, secret: bool) -> Result<(), Error> {
    let mut value = HeaderValue::from_str(text).map_err(|_| Error::Invalid {
        field: name,
        message: "holds characters that a header cannot carry".into(),
    })?;
    value.set_sensitive(secret);
    headers.insert(HeaderName::from_static(name), value);
    Ok(())
}
