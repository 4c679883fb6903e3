//! TLS of our own HTTP servers: one certificate, and authorities whose clients need no token.

use crate::model::{AuthoritiesSource, ClientAuth, ClientAuthMode};
use crate::tls::{Certificate, CertificateError, ClientAuthError, ClientPolicy, provider};
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

/// Where certificates lie, all PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's own chain.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Authorities of clients, which are then asked for a certificate; one without may still have a token.
    pub client_authorities: Option<PathBuf>,
}

/// Why a server cannot have TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// The key pair cannot be served.
    #[error("{}: {error}", path.display())]
    KeyPair {
        /// Its chain.
        path: PathBuf,
        /// Why.
        #[source]
        error: CertificateError,
    },
    /// The authorities cannot be used.
    #[error("{}: {error}", path.display())]
    Authorities {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        error: ClientAuthError,
    },
    /// The library's reason.
    #[error("TLS: {0}")]
    Library(#[from] rustls::Error),
}

/// A server's TLS as its files said last.
pub struct ServerTls {
    files: TlsFiles,
    config: ArcSwap<ServerConfig>,
}

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// They cannot be read or used.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let config = ArcSwap::from(read(&files)?);
        Ok(Self { files, config })
    }

    /// Reads them again, for connections that begin from now on. On an error the former stay.
    ///
    /// # Errors
    /// They cannot be read or used.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.config.store(read(&self.files)?);
        Ok(())
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.load_full())
    }
}

fn read(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let (cert, key) = (text(&files.cert)?, text(&files.key)?);
    let pair = Certificate::from_pem(&cert, &key)
        .map_err(|error| TlsError::KeyPair { path: files.cert.clone(), error })?;
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let policy = files.client_authorities.as_deref().map(clients).transpose()?;
    let builder = match policy.as_ref().and_then(ClientPolicy::verifier) {
        Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(pair.key()))));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Whoever comes again shows its certificate again.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn clients(path: &Path) -> Result<ClientPolicy, TlsError> {
    let pem = text(path)?;
    let source = ClientAuth {
        mode: ClientAuthMode::Optional,
        authorities: Some(AuthoritiesSource::Pem(pem.to_vec().into())),
        forward: false,
    };
    ClientPolicy::load(&source, None).map_err(|error| TlsError::Authorities { path: path.into(), error })
}

fn text(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    std::fs::read(path).map(Zeroizing::new).map_err(|error| TlsError::File { path: path.into(), error })
}
