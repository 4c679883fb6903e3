//! A body that a middleware changes on its way: taken from its source, encoded, and handed on in pieces.

use super::body::{Body, Broken, Piece};
use crate::message::{Fields, Limits};
use crate::middleware::Encoder;
use bytes::Bytes;
use std::io;
use std::task::{Context, Poll};

/// Data that is encoded before others get their turn, in bytes.
const STEP_BYTES: usize = 32 * 1024;
/// Output that is handed on at once.
const PIECE_BYTES: usize = 16 * 1024;

/// The body and what is done with it.
pub(super) struct Changed {
    source: Body,
    encoder: Encoder,
    /// What came from the source in one piece and is still to be encoded.
    rest: Bytes,
    /// Something was taken in since the last flush.
    unflushed: bool,
    /// The source has ended; what is to be said then, once.
    end: Option<Option<Fields>>,
    done: bool,
}

impl Changed {
    pub(super) fn new(source: Body, encoder: Encoder) -> Self {
        Self { source, encoder, rest: Bytes::new(), unflushed: false, end: None, done: false }
    }

    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// The next piece of what comes out. Where the source pauses, everything that it gave so far is handed on.
    pub(super) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        limits: &Limits,
    ) -> Poll<Result<Piece, Broken>> {
        if self.done || self.end.is_some() {
            self.done = true;
            return Poll::Ready(Ok(Piece::End(self.end.take().flatten())));
        }
        let mut budget = STEP_BYTES;
        loop {
            if self.encoder.waiting() >= PIECE_BYTES {
                return Poll::Ready(Ok(Piece::Own(self.encoder.take())));
            }
            if budget == 0 {
                // Whoever waits beside this body gets its turn.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let polled = match self.rest.is_empty() {
                true => self.source.poll_piece(cx, limits),
                false => Poll::Ready(Ok(Piece::Own(std::mem::take(&mut self.rest)))),
            };
            let taken = match polled {
                Poll::Ready(Ok(Piece::OnWire(length))) => self.take_wire(length),
                Poll::Ready(Ok(Piece::Own(mut data))) => {
                    self.rest = data.split_off(data.len().min(budget));
                    self.encoder.push(&data).map(|()| data.len())
                }
                Poll::Ready(Ok(Piece::End(trailers))) => return self.finish(trailers),
                Poll::Ready(Err(broken)) => return Poll::Ready(Err(broken)),
                Poll::Pending => return self.pause(),
            };
            match taken {
                Ok(count) => {
                    self.unflushed |= count > 0;
                    budget = budget.saturating_sub(count);
                }
                Err(error) => return broken(&error),
            }
        }
    }

    fn take_wire(&mut self, length: usize) -> io::Result<usize> {
        let Some(wire) = self.source.wire() else { return Ok(0) };
        let mut input = wire.input();
        self.encoder.push(input.bytes().get(..length).unwrap_or_default())?;
        input.consume(length);
        Ok(length)
    }

    fn pause(&mut self) -> Poll<Result<Piece, Broken>> {
        if std::mem::take(&mut self.unflushed)
            && let Err(error) = self.encoder.flush()
        {
            return broken(&error);
        }
        if self.encoder.waiting() == 0 {
            return Poll::Pending;
        }
        Poll::Ready(Ok(Piece::Own(self.encoder.take())))
    }

    fn finish(&mut self, trailers: Option<Fields>) -> Poll<Result<Piece, Broken>> {
        match self.encoder.finish() {
            Ok(last) => {
                self.end = Some(trailers);
                Poll::Ready(Ok(Piece::Own(last)))
            }
            Err(error) => broken(&error),
        }
    }
}

/// The message cannot be completed, and must not look complete.
fn broken(error: &io::Error) -> Poll<Result<Piece, Broken>> {
    tracing::error!(%error, "encoding a body failed");
    Poll::Ready(Err(Broken::Gone))
}
