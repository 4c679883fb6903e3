//! A middleware: one step that sees a request or an answer. One file a type.

mod basicauth;
mod cbreaker;
mod compress;
mod connlimit;
mod content;
mod cors;
mod forwardauth;
mod headers;
mod ipfilter;
mod mirror;
mod ratelimit;
mod redirect;
mod respond;
mod rewrite;
mod trace;
mod webhook;

pub use basicauth::{BasicAuthSpec, Secret};
pub use cbreaker::{BreakerSpec, Fallback};
pub use compress::{Coding, CompressSpec, DEFAULT_TYPES};
pub use connlimit::ConnLimitSpec;
pub use content::{CONTENT_BYTES_MAX, FieldList};
pub use cors::{AllowedOrigin, CorsSpec};
pub use forwardauth::ForwardAuthSpec;
pub use headers::{FIELD_VALUE_BYTES_MAX, HeaderEdits, HeadersSpec};
pub use ipfilter::IpFilterSpec;
pub use mirror::MirrorSpec;
pub use ratelimit::{RateLimitSpec, RateSpec};
pub use redirect::RedirectSpec;
pub use respond::RespondSpec;
pub use rewrite::RewriteSpec;
pub use trace::{SyslogPlace, TraceAddress, TraceSpec, TraceTarget};
pub use webhook::Webhook;

use super::fields::{Fields, not_one_of};
use super::id::{BackendId, MiddlewareId};
use crate::expr::is_token;
use serde_json::{Map, Value};

/// Fields that belong to framing or to one connection (RFC 9110 7.6.1) and are the proxy's own business.
const OWN_FIELDS: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

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

/// The types with their files: each has a `read` that reports what is wrong, and a spec with `to_map`.
macro_rules! types {
    ($($(#[$doc:meta])* $name:ident($spec:ident) = $kind:literal in $file:ident,)*) => {
        /// The types that this version offers.
        pub const MIDDLEWARE_TYPES: &[&str] = &[$($kind,)*];

        /// What a middleware does.
        #[derive(Debug, Clone, PartialEq)]
        pub enum MiddlewareSpec {
            $($(#[$doc])* $name($spec),)*
        }

        impl MiddlewareSpec {
            /// Its `Type`.
            pub fn kind(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => $kind,)*
                }
            }

            fn read(kind: &str, fields: &mut Fields<'_>) -> Option<Self> {
                match kind {
                    $($kind => fields.object("Middleware", $file::read).flatten().map(Self::$name),)*
                    _ => None,
                }
            }

            fn to_map(&self) -> Map<String, Value> {
                match self {
                    $(Self::$name(spec) => spec.to_map(),)*
                }
            }
        }
    };
}

types! {
    /// `rewrite`, vulcand's.
    Rewrite(RewriteSpec) = "rewrite" in rewrite,
    /// `redirect` (new).
    Redirect(RedirectSpec) = "redirect" in redirect,
    /// `headers` (new).
    Headers(HeadersSpec) = "headers" in headers,
    /// `ratelimit`, vulcand's.
    RateLimit(RateLimitSpec) = "ratelimit" in ratelimit,
    /// `connlimit`, vulcand's.
    ConnLimit(ConnLimitSpec) = "connlimit" in connlimit,
    /// `cors` (new).
    Cors(CorsSpec) = "cors" in cors,
    /// `compress` (new).
    Compress(CompressSpec) = "compress" in compress,
    /// `cbreaker`, vulcand's.
    Breaker(BreakerSpec) = "cbreaker" in cbreaker,
    /// `auth`, as vulcand's sample has it.
    Auth(BasicAuthSpec) = "auth" in basicauth,
    /// `basicauth` (new), the same.
    BasicAuth(BasicAuthSpec) = "basicauth" in basicauth,
    /// `ipfilter` (new).
    IpFilter(IpFilterSpec) = "ipfilter" in ipfilter,
    /// `respond` (new).
    Respond(RespondSpec) = "respond" in respond,
    /// `forwardauth` (new).
    ForwardAuth(ForwardAuthSpec) = "forwardauth" in forwardauth,
    /// `mirror` (new).
    Mirror(MirrorSpec) = "mirror" in mirror,
    /// `trace`, vulcand's.
    Trace(TraceSpec) = "trace" in trace,
}

pub(super) fn read(fields: &mut Fields<'_>, id: &MiddlewareId) -> Option<Middleware> {
    fields.id_from_key("Id", id.as_str());
    let priority = fields.integer("Priority", i64::MIN..=i64::MAX).unwrap_or(0);
    let missing = fields.value("Middleware").is_none();
    let kind = fields.required_text("Type", "a type of middleware is expected, like `rewrite`")?;
    if !MIDDLEWARE_TYPES.contains(&kind) {
        fields.error("Type", not_one_of(kind, MIDDLEWARE_TYPES));
        return None;
    }
    if missing {
        fields
            .error("Middleware", format!("is missing: an object with the settings of `{kind}` is expected"));
    }
    let spec = MiddlewareSpec::read(kind, fields)?;
    Some(Middleware { id: id.clone(), priority, spec })
}

impl MiddlewareSpec {
    /// The backend or alias that it names.
    pub fn backend(&self) -> Option<&BackendId> {
        match self {
            Self::ForwardAuth(spec) => Some(&spec.backend),
            Self::Mirror(spec) => Some(&spec.backend),
            _ => None,
        }
    }
}

impl Middleware {
    /// The value to write, in vulcand's spelling and without defaults.
    pub fn to_value(&self) -> Value {
        let mut value = Map::new();
        if self.priority != 0 {
            value.insert("Priority".into(), self.priority.into());
        }
        value.insert("Type".into(), self.spec.kind().into());
        value.insert("Middleware".into(), self.spec.to_map().into());
        value.into()
    }
}

/// What is wrong with a field's name, as a predicate that follows it; `None`: nothing (RFC 9110 5.6.2).
pub(super) fn field_name_error(name: &str) -> Option<&'static str> {
    if name.len() > 256 || !is_token(name) {
        return Some("is no name of a header field: letters, digits and hyphens are expected");
    }
    if OWN_FIELDS.iter().any(|own| own.eq_ignore_ascii_case(name)) {
        return Some("belongs to the connection or to framing, which the proxy decides");
    }
    None
}

/// What may stand in a path (RFC 3986 3.3), percent signs and slashes included.
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@%/".contains(&byte)
}
