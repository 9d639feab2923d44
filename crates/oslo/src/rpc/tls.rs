//! TLS to the broker, by oslo.messaging's rules: with a CA file its authorities and no others are trusted;
//! the host name is checked only when the URL names one host; without a CA file nothing is verified.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};

use super::options::TlsVersion;
use super::{Error, RabbitOptions};

/// Builds the configuration anew from the files, so that a renewed certificate is used at the next
/// connection.
pub(super) fn client_config(options: &RabbitOptions, hosts: usize) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions: &[&SupportedProtocolVersion] = match options.ssl_version {
        None => rustls::DEFAULT_VERSIONS,
        Some(TlsVersion::V1_2) => &[&rustls::version::TLS12],
        Some(TlsVersion::V1_3) => &[&rustls::version::TLS13],
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|error| Error::option("ssl_version", error.to_string()))?;

    let builder = match &options.ssl_ca_file {
        None => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Lenient { chain: None, provider }))
        }
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates("ssl_ca_file", file)? {
                roots.add(certificate).map_err(|error| Error::option("ssl_ca_file", error.to_string()))?;
            }
            let verifier =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                    .build()
                    .map_err(|error| Error::option("ssl_ca_file", error.to_string()))?;
            if hosts == 1 && options.ssl_enforce_hostname_verification {
                builder.with_webpki_verifier(verifier)
            } else {
                let verifier = Lenient { chain: Some(verifier), provider };
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
            }
        }
    };

    let Some(certificate) = &options.ssl_cert_file else { return Ok(builder.with_no_client_auth()) };
    let (key_option, key_file) = match &options.ssl_key_file {
        Some(key) => ("ssl_key_file", key),
        None => ("ssl_cert_file", certificate),
    };
    let key = PrivateKeyDer::from_pem_file(key_file).map_err(|error| {
        Error::option(key_option, format!("{}: no private key: {error}", key_file.display()))
    })?;
    builder
        .with_client_auth_cert(certificates("ssl_cert_file", certificate)?, key)
        .map_err(|error| Error::option("ssl_cert_file", error.to_string()))
}

fn certificates(option: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(certificates) if certificates.is_empty() => {
            Err(Error::option(option, format!("{}: no certificate in PEM form", file.display())))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(Error::option(option, format!("{}: {error}", file.display()))),
    }
}

/// Verifies the chain without the name (`chain`), or nothing; signatures always.
#[derive(Debug)]
struct Lenient {
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        // The name is looked at last: when it is all that is wrong, the chain is sound.
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{ClientConnection, ServerConfig, ServerConnection};
    use std::io::Write;
    use std::path::PathBuf;
    use std::process::Command;

    /// A broker's certificate for `localhost` and the authority that signed it.
    struct Authority {
        directory: tempfile::TempDir,
    }

    impl Authority {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let script = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.pem &&
                openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -keyout broker.key -out broker.csr &&
                echo subjectAltName=DNS:localhost >ext &&
                openssl x509 -req -in broker.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out broker.pem";
            let output = Command::new("sh").args(["-c", script]).current_dir(&directory).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success(),
                "this test makes certificates with openssl, which must be installed: {said}"
            );
            Self { directory }
        }

        fn file(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        /// Shakes hands with this authority's broker under the name given, as a client with these options.
        fn handshake(
            &self,
            options: &RabbitOptions,
            hosts: usize,
            name: &'static str,
        ) -> Result<(), rustls::Error> {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let server = ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()?
                .with_no_client_auth()
                .with_single_cert(
                    certificates("", &self.file("broker.pem")).unwrap(),
                    PrivateKeyDer::from_pem_file(self.file("broker.key")).unwrap(),
                )?;
            let config = client_config(options, hosts).unwrap();
            let mut client = ClientConnection::new(Arc::new(config), ServerName::try_from(name).unwrap())?;
            let mut server = ServerConnection::new(Arc::new(server))?;
            while client.is_handshaking() || server.is_handshaking() {
                let mut wire = Vec::new();
                client.write_tls(&mut wire).unwrap();
                server.read_tls(&mut wire.as_slice()).unwrap();
                server.process_new_packets()?;
                wire.clear();
                server.write_tls(&mut wire).unwrap();
                client.read_tls(&mut wire.as_slice()).unwrap();
                client.process_new_packets()?;
            }
            Ok(())
        }
    }

    fn trusting(ca: PathBuf) -> RabbitOptions {
        RabbitOptions { ssl: true, ssl_ca_file: Some(ca), ..RabbitOptions::default() }
    }

    #[test]
    fn with_a_ca_file_and_one_host_chain_and_name_are_checked() {
        let (ours, other) = (Authority::new(), Authority::new());
        let options = trusting(ours.file("ca.pem"));
        assert_eq!(ours.handshake(&options, 1, "localhost"), Ok(()));
        assert!(ours.handshake(&options, 1, "mq.example").is_err());
        assert!(other.handshake(&options, 1, "localhost").is_err());
    }

    #[test]
    fn with_several_hosts_the_chain_is_checked_and_the_name_is_not() {
        let (ours, other) = (Authority::new(), Authority::new());
        let options = trusting(ours.file("ca.pem"));
        assert_eq!(ours.handshake(&options, 2, "mq.example"), Ok(()));
        assert!(other.handshake(&options, 2, "mq.example").is_err());
    }

    #[test]
    fn without_a_ca_file_nothing_is_checked() {
        let options = RabbitOptions { ssl: true, ..RabbitOptions::default() };
        assert_eq!(Authority::new().handshake(&options, 1, "mq.example"), Ok(()));
    }

    #[test]
    fn a_version_can_be_insisted_on() {
        let ours = Authority::new();
        for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
            let options = RabbitOptions { ssl_version: Some(version), ..trusting(ours.file("ca.pem")) };
            assert_eq!(ours.handshake(&options, 1, "localhost"), Ok(()));
        }
    }

    #[test]
    fn an_unreadable_file_is_named_with_its_option() {
        let error = client_config(&trusting("/nonexistent/ca.pem".into()), 1).unwrap_err().to_string();
        assert!(error.contains("ssl_ca_file") && error.contains("/nonexistent/ca.pem"), "{error}");
    }

    #[test]
    fn a_file_without_certificate_is_refused() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"nothing").unwrap();
        assert!(
            client_config(&trusting(file.path().into()), 1)
                .unwrap_err()
                .to_string()
                .contains("no certificate")
        );
    }
}
