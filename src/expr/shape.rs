//! Patterns of paths and hosts, and the compact form in which the router stores and compares them.
//!
//! A *shape* is the pattern's text with each parameter replaced by one control byte, so patterns that match the same
//! requests have the same shape whatever their parameters are called, and one pass over the bytes matches it.

use smallvec::SmallVec;
use std::fmt;
use std::sync::Arc;

/// `<int:name>`.
pub const INT: u8 = 1;
/// `<name>`.
pub const NAME: u8 = 2;
/// `<path:name>`, a segment of its own and the last one.
pub const REST: u8 = 3;
/// Ends the shape of a prefix, as a segment of its own.
pub const PREFIX: u8 = 4;
/// `*`, the first label of a host.
pub const ANY: u8 = 5;

/// Most segments of a path pattern, and labels of a host pattern.
pub const SEGMENTS_MAX: usize = 64;
/// Most parameters of one pattern.
pub const PARAMETERS_MAX: usize = 32;

/// Names of a pattern's parameters from left to right; `None` where it has none.
pub type Names = Option<Arc<[Box<str>]>>;

/// What a parameter matched: a range of bytes in the path or the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Behind the last byte.
    pub end: u32,
}

/// Spans of one match, from left to right; eight fit without an allocation.
pub type Spans = SmallVec<[Span; 8]>;

/// Where a match puts what the parameters matched. `()` throws it away.
pub trait Sink {
    /// The next parameter from the left matched from byte `start` to before byte `end`.
    fn span(&mut self, start: usize, end: usize);
}

impl Sink for () {
    fn span(&mut self, _: usize, _: usize) {}
}

impl Sink for Spans {
    fn span(&mut self, start: usize, end: usize) {
        self.push(Span { start: start as u32, end: end as u32 });
    }
}

/// What one segment of a shape is; the order is the order of precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SegmentKind {
    /// Compared byte for byte.
    Literal,
    /// Literal bytes and parameters, such as `v<int:n>`.
    Mixed,
    /// `<int:name>`.
    Int,
    /// `<name>`, or `*` in a host.
    Name,
    /// `<path:name>` or the end of a prefix.
    Tail,
}

/// What `segment` of a shape is.
pub fn kind(segment: &[u8]) -> SegmentKind {
    match segment {
        [INT] => SegmentKind::Int,
        [NAME | ANY] => SegmentKind::Name,
        [REST | PREFIX] => SegmentKind::Tail,
        _ if segment.iter().any(|byte| is_parameter(*byte)) => SegmentKind::Mixed,
        _ => SegmentKind::Literal,
    }
}

/// Whether a shape's `byte` stands for a parameter.
pub fn is_parameter(byte: u8) -> bool {
    (INT..=ANY).contains(&byte)
}

/// The first segment, and what follows its separator, if there is one.
pub fn split(text: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(separator, text) {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + 1..)),
        None => (text, None),
    }
}

/// Whether `segment` of a shape matches `text`, which begins at byte `at` of the whole. After `false` what `sink`
/// was given is of no use.
///
/// Within a mixed segment a `<name>` ends where the literal behind it first occurs, or is all but the literal at the
/// end of the segment; `<int:name>` takes every digit. There is no going back, so the cost is linear.
pub fn match_segment(segment: &[u8], text: &[u8], at: usize, sink: &mut impl Sink) -> bool {
    match segment {
        [INT] => {
            let matched = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
            matched && found(sink, at, at + text.len())
        }
        [NAME] => !text.is_empty() && found(sink, at, at + text.len()),
        [ANY] => !text.is_empty(),
        _ if segment == text => true,
        _ => match_mixed(segment, text, at, sink),
    }
}

fn found(sink: &mut impl Sink, start: usize, end: usize) -> bool {
    sink.span(start, end);
    true
}

fn match_mixed(mut segment: &[u8], mut text: &[u8], mut at: usize, sink: &mut impl Sink) -> bool {
    let mut parameters = 0;
    loop {
        let literal = segment.iter().position(|byte| is_parameter(*byte)).unwrap_or(segment.len());
        let Some((head, tail)) = segment.split_at_checked(literal) else { return false };
        let Some(after) = text.strip_prefix(head) else { return false };
        text = after;
        at += literal;
        let Some((parameter, behind)) = tail.split_first() else {
            return parameters > 0 && text.is_empty();
        };
        parameters += 1;
        segment = behind;
        let end = segment.iter().position(|byte| is_parameter(*byte)).unwrap_or(segment.len());
        let stop = segment.get(..end).unwrap_or_default();
        let length = match *parameter {
            INT => Some(text.iter().take_while(|byte| byte.is_ascii_digit()).count()),
            _ if stop.is_empty() => Some(text.len()),
            _ if end == segment.len() => text.strip_suffix(stop).map(<[u8]>::len),
            _ => text.get(1..).and_then(|rest| memchr::memmem::find(rest, stop)).map(|found| found + 1),
        };
        let Some(length) = length.filter(|length| *length > 0) else { return false };
        found(sink, at, at + length);
        at += length;
        text = text.get(length..).unwrap_or_default();
    }
}

/// Whether `shape` matches what follows byte `at` of `text`; both begin at the start of a segment. `sink` as
/// for [`match_segment`].
pub fn match_from(mut shape: &[u8], separator: u8, text: &[u8], mut at: usize, sink: &mut impl Sink) -> bool {
    let mut rest = text.get(at..).unwrap_or_default();
    loop {
        let (segment, shape_behind) = split(shape, separator);
        match segment {
            [PREFIX] => return true,
            [REST] => return found(sink, at, text.len()),
            _ => {}
        }
        let (piece, behind) = split(rest, separator);
        if !match_segment(segment, piece, at, sink) {
            return false;
        }
        match (shape_behind, behind) {
            (None, None) => return true,
            (None, Some(_)) => return false,
            (Some(left), None) => return left == [PREFIX],
            (Some(left), Some(next)) => {
                shape = left;
                rest = next;
                at += piece.len() + 1;
            }
        }
    }
}

/// The pattern of `Path` or `PathPrefix`. A path is compared byte for byte as the client sent it.
#[derive(Clone, PartialEq, Eq)]
pub struct PathPattern {
    shape: Box<str>,
    names: Names,
}

impl PathPattern {
    /// An exact path: begins with `/`; a trailing slash counts.
    pub fn exact(text: &str) -> Result<Self, String> {
        check_path(text)?;
        Self::build(text, false)
    }

    /// A prefix of whole segments: `/a` matches `/a` and `/a/b`, not `/ab`. A trailing slash means nothing.
    pub fn prefix(text: &str) -> Result<Self, String> {
        check_path(text)?;
        Self::build(text.trim_end_matches('/'), true)
    }

    fn build(text: &str, prefix: bool) -> Result<Self, String> {
        let mut parsed = Parsed::parse(text, '/')?;
        let rest = parsed.shape.find(char::from(REST));
        if let Some(at) = rest {
            let alone = parsed.shape.get(..at).is_some_and(|before| before.ends_with('/'));
            if at + 1 != parsed.shape.len() || !alone {
                return Err(
                    "`<path:...>` takes the rest of the path, so it must be the whole last segment".into()
                );
            }
            if prefix {
                return Err("a prefix already takes the rest of the path: leave `<path:...>` out".into());
            }
        }
        if prefix {
            parsed.shape.push('/');
            parsed.shape.push(char::from(PREFIX));
        }
        Ok(Self { shape: parsed.shape.into(), names: parsed.names })
    }

    /// The compact form; begins with `/`.
    pub fn shape(&self) -> &str {
        &self.shape
    }

    /// Its parameters.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Neither parameters nor a prefix.
    pub fn is_literal(&self) -> bool {
        !self.shape.bytes().any(is_parameter)
    }

    /// Whether `path`, which begins with `/`, matches; `sink` gets what each parameter matched.
    pub fn matches(&self, path: &str, sink: &mut impl Sink) -> bool {
        path.starts_with('/')
            && match_from(self.shape.as_bytes().get(1..).unwrap_or_default(), b'/', path.as_bytes(), 1, sink)
    }
}

fn check_path(text: &str) -> Result<(), String> {
    if !text.starts_with('/') {
        return Err(format!("a path begins with `/`: \"/{text}\""));
    }
    if text.contains(['?', '#']) {
        return Err("a path ends before `?` and `#`; use Query(\"name\", \"value\") for the query".into());
    }
    match text.chars().find(|c| c.is_ascii_control() || *c == ' ') {
        Some(c) => Err(format!("a path as it is sent cannot contain {c:?}; write it percent-encoded")),
        None => Ok(()),
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = match self.shape.strip_suffix("/\u{4}") {
            Some("") => "/",
            Some(prefix) => prefix,
            None => &self.shape,
        };
        write_shape(f, shape, &self.names)
    }
}

impl fmt::Debug for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PathPattern({self})")
    }
}

/// The pattern of `Host`: lower case, without port and trailing dot.
#[derive(Clone, PartialEq, Eq)]
pub struct HostPattern {
    shape: Box<str>,
    names: Names,
}

/// How specific a host pattern is, most specific first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostKind {
    /// One host.
    Exact,
    /// `*` or `<name>` as the first label, all others literal.
    Wildcard,
    /// Parameters anywhere else.
    Labels,
}

impl HostPattern {
    /// A host name, an address, `*.` and a name (exactly one label), or a name with parameters within labels.
    pub fn new(text: &str) -> Result<Self, String> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let address = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = address.parse::<std::net::Ipv6Addr>() {
            return Ok(Self { shape: address.to_string().into(), names: None });
        }
        if text.is_empty() {
            return Err("a host is missing; leave Host out to match every host".into());
        }
        if let Some(c) = text.chars().find(|c| !c.is_ascii()) {
            return Err(format!("{c:?} is not ASCII; write the host's xn-- form"));
        }
        let outside = Outside { text, inside: false };
        for c in outside {
            match c {
                ':' => return Err("a host is matched without its port".into()),
                '/' | '@' | '?' | '#' | '\\' | '[' | ']' => {
                    return Err(format!("a host cannot contain {c:?}"));
                }
                c if c.is_ascii_control() || c == ' ' => {
                    return Err(format!("a host cannot contain {c:?}"));
                }
                _ => {}
            }
        }
        let (text, any) = match text.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        if text.contains('*') {
            return Err("`*` stands for the first label only, as in \"*.example.com\"".into());
        }
        let parsed = Parsed::parse(text, '.')?;
        if parsed.shape.contains(char::from(REST)) {
            return Err("`<path:...>` belongs to paths; in a host write `<name>` for one label".into());
        }
        let mut shape = parsed.shape.to_ascii_lowercase();
        if shape.split('.').any(str::is_empty) {
            return Err("a label of this host is empty".into());
        }
        if any {
            shape.insert_str(0, "\u{5}.");
        }
        Ok(Self { shape: shape.into(), names: parsed.names })
    }

    /// The compact form.
    pub fn shape(&self) -> &str {
        &self.shape
    }

    /// Its parameters; `*` is none.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// How specific it is.
    pub fn kind(&self) -> HostKind {
        let bytes = self.shape.as_bytes();
        match bytes {
            [ANY | NAME, b'.', rest @ ..] if !rest.iter().copied().any(is_parameter) => HostKind::Wildcard,
            _ if bytes.iter().copied().any(is_parameter) => HostKind::Labels,
            _ => HostKind::Exact,
        }
    }

    /// Whether `host` matches; `sink` gets what each parameter matched.
    pub fn matches(&self, host: &str, sink: &mut impl Sink) -> bool {
        match_from(self.shape.as_bytes(), b'.', host.as_bytes(), 0, sink)
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_shape(f, &self.shape, &self.names)
    }
}

impl fmt::Debug for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostPattern({self})")
    }
}

/// Characters of a pattern that stand outside of `<...>`.
struct Outside<'a> {
    text: &'a str,
    inside: bool,
}

impl Iterator for Outside<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        loop {
            let mut characters = self.text.chars();
            let c = characters.next()?;
            self.text = characters.as_str();
            match c {
                '<' => self.inside = true,
                '>' => self.inside = false,
                c if !self.inside => return Some(c),
                _ => {}
            }
        }
    }
}

fn write_shape(f: &mut fmt::Formatter<'_>, shape: &str, names: &Names) -> fmt::Result {
    let mut names = names.iter().flat_map(|names| names.iter());
    for c in shape.chars() {
        let prefix = match u8::try_from(c).unwrap_or_default() {
            INT => "int:",
            NAME => "",
            REST => "path:",
            ANY => {
                f.write_str("*")?;
                continue;
            }
            _ => {
                write!(f, "{c}")?;
                continue;
            }
        };
        write!(f, "<{prefix}{}>", names.next().map_or("", |name| name))?;
    }
    Ok(())
}

struct Parsed {
    shape: String,
    names: Names,
}

impl Parsed {
    fn parse(text: &str, separator: char) -> Result<Self, String> {
        let mut shape = String::with_capacity(text.len());
        let mut names: Vec<Box<str>> = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['<', '>']) {
            let (literal, behind) = rest.split_at(at);
            shape.push_str(literal);
            let Some(inside) = behind.strip_prefix('<') else {
                return Err("`>` without `<`; write it percent-encoded".into());
            };
            let Some((parameter, behind)) = inside.split_once('>') else {
                return Err("`<` without `>`: a parameter is `<name>`, `<int:name>` or `<path:name>`".into());
            };
            let (byte, name) = parameter_of(parameter)?;
            if names.iter().any(|known| **known == *name) {
                return Err(format!("two parameters are called `{name}`"));
            }
            if shape.bytes().last().is_some_and(is_parameter) {
                return Err(format!("`<{parameter}>` follows another parameter with nothing between them"));
            }
            names.push(name.into());
            shape.push(char::from(byte));
            rest = behind;
        }
        shape.push_str(rest);
        if names.len() > PARAMETERS_MAX {
            return Err(format!("at most {PARAMETERS_MAX} parameters, here are {}", names.len()));
        }
        let segments = shape.split(separator).count();
        if segments > SEGMENTS_MAX {
            return Err(format!("at most {SEGMENTS_MAX} segments, here are {segments}"));
        }
        Ok(Self { shape, names: (!names.is_empty()).then(|| names.into()) })
    }
}

fn parameter_of(text: &str) -> Result<(u8, &str), String> {
    let (byte, name) = match text.split_once(':') {
        None => (NAME, text),
        Some(("string", name)) => (NAME, name),
        Some(("int", name)) => (INT, name),
        Some(("path", name)) => (REST, name),
        Some((other, _)) => {
            let near = super::error::nearest(other, &["string", "int", "path"]);
            let hint = near.map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default();
            return Err(format!(
                "unknown kind of parameter `{other}`{hint}; there are `string`, `int` and `path`"
            ));
        }
    };
    let valid = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    if name.is_empty() || !valid {
        return Err(format!("`<{text}>`: a parameter's name is made of letters, digits, `_`, `-` and `.`"));
    }
    Ok((byte, name))
}
