//! A client's HTTP/2 connection: hyper speaks the protocol, each stream is a request of its own.
//!
//! Hyper shows neither the frames that carry nothing of a message nor windows that stay closed. So a meter looks at the heads
//! of all frames that pass ([`line`]), counts them ([`meter`]) against what a client may cost ([`budget`]), and ends
//! streams or the connection.

mod any;
mod budget;
mod fields;
mod frames;
mod line;
mod meter;
mod websocket;

#[doc(hidden)]
pub use any::check as check_meter;

use super::body::Body;
use super::client::Client;
use super::stream::{self, Answer, AnswerBody};
use super::timer::Timer;
use super::worker::{Worker, until_drain};
use crate::message::{RequestHead, Version};
use crate::telemetry::{Limit, PanicIn};
use crate::upstream::LocalExecutor;
use crate::wire::Wire;
use budget::Rates;
use futures_util::FutureExt;
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use line::Line;
use meter::{MeterLimits, Overdue};
use std::cell::Cell;
use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

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
/// How often a connection with something to wait for is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How many times as many fields, and bytes of a header block, end a connection as make a request be refused.
const ABUSE: u32 = 4;

/// Why a connection is to end.
enum Why {
    /// Another one is to be used from now on; what was begun ends first.
    Leave,
    /// There was no request for long.
    Idle,
    /// The client broke a limit.
    Breach,
}

/// Serves the connection until it ends.
pub(super) async fn serve(worker: Rc<Worker>, client: Rc<Client>, wire: Wire) {
    let (stream, read) = wire.into_parts();
    let line = Line::new(&worker, stream, meter_limits(&worker));
    let io = TokioIo::new(line.metered(read));
    let requests = Cell::new(0_u64);
    let service = service_fn(|request| {
        requests.set(requests.get() + 1);
        handle(worker.clone(), client.clone(), line.clone(), request)
    });
    let mut connection = Box::pin(builder(&worker).serve_connection(io, service));
    let mut draining = worker.shared.draining.clone();
    // Every request holds its client.
    let mut watch = Watch::new(&worker, &client, &line, &requests);
    let mut leaves = false;
    let ended = loop {
        let why = tokio::select! {
            biased;
            ended = connection.as_mut() => break ended,
            why = poll_fn(|cx| watch.poll(cx)) => why,
            () = until_drain(&mut draining), if !leaves => Some(Why::Leave),
            () = client.misdirected.notified(), if !leaves => Some(Why::Leave),
        };
        match why {
            // Hyper reads what there is for it.
            None => {}
            Some(Why::Leave) => {
                leaves = true;
                connection.as_mut().graceful_shutdown();
            }
            Some(Why::Idle) => {
                connection.as_mut().graceful_shutdown();
                let timer = worker.timer();
                timer.set(worker.settings().head_timeout);
                // A client that does not answer the farewell is not waited for.
                break timer.bound(connection.as_mut()).await.unwrap_or(Ok(()));
            }
            Some(Why::Breach) => break Ok(()),
        }
    };
    drop(connection);
    let error = ended.err();
    let by_hyper = error.as_ref().is_some_and(calmed).then(|| line.suspect());
    if let Some(limit) = line.breach().or(by_hyper) {
        worker.reached(limit);
        let (listener, client) = (&client.listener.id, &client.address_text);
        tracing::debug!(%listener, %client, limit = limit.as_str(), "connection ended at a limit");
    } else if let Some(error) = error {
        tracing::debug!(listener = %client.listener.id, %error, "connection ended");
    }
    if line.breach().is_some() {
        // In a box: connections that behave do not keep room for it.
        Box::pin(line.farewell()).await;
    }
}

/// Whether hyper itself has ended the connection for what its client asked of it; it does not say for what.
fn calmed(error: &hyper::Error) -> bool {
    let error = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    error.is_some_and(|error| error.is_library() && error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM))
}

fn builder(worker: &Worker) -> hyper::server::conn::http2::Builder<LocalExecutor> {
    let settings = worker.settings();
    // The meter comes before that.
    let resets = 2 * settings.http2.odd_frames_max as usize;
    let mut builder = hyper::server::conn::http2::Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(settings.http2.streams_max)
        .max_header_list_size(u32::try_from(settings.limits.head_bytes).unwrap_or(u32::MAX))
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(resets)
        .max_local_error_reset_streams(resets)
        .enable_connect_protocol();
    builder
}

fn meter_limits(worker: &Worker) -> MeterLimits {
    let settings = worker.settings();
    let abuse = |limit: usize| u32::try_from(limit).unwrap_or(u32::MAX).saturating_mul(ABUSE);
    let http2 = &settings.http2;
    MeterLimits {
        rates: Rates { per_second: http2.odd_frames_per_second, burst: http2.odd_frames_max },
        streams: http2.streams_max,
        fields: abuse(settings.limits.fields),
        block_bytes: abuse(settings.limits.head_bytes),
        head_time: settings.head_timeout,
        stall_time: http2.stall_timeout,
    }
}

/// Looks after a connection: often while there is something to wait for, seldom where it is idle.
struct Watch<'a> {
    worker: &'a Worker,
    client: &'a Rc<Client>,
    line: &'a Line,
    requests: &'a Cell<u64>,
    timer: Timer,
    /// Whether the timer runs for a [`LOOK`].
    often: bool,
    without_requests: usize,
    /// How many requests there had been when the connection was last found idle.
    before: Option<u64>,
    leaves: bool,
}

impl<'a> Watch<'a> {
    fn new(worker: &'a Worker, client: &'a Rc<Client>, line: &'a Line, requests: &'a Cell<u64>) -> Self {
        let timer = worker.timer();
        timer.set(LOOK);
        let without_requests = Rc::strong_count(client);
        Self {
            worker,
            client,
            line,
            requests,
            timer,
            often: true,
            without_requests,
            before: None,
            leaves: false,
        }
    }

    /// Ready with `None` where hyper is to look once more at what it reads.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Why>> {
        if !self.leaves && self.requests.get() >= self.worker.settings().http2.requests_max {
            self.leaves = true;
            self.worker.reached(Limit::H2Requests);
            return Poll::Ready(Some(Why::Leave));
        }
        if !self.often && self.line.is_busy() {
            self.set(true);
        }
        if self.timer.poll(cx).is_pending() {
            return Poll::Pending;
        }
        let overdue = self.line.end_overdue();
        if self.line.breach().is_some() {
            return Poll::Ready(Some(Why::Breach));
        }
        for Overdue { stream, limit } in &overdue {
            self.worker.reached(*limit);
            let client = self.client;
            tracing::debug!(listener = %client.listener.id, client = %client.address_text, stream, limit = limit.as_str(), "stream ended at a limit");
        }
        if self.line.is_busy() || !overdue.is_empty() || Rc::strong_count(self.client) > self.without_requests
        {
            self.before = None;
            self.set(true);
        } else {
            let now = self.requests.get();
            if self.before.replace(now) == Some(now) && !self.often {
                return Poll::Ready(Some(Why::Idle));
            }
            self.set(false);
        }
        // The timer was set anew, and has to be polled.
        match overdue.is_empty() && self.timer.poll(cx).is_pending() {
            true => Poll::Pending,
            false => Poll::Ready(None),
        }
    }

    fn set(&mut self, often: bool) {
        self.often = often;
        self.timer.set(if often { LOOK } else { self.worker.settings().keep_alive_timeout });
    }
}

async fn handle(
    worker: Rc<Worker>,
    client: Rc<Client>,
    line: Rc<Line>,
    request: http::Request<Incoming>,
) -> Result<http::Response<AnswerBody>, Infallible> {
    if line.resets() {
        // Hyper drops it now if its client did not wait for it.
        pause().await;
    }
    let (parts, body) = request.into_parts();
    if websocket::is_wanted(&parts) {
        return Ok(Box::pin(websocket::serve(&worker, &client, parts)).await);
    }
    let ended = body.is_end_stream();
    let head = {
        let limits = &worker.settings().limits;
        RequestHead::from_http(&parts, None, ended, &mut worker.spare.borrow_mut(), limits)
    };
    // They may hold much that the head does not.
    drop(parts);
    if head.is_err() {
        line.refused();
    }
    let body = if ended { Body::Empty } else { Body::Hyper(body) };
    let answer = stream::answer(&worker, &client, Version::H2, head, body, false);
    let Ok(answer) = AssertUnwindSafe(answer).catch_unwind().await else {
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

/// Lets others go first, once.
async fn pause() {
    let mut paused = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut paused, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
