//! Moves an answer's body from a server to a client's HTTP/1.1 connection.

use super::body::Piece;
use super::exchange::{Beside, Exchange};
use super::outflow::Outflow;
use super::pace::Pace;
use crate::telemetry::Limit;
use crate::wire::Wire;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Instant;

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
    /// It took too long.
    Late(Limit),
}

/// The state of one body on its way.
pub(super) struct Pump<'a> {
    /// Where it comes from, and what is still to be sent there.
    exchange: &'a mut Exchange,
    /// Where it goes.
    client: &'a Wire,
    outflow: Outflow,
    ended: bool,
    bytes: u64,
    /// The client's, with what it takes.
    pace: Pace,
}

impl<'a> Pump<'a> {
    /// `head` is the answer's serialised head; `chunked` its body's framing towards the client.
    pub(super) fn new(exchange: &'a mut Exchange, client: &'a Wire, chunked: bool, head: Vec<u8>) -> Self {
        let outflow = Outflow::new(head, chunked, COPY_MAX);
        let settings = exchange.worker.settings();
        let pace = Pace::new(settings.answer_rate_min, settings.idle_timeout);
        Self { exchange, client, outflow, ended: false, bytes: 0, pace }
    }

    /// Moves everything. Returns how that ended, the body bytes moved, and the buffer.
    pub(super) async fn run(mut self) -> (Ended, u64, Vec<u8>) {
        let idle = self.exchange.idle_timeout();
        self.exchange.wait(idle);
        let ended = poll_fn(|cx| self.poll(cx)).await;
        (ended, self.bytes, self.outflow.into_buffer())
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        if self.exchange.poll_upload_beside(cx) == Beside::ClientGone {
            return Poll::Ready(Ended::ClientGone);
        }
        let before = (self.bytes, self.outflow.total());
        let polled = self.poll_move(cx);
        if polled.is_pending() {
            if self.exchange.is_overdue() {
                return Poll::Ready(Ended::Truncated);
            }
            let owed = !self.outflow.is_empty();
            let begins = owed && !self.pace.waits();
            if owed || self.pace.waits() {
                self.pace.note(self.outflow.total(), owed, self.exchange.worker.now());
            }
            if begins || (self.bytes, self.outflow.total()) != before {
                let idle = self.exchange.idle_timeout();
                let left = self.pace.left().filter(|_| owed);
                self.exchange.wait(left.map_or(idle, |left| left.min(idle)));
            }
            if self.exchange.poll_client_gone(cx) {
                return Poll::Ready(Ended::ClientGone);
            }
            if self.exchange.timer.poll(cx).is_ready() {
                return Poll::Ready(match owed {
                    _ if self.exchange.is_over() => Ended::Late(Limit::RequestTime),
                    true if self.pace.is_missed(Instant::now()) => Ended::Late(Limit::AnswerRate),
                    true => Ended::Late(Limit::BodyTime),
                    false => Ended::Silent,
                });
            }
        }
        polled
    }

    fn poll_move(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        loop {
            if !self.ended && self.outflow.has_room() {
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
            if self.outflow.is_empty() {
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

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let from = self.exchange.answer_wire().map(|wire| &**wire);
        self.outflow.poll_write(cx, self.client, from)
    }

    /// Takes the next piece of the body from the server.
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        let piece = ready!(self.exchange.poll_answer(cx));
        match piece.map_err(|_| Ended::Truncated)? {
            Piece::OnWire(length) => {
                self.bytes += length as u64;
                if let Some(from) = self.exchange.answer_wire() {
                    self.outflow.push_wire(from, length);
                }
            }
            Piece::Own(data) => {
                self.bytes += data.len() as u64;
                self.outflow.push_own(data);
            }
            Piece::End(trailers) => {
                self.outflow.end(trailers.as_ref());
                self.ended = true;
            }
        }
        Poll::Ready(Ok(()))
    }
}
