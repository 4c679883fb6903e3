//! The field names the proxy treats apart, recognised once when a head is read.

macro_rules! known {
    ($($variant:ident $name:literal,)*) => {
        /// A field name the proxy knows, told apart by length and case-insensitive comparison.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[allow(missing_docs, reason = "each variant is the name it stands for")]
        pub enum Known { $($variant,)* Other }

        impl Known {
            /// The usual spelling; empty for `Other`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* Self::Other => "" }
            }

            /// Every known name.
            pub const ALL: &'static [Known] = &[$(Self::$variant,)*];
        }
    };
}

known! {
    Host "Host",
    Connection "Connection",
    ContentLength "Content-Length",
    TransferEncoding "Transfer-Encoding",
    Te "TE",
    Trailer "Trailer",
    Upgrade "Upgrade",
    Expect "Expect",
    KeepAlive "Keep-Alive",
    ProxyConnection "Proxy-Connection",
    ProxyAuthorization "Proxy-Authorization",
    ProxyAuthenticate "Proxy-Authenticate",
    Http2Settings "HTTP2-Settings",
    Authorization "Authorization",
    Cookie "Cookie",
    Forwarded "Forwarded",
    XForwardedFor "X-Forwarded-For",
    XForwardedProto "X-Forwarded-Proto",
    XForwardedHost "X-Forwarded-Host",
    XForwardedPort "X-Forwarded-Port",
    XForwardedServer "X-Forwarded-Server",
    XRealIp "X-Real-IP",
    XClientCertVerified "X-Client-Cert-Verified",
    XClientCertSubject "X-Client-Cert-Subject",
    XClientCertFingerprint "X-Client-Cert-Fingerprint",
    XRequestId "X-Request-Id",
    Via "Via",
    Date "Date",
    Server "Server",
    ContentType "Content-Type",
    ContentEncoding "Content-Encoding",
    AcceptEncoding "Accept-Encoding",
    Location "Location",
    SetCookie "Set-Cookie",
    MaxForwards "Max-Forwards",
}

/// What a field name is to the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// A name of its own.
    Name(Known),
    /// Spelled with `_` for `-`: a framing field to servers that read both alike.
    FramingAlias,
    /// Spelled with `_` for `-`: a field the proxy owns or must not forward, to servers that read both alike.
    OwnedAlias,
}

const X_FORWARDED: &[u8] = b"x-forwarded-";

impl Known {
    /// The known name that `name` is, in any case.
    pub fn of(name: &str) -> Self {
        match Self::class(name.as_bytes()) {
            Class::Name(known) => known,
            Class::FramingAlias | Class::OwnedAlias => Self::Other,
        }
    }

    /// The one known name with this length and first letter.
    fn candidate(name: &[u8]) -> Self {
        let first = name.first().map_or(0, |b| b | 0x20);
        match (name.len(), first) {
            (2, b't') => Self::Te,
            (3, b'v') => Self::Via,
            (4, b'h') => Self::Host,
            (4, b'd') => Self::Date,
            (6, b'c') => Self::Cookie,
            (6, b'e') => Self::Expect,
            (6, b's') => Self::Server,
            (7, b't') => Self::Trailer,
            (7, b'u') => Self::Upgrade,
            (8, b'l') => Self::Location,
            (9, b'f') => Self::Forwarded,
            (9, b'x') => Self::XRealIp,
            (10, b'c') => Self::Connection,
            (10, b'k') => Self::KeepAlive,
            (10, b's') => Self::SetCookie,
            (12, b'c') => Self::ContentType,
            (12, b'm') => Self::MaxForwards,
            (12, b'x') => Self::XRequestId,
            (13, b'a') => Self::Authorization,
            (14, b'c') => Self::ContentLength,
            (14, b'h') => Self::Http2Settings,
            (15, b'a') => Self::AcceptEncoding,
            (15, b'x') => Self::XForwardedFor,
            (16, b'c') => Self::ContentEncoding,
            (16, b'p') => Self::ProxyConnection,
            (16, b'x') => match name.get(12) {
                Some(b'h' | b'H') => Self::XForwardedHost,
                _ => Self::XForwardedPort,
            },
            (17, b't') => Self::TransferEncoding,
            (17, b'x') => Self::XForwardedProto,
            (18, b'p') => Self::ProxyAuthenticate,
            (18, b'x') => Self::XForwardedServer,
            (19, b'p') => Self::ProxyAuthorization,
            (21, b'x') => Self::XClientCertSubject,
            (22, b'x') => Self::XClientCertVerified,
            (25, b'x') => Self::XClientCertFingerprint,
            _ => Self::Other,
        }
    }

    pub(super) fn class(name: &[u8]) -> Class {
        let candidate = Self::candidate(name);
        if candidate == Self::Other {
            if name.len() > X_FORWARDED.len() && matches!(name, [b'x' | b'X', b'-' | b'_', ..]) {
                return alias(name, candidate);
            }
            return Class::Name(Self::Other);
        }
        if name.eq_ignore_ascii_case(candidate.name().as_bytes()) {
            return Class::Name(candidate);
        }
        alias(name, candidate)
    }

    /// The place of this name in a set of known names; `Other` has none.
    pub(super) const fn bit(self) -> u64 {
        match self {
            Self::Other => 0,
            known => 1 << known as u8,
        }
    }
}

/// Judges a name that is not known as it stands.
#[cold]
fn alias(name: &[u8], candidate: Known) -> Class {
    if !name.contains(&b'_') {
        return Class::Name(Known::Other);
    }
    if candidate != Known::Other && same_but_underscore(name, candidate.name().as_bytes()) {
        return match candidate {
            Known::ContentLength | Known::TransferEncoding => Class::FramingAlias,
            Known::ContentType | Known::ContentEncoding | Known::AcceptEncoding | Known::SetCookie => {
                Class::Name(Known::Other)
            }
            _ => Class::OwnedAlias,
        };
    }
    match name.get(..X_FORWARDED.len()) {
        Some(prefix) if same_but_underscore(prefix, X_FORWARDED) => Class::OwnedAlias,
        _ => Class::Name(Known::Other),
    }
}

fn same_but_underscore(name: &[u8], known: &[u8]) -> bool {
    name.len() == known.len()
        && name.iter().zip(known).all(|(a, b)| a.eq_ignore_ascii_case(b) || (*a == b'_' && *b == b'-'))
}

/// Fields of one connection only; never sent on, and written anew where they are needed (RFC 9110 section 7.6.1).
pub(super) const CONNECTION_SPECIFIC: u64 = Known::Connection.bit()
    | Known::TransferEncoding.bit()
    | Known::Te.bit()
    | Known::Upgrade.bit()
    | Known::KeepAlive.bit()
    | Known::ProxyConnection.bit()
    | Known::Http2Settings.bit();

/// Fields that end at this proxy besides those of the connection.
pub(super) const PROXY_ONLY: u64 = Known::ProxyAuthorization.bit() | Known::ProxyAuthenticate.bit();

/// Fields that `Connection` cannot take away: framing, routing, and those the proxy itself vouches for.
pub(super) const PROTECTED: u64 = Known::Host.bit()
    | Known::ContentLength.bit()
    | Known::Trailer.bit()
    | Known::Expect.bit()
    | Known::Forwarded.bit()
    | Known::XForwardedFor.bit()
    | Known::XForwardedProto.bit()
    | Known::XForwardedHost.bit()
    | Known::XForwardedPort.bit()
    | Known::XForwardedServer.bit()
    | Known::XRealIp.bit()
    | Known::XClientCertVerified.bit()
    | Known::XClientCertSubject.bit()
    | Known::XClientCertFingerprint.bit()
    | Known::XRequestId.bit()
    | Known::Via.bit()
    | Known::Date.bit()
    | Known::Server.bit()
    | Known::MaxForwards.bit();

/// Names without an own variant that may not stand in a trailer section, lower case.
const NOT_IN_TRAILERS: &[&str] = &[
    "age",
    "cache-control",
    "content-range",
    "expires",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "pragma",
    "proxy-authentication-info",
    "range",
    "retry-after",
    "vary",
    "warning",
    "www-authenticate",
];

/// Whether a field of this name is dropped from a trailer section: framing, routing, authentication, request
/// modifiers, response control, content format, and what the proxy owns (RFC 9110 section 6.5.1).
pub fn forbidden_trailer(name: &str) -> bool {
    match Known::class(name.as_bytes()) {
        Class::Name(Known::Other) => {
            NOT_IN_TRAILERS.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden))
                || name
                    .as_bytes()
                    .get(..X_FORWARDED.len())
                    .is_some_and(|prefix| prefix.eq_ignore_ascii_case(X_FORWARDED))
        }
        Class::Name(_) | Class::FramingAlias | Class::OwnedAlias => true,
    }
}
