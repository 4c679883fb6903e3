//! An HTTP message on its way through the proxy: its head, the framing of its body, its HTTP/1.1 wire form, and the
//! way from and to `http`'s types for HTTP/2.
//!
//! This room is pure: bytes in, values out, no sockets and no clock. It holds one rule above all: **what leaves is
//! built anew from parsed and validated parts**, so that two readers can never see two messages in the same bytes.
//! Whatever is ambiguous is refused, not repaired.
//!
//! * [`RequestHead`] and [`ResponseHead`] own one text buffer each. Fields are ranges into it, in the order and the
//!   case of the sender; an edit appends to the buffer. Nothing is allocated once the buffers of a connection are
//!   warm: `recycle` hands them to a [`Spare`], and the next `read` takes them from there.
//! * [`BodyDecoder`] finds the data in a body's framing without copying it.
//! * Framing (`Content-Length`, `Transfer-Encoding`, `Connection`, `Upgrade`, `TE`, `Expect`) is written from the
//!   typed values alone: those fields stay readable, but the lines received are never sent on.

mod body;
mod convert;
mod error;
mod fields;
mod head;
mod known;
mod request;
mod response;
mod spare;
mod syntax;
mod target;
#[cfg(test)]
mod tests;
mod write;

pub use body::{BodyDecoder, CHUNK_END, Decoded, write_chunk_head, write_last_chunk};
pub use error::{BodyError, HeadError, HeadProblem, InvalidField, InvalidTarget};
pub use fields::{Field, Fields};
pub use head::Scan;
pub use known::{Known, forbidden_trailer};
pub use request::RequestHead;
pub use response::ResponseHead;
pub use spare::Spare;
pub use write::{RequestWrite, ResponseWrite};

/// What a message may cost before it is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Longest head in bytes, first line and empty line included; more is 431.
    pub head_bytes: usize,
    /// Longest request target in bytes; more is 414.
    pub target_bytes: usize,
    /// Most fields of a head; more is 431.
    pub fields: usize,
    /// Longest trailer section in bytes.
    pub trailer_bytes: usize,
    /// Most fields of a trailer section.
    pub trailer_fields: usize,
    /// Most bytes of chunk extensions in one message.
    pub chunk_extension_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 64 * 1024,
            target_bytes: 16 * 1024,
            fields: 100,
            trailer_bytes: 8 * 1024,
            trailer_fields: 32,
            chunk_extension_bytes: 16 * 1024,
        }
    }
}

/// The method, as far as the proxy treats it apart. Methods are case-sensitive (RFC 9110 section 9.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`, whose answer has no body.
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `DELETE`
    Delete,
    /// `OPTIONS`
    Options,
    /// `PATCH`
    Patch,
    /// `TRACE`
    Trace,
    /// `CONNECT`
    Connect,
    /// Any other token; `RequestHead::method` has its text.
    Other,
}

impl Method {
    /// The kind of a method's text.
    pub fn of(text: &[u8]) -> Self {
        match text {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"OPTIONS" => Self::Options,
            b"PATCH" => Self::Patch,
            b"TRACE" => Self::Trace,
            b"CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }

    /// Whether sending it twice means the same as sending it once (RFC 9110 section 9.2.2). `Other` is not.
    pub fn is_idempotent(self) -> bool {
        !matches!(self, Self::Post | Self::Patch | Self::Connect | Self::Other)
    }
}

/// The version a message came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// HTTP/1.0
    H10,
    /// HTTP/1.1
    H11,
    /// HTTP/2
    H2,
}

/// How the end of a body is known (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BodyLength {
    /// There is no body.
    None,
    /// This many bytes; zero where the sender said so.
    Known(u64),
    /// Chunked, or an HTTP/2 stream without a length.
    Chunked,
    /// Until the connection closes; only answers.
    UntilClose,
}
