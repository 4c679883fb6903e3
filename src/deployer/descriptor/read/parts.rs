//! What stands beside the pods: health, headers, variables, the flip, hooks.

use super::names;
use super::podspec::Purpose;
use super::times::{Zero, time};
use crate::deployer::descriptor::{FlipPlan, HealthCheckType, Hook, Hooks, HttpHeader};
use crate::expr::Condition;
use crate::flip::record::MinHealthy;
use crate::model::fields::{Fields, not_one_of, quote, show};
use crate::model::{MiddlewareId, Object, ObjectKey, Strictness};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a hook may take where nothing is said.
const HOOK_TIME: Duration = Duration::from_secs(300);
/// Most header fields.
const HEADERS_MAX: usize = 64;
/// Most variables.
const VARIABLES_MAX: usize = 1_000;

/// How pods are asked for their health.
pub(super) struct Health {
    pub(super) use_health_check: bool,
    pub(super) path: String,
    pub(super) port: Option<u16>,
    pub(super) kind: HealthCheckType,
    pub(super) ignore: bool,
}

pub(super) fn health(fields: &mut Fields<'_>) -> Health {
    let path = fields.text("healthCheckPath").unwrap_or("health");
    let from_root = format!("/{}", path.trim_start_matches('/'));
    if path.contains("://") || path.contains('#') || from_root.parse::<http::uri::PathAndQuery>().is_err() {
        fields.error("healthCheckPath", format!("is {}; a path is expected, like `health`", quote(path)));
    }
    // Go writes 0 for a port that was never set.
    let port = fields.integer("healthCheckPort", 0..=i64::from(u16::MAX));
    let kind = match fields.text("healthCheckType") {
        None | Some("probe") => HealthCheckType::Probe,
        Some("simple") => HealthCheckType::Simple,
        Some(other) => {
            fields.error("healthCheckType", not_one_of(other, &["probe", "simple"]));
            HealthCheckType::Probe
        }
    };
    Health {
        use_health_check: fields.boolean("useHealthCheck").unwrap_or(false),
        path: path.to_owned(),
        port: port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0),
        kind,
        ignore: fields.boolean("ignoreHealthCheck").unwrap_or(false),
    }
}

pub(super) fn headers(fields: &mut Fields<'_>) -> Vec<HttpHeader> {
    let items = match fields.value("additionHttpHeaders") {
        None => return Vec::new(),
        Some(Value::Array(items)) if items.len() <= HEADERS_MAX => items,
        Some(Value::Array(items)) => {
            let reason = format!("has {} header fields; at most {HEADERS_MAX} are allowed", items.len());
            fields.error("additionHttpHeaders", reason);
            return Vec::new();
        }
        Some(other) => {
            return fields.wrong("additionHttpHeaders", "a list", other).unwrap_or_default();
        }
    };
    let read = |(at, item): (usize, &_)| {
        let path = format!("{}[{at}]", fields.path_of("additionHttpHeaders"));
        Fields::read(fields.report(), &path, item, header).flatten()
    };
    items.iter().enumerate().filter_map(read).collect()
}

fn header(fields: &mut Fields<'_>) -> Option<HttpHeader> {
    let name =
        fields.required_text("Header", "the name of a header field is expected, like `X-Frame-Options`");
    let value = fields.text_or_empty("Value").unwrap_or_default();
    let name = name?;
    for (field, reason) in [("Header", refused(name, "x")), ("Value", refused("X-Name", value))] {
        if let Some(reason) = reason {
            fields.error(field, reason);
        }
    }
    Some(HttpHeader { header: name.to_owned(), value: value.to_owned() })
}

/// What the middleware that will set the field has against it.
fn refused(name: &str, value: &str) -> Option<String> {
    let key = ObjectKey::SharedMiddleware(MiddlewareId::try_from("headers").ok()?);
    let mut set = serde_json::Map::new();
    set.insert(name.to_owned(), value.into());
    let middleware = json!({ "Type": "headers", "Middleware": { "Response": { "Set": set } } });
    let parsed = Object::parse_value(&key, &middleware, Strictness::Written);
    parsed.findings.into_iter().next().map(|finding| finding.reason)
}

pub(super) fn environment(fields: &mut Fields<'_>) -> BTreeMap<String, String> {
    let given = match fields.value("environment") {
        None => return BTreeMap::new(),
        Some(Value::Object(given)) if given.len() <= VARIABLES_MAX => given,
        Some(Value::Object(given)) => {
            let reason = format!("has {} variables; at most {VARIABLES_MAX} are allowed", given.len());
            fields.error("environment", reason);
            return BTreeMap::new();
        }
        Some(other) => {
            return fields.wrong("environment", "an object of strings", other).unwrap_or_default();
        }
    };
    let mut variables = BTreeMap::new();
    for (name, value) in given {
        let path = format!("environment.{}", name.chars().take(60).collect::<String>());
        if !names::is_variable(name) {
            let reason =
                "is no name of a variable: letters, digits, `_`, `-` and `.` are expected, no digit first";
            fields.error(&path, reason);
        }
        match value {
            Value::String(text) => drop(variables.insert(name.clone(), text.clone())),
            other => fields.error(&path, format!("is {}; a string is expected", show(other))),
        }
    }
    variables
}

/// `replicas` are the pods of the new version.
pub(super) fn flip(fields: &mut Fields<'_>, replicas: u32) -> FlipPlan {
    let read = |fields: &mut Fields<'_>| {
        let default = FlipPlan::default();
        let bake = time(fields, "bake", Zero::None, default.bake);
        FlipPlan {
            min_healthy: min_healthy(fields, replicas).unwrap_or(default.min_healthy),
            bake,
            rollback_on: rollback_on(fields, bake),
            keep_warm: time(fields, "keepWarm", Zero::None, default.keep_warm),
        }
    };
    fields.object("flip", read).unwrap_or_default()
}

fn min_healthy(fields: &mut Fields<'_>, replicas: u32) -> Option<String> {
    let text = match fields.value("minHealthy")? {
        Value::String(text) if text.is_empty() => return None,
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        other => return fields.wrong("minHealthy", "a number like `2`, or a share like \"50%\"", other),
    };
    match text.parse::<MinHealthy>() {
        Ok(MinHealthy::Count(count)) if count > replicas => {
            let reason =
                format!("is {count}, but there will be {replicas} pods; at most as many are expected");
            fields.error("minHealthy", reason);
        }
        Ok(min) => return Some(min.to_string()),
        Err(reason) => fields.error("minHealthy", reason),
    }
    None
}

fn rollback_on(fields: &mut Fields<'_>, bake: Duration) -> Option<String> {
    let text = fields.text("rollbackOn")?;
    if let Err(error) = Condition::parse(text) {
        fields.error("rollbackOn", format!("is not a condition: {error}"));
    } else if bake.is_zero() {
        fields.error(
            "rollbackOn",
            "is only looked at while the new version bakes: a time is expected in `flip.bake`",
        );
    }
    Some(text.to_owned())
}

pub(super) fn hooks(fields: &mut Fields<'_>) -> Hooks {
    let read = |fields: &mut Fields<'_>| Hooks {
        before: fields.object("before", hook).flatten(),
        after: fields.object("after", hook).flatten(),
    };
    fields.object("hooks", read).unwrap_or_default()
}

fn hook(fields: &mut Fields<'_>) -> Option<Hook> {
    let podspec = super::podspec(fields, Purpose::Hook);
    let timeout = time(fields, "timeout", Zero::Wrong, HOOK_TIME);
    Some(Hook { podspec: podspec?, timeout })
}
