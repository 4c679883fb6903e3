//! A byte stream with its read buffer: TCP or Unix, plain or under TLS. Belongs to one worker.
//!
//! A wire is shared by the parts of one task (the upload reads a client's wire while the answer is written to it), so
//! its methods take `&self` and borrow only within one poll.

mod proxy_protocol;

pub use proxy_protocol::{
    HEADER_BYTES_MAX, InvalidProxyHeader, ProxyHeader, V1_BYTES_MAX, read_proxy_header,
};

use bytes::BufMut;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use nix::sys::socket::MsgFlags;
use std::cell::{Cell, RefCell, RefMut};
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// Room for a head that arrives; most fit.
const HEAD_ROOM: usize = 4096;
/// Room for a body that streams: one read, one write.
pub const BODY_ROOM: usize = 64 * 1024;

/// The operating system's end of a connection.
#[derive(Debug)]
pub enum Socket {
    /// TCP over IPv4 or IPv6.
    Tcp(TcpStream),
    /// A Unix domain socket.
    Unix(UnixStream),
}

impl Socket {
    /// Writes what the operating system takes at once of a few last words.
    pub fn say(&self, words: &[u8]) {
        // Whoever does not hear them sees the connection close.
        let _ = match self {
            Self::Tcp(socket) => socket.try_write(words),
            Self::Unix(socket) => socket.try_write(words),
        };
    }

    /// Copies bytes that have arrived, and leaves them to be read; waits for the first. 0 is the end of the stream.
    pub async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.peek(buffer).await,
            Self::Unix(socket) => {
                let peek = || Ok(nix::sys::socket::recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_PEEK)?);
                socket.async_io(Interest::READABLE, peek).await
            }
        }
    }
}

/// Where bytes come from and go to.
#[derive(Debug)]
pub enum Stream {
    /// As they are.
    Plain(Socket),
    /// Under TLS, of which we are the server.
    TlsServer(Box<TlsStream<Socket>>),
    /// Under TLS, of which we are the client.
    TlsClient(Box<tokio_rustls::client::TlsStream<Socket>>),
    /// Handed over by the HTTP stack of a program that embeds us, after `101`.
    Upgraded(Box<TokioIo<Upgraded>>),
}

/// Bytes that were read and not yet used.
#[derive(Debug, Default)]
pub struct Input {
    bytes: Vec<u8>,
    start: usize,
}

/// A stream with its read buffer.
#[derive(Debug)]
pub struct Wire {
    stream: RefCell<Stream>,
    input: RefCell<Input>,
    ended: Cell<bool>,
    /// Whether the last read took all the room it had: more is likely to be there.
    filled: Cell<bool>,
    unflushed: Cell<bool>,
    written: Cell<bool>,
}

impl Input {
    /// The unused bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// Whether none are left.
    pub fn is_empty(&self) -> bool {
        self.start >= self.bytes.len()
    }

    /// Marks the first `count` bytes as used.
    pub fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.bytes.len());
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        }
    }

    /// The buffer with the unused bytes at its very front, for a parser that takes them from there.
    pub fn front(&mut self) -> &mut Vec<u8> {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        &mut self.bytes
    }

    fn make_room(&mut self, room: usize) {
        if self.start > 0 && self.bytes.capacity() - self.bytes.len() < room {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        if self.bytes.capacity() - self.bytes.len() < room {
            self.bytes.reserve_exact(room);
        }
    }
}

impl Wire {
    /// A wire over `stream` on which nothing was read.
    pub fn new(stream: Stream) -> Self {
        Self {
            stream: RefCell::new(stream),
            input: RefCell::default(),
            ended: Cell::new(false),
            filled: Cell::new(false),
            unflushed: Cell::new(false),
            written: Cell::new(false),
        }
    }

    /// The bytes read and not yet used. Not to be held over a poll.
    pub fn input(&self) -> RefMut<'_, Input> {
        self.input.borrow_mut()
    }

    /// Whether the other side has said that nothing more comes.
    pub fn ended(&self) -> bool {
        self.ended.get()
    }

    /// Reads what is there behind the unused bytes, at least room for a head; 0 is the end of the stream.
    pub fn poll_fill(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.poll_fill_room(cx, HEAD_ROOM)
    }

    /// As [`poll_fill`](Self::poll_fill), with room for `room` bytes once the other side has filled the room for a head:
    /// whoever sends little at a time costs no more than that.
    pub fn poll_fill_room(&self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        if self.ended.get() {
            return Poll::Ready(Ok(0));
        }
        let mut input = self.input.borrow_mut();
        input.make_room(if self.filled.get() { room } else { room.min(HEAD_ROOM) });
        let free = input.bytes.capacity() - input.bytes.len();
        let count = ready!(poll_read_into(Pin::new(&mut *self.stream.borrow_mut()), cx, &mut input.bytes))?;
        self.filled.set(count >= free.min(HEAD_ROOM));
        if count == 0 {
            self.ended.set(true);
        }
        Poll::Ready(Ok(count))
    }

    /// Reads once more; 0 is the end of the stream.
    pub async fn fill(&self) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// Gives back a large read buffer that is empty.
    pub fn shrink(&self) {
        let mut input = self.input.borrow_mut();
        if input.is_empty() && input.bytes.capacity() > 2 * HEAD_ROOM {
            *input = Input::default();
        }
    }

    /// Whether anything was written since this was asked last.
    pub fn take_written(&self) -> bool {
        self.written.replace(false)
    }

    /// Writes some of `bytes`.
    pub fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.unflushed.set(true);
        self.written.set(true);
        written(Pin::new(&mut *self.stream.borrow_mut()).poll_write(cx, bytes))
    }

    /// Writes some of `slices`, in order.
    pub fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.unflushed.set(true);
        self.written.set(true);
        written(Pin::new(&mut *self.stream.borrow_mut()).poll_write_vectored(cx, slices))
    }

    /// Hands everything written to the operating system.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unflushed.get() {
            ready!(Pin::new(&mut *self.stream.borrow_mut()).poll_flush(cx))?;
            self.unflushed.set(false);
        }
        Poll::Ready(Ok(()))
    }

    /// Says that nothing more will be written; under TLS with a close alert.
    pub fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_shutdown(cx)
    }

    /// Writes and flushes all of `bytes`.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        std::future::poll_fn(|cx| {
            while !bytes.is_empty() {
                let count = ready!(self.poll_write(cx, bytes))?;
                bytes = bytes.get(count..).unwrap_or_default();
            }
            self.poll_flush(cx)
        })
        .await
    }

    /// Makes the close of a TCP connection a reset, so that what was sent does not look like all there was.
    pub fn reset_on_close(&self) {
        let stream = self.stream.borrow();
        let socket = match &*stream {
            Stream::Plain(socket) => socket,
            Stream::TlsServer(stream) => stream.get_ref().0,
            Stream::TlsClient(stream) => stream.get_ref().0,
            // Its socket is the embedding program's.
            Stream::Upgraded(_) => return,
        };
        if let Socket::Tcp(socket) = socket {
            // Where it fails the connection is gone already.
            let _ = socket2::SockRef::from(socket).set_linger(Some(std::time::Duration::ZERO));
        }
    }

    /// Says that nothing more will be written.
    pub async fn shutdown(&self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_shutdown(cx)).await
    }

    /// Whether an idle connection can still be used: nothing arrived on it, also no end. Asks the operating system
    /// only where it has announced something.
    pub fn is_quiet(&self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        !self.ended.get() && self.input.borrow().is_empty() && self.poll_fill(&mut cx).is_pending()
    }

    /// The stream and the unused bytes, for another protocol to go on with.
    pub fn into_parts(self) -> (Stream, Vec<u8>) {
        let mut input = self.input.into_inner();
        (self.stream.into_inner(), std::mem::take(input.front()))
    }
}

/// A write of nothing is an end that must not be taken for progress.
fn written(result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
    match result {
        Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        other => other,
    }
}

fn poll_read_into(
    stream: Pin<&mut Stream>,
    cx: &mut Context<'_>,
    bytes: &mut Vec<u8>,
) -> Poll<io::Result<usize>> {
    debug_assert!(bytes.has_remaining_mut());
    tokio_util::io::poll_read_buf(stream, cx, bytes)
}

macro_rules! delegate {
    ($type:ident, $($variant:ident),+) => {
        impl AsyncRead for $type {
            fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() { $(Self::$variant(inner) => Pin::new(inner).poll_read(cx, buf)),+ }
            }
        }

        impl AsyncWrite for $type {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
                match self.get_mut() { $(Self::$variant(inner) => Pin::new(inner).poll_write(cx, buf)),+ }
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() { $(Self::$variant(inner) => Pin::new(inner).poll_flush(cx)),+ }
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() { $(Self::$variant(inner) => Pin::new(inner).poll_shutdown(cx)),+ }
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() { $(Self::$variant(inner) => Pin::new(inner).poll_write_vectored(cx, bufs)),+ }
            }

            fn is_write_vectored(&self) -> bool {
                match self { $(Self::$variant(inner) => inner.is_write_vectored()),+ }
            }
        }
    };
}

delegate!(Socket, Tcp, Unix);
delegate!(Stream, Plain, TlsServer, TlsClient, Upgraded);
