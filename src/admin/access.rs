//! Who may use the API: tokens with a role, or a place in the network.
//!
//! Without a token what counts is where a request comes from, and a browser on that machine can be made to send one.
//! So such a request must name an address, `localhost` or a known name (else a name server could lead a stranger's page
//! here), and must not come from another site's page.

pub use crate::web::access::Role;
use crate::web::access::{Places, Refusal, TOKEN_BYTES_MAX, TokenDigest, bearer, is_cross_site};
use arc_swap::ArcSwap;
use axum::http::{HeaderMap, StatusCode};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Most tokens of a file.
const TOKENS_MAX: usize = 1_000;

/// Why there is no access to give.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Anyone could change the routes.
    #[error(
        "the admin API on {0} would be open to anyone who reaches it: give it tokens (--admin-token-file) or name \
         the private networks that need none (--admin-trusted), or listen on 127.0.0.1"
    )]
    Open(SocketAddr),
    /// The file cannot be read.
    #[error("the file of tokens {}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// A line is not one. Never shows the line.
    #[error("the file of tokens {}, line {line}: {reason}", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What would be right.
        reason: &'static str,
    },
}

/// Digests of tokens: what was read is not kept.
#[derive(Default)]
struct Tokens(Vec<(Role, TokenDigest)>);

impl Tokens {
    /// Lines of `read TOKEN` or `write TOKEN`; a single token alone may write. Empty lines and `#` are passed over.
    fn parse(text: &str) -> Result<Self, (usize, &'static str)> {
        let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
        let lines: Vec<_> = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).collect();
        if lines.is_empty() {
            return Err((1, "there is no token"));
        }
        if lines.len() > TOKENS_MAX {
            return Err((TOKENS_MAX, "there are more than 1,000 tokens"));
        }
        let alone = lines.len() == 1;
        let read = |(number, line): (usize, &str)| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (role, token) = match words.as_slice() {
                ["read", token] => (Role::Read, *token),
                ["write", token] => (Role::Write, *token),
                [token] if alone && *token != "read" && *token != "write" => (Role::Write, *token),
                _ => return Err((number, "`read TOKEN` or `write TOKEN` is expected")),
            };
            match token.len() {
                ..=TOKEN_BYTES_MAX => Ok((role, TokenDigest::of(token))),
                _ => Err((number, "a token has at most 4,096 bytes")),
            }
        };
        lines.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Compares with every token, whichever fits, in the same time.
    fn role(&self, presented: &str) -> Option<Role> {
        let presented = TokenDigest::of(presented);
        let fits = |known: &TokenDigest| known.fits(&presented);
        self.0
            .iter()
            .fold(None, |found, (role, known)| if fits(known) { found.max(Some(*role)) } else { found })
    }
}

/// Who may use the API.
pub struct Access {
    token_file: Option<PathBuf>,
    /// Empty: there is no file.
    tokens: ArcSwap<Tokens>,
    places: Places,
}

/// What of a request decides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller<'a> {
    /// Where it comes from.
    pub(super) address: IpAddr,
    /// Its header fields.
    pub(super) headers: &'a HeaderMap,
    /// What it wants.
    pub(super) needs: Role,
}

impl Access {
    /// Access to an API that listens on `address`. Networks in `trusted` need no token; `hosts` are names in lower case
    /// by which they may call it.
    ///
    /// # Errors
    /// The address is not loopback and neither tokens nor networks are given; the file of tokens cannot be read.
    pub fn new(
        address: SocketAddr,
        token_file: Option<PathBuf>,
        trusted: Vec<IpNet>,
        hosts: Vec<String>,
    ) -> Result<Self, AccessError> {
        let places = Places { trusted, hosts };
        if places.are_open(address) && token_file.is_none() {
            return Err(AccessError::Open(address));
        }
        let access = Self { token_file, tokens: ArcSwap::default(), places };
        access.reload()?;
        Ok(access)
    }

    /// Reads the file of tokens again. On an error the former tokens stay.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn reload(&self) -> Result<(), AccessError> {
        let Some(path) = &self.token_file else { return Ok(()) };
        let text = std::fs::read_to_string(path)
            .map(Zeroizing::new)
            .map_err(|error| AccessError::File { path: path.clone(), error })?;
        let tokens = Tokens::parse(&text).map_err(|(line, reason)| AccessError::Line {
            path: path.clone(),
            line,
            reason,
        })?;
        self.tokens.store(Arc::new(tokens));
        Ok(())
    }

    /// What should be shown as a problem for as long as it is so.
    pub fn warning(&self) -> Option<String> {
        self.places.warning("the admin API")
    }

    /// Decides on one request.
    pub(super) fn decide(&self, caller: &Caller<'_>) -> Result<(), Refusal> {
        let refuse = |status, message| Err(Refusal { status, message });
        let tokens = self.tokens.load();
        if let Some(presented) = bearer(caller.headers).filter(|_| !tokens.0.is_empty()) {
            return match tokens.role(presented) {
                Some(role) if role >= caller.needs => Ok(()),
                Some(_) => refuse(StatusCode::FORBIDDEN, "this token may only read"),
                None => refuse(StatusCode::UNAUTHORIZED, "this token is not known"),
            };
        }
        let needed = (!tokens.0.is_empty()).then_some("a token is needed: `Authorization: Bearer TOKEN`");
        let unknown = "without a token, `Host` has to be an address, `localhost` or one of --admin-host";
        self.places.admit(caller.address, caller.headers, needed, unknown)?;
        if caller.needs == Role::Write && is_cross_site(caller.headers) {
            return refuse(StatusCode::FORBIDDEN, "another site's page may not change anything");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(tokens: &str, trusted: &[&str]) -> Access {
        Access {
            token_file: None,
            tokens: ArcSwap::from_pointee(if tokens.is_empty() {
                Tokens::default()
            } else {
                Tokens::parse(tokens).unwrap()
            }),
            places: Places {
                trusted: trusted.iter().map(|network| network.parse().unwrap()).collect(),
                hosts: vec!["gate.internal".into()],
            },
        }
    }

    fn check(access: &Access, address: &str, needs: Role, fields: &[(&'static str, &str)], expected: u16) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.insert(*name, value.parse().unwrap());
        }
        let caller = Caller { address: address.parse().unwrap(), headers: &headers, needs };
        let status = access.decide(&caller).map_or_else(|refusal| refusal.status.as_u16(), |()| 200);
        assert_eq!(status, expected, "{address} {needs:?} {fields:?}");
    }

    #[test]
    fn tokens_have_roles() {
        let access = access("# who\nread r1\n\nwrite w1\n", &["10.0.0.0/8"]);
        let cases: &[(&str, Role, &str, u16)] = &[
            ("127.0.0.1", Role::Read, "Bearer r1", 200),
            ("127.0.0.1", Role::Write, "Bearer r1", 403),
            ("203.0.113.1", Role::Write, "bearer w1", 200),
            ("203.0.113.1", Role::Read, "Bearer w1", 200),
            ("203.0.113.1", Role::Read, "Bearer w", 401),
            ("203.0.113.1", Role::Read, "Bearer ", 401),
            ("203.0.113.1", Role::Read, "Basic dzE6", 401),
            ("10.1.2.3", Role::Read, "Bearer wrong", 401),
        ];
        for (address, needs, token, expected) in cases {
            let fields = [("authorization", *token), ("host", "gate.example")];
            check(&access, address, *needs, &fields, *expected);
        }
        check(&access, "127.0.0.1", Role::Read, &[], 401);
        check(&access, "10.1.2.3", Role::Write, &[("host", "gate.internal:8182")], 200);
        check(&access, "::ffff:10.1.2.3", Role::Write, &[], 200);
        check(&access, "10.1.2.3", Role::Write, &[("host", "gate.example")], 403);
    }

    #[test]
    fn without_tokens_the_place_decides() {
        let access = access("", &["10.0.0.0/8"]);
        let host = |host: &'static str| [("host", host)];
        for known in
            ["localhost", "localhost:8182", "a.localhost", "127.0.0.1:8182", "[::1]:8182", "GATE.internal"]
        {
            check(&access, "127.0.0.1", Role::Write, &host(known), 200);
        }
        for rebound in ["evil.example", "evil.example:8182", "localhost.evil.example", "", "a b"] {
            check(&access, "127.0.0.1", Role::Read, &host(rebound), 403);
        }
        check(&access, "::1", Role::Read, &[("authorization", "Bearer any")], 200);
        check(&access, "10.9.9.9", Role::Write, &host("10.0.0.1"), 200);
        check(&access, "192.168.0.1", Role::Read, &host("10.0.0.1"), 403);
    }

    #[test]
    fn another_sites_page_changes_nothing() {
        let access = access("", &[]);
        let host = ("host", "localhost:8182");
        let cases: &[(&'static str, &str, u16)] = &[
            ("origin", "http://localhost:8182", 200),
            ("origin", "http://evil.example", 403),
            ("origin", "http://localhost:9000", 403),
            ("origin", "null", 403),
            ("sec-fetch-site", "same-origin", 200),
            ("sec-fetch-site", "none", 200),
            ("sec-fetch-site", "same-site", 403),
            ("sec-fetch-site", "cross-site", 403),
        ];
        for (name, value, expected) in cases {
            check(&access, "127.0.0.1", Role::Write, &[host, (name, value)], *expected);
            check(&access, "127.0.0.1", Role::Read, &[host, (name, value)], 200);
        }
    }

    #[test]
    fn files_of_tokens() {
        let cases: &[(&str, Result<usize, usize>)] = &[
            ("secret\n", Ok(1)),
            ("write secret", Ok(1)),
            ("read a\nwrite b\n# c\n", Ok(2)),
            ("", Err(1)),
            ("# only\n", Err(1)),
            ("a\nb", Err(1)),
            ("read a\nadmin b", Err(2)),
            ("read", Err(1)),
            ("read a b", Err(1)),
        ];
        for (text, expected) in cases {
            let found = Tokens::parse(text).map(|tokens| tokens.0.len()).map_err(|(line, _)| line);
            assert_eq!(found, *expected, "{text:?}");
        }
        assert_eq!(Tokens::parse("secret").unwrap().role("secret"), Some(Role::Write));
    }

    #[test]
    fn an_open_address_is_refused() {
        let new = |address: &str, trusted: &[&str]| {
            let trusted = trusted.iter().map(|network| network.parse().unwrap()).collect();
            Access::new(address.parse().unwrap(), None, trusted, Vec::new())
        };
        assert!(matches!(new("0.0.0.0:8182", &[]), Err(AccessError::Open(_))));
        assert!(matches!(new("[::]:8182", &[]), Err(AccessError::Open(_))));
        assert!(new("127.0.0.1:8182", &[]).unwrap().warning().is_none());
        assert!(new("[::1]:8182", &[]).is_ok());
        let open = new("0.0.0.0:8182", &["10.0.0.0/8"]).unwrap();
        assert_eq!(open.warning().as_deref(), Some("the admin API needs no token from 10.0.0.0/8"));
    }

    #[test]
    fn tokens_are_read_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "write old").unwrap();
        let address = ([0, 0, 0, 0], 8182).into();
        let access = Access::new(address, Some(file.path().into()), Vec::new(), Vec::new()).unwrap();
        check(&access, "10.0.0.1", Role::Write, &[("authorization", "Bearer old")], 200);
        std::fs::write(file.path(), "write new").unwrap();
        access.reload().unwrap();
        check(&access, "10.0.0.1", Role::Write, &[("authorization", "Bearer old")], 401);
        check(&access, "10.0.0.1", Role::Write, &[("authorization", "Bearer new")], 200);
        std::fs::write(file.path(), "no such role").unwrap();
        let error = access.reload().unwrap_err().to_string();
        assert!(error.ends_with("line 1: `read TOKEN` or `write TOKEN` is expected"), "{error}");
        check(&access, "10.0.0.1", Role::Write, &[("authorization", "Bearer new")], 200);
    }
}
