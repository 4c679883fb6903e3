//! A client's HTTP/2 connection: hyper speaks the protocol, each stream is a request of its own.

use super::body::Body;
use super::client::Client;
use super::stream::{self, Answer, AnswerBody};
use super::worker::{Worker, until_drain};
use crate::message::RequestHead;
use crate::telemetry::PanicIn;
use crate::upstream::LocalExecutor;
use crate::wire::{Stream, Wire};
use futures_util::FutureExt;
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream's window: how much of an upload may be on its way.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The connection's window, so that one stalled upload does not block the others.
const CONNECTION_WINDOW: u32 = 4 * STREAM_WINDOW;
/// What waits to be sent of one stream.
const SEND_BUFFER: usize = 64 * 1024;
/// A client that does not answer a ping for so long is gone.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How often a silent client is asked whether it is there.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// Serves the connection until it ends.
pub(super) async fn serve(worker: Rc<Worker>, client: Rc<Client>, wire: Wire) {
    let (stream, read) = wire.into_parts();
    let io = TokioIo::new(Rewound { read, position: 0, stream });
    let limits = &worker.settings().limits;
    let mut builder = hyper::server::conn::http2::Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(worker.settings().http2_streams_max)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .max_send_buf_size(SEND_BUFFER);
    let requests = Cell::new(0_u64);
    let service = service_fn(|request| {
        requests.set(requests.get() + 1);
        handle(worker.clone(), client.clone(), request)
    });
    let mut connection = std::pin::pin!(builder.serve_connection(io, service));
    let mut draining = worker.shared.draining.clone();
    // Every request holds its client.
    let idle = until_idle(&worker, &client, Rc::strong_count(&client), &requests);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = until_drain(&mut draining) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = client.misdirected.notified() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = idle => {
            connection.as_mut().graceful_shutdown();
            let timer = worker.timer();
            timer.set(worker.settings().head_timeout);
            // A client that does not answer the farewell is not waited for.
            timer.bound(connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(listener = %client.listener.id, %error, "connection ended");
    }
}

/// Ready once there was no request for the keep-alive timeout, or at most twice as long; also where the client never
/// began to speak HTTP/2, or does not end what it began.
async fn until_idle(worker: &Worker, client: &Rc<Client>, without_requests: usize, requests: &Cell<u64>) {
    let timer = worker.timer();
    let mut before = u64::MAX;
    loop {
        timer.set(worker.settings().keep_alive_timeout);
        poll_fn(|cx| timer.poll(cx)).await;
        let now = requests.get();
        if Rc::strong_count(client) <= without_requests && now == std::mem::replace(&mut before, now) {
            return;
        }
        if now == 0 {
            return;
        }
    }
}

async fn handle(
    worker: Rc<Worker>,
    client: Rc<Client>,
    request: http::Request<Incoming>,
) -> Result<http::Response<AnswerBody>, Infallible> {
    let (parts, body) = request.into_parts();
    let limits = &worker.settings().limits;
    let ended = body.is_end_stream();
    let head = RequestHead::from_http(&parts, None, ended, &mut worker.spare.borrow_mut(), limits);
    let body = if ended { Body::Empty } else { Body::Hyper(body) };
    let answer = AssertUnwindSafe(stream::answer(&worker, &client, head, body, false)).catch_unwind();
    let Ok(answer) = answer.await else {
        // Of this stream alone.
        PanicIn::Request.count();
        let mut response = http::Response::new(AnswerBody::Own(None));
        *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        return Ok(response);
    };
    match answer {
        Answer::Response(response) => Ok(response),
        // Only asked for where `upgrade` is true.
        Answer::Switched(_) => Ok(http::Response::new(AnswerBody::Own(None))),
    }
}

/// A stream whose first bytes were read already.
struct Rewound {
    read: Vec<u8>,
    position: usize,
    stream: Stream,
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let rest = this.read.get(this.position..).unwrap_or_default();
        if rest.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        let count = rest.len().min(buf.remaining());
        buf.put_slice(rest.get(..count).unwrap_or_default());
        this.position += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
