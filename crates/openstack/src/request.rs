//! Requests, apart from their sending: what is asked, in which version, and whether it may be asked twice.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use reqwest::Method;
use serde::Serialize;
use url::Url;

use crate::Error;

/// A microversion, `major.minor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion {
    /// Left of the point.
    pub major: u32,
    /// Right of the point; 1.9 is older than 1.10.
    pub minor: u32,
}

impl ApiVersion {
    /// `major.minor`.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for ApiVersion {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (major, minor) = text.trim_start_matches('v').split_once('.').ok_or(())?;
        Ok(Self { major: major.parse().map_err(|_| ())?, minor: minor.parse().map_err(|_| ())? })
    }
}

/// In which version of the API a request is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// No version header: the service's oldest behaviour.
    Unversioned,
    /// Exactly this one.
    Exact(ApiVersion),
    /// The newest that both sides know, and not older than this one.
    Newest {
        /// The oldest that will do.
        at_least: ApiVersion,
    },
}

/// A request to a service, relative to its versioned endpoint.
///
/// `Debug` shows neither query nor body.
#[derive(Clone)]
pub struct Request {
    pub(crate) method: Method,
    pub(crate) segments: Vec<String>,
    pub(crate) query: Vec<(Cow<'static, str>, String)>,
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) version: Version,
    pub(crate) idempotent: bool,
    pub(crate) retry_also: &'static [u16],
    pub(crate) deadline: Duration,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("segments", &self.segments)
            .field("version", &self.version)
            .field("idempotent", &self.idempotent)
            .finish_non_exhaustive()
    }
}

impl Request {
    /// A request for the path made of `segments`, each of which is percent-encoded as a whole.
    pub fn new(method: Method, segments: &[&str]) -> Self {
        let idempotent = method == Method::GET || method == Method::HEAD;
        Self {
            method,
            segments: segments.iter().map(|&segment| segment.to_owned()).collect(),
            query: Vec::new(),
            body: None,
            version: Version::Unversioned,
            idempotent,
            retry_also: &[],
            deadline: Duration::ZERO,
        }
    }

    /// GET.
    pub fn get(segments: &[&str]) -> Self {
        Self::new(Method::GET, segments)
    }

    /// POST.
    pub fn post(segments: &[&str]) -> Self {
        Self::new(Method::POST, segments)
    }

    /// PUT.
    pub fn put(segments: &[&str]) -> Self {
        Self::new(Method::PUT, segments)
    }

    /// PATCH.
    pub fn patch(segments: &[&str]) -> Self {
        Self::new(Method::PATCH, segments)
    }

    /// DELETE.
    pub fn delete(segments: &[&str]) -> Self {
        Self::new(Method::DELETE, segments)
    }

    /// Adds a pair to the query.
    #[must_use]
    pub fn query(mut self, key: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        self.query.push((key.into(), value.into()));
        self
    }

    /// Adds a pair to the query where there is a value.
    #[must_use]
    pub fn query_some<V: ToString>(self, key: &'static str, value: Option<V>) -> Self {
        match value {
            Some(value) => self.query(key, value.to_string()),
            None => self,
        }
    }

    /// Sets a JSON body.
    pub fn json(mut self, body: &impl Serialize) -> Result<Self, Error> {
        let body = serde_json::to_vec(body)
            .map_err(|error| Error::Invalid { field: "body", message: error.to_string() })?;
        self.body = Some(body);
        Ok(self)
    }

    /// Sets the version to use.
    #[must_use]
    pub fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// Sets exactly this version.
    #[must_use]
    pub fn exactly(self, major: u32, minor: u32) -> Self {
        self.version(Version::Exact(ApiVersion::new(major, minor)))
    }

    /// Sets the newest version, not older than this one.
    #[must_use]
    pub fn at_least(self, major: u32, minor: u32) -> Self {
        self.version(Version::Newest { at_least: ApiVersion::new(major, minor) })
    }

    /// Says that asking twice does no harm; GET is so by itself.
    #[must_use]
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// Statuses that are retried beside 502, 503 and 504; for an idempotent request only.
    #[must_use]
    pub fn retry_also(mut self, statuses: &'static [u16]) -> Self {
        self.retry_also = statuses;
        self
    }

    /// Allows an attempt this time where the session's deadline is shorter: for calls that a service answers
    /// only when its work is done.
    #[must_use]
    pub fn deadline(mut self, at_least: Duration) -> Self {
        self.deadline = at_least;
        self
    }

    /// The path for logs: without the query.
    pub fn label(&self) -> String {
        let mut label = String::new();
        for segment in &self.segments {
            label.push('/');
            label.push_str(segment);
        }
        label
    }

    /// The address under `base`.
    pub(crate) fn url(&self, base: &Url) -> Result<Url, Error> {
        // The url crate drops "." and ".." silently, which would address the parent.
        if let Some(bad) = self.segments.iter().find(|segment| matches!(segment.as_str(), "" | "." | "..")) {
            return Err(Error::Invalid { field: "id", message: format!("{bad:?} cannot be part of a path") });
        }
        let mut url = base.clone();
        url.set_query(None);
        url.set_fragment(None);
        url.path_segments_mut()
            .map_err(|()| Error::Invalid {
                field: "endpoint",
                message: "not an http or https address".into(),
            })?
            .pop_if_empty()
            .extend(&self.segments);
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        Ok(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number_and_not_by_text() {
        assert!(ApiVersion::new(1, 9) < ApiVersion::new(1, 10));
        assert_eq!("1.109".parse(), Ok(ApiVersion::new(1, 109)));
        assert_eq!("v1.0".parse(), Ok(ApiVersion::new(1, 0)));
        assert_eq!("".parse::<ApiVersion>(), Err(()));
    }

    #[test]
    fn a_segment_cannot_leave_its_place() {
        let base = Url::parse("http://ironic:6385/baremetal/v1/").unwrap();
        let url = Request::get(&["nodes", "a/b?c"]).query("fields", "x,y z").url(&base).unwrap();
        assert_eq!(url.as_str(), "http://ironic:6385/baremetal/v1/nodes/a%2Fb%3Fc?fields=x%2Cy+z");
        for bad in ["..", ".", ""] {
            assert!(Request::delete(&["nodes", bad]).url(&base).is_err());
        }
    }

    #[test]
    fn debug_shows_neither_query_nor_body() {
        let request = Request::put(&["x"]).query("token", "hunter2").json(&"hunter3").unwrap();
        let shown = format!("{request:?}{}", request.label());
        assert!(!shown.contains("hunter"), "{shown}");
    }
}
