//! The client's side: how servers of a backend are spoken to over TLS.

use super::certificate::Certificate;
use super::server::{provider_of, versions};
use crate::model::{CipherSuite, TlsVersion, UpstreamTls};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::path::Path;
use std::sync::Arc;

/// Where Linux distributions keep the certificates of the authorities they trust, the first that exists counts.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Sessions kept for resumption by one configuration.
const SESSIONS_MAX: usize = 256;

/// Which servers are trusted.
#[derive(Debug, Clone, Default)]
pub enum Trust {
    /// Those with a certificate of an authority that the system trusts.
    #[default]
    System,
    /// Those with a certificate of an authority in this PEM text, and no others.
    Authorities(Arc<[u8]>),
    /// All of them (vulcand's `InsecureSkipVerify`); only the possession of a key is checked.
    Anyone,
}

/// How servers are spoken to over TLS.
#[derive(Debug, Clone, Default)]
pub struct ClientTls {
    /// Which servers are trusted.
    pub trust: Trust,
    /// Shown to servers that ask for one.
    pub certificate: Option<Arc<Certificate>>,
    /// Offered by ALPN, the preferred one first; none is offered where it is empty.
    pub alpn: Vec<Vec<u8>>,
    /// Lowest and highest version; default TLS 1.2 to 1.3.
    pub versions: Option<(TlsVersion, TlsVersion)>,
    /// Cipher suites of TLS 1.2; empty: all that are sound.
    pub cipher_suites: Vec<CipherSuite>,
    /// Sessions are not resumed.
    pub no_resumption: bool,
}

impl ClientTls {
    /// How a backend's servers are spoken to, with the certificate that goes with its settings.
    pub fn of(settings: &UpstreamTls, certificate: Option<&Arc<Certificate>>, alpn: Vec<Vec<u8>>) -> Self {
        let trust = match &settings.authorities {
            _ if settings.insecure => Trust::Anyone,
            Some(pem) => Trust::Authorities(pem.as_bytes().into()),
            None => Trust::System,
        };
        Self {
            trust,
            certificate: certificate.cloned(),
            alpn,
            versions: Some((settings.min_version, settings.max_version)),
            cipher_suites: settings.cipher_suites.clone(),
            no_resumption: settings.tickets_disabled,
        }
    }
}

/// Why servers cannot be spoken to over TLS.
#[derive(Debug, thiserror::Error)]
pub enum ClientTlsError {
    /// The text of the authorities is damaged.
    #[error("the authorities' certificates are not well-formed PEM")]
    Pem,
    /// With nobody to trust, no server could be reached.
    #[error("there is no certificate of an authority in {0}; at least one is needed to trust any server")]
    NoAuthority(&'static str),
    /// One of the authorities' certificates cannot be used.
    #[error("certificate {0} of the authorities cannot be used")]
    Authority(usize),
    /// The library's reason.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] Error),
}

/// What is offered to servers. The name that a server must prove is given with each connection. Reads the system's
/// bundle where it is the one trusted, so it blocks; an empty bundle is an error and never means trust.
pub fn client_config(tls: &ClientTls) -> Result<Arc<ClientConfig>, ClientTlsError> {
    let provider = provider_of(&tls.cipher_suites);
    let (min, max) = tls.versions.unwrap_or((TlsVersion::V1_2, TlsVersion::V1_3));
    let builder =
        ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions(min, max))?;
    let verifier: Arc<dyn ServerCertVerifier> = match &tls.trust {
        Trust::System => verified_by(system_roots()?, provider)?,
        Trust::Authorities(pem) => verified_by(roots(pem, "the text given")?, provider)?,
        Trust::Anyone => Arc::new(AnyServer(provider)),
    };
    // Trusting anyone is what the configuration asks for there; the other two verify as usual.
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match &tls.certificate {
        None => builder.with_no_client_auth(),
        Some(certificate) => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certificate.key().clone())))
        }
    };
    config.alpn_protocols.clone_from(&tls.alpn);
    config.resumption = match tls.no_resumption {
        true => Resumption::disabled(),
        false => Resumption::in_memory_sessions(SESSIONS_MAX),
    };
    config.enable_early_data = false;
    Ok(Arc::new(config))
}

fn verified_by(
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, ClientTlsError> {
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    Ok(verifier.map_err(|error| Error::General(error.to_string()))?)
}

pub(super) fn roots(pem: &[u8], origin: &'static str) -> Result<RootCertStore, ClientTlsError> {
    let mut roots = RootCertStore::empty();
    for (place, der) in CertificateDer::pem_slice_iter(pem).enumerate() {
        let der = der.map_err(|_| ClientTlsError::Pem)?;
        roots.add(der).map_err(|_| ClientTlsError::Authority(place + 1))?;
    }
    if roots.is_empty() { Err(ClientTlsError::NoAuthority(origin)) } else { Ok(roots) }
}

/// A system's bundle may hold certificates that no longer parse; they are passed over.
fn system_roots() -> Result<RootCertStore, ClientTlsError> {
    let mut roots = RootCertStore::empty();
    if let Some(pem) = SYSTEM_BUNDLES.iter().find_map(|path| std::fs::read(Path::new(path)).ok()) {
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
    }
    if roots.is_empty() { Err(ClientTlsError::NoAuthority("the system's bundle")) } else { Ok(roots) }
}

/// Accepts every certificate, but only from who holds its key.
#[derive(Debug)]
pub(super) struct AnyServer(pub(super) Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
