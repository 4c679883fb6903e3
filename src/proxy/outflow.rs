//! Writes a message to an HTTP/1.1 connection: its head, then its body with framing, in as few writes as can be.

use crate::message::{CHUNK_END, Fields, write_chunk_head, write_last_chunk};
use crate::wire::Wire;
use bytes::{Buf, Bytes};
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

/// A message on its way out.
pub(super) struct Outflow {
    chunked: bool,
    /// Head, framing and small data, written before `data`.
    pending: Vec<u8>,
    written: usize,
    data: Data,
    /// Written after `data`.
    tail: &'static [u8],
    /// Data up to this size is copied behind the framing, so that one write carries both.
    copy_max: usize,
    total: u64,
}

/// Data that waits to be written: a count at the front of the source wire's input, or bytes of their own.
enum Data {
    OnWire(usize),
    Own(Bytes),
}

impl Data {
    fn len(&self) -> usize {
        match self {
            Self::OnWire(count) => *count,
            Self::Own(bytes) => bytes.len(),
        }
    }
}

impl Outflow {
    /// Begins with a serialised head.
    pub(super) fn new(head: Vec<u8>, chunked: bool, copy_max: usize) -> Self {
        Self { chunked, pending: head, written: 0, data: Data::OnWire(0), tail: b"", copy_max, total: 0 }
    }

    /// Whether everything given was written.
    pub(super) fn is_empty(&self) -> bool {
        self.written == self.pending.len() && self.data.len() == 0 && self.tail.is_empty()
    }

    /// Whether more can be taken before something is written.
    pub(super) fn has_room(&self) -> bool {
        self.data.len() == 0 && self.tail.is_empty() && self.pending.len() - self.written < self.copy_max
    }

    /// Bytes written so far, head and framing included.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Goes on with `length` bytes at the front of `from`'s input. Only with room.
    pub(super) fn push_wire(&mut self, from: &Wire, length: usize) {
        self.frame(length);
        if length <= self.copy_max {
            let mut input = from.input();
            self.pending.extend_from_slice(input.bytes().get(..length).unwrap_or_default());
            input.consume(length);
            self.end_of_copy();
        } else {
            self.data = Data::OnWire(length);
            self.tail = if self.chunked { CHUNK_END } else { b"" };
        }
    }

    /// Goes on with data of its own. Only with room.
    pub(super) fn push_own(&mut self, data: Bytes) {
        self.frame(data.len());
        if data.len() <= self.copy_max {
            self.pending.extend_from_slice(&data);
            self.end_of_copy();
        } else {
            self.data = Data::Own(data);
            self.tail = if self.chunked { CHUNK_END } else { b"" };
        }
    }

    /// Ends the body.
    pub(super) fn end(&mut self, trailers: Option<&Fields>) {
        if self.chunked {
            write_last_chunk(&mut self.pending, trailers);
        }
    }

    fn frame(&mut self, length: usize) {
        if self.chunked {
            write_chunk_head(&mut self.pending, length);
        }
    }

    fn end_of_copy(&mut self) {
        if self.chunked {
            self.pending.extend_from_slice(CHUNK_END);
        }
    }

    /// Writes all that was given; `from` is the wire of [`push_wire`](Self::push_wire).
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        to: &Wire,
        from: Option<&Wire>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let framing = self.pending.get(self.written..).unwrap_or_default();
            let count = match (&self.data, from) {
                (data, _) if data.len() == 0 && self.tail.is_empty() => ready!(to.poll_write(cx, framing))?,
                (Data::OnWire(count), Some(from)) => {
                    let input = from.input();
                    let data = input.bytes().get(..*count).unwrap_or_default();
                    let slices = [IoSlice::new(framing), IoSlice::new(data), IoSlice::new(self.tail)];
                    ready!(to.poll_write_vectored(cx, &slices))?
                }
                (Data::Own(data), _) => {
                    let slices = [IoSlice::new(framing), IoSlice::new(data), IoSlice::new(self.tail)];
                    ready!(to.poll_write_vectored(cx, &slices))?
                }
                // Without its wire there is no data on one.
                (Data::OnWire(_), None) => ready!(to.poll_write(cx, self.tail))?,
            };
            self.total += count as u64;
            self.advance(count, from);
        }
        self.pending.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut count: usize, from: Option<&Wire>) {
        let framing = count.min(self.pending.len() - self.written);
        self.written += framing;
        count -= framing;
        let data = count.min(self.data.len());
        match &mut self.data {
            Data::OnWire(left) => {
                if let Some(from) = from {
                    from.input().consume(data);
                }
                *left -= data;
            }
            Data::Own(bytes) => bytes.advance(data),
        }
        self.tail = self.tail.get(count - data..).unwrap_or_default();
    }

    /// Takes data off `from`'s input that was given and will not be written.
    pub(super) fn discard(&mut self, from: &Wire) {
        if let Data::OnWire(left) = &mut self.data {
            from.input().consume(std::mem::take(left));
        }
    }

    /// The buffer, for the next head.
    pub(super) fn into_buffer(self) -> Vec<u8> {
        self.pending
    }
}
