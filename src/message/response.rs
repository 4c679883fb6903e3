//! The head of an answer.

use std::mem::MaybeUninit;

use httparse::Status;

use super::error::{HeadError, HeadProblem};
use super::fields::{Fields, Slot, Span};
use super::head::{self, Facts, Headers, Scan};
use super::known::Known;
use super::spare::Spare;
use super::{BodyLength, Limits, Method, Version};

/// The head of an answer, from the server's bytes to the client's.
#[derive(Debug)]
pub struct ResponseHead {
    /// Its fields.
    pub fields: Fields,
    /// Its status, 100 to 599.
    pub status: u16,
    /// The version it came in.
    pub version: Version,
    /// How long its body is. `None` for 1xx, 204, 304, and answers to HEAD, whatever their fields say.
    pub body: BodyLength,
    /// The server lets its connection live on.
    pub keep_alive: bool,
    /// `101` with an `Upgrade` field that `Connection` names.
    pub upgrade: bool,
    pub(super) reason: Span,
    /// The length the body would have had, in an answer to HEAD or a 304 (RFC 9110 section 8.6).
    pub(super) length_told: Option<u64>,
    /// It answers HEAD.
    pub(super) to_head: bool,
    pub(super) upgrade_token: Span,
}

/// What a parsed status line says.
struct Line {
    status: u16,
    reason: Span,
    version: Version,
    end: usize,
}

impl ResponseHead {
    /// Takes one complete head off the front of `buffer`; what follows it stays there. `Ok(None)`: more bytes are
    /// needed. `to` is the method of the request. An interim answer (1xx) is a head of its own; call again after it.
    ///
    /// # Errors
    /// As strict as [`RequestHead::read`](super::RequestHead::read); the status is 502.
    pub fn read(
        buffer: &mut Vec<u8>,
        scan: &mut Scan,
        spare: &mut Spare,
        limits: &Limits,
        to: Method,
    ) -> Result<Option<ResponseHead>, HeadError> {
        let mut slots = spare.slots();
        let mut facts = Facts::default();
        match find(buffer, scan, limits, &mut slots, &mut facts) {
            Ok(Some((line, present))) => {
                *scan = Scan::default();
                let bytes = head::take(buffer, line.end, spare);
                let fields = Fields { bytes, slots, present };
                Self::assemble(fields, &line, &facts, to).map(Some).map_err(HeadError::response)
            }
            Ok(None) => {
                spare.keep_slots(slots);
                Ok(None)
            }
            Err(problem) => {
                spare.keep_slots(slots);
                Err(HeadError::response(problem))
            }
        }
    }

    fn assemble(fields: Fields, line: &Line, facts: &Facts, to: Method) -> Result<Self, HeadProblem> {
        let framed = facts.body(line.version)?;
        let bodiless = to == Method::Head || !may_have_body(line.status);
        let body = if bodiless { BodyLength::None } else { framed.unwrap_or(BodyLength::UntilClose) };
        let upgrade =
            line.status == 101 && facts.upgrade_option && !facts.upgrade_repeated && facts.upgrade.is_some();
        Ok(Self {
            fields,
            status: line.status,
            version: line.version,
            body,
            keep_alive: facts.persists(line.version) && body != BodyLength::UntilClose && line.status != 101,
            upgrade,
            reason: line.reason,
            length_told: if bodiless { facts.content_length } else { None },
            to_head: to == Method::Head,
            upgrade_token: facts.upgrade.filter(|_| upgrade).unwrap_or_default(),
        })
    }

    /// An answer of the proxy itself, without fields.
    pub fn new(status: u16, spare: &mut Spare) -> ResponseHead {
        Self {
            fields: Fields::new(spare),
            status,
            version: Version::H11,
            body: BodyLength::None,
            keep_alive: true,
            upgrade: false,
            reason: Span::default(),
            length_told: None,
            to_head: false,
            upgrade_token: Span::default(),
        }
    }

    /// The reason phrase as the server sent it; the usual one where it sent none or it is no ASCII text.
    pub fn reason(&self) -> &str {
        match self.fields.text(self.reason) {
            "" => http::StatusCode::from_u16(self.status)
                .ok()
                .and_then(|s| s.canonical_reason())
                .unwrap_or_default(),
            reason => reason,
        }
    }

    /// How long its body is, or would have been in an answer to HEAD, where that is told.
    pub fn full_length(&self) -> Option<u64> {
        match self.body {
            BodyLength::Known(length) => Some(length),
            BodyLength::None => self.length_told,
            BodyLength::Chunked | BodyLength::UntilClose => None,
        }
    }

    /// Whether it answers HEAD and stands for an answer with a body.
    pub fn answers_head(&self) -> bool {
        self.to_head && may_have_body(self.status)
    }

    /// Tells no length of a body that is not there: the one that GET would get has another.
    pub fn forget_length(&mut self) {
        self.length_told = None;
    }

    /// Whether it is interim (1xx) and another head follows.
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }

    /// The protocol a `101` changes to.
    pub fn upgrade_token(&self) -> Option<&str> {
        let token = std::str::from_utf8(self.fields.slice(self.upgrade_token)).ok()?;
        (self.upgrade && !token.is_empty()).then_some(token)
    }

    /// Describes another body in place of the server's, of `length` bytes: what was said of that one goes, and the
    /// reason phrase where `status` is another.
    pub fn replace_body(&mut self, status: u16, length: u64) {
        const OF_THE_BODY: [&str; 10] = [
            "Content-Language",
            "Content-Location",
            "Content-Range",
            "Content-Disposition",
            "Content-Digest",
            "Repr-Digest",
            "Digest",
            "ETag",
            "Last-Modified",
            "Accept-Ranges",
        ];
        for known in [Known::ContentType, Known::ContentLength, Known::ContentEncoding, Known::Trailer] {
            self.fields.remove_known(known);
        }
        OF_THE_BODY.iter().for_each(|name| self.fields.remove(name));
        if status != self.status {
            self.status = status;
            self.reason = Span::default();
        }
        self.body = BodyLength::Known(length);
        self.length_told = None;
    }

    /// Gives the buffers back.
    pub fn recycle(self, spare: &mut Spare) {
        self.fields.recycle(spare);
    }
}

/// Whether an answer of this status can have a body at all (RFC 9110 section 6.4.1).
pub(super) fn may_have_body(status: u16) -> bool {
    !matches!(status, 100..=199 | 204 | 304)
}

fn find(
    buffer: &[u8],
    scan: &mut Scan,
    limits: &Limits,
    slots: &mut Vec<Slot>,
    facts: &mut Facts,
) -> Result<Option<(Line, u64)>, HeadProblem> {
    if scan.is_fresh()
        && let Ok(Some(found)) = parse(buffer, limits, slots, facts)
    {
        return Ok(Some(found));
    }
    let expected = b"HTTP/1.".iter().zip(buffer).all(|(a, b)| a == b);
    if !expected {
        return Err(HeadProblem::StatusLine);
    }
    let Some(end) = scan.find_end(buffer)? else {
        scan.judge_response(buffer, limits)?;
        return Ok(None);
    };
    slots.clear();
    *facts = Facts::default();
    let head = buffer.get(..end).unwrap_or_default();
    parse(head, limits, slots, facts)?.ok_or(HeadProblem::StatusLine).map(Some)
}

fn parse(
    buffer: &[u8],
    limits: &Limits,
    slots: &mut Vec<Slot>,
    facts: &mut Facts,
) -> Result<Option<(Line, u64)>, HeadProblem> {
    let mut stack = [const { MaybeUninit::uninit() }; head::FIELDS_ON_STACK];
    if let Some(headers) = stack.get_mut(..limits.fields) {
        return parse_with(buffer, limits, headers, slots, facts);
    }
    let mut heap = vec![MaybeUninit::uninit(); limits.fields];
    parse_with(buffer, limits, &mut heap, slots, facts)
}

fn parse_with<'b>(
    buffer: &'b [u8],
    limits: &Limits,
    headers: &mut Headers<'b>,
    slots: &mut Vec<Slot>,
    facts: &mut Facts,
) -> Result<Option<(Line, u64)>, HeadProblem> {
    let mut response = httparse::Response::new(&mut []);
    let parsed =
        httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut response, buffer, headers);
    let end = match parsed {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(error) => return Err(head::problem(error)),
    };
    let (Some(status), Some(minor)) = (response.code, response.version) else { return Ok(None) };
    if !(100..=599).contains(&status) || buffer.first() != Some(&b'H') {
        return Err(HeadProblem::StatusLine);
    }
    if end > limits.head_bytes {
        return Err(HeadProblem::HeadTooLong);
    }
    if buffer.get(end.saturating_sub(4)..end) != Some(b"\r\n\r\n") {
        return Err(HeadProblem::BareLineFeed);
    }
    let present = facts.collect(buffer, response.headers, slots)?;
    let reason = match response.reason {
        Some(reason) if !reason.is_empty() => head::span(buffer, reason.as_bytes()),
        _ => Span::default(),
    };
    let version = if minor == 1 { Version::H11 } else { Version::H10 };
    Ok(Some((Line { status, reason, version, end }, present)))
}

impl ResponseHead {
    /// Whether the server named its time.
    pub(super) fn has_date(&self) -> bool {
        self.fields.contains(Known::Date)
    }
}
