//! A message's body on its way through the proxy, wherever it comes from: a client's or a server's HTTP/1.1 connection, an
//! HTTP/2 stream of either side, or a program that embeds Flipgate.

use super::change::Changed;
use super::mirror::Copied;
use crate::message::{BodyDecoder, BodyLength, Decoded, Fields, Limits};
use crate::wire::{BODY_ROOM, Wire};
use bytes::Bytes;
use http_body::Body as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// Where a body comes from.
pub(super) enum Body {
    /// There is none.
    Empty,
    /// An HTTP/1.1 connection; the head was already taken off.
    Wire(Rc<Wire>, BodyDecoder),
    /// An HTTP/2 stream.
    Hyper(Incoming),
    /// A program that embeds Flipgate.
    Program(UnsyncBoxBody<Bytes, Aborted>),
    /// Another body, changed by a middleware.
    Changed(Box<Changed>),
    /// Another body, of which copies are taken.
    Copied(Box<Copied>),
}

/// The sender of a body gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aborted;

/// What comes next of a body.
pub(super) enum Piece {
    /// So many bytes at the front of the wire's input; they are to be used and consumed before the next call.
    OnWire(usize),
    /// Data of its own.
    Own(Bytes),
    /// The end, with the trailer fields that may be passed on.
    End(Option<Fields>),
}

/// How a body ended that is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// Its framing is not HTTP's.
    Framing,
    /// Its sender closed before the end.
    Truncated,
    /// Its sender reset it, or is gone.
    Gone,
}

impl Body {
    /// The body behind a head that was read from `wire`.
    pub(super) fn on_wire(wire: &Rc<Wire>, length: BodyLength, limits: &Limits) -> Self {
        match length {
            BodyLength::None | BodyLength::Known(0) => Self::Empty,
            length => Self::Wire(wire.clone(), BodyDecoder::new(length, limits)),
        }
    }

    /// Whether there is nothing of it, nor ever was.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// Whether its last data was handed out, as far as is known without asking for more.
    pub(super) fn is_done(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Wire(_, decoder) => decoder.is_end(),
            Self::Hyper(body) => body.is_end_stream(),
            Self::Program(body) => body.is_end_stream(),
            Self::Changed(changed) => changed.is_done(),
            Self::Copied(copied) => copied.source().is_done(),
        }
    }

    /// Bytes still to come, where that is known.
    pub(super) fn remaining(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Wire(_, decoder) => decoder.remaining(),
            Self::Hyper(body) => body.size_hint().exact(),
            Self::Program(body) => body.size_hint().exact(),
            Self::Changed(_) => None,
            Self::Copied(copied) => copied.source().remaining(),
        }
    }

    /// The wire that [`Piece::OnWire`] speaks of.
    pub(super) fn wire(&self) -> Option<&Rc<Wire>> {
        match self {
            Self::Wire(wire, _) => Some(wire),
            Self::Copied(copied) => copied.source().wire(),
            Self::Empty | Self::Hyper(_) | Self::Program(_) | Self::Changed(_) => None,
        }
    }

    /// The next piece. After the end or a break there is nothing to ask for.
    pub(super) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        limits: &Limits,
    ) -> Poll<Result<Piece, Broken>> {
        match self {
            Self::Empty => Poll::Ready(Ok(Piece::End(None))),
            Self::Wire(wire, decoder) => poll_wire(wire, decoder, cx),
            Self::Hyper(body) => poll_frames(Pin::new(body), cx, limits),
            Self::Program(body) => poll_frames(Pin::new(body), cx, limits),
            Self::Changed(changed) => changed.poll_piece(cx, limits),
            Self::Copied(copied) => copied.poll_piece(cx, limits),
        }
    }
}

fn poll_wire(wire: &Wire, decoder: &mut BodyDecoder, cx: &mut Context<'_>) -> Poll<Result<Piece, Broken>> {
    loop {
        let mut input = wire.input();
        match decoder.decode(input.bytes()) {
            Ok(Decoded::Data { skip, length }) => {
                input.consume(skip);
                return Poll::Ready(Ok(Piece::OnWire(length)));
            }
            Ok(Decoded::End { skip, trailers }) => {
                input.consume(skip);
                return Poll::Ready(Ok(Piece::End(trailers)));
            }
            Ok(Decoded::NeedMore { skip }) => input.consume(skip),
            Err(_) => return Poll::Ready(Err(Broken::Framing)),
        }
        drop(input);
        match ready!(wire.poll_fill_room(cx, BODY_ROOM)) {
            Ok(1..) => {}
            // A reset is no end, whatever the framing.
            Err(_) => return Poll::Ready(Err(Broken::Gone)),
            Ok(_) if decoder.on_eof().is_err() => return Poll::Ready(Err(Broken::Truncated)),
            // It ended with the connection, as its framing allows.
            Ok(_) => return Poll::Ready(Ok(Piece::End(None))),
        }
    }
}

fn poll_frames<B: http_body::Body<Data = Bytes>>(
    mut body: Pin<&mut B>,
    cx: &mut Context<'_>,
    limits: &Limits,
) -> Poll<Result<Piece, Broken>> {
    loop {
        let frame = match ready!(body.as_mut().poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(_)) => return Poll::Ready(Err(Broken::Gone)),
            None => return Poll::Ready(Ok(Piece::End(None))),
        };
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => return Poll::Ready(Ok(Piece::Own(data))),
            Err(frame) => {
                let Ok(trailers) = frame.into_trailers() else { continue };
                let trailers = Fields::from_trailers(&trailers, limits).map_err(|_| Broken::Framing);
                return Poll::Ready(trailers.map(|fields| Piece::End(Some(fields))));
            }
        }
    }
}

impl std::fmt::Display for Aborted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the message was broken off")
    }
}

impl std::error::Error for Aborted {}
