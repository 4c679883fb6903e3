//! Sends a request to a server: picks one, borrows or makes a connection, and tries again where that is safe.
//!
//! A request runs once. It is sent again only if no byte of it was written, or, once and on a fresh connection, when a
//! reused connection closed without an answer's first byte, the method is idempotent (RFC 9110 section 9.2.2) and the
//! body was empty or is still whole.

use super::body::{RequestBody, Upload, UploadError};
use super::error::Failure;
use super::passage::Passage;
use super::timer::Timer;
use super::worker::Worker;
use crate::message::{BodyLength, Method, RequestWrite, ResponseHead, Scan};
use crate::telemetry::Reason;
use crate::upstream::{Backend, Server, Turn, connect};
use crate::wire::Wire;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Servers tried for one request, as long as none could be connected to.
const SERVERS_TRIED_MAX: usize = 3;
/// Interim answers (1xx) to one request; a server that sends more is broken.
const INTERIM_MAX: u32 = 16;
/// What a client may send ahead while it waits for an answer, in bytes; the rest stays in the operating system.
const AHEAD_MAX: usize = 16 * 1024;

/// A request that was sent, and whose answer is coming.
pub(super) struct Exchange {
    pub worker: Rc<Worker>,
    pub server: Arc<Server>,
    pub wire: Rc<Wire>,
    pub timer: Rc<Timer>,
    /// What is still to be sent.
    upload: Option<Upload>,
    /// The client's connection, to notice that it is gone.
    client: Option<Rc<Wire>>,
    method: Method,
    scan: Scan,
    times: Times,
    body_bytes: u64,
    continue_due: bool,
    sent: bool,
    /// The server takes no more of the request; what it may have said before is still read.
    refused: bool,
    has_body: bool,
    interim: u32,
    reused: bool,
    idle_connections_max: usize,
    idle_age: Duration,
}

/// The time limits of one exchange.
#[derive(Debug, Clone, Copy)]
struct Times {
    answer: Duration,
    idle: Duration,
    continued: Duration,
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
enum Lost {
    /// The request may be sent again without a second thought.
    Unsent,
    /// A reused connection closed before the answer's first byte.
    StaleConnection,
    /// Not to be sent again.
    Final(Failure),
}

/// Sends the request of `passage` with `body`. On success the answer's first head has come.
/// `client` is the client's connection where its end can be watched; `timer` is the request's own while it lasts.
pub(super) async fn send(
    passage: &mut Passage,
    backend: &Arc<Backend>,
    mut body: RequestBody,
    client: Option<Rc<Wire>>,
    timer: &Rc<Timer>,
    upgrade: bool,
) -> Result<(Exchange, Next), Failure> {
    let worker = passage.worker.clone();
    let mut tried = Vec::new();
    let mut fresh_for: Option<Arc<Server>> = None;
    let mut kept = Vec::new();
    let mut last = Failure::of(Reason::NoServer);
    while tried.len() < SERVERS_TRIED_MAX {
        let again = fresh_for.take();
        let (now, random) = (worker.now(), worker.next_request_id());
        let turn = Turn { worker: worker.index, now, random, key: None, sticky: None, tried: &tried };
        let Some(server) = again.as_ref().or_else(|| backend.pick(&turn)).cloned() else {
            break;
        };
        passage.attempt(&server);
        let idle = if again.is_none() { worker.pool.borrow_mut().take(&server) } else { None };
        let reused = idle.is_some();
        let wire = match idle {
            Some(wire) => wire,
            None => match dial(&server, backend, timer).await {
                Ok(wire) => Rc::new(wire),
                Err(failure) => {
                    passage.failed(failure.reason);
                    tried.push(server);
                    last = failure;
                    continue;
                }
            },
        };
        let upload = prepare(passage, &server, &wire, body, kept, upgrade, reused);
        let mut exchange =
            Exchange::new(&worker, backend, passage, server, wire, upload, timer.clone(), reused);
        exchange.client = client.clone();
        let lost = match exchange.first().await {
            Ok(next) => return Ok((exchange, next)),
            Err(lost) => lost,
        };
        let reason = match &lost {
            Lost::Final(failure) => failure.reason,
            Lost::Unsent | Lost::StaleConnection => Reason::UpstreamReset,
        };
        passage.failed(reason);
        passage.bytes_in = exchange.body_bytes();
        let repeatable = exchange.method.is_idempotent() || matches!(lost, Lost::Unsent);
        let server = exchange.server.clone();
        let whole = exchange.into_whole_body();
        match (lost, whole) {
            (Lost::Final(failure), _) => return Err(failure),
            (Lost::Unsent | Lost::StaleConnection, Some((source, copy))) if repeatable && reused => {
                body = source;
                kept = copy;
                fresh_for = Some(server);
            }
            (Lost::Unsent, Some((source, copy))) => {
                body = source;
                kept = copy;
                last = Failure::of(Reason::UpstreamReset);
                tried.push(server);
            }
            _ => return Err(Failure::of(Reason::UpstreamReset)),
        }
    }
    Err(last)
}

async fn dial(server: &Server, backend: &Backend, timer: &Timer) -> Result<Wire, Failure> {
    timer.set(backend.settings.timeouts.dial);
    let connected = timer.bound(connect(server, backend.settings.keep_alive.period)).await;
    timer.clear();
    match connected {
        Some(Ok(wire)) => Ok(wire),
        Some(Err(error)) => {
            tracing::debug!(backend = %backend.id, server = %server.id, %error, "no connection");
            Err(Failure::of(Reason::ConnectFailed))
        }
        None => Err(Failure::of(Reason::ConnectTimeout)),
    }
}

/// Serialises the head and lines the body up behind it.
fn prepare(
    passage: &Passage,
    server: &Server,
    wire: &Rc<Wire>,
    body: RequestBody,
    kept: Vec<u8>,
    upgrade: bool,
    reused: bool,
) -> Upload {
    let head = &passage.head;
    let settings = passage.frontend.as_ref().map(|frontend| &frontend.object.settings);
    let pass_host = settings.is_some_and(|settings| settings.pass_host_header);
    let options = RequestWrite {
        host: match &passage.host {
            Some(host) => Some(host),
            None if pass_host => None,
            None => Some(&server.authority),
        },
        body: head.body,
        upgrade: if upgrade { head.upgrade_token() } else { None },
        trailers: head.trailers_accepted,
        expect_continue: head.expect_continue && !body.is_empty(),
    };
    let mut text = passage.worker.spare.borrow_mut().buffer();
    head.write_http1(&mut text, &options);
    let most = settings.and_then(|settings| settings.body_bytes_max);
    let mut upload = Upload::new(text, body, wire.clone(), head.body, most);
    if reused && head.method_kind.is_idempotent() {
        upload.keep_copy();
    }
    upload.resend(kept);
    if options.expect_continue {
        upload.hold();
    }
    upload
}

impl Exchange {
    #[expect(
        clippy::too_many_arguments,
        reason = "an exchange is made in one place, from what that place has"
    )]
    fn new(
        worker: &Rc<Worker>,
        backend: &Backend,
        passage: &Passage,
        server: Arc<Server>,
        wire: Rc<Wire>,
        upload: Upload,
        timer: Rc<Timer>,
        reused: bool,
    ) -> Self {
        let own = passage.frontend.as_ref().map(|frontend| &frontend.object.settings);
        let settings = worker.settings();
        let keep_alive = backend.settings.keep_alive;
        Self {
            worker: worker.clone(),
            server,
            wire,
            timer,
            continue_due: upload.is_held(),
            has_body: !upload.is_source_ended(),
            upload: Some(upload),
            client: None,
            method: passage.head.method_kind,
            scan: Scan::default(),
            times: Times {
                answer: own.and_then(|own| own.response_timeout).unwrap_or(backend.settings.timeouts.read),
                idle: own.and_then(|own| own.idle_timeout).unwrap_or(settings.idle_timeout),
                continued: settings.continue_timeout,
            },
            body_bytes: 0,
            sent: false,
            refused: false,
            interim: 0,
            reused,
            idle_connections_max: worker.idle_connections_max(&backend.settings),
            idle_age: keep_alive.period,
        }
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

    async fn first(&mut self) -> Result<Next, Lost> {
        self.timer.set(match (self.continue_due, self.has_body) {
            (true, _) => self.times.continued,
            (false, true) => self.times.idle,
            (false, false) => self.times.answer,
        });
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next head of the answer, after an interim one or after [`Next::Continue`].
    pub(super) async fn next(&mut self) -> Result<Next, Failure> {
        self.timer.set(if self.is_sent() { self.times.answer } else { self.times.idle });
        match poll_fn(|cx| self.poll_next(cx)).await {
            Ok(next) => Ok(next),
            Err(Lost::Final(failure)) => Err(failure),
            Err(Lost::Unsent | Lost::StaleConnection) => Err(Failure::of(Reason::UpstreamReset)),
        }
    }

    /// Lets a body go that waited for the server's word.
    pub(super) fn release_body(&mut self) {
        self.continue_due = false;
        if let Some(upload) = &mut self.upload {
            upload.release();
        }
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
        match self.poll_head(cx) {
            Poll::Ready(Ok(Some(head))) => return Poll::Ready(Ok(Next::Head(head))),
            Poll::Ready(Ok(None)) => return Poll::Ready(Err(self.lost())),
            Poll::Ready(Err(failure)) => return Poll::Ready(Err(Lost::Final(failure))),
            Poll::Pending => {}
        }
        if self.poll_client_gone(cx) {
            return Poll::Ready(Err(Lost::Final(Failure::of(Reason::ClientGone))));
        }
        if self.timer.poll(cx).is_ready() {
            if std::mem::take(&mut self.continue_due) {
                return Poll::Ready(Ok(Next::Continue));
            }
            let failure = match &self.upload {
                Some(upload) if upload.waits_for_source() && !self.refused => {
                    Failure::with_status(Reason::BadRequest, 408)
                }
                _ => Failure::of(Reason::UpstreamTimeout),
            };
            return Poll::Ready(Err(Lost::Final(failure)));
        }
        Poll::Pending
    }

    /// Sends on. Once everything is sent the time for the answer begins.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UploadError>> {
        let open = !self.sent && !self.refused;
        let Some(upload) = self.upload.as_mut().filter(|_| open) else { return Poll::Ready(Ok(())) };
        let polled = upload.poll(cx);
        let bytes = upload.body_bytes();
        let progressed = bytes != self.body_bytes;
        self.body_bytes = bytes;
        if let Poll::Ready(Ok(())) = polled {
            self.sent = true;
            if self.has_body {
                self.timer.set(self.times.answer);
            }
        } else if let Poll::Ready(Err(UploadError::Refused(_))) = polled {
            self.refused = true;
        } else if progressed {
            self.timer.set(self.times.idle);
        }
        polled
    }

    /// An answer's head; `None` when the server closed without a byte of one.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<ResponseHead>, Failure>> {
        loop {
            let mut input = self.wire.input();
            if !input.is_empty() {
                let spare = &mut self.worker.spare.borrow_mut();
                let limits = &self.worker.settings().limits;
                match ResponseHead::read(input.front(), &mut self.scan, spare, limits, self.method) {
                    Ok(Some(head)) => {
                        self.scan = Scan::default();
                        self.interim += u32::from(head.is_interim());
                        if self.interim > INTERIM_MAX {
                            tracing::debug!(server = %self.server.id, "interim answers without end");
                            return Poll::Ready(Err(Failure::of(Reason::BadAnswer)));
                        }
                        return Poll::Ready(Ok(Some(head)));
                    }
                    Ok(None) => {}
                    Err(error) => {
                        tracing::debug!(server = %self.server.id, ?error, "bad answer");
                        return Poll::Ready(Err(Failure::of(Reason::BadAnswer)));
                    }
                }
            }
            let nothing_came = input.is_empty();
            drop(input);
            match self.wire.poll_fill(cx) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0) | Err(_)) if nothing_came => return Poll::Ready(Ok(None)),
                Poll::Ready(Ok(_) | Err(_)) => return Poll::Ready(Err(Failure::of(Reason::UpstreamReset))),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Whether the client's connection broke. A mere end of what it sends is not that: it may wait for the answer
    /// (RFC 9112 section 9.6). Looks only where no more of the body is to be read.
    pub(super) fn poll_client_gone(&self, cx: &mut Context<'_>) -> bool {
        let Some(client) = &self.client else { return false };
        if !self.upload.as_ref().is_none_or(Upload::is_source_ended) || client.ended() {
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

    fn lost(&self) -> Lost {
        match &self.upload {
            Some(upload) if !upload.anything_written() => Lost::Unsent,
            _ if self.reused => Lost::StaleConnection,
            _ => Lost::Final(Failure::of(Reason::UpstreamReset)),
        }
    }

    /// The body as it was before this attempt, where it is still whole.
    fn into_whole_body(mut self) -> Option<(RequestBody, Vec<u8>)> {
        self.upload.take()?.into_whole_body()
    }

    /// The answer's head has come: nothing will be sent a second time.
    pub(super) fn commit(&mut self) {
        if let Some(upload) = &mut self.upload {
            upload.forget_copy();
        }
    }

    /// Gives the connection back once the answer was read to its end. It is kept only where the server keeps it, the
    /// request was sent whole and nothing came behind the answer.
    pub(super) fn finish(self, keep_alive: bool) {
        if let Some(upload) = self.upload {
            self.worker.spare.borrow_mut().keep_buffer(upload.into_text());
        }
        if keep_alive && self.sent && self.wire.input().is_empty() && !self.wire.ended() {
            self.wire.shrink();
            let expires = self.worker.now() + self.idle_age;
            self.worker.pool.borrow_mut().put(&self.server, self.wire, self.idle_connections_max, expires);
        }
    }

    /// Sends on while the answer comes. That a server takes no more does not matter to the answer; its connection is
    /// then not kept.
    pub(super) fn poll_upload_beside(&mut self, cx: &mut Context<'_>) -> Beside {
        let before = (self.body_bytes, self.sent);
        let polled = self.poll_upload(cx);
        if self.sent && !before.1 {
            // The answer is there already: what is waited for is its next byte.
            self.timer.set(self.times.idle);
        }
        match polled {
            Poll::Ready(Err(UploadError::ClientGone)) => Beside::ClientGone,
            _ if (self.body_bytes, self.sent) != before => Beside::Moved,
            _ => Beside::Still,
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

/// How a request's body is framed towards the server.
pub(super) fn is_bodiless(length: BodyLength) -> bool {
    matches!(length, BodyLength::None | BodyLength::Known(0))
}
