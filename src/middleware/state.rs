//! Steps that remember: what they know over requests, and what they hold of one request.

use super::basicauth::BasicAuth;
use super::breaker::{Breaker, Effect, Watched};
use super::connlimit::{ConnLimit, InFlight};
use super::mirror::Mirroring;
use super::ratelimit::RateLimit;
use super::{Outcome, RequestContext, Visit};
use crate::message::RequestHead;
use crate::model::{Middleware, MiddlewareSpec};
use std::sync::Arc;
use std::time::Instant;

/// A step's own, beside the object it is made from.
#[derive(Debug)]
pub(super) enum State {
    /// The object says all.
    None,
    RateLimit(RateLimit),
    ConnLimit(ConnLimit),
    Breaker(Arc<Breaker>),
    Mirror(Mirroring),
    BasicAuth(Arc<BasicAuth>),
}

/// What a step holds of a request until that has ended.
#[derive(Debug)]
pub(super) enum Hold {
    InFlight(#[expect(dead_code, reason = "counted until it is dropped")] InFlight),
    Watched(Watched),
}

impl State {
    /// Of a new form of a middleware, with what `previous` knows as far as that keeps its meaning.
    pub(super) fn compile(middleware: &Middleware, previous: Option<&Self>) -> Self {
        macro_rules! before {
            ($kind:ident) => {
                match previous {
                    Some(Self::$kind(before)) => Some(before),
                    _ => None,
                }
            };
        }
        match &middleware.spec {
            MiddlewareSpec::RateLimit(spec) => Self::RateLimit(RateLimit::compile(spec, before!(RateLimit))),
            MiddlewareSpec::ConnLimit(spec) => Self::ConnLimit(ConnLimit::compile(spec, before!(ConnLimit))),
            MiddlewareSpec::Breaker(spec) => {
                Self::Breaker(Breaker::compile(&middleware.id, spec, before!(Breaker).map(|it| &**it)))
            }
            MiddlewareSpec::Auth(spec) | MiddlewareSpec::BasicAuth(spec) => {
                Self::BasicAuth(BasicAuth::compile(spec, before!(BasicAuth).map(|it| &**it)).into())
            }
            MiddlewareSpec::Mirror(spec) => Self::Mirror(Mirroring::compile(spec, before!(Mirror))),
            _ => Self::None,
        }
    }

    pub(super) fn on_request(
        &self,
        visit: &mut Visit,
        request: &mut RequestHead,
        context: &RequestContext<'_>,
        step: usize,
    ) -> Outcome {
        match self {
            Self::None => Outcome::Pass,
            Self::RateLimit(limit) => limit.run(request, context),
            Self::ConnLimit(limit) => limit.run(visit, request, context),
            Self::Breaker(breaker) => breaker.run(visit, request, context.now),
            Self::BasicAuth(auth) => auth.run(request, step),
            Self::Mirror(mirror) => mirror.run(visit),
        }
    }
}

impl Visit {
    /// A step waits for the outcome, which is to be told by [`Visit::end`].
    pub fn is_watched(&self) -> bool {
        self.holds.iter().any(|hold| matches!(hold, Hold::Watched(_)))
    }

    /// The request was answered with `status` at `now`, or ended as if it had been; `worker` is the thread's number. Only
    /// the first word counts.
    pub fn end(&mut self, status: u16, now: Instant, worker: usize) {
        let mut effect = None;
        self.holds.retain(|hold| {
            let Hold::Watched(watched) = hold else { return true };
            effect = watched.end(status, now, worker).or(effect.take());
            false
        });
        self.note_effect(effect);
    }

    pub(super) fn note_effect(&mut self, effect: Option<Effect>) {
        if effect.is_some() {
            self.rare().effect = effect;
        }
    }

    /// What is to be done because of it; once.
    pub fn take_effect(&mut self) -> Option<Effect> {
        self.rare.as_mut()?.effect.take()
    }
}
