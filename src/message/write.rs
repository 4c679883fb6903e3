//! Serialising heads for HTTP/1.1.

use super::known::{self, Known};
use super::request::RequestHead;
use super::response::{ResponseHead, may_have_body};
use super::{BodyLength, Method};

/// Fields that are written from typed values only.
const REQUEST_OWN: u64 =
    known::CONNECTION_SPECIFIC | Known::Host.bit() | Known::ContentLength.bit() | Known::Expect.bit();
const RESPONSE_OWN: u64 = known::CONNECTION_SPECIFIC | Known::ContentLength.bit();
/// Room for the first line and the framing fields besides the texts.
const FRAMING_BYTES: usize = 192;

/// How a request is sent to an HTTP/1.1 server. Texts are trusted: they come from the configuration or this room.
#[derive(Debug, Clone, Copy)]
pub struct RequestWrite<'a> {
    /// Replaces the client's `Host`.
    pub host: Option<&'a str>,
    /// How the body is framed; `UntilClose` counts as none.
    pub body: BodyLength,
    /// Asks for this protocol.
    pub upgrade: Option<&'a str>,
    /// Says that trailers are taken: `TE: trailers`.
    pub trailers: bool,
    /// Asks for `100 Continue`.
    pub expect_continue: bool,
}

/// How an answer is sent to an HTTP/1.1 or HTTP/1.0 client.
#[derive(Debug, Clone, Copy)]
pub struct ResponseWrite<'a> {
    /// How the body is framed. `None` is written as `Content-Length: 0` where the answer could have had a body.
    pub body: BodyLength,
    /// Says that the connection closes; implied by `UntilClose`.
    pub close: bool,
    /// Says that it does not, to an HTTP/1.0 client that asked for it.
    pub keep_alive_10: bool,
    /// Changes to this protocol; for `101`.
    pub upgrade: Option<&'a str>,
    /// Added where the server named no time.
    pub date: Option<&'a [u8; 29]>,
}

impl RequestHead {
    /// Appends the head for an HTTP/1.1 server to `out`: request line, `Host`, the fields in order, framing last.
    /// `Host` is empty where an HTTP/1.0 client named none and the options name none (RFC 9112 section 3.2).
    pub fn write_http1(&self, out: &mut Vec<u8>, options: &RequestWrite<'_>) {
        out.reserve(self.fields.bytes.len() + options.host.map_or(0, str::len) + FRAMING_BYTES);
        out.extend_from_slice(self.fields.slice(self.method));
        out.push(b' ');
        out.extend_from_slice(self.fields.slice(self.target));
        out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
        out.extend_from_slice(options.host.map_or(self.fields.slice(self.authority), str::as_bytes));
        out.extend_from_slice(b"\r\n");
        let chunked = options.body == BodyLength::Chunked;
        self.fields.write(out, if chunked { REQUEST_OWN } else { REQUEST_OWN | Known::Trailer.bit() });
        if options.expect_continue {
            out.extend_from_slice(b"Expect: 100-continue\r\n");
        }
        write_length(out, options.body);
        match (options.upgrade, options.trailers) {
            (None, false) => {}
            (None, true) => out.extend_from_slice(b"TE: trailers\r\nConnection: TE\r\n"),
            (Some(token), trailers) => {
                out.extend_from_slice(b"Upgrade: ");
                out.extend_from_slice(token.as_bytes());
                out.extend_from_slice(match trailers {
                    true => b"\r\nTE: trailers\r\nConnection: Upgrade, TE\r\n".as_slice(),
                    false => b"\r\nConnection: Upgrade\r\n",
                });
            }
        }
        out.extend_from_slice(b"\r\n");
    }
}

impl ResponseHead {
    /// Appends the head for an HTTP/1.1 or HTTP/1.0 client to `out`.
    pub fn write_http1(&self, out: &mut Vec<u8>, options: &ResponseWrite<'_>) {
        out.reserve(self.fields.bytes.len() + FRAMING_BYTES);
        out.extend_from_slice(b"HTTP/1.1 ");
        write_decimal(out, self.status.into());
        out.push(b' ');
        out.extend_from_slice(self.reason().as_bytes());
        out.extend_from_slice(b"\r\n");
        let chunked = options.body == BodyLength::Chunked;
        self.fields.write(out, if chunked { RESPONSE_OWN } else { RESPONSE_OWN | Known::Trailer.bit() });
        if let Some(date) = options.date.filter(|_| !self.has_date() && self.status >= 200) {
            out.extend_from_slice(b"Date: ");
            out.extend_from_slice(date);
            out.extend_from_slice(b"\r\n");
        }
        self.write_framing(out, options.body);
        match options.upgrade {
            Some(token) => {
                out.extend_from_slice(b"Upgrade: ");
                out.extend_from_slice(token.as_bytes());
                out.extend_from_slice(b"\r\nConnection: Upgrade\r\n");
            }
            None if options.close || options.body == BodyLength::UntilClose => {
                out.extend_from_slice(b"Connection: close\r\n");
            }
            None if options.keep_alive_10 => out.extend_from_slice(b"Connection: keep-alive\r\n"),
            None => {}
        }
        out.extend_from_slice(b"\r\n");
    }

    fn write_framing(&self, out: &mut Vec<u8>, body: BodyLength) {
        if may_have_body(self.status) && !self.to_head {
            let body = if body == BodyLength::None { BodyLength::Known(0) } else { body };
            return write_length(out, body);
        }
        // RFC 9110 section 8.6: no length in 1xx and 204; in 304 and answers to HEAD, the length of the answer to GET.
        let told = match body {
            BodyLength::Known(length) if self.to_head => Some(length),
            _ => self.length_told,
        };
        if let Some(length) = told.filter(|_| self.status == 304 || may_have_body(self.status)) {
            write_length(out, BodyLength::Known(length));
        }
    }

    /// Marks an answer of the proxy itself as one to `method`, so that one to HEAD is framed as such.
    pub fn answer_to(&mut self, method: Method) {
        self.to_head = method == Method::Head;
    }
}

fn write_length(out: &mut Vec<u8>, body: BodyLength) {
    match body {
        BodyLength::Known(length) => {
            out.extend_from_slice(b"Content-Length: ");
            write_decimal(out, length);
            out.extend_from_slice(b"\r\n");
        }
        BodyLength::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        BodyLength::None | BodyLength::UntilClose => {}
    }
}

pub(super) fn write_decimal(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}
