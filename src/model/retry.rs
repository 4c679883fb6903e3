//! When a frontend's requests are sent again beyond what is always safe.

use super::duration;
use super::fields::{Fields, not_one_of};
use super::frontend::TIMEOUT_MAX;
use super::health::Statuses;
use serde_json::{Map, Value};
use std::time::Duration;

/// Most `Retry.Attempts`.
pub const ATTEMPTS_MAX: u32 = 10;
/// Largest `Retry.BodyBytesMax`; what a larger `Limits.MaxMemBodyBytes` counts as.
const BODY_BYTES_MAX: i64 = 16 * 1024 * 1024;
/// Attempts that `FailoverPredicate` can bring about without `Retry`: the first and ten more, as in vulcand.
const FAILOVER_ATTEMPTS_MAX: u32 = 11;
/// `Limits.MaxMemBodyBytes` where none is given.
const FAILOVER_BODY_BYTES_MAX: usize = 1024 * 1024;

/// `Settings.Retry`: attempts beyond the first, each at another server where there is one. Requests whose method is not
/// idempotent (RFC 9110 section 9.2.2) are sent again only where no byte of them was written, unless `AnyMethod`. Limits
/// and authentication are not run again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// `Attempts` altogether, 1 to 10; default 3.
    pub attempts: u32,
    /// `PerTryTimeout`: from an attempt's begin to its answer's head; default: the frontend's or backend's own timeout.
    pub per_try_timeout: Option<Duration>,
    /// `On`: what an attempt is repeated for.
    pub on: RetryOn,
    /// `AnyMethod`: also requests that may have run; default false.
    pub any_method: bool,
    /// `BodyBytesMax`: a body up to this size is kept to be sent again; default 64 KiB.
    pub body_bytes_max: usize,
    /// `BudgetPercent`: a backend's further attempts are at most this share of its requests of late; default 20.
    pub budget_percent: u8,
    /// `BudgetMin`: further attempts a second that are always allowed; default 10.
    pub budget_min: u32,
}

/// `Retry.On`: `connect`, `reset`, `timeout`, and status codes such as `503` or `5xx`; default connect, reset, timeout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryOn {
    /// `connect`: no connection could be made.
    pub connect: bool,
    /// `reset`: the connection ended before an answer.
    pub reset: bool,
    /// `timeout`: no answer within the attempt's time.
    pub timeout: bool,
    /// An answer with one of these statuses.
    pub statuses: Statuses,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 3,
            per_try_timeout: None,
            on: RetryOn { connect: true, reset: true, timeout: true, statuses: Statuses::default() },
            any_method: false,
            body_bytes_max: 64 * 1024,
            budget_percent: 20,
            budget_min: 10,
        }
    }
}

pub(super) fn read(fields: &mut Fields<'_>) -> Option<Retry> {
    fields.object("Retry", |fields| {
        let mut retry = Retry::default();
        if let Some(attempts) = fields.integer("Attempts", 1..=i64::from(ATTEMPTS_MAX)) {
            retry.attempts = u32::try_from(attempts).unwrap_or(retry.attempts);
        }
        retry.per_try_timeout = fields.duration("PerTryTimeout", TIMEOUT_MAX);
        if fields.value("On").is_some() {
            retry.on = read_on(fields);
        }
        retry.any_method = fields.boolean("AnyMethod").unwrap_or(false);
        if let Some(bytes) = fields.integer("BodyBytesMax", 0..=BODY_BYTES_MAX) {
            retry.body_bytes_max = usize::try_from(bytes).unwrap_or(retry.body_bytes_max);
        }
        if let Some(percent) = fields.integer("BudgetPercent", 0..=100) {
            retry.budget_percent = u8::try_from(percent).unwrap_or(retry.budget_percent);
        }
        if let Some(least) = fields.integer("BudgetMin", 0..=1_000_000) {
            retry.budget_min = u32::try_from(least).unwrap_or(retry.budget_min);
        }
        retry
    })
}

fn read_on(fields: &mut Fields<'_>) -> RetryOn {
    let mut on = RetryOn { connect: false, reset: false, timeout: false, statuses: Statuses::default() };
    let mut ranges = Vec::new();
    for (path, text) in fields.texts("On") {
        match text {
            "connect" => on.connect = true,
            "reset" => on.reset = true,
            "timeout" => on.timeout = true,
            _ => match Statuses::range(text).filter(|it| *it.start() >= 400 && *it.end() <= 599) {
                Some(range) => ranges.push(range),
                None => {
                    let known = ["connect", "reset", "timeout", "5xx", "503", "500-599"];
                    fields.report().error(path, not_one_of(text, &known));
                }
            },
        }
    }
    on.statuses = Statuses::new(ranges);
    on
}

impl Retry {
    /// How the attempts are made that a frontend's `FailoverPredicate` asks for, where it has no `Retry`.
    /// `replay_bytes_max` is its `Limits.MaxMemBodyBytes`.
    pub fn of_failover(replay_bytes_max: Option<u64>) -> Self {
        let most = replay_bytes_max.map(|most| i64::try_from(most).unwrap_or(i64::MAX).min(BODY_BYTES_MAX));
        Self {
            attempts: FAILOVER_ATTEMPTS_MAX,
            body_bytes_max: most
                .and_then(|most| usize::try_from(most).ok())
                .unwrap_or(FAILOVER_BODY_BYTES_MAX),
            ..Self::default()
        }
    }

    pub(super) fn to_value(&self) -> Value {
        let (mut value, standard) = (Map::new(), Self::default());
        for (name, number, default) in [
            ("Attempts", u64::from(self.attempts), u64::from(standard.attempts)),
            ("BodyBytesMax", self.body_bytes_max as u64, standard.body_bytes_max as u64),
            ("BudgetPercent", self.budget_percent.into(), standard.budget_percent.into()),
            ("BudgetMin", self.budget_min.into(), standard.budget_min.into()),
        ] {
            if number != default {
                value.insert(name.into(), number.into());
            }
        }
        if let Some(timeout) = self.per_try_timeout {
            value.insert("PerTryTimeout".into(), duration::format(timeout).into());
        }
        if self.on != standard.on {
            let words =
                [("connect", self.on.connect), ("reset", self.on.reset), ("timeout", self.on.timeout)];
            let words = words.into_iter().filter(|(_, set)| *set).map(|(word, _)| Value::from(word));
            let statuses = match self.on.statuses.to_value() {
                Value::Array(items) => items,
                _ => Vec::new(),
            };
            let statuses = statuses.into_iter().map(|item| match item {
                Value::Number(number) => number.to_string().into(),
                other => other,
            });
            value.insert("On".into(), words.chain(statuses).collect::<Vec<_>>().into());
        }
        if self.any_method {
            value.insert("AnyMethod".into(), true.into());
        }
        value.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_predicate_keeps_of_a_body_is_bounded() {
        for (given, kept) in
            [(None, 1 << 20), (Some(9), 9), (Some(1 << 24), 1 << 24), (Some(u64::MAX), 1 << 24)]
        {
            assert_eq!(Retry::of_failover(given).body_bytes_max, kept, "{given:?}");
        }
    }
}
