//! Moves an answer's body from a server's HTTP/1.1 connection to a client's.

use super::forward::{Beside, Exchange};
use crate::message::{BodyDecoder, CHUNK_END, Decoded, write_chunk_head, write_last_chunk};
use crate::wire::{BODY_ROOM, Wire};
use std::future::poll_fn;
use std::io::IoSlice;
use std::task::{Context, Poll, ready};

/// Data up to this size is copied behind head and framing, so that one write carries all of it.
const COPY_MAX: usize = 16 * 1024;

/// How a body's way to the client ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Whole.
    Complete,
    /// The server broke off, or its framing is broken: what the client got must not look complete.
    Truncated,
    /// The client is gone, or took nothing for too long.
    ClientGone,
    /// The server was silent for too long.
    Silent,
}

/// The state of one body on its way.
pub(super) struct Pump<'a> {
    /// Where it comes from, and what is still to be sent there.
    pub exchange: &'a mut Exchange,
    /// Where it goes.
    pub client: &'a Wire,
    /// Its framing towards us.
    pub decoder: BodyDecoder,
    /// Whether its framing towards the client is chunked.
    pub chunked: bool,
    /// The answer's head, and then framing.
    pub pending: Vec<u8>,
    written: usize,
    data: usize,
    tail: &'static [u8],
    ended: bool,
    bytes: u64,
}

impl<'a> Pump<'a> {
    /// `pending` holds the answer's serialised head.
    pub(super) fn new(
        exchange: &'a mut Exchange,
        client: &'a Wire,
        decoder: BodyDecoder,
        chunked: bool,
        pending: Vec<u8>,
    ) -> Self {
        Self {
            exchange,
            client,
            decoder,
            chunked,
            pending,
            written: 0,
            data: 0,
            tail: b"",
            ended: false,
            bytes: 0,
        }
    }

    /// Moves everything. Returns how that ended, the body bytes moved, and the buffer.
    pub(super) async fn run(mut self) -> (Ended, u64, Vec<u8>) {
        let idle = self.exchange.idle_timeout();
        self.exchange.timer.set(idle);
        let ended = poll_fn(|cx| self.poll(cx)).await;
        (ended, self.bytes, self.pending)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        if self.exchange.poll_upload_beside(cx) == Beside::ClientGone {
            return Poll::Ready(Ended::ClientGone);
        }
        let before = (self.bytes, self.written, self.data);
        let polled = self.poll_move(cx);
        if polled.is_pending() {
            if (self.bytes, self.written, self.data) != before {
                self.exchange.timer.set(self.exchange.idle_timeout());
            }
            if self.exchange.poll_client_gone(cx) {
                return Poll::Ready(Ended::ClientGone);
            }
            if self.exchange.timer.poll(cx).is_ready() {
                let owed = self.data > 0 || self.written < self.pending.len();
                return Poll::Ready(if owed { Ended::ClientGone } else { Ended::Silent });
            }
        }
        polled
    }

    fn poll_move(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        loop {
            if !self.ended
                && self.data == 0
                && self.tail.is_empty()
                && self.pending.len() - self.written < COPY_MAX
            {
                match self.poll_take(cx) {
                    Poll::Ready(Ok(())) => continue,
                    Poll::Ready(Err(ended)) => {
                        // What came before the break is delivered, the message is not completed.
                        let _ = ready!(self.poll_write(cx));
                        return Poll::Ready(ended);
                    }
                    Poll::Pending => {}
                }
            }
            if self.written == self.pending.len() && self.data == 0 && self.tail.is_empty() {
                match self.client.poll_flush(cx) {
                    Poll::Ready(Ok(())) if self.ended => return Poll::Ready(Ended::Complete),
                    Poll::Ready(Ok(())) | Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(_)) => return Poll::Ready(Ended::ClientGone),
                }
            }
            if ready!(self.poll_write(cx)).is_err() {
                return Poll::Ready(Ended::ClientGone);
            }
        }
    }

    /// Writes all that is due.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        while self.written < self.pending.len() || self.data > 0 || !self.tail.is_empty() {
            let framing = self.pending.get(self.written..).unwrap_or_default();
            let count = if self.data == 0 && self.tail.is_empty() {
                ready!(self.client.poll_write(cx, framing))?
            } else {
                let input = self.exchange.wire.input();
                let data = input.bytes().get(..self.data).unwrap_or_default();
                let slices = [IoSlice::new(framing), IoSlice::new(data), IoSlice::new(self.tail)];
                ready!(self.client.poll_write_vectored(cx, &slices))?
            };
            self.advance(count);
        }
        self.pending.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, count: usize) {
        let framing = count.min(self.pending.len() - self.written);
        self.written += framing;
        let data = (count - framing).min(self.data);
        self.data -= data;
        self.exchange.wire.input().consume(data);
        self.tail = self.tail.get(count - framing - data..).unwrap_or_default();
    }

    /// Takes the next piece of the body from the server.
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        let wire = self.exchange.wire.clone();
        loop {
            let mut input = wire.input();
            match self.decoder.decode(input.bytes()) {
                Ok(Decoded::Data { skip, length }) => {
                    input.consume(skip);
                    self.bytes += length as u64;
                    if self.chunked {
                        write_chunk_head(&mut self.pending, length);
                    }
                    if length <= COPY_MAX {
                        self.pending.extend_from_slice(input.bytes().get(..length).unwrap_or_default());
                        input.consume(length);
                        if self.chunked {
                            self.pending.extend_from_slice(CHUNK_END);
                        }
                    } else {
                        self.data = length;
                        self.tail = if self.chunked { CHUNK_END } else { b"" };
                    }
                    return Poll::Ready(Ok(()));
                }
                Ok(Decoded::End { skip, trailers }) => {
                    input.consume(skip);
                    if self.chunked {
                        write_last_chunk(&mut self.pending, trailers.as_ref());
                    }
                    self.ended = true;
                    return Poll::Ready(Ok(()));
                }
                Ok(Decoded::NeedMore { skip }) => input.consume(skip),
                Err(_) => return Poll::Ready(Err(Ended::Truncated)),
            }
            drop(input);
            match ready!(wire.poll_fill_room(cx, BODY_ROOM)) {
                Ok(1..) => {}
                // A reset is no end, whatever the framing.
                Err(_) => return Poll::Ready(Err(Ended::Truncated)),
                Ok(_) if self.decoder.on_eof().is_err() => return Poll::Ready(Err(Ended::Truncated)),
                // The body ended with the connection, as its framing allows.
                Ok(_) => {
                    if self.chunked {
                        write_last_chunk(&mut self.pending, None);
                    }
                    self.ended = true;
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}
