//! A new connection to a server: TCP, and TLS where the server's URL asks for it.

use super::names;
use super::server::Server;
use crate::model::{BackendSettings, Scheme, UpstreamProtocol, UpstreamTls};
use crate::tls::{Certificate, ClientTls, client_config};
use crate::wire::{Socket, Stream};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// ALPN's names of what is spoken (RFC 7301 section 6).
const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";

/// Why a server could not be connected to. No byte of a request was written.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Refused, no route, no descriptor left.
    #[error("connect to {0}: {1}")]
    Io(Box<str>, io::Error),
    /// The name does not resolve.
    #[error("resolve {0}: {1}")]
    Resolve(Box<str>, io::Error),
    /// The handshake failed: the certificate is not trusted, or it is not TLS.
    #[error("TLS with {0}: {1}")]
    Tls(Box<str>, io::Error),
    /// The backend's settings of TLS cannot be used.
    #[error("TLS settings: {0}")]
    Settings(Arc<str>),
}

/// A connection, and what is spoken over it.
#[derive(Debug)]
pub struct Connected {
    /// Nothing was written to it.
    pub stream: Stream,
    /// HTTP/2 was agreed on, or is known to be spoken.
    pub http2: bool,
}

/// How a backend's servers are connected to. Tables share it as long as the settings stay, and with it the sessions.
#[derive(Debug, Clone)]
pub struct Connector {
    protocol: UpstreamProtocol,
    dial_timeout: Duration,
    handshake_timeout: Duration,
    keep_alive: Duration,
    tls: Tls,
}

/// The two configurations differ in what they offer by ALPN.
#[derive(Debug, Clone)]
enum Tls {
    /// No server needs it.
    None,
    Usable {
        preferred: Arc<ClientConfig>,
        http1: Arc<ClientConfig>,
        name: Option<ServerName<'static>>,
        settings: UpstreamTls,
        certificate: Option<Arc<Certificate>>,
    },
    Unusable(Arc<str>),
}

impl Connector {
    /// Reads the system's trusted certificates where they are asked for. `secure`: some server's URL is `https://`.
    /// `certificate` is the one that goes with the settings' key pair.
    pub fn new(
        settings: &BackendSettings,
        certificate: Option<&Arc<Certificate>>,
        secure: bool,
        previous: Option<&Self>,
    ) -> Self {
        let tls = match previous {
            _ if !secure => Tls::None,
            Some(Self {
                protocol, tls: tls @ Tls::Usable { settings: old, certificate: shown, .. }, ..
            }) if *old == settings.tls
                && *protocol == settings.protocol
                && shown.as_ref().map(Arc::as_ptr) == certificate.map(Arc::as_ptr) =>
            {
                tls.clone()
            }
            _ => Tls::new(&settings.tls, certificate, settings.protocol)
                .unwrap_or_else(|reason| Tls::Unusable(reason.into())),
        };
        Self {
            protocol: settings.protocol,
            dial_timeout: settings.timeouts.dial,
            handshake_timeout: settings.timeouts.tls_handshake,
            keep_alive: settings.keep_alive.period,
            tls,
        }
    }

    /// What is wrong with the settings, if anything.
    pub fn problem(&self) -> Option<&str> {
        match &self.tls {
            Tls::Unusable(reason) => Some(reason),
            Tls::None | Tls::Usable { .. } => None,
        }
    }

    /// Whether requests to `server` may go over HTTP/2.
    pub fn may_speak_http2(&self, server: &Server) -> bool {
        match self.protocol {
            UpstreamProtocol::Http1 => false,
            UpstreamProtocol::Http2 => true,
            // Only a handshake can say so.
            UpstreamProtocol::Auto => server.url.scheme == Scheme::Https,
        }
    }

    /// From nothing to a connection, at most: to TCP, and from there through the handshake.
    pub fn timeouts(&self) -> (Duration, Duration) {
        (self.dial_timeout, self.handshake_timeout)
    }

    /// Connects to TCP. The caller bounds the time.
    ///
    /// # Errors
    /// The name does not resolve, or nobody answers.
    pub async fn dial(&self, server: &Server) -> Result<TcpStream, ConnectError> {
        let stream = match server.address {
            Some(address) => dial(server, address).await?,
            None => names::dial(server).await?,
        };
        // Both only tune: a connection without them works.
        let _ = stream.set_nodelay(true);
        let probes = TcpKeepalive::new().with_time(self.keep_alive).with_interval(self.keep_alive);
        let _ = SockRef::from(&stream).set_tcp_keepalive(&probes);
        Ok(stream)
    }

    /// Goes on to what is spoken; `http1`: HTTP/2 will not do. The caller bounds the time.
    ///
    /// # Errors
    /// The handshake failed, or the settings cannot be used.
    pub async fn secure(
        &self,
        server: &Server,
        stream: TcpStream,
        http1: bool,
    ) -> Result<Connected, ConnectError> {
        if server.url.scheme == Scheme::Http {
            let http2 = self.protocol == UpstreamProtocol::Http2 && !http1;
            return Ok(Connected { stream: Stream::Plain(Socket::Tcp(stream)), http2 });
        }
        let (config, name) = match &self.tls {
            Tls::Usable { preferred, http1: only, name, .. } => (if http1 { only } else { preferred }, name),
            Tls::Unusable(reason) => return Err(ConnectError::Settings(reason.clone())),
            Tls::None => return Err(ConnectError::Settings("not known when the table was made".into())),
        };
        let failed = |error| ConnectError::Tls(server.authority.clone(), error);
        let name = match name {
            Some(name) => name.clone(),
            None => ServerName::try_from(server.url.host.trim_end_matches('.').to_owned())
                .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?,
        };
        let connector = TlsConnector::from(config.clone());
        let stream = connector.connect(name, Socket::Tcp(stream)).await.map_err(failed)?;
        let agreed = stream.get_ref().1.alpn_protocol();
        let http2 = match agreed {
            Some(agreed) => agreed == HTTP2,
            // A server that knows nothing of ALPN speaks what it was told to.
            None => self.protocol == UpstreamProtocol::Http2 && !http1,
        };
        Ok(Connected { stream: Stream::TlsClient(Box::new(stream)), http2 })
    }
}

impl Tls {
    fn new(
        settings: &UpstreamTls,
        certificate: Option<&Arc<Certificate>>,
        protocol: UpstreamProtocol,
    ) -> Result<Self, String> {
        let with = |names: &[&[u8]]| {
            let alpn = names.iter().map(|name| name.to_vec()).collect();
            client_config(&ClientTls::of(settings, certificate, alpn)).map_err(|error| error.to_string())
        };
        let http1 = with(&[HTTP1])?;
        let preferred = match protocol {
            UpstreamProtocol::Http1 => http1.clone(),
            UpstreamProtocol::Http2 => with(&[HTTP2])?,
            UpstreamProtocol::Auto => with(&[HTTP2, HTTP1])?,
        };
        let name = settings.server_name.as_ref().map(|name| ServerName::try_from(name.to_string()));
        let name = name.transpose().map_err(|error| error.to_string())?;
        let (settings, certificate) = (settings.clone(), certificate.cloned());
        Ok(Self::Usable { preferred, http1, name, settings, certificate })
    }
}

async fn dial(server: &Server, address: SocketAddr) -> Result<TcpStream, ConnectError> {
    TcpStream::connect(address).await.map_err(|error| ConnectError::Io(server.authority.clone(), error))
}
