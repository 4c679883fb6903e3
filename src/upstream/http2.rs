//! An HTTP/2 connection to a server, which many requests of one worker share.

use crate::wire::Stream;
use http_body::Body;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A stream's window: how much of an answer may be on its way.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The connection's window, so that one stalled answer does not block the others.
const CONNECTION_WINDOW: u32 = 16 * STREAM_WINDOW;
/// What waits to be sent of one stream.
const SEND_BUFFER: usize = 64 * 1024;
/// Requests on one connection before another one is made.
pub(super) const REQUESTS_MAX: u32 = 100;
/// A silent server is asked whether it is there while it has requests.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// One that does not answer for so long is gone.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that is shared. Clones are the same connection; it ends once none is left and its last request has
/// ended.
pub struct Multiplexed<B> {
    sender: SendRequest<B>,
    open: Rc<Cell<u32>>,
    used: Rc<Cell<Instant>>,
}

impl<B> Clone for Multiplexed<B> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), open: self.open.clone(), used: self.used.clone() }
    }
}

/// One request on a shared connection until it is dropped.
pub struct StreamGuard {
    open: Rc<Cell<u32>>,
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.open.set(self.open.get().saturating_sub(1));
    }
}

impl<B: Body + Unpin + 'static> Multiplexed<B>
where
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Begins HTTP/2 on `stream`; `held` lives as long as the connection. To be called on the worker's thread. The caller
    /// bounds the time.
    ///
    /// # Errors
    /// The preface could not be written.
    pub async fn begin(
        stream: Stream,
        held: impl Sized + 'static,
        now: Instant,
    ) -> Result<Self, hyper::Error> {
        let (sender, connection) = Builder::new(LocalExecutor)
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .handshake(TokioIo::new(stream))
            .await?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "HTTP/2 connection to a server ended");
            }
            drop(held);
        });
        Ok(Self { sender, open: Rc::default(), used: Rc::new(Cell::new(now)) })
    }

    /// Whether another request can be sent on it.
    pub fn has_room(&self) -> bool {
        self.open.get() < REQUESTS_MAX && self.sender.is_ready()
    }
}

impl<B> Multiplexed<B> {
    /// Counts a request on it.
    pub fn enter(&self, now: Instant) -> StreamGuard {
        self.used.set(now);
        self.open.set(self.open.get() + 1);
        StreamGuard { open: self.open.clone() }
    }

    /// What sends requests.
    pub fn sender(&mut self) -> &mut SendRequest<B> {
        &mut self.sender
    }

    /// Whether it is to be let go: closed, or without a request for `age`.
    pub fn is_old(&self, now: Instant, age: Duration) -> bool {
        let idle = self.open.get() == 0 && now.saturating_duration_since(self.used.get()) >= age;
        idle || self.sender.is_closed()
    }

    /// Whether it has no request.
    pub fn is_idle(&self) -> bool {
        self.open.get() == 0
    }
}

/// Runs hyper's part on the worker's own thread.
#[derive(Clone, Copy)]
pub struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}
