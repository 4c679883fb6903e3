//! The framing of bodies (RFC 9112 sections 6 and 7).

use super::error::BodyError;
use super::fields::Fields;
use super::head::Facts;
use super::known::{Known, forbidden_trailer};
use super::syntax;
use super::{BodyLength, Limits};

/// Ends the data of a chunk.
pub const CHUNK_END: &[u8] = b"\r\n";
/// Most hexadecimal digits of a chunk's size.
const SIZE_DIGITS_MAX: u8 = 16;

/// What a decoder found at the front of its input. Whoever called it consumes `skip` bytes, then `length` bytes of
/// data, and calls again with what follows.
#[derive(Debug)]
pub enum Decoded {
    /// `skip` bytes of framing, then `length` bytes of data, at least one.
    Data {
        /// Bytes of framing.
        skip: usize,
        /// Bytes of data behind them.
        length: usize,
    },
    /// `skip` bytes of framing, and then more input is needed.
    NeedMore {
        /// Bytes of framing.
        skip: usize,
    },
    /// `skip` bytes of framing end the body; what follows is not of this message.
    End {
        /// Bytes of framing.
        skip: usize,
        /// The trailer fields, without those that may not be there; `None` where none are left.
        trailers: Option<Fields>,
    },
}

/// Where in the framing the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A body of known length.
    Length,
    UntilClose,
    /// In the size of a chunk, after this many digits.
    Size(u8),
    /// Behind a `;`, before or in the name of an extension.
    ExtensionName {
        any: bool,
    },
    /// Behind `=`.
    ExtensionValue,
    ExtensionToken,
    ExtensionQuoted,
    ExtensionEscaped,
    ExtensionQuoteEnd,
    /// Behind the CR of a size line.
    SizeEnd,
    Data,
    DataCr,
    DataLf,
    /// In the trailer section.
    Trailer,
    End,
}

/// Finds the data in a body's framing. Pure; copies nothing but trailers.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    /// Bytes left of the body, or of the chunk.
    left: u64,
    extension_bytes: usize,
    extension_bytes_max: usize,
    trailer: Vec<u8>,
    trailer_bytes_max: usize,
    trailer_fields_max: usize,
}

impl BodyDecoder {
    /// A decoder for one body.
    pub fn new(length: BodyLength, limits: &Limits) -> Self {
        let (state, left) = match length {
            BodyLength::None => (State::Length, 0),
            BodyLength::Known(length) => (State::Length, length),
            BodyLength::Chunked => (State::Size(0), 0),
            BodyLength::UntilClose => (State::UntilClose, 0),
        };
        Self {
            state,
            left,
            extension_bytes: 0,
            extension_bytes_max: limits.chunk_extension_bytes,
            trailer: Vec::new(),
            trailer_bytes_max: limits.trailer_bytes,
            trailer_fields_max: limits.trailer_fields,
        }
    }

    /// Looks at `input`, the bytes that follow what was consumed so far. `End` is returned at the end of the body,
    /// and again if asked again, then without trailers.
    ///
    /// # Errors
    /// Framing that is not exactly RFC 9112's, white space in a size line included.
    pub fn decode(&mut self, input: &[u8]) -> Result<Decoded, BodyError> {
        match self.state {
            State::Length if self.left == 0 => {
                self.state = State::End;
                Ok(Decoded::End { skip: 0, trailers: None })
            }
            State::Length => Ok(self.data(0, input)),
            State::UntilClose if input.is_empty() => Ok(Decoded::NeedMore { skip: 0 }),
            State::UntilClose => Ok(Decoded::Data { skip: 0, length: input.len() }),
            State::End => Ok(Decoded::End { skip: 0, trailers: None }),
            _ => self.decode_chunked(input),
        }
    }

    /// Whether every byte of the body was handed out and its end was seen.
    pub fn is_end(&self) -> bool {
        match self.state {
            State::Length => self.left == 0,
            state => state == State::End,
        }
    }

    /// The sender's connection has ended.
    ///
    /// # Errors
    /// [`BodyError::Truncated`] where the body had not.
    pub fn on_eof(&mut self) -> Result<(), BodyError> {
        if self.state == State::UntilClose {
            self.state = State::End;
        }
        if self.is_end() { Ok(()) } else { Err(BodyError::Truncated) }
    }

    /// Bytes of data still to come, where that is known.
    pub fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Length => Some(self.left),
            State::End => Some(0),
            _ => None,
        }
    }

    fn decode_chunked(&mut self, input: &[u8]) -> Result<Decoded, BodyError> {
        let mut skip = 0;
        while let Some(b) = input.get(skip) {
            match self.state {
                State::Data => return Ok(self.data(skip, input)),
                State::Trailer => return self.take_trailer(skip, input.get(skip..).unwrap_or_default()),
                _ => self.step(*b)?,
            }
            skip += 1;
        }
        Ok(Decoded::NeedMore { skip })
    }

    /// Hands out the data behind `skip`.
    fn data(&mut self, skip: usize, input: &[u8]) -> Decoded {
        let there = input.len() - skip;
        let length = usize::try_from(self.left).map_or(there, |left| left.min(there));
        if length == 0 {
            return Decoded::NeedMore { skip };
        }
        self.left -= length as u64;
        if self.left == 0 && self.state == State::Data {
            self.state = State::DataCr;
        }
        Decoded::Data { skip, length }
    }

    /// Takes one byte of chunk framing.
    fn step(&mut self, b: u8) -> Result<(), BodyError> {
        self.state = match (self.state, b) {
            (State::Size(digits), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if digits < SIZE_DIGITS_MAX => {
                let digit = match b {
                    b'0'..=b'9' => b - b'0',
                    _ => (b | 0x20) - b'a' + 10,
                };
                self.left = self.left << 4 | u64::from(digit);
                State::Size(digits + 1)
            }
            (State::Size(1..), b'\r') => State::SizeEnd,
            (State::Size(1..), b';') => State::ExtensionName { any: false },
            (State::Size(_), _) => return Err(BodyError::ChunkSize),
            (State::SizeEnd, b'\n') if self.left == 0 => State::Trailer,
            (State::SizeEnd, b'\n') => State::Data,
            (State::SizeEnd, _) => return Err(BodyError::ChunkSize),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size(0),
            (State::DataCr | State::DataLf, _) => return Err(BodyError::ChunkEnd),
            (state, b) => self.step_extension(state, b)?,
        };
        Ok(())
    }

    fn step_extension(&mut self, state: State, b: u8) -> Result<State, BodyError> {
        self.extension_bytes += 1;
        if self.extension_bytes > self.extension_bytes_max {
            return Err(BodyError::ChunkExtensionTooLong);
        }
        match (state, b) {
            (State::ExtensionName { .. }, _) if syntax::is_token_byte(b) => {
                Ok(State::ExtensionName { any: true })
            }
            (State::ExtensionName { any: true }, b'=') => Ok(State::ExtensionValue),
            (State::ExtensionValue, b'"') => Ok(State::ExtensionQuoted),
            (State::ExtensionValue | State::ExtensionToken, _) if syntax::is_token_byte(b) => {
                Ok(State::ExtensionToken)
            }
            (State::ExtensionQuoted, b'"') => Ok(State::ExtensionQuoteEnd),
            (State::ExtensionQuoted, b'\\') => Ok(State::ExtensionEscaped),
            (State::ExtensionQuoted | State::ExtensionEscaped, _) if syntax::is_value_byte(b) => {
                Ok(State::ExtensionQuoted)
            }
            (State::ExtensionName { any: true } | State::ExtensionToken | State::ExtensionQuoteEnd, b';') => {
                Ok(State::ExtensionName { any: false })
            }
            (
                State::ExtensionName { any: true } | State::ExtensionToken | State::ExtensionQuoteEnd,
                b'\r',
            ) => Ok(State::SizeEnd),
            _ => Err(BodyError::ChunkExtension),
        }
    }

    /// Collects the trailer section, and reads it when it is whole.
    fn take_trailer(&mut self, skip: usize, input: &[u8]) -> Result<Decoded, BodyError> {
        let mut used = 0;
        while let Some(at) = memchr::memchr(b'\n', input.get(used..).unwrap_or_default()) {
            let line = input.get(used..=used + at).unwrap_or_default();
            self.keep_trailer(line)?;
            used += line.len();
            if !self.trailer.ends_with(b"\r\n") {
                return Err(BodyError::Trailer);
            }
            if self.trailer.len() == 2 || self.trailer.ends_with(b"\r\n\r\n") {
                self.state = State::End;
                return Ok(Decoded::End { skip: skip + used, trailers: self.read_trailer()? });
            }
        }
        self.keep_trailer(input.get(used..).unwrap_or_default())?;
        Ok(Decoded::NeedMore { skip: skip + input.len() })
    }

    fn keep_trailer(&mut self, bytes: &[u8]) -> Result<(), BodyError> {
        if self.trailer.len() + bytes.len() > self.trailer_bytes_max + 2 {
            return Err(BodyError::TrailerTooLong);
        }
        self.trailer.extend_from_slice(bytes);
        Ok(())
    }

    fn read_trailer(&mut self) -> Result<Option<Fields>, BodyError> {
        let section = std::mem::take(&mut self.trailer);
        if section.len() == 2 {
            return Ok(None);
        }
        // The reader of fields wants CRLF before the first line too.
        let mut bytes = Vec::with_capacity(section.len() + 2);
        bytes.extend_from_slice(CHUNK_END);
        bytes.extend_from_slice(&section);
        let mut headers = vec![httparse::EMPTY_HEADER; self.trailer_fields_max];
        let mut fields = Fields::default();
        let lines = bytes.get(CHUNK_END.len()..).unwrap_or_default();
        match httparse::parse_headers(lines, &mut headers) {
            Ok(httparse::Status::Complete((_, headers))) => {
                fields.present = Trailers::collect(&bytes, headers, &mut fields)?;
            }
            Err(httparse::Error::TooManyHeaders) => return Err(BodyError::TrailerTooLong),
            _ => return Err(BodyError::Trailer),
        }
        fields.bytes = bytes;
        Ok((!fields.is_empty()).then_some(fields))
    }
}

struct Trailers;

impl Trailers {
    /// Takes the fields that may stand in a trailer section.
    fn collect(
        bytes: &[u8],
        headers: &[httparse::Header<'_>],
        fields: &mut Fields,
    ) -> Result<u64, BodyError> {
        let allowed =
            headers.iter().filter(|header| !forbidden_trailer(header.name)).copied().collect::<Vec<_>>();
        Facts::default().collect(bytes, &allowed, &mut fields.slots).map_err(|_| BodyError::Trailer)
    }
}

/// Appends the size line of a chunk of `length` bytes, which must not be zero. Data and [`CHUNK_END`] follow it.
pub fn write_chunk_head(out: &mut Vec<u8>, length: usize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - length.leading_zeros()).div_ceil(4).max(1);
    for at in (0..digits).rev() {
        out.push(DIGITS.get(length >> (4 * at) & 0xf).copied().unwrap_or(b'0'));
    }
    out.extend_from_slice(CHUNK_END);
}

/// Appends the last chunk, the trailer fields that may stand there, and the end of the body.
pub fn write_last_chunk(out: &mut Vec<u8>, trailers: Option<&Fields>) {
    out.extend_from_slice(b"0\r\n");
    for field in trailers.into_iter().flat_map(Fields::iter) {
        if field.known == Known::Other && !forbidden_trailer(field.name) {
            out.extend_from_slice(field.name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(field.value);
            out.extend_from_slice(CHUNK_END);
        }
    }
    out.extend_from_slice(CHUNK_END);
}
