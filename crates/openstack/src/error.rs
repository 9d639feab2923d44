//! What can go wrong with a call, by what the caller does about it.
//!
//! No variant carries a token, a password, the query of a URL or user information of a URL: messages of
//! services are scrubbed and cut (see `body`), errors of the HTTP library are stripped of their URL.

use std::time::Duration;

/// Error of a call to an OpenStack service. Cheap enough to clone, so that callers who waited for the same
/// thing share it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The service answered with an error status. Normal for 404 and 409.
    #[error(
        "{service} answered {status}{}: {message}{}",
        bracket(code.as_deref()),
        bracket(request_id.as_deref())
    )]
    Http {
        /// Official service type: `baremetal`, `placement`, …
        service: &'static str,
        /// HTTP status.
        status: u16,
        /// Placement's error code (`placement.concurrent_update`) or Neutron's error type (`IpAddressInUse`).
        code: Option<String>,
        /// The service's text, scrubbed and cut.
        message: String,
        /// The service's `x-openstack-request-id`, to look it up in its log.
        request_id: Option<String>,
    },
    /// No connection: nothing was sent, and the call may be repeated whatever it is.
    #[error("cannot connect to {service} at {address}: {message}")]
    Connect {
        /// As above; `identity` for Keystone.
        service: &'static str,
        /// Host and port.
        address: String,
        /// Why.
        message: String,
    },
    /// The connection broke after the request had been sent: it may or may not have been carried out.
    #[error("connection to {service} was lost: {message}")]
    Lost {
        /// As above.
        service: &'static str,
        /// Why.
        message: String,
    },
    /// No answer within the deadline: the request may or may not have been carried out.
    #[error("{service} did not answer within {} s", .after.as_secs_f32())]
    Timeout {
        /// As above.
        service: &'static str,
        /// The deadline.
        after: Duration,
    },
    /// The answer is not what the API promises. Repeating the call does not help.
    #[error("cannot understand the answer of {service}: {message}")]
    Decode {
        /// As above.
        service: &'static str,
        /// What was expected where.
        message: String,
    },
    /// Keystone refused the credentials. An operator must correct the authentication options.
    #[error(
        "authentication failed ({status}): {message}; check the authentication options of this service's \
         group"
    )]
    Auth {
        /// Keystone's status.
        status: u16,
        /// Keystone's text, scrubbed.
        message: String,
    },
    /// There is no endpoint of the service. An operator must correct the catalog or the adapter options.
    #[error("no endpoint of {service}: {message}")]
    Endpoint {
        /// As above.
        service: &'static str,
        /// What was looked for, and the remedy.
        message: String,
    },
    /// The service is too old (or too new) for the call.
    #[error("{service} does not support {needs}: {message}")]
    Unsupported {
        /// As above.
        service: &'static str,
        /// The API version that the call needs.
        needs: String,
        /// What the service offers.
        message: String,
    },
    /// An option or an argument that cannot be used; names it and the remedy.
    #[error("{field}: {message}")]
    Invalid {
        /// The option or argument.
        field: &'static str,
        /// What is wrong and what to do.
        message: String,
    },
}

fn bracket(text: Option<&str>) -> String {
    text.map(|text| format!(" [{text}]")).unwrap_or_default()
}

impl Error {
    /// The HTTP status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Http { status, .. } | Self::Auth { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Placement's error code or Neutron's error type.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Http { code, .. } => code.as_deref(),
            _ => None,
        }
    }

    /// The service's own text, without our words around it; empty where there was no answer.
    pub fn message(&self) -> &str {
        match self {
            Self::Http { message, .. } => message,
            _ => "",
        }
    }

    /// 404: what was asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Http { status: 404, .. })
    }

    /// 409: locked, in use, or changed since it was read.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Http { status: 409, .. })
    }

    /// 400: the service does not accept the request as it is.
    pub fn is_bad_request(&self) -> bool {
        matches!(self, Self::Http { status: 400, .. })
    }

    /// 401: the token is not accepted (any more).
    pub fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Http { status: 401, .. } | Self::Auth { .. })
    }

    /// Whether the same call may succeed later without anybody's doing: no connection, no answer, 408, 429,
    /// 5xx.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Lost { .. } | Self::Timeout { .. } => true,
            Self::Http { status, .. } | Self::Auth { status, .. } => {
                matches!(status, 408 | 429) || (*status >= 500 && *status != 501)
            }
            _ => false,
        }
    }
}

/// Turns 404 into `None`.
pub(crate) fn found<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(status: u16) -> Error {
        Error::Http { service: "baremetal", status, code: None, message: "no".into(), request_id: None }
    }

    #[test]
    fn what_may_succeed_later_is_transient() {
        assert!(http(503).is_transient());
        assert!(http(500).is_transient());
        assert!(http(429).is_transient());
        assert!(!http(501).is_transient());
        assert!(!http(409).is_transient());
        assert!(Error::Timeout { service: "x", after: Duration::from_secs(1) }.is_transient());
        assert!(!Error::Decode { service: "x", message: String::new() }.is_transient());
        assert!(!Error::Auth { status: 401, message: String::new() }.is_transient());
    }

    #[test]
    fn the_text_names_service_status_code_and_request() {
        let error = Error::Http {
            service: "placement",
            status: 409,
            code: Some("placement.concurrent_update".into()),
            message: "generation conflict".into(),
            request_id: Some("req-1".into()),
        };
        assert_eq!(
            error.to_string(),
            "placement answered 409 [placement.concurrent_update]: generation conflict [req-1]"
        );
    }
}
