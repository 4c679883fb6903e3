//! How much, how long and how often: limits, timeouts, repetitions; and what servers and copies get of a request.

use super::super::Converted;
use super::backend;
use super::said::{Said, shown};
use super::treatment::{Treatment, filter, order};
use crate::model::{MiddlewareId, ObjectKey, ServerUrl, duration};
use crate::registrar::world::World;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// To an answer's head, unless something else is given; as with ingress-nginx.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Most attempts that a frontend makes.
const ATTEMPTS_MAX: u64 = 10;
/// Requests beyond a rate that may come at once, as a multiple of it; as with ingress-nginx.
const BURST_MULTIPLIER: u64 = 5;
/// Largest number in a limit.
const LIMIT_MAX: u64 = 1_000_000;

/// Settings of the frontends, and the limits that they share.
pub(super) fn read(said: &Said<'_>, treatment: &mut Treatment, converted: &mut Converted) {
    let settings = &mut treatment.settings;
    settings.insert("Timeouts".into(), timeouts(said, converted).into());
    if let Some(retry) = retry(said, converted) {
        settings.insert("Retry".into(), retry.into());
    }
    if let Some(bytes @ 1..) = said.size("proxy-body-size", converted) {
        settings.insert("Limits".into(), json!({ "MaxBodyBytes": bytes }));
    }
    for name in ["proxy-buffering", "proxy-request-buffering"] {
        if said.switch(name, converted) == Some(true) {
            said.warning(name, "is not carried over: bodies always stream", converted);
        }
    }
    let limits = limits(said, converted);
    if !limits.is_empty() {
        settings.insert("Middlewares".into(), limits.into());
    }
}

/// nginx bounds each silence and not the whole. Without annotations nothing but the head is bounded here.
fn timeouts(said: &Said<'_>, converted: &mut Converted) -> Map<String, Value> {
    let read = said.seconds("proxy-read-timeout", converted);
    let send = said.seconds("proxy-send-timeout", converted);
    let mut timeouts = Map::new();
    timeouts.insert("Response".into(), duration::format(read.unwrap_or(READ_TIMEOUT)).into());
    if let Some(idle) = read.max(send) {
        timeouts.insert("Idle".into(), duration::format(idle).into());
    }
    timeouts
}

/// Three attempts after failures of connections and after timeouts are the default there and here.
fn retry(said: &Said<'_>, converted: &mut Converted) -> Option<Map<String, Value>> {
    const NAME: &str = "proxy-next-upstream";
    let mut retry = Map::new();
    let (mut on, mut is_off) = (Vec::new(), false);
    for word in said.text(NAME).unwrap_or_default().split_whitespace() {
        match word {
            "error" => on.extend(["connect", "reset"]),
            "invalid_header" => on.push("reset"),
            "timeout" => on.push("timeout"),
            "non_idempotent" => {
                retry.insert("AnyMethod".into(), true.into());
            }
            "off" => is_off = true,
            _ => match word.strip_prefix("http_").filter(|code| is_error(code)) {
                Some(code) => on.push(code),
                None => {
                    let reason = format!("has {}, which is no reason to try again here", shown(word));
                    said.error(NAME, reason, converted);
                }
            },
        }
    }
    on.sort_unstable();
    on.dedup();
    if !on.is_empty() {
        retry.insert("On".into(), on.into());
    }
    // There 0 is no limit.
    if let Some(tries) = said.number("proxy-next-upstream-tries", 0..=LIMIT_MAX, converted) {
        let attempts = if tries == 0 { ATTEMPTS_MAX } else { tries.min(ATTEMPTS_MAX) };
        if attempts != tries {
            let reason = format!("is {tries}; {ATTEMPTS_MAX} attempts are made");
            said.warning("proxy-next-upstream-tries", reason, converted);
        }
        retry.insert("Attempts".into(), attempts.into());
    }
    (!is_off).then_some(retry)
}

fn is_error(code: &str) -> bool {
    code.len() == 3 && code.parse().is_ok_and(|code: u16| (400..=599).contains(&code))
}

/// Limits are for the whole Ingress, so its frontends share them.
fn limits(said: &Said<'_>, converted: &mut Converted) -> Vec<Value> {
    let multiplier = said.number("limit-burst-multiplier", 1..=1_000, converted).unwrap_or(BURST_MULTIPLIER);
    let rate = |requests: u64, seconds: u64| {
        json!({
            "Requests": requests,
            "PeriodSeconds": seconds,
            // nginx lets one through and so many more.
            "Burst": requests.saturating_mul(multiplier) + 1,
            "Variable": "client.ip",
        })
    };
    let mut ids = Vec::new();
    for name in ["limit-connections", "limit-rpm", "limit-rps"] {
        let Some(most @ 1..) = said.number(name, 0..=LIMIT_MAX, converted) else { continue };
        let made = match name {
            "limit-connections" => {
                let spec = json!({ "Connections": most, "Variable": "client.ip" });
                filter("limit", "connlimit", order::LIMITS, spec)
            }
            "limit-rpm" => filter("limit", "ratelimit", order::LIMITS, rate(most, 60)),
            _ => filter("limit", "ratelimit", order::LIMITS, rate(most, 1)),
        };
        let ingress = &said.ingress().meta.name;
        let id = format!("{}-{}-{name}", ingress.namespace, ingress.name);
        match (made, MiddlewareId::try_from(id.as_str())) {
            (Ok(limit), Ok(key)) => {
                converted.put(ObjectKey::SharedMiddleware(key), limit.into_value());
                ids.push(id.into());
            }
            (Err(reason), _) => said.error(name, reason, converted),
            (_, Err(error)) => said.error(name, error.to_string(), converted),
        }
    }
    ids
}

/// Copies of requests, to the host of a URL.
pub(super) fn read_mirror(
    world: &World,
    said: &Said<'_>,
    treatment: &mut Treatment,
    converted: &mut Converted,
) {
    const NAME: &str = "mirror-target";
    let Some(text) = said.text(NAME) else { return };
    let (origin, path) = split_url(text);
    let is_own_path = matches!(path, "" | "/" | "$request_uri" | "/$request_uri");
    let Some(url) = origin.parse::<ServerUrl>().ok().filter(|_| is_own_path) else {
        let expected = "a scheme and a host, with nothing behind them but `$request_uri`,";
        said.unreadable::<()>(NAME, expected, converted);
        return;
    };
    let id = match backend::put_url(world, said, "mirror", &url, converted) {
        Ok(id) => id,
        Err(reason) => return said.error(NAME, reason, converted),
    };
    let mut spec = json!({ "BackendId": id.as_str() });
    if let Value::Object(spec) = &mut spec
        && said.switch("mirror-request-body", converted) == Some(false)
    {
        let reason = "is `off`: only requests without a body are copied";
        said.warning("mirror-request-body", reason, converted);
        spec.insert("MaxBodyBytes".into(), 0.into());
    }
    treatment.add(said, NAME, filter("mirror", "mirror", order::MIRROR, spec), converted);
}

/// Scheme, host and port, and what stands behind them.
pub(super) fn split_url(text: &str) -> (&str, &str) {
    let begin = text.find("://").map_or(0, |at| at + "://".len());
    let length = text.get(begin..).and_then(|rest| rest.find(['/', '?', '$']));
    text.split_at_checked(length.map_or(text.len(), |length| begin + length)).unwrap_or((text, ""))
}

/// Headers that servers get.
pub(super) fn read_headers(said: &Said<'_>, treatment: &mut Treatment, converted: &mut Converted) {
    let mut set = Map::new();
    for (name, header) in [("upstream-vhost", "Host"), ("x-forwarded-prefix", "X-Forwarded-Prefix")] {
        let Some(text) = said.text(name) else { continue };
        if text.contains('$') {
            said.error(name, format!("is {}, and variables are not filled in", shown(text)), converted);
        } else {
            set.insert(header.into(), text.into());
        }
    }
    if !set.is_empty() {
        let spec = json!({ "Request": { "Set": set } });
        treatment.add(said, "upstream-vhost", filter("headers", "headers", order::HEADERS, spec), converted);
    }
    if said.switch("service-upstream", converted) == Some(true) {
        said.warning("service-upstream", "is not carried over: requests go to the endpoints", converted);
    }
}
