//! CHANGE: a frontend's compiled middlewares.

use crate::message::{RequestHead, ResponseHead};
use crate::model;

/// Compiled middlewares in order.
#[derive(Debug, Clone, Default)]
pub struct Chain;

/// What a middleware may know of a request besides its head.
#[derive(Clone, Copy)]
pub struct RequestContext<'a> {
    /// `http` or `https`
    pub scheme: &'a str,
    /// The value of a route parameter.
    pub param: &'a dyn Fn(&str) -> Option<&'a str>,
}

/// An answer in place of the server's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// `Location`
    pub location: Option<String>,
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Continue,
    /// It is answered.
    Reply(Reply),
}

impl Chain {
    /// No middlewares.
    pub fn empty() -> Self {
        Self
    }
    /// x
    pub fn compile<'m>(
        _: impl Iterator<Item = &'m model::Middleware>,
        _: impl Iterator<Item = &'m model::Middleware>,
    ) -> Self {
        Self
    }
    /// x
    pub fn is_empty(&self) -> bool {
        true
    }
    /// x
    pub fn on_request(&self, _: &mut RequestHead, _: &RequestContext<'_>) -> Verdict {
        Verdict::Continue
    }
    /// x
    pub fn on_response(&self, _: &mut ResponseHead) {}
}
