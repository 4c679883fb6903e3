//! The head of a request.

use std::mem::MaybeUninit;

use httparse::Status;

use super::error::{HeadError, HeadProblem, InvalidTarget};
use super::fields::{Fields, Slot, Span, State};
use super::head::{self, Facts, Headers, Scan};
use super::known::Known;
use super::spare::Spare;
use super::target::{self, Target};
use super::{BodyLength, Limits, Method, Version, syntax};

/// The head of a request, from the client's bytes to the server's.
#[derive(Debug, Clone)]
pub struct RequestHead {
    /// Its fields.
    pub fields: Fields,
    /// Its method.
    pub method_kind: Method,
    /// The version it came in.
    pub version: Version,
    /// How long its body is.
    pub body: BodyLength,
    /// The client lets its connection live on.
    pub keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body. Never without a body, nor in HTTP/1.0.
    pub expect_continue: bool,
    /// The client asks for another protocol: see [`RequestHead::upgrade_token`].
    pub upgrade: bool,
    /// The client takes trailers: `TE: trailers`.
    pub trailers_accepted: bool,
    pub(super) method: Span,
    pub(super) target: Span,
    /// Length of the path: the target up to its `?`.
    pub(super) path_length: u32,
    pub(super) authority: Span,
    pub(super) host: Span,
    pub(super) upgrade_token: Span,
}

/// What a parsed request line says, in ranges of the buffer.
struct Line {
    method: Span,
    kind: Method,
    target: Span,
    version: Version,
    end: usize,
}

impl RequestHead {
    /// Takes one complete head off the front of `buffer`; what follows it stays there. `Ok(None)`: more bytes are
    /// needed; `scan` remembers how far they were searched. The buffer itself moves into the head.
    ///
    /// # Errors
    /// Whatever RFC 9112 lets a server refuse is refused. After an error the buffer's content is not to be used.
    pub fn read(
        buffer: &mut Vec<u8>,
        scan: &mut Scan,
        spare: &mut Spare,
        limits: &Limits,
    ) -> Result<Option<RequestHead>, HeadError> {
        let mut slots = spare.slots();
        let mut facts = Facts::default();
        match find(buffer, scan, limits, &mut slots, &mut facts) {
            Ok(Some((line, present))) => {
                *scan = Scan::default();
                let bytes = head::take(buffer, line.end, spare);
                let fields = Fields { bytes, slots, present };
                Self::assemble(fields, &line, &facts, limits).map(Some).map_err(HeadError::request)
            }
            Ok(None) => {
                spare.keep_slots(slots);
                Ok(None)
            }
            Err(problem) => {
                spare.keep_slots(slots);
                Err(HeadError::request(problem))
            }
        }
    }

    fn assemble(fields: Fields, line: &Line, facts: &Facts, limits: &Limits) -> Result<Self, HeadProblem> {
        if line.target.length as usize > limits.target_bytes {
            return Err(HeadProblem::TargetTooLong);
        }
        let body = facts.body(line.version)?.unwrap_or(BodyLength::None);
        let mut head = Self {
            fields,
            method_kind: line.kind,
            version: line.version,
            body,
            keep_alive: facts.persists(line.version),
            expect_continue: false,
            upgrade: false,
            trailers_accepted: facts.trailers,
            method: line.method,
            target: line.target,
            path_length: 0,
            authority: Span::default(),
            host: Span::default(),
            upgrade_token: Span::default(),
        };
        let has_body = !matches!(body, BodyLength::None | BodyLength::Known(0));
        head.expect_continue = facts.expect_continue && has_body && line.version != Version::H10;
        if let Some(token) = facts.upgrade
            && facts.upgrade_option
            && !facts.upgrade_repeated
            && line.version == Version::H11
        {
            head.upgrade = true;
            head.upgrade_token = token;
        }
        head.locate(facts.host)?;
        Ok(head)
    }

    /// Settles target, authority and host (RFC 9112 section 3.3): one answer for router, log and upstream.
    fn locate(&mut self, host: Option<Span>) -> Result<(), HeadProblem> {
        if host.is_none() && self.version != Version::H10 {
            return Err(HeadProblem::HostMissing);
        }
        if let Some(host) = host {
            self.set_authority(host)?;
        }
        let target = self.target;
        match target::form(self.fields.slice(target), self.method_kind).ok_or(HeadProblem::Target)? {
            Target::Origin => {}
            Target::Authority => {
                let parsed = target::authority(self.fields.slice(target)).ok_or(HeadProblem::Target)?;
                if !parsed.port {
                    return Err(HeadProblem::Target);
                }
                self.set_authority(target)?;
            }
            Target::Absolute { authority, path } => {
                let start = target.start as usize;
                self.set_authority(Span::new(start + authority.start, authority.len()))
                    .map_err(|_| HeadProblem::Target)?;
                self.adopt_authority();
                let path = Span::new(start + path, target.length as usize - path);
                self.target = self.rooted(path);
            }
        }
        self.find_query();
        Ok(())
    }

    /// Validates the authority at `span` and takes its host in lower case.
    pub(super) fn set_authority(&mut self, span: Span) -> Result<(), HeadProblem> {
        let parsed = target::authority(self.fields.slice(span)).ok_or(HeadProblem::Host)?;
        self.authority = span;
        self.host = Span::new(span.start as usize + parsed.host.start, parsed.host.len());
        if parsed.capitals {
            let start = self.fields.bytes.len();
            self.fields.bytes.extend_from_within(self.host.start as usize..self.host.end());
            self.fields.bytes.get_mut(start..).unwrap_or_default().make_ascii_lowercase();
            self.host.start = start as u32;
        }
        Ok(())
    }

    /// Makes the `Host` field say what the target said.
    fn adopt_authority(&mut self) {
        if let Some(slot) = self.fields.slots.iter_mut().find(|slot| slot.known == Known::Host) {
            slot.value_start = self.authority.start;
            slot.value_length = self.authority.length;
            slot.state = State::Parts;
        }
    }

    /// An absolute target without a path has the path `/`, or `*` for OPTIONS without a query.
    fn rooted(&mut self, path: Span) -> Span {
        let first = self.fields.slice(path).first().copied();
        if first == Some(b'/') {
            return path;
        }
        let start = self.fields.bytes.len();
        let root = if first.is_none() && self.method_kind == Method::Options { b'*' } else { b'/' };
        self.fields.bytes.push(root);
        self.fields.bytes.extend_from_within(path.start as usize..path.end());
        Span::new(start, path.length as usize + 1)
    }

    pub(super) fn find_query(&mut self) {
        let target = self.fields.slice(self.target);
        self.path_length = memchr::memchr(b'?', target).unwrap_or(target.len()) as u32;
    }

    /// Makes the request ask for another protocol, where its own stack has taken that off the head.
    pub fn ask_upgrade(&mut self, token: &str) {
        let start = self.fields.bytes.len();
        self.fields.bytes.extend_from_slice(token.as_bytes());
        self.upgrade_token = Span::new(start, token.len());
        self.upgrade = true;
    }

    /// The method's text.
    pub fn method(&self) -> &str {
        self.fields.text(self.method)
    }

    /// Path and query as they go upstream, byte for byte as they came: an absolute target is reduced to them, `*`
    /// stays for OPTIONS, and CONNECT has its `host:port`.
    pub fn target(&self) -> &str {
        self.fields.text(self.target)
    }

    /// The target up to its `?`.
    pub fn path(&self) -> &str {
        self.fields.text(Span { start: self.target.start, length: self.path_length })
    }

    /// The target behind its first `?`.
    pub fn query(&self) -> Option<&str> {
        let skip = self.path_length + 1;
        let length = self.target.length.checked_sub(skip)?;
        Some(self.fields.text(Span { start: self.target.start + skip, length }))
    }

    /// The host the request is for: lower case, no port, no final dot, IPv6 without brackets. Empty only in an
    /// HTTP/1.0 request that names none.
    pub fn host(&self) -> &str {
        self.fields.text(self.host)
    }

    /// Host and port as the client wrote them.
    pub fn authority(&self) -> &str {
        self.fields.text(self.authority)
    }

    /// Replaces path and query.
    ///
    /// # Errors
    /// [`InvalidTarget`] where it does not begin with `/` or has a byte that may not stand in a target; nothing has
    /// changed then.
    pub fn set_target(&mut self, target: &str) -> Result<(), InvalidTarget> {
        let bytes = target.as_bytes();
        let end = self.fields.bytes.len() + bytes.len();
        if bytes.first() != Some(&b'/') || !syntax::target_bytes(bytes).0 || u32::try_from(end).is_err() {
            return Err(InvalidTarget);
        }
        self.target = Span::new(self.fields.bytes.len(), bytes.len());
        self.fields.bytes.extend_from_slice(bytes);
        self.find_query();
        Ok(())
    }

    /// What the client's `Upgrade` field says, where `Connection` asks for it too. A list of several protocols is
    /// returned as it stands. Stays readable when the field was removed.
    pub fn upgrade_token(&self) -> Option<&str> {
        let token = std::str::from_utf8(self.fields.slice(self.upgrade_token)).ok()?;
        (self.upgrade && !token.is_empty()).then_some(token)
    }

    /// The cookies as name and value, as sent. Those that are not UTF-8 are passed over.
    pub fn cookies(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields
            .known_all(Known::Cookie)
            .flat_map(|value| value.split(|b| *b == b';'))
            .filter_map(|pair| std::str::from_utf8(syntax::trim(pair)).ok())
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }

    /// The pairs of the query, as sent, nothing decoded.
    pub fn query_pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.query()
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }

    /// Gives the buffers back.
    pub fn recycle(self, spare: &mut Spare) {
        self.fields.recycle(spare);
    }
}

/// Finds and parses a head in `buffer`. A fresh buffer is parsed at once, since most heads come whole; one that fills
/// slowly is searched for its end first.
fn find(
    buffer: &[u8],
    scan: &mut Scan,
    limits: &Limits,
    slots: &mut Vec<Slot>,
    facts: &mut Facts,
) -> Result<Option<(Line, u64)>, HeadProblem> {
    let Some(start) = scan.skip_empty_lines(buffer)? else { return Ok(None) };
    if scan.is_fresh()
        && let Ok(Some(found)) = parse(buffer, start, limits, slots, facts)
    {
        return Ok(Some(found));
    }
    let Some(end) = scan.find_end(buffer)? else {
        scan.judge_request(buffer, limits)?;
        return Ok(None);
    };
    slots.clear();
    *facts = Facts::default();
    let head = buffer.get(..end).unwrap_or_default();
    parse(head, start, limits, slots, facts)?.ok_or(HeadProblem::Target).map(Some)
}

fn parse(
    buffer: &[u8],
    start: usize,
    limits: &Limits,
    slots: &mut Vec<Slot>,
    facts: &mut Facts,
) -> Result<Option<(Line, u64)>, HeadProblem> {
    let mut stack = [const { MaybeUninit::uninit() }; head::FIELDS_ON_STACK];
    if let Some(headers) = stack.get_mut(..limits.fields) {
        return parse_with(buffer, start, limits, headers, slots, facts);
    }
    let mut heap = vec![MaybeUninit::uninit(); limits.fields];
    parse_with(buffer, start, limits, &mut heap, slots, facts)
}

fn parse_with<'b>(
    buffer: &'b [u8],
    start: usize,
    limits: &Limits,
    headers: &mut Headers<'b>,
    slots: &mut Vec<Slot>,
    facts: &mut Facts,
) -> Result<Option<(Line, u64)>, HeadProblem> {
    let text = buffer.get(start..).unwrap_or_default();
    let mut request = httparse::Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(text, headers) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(error) => return Err(head::problem_of_request(error, text)),
    };
    let end = start + length;
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Ok(None);
    };
    if method.len() > head::METHOD_BYTES_MAX {
        return Err(HeadProblem::MethodTooLong);
    }
    if target.len() > limits.target_bytes {
        return Err(HeadProblem::TargetTooLong);
    }
    if length > limits.head_bytes {
        return Err(HeadProblem::HeadTooLong);
    }
    if buffer.get(end.saturating_sub(4)..end) != Some(b"\r\n\r\n") {
        return Err(HeadProblem::BareLineFeed);
    }
    let present = facts.collect(buffer, request.headers, slots)?;
    let line = Line {
        method: head::span(buffer, method.as_bytes()),
        kind: Method::of(method.as_bytes()),
        target: head::span(buffer, target.as_bytes()),
        version: if minor == 1 { Version::H11 } else { Version::H10 },
        end,
    };
    Ok(Some((line, present)))
}
