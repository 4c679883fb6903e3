//! A request that was given to a server, and its answer on the way back: over an HTTP/1.1 connection of its own, or over a
//! stream of a shared HTTP/2 connection.

use super::body::{Body, Broken, Piece};
use super::change::Changed;
use super::error::Failure;
use super::over_http1::OverHttp1;
use super::over_http2::OverHttp2;
use super::pace::Pace;
use super::timer::Timer;
use super::upload::{Untouched, UploadError};
use super::worker::Worker;
use crate::message::{BodyLength, Method, ResponseHead};
use crate::middleware::Encoder;
use crate::telemetry::{Limit, Reason};
use crate::upstream::Server;
use crate::wire::Wire;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// What a client may send ahead while it waits for an answer, in bytes; the rest stays in the operating system.
const AHEAD_MAX: usize = 16 * 1024;
/// Bytes of an unwanted answer that are passed over to keep the server's connection.
const DISCARD_MAX: usize = 64 * 1024;

/// How far a client may fall behind with its body.
const BODY_GRACE: Duration = Duration::from_secs(5);

/// A request that was sent, and whose answer is coming.
pub(super) struct Exchange {
    pub worker: Rc<Worker>,
    pub server: Arc<Server>,
    pub timer: Rc<Timer>,
    carrier: Carrier,
    /// The client's connection, to notice that it is gone.
    client: Option<Rc<Wire>>,
    /// The answer's body, once its head has come.
    answer: Body,
    method: Method,
    times: Times,
    body_bytes: u64,
    continue_due: bool,
    sent: bool,
    has_body: bool,
    /// The client's, with its body.
    pace: Pace,
    /// When the request has to be over.
    ends: Option<Instant>,
}

/// What brings the request to the server.
pub(super) enum Carrier {
    Http1(Box<OverHttp1>),
    Http2(Box<OverHttp2>),
}

/// The time limits of one attempt.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// From the complete request to the answer's head.
    pub answer: Duration,
    /// The longest silence within a body.
    pub idle: Duration,
    /// How long an exchange may go on at a server that gets no more requests.
    pub drain: Duration,
    /// How long a client that asked may be left waiting for `100 Continue`.
    pub continued: Duration,
    /// Bytes a second at least of the request's body; 0: any.
    pub body_rate: u64,
    /// When the whole request has to be over.
    pub ends: Option<Instant>,
}

/// What became of a request's rest while its answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    /// Some of it moved.
    Moved,
    /// None of it did.
    Still,
    /// The client's connection broke.
    ClientGone,
}

/// What an exchange has next for the client.
pub(super) enum Next {
    /// An answer's head, interim or final.
    Head(ResponseHead),
    /// The server said nothing in time about a body that waits: the client may send it.
    Continue,
}

/// How an attempt ended without an answer.
#[derive(Debug)]
pub(super) enum Lost {
    /// The server has not run it: no byte was written, or it said so.
    Unsent,
    /// A reused connection closed before the answer's first byte.
    StaleConnection,
    /// The server broke off, or did not answer in time: it may have run.
    Failed(Failure),
    /// Nothing that another attempt would change.
    Final(Failure),
}

impl Exchange {
    pub(super) fn new(
        worker: &Rc<Worker>,
        server: Arc<Server>,
        carrier: Carrier,
        timer: Rc<Timer>,
        method: Method,
        times: Times,
        client: Option<Rc<Wire>>,
    ) -> Self {
        let mut exchange = Self {
            worker: worker.clone(),
            server,
            timer,
            carrier,
            client,
            answer: Body::Empty,
            method,
            times,
            body_bytes: 0,
            continue_due: false,
            sent: false,
            has_body: false,
            pace: Pace::new(times.body_rate, BODY_GRACE),
            ends: times.ends,
        };
        exchange.continue_due = exchange.carrier.is_held();
        exchange.has_body = !exchange.carrier.is_source_ended();
        exchange
    }

    /// Whether the server has got no more requests for so long that what it still has is to end.
    pub(super) fn is_overdue(&self) -> bool {
        self.server.is_overdue(self.worker.now(), self.times.drain)
    }

    /// Body bytes taken from the client so far.
    pub(super) fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// Whether the request was sent to its end.
    pub(super) fn is_sent(&self) -> bool {
        self.sent
    }

    /// The longest silence allowed within a body.
    pub(super) fn idle_timeout(&self) -> Duration {
        self.times.idle
    }

    /// The first head of the answer. `settle` is called once nothing of this request can be sent a second time; `repeats`:
    /// that is so although it may have run. Where a newer table `is_past` its own, a client that is slow with its body holds
    /// nobody up: that body is not sent twice any more.
    pub(super) async fn first(
        &mut self,
        repeats: bool,
        is_past: impl Fn() -> bool,
        mut settle: impl FnMut(),
    ) -> Result<Next, Lost> {
        self.wait(match (self.continue_due, self.has_body) {
            (true, _) => self.times.continued,
            (false, true) => self.times.idle,
            (false, false) => self.times.answer,
        });
        let mut settled = false;
        poll_fn(|cx| {
            let next = self.poll_next(cx);
            let repeatable = self.carrier.is_whole() && (repeats || !self.carrier.may_have_run());
            let slow = || self.carrier.waits_for_client() && is_past();
            if !settled && next.is_pending() && (!repeatable || slow()) {
                self.carrier.forget_copy();
                settled = true;
                settle();
            }
            next
        })
        .await
    }

    /// Whether the request's body could be sent once more.
    pub(super) fn is_whole(&self) -> bool {
        self.carrier.is_whole()
    }

    /// The next head of the answer, after an interim one or after [`Next::Continue`].
    pub(super) async fn next(&mut self) -> Result<Next, Failure> {
        self.wait(if self.is_sent() { self.times.answer } else { self.times.idle });
        match poll_fn(|cx| self.poll_next(cx)).await {
            Ok(next) => Ok(next),
            Err(Lost::Final(failure) | Lost::Failed(failure)) => Err(failure),
            Err(Lost::Unsent | Lost::StaleConnection) => Err(Failure::of(Reason::UpstreamReset)),
        }
    }

    /// Lets a body go that waited for the server's word.
    pub(super) fn release_body(&mut self) {
        self.continue_due = false;
        self.carrier.release();
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next, Lost>> {
        match self.poll_upload(cx) {
            Poll::Ready(Err(UploadError::Refused(error))) => {
                // The server may have answered before it closed, and the answer may not have been noticed yet.
                tracing::debug!(server = %self.server.id, %error, "request not taken");
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(Lost::Final(failure_of(&error)))),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        if let Poll::Ready(head) = self.carrier.poll_head(cx, &self.worker, self.method) {
            return Poll::Ready(head.map(Next::Head));
        }
        if self.poll_client_gone(cx) {
            return Poll::Ready(Err(Lost::Final(Failure::of(Reason::ClientGone))));
        }
        self.look_at_pace();
        if self.timer.poll(cx).is_ready() {
            let now = Instant::now();
            let over = self.ends.is_some_and(|ends| now >= ends);
            if !over && std::mem::take(&mut self.continue_due) {
                return Poll::Ready(Ok(Next::Continue));
            }
            let waits = self.carrier.waits_for_client();
            let limit = match waits {
                _ if over => Limit::RequestTime,
                true if self.pace.is_missed(now) => Limit::BodyRate,
                true => Limit::BodyTime,
                false => return Poll::Ready(Err(Lost::Failed(Failure::of(Reason::UpstreamTimeout)))),
            };
            self.worker.reached(limit);
            let (reason, status) = match waits {
                true => (Reason::BadRequest, 408),
                false => (Reason::UpstreamTimeout, 504),
            };
            return Poll::Ready(Err(Lost::Final(Failure::at(limit, reason, status))));
        }
        Poll::Pending
    }

    /// Sets the timer, to no later than when the request has to be over.
    pub(super) fn wait(&self, time: Duration) {
        let left = self.ends.map(|ends| ends.saturating_duration_since(Instant::now()));
        self.timer.set(left.map_or(time, |left| left.min(time)));
    }

    /// Whether the request has to be over by now.
    pub(super) fn is_over(&self) -> bool {
        self.ends.is_some_and(|ends| Instant::now() >= ends)
    }

    /// While the client is waited for with its body, no longer than its pace allows.
    fn look_at_pace(&mut self) {
        if self.sent || !self.has_body {
            return;
        }
        let waits = self.carrier.waits_for_client();
        let begins = waits && !self.pace.waits();
        let more = self.pace.note(self.body_bytes, waits, self.worker.now());
        if let Some(left) = self.pace.left()
            && waits
            && (begins || more)
        {
            self.wait(left.min(self.times.idle));
        }
    }

    /// Sends on. Once everything is sent the time for the answer begins.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UploadError>> {
        if self.sent {
            return Poll::Ready(Ok(()));
        }
        let polled = self.carrier.poll_upload(cx, &self.worker.settings().limits);
        let bytes = self.carrier.bytes().unwrap_or(self.body_bytes);
        let progressed = bytes != self.body_bytes;
        self.body_bytes = bytes;
        if let Poll::Ready(Ok(())) = polled
            && self.carrier.is_source_ended()
        {
            self.sent = true;
            if self.has_body {
                self.wait(self.times.answer);
            }
        } else if progressed {
            self.wait(self.times.idle);
        }
        polled
    }

    /// Whether the client's connection broke. A mere end of what it sends is not that: it may wait for the answer
    /// (RFC 9112 section 9.6). Looks only where no more of the body is to be read.
    pub(super) fn poll_client_gone(&self, cx: &mut Context<'_>) -> bool {
        let Some(client) = &self.client else { return false };
        if !self.carrier.is_source_ended() || client.ended() {
            return false;
        }
        while client.input().bytes().len() < AHEAD_MAX {
            match client.poll_fill(cx) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(_)) | Poll::Pending => return false,
                Poll::Ready(Err(_)) => return true,
            }
        }
        false
    }

    /// The request's body as it was before this attempt, where it is still whole.
    pub(super) fn into_untouched(self) -> Option<Untouched> {
        match self.carrier {
            Carrier::Http1(carrier) => carrier.into_untouched(),
            Carrier::Http2(carrier) => carrier.into_untouched(),
        }
    }

    /// The answer's final head has come: nothing will be sent a second time, and its body is next.
    pub(super) fn commit(&mut self, head: &ResponseHead) {
        self.answer = match &mut self.carrier {
            Carrier::Http1(carrier) => carrier.commit(head, &self.worker.settings().limits),
            Carrier::Http2(carrier) => carrier.commit(),
        };
    }

    /// Sends the answer's body through an encoder, as a middleware that saw its head wants it.
    pub(super) fn encode_answer(&mut self, encoder: Encoder) {
        let source = std::mem::replace(&mut self.answer, Body::Empty);
        self.answer = Body::Changed(Box::new(Changed::new(source, encoder)));
    }

    /// Whether nothing of the answer is left to come.
    pub(super) fn is_answer_done(&self) -> bool {
        self.answer.is_done()
    }

    /// Bytes of the answer still to come, where that is known.
    pub(super) fn answer_remaining(&self) -> Option<u64> {
        self.answer.remaining()
    }

    /// The wire that the answer's pieces lie on.
    pub(super) fn answer_wire(&self) -> Option<&Rc<Wire>> {
        self.answer.wire()
    }

    /// The next piece of the answer's body.
    pub(super) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Broken>> {
        self.answer.poll_piece(cx, &self.worker.settings().limits)
    }

    /// Gives the connection back once the answer was read to its end. It is kept only where the server keeps it, the
    /// request was sent whole and nothing came behind the answer.
    pub(super) fn finish(self, keep_alive: bool) {
        if let Carrier::Http1(carrier) = self.carrier {
            carrier.finish(&self.worker, &self.server, keep_alive && self.sent);
        }
    }

    /// Lets the answer's body go. Where all of it is there already the connection is given back as by
    /// [`finish`](Self::finish); else it, or the stream, is cut.
    pub(super) fn discard(mut self, keep_alive: bool) {
        let mut cx = Context::from_waker(Waker::noop());
        let mut left = DISCARD_MAX;
        while !self.is_answer_done() {
            let length = match self.poll_answer(&mut cx) {
                Poll::Ready(Ok(Piece::OnWire(length))) => {
                    if let Some(wire) = self.answer_wire() {
                        wire.input().consume(length);
                    }
                    length
                }
                Poll::Ready(Ok(Piece::Own(data))) => data.len(),
                Poll::Ready(Ok(Piece::End(_))) => break,
                Poll::Ready(Err(_)) | Poll::Pending => return,
            };
            left = match left.checked_sub(length) {
                Some(left) => left,
                None => return,
            };
        }
        self.finish(keep_alive);
    }

    /// The server's connection, for another protocol to go on with.
    pub(super) fn wire(&self) -> Option<&Rc<Wire>> {
        match &self.carrier {
            Carrier::Http1(carrier) => Some(carrier.wire()),
            Carrier::Http2(_) => None,
        }
    }

    /// Sends on while the answer comes. That a server takes no more does not matter to the answer; its connection is
    /// then not kept.
    pub(super) fn poll_upload_beside(&mut self, cx: &mut Context<'_>) -> Beside {
        let before = (self.body_bytes, self.sent);
        let polled = self.poll_upload(cx);
        if self.sent && !before.1 {
            // The answer is there already: what is waited for is its next byte.
            self.wait(self.times.idle);
        }
        match polled {
            Poll::Ready(Err(UploadError::ClientGone)) => Beside::ClientGone,
            _ if (self.body_bytes, self.sent) != before => Beside::Moved,
            _ => Beside::Still,
        }
    }
}

impl Carrier {
    fn poll_upload(
        &mut self,
        cx: &mut Context<'_>,
        limits: &crate::message::Limits,
    ) -> Poll<Result<(), UploadError>> {
        match self {
            Self::Http1(carrier) => carrier.poll_upload(cx, limits),
            Self::Http2(carrier) => carrier.look_at_upload(cx),
        }
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        method: Method,
    ) -> Poll<Result<ResponseHead, Lost>> {
        match self {
            Self::Http1(carrier) => carrier.poll_head(cx, worker, method),
            Self::Http2(carrier) => carrier.poll_head(cx, worker, method),
        }
    }

    /// Nothing of the request's body is sent a second time.
    fn forget_copy(&mut self) {
        match self {
            Self::Http1(carrier) => carrier.forget_copy(),
            Self::Http2(carrier) => carrier.forget_copy(),
        }
    }

    fn is_held(&self) -> bool {
        match self {
            Self::Http1(carrier) => carrier.is_held(),
            Self::Http2(carrier) => carrier.is_held(),
        }
    }

    fn release(&mut self) {
        match self {
            Self::Http1(carrier) => carrier.release(),
            Self::Http2(carrier) => carrier.release(),
        }
    }

    fn bytes(&self) -> Option<u64> {
        match self {
            Self::Http1(carrier) => carrier.bytes(),
            Self::Http2(carrier) => carrier.bytes(),
        }
    }

    fn is_source_ended(&self) -> bool {
        match self {
            Self::Http1(carrier) => carrier.is_source_ended(),
            Self::Http2(carrier) => carrier.is_source_ended(),
        }
    }

    /// Whether the client was asked for more of a body that the server still takes.
    fn waits_for_client(&self) -> bool {
        match self {
            Self::Http1(carrier) => carrier.waits_for_client(),
            Self::Http2(carrier) => carrier.waits_for_client(),
        }
    }

    fn is_whole(&self) -> bool {
        match self {
            Self::Http1(carrier) => carrier.is_whole(),
            Self::Http2(carrier) => carrier.is_whole(),
        }
    }

    /// Whether the server has anything of the request that it could not still decline.
    fn may_have_run(&self) -> bool {
        match self {
            Self::Http1(carrier) => carrier.may_have_run(),
            Self::Http2(_) => false,
        }
    }
}

/// Whose fault a broken upload is.
fn failure_of(error: &UploadError) -> Failure {
    match error {
        UploadError::ClientGone => Failure::of(Reason::ClientGone),
        // It may have closed its own direction alone, and be told.
        UploadError::Truncated => Failure::with_status(Reason::ClientGone, 400),
        UploadError::BadFraming => Failure::of(Reason::BadRequest),
        UploadError::TooLarge => Failure::of(Reason::BodyTooLarge),
        UploadError::Refused(_) => Failure::of(Reason::UpstreamReset),
    }
}

/// Whether a request of this framing has no body.
pub(super) fn is_bodiless(length: BodyLength) -> bool {
    matches!(length, BodyLength::None | BodyLength::Known(0))
}
