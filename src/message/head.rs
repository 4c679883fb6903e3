//! Reading a head: finding its end, and what requests and answers have in common.

use std::mem::MaybeUninit;

use httparse::{Error, Header};

use super::error::HeadProblem;
use super::fields::{Slot, Span, State};
use super::known::{Class, Known};
use super::spare::Spare;
use super::syntax;
use super::{BodyLength, Limits, Version};

/// Longest method in bytes.
pub(super) const METHOD_BYTES_MAX: usize = 32;
/// Empty lines that may stand before a request (RFC 9112 section 2.2).
const LEADING_LINES_MAX: u8 = 2;
/// Bytes of a request line besides its target: method, spaces, version, end of line.
const LINE_BYTES: usize = METHOD_BYTES_MAX + 12;
/// Most options in the `Connection` fields of a head: each is compared with every field.
const CONNECTION_OPTIONS_MAX: usize = 32;
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
    /// Behind the last complete line that was searched.
    line_end: usize,
    /// Behind the last line that was judged.
    judged: usize,
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
            self.line_end = end;
        }
        self.searched = buffer.len();
        Ok(None)
    }

    /// Judges an incomplete head by the lines that are complete, each once: `first` judges the first one.
    pub(super) fn judge_lines(
        &mut self,
        buffer: &[u8],
        first: impl FnOnce(&[u8]) -> Result<(), HeadProblem>,
    ) -> Result<(), HeadProblem> {
        let mut lines = buffer.get(self.judged.max(self.start)..self.line_end).unwrap_or_default();
        if self.judged == 0 && !lines.is_empty() {
            let (line, rest) = split_line(lines);
            first(line)?;
            lines = rest;
        }
        while !lines.is_empty() {
            let (line, rest) = split_line(lines);
            match httparse::parse_headers(line, &mut [httparse::EMPTY_HEADER]) {
                Err(error) if error != Error::TooManyHeaders => return Err(problem(error)),
                _ => lines = rest,
            }
        }
        self.judged = self.line_end;
        Ok(())
    }

    /// Judges an incomplete request head by what is there of it.
    pub(super) fn judge_request(&mut self, buffer: &[u8], limits: &Limits) -> Result<(), HeadProblem> {
        let rest = buffer.get(self.start..).unwrap_or_default();
        if self.judged == 0 {
            judge_method(rest)?;
            if self.line_end == 0 && rest.len() > limits.target_bytes + LINE_BYTES {
                return Err(HeadProblem::TargetTooLong);
            }
        }
        self.judge_lines(buffer, |line| {
            let mut request = httparse::Request::new(&mut []);
            match request.parse(line) {
                Err(error) if error != Error::TooManyHeaders => return Err(problem_of_request(error, line)),
                _ => {}
            }
            match request.path {
                Some(target) if target.len() > limits.target_bytes => Err(HeadProblem::TargetTooLong),
                _ => Ok(()),
            }
        })?;
        if rest.len() > limits.head_bytes { Err(HeadProblem::HeadTooLong) } else { Ok(()) }
    }

    /// Judges an incomplete head of an answer by what is there of it.
    pub(super) fn judge_response(&mut self, buffer: &[u8], limits: &Limits) -> Result<(), HeadProblem> {
        self.judge_lines(buffer, |line| match httparse::Response::new(&mut []).parse(line) {
            Err(error) if error != Error::TooManyHeaders => Err(problem(error)),
            _ => Ok(()),
        })?;
        if buffer.len() > limits.head_bytes { Err(HeadProblem::HeadTooLong) } else { Ok(()) }
    }
}

/// The first line with its LF, and the rest.
fn split_line(lines: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b'\n', lines).map_or(lines.len(), |at| at + 1);
    lines.split_at_checked(end).unwrap_or((lines, &[]))
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
        Error::Version if !names_a_version(head) => HeadProblem::RequestLine,
        other => problem(other),
    }
}

/// Whether the third word of a request line is `HTTP/`, a digit, a dot and a digit.
fn names_a_version(head: &[u8]) -> bool {
    let (line, _) = split_line(head);
    let version = line.splitn(3, |b| *b == b' ').nth(2).unwrap_or_default();
    matches!(version, [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9', b'\r', b'\n'])
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

/// How a field's line lies, whose name ends at `name_end`. httparse saw the colon there, and LF behind every CR.
fn state(bytes: &[u8], name_end: usize, value: Span) -> State {
    let as_written = value.start as usize == name_end + 2
        && bytes.get(name_end + 1) == Some(&b' ')
        && bytes.get(value.end()) == Some(&b'\r');
    if as_written { State::Line } else { State::Parts }
}

/// What the fields of a head say about its framing and its connection.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) content_length: Option<u64>,
    pub(super) chunked: bool,
    pub(super) host: Option<Span>,
    connection_options: usize,
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
                state: state(bytes, name_start + header.name.len(), value),
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
            Known::Host if self.host.is_some() => return Err(HeadProblem::HostRepeated),
            Known::Host => self.host = Some(at),
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
            self.connection_options += 1;
            if self.connection_options > CONNECTION_OPTIONS_MAX {
                return Err(HeadProblem::ConnectionOption);
            }
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
