//! Vulcand's circuit breaker: measures what comes back, and answers in place of servers that do badly.
//!
//! Its state is one over all workers; each measures for itself, and whichever request comes when a check is due makes it.

use super::{Hold, Outcome, Reply, Visit};
use crate::expr::TripMeasure;
use crate::message::RequestHead;
use crate::meter::{Admission, Breaker as Machine, BreakerTimes, RoundTrips, Trips, millis};
use crate::model::{BreakerSpec, Fallback, MiddlewareId, Webhook};
use crate::telemetry::Reason;
use bytes::Bytes;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Meters of a breaker; workers beyond share them, and may lose a count to each other.
const METERS: usize = 64;

/// Something to be done that a request does not wait for.
#[derive(Debug, Clone)]
pub struct Effect {
    /// The middleware that wants it.
    pub middleware: MiddlewareId,
    /// What happened, for the log.
    pub event: &'static str,
    /// The call.
    pub webhook: Arc<Webhook>,
}

#[derive(Debug)]
pub(super) struct Breaker {
    id: MiddlewareId,
    spec: BreakerSpec,
    times: BreakerTimes,
    shared: Arc<Shared>,
}

/// What goes on over edits.
#[derive(Debug)]
struct Shared {
    /// Nothing need be asked of the machine.
    standby: AtomicBool,
    machine: Mutex<Machine>,
    next_check: AtomicU64,
    meters: [OnceLock<Box<RoundTrips>>; METERS],
}

/// A request that was let through, until its outcome is known.
#[derive(Debug)]
pub(super) struct Watched {
    breaker: Arc<Breaker>,
    began: Instant,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            standby: AtomicBool::new(true),
            machine: Mutex::default(),
            next_check: AtomicU64::new(0),
            meters: [const { OnceLock::new() }; METERS],
        }
    }
}

impl Shared {
    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Breaker {
    /// State and measures go on, whatever the edit: what it says holds from the next request on.
    pub(super) fn compile(id: &MiddlewareId, spec: &BreakerSpec, previous: Option<&Self>) -> Arc<Self> {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let times = BreakerTimes {
            fallback: millis(spec.fallback_duration),
            recovery: millis(spec.recovery_duration),
        };
        let shared = previous.map(|previous| previous.shared.clone()).unwrap_or_default();
        Arc::new(Self { id: id.clone(), spec: spec.clone(), times, shared })
    }

    pub(super) fn run(self: &Arc<Self>, visit: &mut Visit, request: &RequestHead, now: Instant) -> Outcome {
        if !self.shared.standby.load(Ordering::Acquire) {
            let mut machine = self.shared.machine();
            let admission = machine.admit(millis(now), &self.times);
            self.shared.standby.store(machine.is_standby(), Ordering::Release);
            drop(machine);
            match admission {
                Admission::Refused => return Outcome::Reply(self.fallback(request)),
                Admission::Restored => {
                    visit.note_effect(self.effect("standby", &self.spec.on_standby));
                }
                Admission::Passes => {}
            }
        }
        visit.holds.push(Hold::Watched(Watched { breaker: self.clone(), began: now }));
        Outcome::Pass
    }

    fn fallback(&self, request: &RequestHead) -> Reply {
        match &self.spec.fallback {
            Fallback::Response { status, content_type, body } => Reply {
                status: *status,
                reason: Some(Reason::Tripped),
                body: Some((
                    content_type.as_deref().unwrap_or("text/plain; charset=utf-8").to_owned().into(),
                    Bytes::copy_from_slice(body),
                )),
                ..Reply::default()
            },
            Fallback::Redirect { url, preserve_path } => {
                let location = if *preserve_path { with_path(url, request.path()) } else { url.to_string() };
                Reply { reason: Some(Reason::Tripped), ..Reply::redirect(302, location) }
            }
        }
    }

    fn effect(&self, event: &'static str, webhook: &Option<Arc<Webhook>>) -> Option<Effect> {
        tracing::warn!(middleware = %self.id, event, "circuit breaker");
        let webhook = webhook.clone()?;
        Some(Effect { middleware: self.id.clone(), event, webhook })
    }

    /// Takes in an outcome; what is to be done if it trips by that.
    fn record(&self, status: u16, latency: Duration, now: u64, worker: usize) -> Option<Effect> {
        let shared = &self.shared;
        if let Some(meter) = shared.meters.get(worker % METERS) {
            let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
            // An answer of 502 or 504 counts as none, whoever gave it, as vulcand has it.
            meter.get_or_init(Box::default).record(now, status, matches!(status, 502 | 504), micros);
        }
        let due = shared.next_check.load(Ordering::Relaxed);
        let period = u64::try_from(self.spec.check_period.as_millis()).unwrap_or(u64::MAX);
        let next = now.saturating_add(period);
        let is_mine = now >= due
            && shared.next_check.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if !is_mine || shared.machine().is_tripped() {
            return None;
        }
        let meters = || shared.meters.iter().filter_map(OnceLock::get).map(|meter| &**meter);
        let trips = Trips::of(now, meters());
        if !self.spec.condition.holds(&|measure| value(&trips, measure)) {
            return None;
        }
        let mut machine = shared.machine();
        if !machine.trip(now) {
            return None;
        }
        shared.standby.store(false, Ordering::Release);
        drop(machine);
        meters().for_each(RoundTrips::reset);
        self.effect("tripped", &self.spec.on_tripped)
    }
}

fn value(trips: &Trips, measure: &TripMeasure) -> f64 {
    match measure {
        TripMeasure::NetworkErrorRatio => trips.network_error_ratio(),
        TripMeasure::LatencyAtQuantileMs(percent) => (trips.latency_at_quantile(*percent) / 1_000) as f64,
        TripMeasure::ResponseCodeRatio(a0, a1, b0, b1) => trips.response_code_ratio(*a0, *a1, *b0, *b1),
    }
}

/// A location with the path that was asked for behind it. It begins with one slash, so that a path alone never leads to
/// another host.
fn with_path(url: &str, path: &str) -> String {
    let path = if super::url::is_visible(path) { path.trim_start_matches('/') } else { "" };
    format!("{}/{path}", url.trim_end_matches('/'))
}

impl Watched {
    /// The request was answered with `status`, or ended as if it had been.
    pub(super) fn end(&self, status: u16, now: Instant, worker: usize) -> Option<Effect> {
        let latency = now.saturating_duration_since(self.began);
        self.breaker.record(status, latency, millis(now), worker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_put_behind_a_location() {
        for (url, path, expected) in [
            ("https://sorry.example", "/a/b", "https://sorry.example/a/b"),
            ("https://sorry.example/x/", "/a", "https://sorry.example/x/a"),
            ("/", "//evil.example/a", "/evil.example/a"),
            ("/x", "//evil.example", "/x/evil.example"),
            ("https://sorry.example", "*", "https://sorry.example/*"),
            ("https://sorry.example", "/a\\b", "https://sorry.example/"),
        ] {
            assert_eq!(with_path(url, path), expected);
        }
    }
}
