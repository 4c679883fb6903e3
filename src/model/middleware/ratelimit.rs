//! `ratelimit`: vulcand's, requests by time.

use crate::model::fields::Fields;
use crate::model::variable::{self, VariableSpec};
use serde_json::{Map, Value};

/// Most requests of one period, and of one burst.
const REQUESTS_MAX: i64 = 1_000_000_000;
/// Longest period, in seconds: a year.
const PERIOD_SECONDS_MAX: i64 = 31_536_000;
/// Longest time in which a burst may fill up again, in seconds: a century.
const REFILL_SECONDS_MAX: i64 = 100 * PERIOD_SECONDS_MAX;

/// `{"Requests","PeriodSeconds","Burst","Variable","RateVar","IPv6Prefix"}`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimitSpec {
    /// What holds where a request brings no rates of its own.
    pub rate: RateSpec,
    /// What is counted by.
    pub by: VariableSpec,
    /// `RateVar`: `request.header.NAME`, whose value is a JSON list of rates that hold for the request instead.
    pub rates_from: Option<Box<str>>,
}

/// So many requests in a period, on average.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateSpec {
    /// `Requests`: 1 to 1,000,000,000.
    pub requests: u32,
    /// `PeriodSeconds`: 1 to 31,536,000.
    pub period_seconds: u32,
    /// `Burst`: most requests at once after a rest; 0 and absent stand for as many as `requests`.
    pub burst: u32,
}

impl RateSpec {
    /// A rate, if it is within the limits.
    pub fn new(requests: i64, period_seconds: i64, burst: i64) -> Option<Self> {
        let burst = if burst == 0 { requests } else { burst };
        let valid = (1..=REQUESTS_MAX).contains(&requests)
            && (1..=PERIOD_SECONDS_MAX).contains(&period_seconds)
            && (1..=REQUESTS_MAX).contains(&burst)
            && i128::from(burst) * i128::from(period_seconds)
                <= i128::from(REFILL_SECONDS_MAX) * i128::from(requests);
        let number = |value: i64| u32::try_from(value).ok().filter(|_| valid);
        Some(Self {
            requests: number(requests)?,
            period_seconds: number(period_seconds)?,
            burst: number(burst)?,
        })
    }
}

pub(super) fn read(fields: &mut Fields<'_>) -> Option<RateLimitSpec> {
    let requests = required(fields, "Requests", 1, REQUESTS_MAX);
    let period_seconds = required(fields, "PeriodSeconds", 1, PERIOD_SECONDS_MAX);
    let burst = fields.integer("Burst", 0..=REQUESTS_MAX).unwrap_or(0);
    let rates_from = variable::read_header(fields, "RateVar");
    let by = variable::read(fields);
    let rate = RateSpec::new(requests?, period_seconds?, burst);
    if rate.is_none() {
        fields.error("Burst", format!("is {burst}, which takes more than 100 years to fill up again"));
    }
    Some(RateLimitSpec { rate: rate?, by: by?, rates_from })
}

/// A whole number from `min` to `max` that must be there.
pub(super) fn required(fields: &mut Fields<'_>, name: &'static str, min: i64, max: i64) -> Option<i64> {
    if fields.value(name).is_none() {
        fields.error(name, format!("is missing: a whole number from {min} to {max} is expected"));
        return None;
    }
    fields.integer(name, min..=max)
}

impl RateLimitSpec {
    pub(super) fn to_map(&self) -> Map<String, Value> {
        let mut value = Map::new();
        value.insert("Requests".into(), self.rate.requests.into());
        value.insert("PeriodSeconds".into(), self.rate.period_seconds.into());
        if self.rate.burst != self.rate.requests {
            value.insert("Burst".into(), self.rate.burst.into());
        }
        self.by.write(&mut value);
        if let Some(name) = &self.rates_from {
            value.insert("RateVar".into(), format!("request.header.{name}").into());
        }
        value
    }
}
