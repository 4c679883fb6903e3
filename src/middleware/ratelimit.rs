//! Requests by time: a token bucket for each value of a variable, exact over all workers.

use super::{Outcome, Reply, RequestContext, variable};
use crate::message::RequestHead;
use crate::meter::{Buckets, Keyed, Rate, nanos};
use crate::model::{RateLimitSpec, RateSpec, duration};
use crate::telemetry::Reason;
use serde_json::Value;
use smallvec::SmallVec;
use std::sync::Arc;
use std::time::Duration;

/// Most rates that a request may bring; more are as rates that cannot be read.
pub const RATES_MAX: usize = 8;

type Rates = SmallVec<[Rate; 1]>;

#[derive(Debug)]
pub(super) struct RateLimit {
    spec: RateLimitSpec,
    rate: Rate,
    buckets: Arc<Keyed<Buckets>>,
}

impl RateLimit {
    /// Buckets go on as long as they are counted by the same.
    pub(super) fn compile(spec: &RateLimitSpec, previous: Option<&Self>) -> Self {
        let same = previous.filter(|previous| previous.spec.by == spec.by);
        let buckets = same.map(|previous| previous.buckets.clone()).unwrap_or_default();
        Self { spec: spec.clone(), rate: rate(&spec.rate), buckets }
    }

    pub(super) fn run(&self, request: &RequestHead, context: &RequestContext<'_>) -> Outcome {
        let own = self.spec.rates_from.as_ref().and_then(|name| read(request.fields.get(name)?));
        let rates = own.as_deref().unwrap_or(std::slice::from_ref(&self.rate));
        let key = variable::key(&self.spec.by, request, context);
        let now = nanos(context.now);
        match self.buckets.change(key, now, Buckets::full_at, |buckets| buckets.take(now, rates)) {
            Ok(()) => Outcome::Pass,
            Err(wait) => Outcome::Reply(limited(wait)),
        }
    }
}

fn rate(spec: &RateSpec) -> Rate {
    Rate::new(spec.requests, Duration::from_secs(spec.period_seconds.into()), spec.burst)
}

/// Rates that a request brings; `None` where there are none, or one of them is wrong.
fn read(text: &[u8]) -> Option<Rates> {
    let Ok(Value::Array(items)) = serde_json::from_slice(text) else { return None };
    if items.is_empty() || items.len() > RATES_MAX {
        return None;
    }
    items.iter().map(read_one).collect()
}

/// Names match without regard to case, as vulcand's do.
fn read_one(item: &Value) -> Option<Rate> {
    let (mut requests, mut period_seconds, mut burst) = (0, 0, 0);
    for (name, value) in item.as_object()? {
        for (known, field) in
            [("Requests", &mut requests), ("PeriodSeconds", &mut period_seconds), ("Burst", &mut burst)]
        {
            if known.eq_ignore_ascii_case(name) {
                *field = value.as_i64()?;
            }
        }
    }
    RateSpec::new(requests, period_seconds, burst).map(|spec| rate(&spec))
}

/// Tells when to come back; `wait` is in nanoseconds.
fn limited(wait: u64) -> Reply {
    // Whoever comes at the time that is told gets through, so it is rounded up. Below a millisecond Go writes a sign that a
    // field cannot carry.
    let wait = Duration::from_millis(wait.div_ceil(1_000_000));
    let (told, seconds) = (duration::format(wait), wait.as_millis().div_ceil(1_000));
    let text = format!("max rate reached: retry-in {told}");
    Reply {
        status: 429,
        reason: Some(Reason::Limited),
        fields: vec![("X-Retry-In", told.into()), ("Retry-After", seconds.to_string().into())],
        body: Some(("text/plain; charset=utf-8".into(), text.into())),
        ..Reply::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_of_a_request_are_read() {
        let of = |requests, seconds, burst| Rate::new(requests, Duration::from_secs(seconds), burst);
        let check = |text: &str, expected: Option<&[Rate]>| {
            assert_eq!(read(text.as_bytes()).as_deref(), expected, "{text}");
        };
        check(r#"[{"PeriodSeconds":1,"Requests":10,"Burst":20}]"#, Some(&[of(10, 1, 20)]));
        check(
            r#"[{"periodseconds":1,"REQUESTS":10},{"PeriodSeconds":60,"Requests":100,"Burst":0,"x":"y"}]"#,
            Some(&[of(10, 1, 10), of(100, 60, 100)]),
        );
        for bad in [
            "",
            "{}",
            "[]",
            "[1]",
            "[{}]",
            r#"[{"PeriodSeconds":1}]"#,
            r#"[{"PeriodSeconds":0,"Requests":1}]"#,
            r#"[{"PeriodSeconds":1,"Requests":-1}]"#,
            r#"[{"PeriodSeconds":1,"Requests":"1"}]"#,
            r#"[{"PeriodSeconds":1,"Requests":1},{"PeriodSeconds":1}]"#,
            r#"[{"PeriodSeconds":1,"Requests":1,"Burst":9000000000000000000}]"#,
            r#"[{"PeriodSeconds":31536000,"Requests":1,"Burst":101}]"#,
        ] {
            check(bad, None);
        }
        let nine = vec![r#"{"PeriodSeconds":1,"Requests":1}"#; 9].join(",");
        check(&format!("[{nine}]"), None);
    }

    #[test]
    fn when_to_come_back_is_rounded_up() {
        for (wait, told, seconds) in [
            (1, "1ms", "1"),
            (1_000_000, "1ms", "1"),
            (1_500_000_000, "1.5s", "2"),
            (3_600_000_000_001, "1h0m0.001s", "3601"),
        ] {
            let reply = limited(wait);
            assert_eq!(reply.fields, [("X-Retry-In", told.into()), ("Retry-After", seconds.into())]);
        }
    }
}
