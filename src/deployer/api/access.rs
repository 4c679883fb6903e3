//! Who may use the API, and for which namespaces: a file of tokens and of names in client certificates, networks that
//! are trusted, or this machine itself.
//!
//! A line of the file is `ROLE NAMESPACES TOKEN` or `ROLE NAMESPACES CN=NAME`: the role is `read` or `write`, the
//! namespaces are `*` or names with commas between, and a name is all that follows `CN=` on the line. A caller may have
//! several lines. A single token alone may write everywhere. Empty lines and those that begin with `#` are passed over.

use crate::web::access::{Places, Refusal, Role, TOKEN_BYTES_MAX, TokenDigest, bearer, is_cross_site};
use arc_swap::ArcSwap;
use axum::http::{HeaderMap, StatusCode};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Most lines of a file.
const LINES_MAX: usize = 1_000;

const EXPECTED: &str = "`ROLE NAMESPACES TOKEN` or `ROLE NAMESPACES CN=NAME` is expected, with `read` or `write` as \
                        the role and `*` or namespaces with commas between";

/// Why there is no access to give.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Anyone could deploy.
    #[error(
        "the deployer's API on {0} would be open to anyone who reaches it: give it tokens (--deploy-token-file), name the \
         private networks that need none (--deploy-trusted), or listen on 127.0.0.1"
    )]
    Open(SocketAddr),
    /// The file cannot be read.
    #[error("the file of tokens {}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why; the message has it, so it is no source.
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

/// How a caller is known.
#[derive(Debug, PartialEq, Eq)]
enum Credential {
    Token(TokenDigest),
    Name(Box<str>),
}

/// What a line allows.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Grant {
    role: Role,
    /// None: all.
    namespaces: Option<Box<[Box<str>]>>,
}

impl Grant {
    const EVERYTHING: Self = Self { role: Role::Write, namespaces: None };

    fn covers(&self, namespace: &str) -> bool {
        self.namespaces.as_ref().is_none_or(|own| own.iter().any(|own| **own == *namespace))
    }
}

/// Somebody who may use the API.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// For people: `token 1a2b3c4d`, `CN=pipeline` or an address.
    pub(super) name: Box<str>,
    /// The same for all requests of this caller, and for no other's.
    pub(super) identity: Box<str>,
    grants: Vec<Grant>,
}

impl Caller {
    /// Whether it may do this in a namespace.
    pub(super) fn may(&self, role: Role, namespace: &str) -> Result<(), Refusal> {
        let refuse = |message| Err(Refusal { status: StatusCode::FORBIDDEN, message });
        let covering = || self.grants.iter().filter(|grant| grant.covers(namespace));
        match covering().map(|grant| grant.role).max() {
            Some(own) if own >= role => Ok(()),
            Some(_) => refuse("this caller may only read in this namespace"),
            None => refuse("this caller has no access to this namespace"),
        }
    }
}

/// Where a request comes from.
pub(super) struct Origin<'a> {
    pub(super) address: IpAddr,
    pub(super) headers: &'a HeaderMap,
    /// The name in the certificate that was shown, if one was.
    pub(super) shown: Option<&'a str>,
    /// It wants to change something, or is one of those that browsers let any page send.
    pub(super) guarded: bool,
}

/// Who may use the API.
pub struct Access {
    file: Option<PathBuf>,
    lines: ArcSwap<Vec<(Credential, Grant)>>,
    places: Places,
}

impl Access {
    /// Access to an API that listens on `address`. Networks in `trusted` need no token and may do everything; `hosts` are
    /// names in lower case by which those without a token may call it.
    ///
    /// # Errors
    /// The address is not loopback and neither a file nor networks are given; the file cannot be read.
    pub fn new(
        address: SocketAddr,
        file: Option<PathBuf>,
        trusted: Vec<IpNet>,
        hosts: Vec<String>,
    ) -> Result<Self, AccessError> {
        let places = Places { trusted, hosts };
        if places.are_open(address) && file.is_none() {
            return Err(AccessError::Open(address));
        }
        let access = Self { file, lines: ArcSwap::default(), places };
        access.reload()?;
        Ok(access)
    }

    /// Reads the file again. On an error what it said before stays.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn reload(&self) -> Result<(), AccessError> {
        let Some(path) = &self.file else { return Ok(()) };
        let text = std::fs::read_to_string(path)
            .map(Zeroizing::new)
            .map_err(|error| AccessError::File { path: path.clone(), error })?;
        let lines =
            parse(&text).map_err(|(line, reason)| AccessError::Line { path: path.clone(), line, reason })?;
        self.lines.store(Arc::new(lines));
        Ok(())
    }

    /// What should be shown as a problem for as long as it is so.
    pub fn warning(&self) -> Option<String> {
        self.places.warning("the deployer's API")
    }

    /// Who sends a request.
    pub(super) fn decide(&self, origin: &Origin<'_>) -> Result<Caller, Refusal> {
        let refuse = |status, message| Err(Refusal { status, message });
        let has_file = self.file.is_some();
        if let Some(presented) = bearer(origin.headers).filter(|_| has_file) {
            return match self.by_token(presented) {
                Some(caller) => Ok(caller),
                None => refuse(StatusCode::UNAUTHORIZED, "this token is not known"),
            };
        }
        let caller = match origin.shown.and_then(|name| self.by_name(name)) {
            Some(caller) => caller,
            None => self.by_place(origin)?,
        };
        if origin.guarded && is_cross_site(origin.headers) {
            return refuse(StatusCode::FORBIDDEN, "another site's page may not do this");
        }
        Ok(caller)
    }

    /// Compares with every token, whichever fits, in the same time.
    fn by_token(&self, presented: &str) -> Option<Caller> {
        let presented = TokenDigest::of(presented);
        let fits = |credential: &Credential| match credential {
            Credential::Token(known) => known.fits(&presented),
            Credential::Name(_) => false,
        };
        let digest = presented.hex();
        let short = digest.get(..8).unwrap_or_default();
        self.with_lines(fits, &format!("token {short}"), &format!("token {digest}"))
    }

    fn by_name(&self, shown: &str) -> Option<Caller> {
        let fits =
            |credential: &Credential| matches!(credential, Credential::Name(known) if **known == *shown);
        let name = format!("CN={shown}");
        self.with_lines(fits, &name, &name)
    }

    fn with_lines(&self, fits: impl Fn(&Credential) -> bool, name: &str, identity: &str) -> Option<Caller> {
        let lines = self.lines.load();
        let grants: Vec<Grant> =
            lines.iter().filter(|(known, _)| fits(known)).map(|(_, grant)| grant.clone()).collect();
        (!grants.is_empty()).then(|| Caller { name: name.into(), identity: identity.into(), grants })
    }

    fn by_place(&self, origin: &Origin<'_>) -> Result<Caller, Refusal> {
        let needed = self.file.is_some().then_some(match origin.shown {
            Some(_) => "the name in this certificate is not in the file of tokens",
            None => "a token is needed: `Authorization: Bearer TOKEN`",
        });
        let unknown =
            "without a token, `Host` has to be an address, `localhost` or a name that was configured";
        self.places.admit(origin.address, origin.headers, needed, unknown)?;
        let name: Box<str> = origin.address.to_canonical().to_string().into();
        Ok(Caller { identity: name.clone(), name, grants: vec![Grant::EVERYTHING] })
    }
}

fn parse(text: &str) -> Result<Vec<(Credential, Grant)>, (usize, &'static str)> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    let lines: Vec<_> = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).collect();
    if lines.len() > LINES_MAX {
        return Err((LINES_MAX, "there are more than 1,000 lines"));
    }
    match lines.as_slice() {
        [] => Err((1, "there is no token")),
        [(number, token)] if !token.contains(char::is_whitespace) => {
            Ok(vec![(self::token(token).map_err(|reason| (*number, reason))?, Grant::EVERYTHING)])
        }
        lines => {
            lines.iter().map(|(number, line)| self::line(line).map_err(|reason| (*number, reason))).collect()
        }
    }
}

fn line(line: &str) -> Result<(Credential, Grant), &'static str> {
    let (role, rest) = line.split_once(char::is_whitespace).ok_or(EXPECTED)?;
    let (namespaces, credential) = rest.trim().split_once(char::is_whitespace).ok_or(EXPECTED)?;
    let role = match role {
        "read" => Role::Read,
        "write" => Role::Write,
        _ => return Err(EXPECTED),
    };
    let namespaces = match namespaces {
        "*" => None,
        names if names.split(',').all(is_label) => Some(names.split(',').map(Into::into).collect()),
        _ => return Err("a namespace has lower-case letters, digits and `-` only"),
    };
    Ok((credential_of(credential.trim())?, Grant { role, namespaces }))
}

fn credential_of(text: &str) -> Result<Credential, &'static str> {
    match text.strip_prefix("CN=") {
        Some("") => Err("the name after `CN=` is missing"),
        Some(name) => Ok(Credential::Name(name.into())),
        None => token(text),
    }
}

fn token(text: &str) -> Result<Credential, &'static str> {
    if text.contains(char::is_whitespace) || matches!(text, "read" | "write" | "*") || text.starts_with("CN=")
    {
        return Err(EXPECTED);
    }
    match text.len() {
        ..=TOKEN_BYTES_MAX => Ok(Credential::Token(TokenDigest::of(text))),
        _ => Err("a token has at most 4,096 bytes"),
    }
}

/// Whether a text can be the name of a namespace or an application: an RFC 1123 label.
pub(super) fn is_label(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    matches!(text.len(), 1..=63) && text.bytes().all(plain) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str =
        "# who\nread * r1\nwrite shop,blog w1\nread stats w1\n\nwrite shop CN=build pipeline\n";

    fn access(text: &str, trusted: &[&str]) -> Access {
        Access {
            file: (!text.is_empty()).then(|| "tokens".into()),
            lines: ArcSwap::from_pointee(if text.is_empty() { Vec::new() } else { parse(text).unwrap() }),
            places: Places {
                trusted: trusted.iter().map(|network| network.parse().unwrap()).collect(),
                hosts: vec!["deploy.internal".into()],
            },
        }
    }

    /// The status of a request that wants `role` in `namespace`.
    fn ask(
        access: &Access,
        address: &str,
        fields: &[(&'static str, &str)],
        shown: Option<&str>,
        wants: (Role, &str),
    ) -> u16 {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.insert(*name, value.parse().unwrap());
        }
        let guarded = wants.0 == Role::Write;
        let origin = Origin { address: address.parse().unwrap(), headers: &headers, shown, guarded };
        let decided = access.decide(&origin).and_then(|caller| caller.may(wants.0, wants.1));
        decided.map_or_else(|refusal| refusal.status.as_u16(), |()| 200)
    }

    #[test]
    fn tokens_and_names_have_namespaces() {
        let access = access(FILE, &["10.0.0.0/8"]);
        let cases: &[(&str, (Role, &str), u16)] = &[
            ("Bearer r1", (Role::Read, "any"), 200),
            ("Bearer r1", (Role::Write, "any"), 403),
            ("Bearer w1", (Role::Write, "shop"), 200),
            ("bearer w1", (Role::Write, "blog"), 200),
            ("Bearer w1", (Role::Write, "stats"), 403),
            ("Bearer w1", (Role::Read, "stats"), 200),
            ("Bearer w1", (Role::Read, "sho"), 403),
            ("Bearer w2", (Role::Read, "shop"), 401),
            ("Bearer CN=build pipeline", (Role::Read, "shop"), 401),
            ("Basic dzE6", (Role::Read, "shop"), 401),
        ];
        for (token, wants, expected) in cases {
            let fields = [("authorization", *token), ("origin", "http://evil.example")];
            for address in ["203.0.113.1", "127.0.0.1"] {
                assert_eq!(ask(&access, address, &fields, None, *wants), *expected, "{token} {wants:?}");
            }
        }
        assert_eq!(ask(&access, "10.1.1.1", &[("authorization", "Bearer no")], None, (Role::Read, "a")), 401);
        let shown = |name, wants| ask(&access, "203.0.113.1", &[], Some(name), wants);
        assert_eq!(shown("build pipeline", (Role::Write, "shop")), 200);
        assert_eq!(shown("build pipeline", (Role::Write, "blog")), 403);
        assert_eq!(shown("build", (Role::Read, "shop")), 401);
        let foreign = [("origin", "http://evil.example"), ("host", "deploy.internal")];
        let write = (Role::Write, "shop");
        assert_eq!(ask(&access, "203.0.113.1", &foreign, Some("build pipeline"), write), 403);
    }

    #[test]
    fn without_a_token_the_place_decides() {
        let (local, listed) = (access("", &[]), access(FILE, &["10.0.0.0/8"]));
        let write = (Role::Write, "shop");
        assert_eq!(ask(&local, "127.0.0.1", &[("host", "localhost:8000")], None, write), 200);
        assert_eq!(ask(&local, "127.0.0.1", &[("host", "evil.example")], None, write), 403);
        assert_eq!(ask(&local, "192.168.0.1", &[], None, write), 403);
        assert_eq!(ask(&local, "::1", &[("authorization", "Bearer any")], None, write), 200);
        assert_eq!(ask(&listed, "127.0.0.1", &[], None, write), 401);
        assert_eq!(ask(&listed, "::ffff:10.1.2.3", &[("host", "deploy.internal")], None, write), 200);
        let page = [("host", "10.0.0.1"), ("sec-fetch-site", "cross-site")];
        assert_eq!(ask(&listed, "10.1.2.3", &page, None, write), 403);
        assert_eq!(ask(&listed, "10.1.2.3", &page, None, (Role::Read, "shop")), 200);
        assert_eq!(listed.warning().unwrap(), "the deployer's API needs no token from 10.0.0.0/8");
        let new = |address: &str| Access::new(address.parse().unwrap(), None, Vec::new(), Vec::new());
        assert!(matches!(new("0.0.0.0:8000"), Err(AccessError::Open(_))));
        assert!(new("127.0.0.1:8000").unwrap().warning().is_none());
    }

    #[test]
    fn files() {
        let cases: &[(&str, Result<usize, usize>)] = &[
            ("secret", Ok(1)),
            (FILE, Ok(4)),
            ("write * secret", Ok(1)),
            ("write\tshop  secret\n", Ok(1)),
            ("", Err(1)),
            ("# only\n", Err(1)),
            ("a\nb", Err(1)),
            ("write", Err(1)),
            ("write shop", Err(1)),
            ("write secret", Err(1)),
            ("write shop two words", Err(1)),
            ("read * a\nadmin * b", Err(2)),
            ("read Shop a", Err(1)),
            ("read shop, a", Err(1)),
            ("read shop CN=", Err(1)),
            ("CN=lonely", Err(1)),
        ];
        for (text, expected) in cases {
            let found = parse(text).map(|lines| lines.len()).map_err(|(line, _)| line);
            assert_eq!(found, *expected, "{text:?}");
        }
    }

    #[test]
    fn the_file_is_read_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "old").unwrap();
        let address = ([0, 0, 0, 0], 8000).into();
        let access = Access::new(address, Some(file.path().into()), Vec::new(), Vec::new()).unwrap();
        let status =
            |token: &str| ask(&access, "10.0.0.1", &[("authorization", token)], None, (Role::Write, "a"));
        assert_eq!((status("Bearer old"), status("Bearer new")), (200, 401));
        std::fs::write(file.path(), "write a new").unwrap();
        access.reload().unwrap();
        assert_eq!((status("Bearer old"), status("Bearer new")), (401, 200));
        std::fs::write(file.path(), "write everything secret word").unwrap();
        let error = access.reload().unwrap_err().to_string();
        assert!(error.contains("line 1") && !error.contains("secret"), "{error}");
        assert_eq!(status("Bearer new"), 200);
    }
}
