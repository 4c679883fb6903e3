//! What the router is asked, and the parameters it hands out.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// What a route may ask of a request.
#[derive(Clone, Copy)]
pub struct Query<'a> {
    /// Lower case, without port and trailing dot; an IPv6 address without brackets; empty if there is none.
    pub host: &'a str,
    /// As it was sent, without query; begins with `/`, otherwise (`*`) no `Path` and no `PathPrefix` matches.
    pub path: &'a str,
    /// As it was sent.
    pub method: &'a str,
    /// The client's address, if it is known; no `ClientIP` matches without.
    pub client: Option<IpAddr>,
    /// Everything else, asked only if a route that matches so far asks for it.
    pub lookup: &'a dyn Lookup,
}

/// Parts of a request that are searched when a route asks for them. Each method calls `test` with the value of every
/// part of that name, until it says yes, and returns whether it did.
pub trait Lookup {
    /// Field lines; `name` is in lower case and compared without regard to case. A value has no blanks around it.
    fn header(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool;
    /// Query parameters, names and values as they were sent.
    fn query(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool;
    /// Cookies; names know upper and lower case.
    fn cookie(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool;
}

/// A request without fields and query.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLookup;

impl Lookup for NoLookup {
    fn header(&self, _: &str, _: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        false
    }

    fn query(&self, _: &str, _: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        false
    }

    fn cookie(&self, _: &str, _: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        false
    }
}

/// The parameters of the route that a look-up found. Kept by the caller and set anew by each look-up; it shares the
/// route with the router, and values are taken from the request when they are asked for.
#[derive(Clone, Default)]
pub struct Params {
    /// `None` if the route has no parameters.
    route: Option<Arc<dyn Captures>>,
}

/// A route with parameters.
pub(super) trait Captures: Send + Sync {
    /// Calls `see` with the name of each parameter and what it matched, the host's first.
    fn each<'t>(&self, host: &'t str, path: &'t str, see: &mut dyn FnMut(&str, &'t str));
}

impl Params {
    /// No parameters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there are no parameters.
    pub fn is_empty(&self) -> bool {
        self.route.is_none()
    }

    /// What `<name>` matched; `host` and `path` are those of the query. A name that stands in both means the path's.
    pub fn get<'t>(&self, name: &str, host: &'t str, path: &'t str) -> Option<&'t str> {
        let mut found = None;
        self.each(host, path, &mut |own, value| {
            if own == name {
                found = Some(value);
            }
        });
        found
    }

    /// Calls `see` with the name of each parameter and what it matched, from left to right, the host's first; `host` and
    /// `path` are those of the query.
    pub fn each<'t>(&self, host: &'t str, path: &'t str, see: &mut dyn FnMut(&str, &'t str)) {
        if let Some(route) = &self.route {
            route.each(host, path, see);
        }
    }

    pub(super) fn set(&mut self, route: Option<Arc<dyn Captures>>) {
        self.route = route;
    }
}

impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Params").field("is_empty", &self.is_empty()).finish()
    }
}
