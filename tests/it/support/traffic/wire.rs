//! Connections to a proxy, plain or over TLS.

use super::Plan;
use crate::support::TestCertificate;
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// What clients over TLS trust.
#[derive(Clone)]
pub struct Encrypted {
    http1: TlsConnector,
    http2: TlsConnector,
}

impl Encrypted {
    pub fn trusting(certificate: &TestCertificate) -> Self {
        let with = |protocol: &[u8]| {
            let mut config = certificate.trusting().with_no_client_auth();
            config.alpn_protocols = vec![protocol.to_vec()];
            TlsConnector::from(Arc::new(config))
        };
        Self { http1: with(b"http/1.1"), http2: with(b"h2") }
    }
}

pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

pub(super) type Wire = Box<dyn Io>;

/// Connects, and with TLS shakes hands for one protocol.
pub(super) async fn connect(plan: &Plan, proxy: SocketAddr, http2: bool) -> Result<Wire, String> {
    let stream = TcpStream::connect(proxy).await.map_err(|error| format!("connect: {error}"))?;
    let _ = stream.set_nodelay(true);
    let Some(encrypted) = &plan.encrypted else { return Ok(Box::new(stream)) };
    let connector = if http2 { &encrypted.http2 } else { &encrypted.http1 };
    let name = ServerName::try_from(plan.host.clone()).map_err(|error| error.to_string())?;
    let stream = connector.connect(name, stream).await.map_err(|error| format!("TLS: {error}"))?;
    Ok(Box::new(stream))
}
