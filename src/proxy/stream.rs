//! A request that arrives as a stream of its own: over HTTP/2, or from an embedding program. Its answer is an `http`
//! response whose body moves the rest of the request while it is polled.

use super::body::{Aborted, Body, Broken, Piece};
use super::client::Client;
use super::error::Failure;
use super::exchange::{Beside, Exchange, Next};
use super::own::{self, Own};
use super::pace::Pace;
use super::pages::{self, Told};
use super::passage::Passage;
use super::request::{Decision, decide};
use super::worker::Worker;
use super::{ask, choice, forward, mirror, passage};
use crate::message::{Fields, HeadError, Method, RequestHead, ResponseHead, Version};
use crate::telemetry::{Limit, Reason};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// Added to the idle timeout before an answer that nobody asks for is let go.
const STALL_GRACE: Duration = Duration::from_secs(1);
/// How long an unwanted body is read.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// The body of an answer. Dropping it before its end tells the server that nobody listens.
pub(super) enum AnswerBody {
    /// One that is whole already. Its request has ended: what a client that never takes it leaves lying holds nothing.
    Own(Option<Bytes>),
    /// A server's.
    Server(ServerBody),
}

/// A server's answer on its way.
pub(super) struct ServerBody(Rc<Held>);

/// What an answer on its way holds. Its worker can take it away where the client lets it wait for ever: a stream whose
/// window is full is not polled, and could not end itself.
pub(super) struct Held {
    /// Gone at the end.
    running: RefCell<Option<Box<Running>>>,
    polled: Cell<Instant>,
    /// The client's, with what it takes.
    pace: RefCell<Pace>,
    /// Whether the body ended as it should, or its reader knows that it did not.
    told: Cell<bool>,
}

struct Running {
    passage: Passage,
    exchange: Exchange,
    server_keeps: bool,
    /// The server was asked for more and the time for that runs; it does not while the client is waited for.
    waiting: bool,
}

/// What comes next of a body.
enum Step {
    Data(Bytes),
    End(Option<Fields>),
    Broken(Reason),
}

/// What the server wants to speak after `101`: the exchange, for a tunnel.
pub(super) struct Switched {
    pub passage: Passage,
    pub exchange: Exchange,
    pub head: ResponseHead,
}

/// How a stream is answered.
pub(super) enum Answer {
    /// With a response.
    Response(http::Response<AnswerBody>),
    /// With another protocol.
    Switched(Box<Switched>),
}

/// Answers one request, that came over HTTP of `version`.
pub(super) async fn answer(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    version: Version,
    head: Result<RequestHead, HeadError>,
    body: Body,
    upgrade: bool,
) -> Answer {
    let head = match head {
        Ok(head) => head,
        Err(error) => return Answer::Response(refuse(worker, client, version, body, &error)),
    };
    let mut passage = Passage::begin(worker.clone(), client.clone(), head);
    let decision = match decide(&mut passage) {
        Ok(decision) => decision,
        Err(pending) => Box::pin(ask::decided(&mut passage, pending, None)).await,
    };
    let backend = match decision {
        Decision::Forward(backend) => backend,
        Decision::Fail(failure) => {
            drain(worker, body);
            return Answer::Response(respond(passage, Own::Failure(failure)));
        }
        Decision::Reply(reply) => {
            drain(worker, body);
            return Answer::Response(respond(passage, Own::Reply(reply)));
        }
    };
    let body = mirror::begin(&mut passage, body);
    let timer = Rc::new(worker.timer());
    let (mut exchange, mut next) =
        match forward::send(&mut passage, &backend, body, None, &timer, upgrade).await {
            Ok(sent) => sent,
            Err(failure) => return Answer::Response(respond(passage, Own::Failure(failure))),
        };
    loop {
        match next {
            Next::Head(head) if head.status == 101 && upgrade && agrees(&head, &passage.head) => {
                passage.answered(101);
                passage.status = 101;
                exchange.commit(&head);
                passage.settle();
                return Answer::Switched(Box::new(Switched { passage, exchange, head }));
            }
            Next::Head(head) if head.status == 101 => {
                passage.failed(Reason::BadAnswer);
                return Answer::Response(respond(passage, Own::Failure(Failure::of(Reason::BadAnswer))));
            }
            // `http` bodies ask for `100 Continue` by being polled; other interim answers hyper cannot send.
            Next::Head(head) if head.is_interim() => {
                if head.status == 100 {
                    exchange.release_body();
                }
                head.recycle(&mut worker.spare.borrow_mut());
            }
            Next::Continue => exchange.release_body(),
            Next::Head(head) => return Answer::Response(forwarded(passage, exchange, head)),
        }
        next = match exchange.next().await {
            Ok(next) => next,
            Err(failure) => {
                passage.failed(failure.reason);
                return Answer::Response(respond(passage, Own::Failure(failure)));
            }
        };
    }
}

/// Reads for a moment on what a client sends of a body that nobody wants: some clients lose an answer whose stream is
/// reset behind it, although that says that nothing is wrong (RFC 9113 section 8.1).
fn drain(worker: &Rc<Worker>, body: Body) {
    let Body::Hyper(mut body) = body else { return };
    let timer = worker.timer();
    let mut left = worker.settings().drain_bytes_max;
    worker.tasks.spawn_local(async move {
        timer.set(DRAIN_TIME);
        while let Some(Some(Ok(frame))) = timer.bound(body.frame()).await {
            let length = frame.data_ref().map_or(0, Bytes::len) as u64;
            left = match left.checked_sub(length) {
                Some(left) => left,
                None => return,
            };
        }
    });
}

fn forwarded(
    mut passage: Passage,
    mut exchange: Exchange,
    mut head: ResponseHead,
) -> http::Response<AnswerBody> {
    passage.answered(head.status);
    passage.status = head.status;
    exchange.commit(&head);
    passage.settle();
    let server_keeps = head.keep_alive;
    if let Some(told) = pages::instead(&passage, head.status) {
        let body = own::replace(&mut passage, &mut head, told);
        passage.bytes_in = exchange.body_bytes();
        exchange.discard(server_keeps);
        return finished(passage, head, body);
    }
    head.fields.remove_hop_by_hop();
    choice::bind(&passage, &mut head);
    passage.on_response(&mut head);
    if let Some(encoder) = passage.visit.take_encoder() {
        exchange.encode_answer(encoder);
    }
    let worker = passage.worker.clone();
    let mut response = head.to_http();
    if !response.headers().contains_key(http::header::DATE)
        && let Ok(date) = http::HeaderValue::from_bytes(&worker.date())
    {
        response.headers_mut().insert(http::header::DATE, date);
    }
    head.recycle(&mut worker.spare.borrow_mut());
    let running = Running { passage, exchange, server_keeps, waiting: false };
    if running.exchange.is_answer_done() {
        running.finish();
        return response.map(|()| AnswerBody::Own(None));
    }
    let held = Rc::new(Held {
        running: RefCell::new(Some(Box::new(running))),
        polled: Cell::new(worker.now()),
        pace: RefCell::new(Pace::new(worker.settings().answer_rate_min, worker.settings().idle_timeout)),
        told: Cell::new(false),
    });
    worker.watch(&held);
    response.map(|()| AnswerBody::Server(ServerBody(held)))
}

/// Whether the server changes to the protocol it was asked for.
fn agrees(answer: &ResponseHead, request: &RequestHead) -> bool {
    let tokens = answer.upgrade_token().zip(request.upgrade_token());
    tokens.is_some_and(|(to, asked)| to.eq_ignore_ascii_case(asked))
}

fn respond(mut passage: Passage, own: Own) -> http::Response<AnswerBody> {
    let (head, body) = own::answer(&mut passage, own);
    finished(passage, head, body)
}

/// The response of an answer that is whole already.
fn finished(passage: Passage, head: ResponseHead, body: Bytes) -> http::Response<AnswerBody> {
    let body = if passage.head.method_kind == Method::Head { Bytes::new() } else { body };
    let response = head.to_http();
    head.recycle(&mut passage.worker.spare.borrow_mut());
    response.map(|()| AnswerBody::Own(Some(body)))
}

fn refuse(
    worker: &Rc<Worker>,
    client: &Client,
    version: Version,
    body: Body,
    error: &HeadError,
) -> http::Response<AnswerBody> {
    drain(worker, body);
    let failure = Failure::of_head(error);
    let refused = worker.shared.refused.at(worker.index);
    refused.record(failure.reason);
    refused.malformed(error.reason.as_str());
    let id = worker.next_request_id();
    passage::log_refused(worker, client, version, id, failure);
    told(worker, failure, id)
}

/// The proxy's answer to a failure of which nothing else is known.
pub(super) fn told(worker: &Worker, failure: Failure, id: u64) -> http::Response<AnswerBody> {
    let Told { content_type, body, .. } = pages::of_process(worker, failure, id);
    let mut response = http::Response::new(AnswerBody::Own(Some(body)));
    *response.status_mut() =
        http::StatusCode::from_u16(failure.status).unwrap_or(http::StatusCode::BAD_REQUEST);
    if let Ok(content_type) = http::HeaderValue::from_str(&content_type) {
        response.headers_mut().insert(http::header::CONTENT_TYPE, content_type);
    }
    response
}

impl ServerBody {
    /// The next data or trailers. What comes after an error is nothing.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        let held = &self.0;
        let Some(mut running) = held.running.take() else {
            return Poll::Ready(if held.told.replace(true) { None } else { Some(Err(Aborted)) });
        };
        held.polled.set(running.passage.worker.now());
        let step = running.poll(cx);
        running.passage.bytes_in = running.exchange.body_bytes();
        Poll::Ready(match step {
            Poll::Pending => {
                held.running.replace(Some(running));
                return Poll::Pending;
            }
            Poll::Ready(Step::Data(data)) => {
                // Whoever waits for more after the last byte does not hold the server's connection.
                if running.exchange.answer_remaining() == Some(0) {
                    held.told.set(true);
                    running.finish();
                } else {
                    held.running.replace(Some(running));
                }
                Some(Ok(Frame::data(data)))
            }
            Poll::Ready(Step::End(trailers)) => {
                held.told.set(true);
                running.finish();
                trailers.map(|trailers| Ok(Frame::trailers(trailers.to_http())))
            }
            Poll::Ready(Step::Broken(reason)) => {
                held.told.set(true);
                running.passage.reason = Some(reason);
                Some(Err(Aborted))
            }
        })
    }

    fn is_end(&self) -> bool {
        self.0.told.get()
    }
}

impl Held {
    /// Lets go of an answer that its client has not asked for in a long time; says whether it goes on.
    pub(super) fn goes_on(&self, now: Instant) -> bool {
        let mut running = self.running.borrow_mut();
        let Some(one) = &mut *running else { return false };
        // The idle timeout itself is seen to by whoever polls.
        let most = one.exchange.idle_timeout() + STALL_GRACE;
        let silent = now.saturating_duration_since(self.polled.get());
        let mut pace = self.pace.borrow_mut();
        pace.note(one.passage.bytes_out, silent >= STALL_GRACE, now);
        let limit = match () {
            () if one.exchange.is_over() => Limit::RequestTime,
            () if pace.is_missed(now) => Limit::AnswerRate,
            () if silent >= most => Limit::H2Stall,
            () => return true,
        };
        one.passage.reached(limit);
        one.passage.reason = Some(Reason::ClientGone);
        *running = None;
        false
    }
}

impl Running {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        let exchange = &mut self.exchange;
        let _ = exchange.poll_upload_beside(cx);
        let Poll::Ready(piece) = exchange.poll_answer(cx) else {
            if exchange.is_overdue() {
                return Poll::Ready(Step::Broken(Reason::UpstreamTruncated));
            }
            if !self.waiting {
                self.waiting = true;
                exchange.wait(exchange.idle_timeout());
            }
            ready!(exchange.timer.poll(cx));
            let limit = if exchange.is_over() { Limit::RequestTime } else { Limit::BodyTime };
            self.passage.reached(limit);
            return Poll::Ready(Step::Broken(Reason::UpstreamTimeout));
        };
        self.waiting = false;
        let data = match piece {
            Ok(Piece::OnWire(length)) => {
                let Some(wire) = exchange.answer_wire() else { return Poll::Ready(Step::End(None)) };
                let mut input = wire.input();
                let data = Bytes::copy_from_slice(input.bytes().get(..length).unwrap_or_default());
                input.consume(length);
                data
            }
            Ok(Piece::Own(data)) => data,
            Ok(Piece::End(trailers)) => return Poll::Ready(Step::End(trailers)),
            Err(Broken::Framing) => return Poll::Ready(Step::Broken(Reason::BadAnswer)),
            Err(Broken::Truncated | Broken::Gone) => {
                return Poll::Ready(Step::Broken(Reason::UpstreamTruncated));
            }
        };
        self.passage.bytes_out += data.len() as u64;
        Poll::Ready(Step::Data(data))
    }

    /// The answer is whole.
    fn finish(mut self) -> Passage {
        self.passage.bytes_in = self.exchange.body_bytes();
        self.exchange.finish(self.server_keeps);
        self.passage
    }
}

impl Drop for ServerBody {
    fn drop(&mut self) {
        if let Some(running) = &mut *self.0.running.borrow_mut() {
            running.passage.reason = Some(Reason::ClientGone);
        }
    }
}

impl AnswerBody {
    /// Sends the rest of the request on while the answer waits for its reader. Returns whether any of it moved.
    pub(super) fn poll_upload_beside(&mut self, cx: &mut Context<'_>) -> bool {
        match self {
            Self::Server(body) => {
                let mut running = body.0.running.borrow_mut();
                let Some(running) = &mut *running else { return false };
                let moved = running.exchange.poll_upload_beside(cx) == Beside::Moved;
                if moved {
                    body.0.polled.set(running.passage.worker.now());
                }
                moved
            }
            Self::Own(_) => false,
        }
    }
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        match self.get_mut() {
            Self::Own(body) => {
                Poll::Ready(body.take().filter(|body| !body.is_empty()).map(|b| Ok(Frame::data(b))))
            }
            Self::Server(body) => body.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.as_ref().is_none_or(Bytes::is_empty),
            Self::Server(body) => body.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => SizeHint::with_exact(body.as_ref().map_or(0, Bytes::len) as u64),
            Self::Server(body) => {
                let running = body.0.running.borrow();
                let left = running.as_ref().and_then(|running| running.exchange.answer_remaining());
                left.map_or_else(SizeHint::default, SizeHint::with_exact)
            }
        }
    }
}
