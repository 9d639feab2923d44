//! What differs between the services: names in the catalog, where the version stands in the address, which
//! header carries the microversion, and the newest version that we know.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use crate::{Error, request::ApiVersion};

/// A service that we call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// Ironic.
    Baremetal,
    /// Placement.
    Placement,
    /// Neutron.
    Network,
    /// Glance.
    Image,
    /// Cinder.
    BlockStorage,
}

impl Service {
    /// Official service type, also the name in errors, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Baremetal => "baremetal",
            Self::Placement => "placement",
            Self::Network => "network",
            Self::Image => "image",
            Self::BlockStorage => "block-storage",
        }
    }

    /// Types it may have in a catalog, the official one first (service types authority; versions of Cinder's
    /// API before the third are left out, since their addresses are of no use).
    pub(crate) const fn types(self) -> &'static [&'static str] {
        match self {
            Self::Baremetal => &["baremetal", "bare-metal"],
            Self::Placement => &["placement"],
            Self::Network => &["network"],
            Self::Image => &["image"],
            Self::BlockStorage => &["block-storage", "volumev3", "block-store"],
        }
    }

    /// Path segment of the API's version under its root.
    const fn version_path(self) -> Option<&'static str> {
        match self {
            Self::Baremetal => Some("v1"),
            Self::Placement => None,
            Self::Network => Some("v2.0"),
            Self::Image => Some("v2"),
            Self::BlockStorage => Some("v3"),
        }
    }

    /// The newest version that we know; what stock negotiates, as captured, for Ironic.
    pub(crate) const fn newest(self) -> Option<ApiVersion> {
        match self {
            Self::Baremetal => Some(ApiVersion::new(1, 109)),
            Self::Placement => Some(ApiVersion::new(1, 39)),
            Self::BlockStorage => Some(ApiVersion::new(3, 69)),
            Self::Network | Self::Image => None,
        }
    }

    /// Name of the service in `OpenStack-API-Version`.
    const fn version_name(self) -> &'static str {
        match self {
            Self::BlockStorage => "volume",
            other => other.name(),
        }
    }

    /// Adds the headers that ask for a version.
    pub(crate) fn ask_version(self, version: ApiVersion, headers: &mut HeaderMap) -> Result<(), Error> {
        let value = |text: String| {
            HeaderValue::from_str(&text)
                .map_err(|error| Error::Invalid { field: "version", message: error.to_string() })
        };
        let name = HeaderName::from_static("openstack-api-version");
        headers.insert(name, value(format!("{} {version}", self.version_name()))?);
        if self == Self::Baremetal {
            let old = HeaderName::from_static("x-openstack-ironic-api-version");
            headers.insert(old, value(version.to_string())?);
        }
        Ok(())
    }

    /// The versioned root for an endpoint that may have the version in its path or not; what stands after the
    /// version (Cinder's project) is kept.
    pub(crate) fn versioned(self, endpoint: &Url) -> Result<Url, Error> {
        let mut url = endpoint.clone();
        if let Some(version) = self.version_path()
            && !has_segment(endpoint, version)
        {
            url.path_segments_mut()
                .map_err(|()| self.bad_endpoint("not an http or https address"))?
                .pop_if_empty()
                .push(version);
        }
        Ok(url)
    }

    /// The address of the version document: the endpoint as it is, without what stands after the version.
    pub(crate) fn version_document(self, endpoint: &Url) -> Url {
        let mut url = endpoint.clone();
        if let Some(version) = self.version_path()
            && has_segment(endpoint, version)
        {
            let kept: Vec<String> = endpoint
                .path_segments()
                .into_iter()
                .flatten()
                .take_while(|segment| *segment != version)
                .chain([version, ""])
                .map(str::to_owned)
                .collect();
            if let Ok(mut segments) = url.path_segments_mut() {
                segments.clear().extend(kept);
            }
        }
        url
    }

    pub(crate) fn bad_endpoint(self, message: impl Into<String>) -> Error {
        Error::Endpoint { service: self.name(), message: message.into() }
    }
}

fn has_segment(url: &Url, wanted: &str) -> bool {
    url.path_segments().is_some_and(|mut segments| segments.any(|segment| segment == wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn the_version_is_added_where_the_endpoint_lacks_it() {
        for given in ["http://i:6385", "http://i:6385/", "http://i:6385/v1", "http://i:6385/v1/"] {
            let root = Service::Baremetal.versioned(&url(given)).unwrap();
            assert_eq!(root.as_str().trim_end_matches('/'), "http://i:6385/v1", "{given}");
        }
        assert_eq!(
            Service::Network.versioned(&url("http://n/networking")).unwrap().path(),
            "/networking/v2.0"
        );
        assert_eq!(Service::BlockStorage.versioned(&url("http://c/v3/p")).unwrap().path(), "/v3/p");
        assert_eq!(Service::Placement.versioned(&url("http://p/placement")).unwrap().path(), "/placement");
    }

    #[test]
    fn the_version_document_is_above_the_project() {
        assert_eq!(Service::BlockStorage.version_document(&url("http://c/vol/v3/p")).path(), "/vol/v3/");
        assert_eq!(Service::Baremetal.version_document(&url("http://i:6385")).path(), "/");
        assert_eq!(Service::Baremetal.version_document(&url("http://i:6385/v1")).path(), "/v1/");
    }

    #[test]
    fn ironic_is_asked_in_the_old_header_as_well() {
        let mut headers = HeaderMap::new();
        Service::Baremetal.ask_version(ApiVersion::new(1, 109), &mut headers).unwrap();
        assert_eq!(headers["openstack-api-version"], "baremetal 1.109");
        assert_eq!(headers["x-openstack-ironic-api-version"], "1.109");
        let mut headers = HeaderMap::new();
        Service::BlockStorage.ask_version(ApiVersion::new(3, 44), &mut headers).unwrap();
        assert_eq!(headers["openstack-api-version"], "volume 3.44");
        assert_eq!(headers.len(), 1);
    }
}
