//! The steps between route and backend: what they do to a request, and to the head of its answer.
//!
//! A [`Chain`] is built when the table is and shares its middlewares with it. It does no I/O: a step changes the
//! request, lets it pass, or answers it. What a client sends is data here: it is never read as a template, and it
//! cannot choose the host of a redirect or of a rewritten request.

mod headers;
mod redirect;
mod rewrite;
mod url;

use crate::message::{RequestHead, ResponseHead};
use crate::model::{Middleware, MiddlewareSpec, Scheme};
use rewrite::Rewritten;
use std::sync::Arc;
use url::Url;

/// Longest URL that a step may build, in bytes; one that would be longer is answered with 414.
pub const URL_BYTES_MAX: usize = 16 * 1024;

/// The middlewares of one frontend in the order in which they run. A clone shares everything.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Chain(Option<Arc<Steps>>);

#[derive(Debug, PartialEq)]
struct Steps {
    middlewares: Box<[Arc<Middleware>]>,
    edits_answers: bool,
    names_parameters: bool,
}

/// What steps know of a request besides its head.
#[derive(Clone, Copy)]
pub struct RequestContext<'a> {
    /// `https` or `http`: what the client used, also where a trusted proxy before this one ended its TLS.
    pub scheme: &'a str,
    /// What the route's `<name>`s matched. Only asked where [`Chain::names_parameters`] says so.
    pub params: &'a dyn Fn(&str) -> Option<&'a str>,
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Continue,
    /// It goes on, and the server sees this `Host` (with port where one was given), whatever the frontend's settings.
    ContinueTo(Box<str>),
    /// It is answered here, without a body of interest. [`Chain::on_response`] has not yet seen this answer.
    Reply(Reply),
}

/// An answer made by a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 301, 302, 303, 307, 308 with a location; 400 or 414 without.
    pub status: u16,
    /// An absolute URL of visible ASCII characters.
    pub location: Option<Box<str>>,
}

impl Reply {
    fn refuse(status: u16) -> Self {
        Self { status, location: None }
    }
}

/// What one step made of a request.
enum Outcome {
    Pass,
    /// Path and query were changed, or the host is now this one.
    Changed {
        host: Option<Box<str>>,
    },
    Reply(Reply),
}

impl Chain {
    /// No middlewares.
    pub const fn empty() -> Self {
        Self(None)
    }

    /// The chain of shared middlewares in the frontend's order, followed by its own ones by id. They run by
    /// priority, smaller first, and in the given order where that is the same.
    pub fn compile(shared_then_own: &[Arc<Middleware>]) -> Self {
        if shared_then_own.is_empty() {
            return Self::empty();
        }
        let mut middlewares: Box<[Arc<Middleware>]> = shared_then_own.into();
        middlewares.sort_by_key(|middleware| middleware.priority);
        let edits_answers = middlewares.iter().any(
            |middleware| matches!(&middleware.spec, MiddlewareSpec::Headers(spec) if !spec.response.is_empty()),
        );
        let names_parameters = middlewares.iter().any(
            |middleware| matches!(&middleware.spec, MiddlewareSpec::Redirect(spec) if redirect::names_parameters(spec)),
        );
        Self(Some(Arc::new(Steps { middlewares, edits_answers, names_parameters })))
    }

    /// Nothing ever runs.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// A step may ask for parameters of the route.
    pub fn names_parameters(&self) -> bool {
        self.0.as_ref().is_some_and(|steps| steps.names_parameters)
    }

    /// Runs every step until one answers.
    pub fn on_request(&self, request: &mut RequestHead, context: &RequestContext<'_>) -> Verdict {
        match &self.0 {
            None => Verdict::Continue,
            Some(steps) => steps.on_request(request, context),
        }
    }

    /// Lets every step see the head of the answer, be it a server's or one of the proxy itself; the step that saw
    /// the request first has the last word.
    pub fn on_response(&self, response: &mut ResponseHead) {
        let Some(steps) = self.0.as_ref().filter(|steps| steps.edits_answers) else { return };
        for middleware in steps.middlewares.iter().rev() {
            if let MiddlewareSpec::Headers(spec) = &middleware.spec {
                headers::on_response(&spec.response, response);
            }
        }
    }
}

impl Steps {
    fn on_request(&self, request: &mut RequestHead, context: &RequestContext<'_>) -> Verdict {
        let scheme = if context.scheme.eq_ignore_ascii_case("https") { Scheme::Https } else { Scheme::Http };
        let mut new_host: Option<Box<str>> = None;
        for middleware in &self.middlewares {
            let asked = Url {
                scheme,
                authority: new_host.as_deref().unwrap_or(request.authority()),
                target: request.target(),
            };
            let outcome = match &middleware.spec {
                MiddlewareSpec::Headers(spec) => headers::on_request(&spec.request, request),
                // Neither `*` nor CONNECT's `host:port` is a URL.
                _ if !asked.target.starts_with('/') => Outcome::Pass,
                MiddlewareSpec::Redirect(spec) => redirect::run(spec, &asked, context.params),
                MiddlewareSpec::Rewrite(spec) => match rewrite::run(spec, &asked) {
                    Rewritten::Pass => Outcome::Pass,
                    Rewritten::Reply(reply) => Outcome::Reply(reply),
                    Rewritten::Target { target, host } => match request.set_target(&target) {
                        Ok(()) => Outcome::Changed { host },
                        Err(_) => Outcome::Reply(Reply::refuse(400)),
                    },
                },
            };
            match outcome {
                Outcome::Pass | Outcome::Changed { host: None } => {}
                Outcome::Changed { host } => new_host = host,
                Outcome::Reply(reply) => return Verdict::Reply(reply),
            }
        }
        new_host.map_or(Verdict::Continue, Verdict::ContinueTo)
    }
}

#[cfg(test)]
mod tests;
