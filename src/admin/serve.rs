//! Connections of the admin servers, few and bounded: they share their event loop with the control plane.

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// Connections of one admin server; further ones wait to be accepted.
pub const CONNECTIONS_MAX: usize = 256;

/// For a request's head to arrive, and for the next request of a connection to begin.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// For requests that are open when the server stops.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// Pause after an error of `accept` that is not one connection's own, such as no file descriptor being left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// Answers with `router` until `stop`, and then gives open requests two seconds.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
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
                tracing::warn!(%error, "the admin server cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (router, stop) = (router.clone(), stop.clone());
        connections.spawn(async move {
            let _permit = permit;
            let answer = service_fn(move |request: hyper::Request<Incoming>| {
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(Peer(peer));
                router.clone().oneshot(request)
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_headers(100)
                .serve_connection(TokioIo::new(stream), answer);
            tokio::pin!(connection);
            let ended = tokio::select! {
                result = &mut connection => Some(result),
                () = stop.cancelled() => None,
            };
            if ended.is_none() {
                connection.as_mut().graceful_shutdown();
                let _ = tokio::time::timeout(STOP_PATIENCE, connection).await;
            }
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}
