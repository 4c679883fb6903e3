//! One active check: asks a server how it is, and says why if it is not well.
//!
//! Each check makes a connection of its own: what is asked is whether the server takes requests, and not whether an old
//! connection still works.

mod grpc;
#[cfg(test)]
mod tests;

use super::server::Server;
use crate::model::{BackendSettings, HealthCheck, HttpProbe, Probe, Scheme, UpstreamProtocol, UpstreamTls};
use crate::tls::{Certificate, ClientTls, client_config};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderMap, USER_AGENT};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

/// What of an answer's body is looked at, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// How a check names itself.
const AGENT: &str = concat!("flipgate/", env!("CARGO_PKG_VERSION"), " (health check)");

/// Why a server is not well.
#[derive(Debug, thiserror::Error)]
pub enum CheckFailure {
    /// The time was over.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// No connection.
    #[error("connect to {0}: {1}")]
    Connect(String, io::Error),
    /// Servers of the backend cannot be spoken to over TLS.
    #[error("{0}")]
    Setup(String),
    /// The handshake failed.
    #[error("TLS handshake: {0}")]
    Handshake(io::Error),
    /// What is to be asked makes no request.
    #[error("the check is no request: {0}")]
    Request(#[from] http::Error),
    /// The connection broke, or what came is no answer.
    #[error("{}", with_cause(.0))]
    Broken(#[from] hyper::Error),
    /// Not one of the statuses that are good.
    #[error("answered {0}")]
    Status(StatusCode),
    /// The text is not in it.
    #[error("the answer does not contain the text that is expected")]
    Text,
    /// Amdatu's form: not `{"healthy":true}`.
    #[error("the answer is not {{\"healthy\":true}}")]
    NotHealthy,
    /// gRPC: the call failed.
    #[error("gRPC status {0}")]
    Grpc(String),
    /// gRPC: the message is none.
    #[error("the answer is no message of gRPC's health protocol")]
    Message,
    /// gRPC: any answer but `SERVING`.
    #[error("answered {0}")]
    NotServing(&'static str),
}

/// hyper says what it did, and its cause why that failed.
fn with_cause(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Asks the servers of one backend. TLS is set up once, when the first server needs it.
#[derive(Debug)]
pub struct Checker {
    check: HealthCheck,
    protocol: UpstreamProtocol,
    tls: UpstreamTls,
    certificate: Option<Arc<Certificate>>,
    /// Locked while it is being made.
    config: Mutex<Option<Result<Arc<ClientConfig>, String>>>,
}

/// What a check reads of an answer.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    /// Its first [`BODY_BYTES_MAX`] bytes.
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
}

/// A byte stream to a server.
trait Carrier: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Carrier for T {}

struct Opened {
    carrier: Box<dyn Carrier>,
    is_http2: bool,
}

impl Checker {
    /// The checker for a backend with the certificate that goes with its settings; `None` where its servers are not asked.
    pub fn new(settings: &BackendSettings, certificate: Option<&Arc<Certificate>>) -> Option<Self> {
        Some(Self {
            check: settings.health.clone()?,
            protocol: settings.protocol,
            tls: settings.tls.clone(),
            certificate: certificate.cloned(),
            config: Mutex::default(),
        })
    }

    /// Whether it asks as these settings want it.
    pub fn is_for(&self, settings: &BackendSettings, certificate: Option<&Arc<Certificate>>) -> bool {
        let Self { check, protocol, tls, certificate: shown, .. } = self;
        settings.health.as_ref() == Some(check)
            && settings.protocol == *protocol
            && settings.tls == *tls
            && shown.as_ref().map(Arc::as_ptr) == certificate.map(Arc::as_ptr)
    }

    /// What is asked, and how often.
    pub fn settings(&self) -> &HealthCheck {
        &self.check
    }

    /// Asks `server` once, within the check's timeout.
    ///
    /// # Errors
    /// Why it is not well.
    pub async fn check(&self, server: &Server) -> Result<(), CheckFailure> {
        let timeout = self.check.timeout;
        match tokio::time::timeout(timeout, self.ask(server)).await {
            Ok(answer) => answer,
            Err(_) => Err(CheckFailure::Timeout(timeout)),
        }
    }

    async fn ask(&self, server: &Server) -> Result<(), CheckFailure> {
        match &self.check.probe {
            Probe::Tcp => {
                self.connect(server).await?;
                Ok(())
            }
            Probe::Http(probe) => {
                let host = probe.host.as_deref();
                let opened = self.open(server).await?;
                let request = self.request(server, &opened, &probe.method, &probe.path, host)?;
                let answer = exchange(opened, request.body(Full::default())?, probe.body.is_some()).await?;
                judge(probe, &answer)
            }
            Probe::Amdatu { path } => {
                let opened = self.open(server).await?;
                let request = self.request(server, &opened, Method::POST.as_str(), path, None)?;
                let request = request.header(CONTENT_TYPE, "application/json").body(Full::default())?;
                judge_amdatu(&exchange(opened, request, true).await?)
            }
            Probe::Grpc { service } => {
                let opened = self.open(server).await?;
                let request = self.request(server, &opened, Method::POST.as_str(), grpc::PATH, None)?;
                let request = request.header(CONTENT_TYPE, "application/grpc").header("te", "trailers");
                let answer =
                    exchange(opened, request.body(Full::new(grpc::question(service)))?, true).await?;
                grpc::judge(&answer)
            }
        }
    }

    /// A request in the form of the version of HTTP that is spoken.
    fn request(
        &self,
        server: &Server,
        opened: &Opened,
        method: &str,
        path: &str,
        host: Option<&str>,
    ) -> Result<http::request::Builder, CheckFailure> {
        let own;
        let host = match (host, self.check.port) {
            (Some(host), _) => host,
            (None, None) => &server.authority,
            (None, Some(port)) => {
                own = with_port(&server.url.host, port);
                &own
            }
        };
        let request = Request::builder().method(method).header(USER_AGENT, AGENT);
        if !opened.is_http2 {
            return Ok(request.uri(path).header(HOST, host));
        }
        let uri = http::Uri::builder().scheme(server.url.scheme.as_str()).authority(host);
        Ok(request.uri(uri.path_and_query(path).build()?))
    }

    async fn connect(&self, server: &Server) -> Result<TcpStream, CheckFailure> {
        let host = &*server.url.host;
        let port = self.check.port.unwrap_or(server.url.port);
        let connected = TcpStream::connect((host.to_owned(), port)).await;
        let stream = connected.map_err(|error| CheckFailure::Connect(with_port(host, port), error))?;
        // It only tunes.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    async fn open(&self, server: &Server) -> Result<Opened, CheckFailure> {
        let stream = self.connect(server).await?;
        let always =
            matches!(self.check.probe, Probe::Grpc { .. }) || self.protocol == UpstreamProtocol::Http2;
        if server.url.scheme == Scheme::Http {
            return Ok(Opened { carrier: Box::new(stream), is_http2: always });
        }
        let config = self.config().await.map_err(CheckFailure::Setup)?;
        let name = self.tls.server_name.as_deref().unwrap_or(&server.url.host).to_owned();
        let name = ServerName::try_from(name).map_err(|error| CheckFailure::Setup(error.to_string()))?;
        let handshake = TlsConnector::from(config).connect(name, stream).await;
        let stream = handshake.map_err(CheckFailure::Handshake)?;
        let chosen = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Opened { carrier: Box::new(stream), is_http2: always || chosen })
    }

    async fn config(&self) -> Result<Arc<ClientConfig>, String> {
        let mut config = self.config.lock().await;
        if config.is_none() {
            *config = Some(self.set_up().await);
        }
        config.clone().unwrap_or_else(|| Err("TLS was not set up".to_owned()))
    }

    async fn set_up(&self) -> Result<Arc<ClientConfig>, String> {
        let alpn: &[&str] = match (&self.check.probe, self.protocol) {
            (Probe::Grpc { .. }, _) | (_, UpstreamProtocol::Http2) => &["h2"],
            (_, UpstreamProtocol::Http1) => &["http/1.1"],
            (_, UpstreamProtocol::Auto) => &["h2", "http/1.1"],
        };
        let alpn = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let tls = ClientTls::of(&self.tls, self.certificate.as_ref(), alpn);
        // It may read the system's bundle.
        let made = tokio::task::spawn_blocking(move || client_config(&tls)).await;
        made.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }
}

fn with_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn judge(probe: &HttpProbe, answer: &Answer) -> Result<(), CheckFailure> {
    if !probe.statuses.contains(answer.status.as_u16()) {
        return Err(CheckFailure::Status(answer.status));
    }
    match &probe.body {
        Some(text) if memchr::memmem::find(&answer.body, text.as_bytes()).is_none() => {
            Err(CheckFailure::Text)
        }
        _ => Ok(()),
    }
}

fn judge_amdatu(answer: &Answer) -> Result<(), CheckFailure> {
    if !answer.status.is_success() {
        return Err(CheckFailure::Status(answer.status));
    }
    let value: Option<serde_json::Value> = serde_json::from_slice(&answer.body).ok();
    let healthy = value.as_ref().and_then(|value| value.get("healthy")?.as_bool());
    if healthy == Some(true) { Ok(()) } else { Err(CheckFailure::NotHealthy) }
}

async fn exchange(
    opened: Opened,
    request: Request<Full<Bytes>>,
    wants_body: bool,
) -> Result<Answer, CheckFailure> {
    let io = TokioIo::new(opened.carrier);
    // The connection runs beside its one exchange, and ends with it.
    if opened.is_http2 {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        let _running = AbortOnDropHandle::new(tokio::spawn(connection));
        read(sender.send_request(request).await?, wants_body).await
    } else {
        let (mut sender, connection) = http1::handshake(io).await?;
        let _running = AbortOnDropHandle::new(tokio::spawn(connection));
        read(sender.send_request(request).await?, wants_body).await
    }
}

async fn read(answer: http::Response<Incoming>, wants_body: bool) -> Result<Answer, CheckFailure> {
    let (parts, mut incoming) = answer.into_parts();
    let (mut body, mut trailers) = (Vec::new(), None);
    while wants_body && body.len() < BODY_BYTES_MAX {
        match incoming.frame().await.transpose()?.map(http_body::Frame::into_data) {
            Some(Ok(data)) => body.extend_from_slice(&data),
            Some(Err(frame)) => trailers = frame.into_trailers().ok(),
            None => break,
        }
    }
    body.truncate(BODY_BYTES_MAX);
    Ok(Answer { status: parts.status, headers: parts.headers, body, trailers })
}
