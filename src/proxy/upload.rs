//! The body of a request on its way to a server: counted, held to its promises, and kept for another attempt where one
//! may be needed.

use super::body::{Aborted, Body, Broken, Piece};
use super::outflow::Outflow;
use crate::message::{BodyLength, Limits};
use crate::wire::Wire;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

/// Data up to this size is copied behind the head or its framing.
const COPY_MAX: usize = 4096;

/// Why a body did not arrive whole at the server.
#[derive(Debug)]
pub(super) enum UploadError {
    /// The client went away or said that it will not finish.
    ClientGone,
    /// The client sends no more, and the body is not whole.
    Truncated,
    /// The client's framing is broken.
    BadFraming,
    /// It grew past the frontend's limit.
    TooLarge,
    /// The server takes no more; an answer may still come.
    Refused(io::Error),
}

/// What is taken from a client's body.
pub(super) struct Intake {
    body: Body,
    /// What an earlier attempt had taken, to be given out first.
    again: Option<Bytes>,
    bytes: u64,
    bytes_max: u64,
    /// What the head promises; what a body of another length would do to the server's next request is not tried out.
    promised: Option<u64>,
    ended: bool,
    /// Waits until the server or the time says that the client may send.
    held: bool,
    /// The client was asked for more and has not sent it yet.
    waits: bool,
    replay: Replay,
}

/// What is kept of a body for another attempt.
enum Replay {
    /// Nothing, and none of it may be needed: the body was not touched or is not to be sent again.
    Off,
    /// All that was taken from the source, and how much that may be.
    Whole(Vec<u8>, usize),
    /// It outgrew the limit.
    Lost,
}

impl Replay {
    fn note(&mut self, data: &[u8]) {
        if let Self::Whole(copy, most) = self {
            if copy.len() + data.len() <= *most {
                copy.extend_from_slice(data);
            } else {
                *self = Self::Lost;
            }
        }
    }
}

/// A body as it was before an attempt took from it.
pub(super) struct Untouched {
    pub body: Body,
    /// What was taken off its source, to be sent first.
    pub kept: Vec<u8>,
}

impl From<Body> for Untouched {
    fn from(body: Body) -> Self {
        Self { body, kept: Vec::new() }
    }
}

impl Intake {
    /// `length` says what the request's head promises. A copy of up to `replay_bytes_max` bytes is kept where that is
    /// given.
    pub(super) fn new(
        untouched: Untouched,
        length: BodyLength,
        bytes_max: Option<u64>,
        replay_bytes_max: Option<usize>,
    ) -> Self {
        let Untouched { body, kept } = untouched;
        Self {
            ended: body.is_empty() && kept.is_empty(),
            body,
            again: (!kept.is_empty()).then(|| kept.into()),
            bytes: 0,
            bytes_max: bytes_max.unwrap_or(u64::MAX),
            promised: match length {
                BodyLength::Known(length) => Some(length),
                BodyLength::None | BodyLength::UntilClose => Some(0),
                BodyLength::Chunked => None,
            },
            held: false,
            waits: false,
            replay: replay_bytes_max.map_or(Replay::Off, |most| Replay::Whole(Vec::new(), most)),
        }
    }

    /// The next piece; nothing is handed out of what makes a body too long, nor the end of one that is too short.
    fn poll_piece(&mut self, cx: &mut Context<'_>, limits: &Limits) -> Poll<Result<Piece, UploadError>> {
        self.waits = false;
        let piece = match self.again.take() {
            Some(again) => Piece::Own(again),
            None => match self.body.poll_piece(cx, limits) {
                Poll::Ready(Ok(piece)) => piece,
                Poll::Ready(Err(broken)) => {
                    return Poll::Ready(Err(match broken {
                        Broken::Framing => UploadError::BadFraming,
                        Broken::Truncated => UploadError::Truncated,
                        Broken::Gone => UploadError::ClientGone,
                    }));
                }
                Poll::Pending => {
                    self.waits = true;
                    return Poll::Pending;
                }
            },
        };
        match &piece {
            Piece::OnWire(length) => {
                self.bytes += *length as u64;
                if let Some(wire) = self.body.wire() {
                    self.replay.note(wire.input().bytes().get(..*length).unwrap_or_default());
                }
            }
            Piece::Own(data) => {
                self.bytes += data.len() as u64;
                self.replay.note(data);
            }
            Piece::End(_) => self.ended = true,
        }
        // A body of known length needs no further look for its end.
        self.ended |= self.promised.is_some() && self.again.is_none() && self.body.is_done();
        match self.promised {
            _ if self.bytes > self.bytes_max => Poll::Ready(Err(UploadError::TooLarge)),
            Some(promised) if self.bytes > promised => Poll::Ready(Err(UploadError::BadFraming)),
            Some(promised) if self.ended && self.bytes < promised => Poll::Ready(Err(UploadError::Truncated)),
            _ => Poll::Ready(Ok(piece)),
        }
    }

    /// Keeps no copy any more.
    pub(super) fn forget_copy(&mut self) {
        self.replay = Replay::Off;
    }

    /// Whether the body, as far as it was taken, can be sent once more.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.replay, Replay::Whole(..)) || self.bytes == 0
    }

    /// Whether the client was asked for more and has not sent it.
    pub(super) fn waits(&self) -> bool {
        self.waits
    }

    /// Whether the source has given all it had.
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Bytes taken so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The body as it was, where it still can be.
    fn into_untouched(self) -> Option<Untouched> {
        match self.replay {
            Replay::Whole(kept, _) => Some(Untouched { body: self.body, kept }),
            _ if self.bytes == 0 => {
                Some(Untouched { body: self.body, kept: self.again.map(Into::into).unwrap_or_default() })
            }
            Replay::Off | Replay::Lost => None,
        }
    }
}

/// Moves a request, head and body, to a server's HTTP/1.1 connection.
pub(super) struct WireUpload {
    pub intake: Intake,
    outflow: Outflow,
}

impl WireUpload {
    /// `head` is the serialised head, `length` the body's framing towards the server.
    pub(super) fn new(head: Vec<u8>, intake: Intake, length: BodyLength) -> Self {
        Self { intake, outflow: Outflow::new(head, matches!(length, BodyLength::Chunked), COPY_MAX) }
    }

    /// Holds the body back until [`release`](Self::release): the server was asked whether it wants it.
    pub(super) fn hold(&mut self) {
        self.intake.held = !self.intake.ended;
    }

    pub(super) fn is_held(&self) -> bool {
        self.intake.held
    }

    pub(super) fn release(&mut self) {
        self.intake.held = false;
    }

    /// Whether any byte has left for the server: from then on the request may have run.
    pub(super) fn anything_written(&self) -> bool {
        self.outflow.total() > 0
    }

    /// Ready when everything was written and flushed.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        to: &Wire,
        limits: &Limits,
    ) -> Poll<Result<(), UploadError>> {
        loop {
            let from = self.intake.body.wire().map(|wire| &**wire);
            ready!(self.outflow.poll_write(cx, to, from)).map_err(UploadError::Refused)?;
            if self.intake.ended {
                return to.poll_flush(cx).map_err(UploadError::Refused);
            }
            let piece = if self.intake.held { Poll::Pending } else { self.intake.poll_piece(cx, limits) };
            let Poll::Ready(piece) = piece else {
                ready!(to.poll_flush(cx)).map_err(UploadError::Refused)?;
                return Poll::Pending;
            };
            match piece? {
                Piece::OnWire(length) => {
                    if let Some(from) = self.intake.body.wire() {
                        self.outflow.push_wire(from, length);
                    }
                }
                Piece::Own(data) => self.outflow.push_own(data),
                Piece::End(trailers) => self.outflow.end(trailers.as_ref()),
            }
        }
    }

    /// The body as it was before this attempt, where it still can be.
    pub(super) fn into_untouched(mut self) -> Option<Untouched> {
        if let Some(wire) = self.intake.body.wire() {
            // What was not written of it is in the copy too.
            self.outflow.discard(wire);
        }
        self.intake.into_untouched()
    }

    /// The buffer, for the next head.
    pub(super) fn into_buffer(self) -> Vec<u8> {
        self.outflow.into_buffer()
    }
}

/// The body of a request as hyper takes it to a server's HTTP/2 stream; what was taken can be seen, and taken back.
#[derive(Clone)]
pub(super) struct StreamUpload(Rc<RefCell<Stream>>);

struct Stream {
    /// None once nobody is to take from it any more.
    intake: Option<Intake>,
    failure: Option<UploadError>,
    limits: Limits,
    waker: Option<Waker>,
}

impl StreamUpload {
    pub(super) fn new(intake: Intake, limits: Limits) -> Self {
        Self(Rc::new(RefCell::new(Stream { intake: Some(intake), failure: None, limits, waker: None })))
    }

    /// Looks at what was taken so far.
    pub(super) fn look<T>(&self, look: impl FnOnce(&mut Intake) -> T) -> Option<T> {
        self.0.borrow_mut().intake.as_mut().map(look)
    }

    /// Why the body broke, once.
    pub(super) fn take_failure(&self) -> Option<UploadError> {
        self.0.borrow_mut().failure.take()
    }

    /// Holds the body back until [`release`](Self::release).
    pub(super) fn hold(&self) {
        self.look(|intake| intake.held = !intake.ended);
    }

    pub(super) fn release(&self) {
        let mut stream = self.0.borrow_mut();
        if let Some(intake) = &mut stream.intake {
            intake.held = false;
        }
        if let Some(waker) = stream.waker.take() {
            waker.wake();
        }
    }

    /// Ends the taking: the body as it was, where it still can be.
    pub(super) fn detach(&self) -> Option<Untouched> {
        let mut stream = self.0.borrow_mut();
        if let Some(waker) = stream.waker.take() {
            waker.wake();
        }
        stream.intake.take()?.into_untouched()
    }
}

impl http_body::Body for StreamUpload {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        let stream = &mut *self.0.borrow_mut();
        let Some(intake) = &mut stream.intake else { return Poll::Ready(Some(Err(Aborted))) };
        if intake.ended {
            return Poll::Ready(None);
        }
        // Whoever releases or detaches it wakes who waits.
        stream.waker = Some(cx.waker().clone());
        if intake.held {
            return Poll::Pending;
        }
        Poll::Ready(match ready!(intake.poll_piece(cx, &stream.limits)) {
            Ok(Piece::OnWire(length)) => {
                let Some(wire) = intake.body.wire() else { return Poll::Ready(None) };
                let mut input = wire.input();
                let data = Bytes::copy_from_slice(input.bytes().get(..length).unwrap_or_default());
                input.consume(length);
                Some(Ok(Frame::data(data)))
            }
            Ok(Piece::Own(data)) => Some(Ok(Frame::data(data))),
            Ok(Piece::End(trailers)) => trailers.map(|fields| Ok(Frame::trailers(fields.to_http()))),
            Err(error) => {
                stream.failure = Some(error);
                Some(Err(Aborted))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.borrow().intake.as_ref().is_some_and(|intake| intake.ended)
    }

    fn size_hint(&self) -> SizeHint {
        let stream = self.0.borrow();
        let left = stream.intake.as_ref().and_then(|it| it.promised?.checked_sub(it.bytes));
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
