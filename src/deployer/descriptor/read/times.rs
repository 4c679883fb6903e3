//! Times: in Go's form, or as a number of seconds.

use crate::deployer::descriptor::Timeouts;
use crate::model::duration;
use crate::model::fields::{Fields, quote};
use serde_json::Value;
use std::time::Duration;

/// Longest time of any kind.
const TIME_MAX: Duration = Duration::from_secs(24 * 3_600);

/// What zero means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zero {
    /// No time at all, which is allowed.
    None,
    /// Something that cannot work.
    Wrong,
}

/// A time, or `default`; what is wrong with it is reported.
pub(super) fn time(fields: &mut Fields<'_>, name: &'static str, zero: Zero, default: Duration) -> Duration {
    let Some(value) = fields.value(name) else { return default };
    let time = match value {
        Value::String(text) if text.is_empty() => return default,
        Value::String(text) => duration::parse(text).map_err(|error| format!("{} {error}", quote(text))),
        Value::Number(number) => {
            let seconds = number.as_f64().unwrap_or(-1.0);
            Duration::try_from_secs_f64(seconds)
                .map_err(|_| format!("is {number}; a number of seconds is expected, zero or more"))
        }
        other => {
            let expected = "a time like `90s`, or a number of seconds";
            return fields.wrong(name, expected, other).unwrap_or(default);
        }
    };
    let reason = match time {
        Err(reason) => reason,
        Ok(time) if time > TIME_MAX => {
            format!("is {}; at most {} is allowed", duration::format(time), duration::format(TIME_MAX))
        }
        Ok(Duration::ZERO) if zero == Zero::Wrong => {
            format!("is zero; more is expected, like `{}`", duration::format(default))
        }
        Ok(time) => return time,
    };
    fields.error(name, reason);
    default
}

pub(super) fn timeouts(fields: &mut Fields<'_>) -> Timeouts {
    let default = Timeouts::default();
    let read = |fields: &mut Fields<'_>| Timeouts {
        ready: time(fields, "ready", Zero::Wrong, default.ready),
        health: time(fields, "health", Zero::Wrong, default.health),
        probe: time(fields, "probe", Zero::Wrong, default.probe),
        flip: time(fields, "flip", Zero::Wrong, default.flip),
        drain: time(fields, "drain", Zero::None, default.drain),
        cluster_drain: time(fields, "clusterDrain", Zero::None, default.cluster_drain),
    };
    fields.object("timeouts", read).unwrap_or_default()
}
