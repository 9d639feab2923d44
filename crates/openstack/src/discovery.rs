//! Version documents and the choice of a microversion. Pure.

use serde_json::Value;

use crate::{Error, request::ApiVersion, send::Answer, service::Service};

/// The microversions that a service offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) oldest: ApiVersion,
    pub(crate) newest: ApiVersion,
}

impl Offer {
    /// Reads a version document: `{"versions": […]}`, `{"version": {…}}` or Ironic's `{"default_version":
    /// {…}}`; else Ironic's headers.
    pub(crate) fn read(answer: &Answer) -> Option<Self> {
        let document: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let entries = document["versions"].as_array().into_iter().flatten();
        let entries = entries.chain(document.get("version")).chain(document.get("default_version"));
        let best = entries.filter_map(Self::entry).max_by_key(|offer| offer.newest);
        best.or_else(|| {
            let header = |name| answer.header(name).and_then(|text| text.parse().ok());
            Some(Self {
                oldest: header("x-openstack-ironic-api-minimum-version")?,
                newest: header("x-openstack-ironic-api-maximum-version")?,
            })
        })
    }

    fn entry(entry: &Value) -> Option<Self> {
        let version = |key: &str| entry[key].as_str().and_then(|text| text.parse().ok());
        let newest = version("max_version").or_else(|| version("version"))?;
        Some(Self { oldest: version("min_version").unwrap_or(newest), newest })
    }

    /// The newest version that both sides know.
    pub(crate) fn choose(self, service: Service, at_least: ApiVersion) -> Result<ApiVersion, Error> {
        let ours = service.newest().unwrap_or(self.newest);
        let chosen = self.newest.min(ours);
        if chosen < at_least || chosen < self.oldest {
            return Err(Error::Unsupported {
                service: service.name(),
                needs: format!("API version {at_least}"),
                message: format!(
                    "it offers {} to {}, and {ours} is the newest known here",
                    self.oldest, self.newest
                ),
            });
        }
        Ok(chosen)
    }
}

#[cfg(test)]
mod tests {
    use reqwest::{StatusCode, header::HeaderMap};
    use serde_json::json;

    use super::*;

    fn offer(document: &Value) -> Option<(String, String)> {
        let answer = Answer {
            service: "x",
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: document.to_string().into_bytes(),
        };
        Offer::read(&answer).map(|offer| (offer.oldest.to_string(), offer.newest.to_string()))
    }

    #[test]
    fn every_services_document_is_understood() {
        let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        let entry = json!({"id": "v1", "min_version": "1.1", "version": "1.115"});
        assert_eq!(
            offer(&json!({"name": "Ironic", "default_version": entry, "versions": [entry]})),
            pair("1.1", "1.115")
        );
        assert_eq!(offer(&json!({"id": "v1", "version": entry})), pair("1.1", "1.115"));
        assert_eq!(
            offer(&json!({"versions": [{"id": "v1.0", "max_version": "1.39", "min_version": "1.0"}]})),
            pair("1.0", "1.39")
        );
        assert_eq!(
            offer(&json!({"versions": [{"id": "v2.0", "version": "", "min_version": ""},
                {"id": "v3.0", "version": "3.71", "min_version": "3.0"}]})),
            pair("3.0", "3.71")
        );
        assert_eq!(offer(&json!("nothing")), None);
    }

    #[test]
    fn the_newest_that_both_know_is_chosen() {
        let version = ApiVersion::new;
        let wide = Offer { oldest: version(1, 1), newest: version(1, 115) };
        assert_eq!(wide.choose(Service::Baremetal, version(1, 46)).unwrap(), version(1, 109));
        let old = Offer { newest: version(1, 81), ..wide };
        assert_eq!(old.choose(Service::Baremetal, version(1, 46)).unwrap(), version(1, 81));
        let error = old.choose(Service::Baremetal, version(1, 82)).unwrap_err();
        assert!(error.to_string().contains("API version 1.82"), "{error}");
        let future = Offer { oldest: version(1, 110), newest: version(1, 200) };
        assert!(future.choose(Service::Baremetal, version(1, 1)).is_err());
    }
}
