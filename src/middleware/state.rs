//! Steps that remember: what they know over requests, and what they hold of one request.

use super::connlimit::{ConnLimit, InFlight};
use super::ratelimit::RateLimit;
use super::{Outcome, RequestContext, Visit};
use crate::message::RequestHead;
use crate::model::MiddlewareSpec;

/// A step's own, beside the object it is made from.
#[derive(Debug)]
pub(super) enum State {
    /// The object says all.
    None,
    RateLimit(RateLimit),
    ConnLimit(ConnLimit),
}

/// What a step holds of a request until that has ended.
#[derive(Debug)]
pub(super) enum Hold {
    InFlight(#[expect(dead_code, reason = "counted until it is dropped")] InFlight),
}

impl State {
    /// Of a new form of a middleware, with what `previous` knows as far as that keeps its meaning.
    pub(super) fn compile(spec: &MiddlewareSpec, previous: Option<&Self>) -> Self {
        match (spec, previous) {
            (MiddlewareSpec::RateLimit(spec), Some(Self::RateLimit(previous))) => {
                Self::RateLimit(RateLimit::compile(spec, Some(previous)))
            }
            (MiddlewareSpec::RateLimit(spec), _) => Self::RateLimit(RateLimit::compile(spec, None)),
            (MiddlewareSpec::ConnLimit(spec), Some(Self::ConnLimit(previous))) => {
                Self::ConnLimit(ConnLimit::compile(spec, Some(previous)))
            }
            (MiddlewareSpec::ConnLimit(spec), _) => Self::ConnLimit(ConnLimit::compile(spec, None)),
            _ => Self::None,
        }
    }

    pub(super) fn on_request(
        &self,
        visit: &mut Visit,
        request: &mut RequestHead,
        context: &RequestContext<'_>,
    ) -> Outcome {
        match self {
            Self::None => Outcome::Pass,
            Self::RateLimit(limit) => limit.run(request, context),
            Self::ConnLimit(limit) => limit.run(visit, request, context),
        }
    }
}
