//! A server that sends back what it was sent, over HTTP/1.1 or HTTP/2, plain or under TLS.

use super::{TestAuthority, TestCertificate};
use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// The server. Dropping it ends it.
pub struct Echo {
    address: SocketAddr,
    seen: Arc<Counts>,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Default)]
struct Counts {
    connections: AtomicU64,
    requests: AtomicU64,
    /// Answers with 503 that are still to be given.
    ailing: AtomicU64,
    delay_millis: AtomicU64,
    open: AtomicU64,
    most_at_once: AtomicU64,
}

impl Echo {
    /// One that speaks HTTP/1.1 or, with `http2`, only HTTP/2 with prior knowledge.
    pub fn plain(http2: bool) -> Self {
        Self::start(None, http2)
    }

    /// One that offers both by ALPN under this certificate, HTTP/2 only with `http2`.
    pub fn secure(certificate: &TestCertificate, http2: bool) -> Self {
        Self::start(Some(acceptor(certificate, http2, None)), http2)
    }

    /// As [`secure`](Self::secure), at an address of the network's own.
    pub fn secure_at(address: SocketAddr, certificate: &TestCertificate) -> Self {
        Self::start_at(address, Some(acceptor(certificate, false, None)), false)
    }

    /// As [`secure`](Self::secure), and only for clients with a certificate of this authority.
    pub fn mutual(certificate: &TestCertificate, clients: &TestAuthority, http2: bool) -> Self {
        Self::start(Some(acceptor(certificate, http2, Some(clients))), http2)
    }

    fn start(tls: Option<TlsAcceptor>, http2: bool) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), tls, http2)
    }

    fn start_at(address: SocketAddr, tls: Option<TlsAcceptor>, http2: bool) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind(address)).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Counts::default());
        let counts = seen.clone();
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counts.connections.fetch_add(1, Ordering::SeqCst);
                let (tls, counts) = (tls.clone(), counts.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(request, counts.clone()));
                    let Some(tls) = tls else { return serve(TokioIo::new(stream), http2, service).await };
                    // Who does not trust the certificate is gone.
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    serve(TokioIo::new(stream), http2, service).await;
                });
            }
        });
        Self { address, seen, _runtime: runtime }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections ever accepted.
    pub fn connections(&self) -> u64 {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Requests whose body was read to its end.
    pub fn requests(&self) -> u64 {
        self.seen.requests.load(Ordering::SeqCst)
    }

    /// Waits so long before each answer.
    pub fn delay(&self, delay: Duration) {
        self.seen.delay_millis.store(delay.as_millis() as u64, Ordering::SeqCst);
    }

    /// Most requests that were open at once.
    pub fn most_at_once(&self) -> u64 {
        self.seen.most_at_once.load(Ordering::SeqCst)
    }

    /// Answers the next `count` requests with 503.
    pub fn ail(&self, count: u64) {
        self.seen.ailing.store(count, Ordering::SeqCst);
    }
}

async fn serve<I, S, B>(io: I, http2: bool, service: S)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + 'static,
    S: hyper::service::HttpService<Incoming, ResBody = B, Error = Infallible>,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    // Clients end connections as they like.
    let _ = if http2 {
        hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await
    } else {
        hyper::server::conn::http1::Builder::new().serve_connection(io, service).await
    };
}

type Answer = StreamBody<futures_util::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

async fn answer(
    request: http::Request<Incoming>,
    counts: Arc<Counts>,
) -> Result<http::Response<Answer>, Infallible> {
    let (parts, body) = request.into_parts();
    let open = counts.open.fetch_add(1, Ordering::SeqCst) + 1;
    counts.most_at_once.fetch_max(open, Ordering::SeqCst);
    let Ok(collected) = body.collect().await else {
        return Ok(http::Response::new(StreamBody::new(futures_util::stream::iter(Vec::new()))));
    };
    tokio::time::sleep(Duration::from_millis(counts.delay_millis.load(Ordering::SeqCst))).await;
    counts.open.fetch_sub(1, Ordering::SeqCst);
    counts.requests.fetch_add(1, Ordering::SeqCst);
    let ails = counts.ailing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    let trailers = collected.trailers().cloned();
    let mut frames = vec![Ok(Frame::data(collected.to_bytes()))];
    frames.extend(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
    let mut response = http::Response::builder()
        .status(if ails.is_ok() { 503 } else { 200 })
        .header("x-version", format!("{:?}", parts.version))
        .header("x-target", parts.uri.to_string());
    for (name, value) in &parts.headers {
        response = response.header(format!("x-seen-{name}"), value);
    }
    Ok(response.body(StreamBody::new(futures_util::stream::iter(frames))).unwrap())
}

fn acceptor(certificate: &TestCertificate, http2: bool, clients: Option<&TestAuthority>) -> TlsAcceptor {
    let chain = vec![CertificateDer::from_pem_slice(certificate.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(authority.certificate.as_bytes()).unwrap()).unwrap();
            let roots = Arc::new(roots);
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(roots, provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    if http2 {
        config.alpn_protocols.insert(0, b"h2".to_vec());
    }
    TlsAcceptor::from(Arc::new(config))
}
