//! A reader of HTTP/1.1 heads that is naive and shares nothing with the library: what it does not understand in exactly
//! one way it refuses, with a word about why.

use flipgate::message::{BodyLength, Limits};

/// For reading what was written: a head at its limit may have grown by what is written anew.
pub fn roomy() -> Limits {
    let usual = Limits::default();
    Limits {
        head_bytes: 4 * usual.head_bytes,
        fields: usual.fields + 16,
        trailer_bytes: 4 * usual.trailer_bytes,
        ..usual
    }
}

/// A head, and how many bytes it has.
#[derive(Debug)]
pub struct Head<'a> {
    pub line: &'a [u8],
    /// Names as sent, values without white space at their ends.
    pub fields: Vec<(&'a [u8], &'a [u8])>,
    pub length: usize,
}

/// Reads the head that `raw` begins with.
pub fn head(raw: &[u8]) -> Result<Head<'_>, &'static str> {
    let length = raw.windows(4).position(|four| four == b"\r\n\r\n").ok_or("no empty line")? + 4;
    let text = &raw[..length - 4];
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(2).position(|two| two == b"\r\n") {
        lines.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    lines.push(rest);
    if lines.iter().any(|line| line.iter().any(|b| (*b < b' ' && *b != b'\t') || *b == 0x7f)) {
        return Err("a control character");
    }
    let (line, fields) = lines.split_first().ok_or("no line")?;
    let fields = fields.iter().map(|line| field(line)).collect::<Result<_, _>>()?;
    Ok(Head { line, fields, length })
}

fn field(line: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    let colon = line.iter().position(|b| *b == b':').ok_or("no colon")?;
    let name = &line[..colon];
    let is_token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    if name.is_empty() || !name.iter().all(is_token) {
        return Err("a name that is none");
    }
    let mut value = &line[colon + 1..];
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    Ok((name, value))
}

impl Head<'_> {
    pub fn all(&self, name: &str) -> Vec<&[u8]> {
        let is = |own: &[u8]| own.eq_ignore_ascii_case(name.as_bytes());
        self.fields.iter().filter(|(own, _)| is(own)).map(|(_, value)| *value).collect()
    }

    /// What the fields say about a body's length; `None`: nothing.
    pub fn framing(&self) -> Result<Option<BodyLength>, &'static str> {
        let alias = |name: &[u8]| {
            let plain = String::from_utf8_lossy(name).to_ascii_lowercase().replace('_', "-");
            name.contains(&b'_') && ["content-length", "transfer-encoding"].contains(&&*plain)
        };
        if self.fields.iter().any(|(name, _)| alias(name)) {
            return Err("a framing field with an underscore");
        }
        match (&*self.all("content-length"), &*self.all("transfer-encoding")) {
            ([], []) => Ok(None),
            ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Some(BodyLength::Chunked)),
            ([digits], []) if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
                let text = String::from_utf8_lossy(digits);
                text.parse().map(|length| Some(BodyLength::Known(length))).map_err(|_| "a length beyond all")
            }
            _ => Err("a length that can be read in two ways"),
        }
    }

    /// Whether what was sent on has only fields of `self`, in the same order, and nothing of a connection. The fields
    /// that a proxy writes anew are not compared, those it may drop may be missing.
    pub fn check_sent(&self, sent: &Head<'_>) {
        const WRITTEN: [&str; 9] = [
            "host",
            "content-length",
            "transfer-encoding",
            "connection",
            "upgrade",
            "te",
            "expect",
            "via",
            "max-forwards",
        ];
        const NEVER: [&str; 6] = [
            "keep-alive",
            "proxy-connection",
            "http2-settings",
            "proxy-authorization",
            "proxy-authenticate",
            "connection",
        ];
        for name in NEVER {
            assert!(sent.all(name).is_empty(), "{name} was sent on");
        }
        let mut left = self.fields.iter();
        for (name, value) in &sent.fields {
            let is = |known: &&str| name.eq_ignore_ascii_case(known.as_bytes());
            if !WRITTEN.iter().any(is) {
                let found = left.any(|(own, text)| own.eq_ignore_ascii_case(name) && text == value);
                assert!(found, "{} is not what came, or not there", name.escape_ascii());
            }
        }
    }
}

/// Whether a request line is one method, one target and one version between single spaces.
pub fn request_line(line: &[u8]) -> Result<(&[u8], &[u8], u8), &'static str> {
    let words: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let [method, target, version] = words[..] else { return Err("not three words") };
    let is_token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    if method.is_empty() || !method.iter().all(is_token) {
        return Err("no method");
    }
    if target.is_empty() || !target.iter().all(|b| b.is_ascii_graphic() && *b != b'#') {
        return Err("no target");
    }
    match version {
        b"HTTP/1.0" => Ok((method, target, 0)),
        b"HTTP/1.1" => Ok((method, target, 1)),
        _ => Err("no version"),
    }
}
