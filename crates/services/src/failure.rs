//! What a failed call of a service means for the work that needs it.

use openstack::Error;

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The service cannot be asked now: it is down, or an operator must correct credentials, catalog or
    /// endpoint. The same call succeeds once that is over.
    Away,
    /// The service answered that it will not do it.
    Refused,
    /// The call or its answer is not what the API has; repeating it changes nothing.
    Broken,
}

/// The meaning of a failure.
pub fn meaning(error: &Error) -> Meaning {
    match error {
        _ if error.is_transient() => Meaning::Away,
        Error::Auth { .. } | Error::Endpoint { .. } => Meaning::Away,
        Error::Http { .. } => Meaning::Refused,
        _ => Meaning::Broken,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_time_or_an_operator_mends_is_waited_for_and_an_answer_is_not() {
        let service = "network";
        let http =
            |status| Error::Http { service, status, code: None, message: "no".to_owned(), request_id: None };
        let message = || "m".to_owned();
        for (error, expected) in [
            (http(503), Meaning::Away),
            (http(429), Meaning::Away),
            (http(409), Meaning::Refused),
            (Error::Connect { service, address: message(), message: message() }, Meaning::Away),
            (Error::Lost { service, message: message() }, Meaning::Away),
            (Error::Timeout { service, after: Duration::from_secs(1) }, Meaning::Away),
            (Error::Auth { status: 401, message: message() }, Meaning::Away),
            (Error::Endpoint { service, message: message() }, Meaning::Away),
            (Error::Decode { service, message: message() }, Meaning::Broken),
            (Error::Unsupported { service, needs: message(), message: message() }, Meaning::Broken),
            (Error::Invalid { field: "request id", message: message() }, Meaning::Broken),
        ] {
            assert_eq!(meaning(&error), expected, "{error}");
        }
    }
}
