//! The objects of vulcand as its API tells them, and what vulcand refuses in them.

use super::shape::{self, Field, Shape, field, omitted};
use crate::expr::{Matcher, Route};
use crate::model::{CipherSuite, Kind, UNSOUND_SUITES, duration};
use serde_json::Value;

const TLS: &[Field] = &[
    field("PreferServerCipherSuites", Shape::Flag),
    field("InsecureSkipVerify", Shape::Flag),
    field("MinVersion", Shape::Text),
    field("MaxVersion", Shape::Text),
    field("SessionTicketsDisabled", Shape::Flag),
    field("SessionCache", Shape::Object(SESSION_CACHE)),
    field("CipherSuites", Shape::Texts),
];
const SESSION_CACHE: &[Field] =
    &[field("Type", Shape::Text), field("Settings", Shape::Optional(&[field("Capacity", Shape::Integer)]))];

const BACKEND: &[Field] = &[
    field("Id", Shape::Text),
    field("Type", Shape::Text),
    field(
        "Settings",
        Shape::Object(&[
            field(
                "Timeouts",
                Shape::Object(&[
                    field("Read", Shape::Length),
                    field("Dial", Shape::Length),
                    field("TLSHandshake", Shape::Length),
                ]),
            ),
            field(
                "KeepAlive",
                Shape::Object(&[
                    field("Period", Shape::Length),
                    field("MaxIdleConnsPerHost", Shape::Integer),
                ]),
            ),
            omitted("TLS", Shape::Optional(TLS)),
        ]),
    ),
];

const SERVER: &[Field] = &[field("Id", Shape::Text), field("URL", Shape::Text)];

const FRONTEND: &[Field] = &[
    field("Id", Shape::Text),
    field("Route", Shape::Text),
    field("Type", Shape::Text),
    field("BackendId", Shape::Text),
    field(
        "Settings",
        Shape::Object(&[
            field(
                "Limits",
                Shape::Object(&[
                    field("MaxMemBodyBytes", Shape::Integer),
                    field("MaxBodyBytes", Shape::Integer),
                ]),
            ),
            field("FailoverPredicate", Shape::Text),
            field("Hostname", Shape::Text),
            field("TrustForwardHeader", Shape::Flag),
            field("PassHostHeader", Shape::Flag),
            field("Stream", Shape::Flag),
            field("StreamFlushIntervalNanoSecs", Shape::Integer),
        ]),
    ),
];

const LISTENER: &[Field] = &[
    field("Id", Shape::Text),
    field("Protocol", Shape::Text),
    field("Address", Shape::Object(&[field("Network", Shape::Text), field("Address", Shape::Text)])),
    field("Scope", Shape::Text),
    omitted("Settings", Shape::Optional(&[field("TLS", Shape::Object(TLS))])),
    field("ProxyProtocol", Shape::Text),
];

const OCSP: &[Field] = &[
    field("Enabled", Shape::Flag),
    field("Period", Shape::Length),
    field("Responders", Shape::Texts),
    field("SkipSignatureCheck", Shape::Flag),
];

/// A host as it is stored. vulcand stores no `AutoCert`.
pub(super) const STORED_HOST: &[Field] = &[
    field("Name", Shape::Text),
    field(
        "Settings",
        Shape::Object(&[
            field("Default", Shape::Flag),
            field("KeyPair", Shape::Any),
            field("OCSP", Shape::Object(OCSP)),
        ]),
    ),
];

/// A host as it is told.
pub(super) const HOST: &[Field] = &[
    field("Name", Shape::Text),
    field(
        "Settings",
        Shape::Object(&[
            field("Default", Shape::Flag),
            field("KeyPair", Shape::Optional(&[field("Key", Shape::Bytes), field("Cert", Shape::Bytes)])),
            field("AutoCert", Shape::Any),
            field("OCSP", Shape::Object(OCSP)),
        ]),
    ),
];

/// A middleware's envelope around the settings of its type.
const fn middleware(settings: Shape) -> [Field; 4] {
    [
        field("Id", Shape::Text),
        field("Priority", Shape::Integer),
        field("Type", Shape::Text),
        field("Middleware", settings),
    ]
}

const ENVELOPE: &[Field] = &middleware(Shape::Any);

const RATELIMIT: &[Field] = &middleware(Shape::Object(&[
    field("PeriodSeconds", Shape::Integer),
    field("Requests", Shape::Integer),
    field("Burst", Shape::Integer),
    field("Variable", Shape::Text),
    field("RateVar", Shape::Text),
]));

const CONNLIMIT: &[Field] =
    &middleware(Shape::Object(&[field("Connections", Shape::Integer), field("Variable", Shape::Text)]));

const REWRITE: &[Field] = &middleware(Shape::Object(&[
    field("Regexp", Shape::Text),
    field("Replacement", Shape::Text),
    field("RewriteBody", Shape::Flag),
    field("Redirect", Shape::Flag),
]));

const CBREAKER: &[Field] = &middleware(Shape::Object(&[
    field("Condition", Shape::Text),
    field("Fallback", Shape::Any),
    field("OnTripped", Shape::Any),
    field("OnStandby", Shape::Any),
    field("FallbackDuration", Shape::Nanos),
    field("RecoveryDuration", Shape::Nanos),
    field("CheckPeriod", Shape::Nanos),
]));

const TRACE: &[Field] = &middleware(Shape::Object(&[
    field("ReqHeaders", Shape::Texts),
    field("RespHeaders", Shape::Texts),
    field("Addr", Shape::Text),
]));

/// The form of a value of this kind. A middleware's depends on its type.
///
/// # Errors
/// A middleware of a type that vulcand does not have.
pub(super) fn fields_of(kind: Kind, value: &Value) -> Result<&'static [Field], String> {
    Ok(match kind {
        Kind::Listener => LISTENER,
        Kind::Host => HOST,
        Kind::Frontend => FRONTEND,
        Kind::Backend => BACKEND,
        Kind::Server => SERVER,
        Kind::Middleware => {
            let envelope = shape::read(ENVELOPE, value)?;
            match text(&envelope, &["Type"]) {
                "ratelimit" => RATELIMIT,
                "connlimit" => CONNLIMIT,
                "rewrite" => REWRITE,
                "cbreaker" => CBREAKER,
                "trace" => TRACE,
                other => return Err(format!("middleware of type {other} is not supported")),
            }
        }
    })
}

/// `value` in vulcand's form, as far as vulcand would have it. `id` comes from a key, and wins over the one within.
///
/// # Errors
/// What vulcand says against it, in its words.
pub(super) fn form(kind: Kind, value: &Value, id: Option<&str>) -> Result<Value, String> {
    let mut form = shape::read(fields_of(kind, value)?, value)?;
    if let Some(id) = id {
        let name = if kind == Kind::Host { "Name" } else { "Id" };
        set(&mut form, &[name], id);
    }
    match kind {
        Kind::Listener => listener(&mut form)?,
        Kind::Host if text(&form, &["Name"]).is_empty() => return Err("Hostname can not be empty".into()),
        Kind::Host | Kind::Middleware => {}
        Kind::Frontend => frontend(&form)?,
        Kind::Backend => backend(&form)?,
        Kind::Server => server(&form)?,
    }
    Ok(form)
}

/// The text at a path, in a value of known form.
pub(super) fn text<'v>(value: &'v Value, path: &[&str]) -> &'v str {
    at(value, path).and_then(Value::as_str).unwrap_or_default()
}

fn at<'v>(value: &'v Value, path: &[&str]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, name| value.get(name))
}

fn set(value: &mut Value, path: &[&str], text: impl Into<Value>) {
    if let Some(place) = path.iter().try_fold(value, |value, name| value.get_mut(name)) {
        *place = text.into();
    }
}

fn listener(form: &mut Value) -> Result<(), String> {
    let protocol = text(form, &["Protocol"]).to_lowercase();
    if !matches!(protocol.as_str(), "http" | "https") {
        return Err(format!("unsupported protocol '{protocol}', supported protocols are http and https"));
    }
    if protocol == "https"
        && let Some(settings) = at(form, &["Settings", "TLS"])
    {
        tls(settings)?;
    }
    if !is_route(text(form, &["Scope"])) && !text(form, &["Scope"]).is_empty() {
        return Err("Scope should be a valid route expression".into());
    }
    if text(form, &["Address", "Address"]).is_empty() {
        return Err("supply a non empty address".into());
    }
    let network = text(form, &["Address", "Network"]).to_lowercase();
    if !matches!(network.as_str(), "tcp" | "unix") {
        return Err(format!("unsupported network '{network}', supported networks are tcp and unix"));
    }
    let header = match text(form, &["ProxyProtocol"]).to_uppercase().as_str() {
        "" | "NONE" => "",
        "PROXY_V1" => "PROXY_V1",
        other => {
            return Err(format!("Unsupported Proxy Header '{other}', must be `PROXY_V1` or `NONE`"));
        }
    };
    set(form, &["Protocol"], protocol);
    set(form, &["Address", "Network"], network);
    set(form, &["ProxyProtocol"], header);
    Ok(())
}

fn frontend(form: &Value) -> Result<(), String> {
    let (kind, route) = (text(form, &["Type"]), text(form, &["Route"]));
    if kind != "http" {
        return Err(format!("Unsupported frontend type: {kind}"));
    }
    if text(form, &["Id"]).is_empty() || text(form, &["BackendId"]).is_empty() {
        return Err("supply valid  route, id, and backendId".into());
    }
    if !is_route(route) {
        return Err(format!("route should be a valid route expression: {route}"));
    }
    Ok(())
}

/// Whether vulcand's language has the expression: one conjunction of its eight matchers.
fn is_route(text: &str) -> bool {
    let Ok(route) = Route::parse(text) else { return false };
    let [alternative] = route.alternatives() else { return false };
    alternative.terms().iter().all(|term| {
        let ours = matches!(
            term.matcher,
            Matcher::PathPrefix(_) | Matcher::Query(..) | Matcher::Cookie(..) | Matcher::ClientIp(_)
        );
        !term.negated && !ours
    })
}

fn backend(form: &Value) -> Result<(), String> {
    let kind = text(form, &["Type"]);
    if kind != "http" {
        return Err(format!("Unsupported backend type {kind}"));
    }
    if let Some(settings) = at(form, &["Settings", "TLS"]) {
        tls(settings)?;
    }
    for (path, what) in [
        (["Settings", "Timeouts", "Read"], "read timeout"),
        (["Settings", "Timeouts", "Dial"], "dial timeout"),
        (["Settings", "Timeouts", "TLSHandshake"], "tls handshake timeout"),
        (["Settings", "KeepAlive", "Period"], "keepalive period"),
    ] {
        let text = text(form, &path);
        if !text.is_empty()
            && let Err(error) = duration::parse(text)
        {
            return Err(format!("invalid {what}: {text:?} {error}"));
        }
    }
    Ok(())
}

fn server(form: &Value) -> Result<(), String> {
    let url = text(form, &["URL"]);
    if !url.starts_with('/') && !url.contains(':') {
        return Err(format!("endpoint url '{url}' is not valid"));
    }
    Ok(())
}

/// The versions and cipher suites that vulcand knows.
fn tls(settings: &Value) -> Result<(), String> {
    for name in ["MinVersion", "MaxVersion"] {
        match text(settings, &[name]) {
            "" | "VersionTLS10" | "VersionTLS11" | "VersionTLS12" => {}
            other => return Err(format!("unsupported TLS version: {other}")),
        }
    }
    let suites = at(settings, &["CipherSuites"]).and_then(Value::as_array);
    for suite in suites.into_iter().flatten().filter_map(Value::as_str) {
        let is_known =
            UNSOUND_SUITES.contains(&suite) || SOUND_SUITES.iter().any(|sound| sound.as_str() == suite);
        if !is_known {
            return Err(format!("unsupported cipher suite: {suite}"));
        }
    }
    match text(settings, &["SessionCache", "Type"]) {
        "" | "LRU" => {}
        other => return Err(format!("unsupported session cache type: {other}")),
    }
    match at(settings, &["SessionCache", "Settings", "Capacity"]).and_then(Value::as_i64) {
        Some(capacity) if capacity < 0 => Err(format!("bad LRU capacity: {capacity}")),
        _ => Ok(()),
    }
}

/// Suites that vulcand knows and that are sound.
const SOUND_SUITES: [CipherSuite; 2] = [CipherSuite::RsaAes128Gcm, CipherSuite::EcdsaAes128Gcm];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: Kind, value: &str, expected: Result<&str, &str>) {
        let form = form(kind, &serde_json::from_str(value).unwrap(), None).map(|form| form.to_string());
        assert_eq!(form.as_deref().map_err(String::as_str), expected, "{value}");
    }

    /// What the real vulcand 0.9.2 answered.
    #[test]
    fn forms_are_vulcands_to_the_byte() {
        use Kind::{Backend, Frontend, Host, Listener, Middleware, Server};
        check(
            Backend,
            r#"{"id":"b1","type":"http"}"#,
            Ok(
                r#"{"Id":"b1","Type":"http","Settings":{"Timeouts":{"Read":"","Dial":"","TLSHandshake":""},"KeepAlive":{"Period":"","MaxIdleConnsPerHost":0}}}"#,
            ),
        );
        check(
            Backend,
            r#"{"Id":"b3","Type":"http","Settings":{"TLS":{}}}"#,
            Ok(
                r#"{"Id":"b3","Type":"http","Settings":{"Timeouts":{"Read":"","Dial":"","TLSHandshake":""},"KeepAlive":{"Period":"","MaxIdleConnsPerHost":0},"TLS":{"PreferServerCipherSuites":false,"InsecureSkipVerify":false,"MinVersion":"","MaxVersion":"","SessionTicketsDisabled":false,"SessionCache":{"Type":"","Settings":null},"CipherSuites":null}}}"#,
            ),
        );
        check(Server, r#"{"URL":"http://a:1"}"#, Ok(r#"{"Id":"","URL":"http://a:1"}"#));
        check(
            Frontend,
            r#"{"Id":"f","Type":"http","BackendId":"b","Route":"Path(`/f`)","Priority":5}"#,
            Ok(
                r#"{"Id":"f","Route":"Path(`/f`)","Type":"http","BackendId":"b","Settings":{"Limits":{"MaxMemBodyBytes":0,"MaxBodyBytes":0},"FailoverPredicate":"","Hostname":"","TrustForwardHeader":false,"PassHostHeader":false,"Stream":false,"StreamFlushIntervalNanoSecs":0}}"#,
            ),
        );
        check(
            Listener,
            r#"{"Id":"l","Protocol":"HTTPS","Address":{"Network":"TCP","Address":":1"},"ProxyProtocol":"proxy_v1","Settings":{"TLS":{"MinVersion":"VersionTLS11"}}}"#,
            Ok(
                r#"{"Id":"l","Protocol":"https","Address":{"Network":"tcp","Address":":1"},"Scope":"","Settings":{"TLS":{"PreferServerCipherSuites":false,"InsecureSkipVerify":false,"MinVersion":"VersionTLS11","MaxVersion":"","SessionTicketsDisabled":false,"SessionCache":{"Type":"","Settings":null},"CipherSuites":null}},"ProxyProtocol":"PROXY_V1"}"#,
            ),
        );
        check(
            Host,
            r#"{"Name":"h"}"#,
            Ok(
                r#"{"Name":"h","Settings":{"Default":false,"KeyPair":null,"AutoCert":null,"OCSP":{"Enabled":false,"Period":"","Responders":null,"SkipSignatureCheck":false}}}"#,
            ),
        );
        for (middleware, expected) in [
            (
                r#"{"Id":"m","Type":"ratelimit","Priority":2,"Middleware":{"Requests":5,"PeriodSeconds":1,"Burst":3,"Variable":"client.ip"}}"#,
                r#"{"Id":"m","Priority":2,"Type":"ratelimit","Middleware":{"PeriodSeconds":1,"Requests":5,"Burst":3,"Variable":"client.ip","RateVar":""}}"#,
            ),
            (
                r#"{"Id":"m","Type":"connlimit","Middleware":{"Connections":5,"Variable":"client.ip"}}"#,
                r#"{"Id":"m","Priority":0,"Type":"connlimit","Middleware":{"Connections":5,"Variable":"client.ip"}}"#,
            ),
            (
                r#"{"Id":"m","Type":"cbreaker","Middleware":{"Condition":"c","CheckPeriod":"100ms","Fallback":{"Type":"response","Action":{"StatusCode":400,"Body":"x"}}}}"#,
                r#"{"Id":"m","Priority":0,"Type":"cbreaker","Middleware":{"Condition":"c","Fallback":{"Action":{"Body":"x","StatusCode":400},"Type":"response"},"OnTripped":null,"OnStandby":null,"FallbackDuration":0,"RecoveryDuration":0,"CheckPeriod":100000000}}"#,
            ),
            (
                r#"{"Id":"m","Type":"trace","Middleware":{"Addr":"syslog://127.0.0.1:514"}}"#,
                r#"{"Id":"m","Priority":0,"Type":"trace","Middleware":{"ReqHeaders":null,"RespHeaders":null,"Addr":"syslog://127.0.0.1:514"}}"#,
            ),
            (
                r#"{"Id":"m","Type":"rewrite","Middleware":{"Regexp":"^(.*)$","Replacement":"$1"}}"#,
                r#"{"Id":"m","Priority":0,"Type":"rewrite","Middleware":{"Regexp":"^(.*)$","Replacement":"$1","RewriteBody":false,"Redirect":false}}"#,
            ),
        ] {
            check(Middleware, middleware, Ok(expected));
        }
    }

    #[test]
    fn refusals_are_vulcands_words() {
        use Kind::{Backend, Frontend, Host, Listener, Middleware, Server};
        let cases = [
            (Backend, "{}", "Unsupported backend type "),
            (Backend, r#"{"Type":"alias"}"#, "Unsupported backend type alias"),
            (
                Backend,
                r#"{"Type":"http","Settings":{"TLS":{"MinVersion":"VersionTLS13"}}}"#,
                "unsupported TLS version: VersionTLS13",
            ),
            (
                Backend,
                r#"{"Type":"http","Settings":{"TLS":{"CipherSuites":["X"]}}}"#,
                "unsupported cipher suite: X",
            ),
            (
                Backend,
                r#"{"Type":"http","Settings":{"TLS":{"SessionCache":{"Settings":{"Capacity":-1}}}}}"#,
                "bad LRU capacity: -1",
            ),
            (Frontend, r#"{"Type":"x"}"#, "Unsupported frontend type: x"),
            (Frontend, r#"{"Type":"http","Id":"f"}"#, "supply valid  route, id, and backendId"),
            (
                Frontend,
                r#"{"Type":"http","Id":"f","BackendId":"b","Route":"Pat(`/f`)"}"#,
                "route should be a valid route expression: Pat(`/f`)",
            ),
            (
                Frontend,
                r#"{"Type":"http","Id":"f","BackendId":"b","Route":"PathPrefix(`/f`)"}"#,
                "route should be a valid route expression: PathPrefix(`/f`)",
            ),
            (
                Frontend,
                r#"{"Type":"http","Id":"f","BackendId":"b","Route":"!Host(`f`)"}"#,
                "route should be a valid route expression: !Host(`f`)",
            ),
            (
                Frontend,
                r#"{"Type":"http","Id":"f","BackendId":"b","Route":"Host(`f`) || Host(`g`)"}"#,
                "route should be a valid route expression: Host(`f`) || Host(`g`)",
            ),
            (Server, r#"{"URL":"zz"}"#, "endpoint url 'zz' is not valid"),
            (Host, "{}", "Hostname can not be empty"),
            (
                Listener,
                r#"{"Protocol":"ftp"}"#,
                "unsupported protocol 'ftp', supported protocols are http and https",
            ),
            (Listener, r#"{"Protocol":"http","Scope":"zz"}"#, "Scope should be a valid route expression"),
            (Listener, r#"{"Protocol":"http"}"#, "supply a non empty address"),
            (
                Listener,
                r#"{"Protocol":"http","Address":{"Network":"udp","Address":":1"}}"#,
                "unsupported network 'udp', supported networks are tcp and unix",
            ),
            (
                Listener,
                r#"{"Protocol":"http","Address":{"Network":"tcp","Address":":1"},"ProxyProtocol":"v2"}"#,
                "Unsupported Proxy Header 'V2', must be `PROXY_V1` or `NONE`",
            ),
            (Middleware, r#"{"Type":"zz"}"#, "middleware of type zz is not supported"),
        ];
        for (kind, value, expected) in cases {
            check(kind, value, Err(expected));
        }
    }
}
