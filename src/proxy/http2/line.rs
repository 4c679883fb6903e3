//! The bytes of a client's HTTP/2 connection between TLS and hyper: the meter sees them pass, and frames of our own get in
//! where hyper has no word for what is to be said.

use super::frames::{self, HEAD_BYTES};
use super::meter::{Meter, MeterLimits, Overdue};
use crate::proxy::worker::Worker;
use crate::telemetry::Limit;
use crate::wire::Stream;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// CANCEL (RFC 9113 section 7)
const CANCEL: u32 = 0x8;
/// ENHANCE_YOUR_CALM
const ENHANCE_YOUR_CALM: u32 = 0xb;
/// How long a client that broke a limit gets to hear of it.
const FAREWELL_TIME: Duration = Duration::from_secs(1);
/// And how many bytes it may still send meanwhile.
const FAREWELL_BYTES: usize = 1024 * 1024;
/// So much is read in one turn: others of this thread have theirs, too.
const TURN_BYTES: usize = 64 * 1024;
/// A stream that is reset so soon after another one was is looked at before anything is done for it.
const RESET_SPAN: Duration = Duration::from_millis(500);

/// A client's connection, as hyper and whoever watches it share it.
pub(super) struct Line {
    stream: RefCell<Stream>,
    meter: RefCell<Meter>,
    worker: Rc<Worker>,
    /// Frames for the client that hyper knows nothing of.
    ours: RefCell<Vec<u8>>,
    /// Frames for hyper that the client has not sent.
    forged: RefCell<Vec<u8>>,
    forging: Cell<bool>,
}

/// Hyper's end of it.
pub(super) struct Metered {
    line: Rc<Line>,
    /// What was read before, to come first.
    read: Vec<u8>,
    position: usize,
    /// Bytes read in this turn.
    turn: usize,
}

impl Line {
    pub(super) fn new(worker: &Rc<Worker>, stream: Stream, limits: MeterLimits) -> Rc<Self> {
        Rc::new(Self {
            stream: RefCell::new(stream),
            meter: RefCell::new(Meter::new(limits, worker.now())),
            worker: worker.clone(),
            ours: RefCell::default(),
            forged: RefCell::default(),
            forging: Cell::new(false),
        })
    }

    /// The end for hyper; `read` was read already.
    pub(super) fn metered(self: &Rc<Self>, read: Vec<u8>) -> Metered {
        Metered { line: self.clone(), read, position: 0, turn: 0 }
    }

    /// The limit that the client broke, if it did.
    pub(super) fn breach(&self) -> Option<Limit> {
        self.meter.borrow().breach()
    }

    /// The limit that the client is nearest to.
    pub(super) fn suspect(&self) -> Limit {
        self.meter.borrow().suspect()
    }

    /// Whether there is anything that may become overdue.
    pub(super) fn is_busy(&self) -> bool {
        self.meter.borrow().is_busy()
    }

    /// Whether the client has reset streams just now, so that a new one may be reset already.
    pub(super) fn resets(&self) -> bool {
        self.meter.borrow().reset_within(RESET_SPAN, self.worker.now())
    }

    /// A request was refused for what its head says.
    pub(super) fn refused(&self) {
        self.meter.borrow_mut().refused(self.worker.now());
    }

    /// Ends the streams that are overdue, on both sides; hyper hears of it when it reads next.
    pub(super) fn end_overdue(&self) -> Vec<Overdue> {
        let overdue = self.meter.borrow_mut().overdue(self.worker.now());
        for Overdue { stream, .. } in &overdue {
            let reset = reset(*stream);
            self.ours.borrow_mut().extend_from_slice(&reset);
            self.forged.borrow_mut().extend_from_slice(&reset);
        }
        overdue
    }

    /// Tells the client that it broke a limit, and lets it read that: what it still sends would else reset the connection
    /// before it has. Hyper's end is gone by now.
    pub(super) async fn farewell(&self) {
        let last = self.meter.borrow().last_stream();
        self.ours.borrow_mut().extend_from_slice(&go_away(last));
        let timer = self.worker.timer();
        timer.set(FAREWELL_TIME);
        let told = poll_fn(|cx| {
            ready!(self.poll_ours(cx))?;
            Pin::new(&mut *self.stream.borrow_mut()).poll_shutdown(cx)
        });
        if !matches!(timer.bound(told).await, Some(Ok(()))) {
            return;
        }
        let mut left = FAREWELL_BYTES;
        let mut buffer = [0; 4096];
        let ended = poll_fn(|cx| {
            while left > 0 {
                let mut buffer = ReadBuf::new(&mut buffer);
                let polled = Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, &mut buffer);
                match (ready!(polled), buffer.filled().len()) {
                    (Ok(()), count @ 1..) => left = left.saturating_sub(count),
                    _ => break,
                }
            }
            Poll::Ready(())
        });
        timer.bound(ended).await;
    }

    /// Writes what is ours where it can stand: between two frames of hyper's.
    fn poll_ours(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut ours = self.ours.borrow_mut();
        if ours.is_empty() || !self.meter.borrow().between_sent() {
            return Poll::Ready(Ok(()));
        }
        let mut stream = self.stream.borrow_mut();
        while !ours.is_empty() {
            let count = ready!(Pin::new(&mut *stream).poll_write(cx, &ours))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            ours.drain(..count);
        }
        Pin::new(&mut *stream).poll_flush(cx)
    }

    /// Takes note of a write; `written` says which bytes it was of.
    fn wrote(
        &self,
        polled: Poll<io::Result<usize>>,
        written: impl FnOnce(&mut Meter, usize),
    ) -> Poll<io::Result<usize>> {
        let mut meter = self.meter.borrow_mut();
        match &polled {
            Poll::Ready(Ok(count)) => written(&mut meter, *count),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => meter.blocked(self.worker.now()),
        }
        polled
    }

    /// Gives hyper what is forged, where it can stand.
    fn read_forged(&self, buf: &mut ReadBuf<'_>) -> bool {
        let mut forged = self.forged.borrow_mut();
        if forged.is_empty() || !(self.forging.get() || self.meter.borrow().between_received()) {
            return false;
        }
        let count = forged.len().min(buf.remaining());
        buf.put_slice(forged.get(..count).unwrap_or_default());
        forged.drain(..count);
        self.forging.set(!forged.is_empty());
        true
    }
}

impl Metered {
    fn poll_source(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let rest = self.read.get(self.position..).unwrap_or_default();
        if rest.is_empty() {
            return Pin::new(&mut *self.line.stream.borrow_mut()).poll_read(cx, buf);
        }
        let count = rest.len().min(buf.remaining());
        buf.put_slice(rest.get(..count).unwrap_or_default());
        self.position += count;
        if self.position == self.read.len() {
            self.read = Vec::new();
            self.position = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let line = self.line.clone();
        if let Poll::Ready(Err(error)) = line.poll_ours(cx) {
            return Poll::Ready(Err(error));
        }
        if line.breach().is_none() && line.read_forged(buf) {
            return Poll::Ready(Ok(()));
        }
        if self.turn >= TURN_BYTES {
            self.turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if line.breach().is_none() {
            ready!(self.poll_source(cx, buf))?;
            let new = buf.filled().get(before..).unwrap_or_default();
            self.turn += new.len();
            line.meter.borrow_mut().received(new, line.worker.now());
        }
        if line.breach().is_some() {
            buf.set_filled(before);
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let line = &self.line;
        ready!(line.poll_ours(cx))?;
        let polled = Pin::new(&mut *line.stream.borrow_mut()).poll_write(cx, buf);
        let now = line.worker.now();
        line.wrote(polled, |meter, count| meter.sent(buf.get(..count).unwrap_or_default(), now))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let line = &self.line;
        ready!(line.poll_ours(cx))?;
        let polled = Pin::new(&mut *line.stream.borrow_mut()).poll_flush(cx);
        let mut meter = line.meter.borrow_mut();
        match polled {
            Poll::Ready(_) => meter.flushed(),
            Poll::Pending => meter.blocked(line.worker.now()),
        }
        polled
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.line.stream.borrow_mut()).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let line = &self.line;
        ready!(line.poll_ours(cx))?;
        let polled = Pin::new(&mut *line.stream.borrow_mut()).poll_write_vectored(cx, bufs);
        let now = line.worker.now();
        line.wrote(polled, |meter, mut count| {
            for buf in bufs {
                let written = buf.get(..count.min(buf.len())).unwrap_or_default();
                meter.sent(written, now);
                count -= written.len();
            }
        })
    }

    fn is_write_vectored(&self) -> bool {
        self.line.stream.borrow().is_write_vectored()
    }
}

/// A frame's head (RFC 9113 section 4.1).
fn head(length: u8, kind: u8, stream: u32) -> [u8; HEAD_BYTES] {
    let [a, b, c, d] = stream.to_be_bytes();
    [0, 0, length, kind, 0, a, b, c, d]
}

fn reset(stream: u32) -> Vec<u8> {
    [head(4, frames::RST_STREAM, stream).as_slice(), &CANCEL.to_be_bytes()].concat()
}

fn go_away(last_stream: u32) -> Vec<u8> {
    let payload = [last_stream.to_be_bytes(), ENHANCE_YOUR_CALM.to_be_bytes()].concat();
    [head(8, frames::GOAWAY, 0).as_slice(), &payload].concat()
}
