//! Changes named fields of a JSON value and keeps everything else: other fields, their spelling and their order.
//! Names match without regard to case; where two spellings of one field stand, the last is changed, as it is the one
//! that counts.

use serde_json::{Map, Value};

/// Most parts of a path.
pub const PATH_PARTS_MAX: usize = 16;

/// Fields whose objects have names of their own: data of other programs, names of users. They are as they were written.
const FREE: &[&str] = &["Body", "Form", "Users"];

/// Vulcand's spelling of every field, for those that a path brings anew.
pub(in crate::model) const NAMES: &[&str] = &[
    "Action",
    "Add",
    "Addr",
    "Address",
    "Algorithms",
    "Allow",
    "AllowCredentials",
    "AllowHeaders",
    "AllowMethods",
    "AllowOrigins",
    "AnyMethod",
    "Attempts",
    "AutoCert",
    "BackendId",
    "Balance",
    "Body",
    "BodyBytesMax",
    "BudgetMin",
    "BudgetPercent",
    "Burst",
    "CA",
    "CAFile",
    "Capacity",
    "Cert",
    "CertFile",
    "CheckPeriod",
    "CipherSuites",
    "ClientAuth",
    "Code",
    "Condition",
    "ConnectFailures",
    "Connections",
    "ConsecutiveFailures",
    "ContentType",
    "Cookie",
    "Default",
    "Deny",
    "Dial",
    "DirectoryURL",
    "Drain",
    "DropQuery",
    "EjectedPercentMax",
    "EjectionTime",
    "EjectionTimeMax",
    "Email",
    "Enabled",
    "Encryption",
    "ErrorPages",
    "ErrorPercent",
    "ExposeHeaders",
    "FailOpen",
    "FailoverPredicate",
    "Fall",
    "Fallback",
    "FallbackDuration",
    "File",
    "Form",
    "Forward",
    "Forwarded",
    "H2C",
    "Header",
    "Headers",
    "Health",
    "Host",
    "Hostname",
    "IPv6Prefix",
    "Id",
    "Idle",
    "InsecureSkipVerify",
    "Intercept",
    "Interval",
    "KeepAlive",
    "Key",
    "KeyFile",
    "KeyPair",
    "Level",
    "Limits",
    "Maintenance",
    "MaxAge",
    "MaxBodyBytes",
    "MaxIdleConnsPerHost",
    "MaxMemBodyBytes",
    "MaxVersion",
    "Method",
    "Middleware",
    "Middlewares",
    "MinBytes",
    "MinVersion",
    "Mode",
    "Name",
    "Network",
    "Nonce",
    "OCSP",
    "On",
    "OnStandby",
    "OnTripped",
    "Outlier",
    "Owner",
    "Page",
    "PanicPercent",
    "PassAuthorization",
    "PassHostHeader",
    "Password",
    "Path",
    "PathOnly",
    "Pending",
    "PendingTimeout",
    "PerTryTimeout",
    "Percent",
    "Period",
    "PeriodSeconds",
    "Policy",
    "Port",
    "PreferServerCipherSuites",
    "PreferZone",
    "PrefixFrom",
    "PrefixTo",
    "PreservePath",
    "Priority",
    "Protocol",
    "ProxyProtocol",
    "ProxyProtocolFrom",
    "RateVar",
    "Read",
    "Realm",
    "RecoveryDuration",
    "Redirect",
    "Regexp",
    "Remove",
    "Replacement",
    "ReqHeaders",
    "Request",
    "RequestHeaders",
    "RequestId",
    "Requests",
    "RespHeaders",
    "Response",
    "ResponseHeaders",
    "Retry",
    "RetryAfter",
    "RewriteBody",
    "Rise",
    "Route",
    "SameSite",
    "Scheme",
    "Scope",
    "ServerConnections",
    "ServerName",
    "Service",
    "SessionCache",
    "SessionTicketsDisabled",
    "Set",
    "Settings",
    "SlowStart",
    "Split",
    "SplitBy",
    "State",
    "Status",
    "StatusCode",
    "Statuses",
    "Sticky",
    "Stream",
    "StreamFlushIntervalNanoSecs",
    "TLS",
    "TLSHandshake",
    "Target",
    "Timeout",
    "Timeouts",
    "TrustForwardHeader",
    "TrustedProxies",
    "Type",
    "Types",
    "URL",
    "Username",
    "Users",
    "Val",
    "Value",
    "Variable",
    "Weight",
    "Zone",
];

/// Why a path cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// Empty, or an empty part.
    #[error(
        "{0:?} is no path of a field; names with dots between them are expected, like `Settings.Timeouts.Read`"
    )]
    Empty(String),
    /// More than [`PATH_PARTS_MAX`] parts.
    #[error("a path has at most {PATH_PARTS_MAX} parts")]
    Deep,
    /// Something on the way is neither an object nor a list.
    #[error("{0} is not an object, so nothing can be set within it")]
    NotAnObject(String),
    /// A list has no item there.
    #[error("{0} is not an item of the list")]
    NoItem(String),
}

/// Sets one field: `Settings.Timeouts.Read`, and `Split.0.Weight` within a list. Objects that are missing on the way
/// are made; null takes the field away.
///
/// # Errors
/// The path does not fit the value; the value is unchanged then, but for objects made on the way.
pub fn set_path(value: &mut Value, path: &str, new: Value) -> Result<(), InvalidPath> {
    let parts: Vec<&str> = path.split('.').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Err(InvalidPath::Empty(path.chars().take(60).collect()));
    }
    let Some((last, way)) = parts.split_last().filter(|_| parts.len() <= PATH_PARTS_MAX) else {
        return Err(InvalidPath::Deep);
    };
    let mut here = value;
    let mut walked = String::from("the value");
    let mut free = false;
    for part in way {
        here = step(here, part, &walked, free)?;
        free |= is_free(part);
        walked = if walked == "the value" { (*part).to_owned() } else { format!("{walked}.{part}") };
    }
    if new.is_null() {
        return remove(here, last, &walked, free);
    }
    *step(here, last, &walked, free)? = new;
    Ok(())
}

/// The field or item of that name, made where it is missing.
fn step<'v>(
    value: &'v mut Value,
    part: &str,
    walked: &str,
    free: bool,
) -> Result<&'v mut Value, InvalidPath> {
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => {
            let ours = (!free).then(|| existing(map, part).unwrap_or_else(|| spelling(part).to_owned()));
            let name = ours.unwrap_or_else(|| part.to_owned());
            Ok(map.entry(name).or_insert(Value::Null))
        }
        Value::Array(items) => part
            .parse::<usize>()
            .ok()
            .and_then(|index| items.get_mut(index))
            .ok_or_else(|| InvalidPath::NoItem(format!("{walked}.{part}"))),
        _ => Err(InvalidPath::NotAnObject(walked.to_owned())),
    }
}

fn remove(value: &mut Value, part: &str, walked: &str, free: bool) -> Result<(), InvalidPath> {
    match value {
        Value::Object(map) => {
            map.retain(|name, _| if free { name != part } else { !name.eq_ignore_ascii_case(part) });
            Ok(())
        }
        Value::Null => Ok(()),
        Value::Array(items) => match part.parse::<usize>().ok().filter(|index| *index < items.len()) {
            Some(index) => {
                items.remove(index);
                Ok(())
            }
            None => Err(InvalidPath::NoItem(format!("{walked}.{part}"))),
        },
        _ => Err(InvalidPath::NotAnObject(walked.to_owned())),
    }
}

/// `old` with the fields of `new` in their places: objects are merged, everything else is replaced, null takes a
/// field away.
pub fn merge(old: &Value, new: &Value) -> Value {
    let mut merged = old.clone();
    merge_into(&mut merged, new);
    merged
}

fn merge_into(value: &mut Value, new: &Value) {
    let Value::Object(fields) = new else {
        value.clone_from(new);
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Value::Object(map) = value else { return };
    for (name, new) in fields {
        if new.is_null() {
            map.retain(|there, _| !there.eq_ignore_ascii_case(name));
            continue;
        }
        let name = existing(map, name).unwrap_or_else(|| name.clone());
        merge_into(map.entry(name).or_insert(Value::Null), new);
    }
}

/// The field of a name without regard to case: the last one where it stands in several spellings.
pub fn last_spelled<'v>(map: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    map.iter().rfind(|(there, _)| there.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// The same, to be changed.
pub fn last_spelled_mut<'v>(map: &'v mut Map<String, Value>, name: &str) -> Option<&'v mut Value> {
    map.iter_mut().filter(|(there, _)| there.eq_ignore_ascii_case(name)).last().map(|(_, value)| value)
}

/// The last spelling of a name that stands in the object.
fn existing(map: &Map<String, Value>, name: &str) -> Option<String> {
    map.keys().rfind(|there| there.eq_ignore_ascii_case(name)).cloned()
}

/// Whether what stands below a field of this name is not ours, so that names there are not spelled anew.
pub fn is_free(name: &str) -> bool {
    FREE.iter().any(|free| free.eq_ignore_ascii_case(name))
}

/// Vulcand's spelling of a field's name; a name that is not known stays as it is.
pub fn spelling(name: &str) -> &str {
    NAMES.iter().find(|known| known.eq_ignore_ascii_case(name)).copied().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_set(before: &str, path: &str, new: &str, expected: Result<&str, &str>) {
        let mut value: Value = serde_json::from_str(before).unwrap();
        let result = set_path(&mut value, path, serde_json::from_str(new).unwrap());
        let shown = result.map(|()| value.to_string()).map_err(|error| error.to_string());
        assert_eq!(shown.as_deref().map_err(String::as_str), expected, "{before} {path}={new}");
    }

    #[test]
    fn a_path_changes_one_field() {
        check_set("{}", "BackendId", "\"b\"", Ok(r#"{"BackendId":"b"}"#));
        check_set("{}", "backendid", "\"b\"", Ok(r#"{"BackendId":"b"}"#));
        check_set(
            "null",
            "settings.timeouts.read",
            "\"5s\"",
            Ok(r#"{"Settings":{"Timeouts":{"Read":"5s"}}}"#),
        );
        check_set("{}", "mine.x", "1", Ok(r#"{"mine":{"x":1}}"#));
        // A user may have the name of a field.
        check_set("{}", "middleware.users.host", "1", Ok(r#"{"Middleware":{"Users":{"host":1}}}"#));
        check_set(r#"{"Users":{"Ann":1,"ann":2}}"#, "users.ann", "null", Ok(r#"{"Users":{"Ann":1}}"#));
        check_set(
            r#"{"z":1,"backendID":"a","y":2}"#,
            "BackendId",
            "\"b\"",
            Ok(r#"{"z":1,"backendID":"b","y":2}"#),
        );
        check_set(
            r#"{"backendid":"a","BackendId":"b"}"#,
            "BACKENDID",
            "1",
            Ok(r#"{"backendid":"a","BackendId":1}"#),
        );
        check_set(
            r#"{"Split":[{"Weight":1},{}]}"#,
            "split.0.weight",
            "9",
            Ok(r#"{"Split":[{"Weight":9},{}]}"#),
        );
        check_set(r#"{"Settings":null}"#, "Settings.H2C", "true", Ok(r#"{"Settings":{"H2C":true}}"#));
        check_set(r#"{"a":1,"A":2,"b":3}"#, "a", "null", Ok(r#"{"b":3}"#));
        check_set(r#"{"a":[1,2]}"#, "a.0", "null", Ok(r#"{"a":[2]}"#));
        check_set("{}", "Address.Address", "\":80\"", Ok(r#"{"Address":{"Address":":80"}}"#));

        let no_path = |path: &str| {
            format!(
                "{path:?} is no path of a field; names with dots between them are expected, like `Settings.Timeouts.Read`"
            )
        };
        for path in ["", ".", "a..b", "a."] {
            check_set("{}", path, "1", Err(&no_path(path)));
        }
        check_set("{}", &["a"; 17].join("."), "1", Err("a path has at most 16 parts"));
        check_set(
            r#"{"a":{"b":1}}"#,
            "a.b.c",
            "2",
            Err("a.b is not an object, so nothing can be set within it"),
        );
        check_set("5", "a", "2", Err("the value is not an object, so nothing can be set within it"));
        check_set(r#"{"a":[1]}"#, "a.1", "2", Err("a.1 is not an item of the list"));
        check_set(r#"{"a":[1]}"#, "a.x", "null", Err("a.x is not an item of the list"));
    }

    #[track_caller]
    fn check_merge(old: &str, new: &str, expected: &str) {
        let merged = merge(&serde_json::from_str(old).unwrap(), &serde_json::from_str(new).unwrap());
        assert_eq!(merged.to_string(), expected, "{old} + {new}");
    }

    #[test]
    fn a_merge_keeps_what_it_is_not_about() {
        check_merge(
            r#"{"Type":"http","backendid":"a","X":{"y":1},"Settings":{"passhostheader":true,"Stream":true}}"#,
            r#"{"BackendId":"b","Settings":{"PassHostHeader":false}}"#,
            r#"{"Type":"http","backendid":"b","X":{"y":1},"Settings":{"passhostheader":false,"Stream":true}}"#,
        );
        check_merge(r#"{"a":1}"#, r#"{"b":{"c":null,"d":2}}"#, r#"{"a":1,"b":{"d":2}}"#);
        check_merge(r#"{"a":{"b":1}}"#, r#"{"A":[1]}"#, r#"{"a":[1]}"#);
        check_merge(r#"{"a":1,"A":2}"#, r#"{"a":null}"#, "{}");
        check_merge(r#"{"a":1,"A":2}"#, r#"{"a":3}"#, r#"{"a":1,"A":3}"#);
        check_merge("null", r#"{"a":1}"#, r#"{"a":1}"#);
    }

    #[test]
    fn names_are_spelled_as_vulcand_does() {
        assert_eq!(spelling("backendid"), "BackendId");
        assert_eq!(spelling("tlshandshake"), "TLSHandshake");
        assert_eq!(spelling("x-mine"), "x-mine");
        assert!(NAMES.is_sorted());
    }
}
