//! What the router is asked, and the parameters it hands out.

use crate::expr::{Names, Span, Spans};
use std::net::IpAddr;

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

/// What the `<name>`s of a route matched. Kept by the caller and filled anew by each look-up, which allocates only
/// beyond eight parameters.
#[derive(Debug, Clone, Default)]
pub struct Params {
    host_names: Names,
    path_names: Names,
    spans: Spans,
    /// How many of `spans` are the host's; they come first.
    in_host: usize,
}

impl Params {
    /// No parameters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of parameters.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// What `<name>` matched; `host` and `path` are those of the query. A name that stands in both means the path's.
    pub fn get<'t>(&self, name: &str, host: &'t str, path: &'t str) -> Option<&'t str> {
        let (in_host, in_path) = self.spans.split_at_checked(self.in_host)?;
        find(&self.path_names, in_path, name, path).or_else(|| find(&self.host_names, in_host, name, host))
    }

    pub(super) fn clear(&mut self) {
        self.host_names = None;
        self.path_names = None;
        self.spans.clear();
        self.in_host = 0;
    }

    pub(super) fn set(&mut self, host: (&Names, &[Span]), path: (&Names, &[Span])) {
        self.host_names.clone_from(host.0);
        self.path_names.clone_from(path.0);
        self.in_host = host.1.len();
        self.spans.clear();
        self.spans.extend_from_slice(host.1);
        self.spans.extend_from_slice(path.1);
    }
}

fn find<'t>(names: &Names, spans: &[Span], name: &str, text: &'t str) -> Option<&'t str> {
    let index = names.as_ref()?.iter().position(|known| **known == *name)?;
    let span = spans.get(index)?;
    text.get(span.start as usize..span.end as usize)
}
