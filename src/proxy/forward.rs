//! Sends a request to a server: picks one, borrows or makes a connection, and tries again where that is safe.
//!
//! A request runs once. It is sent again only if no byte of it was written, or the server said that it did not run it, or,
//! once and on a fresh connection, when a reused connection closed without an answer's first byte, the method is idempotent
//! (RFC 9110 section 9.2.2) and the body was empty or is still whole; or where the frontend's own [`Retry`] or
//! [`Predicate`] asks for more. Limits and authentication have let it pass once, and are not asked again.

use super::body::Body;
use super::choice;
use super::connect::{Way, obtain};
use super::error::Failure;
use super::exchange::{Carrier, Exchange, Lost, Next, Times};
use super::over_http1::OverHttp1;
use super::over_http2::OverHttp2;
use super::passage::Passage;
use super::timer::Timer;
use super::upload::{Intake, Untouched, WireUpload};
use super::worker::Worker;
use crate::expr::{Predicate, Tried};
use crate::message::RequestWrite;
use crate::model::Retry;
use crate::telemetry::Reason;
use crate::upstream::{Backend, Server, Turn};
use crate::wire::Wire;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Servers tried for one request, as long as none could be connected to.
const SERVERS_TRIED_MAX: usize = 3;
/// A body up to this size is kept while a reused connection may turn out to be closed.
const REPLAY_BYTES: usize = 64 * 1024;

/// What was done for a request so far.
struct Course<'a> {
    backend: &'a Arc<Backend>,
    /// How further attempts are made, where the frontend asks for any.
    retry: Option<&'a Retry>,
    /// Which they are, in place of what `retry` says about that.
    predicate: Option<&'a Predicate>,
    /// Whether the frontend may want an attempt repeated that may have run.
    repeats: bool,
    /// Whether the next attempt was asked for by the frontend.
    asked: bool,
    /// No further attempt begins after it.
    until: Instant,
    times: Times,
    tried: Vec<Arc<Server>>,
}

/// What follows an attempt without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// The same server once more, on a fresh connection.
    Afresh,
    /// Another server.
    Elsewhere,
    /// The client is told.
    GiveUp,
}

/// Sends the request of `passage` with `body`. On success the answer's first head has come.
/// `client` is the client's connection where its end can be watched; `timer` is the request's own while it lasts.
pub(super) async fn send(
    passage: &mut Passage,
    backend: &Arc<Backend>,
    body: Body,
    client: Option<Rc<Wire>>,
    timer: &Rc<Timer>,
    upgrade: bool,
) -> Result<(Exchange, Next), Failure> {
    let worker = passage.worker.clone();
    let settings = passage.frontend.as_ref().map(|frontend| &*frontend.object.settings);
    let times = choice::times(passage, backend, settings);
    // Few frontends have one; a clone of the frontend would be counted between workers.
    let predicate = settings.and_then(|settings| settings.failover.clone());
    let retry = settings.and_then(|settings| match (&settings.retry, &predicate) {
        (None, Some(_)) => Some(Retry::of_failover(settings.replay_bytes_max)),
        (retry, _) => retry.clone(),
    });
    let mut course = Course::new(backend, retry.as_ref(), predicate.as_deref(), passage, times);
    let mut untouched = Untouched::from(body);
    let mut afresh: Option<Arc<Server>> = None;
    let mut last = Failure::of(Reason::NoServer);
    backend.note_request(worker.now());
    loop {
        let fresh = afresh.is_some();
        let Some(server) = afresh.take().or_else(|| course.pick(&worker, passage)) else { return Err(last) };
        passage.attempt(&server);
        let way = match obtain(&worker, backend, &server, timer, course.dial_time(), upgrade, fresh).await {
            Ok(way) => way,
            Err(failure) => {
                passage.failed(failure.reason);
                last = failure;
                let goes_on = course.may_connect_elsewhere(passage, failure);
                course.tried.push(server);
                if goes_on {
                    continue;
                }
                return Err(last);
            }
        };
        // A shared connection may turn out to be ending, too; once per server it is not held against that.
        let reused = match way {
            Way::Wire(_, reused) => reused,
            Way::Shared(_) => !fresh,
        };
        let carrier = match course.load(passage, &server, way, untouched, upgrade) {
            Ok(carrier) => carrier,
            Err(failure) => return Err(failure),
        };
        let times = course.attempt_times();
        let method = passage.head.method_kind;
        let mut exchange =
            Exchange::new(&worker, server.clone(), carrier, timer.clone(), method, times, client.clone());
        let idempotent = method.is_idempotent();
        let repeats = course.repeats || idempotent && reused;
        let generation = passage.generation;
        let first = exchange.first(repeats, || worker.is_past(generation), || passage.settle()).await;
        let (verdict, failure) = match &first {
            Ok(Next::Head(head))
                if passage.generation.is_some()
                    && exchange.is_whole()
                    && course.repeats_status(passage, head.status) =>
            {
                (Verdict::Elsewhere, Failure::of(Reason::UpstreamReset))
            }
            Ok(_) => (Verdict::GiveUp, last),
            Err(lost) => (course.verdict(passage, lost, reused && !fresh), failure_of(lost)),
        };
        match first {
            Ok(next) if verdict == Verdict::GiveUp => return Ok((exchange, next)),
            Ok(Next::Head(head)) => {
                passage.answered(head.status);
                head.recycle(&mut worker.spare.borrow_mut());
            }
            Ok(Next::Continue) => {}
            Err(_) => passage.failed(failure.reason),
        }
        passage.bytes_in = exchange.body_bytes();
        last = failure;
        if passage.generation.is_none() {
            // It was said that nothing more begins of it.
            return Err(last);
        }
        untouched = match exchange.into_untouched() {
            Some(untouched) if verdict != Verdict::GiveUp => untouched,
            _ => return Err(last),
        };
        match verdict {
            Verdict::Afresh => afresh = Some(server),
            _ => course.tried.push(server),
        }
    }
}

fn failure_of(lost: &Lost) -> Failure {
    match lost {
        Lost::Final(failure) | Lost::Failed(failure) => *failure,
        Lost::Unsent | Lost::StaleConnection => Failure::of(Reason::UpstreamReset),
    }
}

impl<'a> Course<'a> {
    fn new(
        backend: &'a Arc<Backend>,
        retry: Option<&'a Retry>,
        predicate: Option<&'a Predicate>,
        passage: &Passage,
        times: Times,
    ) -> Self {
        let repeats = match (predicate, retry) {
            (Some(predicate), _) => predicate.may_hold(passage.head.method()),
            (None, Some(retry)) => passage.head.method_kind.is_idempotent() || retry.any_method,
            (None, None) => false,
        };
        // Without a time for each attempt, each that a predicate asks for has the whole one.
        let longest = match (predicate, retry) {
            (Some(_), Some(retry)) if retry.per_try_timeout.is_none() => {
                times.answer.saturating_mul(retry.attempts)
            }
            _ => times.answer,
        };
        Self {
            backend,
            retry,
            predicate,
            repeats,
            asked: false,
            until: passage.started + longest,
            times,
            tried: Vec::new(),
        }
    }

    /// The next server: one that was not tried; where all were, any, if the frontend asks for more attempts.
    fn pick(&self, worker: &Worker, passage: &Passage) -> Option<Arc<Server>> {
        let mut turn = Turn {
            worker: worker.index,
            now: worker.now(),
            random: worker.random(),
            key: passage.client_key,
            sticky: passage.sticky,
            tried: &self.tried,
        };
        if let Some(server) = self.backend.pick(&turn) {
            return Some(server.clone());
        }
        let wanted = self.retry.is_some() && (self.predicate.is_none() || self.asked);
        if self.tried.is_empty() || !wanted {
            return None;
        }
        turn.tried = &[];
        self.backend.pick(&turn).cloned()
    }

    /// How long connecting may take.
    fn dial_time(&self) -> Duration {
        self.retry.and_then(|retry| retry.per_try_timeout).unwrap_or(Duration::MAX)
    }

    fn attempt_times(&self) -> Times {
        let per_try = self.retry.and_then(|retry| retry.per_try_timeout);
        Times {
            answer: per_try.map_or(self.times.answer, |per_try| per_try.min(self.times.answer)),
            ..self.times
        }
    }

    /// Nothing was written, so any request may go to another server.
    fn may_connect_elsewhere(&mut self, passage: &Passage, failure: Failure) -> bool {
        if failure.reason == Reason::Overload || !self.is_in_time() {
            return false;
        }
        let tried = self.tried.len() + 1;
        match (self.predicate, self.retry) {
            (Some(_), _) => {
                self.asked = self.is_asked_for(passage, failure.status);
                self.asked || tried < SERVERS_TRIED_MAX
            }
            (None, Some(retry)) => retry.on.connect && tried < retry.attempts as usize,
            (None, None) => tried < SERVERS_TRIED_MAX,
        }
    }

    fn is_in_time(&self) -> bool {
        Instant::now() < self.until
    }

    /// Whether the frontend's settings allow one more attempt of a request that may have run.
    fn may_repeat(&self) -> Option<&'a Retry> {
        let retry = self.retry?;
        let allowed = self.repeats && self.tried.len() + 1 < retry.attempts as usize && self.is_in_time();
        Some(retry).filter(|_| allowed)
    }

    /// Whether the predicate wants one more attempt after one that ended with `status`; takes it from the budget.
    fn is_asked_for(&self, passage: &Passage, status: u16) -> bool {
        let Some((predicate, retry)) = self.predicate.zip(self.may_repeat()) else { return false };
        let attempts = u32::try_from(self.tried.len()).unwrap_or(u32::MAX).saturating_add(1);
        predicate.holds(&Tried { method: passage.head.method(), attempts, status })
            && self.backend.may_retry(retry, Instant::now())
    }

    fn repeats_status(&mut self, passage: &Passage, status: u16) -> bool {
        if status < 200 {
            return false;
        }
        self.asked = match self.predicate {
            Some(_) => self.is_asked_for(passage, status),
            None => self.may_repeat().is_some_and(|retry| {
                retry.on.statuses.contains(status) && self.backend.may_retry(retry, Instant::now())
            }),
        };
        self.asked
    }

    fn verdict(&mut self, passage: &Passage, lost: &Lost, reused: bool) -> Verdict {
        let idempotent = passage.head.method_kind.is_idempotent();
        let failure = match lost {
            Lost::Final(_) => return Verdict::GiveUp,
            Lost::Unsent if reused => return Verdict::Afresh,
            Lost::StaleConnection if reused && idempotent => return Verdict::Afresh,
            Lost::Unsent if self.tried.len() + 1 < SERVERS_TRIED_MAX => return Verdict::Elsewhere,
            Lost::Unsent | Lost::StaleConnection => Failure::of(Reason::UpstreamReset),
            Lost::Failed(failure) => *failure,
        };
        self.asked = match self.predicate {
            Some(_) => self.is_asked_for(passage, failure.status),
            None if matches!(lost, Lost::Unsent) => false,
            None => self.may_repeat().is_some_and(|retry| {
                let wanted = match failure.reason {
                    Reason::UpstreamTimeout => retry.on.timeout,
                    Reason::UpstreamReset | Reason::BadAnswer => retry.on.reset,
                    _ => false,
                };
                wanted && self.backend.may_retry(retry, Instant::now())
            }),
        };
        if self.asked { Verdict::Elsewhere } else { Verdict::GiveUp }
    }

    /// Serialises the head and lines the body up behind it.
    fn load(
        &self,
        passage: &Passage,
        server: &Server,
        way: Way,
        untouched: Untouched,
        upgrade: bool,
    ) -> Result<Carrier, Failure> {
        let head = &passage.head;
        let settings = passage.frontend.as_ref().map(|frontend| &frontend.object.settings);
        let pass_host = settings.is_some_and(|settings| settings.pass_host_header);
        let host = match passage.visit.host() {
            Some(host) => Some(host),
            None if pass_host => None,
            None => Some(&*server.authority),
        };
        let expect_continue = head.expect_continue && !untouched.body.is_empty() && untouched.kept.is_empty();
        let bytes_max = settings.and_then(|settings| settings.body_bytes_max);
        let replay = match (&way, self.retry) {
            (_, Some(retry)) if self.repeats => Some(retry.body_bytes_max),
            (Way::Wire(_, true), _) if head.method_kind.is_idempotent() => Some(REPLAY_BYTES),
            _ => None,
        };
        let intake = Intake::new(untouched, head.body, bytes_max, replay);
        let worker = &passage.worker;
        match way {
            Way::Wire(lent, reused) => {
                let options = RequestWrite {
                    host,
                    body: head.body,
                    upgrade: if upgrade { head.upgrade_token() } else { None },
                    trailers: head.trailers_accepted,
                    expect_continue,
                };
                let mut text = worker.spare.borrow_mut().buffer();
                head.write_http1(&mut text, &options);
                let mut upload = WireUpload::new(text, intake, head.body);
                if expect_continue {
                    upload.hold();
                }
                let settings = &self.backend.settings;
                let keep = (worker.idle_connections_max(settings), settings.keep_alive.period);
                Ok(Carrier::Http1(Box::new(OverHttp1::new(lent, upload, reused, keep))))
            }
            Way::Shared(connection) => {
                let scheme = server.url.scheme.as_str();
                let head =
                    head.to_http(scheme, host, head.body, head.trailers_accepted).map_err(|error| {
                        tracing::debug!(%error, "a request that HTTP/2 cannot carry");
                        Failure::of(Reason::BadRequest)
                    })?;
                let over = OverHttp2::new(connection, head, intake, expect_continue, worker, worker.now());
                Ok(Carrier::Http2(Box::new(over)))
            }
        }
    }
}
