//! The body of a request on its way to a server, wherever it comes from.

use crate::message::{BodyDecoder, BodyLength, Decoded, Fields, Limits, write_chunk_head, write_last_chunk};
use crate::wire::{BODY_ROOM, Wire};
use bytes::{Buf, Bytes};
use http_body::Body;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// Data up to this size is copied behind the framing, so that one write carries both.
const COPY_MAX: usize = 4096;
/// A body up to this size is kept until the answer begins, so that it can be sent again.
const REPLAY_MAX: usize = 64 * 1024;

/// Where a request's body comes from.
pub(super) enum RequestBody {
    /// There is none.
    Empty,
    /// A client's HTTP/1.1 connection; its head was already taken off.
    Wire(Rc<Wire>, BodyDecoder),
    /// A client's HTTP/2 stream.
    Hyper(Incoming),
    /// A program that embeds Flipgate.
    Program(UnsyncBoxBody<Bytes, Aborted>),
}

/// The sender of a body gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aborted;

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

/// Moves a request, head and body, to a server.
pub(super) struct Upload {
    source: RequestBody,
    to: Rc<Wire>,
    chunked: bool,
    /// Head and framing, written before `data`.
    pending: Vec<u8>,
    written: usize,
    data: Data,
    /// Written after `data`.
    tail: &'static [u8],
    ended: bool,
    held: bool,
    body_bytes: u64,
    body_bytes_max: u64,
    /// What the head promises; what a body of another length would do to the server's next request is not tried out.
    promised: Option<u64>,
    anything_written: bool,
    replay: Replay,
}

/// What is kept of a body for another attempt.
enum Replay {
    /// Nothing, and none of it may be needed: the body was not touched or is not to be sent again.
    Off,
    /// All that was taken from the source.
    Whole(Vec<u8>),
    /// It outgrew [`REPLAY_MAX`].
    Lost,
}

/// Data that waits to be written: a count at the front of the source wire's input, or bytes of their own.
enum Data {
    OnWire(usize),
    Own(Bytes),
}

impl Data {
    fn is_empty(&self) -> bool {
        match self {
            Self::OnWire(count) => *count == 0,
            Self::Own(bytes) => bytes.is_empty(),
        }
    }
}

impl Replay {
    fn note(&mut self, data: &[u8]) {
        if let Self::Whole(copy) = self {
            if copy.len() + data.len() <= REPLAY_MAX {
                copy.extend_from_slice(data);
            } else {
                *self = Self::Lost;
            }
        }
    }
}

impl RequestBody {
    /// The body behind a head that was read from `wire`.
    pub(super) fn on_wire(wire: &Rc<Wire>, length: BodyLength, limits: &Limits) -> Self {
        match length {
            BodyLength::None | BodyLength::Known(0) => Self::Empty,
            length => Self::Wire(wire.clone(), BodyDecoder::new(length, limits)),
        }
    }

    /// Whether there is nothing to send.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

impl Upload {
    /// `head` is the serialised head; `length` says how the body is framed towards the server.
    pub(super) fn new(
        head: Vec<u8>,
        source: RequestBody,
        to: Rc<Wire>,
        length: BodyLength,
        body_bytes_max: Option<u64>,
    ) -> Self {
        let ended = source.is_empty();
        Self {
            source,
            to,
            chunked: matches!(length, BodyLength::Chunked),
            pending: head,
            written: 0,
            data: Data::OnWire(0),
            tail: b"",
            ended,
            held: false,
            body_bytes: 0,
            body_bytes_max: body_bytes_max.unwrap_or(u64::MAX),
            promised: match length {
                BodyLength::Known(length) => Some(length),
                BodyLength::None | BodyLength::UntilClose => Some(0),
                BodyLength::Chunked => None,
            },
            anything_written: false,
            replay: Replay::Off,
        }
    }

    /// Keeps a copy of the body, up to [`REPLAY_MAX`].
    pub(super) fn keep_copy(&mut self) {
        self.replay = Replay::Whole(Vec::new());
    }

    /// Keeps no copy any more.
    pub(super) fn forget_copy(&mut self) {
        self.replay = Replay::Off;
    }

    /// Sends what an earlier attempt had already taken from the source first.
    pub(super) fn resend(&mut self, body: Vec<u8>) {
        if !body.is_empty() {
            self.take_own(body.into());
        }
    }

    /// Holds the body back until [`release`](Self::release): the server was asked whether it wants it.
    pub(super) fn hold(&mut self) {
        self.held = !self.ended;
    }

    /// Lets the body go; says whether it was held.
    pub(super) fn release(&mut self) -> bool {
        std::mem::take(&mut self.held)
    }

    /// Whether the body waits for [`release`](Self::release).
    pub(super) fn is_held(&self) -> bool {
        self.held
    }

    /// Whether any byte has left for the server: from then on the request may have run.
    pub(super) fn anything_written(&self) -> bool {
        self.anything_written
    }

    /// Whether everything taken from the source was written, and it is the source's turn.
    pub(super) fn waits_for_source(&self) -> bool {
        !self.ended && !self.held && self.pending.is_empty() && self.data.is_empty() && self.tail.is_empty()
    }

    /// Whether the source has given all it had.
    pub(super) fn is_source_ended(&self) -> bool {
        self.ended
    }

    /// Body bytes taken from the source so far.
    pub(super) fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// The source and what was taken from it, for another attempt; `None` when not all of that is still there.
    pub(super) fn into_whole_body(self) -> Option<(RequestBody, Vec<u8>)> {
        match self.replay {
            Replay::Whole(copy) => {
                // What was not written of it is in the copy too.
                if let (Data::OnWire(left), RequestBody::Wire(wire, _)) = (&self.data, &self.source) {
                    wire.input().consume(*left);
                }
                Some((self.source, copy))
            }
            _ if self.body_bytes == 0 => Some((self.source, Vec::new())),
            Replay::Off | Replay::Lost => None,
        }
    }

    /// The buffer, for the next head.
    pub(super) fn into_text(self) -> Vec<u8> {
        self.pending
    }

    /// Ready when everything was written and flushed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UploadError>> {
        loop {
            self.check_length()?;
            ready!(self.poll_write(cx)).map_err(UploadError::Refused)?;
            if self.ended {
                return self.to.poll_flush(cx).map_err(UploadError::Refused);
            }
            if self.held {
                ready!(self.to.poll_flush(cx)).map_err(UploadError::Refused)?;
                return Poll::Pending;
            }
            match self.poll_take(cx) {
                Poll::Ready(result) => result?,
                Poll::Pending => {
                    ready!(self.to.poll_flush(cx)).map_err(UploadError::Refused)?;
                    return Poll::Pending;
                }
            }
        }
    }

    /// Nothing is written of what makes a body too long, or of the end of one that is too short.
    fn check_length(&self) -> Result<(), UploadError> {
        if self.body_bytes > self.body_bytes_max {
            return Err(UploadError::TooLarge);
        }
        match self.promised {
            Some(promised) if self.body_bytes > promised => Err(UploadError::BadFraming),
            Some(promised) if self.ended && self.body_bytes < promised => Err(UploadError::Truncated),
            _ => Ok(()),
        }
    }

    /// Writes framing, data and tail.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let framing = self.pending.get(self.written..).unwrap_or_default();
            let count = match (&mut self.data, &self.source) {
                (data, _) if data.is_empty() && framing.is_empty() && self.tail.is_empty() => break,
                (data, _) if data.is_empty() && self.tail.is_empty() => {
                    ready!(self.to.poll_write(cx, framing))?
                }
                (Data::OnWire(count), RequestBody::Wire(wire, _)) => {
                    let input = wire.input();
                    let data = input.bytes().get(..*count).unwrap_or_default();
                    let slices = [IoSlice::new(framing), IoSlice::new(data), IoSlice::new(self.tail)];
                    ready!(self.to.poll_write_vectored(cx, &slices))?
                }
                (Data::Own(data), _) => {
                    let slices = [IoSlice::new(framing), IoSlice::new(data), IoSlice::new(self.tail)];
                    ready!(self.to.poll_write_vectored(cx, &slices))?
                }
                (Data::OnWire(_), _) => ready!(self.to.poll_write(cx, self.tail))?,
            };
            self.anything_written = true;
            self.advance(count);
        }
        self.pending.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut count: usize) {
        let framing = count.min(self.pending.len() - self.written);
        self.written += framing;
        count -= framing;
        match (&mut self.data, &self.source) {
            (Data::OnWire(left), RequestBody::Wire(wire, _)) => {
                let data = count.min(*left);
                wire.input().consume(data);
                *left -= data;
                count -= data;
            }
            (Data::Own(bytes), _) => {
                let data = count.min(bytes.len());
                bytes.advance(data);
                count -= data;
            }
            (Data::OnWire(_), _) => {}
        }
        self.tail = self.tail.get(count..).unwrap_or_default();
    }

    /// Takes the next piece from the source into `pending`, `data` and `tail`.
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UploadError>> {
        match &mut self.source {
            RequestBody::Empty => {
                self.ended = true;
                Poll::Ready(Ok(()))
            }
            RequestBody::Wire(..) => self.poll_take_wire(cx),
            RequestBody::Hyper(body) => {
                let data = ready!(poll_data(Pin::new(body), cx));
                Poll::Ready(self.take_polled(data))
            }
            RequestBody::Program(body) => {
                let data = ready!(poll_data(Pin::new(body), cx));
                Poll::Ready(self.take_polled(data))
            }
        }
    }

    /// Takes what a body of another stack gave; it must give as many bytes as its head says, or the server would take
    /// the next request's head for the rest of it, or wait for ever.
    fn take_polled(&mut self, data: Option<Result<Bytes, Aborted>>) -> Result<(), UploadError> {
        match data {
            Some(Ok(data)) => {
                self.take_own(data);
                Ok(())
            }
            Some(Err(Aborted)) => Err(UploadError::ClientGone),
            None => {
                self.finish(None);
                Ok(())
            }
        }
    }

    fn poll_take_wire(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UploadError>> {
        let RequestBody::Wire(wire, decoder) = &mut self.source else { return Poll::Ready(Ok(())) };
        loop {
            let mut input = wire.input();
            match decoder.decode(input.bytes()).map_err(|_| UploadError::BadFraming)? {
                Decoded::Data { skip, length } => {
                    input.consume(skip);
                    self.body_bytes += length as u64;
                    self.replay.note(input.bytes().get(..length).unwrap_or_default());
                    if self.chunked {
                        write_chunk_head(&mut self.pending, length);
                    }
                    if length <= COPY_MAX {
                        self.pending.extend_from_slice(input.bytes().get(..length).unwrap_or_default());
                        input.consume(length);
                        if self.chunked {
                            self.pending.extend_from_slice(b"\r\n");
                        }
                    } else {
                        self.data = Data::OnWire(length);
                        self.tail = if self.chunked { b"\r\n" } else { b"" };
                    }
                    if matches!(decoder.remaining(), Some(0)) && !self.chunked {
                        self.ended = true;
                    }
                    return Poll::Ready(Ok(()));
                }
                Decoded::End { skip, trailers } => {
                    input.consume(skip);
                    drop(input);
                    self.finish(trailers.as_ref());
                    return Poll::Ready(Ok(()));
                }
                Decoded::NeedMore { skip } => {
                    input.consume(skip);
                    drop(input);
                    match ready!(wire.poll_fill_room(cx, BODY_ROOM)) {
                        Ok(0) => return Poll::Ready(Err(UploadError::Truncated)),
                        Err(_) => return Poll::Ready(Err(UploadError::ClientGone)),
                        Ok(_) => {}
                    }
                }
            }
        }
    }

    /// Goes on with data that is not on the client's wire.
    fn take_own(&mut self, data: Bytes) {
        if data.is_empty() {
            return;
        }
        self.body_bytes += data.len() as u64;
        self.replay.note(&data);
        if self.chunked {
            write_chunk_head(&mut self.pending, data.len());
        }
        if data.len() <= COPY_MAX {
            self.pending.extend_from_slice(&data);
            if self.chunked {
                self.pending.extend_from_slice(b"\r\n");
            }
        } else {
            self.data = Data::Own(data);
            self.tail = if self.chunked { b"\r\n" } else { b"" };
        }
    }

    fn finish(&mut self, trailers: Option<&Fields>) {
        self.ended = true;
        if self.chunked {
            write_last_chunk(&mut self.pending, trailers);
        }
    }
}

/// The next data. Request trailers are not sent on: no server asked for them.
fn poll_data<B: Body<Data = Bytes>>(
    mut body: Pin<&mut B>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Bytes, Aborted>>> {
    loop {
        match ready!(body.as_mut().poll_frame(cx)) {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Poll::Ready(Some(Ok(data)));
                }
            }
            Some(Err(_)) => return Poll::Ready(Some(Err(Aborted))),
            None => return Poll::Ready(None),
        }
    }
}
