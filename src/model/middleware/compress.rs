//! `compress`: smaller bodies for clients that take them.

use crate::model::fields::{Fields, not_one_of, quote};
use serde_json::{Map, Value};

/// A content coding (RFC 9110 section 8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// `zstd`, RFC 8878.
    Zstd,
    /// `br`, RFC 7932.
    Brotli,
    /// `gzip`, RFC 1952.
    Gzip,
}

impl Coding {
    /// All, best first.
    pub const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    /// As `Content-Encoding` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }
}

/// What is compressed, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct CompressSpec {
    /// `Types`: of the answers; see [`CompressSpec::takes`]. Default [`DEFAULT_TYPES`].
    pub types: Vec<Box<str>>,
    /// `MinBytes`: shorter bodies stay as they are, where their length is known; default 1,024.
    pub bytes_min: u64,
    /// `Level`: 1 (fast) to 9 (small); absent: a good one of each coding.
    pub level: Option<u8>,
    /// `Algorithms`: the best one that the client takes; default [`Coding::ALL`].
    pub codings: Vec<Coding>,
}

/// Content types that are worth it. Event streams are not among them: name `text/event-stream` to have them too.
pub const DEFAULT_TYPES: [&str; 10] = [
    "text/*",
    "application/json",
    "application/javascript",
    "application/xml",
    "application/*+json",
    "application/*+xml",
    "application/manifest+json",
    "application/wasm",
    "image/svg+xml",
    "font/ttf",
];

const BYTES_MIN: u64 = 1024;

impl Default for CompressSpec {
    fn default() -> Self {
        Self {
            types: DEFAULT_TYPES.iter().map(|it| (*it).into()).collect(),
            bytes_min: BYTES_MIN,
            level: None,
            codings: Coding::ALL.to_vec(),
        }
    }
}

pub(super) fn read(fields: &mut Fields<'_>) -> Option<CompressSpec> {
    let mut spec = CompressSpec::default();
    let types = fields.texts("Types");
    if !types.is_empty() {
        spec.types.clear();
    }
    for (path, text) in types {
        if is_type(text) {
            spec.types.push(text.to_ascii_lowercase().into());
        } else {
            let reason =
                "is no content type: one like `text/html`, `text/*` or `application/*+json` is expected";
            fields.report().error(path, format!("{} {reason}", quote(text)));
        }
    }
    if let Some(bytes) = fields.integer("MinBytes", 0..=i64::from(u32::MAX)) {
        spec.bytes_min = bytes.unsigned_abs();
    }
    spec.level =
        fields.integer("Level", 0..=9).and_then(|level| u8::try_from(level).ok()).filter(|it| *it > 0);
    let codings = fields.texts("Algorithms");
    if !codings.is_empty() {
        spec.codings.clear();
    }
    for (path, text) in codings {
        match Coding::ALL.into_iter().find(|coding| coding.as_str() == text) {
            Some(coding) if spec.codings.contains(&coding) => {
                fields.report().error(path, format!("is {}, which stands here twice", quote(text)));
            }
            Some(coding) => spec.codings.push(coding),
            None => fields.report().error(path, not_one_of(text, &Coding::ALL.map(Coding::as_str))),
        }
    }
    Some(spec)
}

fn is_type(text: &str) -> bool {
    let is_token = |part: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+*".contains(&byte);
        !part.is_empty() && part.bytes().all(fits)
    };
    match text.split_once('/') {
        Some((kind, sub)) => {
            let stars = sub.bytes().filter(|byte| *byte == b'*').count();
            is_token(kind)
                && is_token(sub)
                && !kind.contains('*')
                && stars <= usize::from(sub.starts_with('*'))
        }
        None => false,
    }
}

impl CompressSpec {
    /// Whether answers of this `Content-Type` are compressed. `text/*` is every subtype but `event-stream`, which has to be
    /// named; `application/*+json` every one that ends so.
    pub fn takes(&self, content_type: &str) -> bool {
        let content_type = content_type.split(';').next().unwrap_or_default().trim();
        let event_stream = content_type.eq_ignore_ascii_case("text/event-stream");
        self.types.iter().any(|wanted| match wanted.split_once('*') {
            None => wanted.eq_ignore_ascii_case(content_type),
            Some((start, end)) => {
                let length = content_type.len();
                let starts = content_type.get(..start.len()).is_some_and(|it| it.eq_ignore_ascii_case(start));
                let ends = length
                    .checked_sub(end.len())
                    .and_then(|at| content_type.get(at..))
                    .is_some_and(|it| it.eq_ignore_ascii_case(end));
                starts && ends && length > start.len() + end.len() && !event_stream
            }
        })
    }

    pub(super) fn to_map(&self) -> Map<String, Value> {
        let mut value = Map::new();
        let default = Self::default();
        if self.types != default.types {
            value.insert("Types".into(), self.types.iter().map(|it| &**it).collect::<Vec<_>>().into());
        }
        if self.bytes_min != default.bytes_min {
            value.insert("MinBytes".into(), self.bytes_min.into());
        }
        if let Some(level) = self.level {
            value.insert("Level".into(), level.into());
        }
        if self.codings != default.codings {
            let names: Vec<&str> = self.codings.iter().map(|coding| coding.as_str()).collect();
            value.insert("Algorithms".into(), names.into());
        }
        value
    }
}
