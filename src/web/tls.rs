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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::{ClientName, serve_tls};
    use axum::{Extension, Router, routing::get};
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    };
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, RootCertStore};
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::TlsConnector;
    use tokio_util::sync::CancellationToken;

    type Authority = CertifiedIssuer<'static, KeyPair>;

    fn authority(name: &str) -> Authority {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    /// A certificate with its key, both PEM.
    fn issue(authority: &Authority, name: &str, host: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        (params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
    }

    /// The body of an answer to a client that shows this; none: there is none.
    async fn ask(
        address: SocketAddr,
        trusts: &Authority,
        shows: Option<&(String, String)>,
    ) -> Option<String> {
        let mut roots = RootCertStore::empty();
        roots.add(trusts.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match shows {
            None => config.with_no_client_auth(),
            Some((cert, key)) => {
                let cert = CertificateDer::from_pem_slice(cert.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                config.with_client_auth_cert(vec![cert], key).unwrap()
            }
        };
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("deployer.example").unwrap();
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
    }

    #[tokio::test]
    async fn clients_are_known_by_the_names_in_their_certificates() {
        let (own, other) = (authority("own"), authority("other"));
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        let server = issue(&own, "deployer", "deployer.example");
        std::fs::write(file("cert"), &server.0).unwrap();
        std::fs::write(file("key"), &server.1).unwrap();
        std::fs::write(file("ca"), own.pem()).unwrap();
        let files = TlsFiles { cert: file("cert"), key: file("key"), client_authorities: Some(file("ca")) };
        let tls = Arc::new(ServerTls::load(files).unwrap());
        let router = Router::new().route(
            "/",
            get(async |name: Option<Extension<ClientName>>| {
                name.map_or("nobody".to_owned(), |Extension(name)| name.0.to_string())
            }),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let serving = tokio::spawn(serve_tls(listener, router, tls.clone(), stop.clone()));

        let pipeline = issue(&own, "build pipeline", "client.example");
        let stranger = issue(&other, "build pipeline", "client.example");
        let shown = async |shows| ask(address, &own, shows).await;
        assert_eq!(shown(Some(&pipeline)).await.as_deref(), Some("build pipeline"));
        assert_eq!(shown(None).await.as_deref(), Some("nobody"));
        assert_eq!(shown(Some(&stranger)).await, None);
        assert_eq!(ask(address, &other, None).await, None);

        std::fs::write(file("ca"), other.pem()).unwrap();
        tls.reload().unwrap();
        assert_eq!(shown(Some(&stranger)).await.as_deref(), Some("build pipeline"));
        assert_eq!(shown(Some(&pipeline)).await, None);
        std::fs::write(file("ca"), "nothing").unwrap();
        let error = tls.reload().unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: ", file("ca").display())), "{error}");
        assert_eq!(shown(Some(&stranger)).await.as_deref(), Some("build pipeline"));
        stop.cancel();
        serving.await.unwrap();
    }
}
