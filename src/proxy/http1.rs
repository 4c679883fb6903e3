//! A client's HTTP/1.1 connection: one task, one request after the other.

use super::body::Body;
use super::client::Client;
use super::error::Failure;
use super::exchange::{Exchange, Next, is_bodiless};
use super::forward;
use super::own::{self, Own};
use super::pages::{self, Told};
use super::passage::{self, Passage};
use super::pump::{Ended, Pump};
use super::request::{Decision, decide};
use super::timer::Timer;
use super::worker::Worker;
use super::{ask, choice, headers, mirror, tunnel};
use crate::message::{
    BodyLength, Decoded, HeadError, Method, RequestHead, ResponseHead, ResponseWrite, Scan, Version,
};
use crate::telemetry::{Limit, PanicIn, Reason};
use crate::wire::Wire;
use futures_util::FutureExt;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// What a connection gets for its next request where the process drains: it was accepted to be served, and a client that
/// keeps one open may be about to use it. The answer says that it closes.
const GRACE: Duration = Duration::from_secs(1);

/// What one gets whose head has begun to arrive: it does not hold the drain for the whole of the head's time.
const HEAD_GRACE: Duration = Duration::from_secs(2);

/// What becomes of a connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// It takes the next request.
    Open,
    /// It is closed once the client had the chance to read the answer.
    Close,
    /// It is cut: what the client got must not look complete, or it is gone.
    Cut,
}

/// Serves the connection until it ends.
pub(super) async fn serve(worker: Rc<Worker>, client: Rc<Client>, wire: Rc<Wire>) {
    let timer = Rc::new(worker.timer());
    let mut first = true;
    loop {
        let head = match read_head(&worker, &wire, &timer, std::mem::take(&mut first)).await {
            Ok(Some(head)) => head,
            Ok(None) => break,
            Err(failure) => {
                refuse(&worker, &client, &wire, failure).await;
                linger(&worker, &wire, &timer).await;
                break;
            }
        };
        let passage = Passage::begin(worker.clone(), client.clone(), head);
        match guarded(passage, &wire, &timer).await {
            After::Open => wire.shrink(),
            After::Close => {
                linger(&worker, &wire, &timer).await;
                break;
            }
            After::Cut => return,
        }
    }
    // The last word under TLS; a client that is gone does not need it.
    let _ = poll_fn(|cx| match wire.poll_shutdown(cx) {
        Poll::Pending => Poll::Ready(Ok(())),
        ready => ready,
    })
    .await;
}

/// The next request's head. `None`: the client is done, was idle too long, or the process drains: then a request that
/// may be on its way gets `grace`.
async fn read_head(
    worker: &Worker,
    wire: &Wire,
    timer: &Timer,
    first: bool,
) -> Result<Option<RequestHead>, Failure> {
    let mut scan = Scan::default();
    let limits = &worker.settings().limits;
    let mut begun = !wire.input().is_empty();
    let mut graced = false;
    // Whoever was never heard gets no longer than for a head.
    let settings = worker.settings();
    let heard = begun || !first;
    let idle = if heard {
        settings.keep_alive_timeout
    } else {
        settings.keep_alive_timeout.min(settings.head_timeout)
    };
    timer.set(if begun { settings.head_timeout } else { idle });
    loop {
        {
            let mut input = wire.input();
            if !input.is_empty() {
                if !begun {
                    begun = true;
                    timer.set(if graced { HEAD_GRACE } else { worker.settings().head_timeout });
                }
                let read =
                    RequestHead::read(input.front(), &mut scan, &mut worker.spare.borrow_mut(), limits);
                let head = read.map_err(|error| malformed(worker, &error))?;
                if head.is_some() {
                    timer.clear();
                    return Ok(head);
                }
            }
        }
        let filled = match (graced, begun) {
            (true, _) => timer.bound(wire.fill()).await,
            (false, true) => timer.bound_undrained(wire.fill()).await,
            (false, false) => timer.bound_idle(wire.fill()).await,
        };
        match filled {
            Some(Ok(1..)) => {}
            None if !begun && timer.is_evicted() => {
                worker.reached(worker.overload().unwrap_or(Limit::Connections));
                return Ok(None);
            }
            None if !graced && worker.is_draining() => {
                graced = true;
                timer.set(if begun { HEAD_GRACE } else { GRACE });
            }
            None if begun => {
                worker.reached(Limit::HeadTime);
                return Err(Failure::at(Limit::HeadTime, Reason::BadRequest, 408));
            }
            None => {
                if !graced {
                    worker.reached(Limit::IdleTime);
                }
                return Ok(None);
            }
            Some(_) => return Ok(None),
        }
    }
}

/// Answers one request. A panic on its way ends this connection alone, with a 500 if nothing was said yet.
async fn guarded(passage: Passage, wire: &Rc<Wire>, timer: &Rc<Timer>) -> After {
    let worker = passage.worker.clone();
    wire.take_written();
    // What a panic leaves half done is of this request and its connection, which both end.
    if let Ok(after) = AssertUnwindSafe(answer(passage, wire, timer)).catch_unwind().await {
        return after;
    }
    PanicIn::Request.count();
    if wire.take_written() {
        return After::Cut;
    }
    tell(&worker, wire, Failure::of(Reason::Internal), worker.next_request_id()).await;
    After::Close
}

/// Answers one request; the passage ends, and is logged, when the answer has.
async fn answer(mut passage: Passage, wire: &Rc<Wire>, timer: &Rc<Timer>) -> After {
    let worker = passage.worker.clone();
    let mut body = Body::on_wire(wire, passage.head.body, &worker.settings().limits);
    let waits = passage.head.expect_continue && wire.input().is_empty();
    let decision = match decide(&mut passage) {
        Ok(decision) => decision,
        Err(pending) => Box::pin(ask::decided(&mut passage, pending, Some(wire))).await,
    };
    match decision {
        Decision::Fail(failure) if failure.status == 0 => fail(&mut passage, wire, failure).await,
        Decision::Fail(failure) => {
            // What follows CONNECT is not HTTP, whatever it looks like (RFC 9931).
            let whole = body.is_empty()
                && passage.head.method_kind != Method::Connect
                && failure.reason != Reason::Misdirected;
            let open = reply(&mut passage, wire, Own::Failure(failure), whole).await;
            drained(&worker, wire, &mut body, waits, timer, open).await
        }
        Decision::Reply(answer) => {
            let open = reply(&mut passage, wire, Own::Reply(answer), body.is_empty()).await;
            drained(&worker, wire, &mut body, waits, timer, open).await
        }
        Decision::Forward(backend) => {
            let body = mirror::begin(&mut passage, body);
            let upgrade = passage.head.upgrade && body.is_empty() && tunnel::is_allowed(&passage.head);
            match forward::send(&mut passage, &backend, body, Some(wire.clone()), timer, upgrade).await {
                Ok((exchange, first)) => deliver(passage, exchange, first, wire, upgrade).await,
                Err(failure) => fail(&mut passage, wire, failure).await,
            }
        }
    }
}

/// Tells the client of a failure whose request body may be half read: the connection does not stay.
async fn fail(passage: &mut Passage, wire: &Wire, failure: Failure) -> After {
    if failure.status == 0 {
        passage.reason = Some(failure.reason);
        return After::Cut;
    }
    let whole = is_bodiless(passage.head.body);
    reply(passage, wire, Own::Failure(failure), whole).await
}

/// Writes an answer of the proxy's own. `whole`: nothing of the request is left to be read.
async fn reply(passage: &mut Passage, wire: &Wire, answer: Own, whole: bool) -> After {
    let (head, body) = own::answer(passage, answer);
    finish(passage, wire, head, &body, whole).await
}

/// Writes an answer that is whole already.
async fn finish(passage: &Passage, wire: &Wire, mut head: ResponseHead, body: &[u8], whole: bool) -> After {
    let worker = &passage.worker;
    let open = whole && headers::may_stay_open(&passage.head) && !worker.is_draining();
    head.answer_to(passage.head.method_kind);
    let mut out = worker.spare.borrow_mut().buffer();
    head.write_http1(
        &mut out,
        &framing(&passage.head, BodyLength::Known(body.len() as u64), !open, &worker.date()),
    );
    if passage.head.method_kind != Method::Head {
        out.extend_from_slice(body);
    }
    let written = write(passage, wire, &out).await;
    worker.spare.borrow_mut().keep_buffer(out);
    head.recycle(&mut worker.spare.borrow_mut());
    match (written, open) {
        (false, _) => After::Cut,
        (true, true) => After::Open,
        (true, false) => After::Close,
    }
}

/// Writes `bytes` within the idle timeout.
async fn write(passage: &Passage, wire: &Wire, bytes: &[u8]) -> bool {
    let timer = passage.worker.timer();
    timer.set(passage.worker.settings().idle_timeout);
    matches!(timer.bound(wire.write_all(bytes)).await, Some(Ok(())))
}

fn framing<'a>(
    request: &RequestHead,
    body: BodyLength,
    close: bool,
    date: &'a [u8; 29],
) -> ResponseWrite<'a> {
    ResponseWrite {
        body,
        close,
        keep_alive_10: !close && request.version == Version::H10,
        upgrade: None,
        date: Some(date),
    }
}

/// Brings a server's answer to the client: interim heads, then the final one with its body, or a tunnel.
async fn deliver(
    mut passage: Passage,
    mut exchange: Exchange,
    first: Next,
    wire: &Rc<Wire>,
    upgrade: bool,
) -> After {
    let mut next = first;
    let head = loop {
        match next {
            Next::Head(head) if head.status == 101 => {
                return switch(passage, exchange, head, wire, upgrade).await;
            }
            Next::Head(head) if head.is_interim() => {
                if head.status == 100 {
                    exchange.release_body();
                }
                if passage.head.version == Version::H11 && !interim(&passage, wire, &head).await {
                    return After::Cut;
                }
                head.recycle(&mut passage.worker.spare.borrow_mut());
            }
            Next::Continue => {
                exchange.release_body();
                if !write(&passage, wire, b"HTTP/1.1 100 Continue\r\n\r\n").await {
                    return After::Cut;
                }
            }
            Next::Head(head) => break head,
        }
        next = match exchange.next().await {
            Ok(next) => next,
            Err(failure) => {
                passage.failed(failure.reason);
                return fail(&mut passage, wire, failure).await;
            }
        };
    };
    deliver_final(passage, exchange, head, wire).await
}

/// Brings the final head to the client, and the body behind it.
async fn deliver_final(
    mut passage: Passage,
    mut exchange: Exchange,
    mut head: ResponseHead,
    wire: &Rc<Wire>,
) -> After {
    passage.answered(head.status);
    passage.status = head.status;
    exchange.commit(&head);
    passage.settle();
    let server_keeps = head.keep_alive;
    if let Some(told) = pages::instead(&passage, head.status) {
        let body = own::replace(&mut passage, &mut head, told);
        let whole = exchange.is_sent();
        passage.bytes_in = exchange.body_bytes();
        exchange.discard(server_keeps);
        return finish(&passage, wire, head, &body, whole).await;
    }
    head.fields.remove_hop_by_hop();
    choice::bind(&passage, &mut head);
    passage.on_response(&mut head);
    if let Some(encoder) = passage.visit.take_encoder() {
        exchange.encode_answer(encoder);
    }
    let (length, chunked) = outward(&head, passage.head.version);
    let request_keeps = headers::may_stay_open(&passage.head) && length != BodyLength::UntilClose;
    let close = !request_keeps || !exchange.is_sent() || passage.worker.is_draining();
    let worker = passage.worker.clone();
    let mut out = worker.spare.borrow_mut().buffer();
    head.write_http1(&mut out, &framing(&passage.head, length, close, &worker.date()));
    let (ended, bytes, out) = Pump::new(&mut exchange, wire, chunked, out).run().await;
    passage.bytes_out = bytes;
    passage.bytes_in = exchange.body_bytes();
    {
        let mut spare = worker.spare.borrow_mut();
        spare.keep_buffer(out);
        head.recycle(&mut spare);
    }
    match ended {
        Ended::Complete => {
            exchange.finish(server_keeps);
            if close { After::Close } else { After::Open }
        }
        Ended::Truncated | Ended::Silent | Ended::Late(_) => {
            if length == BodyLength::UntilClose {
                // An orderly close would make it look whole.
                wire.reset_on_close();
            }
            match ended {
                Ended::Silent => {
                    passage.reached(Limit::BodyTime);
                    cut(&mut passage, Reason::UpstreamTimeout)
                }
                Ended::Late(limit) => {
                    passage.reached(limit);
                    // What waits in the kernel for a client that does not take it goes with the connection.
                    wire.reset_on_close();
                    cut(&mut passage, Reason::ClientGone)
                }
                _ => cut(&mut passage, Reason::UpstreamTruncated),
            }
        }
        Ended::ClientGone => cut(&mut passage, Reason::ClientGone),
    }
}

fn cut(passage: &mut Passage, reason: Reason) -> After {
    passage.reason = Some(reason);
    After::Cut
}

/// How an answer's body is framed towards the client, and whether that is in chunks.
fn outward(head: &ResponseHead, version: Version) -> (BodyLength, bool) {
    match head.body {
        BodyLength::Chunked | BodyLength::UntilClose if version == Version::H11 => {
            (BodyLength::Chunked, true)
        }
        BodyLength::Chunked | BodyLength::UntilClose => (BodyLength::UntilClose, false),
        length => (length, false),
    }
}

/// Passes an interim answer on (RFC 9110 section 15.2).
async fn interim(passage: &Passage, wire: &Wire, head: &ResponseHead) -> bool {
    let mut out = passage.worker.spare.borrow_mut().buffer();
    let options = ResponseWrite {
        body: BodyLength::None,
        close: false,
        keep_alive_10: false,
        upgrade: None,
        date: None,
    };
    head.write_http1(&mut out, &options);
    let written = write(passage, wire, &out).await;
    passage.worker.spare.borrow_mut().keep_buffer(out);
    written
}

/// The server changed protocols: from here on bytes go both ways as they are.
async fn switch(
    mut passage: Passage,
    mut exchange: Exchange,
    mut head: ResponseHead,
    wire: &Rc<Wire>,
    asked: bool,
) -> After {
    passage.answered(head.status);
    let agreed = head
        .upgrade_token()
        .zip(passage.head.upgrade_token())
        .is_some_and(|(a, b)| a.eq_ignore_ascii_case(b));
    if !asked || !agreed {
        passage.failed(Reason::BadAnswer);
        return fail(&mut passage, wire, Failure::of(Reason::BadAnswer)).await;
    }
    passage.status = head.status;
    exchange.commit(&head);
    passage.settle();
    let token = head.upgrade_token().map(str::to_owned);
    head.fields.remove_hop_by_hop();
    let mut out = passage.worker.spare.borrow_mut().buffer();
    let options = ResponseWrite {
        body: BodyLength::None,
        close: false,
        keep_alive_10: false,
        upgrade: token.as_deref(),
        date: None,
    };
    head.write_http1(&mut out, &options);
    if !write(&passage, wire, &out).await {
        return cut(&mut passage, Reason::ClientGone);
    }
    // Only a connection of its own can change protocols.
    let Some(server) = exchange.wire() else { return After::Cut };
    let (inward, outward) = tunnel::between_wires(&passage.worker, wire, &exchange, server).await;
    passage.bytes_in = inward;
    passage.bytes_out = outward;
    After::Cut
}

/// Counts a head that is none.
fn malformed(worker: &Worker, error: &HeadError) -> Failure {
    worker.shared.refused.at(worker.index).malformed(error.reason.as_str());
    Failure::of_head(error)
}

/// Refuses what is not a request: nothing of it reached a server.
async fn refuse(worker: &Worker, client: &Client, wire: &Wire, failure: Failure) {
    worker.shared.refused.at(worker.index).record(failure.reason);
    tracing::debug!(detail = failure.detail, status = failure.status, "request refused");
    let id = worker.next_request_id();
    passage::log_refused(worker, client, Version::H11, id, failure);
    tell(worker, wire, failure, id).await;
}

/// Answers in place of a request's own way.
async fn tell(worker: &Worker, wire: &Wire, failure: Failure, id: u64) {
    let mut head = ResponseHead::new(failure.status, &mut worker.spare.borrow_mut());
    let Told { content_type, body, .. } = pages::of_process(worker, failure, id);
    head.fields.set_with("Content-Type", |out| out.extend_from_slice(content_type.as_bytes()));
    let mut out = Vec::new();
    let date = worker.date();
    let length = BodyLength::Known(body.len() as u64);
    head.write_http1(
        &mut out,
        &ResponseWrite { body: length, close: true, keep_alive_10: false, upgrade: None, date: Some(&date) },
    );
    out.extend_from_slice(&body);
    let timer = worker.timer();
    timer.set(worker.settings().idle_timeout);
    // Whether it arrives is the client's affair now.
    let _ = timer.bound(wire.write_all(&out)).await;
}

/// Reads what is left of an unwanted body, up to a limit, so that the connection can go on or the answer is not lost
/// in a reset (RFC 9112 section 9.6).
///
/// `waits`: the client sends its body only when it is told to, which it is not.
async fn drained(
    worker: &Worker,
    wire: &Rc<Wire>,
    body: &mut Body,
    waits: bool,
    timer: &Timer,
    after: After,
) -> After {
    let Body::Wire(_, decoder) = body else { return after };
    if after == After::Cut || waits {
        return after;
    }
    let mut left = worker.settings().drain_bytes_max;
    timer.set(worker.settings().head_timeout);
    loop {
        let needs_more = {
            let mut input = wire.input();
            match decoder.decode(input.bytes()) {
                Ok(Decoded::Data { skip, length }) => {
                    input.consume(skip + length);
                    left = match left.checked_sub(length as u64) {
                        Some(left) => left,
                        None => return After::Close,
                    };
                    false
                }
                Ok(Decoded::NeedMore { skip }) => {
                    input.consume(skip);
                    true
                }
                Ok(Decoded::End { .. }) | Err(_) => return After::Close,
            }
        };
        if needs_more && !matches!(timer.bound(wire.fill()).await, Some(Ok(1..))) {
            return After::Cut;
        }
    }
}

/// Closes our side and reads on for a moment, so that the client reads the answer before it sees a reset.
async fn linger(worker: &Worker, wire: &Wire, timer: &Timer) {
    timer.set(Duration::from_secs(1));
    if !matches!(timer.bound(wire.shutdown()).await, Some(Ok(()))) {
        return;
    }
    let mut left = worker.settings().drain_bytes_max;
    while let Some(Ok(count @ 1..)) = timer.bound(wire.fill()).await {
        let mut input = wire.input();
        let all = input.bytes().len();
        input.consume(all);
        left = match left.checked_sub(count as u64) {
            Some(left) => left,
            None => return,
        };
    }
}
