//! Connections of our own HTTP servers, few and bounded: they share their event loop with the control plane.

use super::answer::Failure;
use super::tls::ServerTls;
use crate::tls::common_name;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// Connections of one server; further ones wait to be accepted.
pub const CONNECTIONS_MAX: usize = 256;

/// Longest time for an answer, apart from those that wait for something or stream.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// For a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// For a request's head to arrive, and for the next request of a connection to begin.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// For requests that are open when the server stops.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// Pause after an error of `accept` that is not one connection's own, such as no file descriptor being left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where a request comes from: an extension of it.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// The common name of the certificate that the client has shown, which an authority of the server's has signed: an
/// extension of the request.
#[derive(Debug, Clone)]
pub struct ClientName(pub Arc<str>);

/// Answers with `router` until `stop`, and then gives open requests two seconds.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    listen(listener, router, None, stop).await;
}

/// As [`serve`], over TLS.
pub async fn serve_tls(listener: TcpListener, router: Router, tls: Arc<ServerTls>, stop: CancellationToken) {
    listen(listener, router, Some(tls), stop).await;
}

async fn listen(listener: TcpListener, router: Router, tls: Option<Arc<ServerTls>>, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    loop {
        let accepted = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accepted => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the server cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (router, tls, stop) = (router.clone(), tls.clone(), stop.clone());
        connections.spawn(async move {
            let _permit = permit;
            match tls {
                None => converse(stream, Peer(peer), None, router, stop).await,
                Some(tls) => shake_hands(stream, Peer(peer), &tls, router, stop).await,
            }
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn shake_hands(
    stream: TcpStream,
    peer: Peer,
    tls: &ServerTls,
    router: Router,
    stop: CancellationToken,
) {
    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.acceptor().accept(stream));
    let shaken = tokio::select! {
        () = stop.cancelled() => return,
        shaken = handshake => shaken,
    };
    match shaken {
        Ok(Ok(stream)) => {
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let name = shown.and_then(common_name).map(|name| ClientName(name.into()));
            converse(stream, peer, name, router, stop).await;
        }
        Ok(Err(error)) => tracing::debug!(peer = %peer.0, %error, "no TLS handshake"),
        Err(_) => tracing::debug!(peer = %peer.0, "no TLS handshake in time"),
    }
}

async fn converse<S>(stream: S, peer: Peer, name: Option<ClientName>, router: Router, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answer = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        if let Some(name) = &name {
            request.extensions_mut().insert(name.clone());
        }
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(100)
        .serve_connection(TokioIo::new(stream), answer)
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        result = &mut connection => Some(result),
        () = stop.cancelled() => None,
    };
    if ended.is_none() {
        connection.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(STOP_PATIENCE, connection).await;
    }
}

/// A layer: 504 when the answer takes longer than [`REQUEST_TIMEOUT`].
pub async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Failure::new(StatusCode::GATEWAY_TIMEOUT, "this took more than 30 s").into_response(),
    }
}

/// A layer: nothing is kept by caches or guessed at by browsers.
pub async fn common_fields(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let fields = response.headers_mut();
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Whether a path is UTF-8 once its escapes are read: no id is anything else.
pub fn is_text(path: &str) -> bool {
    let mut parts = path.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend(part.as_bytes().iter().skip(2));
            }
            None => bytes.extend(part.as_bytes()),
        }
    }
    std::str::from_utf8(&bytes).is_ok()
}
