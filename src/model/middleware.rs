//! A middleware: one step that sees a request or an answer.

use super::id::MiddlewareId;

/// A middleware's envelope: `{"Id","Priority","Type","Middleware":{...}}`.
#[derive(Debug, Clone, PartialEq)]
pub struct Middleware {
    /// From the key.
    pub id: MiddlewareId,
    /// Smaller runs first; default 0.
    pub priority: i64,
    /// What it does.
    pub spec: MiddlewareSpec,
}

/// What a middleware does.
#[derive(Debug, Clone, PartialEq)]
pub enum MiddlewareSpec {
    /// `rewrite`, vulcand's.
    Rewrite(RewriteSpec),
    /// `redirect` (new).
    Redirect(RedirectSpec),
    /// `headers` (new).
    Headers(HeadersSpec),
}

/// `{"Regexp","Replacement","RewriteBody","Redirect"}` on the full URL `scheme://host/target`. The request's text is
/// never evaluated, whatever it contains.
#[derive(Debug, Clone, PartialEq)]
pub struct RewriteSpec {
    /// Searched anywhere in the URL; compiled when the table is.
    pub regexp: Box<str>,
    /// `$1`, `${name}`, `$$`.
    pub replacement: Box<str>,
    /// Answer 302 with the new URL instead of forwarding.
    pub redirect: bool,
}

/// Where a redirect leads: each part that is absent stays as the request had it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RedirectSpec {
    /// `Scheme`: `http` or `https`.
    pub scheme: Option<Box<str>>,
    /// `Host`: may name route parameters as `<name>`.
    pub host: Option<Box<str>>,
    /// `Port`: 0 in the store leaves the scheme's own.
    pub port: Option<u16>,
    /// `Path`: replaces the whole path; may name route parameters as `<name>`.
    pub path: Option<Box<str>>,
    /// `PrefixFrom` and `PrefixTo`: replaces a leading run of whole segments.
    pub prefix: Option<(Box<str>, Box<str>)>,
    /// `DropQuery`: default false, the query is kept.
    pub drop_query: bool,
    /// `Code`: 301, 302, 303, 307 or 308; default 302.
    pub code: u16,
}

/// `{"Request":{"Set":{},"Add":{},"Remove":[]},"Response":{...}}`
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HeadersSpec {
    /// Applied before forwarding.
    pub request: HeaderEdits,
    /// Applied to the answer's head.
    pub response: HeaderEdits,
}

/// Edits of header fields; removal runs first, then set, then add.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HeaderEdits {
    /// Replaces all fields of that name by one.
    pub set: Vec<(Box<str>, Box<str>)>,
    /// Adds a field beside those there.
    pub add: Vec<(Box<str>, Box<str>)>,
    /// Removes all fields of that name.
    pub remove: Vec<Box<str>>,
}
