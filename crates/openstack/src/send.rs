//! Sending: deadlines, retries, redirects, metrics and the one log event of a request. Nothing here logs a
//! header, a query or a body, at any level.

use std::{error::Error as _, time::Duration};

use reqwest::{StatusCode, Url, header::HeaderMap};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    Error, body,
    retry::{Outcome, Retries, RetryOptions},
};

/// Largest answer that is read: a page of 1000 whole nodes is about 5 MB.
const LARGEST_ANSWER: usize = 64 << 20;
/// Redirects followed, on the same host only.
const REDIRECTS: u32 = 3;

/// An answer of any status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) service: &'static str,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn request_id(&self) -> Option<String> {
        self.header("x-openstack-request-id").map(body::scrub)
    }

    /// The error that an answer without success stands for.
    pub(crate) fn into_error(self) -> Error {
        let said = body::read(&self.body);
        Error::Http {
            service: self.service,
            status: self.status.as_u16(),
            code: said.code,
            request_id: self.request_id(),
            message: said.message,
        }
    }

    /// The answer's body as `T`.
    pub(crate) fn decode<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| Error::Decode {
            service: self.service,
            message: body::scrub(&error.to_string()),
        })
    }
}

/// How to send a request.
#[derive(Debug)]
pub(crate) struct Sending<'a> {
    pub(crate) http: &'a reqwest::Client,
    pub(crate) service: &'static str,
    /// Path without the query.
    pub(crate) label: &'a str,
    /// The id that the request carries.
    pub(crate) request_id: &'a str,
    pub(crate) retry: &'a RetryOptions,
    pub(crate) idempotent: bool,
    pub(crate) retry_also: &'static [u16],
    /// Deadline of one attempt.
    pub(crate) deadline: Duration,
}

impl Sending<'_> {
    /// Sends until there is an answer that is not to be retried.
    pub(crate) async fn send(&self, mut request: reqwest::Request) -> Result<Answer, Error> {
        let mut retries = Retries::new(self.retry, self.idempotent, self.retry_also);
        let mut redirects = 0;
        loop {
            let Some(copy) = request.try_clone() else {
                return Err(Error::Invalid { field: "body", message: "cannot be sent twice".into() });
            };
            let result = self.once(copy).await;
            let outcome = match &result {
                Ok(answer) if answer.status.is_redirection() && redirects < REDIRECTS => {
                    match redirect(request.url(), answer) {
                        Some(url) => {
                            redirects += 1;
                            *request.url_mut() = url;
                            continue;
                        }
                        None => return result,
                    }
                }
                Ok(answer) => Outcome::Status(answer.status.as_u16()),
                Err(Error::Connect { .. }) => Outcome::NoConnection,
                Err(Error::Lost { .. }) => Outcome::Lost,
                Err(_) => return result,
            };
            if matches!(outcome, Outcome::Status(status) if status < 400) {
                return result;
            }
            let Some(delay) = retries.next(outcome) else { return result };
            metrics::counter!("bessemer_http_retries_total", "service" => self.service).increment(1);
            tracing::warn!(
                service = self.service,
                method = %request.method(),
                path = self.label,
                request_id = self.request_id,
                ?outcome,
                delay_ms = millis(delay),
                "request failed; retrying"
            );
            sleep(delay).await;
        }
    }

    async fn once(&self, request: reqwest::Request) -> Result<Answer, Error> {
        let method = request.method().as_str().to_owned();
        let address = address(request.url());
        let started = Instant::now();
        let result = match timeout(self.deadline, self.exchange(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Failed::Library(error))) => Err(self.classify(address, &error)),
            Ok(Err(Failed::TooLarge)) => Err(Error::Decode {
                service: self.service,
                message: format!("larger than {LARGEST_ANSWER} bytes"),
            }),
            Err(_) => Err(Error::Timeout { service: self.service, after: self.deadline }),
        };
        let taken = started.elapsed();
        let status = match &result {
            Ok(answer) => answer.status.as_str().to_owned(),
            Err(Error::Connect { .. }) => "connect".to_owned(),
            Err(Error::Timeout { .. }) => "timeout".to_owned(),
            Err(_) => "lost".to_owned(),
        };
        tracing::debug!(
            service = self.service,
            method,
            path = self.label,
            status,
            ms = millis(taken),
            request_id = self.request_id,
            answer_request_id = result.as_ref().ok().and_then(Answer::request_id),
            "request"
        );
        metrics::histogram!("bessemer_http_request_seconds", "service" => self.service)
            .record(taken.as_secs_f64());
        metrics::counter!(
            "bessemer_http_requests_total", "service" => self.service, "method" => method, "status" => status
        )
        .increment(1);
        result
    }

    async fn exchange(&self, request: reqwest::Request) -> Result<Answer, Failed> {
        let mut response = self.http.execute(request).await?;
        let length = response.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        let mut body = Vec::with_capacity(length.min(LARGEST_ANSWER));
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > LARGEST_ANSWER {
                return Err(Failed::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        let status = response.status();
        Ok(Answer { service: self.service, status, headers: std::mem::take(response.headers_mut()), body })
    }

    fn classify(&self, address: String, error: &reqwest::Error) -> Error {
        let service = self.service;
        let message = causes(error);
        if error.is_connect() {
            Error::Connect { service, address, message }
        } else if error.is_timeout() {
            Error::Timeout { service, after: self.deadline }
        } else if error.is_builder() {
            Error::Invalid { field: "request", message }
        } else {
            Error::Lost { service, message }
        }
    }
}

enum Failed {
    Library(reqwest::Error),
    TooLarge,
}

impl From<reqwest::Error> for Failed {
    fn from(error: reqwest::Error) -> Self {
        Self::Library(error.without_url())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Host and port; never user information, path or query.
pub(crate) fn address(url: &Url) -> String {
    format!("{}:{}", url.host_str().unwrap_or("?"), url.port_or_known_default().unwrap_or(0))
}

/// The innermost reasons of an error, in one line.
pub(crate) fn causes(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut source = error.source();
    while let Some(cause) = source {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    body::scrub(if text.is_empty() { "failed" } else { &text })
}

/// Where to go on after a redirect, with the same method whatever the status, as keystoneauth does: only on
/// the same host, and never from https to http, since the request carries a token.
fn redirect(from: &Url, answer: &Answer) -> Option<Url> {
    if !matches!(answer.status.as_u16(), 301..=303 | 307 | 308) {
        return None;
    }
    let to = from.join(answer.header("location")?).ok()?;
    let secure = to.scheme() == "https" || to.scheme() == from.scheme();
    (secure && to.host() == from.host()).then_some(to)
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderValue, LOCATION};

    use super::*;

    fn moved(to: &'static str) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, HeaderValue::from_static(to));
        Answer { service: "x", status: StatusCode::MOVED_PERMANENTLY, headers, body: Vec::new() }
    }

    #[test]
    fn a_redirect_is_followed_on_the_same_host_only() {
        let from = Url::parse("https://api/baremetal").unwrap();
        assert_eq!(redirect(&from, &moved("/baremetal/")).unwrap().as_str(), "https://api/baremetal/");
        assert!(redirect(&from, &moved("https://elsewhere/baremetal/")).is_none());
        assert!(redirect(&from, &moved("http://api/baremetal/")).is_none());
    }
}
