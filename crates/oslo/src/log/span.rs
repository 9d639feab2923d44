//! The spans that put a request and an instance on the lines within them.

use std::fmt::Display;

use tracing::Span;
use tracing::field::Empty;

use crate::context::RequestContext;

/// A span whose lines carry the request's ids and identity. It is there at every log level.
pub fn request_span(context: &RequestContext) -> Span {
    let span = tracing::error_span!(
        "request",
        request_id = %context.request_id,
        global_request_id = Empty,
        user = Empty,
        project = Empty,
        domain = Empty,
        system_scope = Empty,
        user_domain = Empty,
        project_domain = Empty,
    );
    for (name, value) in [
        ("global_request_id", &context.global_request_id),
        ("user", &context.user_id),
        ("project", &context.project_id),
        ("domain", &context.domain_id),
        ("system_scope", &context.system_scope),
        ("user_domain", &context.user_domain_id),
        ("project_domain", &context.project_domain_id),
    ] {
        if let Some(value) = value {
            span.record(name, value.as_str());
        }
    }
    span
}

/// A span whose lines carry the instance. It is there at every log level.
pub fn instance_span(instance: impl Display) -> Span {
    tracing::error_span!("instance", instance = %instance)
}
