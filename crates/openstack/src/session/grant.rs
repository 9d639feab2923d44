//! What Keystone grants: a token, its life, and the catalog.

use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::Instant;

use super::catalog::Catalog;
use crate::{Error, send::Answer};

/// A token this close to its end is renewed before use (keystoneauth's `STALE_TOKEN_DURATION`).
const MARGIN: Duration = Duration::from_secs(30);

/// The service's name in errors and metrics.
pub(crate) const IDENTITY: &str = "identity";

/// A token and what came with it.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) token: SecretString,
    pub(crate) catalog: Catalog,
    pub(crate) project_id: Option<String>,
    granted: Instant,
    /// `None`: does not expire.
    life: Option<Duration>,
}

#[derive(Deserialize)]
struct Body {
    token: Token,
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    issued_at: Option<String>,
    #[serde(default)]
    expires_at: Option<String>,
    #[serde(default)]
    catalog: Catalog,
    #[serde(default)]
    project: Option<Project>,
}

#[derive(Deserialize)]
struct Project {
    id: String,
}

impl Grant {
    /// Reads the answer of `POST /v3/auth/tokens`, which was asked for at `asked`.
    ///
    /// The life is counted from Keystone's own `issued_at` and measured by our monotonic clock, so that
    /// clocks that differ do no harm.
    pub(crate) fn read(answer: &Answer, asked: Instant) -> Result<Self, Error> {
        let missing = |what: &str| Error::Decode { service: IDENTITY, message: format!("no {what}") };
        let token = answer.header("x-subject-token").ok_or_else(|| missing("X-Subject-Token header"))?;
        let body: Body = answer.decode()?;
        let parse = |text: &Option<String>| {
            text.as_deref().and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok())
        };
        let issued = parse(&body.token.issued_at).unwrap_or_else(OffsetDateTime::now_utc);
        let life = parse(&body.token.expires_at)
            .map(|expires| Duration::try_from(expires - issued).unwrap_or(Duration::ZERO));
        Ok(Self {
            token: SecretString::from(token),
            catalog: body.token.catalog,
            project_id: body.token.project.map(|project| project.id),
            granted: asked,
            life,
        })
    }

    /// How long ago it was granted.
    pub(crate) fn age(&self) -> Duration {
        self.granted.elapsed()
    }

    /// Whether it must be renewed before use. A token that lives less than twice the margin is used for half
    /// its life.
    pub(crate) fn is_stale(&self) -> bool {
        self.life.is_some_and(|life| self.age() >= life.saturating_sub(MARGIN).max(life / 2))
    }
}
