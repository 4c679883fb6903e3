//! What tells one caller from another: tokens, and what a browser says of the page that sends a request.

use crate::model::is_listed;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::http::{HeaderMap, StatusCode, header, uri::Authority};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// Longest token, in bytes.
pub const TOKEN_BYTES_MAX: usize = 4_096;

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// To look.
    Read,
    /// To look and to change.
    Write,
}

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 401 or 403.
    pub status: StatusCode,
    /// For people.
    pub message: &'static str,
}

/// Who needs no token: this machine and networks that are trusted, where they call by an address or a known name.
#[derive(Debug, Default)]
pub struct Places {
    /// Trusted networks.
    pub trusted: Vec<IpNet>,
    /// Known names, in lower case.
    pub hosts: Vec<String>,
}

impl Places {
    /// Whether anyone who reaches an API on `address` could call it, unless tokens keep them out.
    pub fn are_open(&self, address: SocketAddr) -> bool {
        !address.ip().to_canonical().is_loopback() && self.trusted.is_empty()
    }

    /// What should be shown as a problem of `api` for as long as it is so.
    pub fn warning(&self, api: &str) -> Option<String> {
        let networks: Vec<_> = self.trusted.iter().map(ToString::to_string).collect();
        (!networks.is_empty()).then(|| format!("{api} needs no token from {}", networks.join(", ")))
    }

    /// Admits a caller without a token, or says why not: `needed` where there are tokens, `unknown` where it calls by
    /// another name.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(
        &self,
        address: IpAddr,
        headers: &HeaderMap,
        needed: Option<&'static str>,
        unknown: &'static str,
    ) -> Result<(), Refusal> {
        let refuse = |status, message| Err(Refusal { status, message });
        let address = address.to_canonical();
        let trusted = is_listed(Some(address), &self.trusted);
        if let Some(message) = needed.filter(|_| !trusted) {
            return refuse(StatusCode::UNAUTHORIZED, message);
        }
        if !trusted && !address.is_loopback() {
            return refuse(StatusCode::FORBIDDEN, "this address is not among those that need no token");
        }
        if !is_known_host(headers, &self.hosts) {
            return refuse(StatusCode::FORBIDDEN, unknown);
        }
        Ok(())
    }
}

/// The digest of a token: what was read is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// SHA-256.
    pub fn of(token: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        Self(bytes)
    }

    /// Whether both are of the same token, in the same time whichever they are.
    pub fn fits(&self, presented: &Self) -> bool {
        verify_slices_are_equal(&self.0, &presented.0).is_ok()
    }

    /// In hexadecimal digits.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The token of `Authorization: Bearer TOKEN`.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whether `Host` is an address, `localhost` or one of `hosts`, which are in lower case; or there is none. Else a name
/// server could lead a stranger's page here.
fn is_known_host(headers: &HeaderMap, hosts: &[String]) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let Ok(authority) = Authority::try_from(host.as_bytes()) else { return false };
    let name = authority.host().to_ascii_lowercase();
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
    let local = bare == "localhost" || bare.ends_with(".localhost");
    local || bare.parse::<IpAddr>().is_ok() || hosts.iter().any(|host| host == bare)
}

/// Whether a browser says that a page of another origin sent it.
pub fn is_cross_site(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
    if site.is_some_and(|site| site != b"same-origin" && site != b"none") {
        return true;
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let host = headers.get(header::HOST).map(|host| host.as_bytes());
    let origin =
        origin.as_bytes().splitn(2, |byte| *byte == b'/').nth(1).and_then(|rest| rest.strip_prefix(b"/"));
    origin.is_none() || origin != host
}
