//! The steps between route and backend: what they do to a request, and to the head of its answer.
//!
//! A [`Chain`] is built when the table is and shares its middlewares with it. It does no I/O: a step changes the
//! request, lets it pass, answers it, or says what the proxy has to ask or to copy first. What a client sends is data
//! here: it is never read as a template, and it cannot choose the host of a redirect or of a rewritten request.

mod basicauth;
mod breaker;
mod compress;
mod connlimit;
mod cors;
mod crypt;
mod encode;
mod forwardauth;
mod headers;
mod mirror;
mod ratelimit;
mod redirect;
mod rewrite;
mod state;
mod trace;
mod url;
mod variable;

pub use basicauth::{Judgement, PasswordCheck};
pub use breaker::Effect;
pub use ratelimit::RATES_MAX;

pub use encode::{ENCODED_MAX, Encoder};
pub use mirror::{MIRRORED_MAX, Mirror, Ticket};
pub use trace::{TraceFacts, Traced};

use crate::message::{Fields, RequestHead, ResponseHead};
use crate::model::{BackendId, Coding, Middleware, MiddlewareSpec, RespondSpec, Scheme};
use crate::telemetry::Reason;
use bytes::Bytes;
use rewrite::Rewritten;
use smallvec::SmallVec;
use state::{Hold, State};
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use url::Url;

/// Longest URL that a step may build, in bytes; one that would be longer is answered with 414.
pub const URL_BYTES_MAX: usize = 16 * 1024;

/// A middleware as requests meet it: the object, and what it remembers over requests and over tables.
#[derive(Debug)]
pub struct Step {
    middleware: Arc<Middleware>,
    state: State,
}

impl Step {
    /// A step of a middleware. What it remembers is taken over from `previous`, the same middleware's last step, as far
    /// as the edit between them leaves it a meaning.
    pub fn compile(middleware: Arc<Middleware>, previous: Option<&Self>) -> Arc<Self> {
        let state = State::compile(&middleware, previous.map(|previous| &previous.state));
        Arc::new(Self { middleware, state })
    }
}

/// The middlewares of one frontend in the order in which they run. A clone shares everything.
#[derive(Debug, Clone, Default)]
pub struct Chain(Option<Arc<Steps>>);

#[derive(Debug)]
struct Steps {
    steps: Box<[Arc<Step>]>,
    edits_answers: bool,
    names_parameters: bool,
    /// Backends and aliases that steps name.
    backends: Box<[BackendId]>,
    asks: bool,
}

/// What steps know of a request besides its head.
#[derive(Clone, Copy)]
pub struct RequestContext<'a> {
    /// `https` or `http`: what the client used, also where a trusted proxy before this one ended its TLS.
    pub scheme: &'a str,
    /// The client's address; absent over a Unix socket.
    pub client: Option<IpAddr>,
    /// When the request began.
    pub now: Instant,
    /// What the route's `<name>`s matched. Only asked where [`Chain::names_parameters`] says so.
    pub params: &'a dyn Fn(&str) -> Option<&'a str>,
}

/// One request's way through its chain. Every request pays for its size, also those that pass no chain: what few steps
/// note stands apart, in a box.
#[derive(Debug, Default)]
pub struct Visit {
    host: Option<Box<str>>,
    holds: SmallVec<[Hold; 1]>,
    /// What the client takes of what a step offers.
    coding: Option<Coding>,
    encoder: Option<Encoder>,
    rare: Option<Box<Rare>>,
}

/// What few steps note of a request.
#[derive(Debug, Default)]
struct Rare {
    /// The page that asks, as its browser says.
    origin: Option<Box<str>>,
    effect: Option<Effect>,
    /// The target as the client sent it, where a step will tell it to another service.
    asked: Option<Box<str>>,
    mirrors: Vec<Mirror>,
    mirrors_dropped: u32,
    traces: Vec<Traced>,
}

impl Visit {
    /// The `Host` that the server sees (with port where one was given), whatever the frontend's settings, where a step
    /// chose it.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// Chooses the `Host` of a request that passes no chain.
    pub fn set_host(&mut self, host: Option<Box<str>>) {
        self.host = host;
    }

    /// The traces of the request that are to be written; once.
    pub fn take_traces(&mut self) -> Vec<Traced> {
        self.rare.as_mut().map(|rare| std::mem::take(&mut rare.traces)).unwrap_or_default()
    }

    /// The copies of the request that are to be sent, and how many are not because too many are on their way; once.
    pub fn take_mirrors(&mut self) -> (Vec<Mirror>, u32) {
        let Some(rare) = &mut self.rare else { return Default::default() };
        (std::mem::take(&mut rare.mirrors), std::mem::take(&mut rare.mirrors_dropped))
    }

    /// The answer's body is whole already: it goes as it is, and no step is to have it changed.
    pub fn keep_body(&mut self) {
        self.coding = None;
    }

    /// What the body of the answer has to go through, as the step wants it that saw its head; once.
    pub fn take_encoder(&mut self) -> Option<Encoder> {
        self.encoder.take()
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Continue,
    /// It is answered here. [`Chain::on_response`] has not yet seen this answer.
    Reply(Reply),
    /// It waits for a word; then [`Chain::resume`] goes on.
    Ask(Ask),
}

/// What a request waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// The answer of a service.
    Service(Box<Question>),
    /// The check of a password, which takes a processor's time and is not for a worker's thread.
    Password(Arc<PasswordCheck>),
}

impl Ask {
    /// Which step asks.
    fn step(&self) -> usize {
        match self {
            Self::Service(question) => question.step,
            Self::Password(check) => check.step(),
        }
    }
}

/// A GET to be sent to a backend before a request goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Whom to ask: a backend or an alias.
    pub backend: BackendId,
    /// Path and query.
    pub path: Box<str>,
    /// Header fields with valid names and values.
    pub fields: Vec<(Box<str>, Box<[u8]>)>,
    /// For the whole answer.
    pub timeout: Duration,
    /// Which step asks.
    step: usize,
}

/// What came of an [`Ask`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// The service's word.
    Service(ServiceAnswer),
    /// What is thought of the password.
    Password(Judgement),
}

/// The answer to a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAnswer {
    /// The status, 200 to 599.
    pub status: u16,
    /// Its fields, without those of a connection, of framing, and `Content-Type`.
    pub fields: Vec<(Box<str>, Box<[u8]>)>,
    /// `Content-Type` and bytes; absent where they were not read or too long.
    pub body: Option<(Cow<'static, str>, Bytes)>,
}

/// An answer made by a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Why, for log and metrics; absent where nothing was refused.
    pub reason: Option<Reason>,
    /// Header fields with valid names and values.
    pub fields: Vec<(&'static str, Box<str>)>,
    /// Fields of another's answer that is passed on; they stand beside each other where names repeat.
    pub passed: Vec<(Box<str>, Box<[u8]>)>,
    /// Its `Content-Type` and bytes. Absent with a reason: the proxy's own text for the status.
    pub body: Option<(Cow<'static, str>, Bytes)>,
}

impl Reply {
    /// An answer of a status alone.
    pub fn of(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// A refusal, told as the proxy tells its own.
    fn refuse(status: u16, reason: Reason) -> Self {
        Self { reason: Some(reason), ..Self::of(status) }
    }

    /// A redirect to an absolute URL of visible ASCII characters.
    fn redirect(status: u16, location: impl Into<Box<str>>) -> Self {
        Self { fields: vec![("Location", location.into())], ..Self::of(status) }
    }
}

/// The answer to a URL that cannot be built: 400, or 414 where it is too long.
fn refusal(status: u16) -> Reply {
    Reply::refuse(status, if status == 414 { Reason::HeadTooLarge } else { Reason::BadRequest })
}

/// Whether a step of this kind looks at answers.
fn edits_answers(spec: &MiddlewareSpec) -> bool {
    match spec {
        MiddlewareSpec::Headers(spec) => !spec.response.is_empty(),
        MiddlewareSpec::Cors(_) | MiddlewareSpec::Compress(_) => true,
        MiddlewareSpec::Trace(spec) => !spec.response_headers.is_empty(),
        _ => false,
    }
}

/// Says that the answer depends on a field of the request, where it does not say so already.
fn add_vary(fields: &mut Fields, name: &'static str) {
    let members = fields.get_all("Vary").flat_map(|value| value.split(|byte| *byte == b','));
    let is_it = |member: &[u8]| member == b"*" || member.eq_ignore_ascii_case(name.as_bytes());
    let is_told = members.map(<[u8]>::trim_ascii).any(is_it);
    if !is_told {
        let _ = fields.add("Vary", name.as_bytes());
    }
}

/// An answer that is always the same.
fn respond(spec: &RespondSpec) -> Reply {
    let kind = spec.content_type.as_deref().unwrap_or("text/plain; charset=utf-8");
    let has_body = spec.content_type.is_some() || !spec.body.is_empty();
    Reply {
        passed: spec.fields.iter().map(|(name, value)| (name.clone(), value.as_bytes().into())).collect(),
        body: has_body.then(|| (kind.to_owned().into(), spec.body.clone())),
        ..Reply::of(spec.status)
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
    Ask(Ask),
}

impl Chain {
    /// No middlewares.
    pub const fn empty() -> Self {
        Self(None)
    }

    /// The chain of shared middlewares in the frontend's order, followed by its own ones by id. They run by
    /// priority, smaller first, and in the given order where that is the same.
    pub fn compile(shared_then_own: &[Arc<Step>]) -> Self {
        if shared_then_own.is_empty() {
            return Self::empty();
        }
        let mut steps: Box<[Arc<Step>]> = shared_then_own.into();
        steps.sort_by_key(|step| step.middleware.priority);
        let specs = || steps.iter().map(|step| &step.middleware.spec);
        let edits_answers = specs().any(edits_answers);
        let names_parameters = specs()
            .any(|spec| matches!(spec, MiddlewareSpec::Redirect(spec) if redirect::names_parameters(spec)));
        let backends = specs().filter_map(MiddlewareSpec::backend).cloned().collect();
        let asks = specs().any(|spec| matches!(spec, MiddlewareSpec::ForwardAuth(_)));
        Self(Some(Arc::new(Steps { steps, edits_answers, names_parameters, backends, asks })))
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
    pub fn on_request(
        &self,
        visit: &mut Visit,
        request: &mut RequestHead,
        context: &RequestContext<'_>,
    ) -> Verdict {
        match &self.0 {
            None => Verdict::Continue,
            Some(steps) => {
                if steps.asks {
                    visit.rare().asked = Some(request.target().into());
                }
                steps.on_request(visit, request, context, 0)
            }
        }
    }

    /// The backends and aliases that its steps name.
    pub fn backends(&self) -> &[BackendId] {
        self.0.as_ref().map_or(&[], |steps| &steps.backends)
    }

    /// Goes on behind the step that asked, once it has an answer; `None`: there was none, or none in time.
    pub fn resume(
        &self,
        visit: &mut Visit,
        request: &mut RequestHead,
        context: &RequestContext<'_>,
        ask: &Ask,
        told: Option<Told>,
    ) -> Verdict {
        let Some(steps) = &self.0 else { return Verdict::Continue };
        let outcome =
            match (steps.steps.get(ask.step()).map(|step| (&step.middleware.spec, &step.state)), told) {
                (Some((MiddlewareSpec::ForwardAuth(spec), _)), Some(Told::Service(told))) => {
                    forwardauth::on_told(spec, request, Some(told))
                }
                (Some((MiddlewareSpec::ForwardAuth(spec), _)), None) => {
                    forwardauth::on_told(spec, request, None)
                }
                (Some((_, State::BasicAuth(auth))), Some(Told::Password(judgement))) => {
                    auth.act(judgement, request)
                }
                _ => Outcome::Reply(Reply::refuse(503, Reason::Auth)),
            };
        match outcome {
            Outcome::Reply(reply) => Verdict::Reply(reply),
            _ => steps.on_request(visit, request, context, ask.step() + 1),
        }
    }

    /// Lets every step see the head of the answer, be it a server's or one of the proxy itself; the step that saw
    /// the request first has the last word.
    pub fn on_response(&self, visit: &mut Visit, request: &RequestHead, response: &mut ResponseHead) {
        let Some(steps) = self.0.as_ref().filter(|steps| steps.edits_answers) else { return };
        for step in steps.steps.iter().rev() {
            match &step.middleware.spec {
                MiddlewareSpec::Headers(spec) => headers::on_response(&spec.response, response),
                MiddlewareSpec::Cors(spec) => cors::on_response(spec, visit, request, response),
                MiddlewareSpec::Compress(spec) => compress::on_response(spec, visit, request, response),
                MiddlewareSpec::Trace(spec) => trace::on_response(spec, step, visit, response),
                _ => {}
            }
        }
    }
}

impl Steps {
    fn on_request(
        &self,
        visit: &mut Visit,
        request: &mut RequestHead,
        context: &RequestContext<'_>,
        from: usize,
    ) -> Verdict {
        let scheme = if context.scheme.eq_ignore_ascii_case("https") { Scheme::Https } else { Scheme::Http };
        for (index, step) in self.steps.iter().enumerate().skip(from) {
            let asked = Url {
                scheme,
                authority: visit.host.as_deref().unwrap_or(request.authority()),
                target: request.target(),
            };
            let outcome = match &step.middleware.spec {
                MiddlewareSpec::Headers(spec) => headers::on_request(&spec.request, request),
                MiddlewareSpec::Cors(spec) => cors::on_request(spec, visit, request),
                MiddlewareSpec::Compress(spec) => {
                    compress::on_request(spec, visit, request);
                    Outcome::Pass
                }
                MiddlewareSpec::ForwardAuth(spec) => {
                    forwardauth::on_request(spec, visit, request, scheme.as_str(), index)
                }
                MiddlewareSpec::Trace(spec) => {
                    trace::on_request(spec, step, visit, request, scheme.as_str());
                    Outcome::Pass
                }
                // Neither `*` nor CONNECT's `host:port` is a URL.
                MiddlewareSpec::Redirect(_) | MiddlewareSpec::Rewrite(_)
                    if !asked.target.starts_with('/') =>
                {
                    Outcome::Pass
                }
                MiddlewareSpec::Redirect(spec) => redirect::run(spec, &asked, context.params),
                MiddlewareSpec::Rewrite(spec) => match rewrite::run(spec, &asked) {
                    Rewritten::Pass => Outcome::Pass,
                    Rewritten::Reply(reply) => Outcome::Reply(reply),
                    Rewritten::Target { target, host } => match request.set_target(&target) {
                        Ok(()) => Outcome::Changed { host },
                        Err(_) => Outcome::Reply(refusal(400)),
                    },
                },
                MiddlewareSpec::RateLimit(_)
                | MiddlewareSpec::ConnLimit(_)
                | MiddlewareSpec::Breaker(_)
                | MiddlewareSpec::Auth(_)
                | MiddlewareSpec::BasicAuth(_)
                | MiddlewareSpec::Mirror(_) => step.state.on_request(visit, request, context, index),
                MiddlewareSpec::IpFilter(spec) if spec.admits(context.client) => Outcome::Pass,
                MiddlewareSpec::IpFilter(_) => Outcome::Reply(Reply::refuse(403, Reason::Forbidden)),
                MiddlewareSpec::Respond(spec) => Outcome::Reply(respond(spec)),
            };
            match outcome {
                Outcome::Pass | Outcome::Changed { host: None } => {}
                Outcome::Changed { host } => visit.host = host,
                Outcome::Reply(reply) => return Verdict::Reply(reply),
                Outcome::Ask(ask) => return Verdict::Ask(ask),
            }
        }
        Verdict::Continue
    }
}

#[cfg(test)]
mod tests;
