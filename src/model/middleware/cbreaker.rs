//! `cbreaker`: vulcand's circuit breaker.

use super::content::{body_to_value, read_body, read_content_type, read_status};
use super::webhook::{self, Webhook};
use crate::expr::TripCondition;
use crate::model::fields::{Fields, not_one_of, quote};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;

const TIMES_DEFAULT: Duration = Duration::from_secs(10);
const CHECK_DEFAULT: Duration = Duration::from_millis(100);
const TIMES_MAX: Duration = Duration::from_secs(30 * 86_400);

/// `{"Condition","Fallback","OnTripped","OnStandby","FallbackDuration","RecoveryDuration","CheckPeriod"}`
#[derive(Debug, Clone, PartialEq)]
pub struct BreakerSpec {
    /// `Condition`: when it trips.
    pub condition: TripCondition,
    /// `Fallback`: what requests get that do not pass.
    pub fallback: Fallback,
    /// `OnTripped`: called when it trips.
    pub on_tripped: Option<Arc<Webhook>>,
    /// `OnStandby`: called when it has recovered.
    pub on_standby: Option<Arc<Webhook>>,
    /// `FallbackDuration`: how long nothing passes then; default, also as 0, 10 seconds.
    pub fallback_duration: Duration,
    /// `RecoveryDuration`: how long more and more passes after that; default, also as 0, 10 seconds.
    pub recovery_duration: Duration,
    /// `CheckPeriod`: how often the condition is looked at; default, also as 0, 100 milliseconds.
    pub check_period: Duration,
}

/// What a request gets that does not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fallback {
    /// `{"Type":"response","Action":{"StatusCode","ContentType","Body"}}`
    Response {
        /// The status.
        status: u16,
        /// The type of the body; `None`: none is told.
        content_type: Option<Box<str>>,
        /// The body.
        body: Box<[u8]>,
    },
    /// `{"Type":"redirect","Action":{"URL","PreservePath"}}`, with 302.
    Redirect {
        /// An absolute URL, or a path.
        url: Box<str>,
        /// Whether the path that was asked for is put behind it.
        preserve_path: bool,
    },
}

pub(super) fn read(fields: &mut Fields<'_>) -> Option<BreakerSpec> {
    let condition =
        fields.required_text("Condition", "an expression is expected, like `NetworkErrorRatio() > 0.5`");
    let condition = condition.and_then(|text| match TripCondition::parse(text) {
        Ok(condition) => Some(condition),
        Err(error) => {
            fields.error("Condition", format!("is {}: {error}", quote(text)));
            None
        }
    });
    let missing =
        r#"is missing: an answer is expected, like `{"Type": "response", "Action": {"StatusCode": 503}}`"#;
    let fallback = match fields.value("Fallback") {
        None => {
            fields.error("Fallback", missing);
            None
        }
        Some(Value::String(text)) if text.is_empty() => {
            fields.error("Fallback", missing);
            None
        }
        Some(_) => action(fields, "Fallback", read_fallback),
    };
    let on_tripped = action(fields, "OnTripped", read_effect);
    let on_standby = action(fields, "OnStandby", read_effect);
    let fallback_duration = fields.duration("FallbackDuration", TIMES_MAX).unwrap_or(TIMES_DEFAULT);
    let recovery_duration = fields.duration("RecoveryDuration", TIMES_MAX).unwrap_or(TIMES_DEFAULT);
    let check_period = fields.duration("CheckPeriod", TIMES_MAX).unwrap_or(CHECK_DEFAULT);
    Some(BreakerSpec {
        condition: condition?,
        fallback: fallback?,
        on_tripped,
        on_standby,
        fallback_duration,
        recovery_duration,
        check_period,
    })
}

/// `{"Type","Action"}`, as an object or, as `vctl` writes it, as the text of one. Empty text: nothing.
fn action<T>(
    fields: &mut Fields<'_>,
    name: &'static str,
    read: impl Fn(&str, &mut Fields<'_>) -> Option<T>,
) -> Option<T> {
    let value = match fields.value(name)? {
        Value::String(text) if text.trim().is_empty() => return None,
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(value) => value,
            Err(error) => {
                fields.error(name, format!("is a text, but not one of JSON: {error}"));
                return None;
            }
        },
        other => other.clone(),
    };
    let read = |fields: &mut Fields<'_>| {
        let kind = fields.required_text("Type", "a type of action is expected")?;
        let missing = fields.value("Action").is_none();
        if missing {
            fields.error("Action", "is missing: an object is expected");
        }
        fields.object("Action", |action| read(kind, action))?
    };
    Fields::read(fields.report(), &fields.path_of(name), &value, read)?
}

fn read_fallback(kind: &str, action: &mut Fields<'_>) -> Option<Fallback> {
    match kind {
        "response" => {
            let body = read_body(action, "Body").unwrap_or_default();
            let content_type = read_content_type(action);
            if action.value("StatusCode").is_none() {
                action.error("StatusCode", "is missing: a number from 200 to 599 is expected");
            }
            let status = read_status(action, "StatusCode", !body.is_empty())?;
            Some(Fallback::Response { status, content_type, body })
        }
        "redirect" => {
            let preserve_path = action.boolean("PreservePath").unwrap_or(false);
            let url = action.required_text("URL", "where to is expected, like `https://sorry.example`")?;
            let visible = url.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\<>`\"".contains(&byte));
            let path = url.starts_with('/') && !url.starts_with("//");
            if !visible || !(path || webhook::read_url(url).is_some()) {
                action.error("URL", "is neither an address of `http` or `https` nor a path");
            }
            Some(Fallback::Redirect { url: url.into(), preserve_path })
        }
        other => {
            let reason = not_one_of(other, &["response", "redirect"]);
            action.report().error(action.path().replace(".Action", ".Type"), reason);
            None
        }
    }
}

fn read_effect(kind: &str, action: &mut Fields<'_>) -> Option<Arc<Webhook>> {
    if kind != "webhook" {
        action.report().error(action.path().replace(".Action", ".Type"), not_one_of(kind, &["webhook"]));
    }
    webhook::read(action).map(Arc::new)
}

fn to_action(kind: &str, action: Map<String, Value>) -> Value {
    let mut value = Map::new();
    value.insert("Type".into(), kind.into());
    value.insert("Action".into(), action.into());
    value.into()
}

impl BreakerSpec {
    pub(super) fn to_map(&self) -> Map<String, Value> {
        let mut value = Map::new();
        value.insert("Condition".into(), self.condition.to_string().into());
        value.insert("Fallback".into(), self.fallback.to_value());
        for (name, effect) in [("OnTripped", &self.on_tripped), ("OnStandby", &self.on_standby)] {
            if let Some(webhook) = effect {
                value.insert(name.into(), to_action("webhook", webhook.to_map()));
            }
        }
        for (name, time, default) in [
            ("FallbackDuration", self.fallback_duration, TIMES_DEFAULT),
            ("RecoveryDuration", self.recovery_duration, TIMES_DEFAULT),
            ("CheckPeriod", self.check_period, CHECK_DEFAULT),
        ] {
            if time != default {
                // Whole nanoseconds: vulcand reads nothing else.
                let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
                value.insert(name.into(), nanos.into());
            }
        }
        value
    }
}

impl Fallback {
    fn to_value(&self) -> Value {
        let mut action = Map::new();
        match self {
            Self::Response { status, content_type, body } => {
                action.insert("StatusCode".into(), (*status).into());
                if let Some(content_type) = content_type {
                    action.insert("ContentType".into(), (&**content_type).into());
                }
                // Vulcand wants one, be it empty.
                action.insert("Body".into(), body_to_value(body));
                to_action("response", action)
            }
            Self::Redirect { url, preserve_path } => {
                action.insert("URL".into(), (&**url).into());
                if *preserve_path {
                    action.insert("PreservePath".into(), true.into());
                }
                to_action("redirect", action)
            }
        }
    }
}
