//! Reading a head: finding its end, and what requests and answers have in common.

use std::mem::MaybeUninit;

use httparse::{Error, Header};

use super::error::HeadProblem;
use super::fields::{Slot, Span};
use super::known::{Class, Known};
use super::spare::Spare;
use super::syntax;
use super::{BodyLength, Limits, Version};

/// Longest method in bytes.
const METHOD_BYTES_MAX: usize = 32;
/// Empty lines that may stand before a request (RFC 9112 section 2.2).
const LEADING_LINES_MAX: u8 = 2;
/// Bytes of a request line besides its target: method, spaces, version, end of line.
const LINE_BYTES: usize = METHOD_BYTES_MAX + 12;
/// Heads with up to this many fields are parsed without an allocation.
pub(super) const FIELDS_ON_STACK: usize = 128;

/// A list of fields that httparse fills.
pub(super) type Headers<'b> = [MaybeUninit<Header<'b>>];

/// How far the end of a head was searched in a buffer that fills slowly, so that every byte is looked at once.
/// One per direction of a connection; `read` resets it when it returns a head.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    /// Where the first line begins.
    start: usize,
    leading_lines: u8,
    searched: usize,
    first_line_checked: bool,
}

impl Scan {
    /// Whether nothing was searched yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.searched == 0
    }

    /// Where the first line of a request begins, past the empty lines that are tolerated; `None`: more is needed.
    pub(super) fn skip_empty_lines(&mut self, buffer: &[u8]) -> Result<Option<usize>, HeadProblem> {
        loop {
            match buffer.get(self.start..).unwrap_or_default() {
                [] | [b'\r'] => return Ok(None),
                [b'\r', b'\n', ..] if self.leading_lines == LEADING_LINES_MAX => {
                    return Err(HeadProblem::LeadingLines);
                }
                [b'\r', b'\n', ..] => {
                    self.leading_lines += 1;
                    self.start += 2;
                }
                [b'\r', ..] => return Err(HeadProblem::BareCarriageReturn),
                [b'\n', ..] => return Err(HeadProblem::BareLineFeed),
                _ => return Ok(Some(self.start)),
            }
        }
    }

    /// Where the head ends, behind its empty line; `None`: more is needed. Refuses every LF without CR.
    pub(super) fn find_end(&mut self, buffer: &[u8]) -> Result<Option<usize>, HeadProblem> {
        self.searched = self.searched.max(self.start);
        while let Some(at) = memchr::memchr(b'\n', buffer.get(self.searched..).unwrap_or_default()) {
            let end = self.searched + at + 1;
            let head = buffer.get(self.start..end).unwrap_or_default();
            if head.ends_with(b"\r\n\r\n") {
                return Ok(Some(end));
            }
            if !head.ends_with(b"\r\n") {
                return Err(HeadProblem::BareLineFeed);
            }
            self.searched = end;
        }
        self.searched = buffer.len();
        Ok(None)
    }

    /// The first line, once, as soon as it is complete.
    pub(super) fn first_line<'b>(&mut self, buffer: &'b [u8]) -> Option<&'b [u8]> {
        if self.first_line_checked {
            return None;
        }
        let rest = buffer.get(self.start..)?;
        let line = rest.get(..=memchr::memchr(b'\n', rest)?)?;
        self.first_line_checked = true;
        Some(line)
    }

    /// Judges an incomplete request head by what is there of it.
    pub(super) fn judge_incomplete(&mut self, buffer: &[u8], limits: &Limits) -> Result<(), HeadProblem> {
        let rest = buffer.get(self.start..).unwrap_or_default();
        if !self.first_line_checked {
            judge_method(rest)?;
        }
        if let Some(line) = self.first_line(buffer) {
            let mut request = httparse::Request::new(&mut []);
            match request.parse(line) {
                Err(error) if error != Error::TooManyHeaders => return Err(problem_of_request(error, line)),
                _ => {}
            }
            if request.path.is_some_and(|target| target.len() > limits.target_bytes) {
                return Err(HeadProblem::TargetTooLong);
            }
        }
        if !self.first_line_checked && rest.len() > limits.target_bytes + LINE_BYTES {
            return Err(HeadProblem::TargetTooLong);
        }
        if rest.len() > limits.head_bytes {
            return Err(HeadProblem::HeadTooLong);
        }
        Ok(())
    }
}

/// Refuses a request line whose beginning cannot be a method.
pub(super) fn judge_method(line: &[u8]) -> Result<(), HeadProblem> {
    let start = line.get(..=METHOD_BYTES_MAX).unwrap_or(line);
    match start.iter().position(|b| !syntax::is_token_byte(*b)) {
        Some(at) if at > 0 && start.get(at) == Some(&b' ') => Ok(()),
        Some(_) => Err(HeadProblem::Method),
        None if start.len() > METHOD_BYTES_MAX => Err(HeadProblem::MethodTooLong),
        None => Ok(()),
    }
}

/// The problem behind httparse's error about a request.
pub(super) fn problem_of_request(error: Error, head: &[u8]) -> HeadProblem {
    match error {
        Error::Token => judge_method(head).err().unwrap_or(HeadProblem::Target),
        Error::Status => HeadProblem::Target,
        other => problem(other),
    }
}

/// The problem behind httparse's error about an answer.
pub(super) fn problem(error: Error) -> HeadProblem {
    match error {
        Error::HeaderName => HeadProblem::FieldName,
        Error::HeaderValue => HeadProblem::FieldValue,
        Error::NewLine => HeadProblem::BareCarriageReturn,
        Error::TooManyHeaders => HeadProblem::TooManyFields,
        Error::Version => HeadProblem::Version,
        Error::Status | Error::Token => HeadProblem::StatusLine,
    }
}

/// Where `part`, a piece of `whole`, begins in it.
pub(super) fn offset(whole: &[u8], part: &[u8]) -> usize {
    (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize)
}

/// The range of `part`, a piece of `whole`.
pub(super) fn span(whole: &[u8], part: &[u8]) -> Span {
    Span::new(offset(whole, part), part.len())
}

/// What the fields of a head say about its framing and its connection.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) content_length: Option<u64>,
    pub(super) chunked: bool,
    pub(super) host: Option<Span>,
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade_option: bool,
    pub(super) upgrade: Option<Span>,
    pub(super) upgrade_repeated: bool,
    pub(super) expect_continue: bool,
    pub(super) trailers: bool,
}

impl Facts {
    /// Takes the fields of one head into `slots`; returns the set of known names among them.
    ///
    /// httparse has checked names and values, and ends lines with CRLF or LF; a line is taken only where CRLF stands
    /// before it, so with the head's own end no bare LF can remain.
    pub(super) fn collect(
        &mut self,
        bytes: &[u8],
        headers: &[Header<'_>],
        slots: &mut Vec<Slot>,
    ) -> Result<u64, HeadProblem> {
        let mut present = 0;
        for header in headers {
            let name_start = offset(bytes, header.name.as_bytes());
            if bytes.get(name_start.wrapping_sub(2)..name_start) != Some(b"\r\n") {
                return Err(HeadProblem::BareLineFeed);
            }
            let known = match Known::class(header.name.as_bytes()) {
                Class::Name(known) => known,
                Class::FramingAlias => return Err(HeadProblem::FieldAlias),
                Class::OwnedAlias => continue,
            };
            let name_length = u16::try_from(header.name.len()).map_err(|_| HeadProblem::FieldName)?;
            let value = if header.value.is_empty() {
                Span::new(name_start + header.name.len() + 1, 0)
            } else {
                span(bytes, header.value)
            };
            slots.push(Slot {
                name_start: name_start as u32,
                value_start: value.start,
                value_length: value.length,
                name_length,
                known,
                live: true,
            });
            present |= known.bit();
            if known != Known::Other {
                self.note(known, header.value, value)?;
            }
        }
        Ok(present)
    }

    /// Notes what one known field says.
    pub(super) fn note(&mut self, known: Known, value: &[u8], at: Span) -> Result<(), HeadProblem> {
        match known {
            Known::ContentLength => {
                if self.content_length.is_some() {
                    return Err(HeadProblem::ContentLengthRepeated);
                }
                self.content_length = Some(content_length(value)?);
            }
            Known::TransferEncoding => {
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(HeadProblem::TransferEncoding);
                }
                self.chunked = true;
            }
            Known::Host => {
                if self.host.replace(at).is_some() {
                    return Err(HeadProblem::HostRepeated);
                }
            }
            Known::Connection => self.note_connection(value)?,
            Known::Upgrade => self.upgrade_repeated |= self.upgrade.replace(at).is_some(),
            Known::Expect => {
                if self.expect_continue || !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(HeadProblem::Expectation);
                }
                self.expect_continue = true;
            }
            Known::Te => {
                self.trailers |=
                    syntax::members(value).any(|member| member.eq_ignore_ascii_case(b"trailers"));
            }
            _ => {}
        }
        Ok(())
    }

    fn note_connection(&mut self, value: &[u8]) -> Result<(), HeadProblem> {
        for option in syntax::members(value) {
            match option.len() {
                5 => self.close |= option.eq_ignore_ascii_case(b"close"),
                7 => self.upgrade_option |= option.eq_ignore_ascii_case(b"upgrade"),
                10 => self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive"),
                14 | 17 => match Known::class(option) {
                    Class::Name(Known::ContentLength | Known::TransferEncoding) | Class::FramingAlias => {
                        return Err(HeadProblem::ConnectionOption);
                    }
                    _ => {}
                },
                _ => {}
            }
        }
        Ok(())
    }

    /// The body's length by RFC 9112 section 6.3, with every ambiguity refused; `None` where nothing tells it.
    pub(super) fn body(&self, version: Version) -> Result<Option<BodyLength>, HeadProblem> {
        match (self.content_length, self.chunked) {
            (Some(_), true) => Err(HeadProblem::BothLengths),
            (None, true) if version == Version::H10 => Err(HeadProblem::TransferEncodingVersion),
            (None, true) => Ok(Some(BodyLength::Chunked)),
            (Some(length), false) => Ok(Some(BodyLength::Known(length))),
            (None, false) => Ok(None),
        }
    }

    /// Whether the sender lets the connection live on (RFC 9112 section 9.3).
    pub(super) fn persists(&self, version: Version) -> bool {
        !self.close && (version != Version::H10 || self.keep_alive)
    }
}

/// One decimal number; leading zeros are allowed (RFC 9110 section 8.6).
pub(super) fn content_length(value: &[u8]) -> Result<u64, HeadProblem> {
    if value.is_empty() {
        return Err(HeadProblem::ContentLength);
    }
    let mut length = 0_u64;
    for b in value {
        let digit = match b {
            b'0'..=b'9' => u64::from(b - b'0'),
            b',' => return Err(HeadProblem::ContentLengthRepeated),
            _ => return Err(HeadProblem::ContentLength),
        };
        length =
            length.checked_mul(10).and_then(|l| l.checked_add(digit)).ok_or(HeadProblem::ContentLength)?;
    }
    Ok(length)
}

/// Takes the first `length` bytes out of `buffer` as a buffer of their own: the buffer itself moves, and what follows
/// is copied into a spare one.
pub(super) fn take(buffer: &mut Vec<u8>, length: usize, spare: &mut Spare) -> Vec<u8> {
    let mut head = std::mem::replace(buffer, spare.buffer());
    if let Some(rest) = head.get(length..) {
        buffer.extend_from_slice(rest);
    }
    head.truncate(length);
    head
}
