//! A session's options and the HTTP client they make.

use std::{path::PathBuf, time::Duration};

use reqwest::{Certificate, Client, ClientBuilder, Identity, redirect::Policy};

use super::auth::Auth;
use crate::{Error, send::causes};

/// Deadline of one attempt where `timeout` is not configured; an OpenStack API that takes longer is taken for
/// dead.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_mins(1);
/// Time to connect where `timeout` is not shorter.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The session options of keystoneauth, with the way to authenticate.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// How to authenticate.
    pub auth: Auth,
    /// `cafile`: PEM file that replaces the system's roots.
    pub cafile: Option<PathBuf>,
    /// `certfile`: PEM file of the client's certificate (and key, without `keyfile`).
    pub certfile: Option<PathBuf>,
    /// `keyfile`: PEM file of the client's key.
    pub keyfile: Option<PathBuf>,
    /// `insecure`: do not verify the server.
    pub insecure: bool,
    /// `timeout`: deadline of one attempt; 60 s where not configured.
    pub timeout: Option<Duration>,
    /// `User-Agent`.
    pub user_agent: String,
}

impl SessionOptions {
    /// Defaults with this authentication.
    pub fn new(auth: Auth) -> Self {
        Self {
            auth,
            cafile: None,
            certfile: None,
            keyfile: None,
            insecure: false,
            timeout: None,
            user_agent: concat!("bessemer/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }

    /// Whether one session can serve for both: the same token, the same certificates, the same deadline.
    pub fn is_same(&self, other: &Self) -> bool {
        self.auth.is_same(&other.auth)
            && (&self.cafile, &self.certfile, &self.keyfile, self.insecure)
                == (&other.cafile, &other.certfile, &other.keyfile, other.insecure)
            && (self.timeout, &self.user_agent) == (other.timeout, &other.user_agent)
    }

    /// Deadline of one attempt.
    pub(crate) fn deadline(&self) -> Duration {
        self.timeout.unwrap_or(DEFAULT_TIMEOUT)
    }

    /// Makes the HTTP client. Reads the files.
    ///
    /// Redirects are followed by us (the token must not leave the host), and no proxy is used: services of a
    /// cloud speak to each other directly.
    pub(crate) fn client(&self) -> Result<Client, Error> {
        // Fails only if one is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = self.tls(self.builder())?;
        match builder.build() {
            Ok(client) => Ok(client),
            // A machine without system roots can still speak plain http, and https with `cafile`.
            Err(error) if self.cafile.is_none() => {
                tracing::warn!(
                    reason = causes(&error),
                    "the system has no CA certificates; HTTPS needs the option cafile"
                );
                self.tls(self.builder().tls_certs_only([]))?
                    .build()
                    .map_err(|error| invalid("certfile", &error))
            }
            Err(error) => Err(invalid("cafile", &error)),
        }
    }

    fn builder(&self) -> ClientBuilder {
        Client::builder()
            .user_agent(&self.user_agent)
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT.min(self.deadline()))
    }

    fn tls(&self, mut builder: ClientBuilder) -> Result<ClientBuilder, Error> {
        if let Some(path) = &self.cafile {
            let roots =
                Certificate::from_pem_bundle(&read("cafile", path)?).map_err(|e| invalid("cafile", &e))?;
            if roots.is_empty() {
                return Err(Error::Invalid {
                    field: "cafile",
                    message: format!("{} holds no PEM certificate", path.display()),
                });
            }
            builder = builder.tls_certs_only(roots);
        }
        match (&self.certfile, &self.keyfile) {
            (Some(cert), key) => {
                let mut pem = read("certfile", cert)?;
                if let Some(key) = key {
                    pem.push(b'\n');
                    pem.extend(read("keyfile", key)?);
                }
                builder = builder.identity(Identity::from_pem(&pem).map_err(|e| invalid("certfile", &e))?);
            }
            (None, Some(_)) => {
                let message = "is set without certfile; set both or none".to_owned();
                return Err(Error::Invalid { field: "keyfile", message });
            }
            (None, None) => {}
        }
        Ok(if self.insecure { builder.tls_danger_accept_invalid_certs(true) } else { builder })
    }
}

fn read(field: &'static str, path: &PathBuf) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::Invalid {
        field,
        message: format!("cannot read {}: {error}", path.display()),
    })
}

fn invalid(field: &'static str, error: &reqwest::Error) -> Error {
    Error::Invalid { field, message: format!("{}; give a PEM file", causes(error)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> SessionOptions {
        SessionOptions::new(Auth::None { endpoint: None })
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named_with_its_option() {
        let missing = SessionOptions { cafile: Some("/nonexistent/ca.pem".into()), ..options() };
        assert!(
            missing.client().unwrap_err().to_string().starts_with("cafile: cannot read /nonexistent/ca.pem")
        );
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        std::fs::write(&path, "not a certificate").unwrap();
        let empty = SessionOptions { cafile: Some(path.clone()), ..options() };
        assert!(matches!(empty.client(), Err(Error::Invalid { field: "cafile", .. })));
        let alone = SessionOptions { keyfile: Some(path), ..options() };
        assert!(matches!(alone.client(), Err(Error::Invalid { field: "keyfile", .. })));
    }

    #[test]
    fn the_defaults_make_a_client() {
        options().client().unwrap();
        SessionOptions { insecure: true, ..options() }.client().unwrap();
    }
}
