//! The annotations `flipgate.io/*`: their names, which field of the store each stands for, and how its text is read.

use super::Converted;
use crate::model::nearest;
use crate::registrar::seen::{Meta, ServicePort};
use crate::registrar::unit::Source;
use serde_json::{Map, Value};

/// What all of them begin with.
pub const PREFIX: &str = "flipgate.io/";

/// One annotation. A Service's may end with a dot and a port, by name or number: `flipgate.io/route.admin`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Annotation {
    /// Behind [`PREFIX`].
    pub name: &'static str,
    /// What it says something about.
    pub part: Part,
    /// The field of the store's object, as a path; empty: it is the registrar that acts on it.
    pub field: &'static str,
    /// How its text is read.
    pub form: Form,
    /// For the reader.
    pub help: &'static str,
}

/// What an annotation says something about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A Service's endpoints, or a pod: where they are.
    Place,
    /// What a Service becomes.
    Service,
    /// A Service's frontends.
    Frontend,
    /// A Service's backends.
    Backend,
}

/// How an annotation's text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Text,
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Number,
    /// Texts with commas between them.
    List,
    /// JSON, as in the store.
    Json,
    /// A text, or JSON.
    TextOrJson,
    /// `true`, `false`, or JSON.
    FlagOrJson,
    /// A number for this field of the object, or the object in JSON.
    NumberOf(&'static str),
    /// `true` is the object with nothing in it, `false` none; another text is for this field; or the object in JSON.
    SwitchOf(&'static str),
}

macro_rules! annotations {
    ($($part:ident $name:literal $field:literal $form:expr, $help:literal;)*) => {
        &[$(Annotation { name: $name, part: Part::$part, field: $field, form: $form, help: $help }),*]
    };
}

/// All of them. Of those that stand for one field the whole comes before its parts, which are added to it.
pub const ANNOTATIONS: &[Annotation] = annotations! {
    Place "port" "" Form::Text, "Which port, by name or number; else the one named `http`, else the first";
    Place "scheme" "" Form::Text, "`http` or `https`; else by the port's `appProtocol`";
    Place "ip-family" "" Form::Text, "`ipv4` or `ipv6`; else the first family of the Service, the first address of the pod";
    Service "route" "" Form::Text, "The requests that the Service gets";
    Service "backend" "" Form::Text, "Where the route leads: a backend or an alias that somebody else looks after";
    Service "backend-id" "" Form::Text, "The id of the Service's own backend; it is made without a route, too";
    Frontend "frontend-settings" "Settings" Form::Json, "Any of a frontend's settings";
    Frontend "priority" "Priority" Form::Number, "";
    Frontend "middlewares" "Settings.Middlewares" Form::List, "Shared middlewares, in order";
    Frontend "pass-host-header" "Settings.PassHostHeader" Form::Flag, "Default here: true";
    Frontend "hostname" "Settings.Hostname" Form::Text, "";
    Frontend "trust-forward-header" "Settings.TrustForwardHeader" Form::Flag, "";
    Frontend "trusted-proxies" "Settings.TrustedProxies" Form::List, "";
    Frontend "forwarded" "Settings.Forwarded" Form::Flag, "";
    Frontend "request-id" "Settings.RequestId" Form::Text, "";
    Frontend "max-body-bytes" "Settings.Limits.MaxBodyBytes" Form::Number, "";
    Frontend "max-mem-body-bytes" "Settings.Limits.MaxMemBodyBytes" Form::Number, "";
    Frontend "response-timeout" "Settings.Timeouts.Response" Form::Text, "";
    Frontend "idle-timeout" "Settings.Timeouts.Idle" Form::Text, "";
    Frontend "retry" "Settings.Retry" Form::NumberOf("Attempts"), "";
    Frontend "retry-on" "Settings.Retry.On" Form::List, "";
    Frontend "failover-predicate" "Settings.FailoverPredicate" Form::Text, "";
    Frontend "error-pages" "Settings.ErrorPages" Form::Json, "";
    Frontend "maintenance" "Maintenance" Form::FlagOrJson, "";
    Backend "backend-settings" "Settings" Form::Json, "Any of a backend's settings";
    Backend "protocol" "Settings.Protocol" Form::Text, "Default by the port's `appProtocol`";
    Backend "balance" "Settings.Balance" Form::TextOrJson, "";
    Backend "sticky" "Settings.Sticky" Form::SwitchOf("Cookie"), "";
    Backend "health" "Settings.Health" Form::SwitchOf("Path"), "";
    Backend "health-protocol" "Settings.Health.Protocol" Form::Text, "Turns checks on, as those below do";
    Backend "health-port" "Settings.Health.Port" Form::Number, "";
    Backend "health-interval" "Settings.Health.Interval" Form::Text, "";
    Backend "health-timeout" "Settings.Health.Timeout" Form::Text, "";
    Backend "outlier" "Settings.Outlier" Form::Json, "";
    Backend "slow-start" "Settings.SlowStart" Form::Text, "";
    Backend "dial-timeout" "Settings.Timeouts.Dial" Form::Text, "";
    Backend "read-timeout" "Settings.Timeouts.Read" Form::Text, "";
    Backend "tls-handshake-timeout" "Settings.Timeouts.TLSHandshake" Form::Text, "";
    Backend "drain-timeout" "Settings.Timeouts.Drain" Form::Text, "";
    Backend "keep-alive" "Settings.KeepAlive.Period" Form::Text, "";
    Backend "max-idle-conns-per-host" "Settings.KeepAlive.MaxIdleConnsPerHost" Form::Number, "";
    Backend "max-connections" "Settings.Limits.Connections" Form::Number, "";
    Backend "max-server-connections" "Settings.Limits.ServerConnections" Form::Number, "";
    Backend "tls-server-name" "Settings.TLS.ServerName" Form::Text, "";
    Backend "tls-ca" "Settings.TLS.CA" Form::Text, "PEM text";
    Backend "tls-insecure" "Settings.TLS.InsecureSkipVerify" Form::Flag, "";
};

/// An object's own annotations among all that it has.
pub(super) struct Given<'m>(Vec<Entry<'m>>);

/// One that is given.
#[derive(Clone, Copy)]
pub(super) struct Entry<'m> {
    /// As written, with [`PREFIX`] and port.
    pub key: &'m str,
    /// Behind the one and before the other.
    pub name: &'m str,
    /// The port that it is for; none: all, or the main one.
    pub port: Option<&'m str>,
    /// What it says, without the space around it.
    pub text: &'m str,
}

impl<'m> Given<'m> {
    /// Those of an object.
    pub(super) fn of(meta: &'m Meta) -> Self {
        let texts = meta.annotations.iter().map(|(key, text)| (&**key, &**text));
        let entry = |(key, text): (&'m str, &'m str)| {
            let rest = key.strip_prefix(PREFIX)?;
            let (name, port) = rest.split_once('.').map_or((rest, None), |(name, port)| (name, Some(port)));
            Some(Entry { key, name, port, text: text.trim() })
        };
        Self(texts.filter_map(entry).collect())
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All with this name, for one port or for none.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = Entry<'m>> {
        self.0.iter().filter(move |entry| entry.name == name).copied()
    }

    /// The one that names no port.
    pub(super) fn plain(&self, name: &str) -> Option<Entry<'m>> {
        self.all(name).find(|entry| entry.port.is_none())
    }

    /// The one that names this port.
    pub(super) fn of_port(&self, name: &str, port: &ServicePort) -> Option<Entry<'m>> {
        self.all(name).find(|entry| entry.port.is_some_and(|named| is_port(port, named)))
    }

    /// The one that counts for a port: its own, else the one that names none.
    pub(super) fn closest(&self, name: &str, port: Option<&ServicePort>) -> Option<Entry<'m>> {
        port.and_then(|port| self.of_port(name, port)).or_else(|| self.plain(name))
    }

    /// Notes names that are no annotations of such an object, and ports that it does not have.
    pub(super) fn check_names(
        &self,
        about: &Source,
        parts: &[Part],
        ports: &[ServicePort],
        converted: &mut Converted,
    ) {
        let known = || ANNOTATIONS.iter().filter(|known| parts.contains(&known.part)).map(|known| known.name);
        let of_service = parts.contains(&Part::Service);
        for entry in &self.0 {
            if !known().any(|name| name == entry.name) {
                let reason = match nearest(entry.name, known()) {
                    Some(near) => format!("is no annotation known here; did you mean `{PREFIX}{near}`?"),
                    None => "is no annotation known here".to_owned(),
                };
                converted.warning(about, entry.key, reason);
            } else if entry.port.is_some() && (!of_service || entry.name == "port") {
                converted.warning(about, entry.key, "cannot be given for one port");
            } else if entry.port.is_some_and(|named| !ports.iter().any(|port| is_port(port, named))) {
                converted.warning(
                    about,
                    entry.key,
                    format!("is for a port that is not there: {}", names(ports)),
                );
            }
        }
    }
}

/// Whether a port is meant, by its name or number.
pub(super) fn is_port(port: &ServicePort, named: &str) -> bool {
    port.name.as_deref() == Some(named) || named.parse() == Ok(port.port)
}

/// The ports of a Service, for people.
pub(super) fn names(ports: &[ServicePort]) -> String {
    if ports.is_empty() {
        return "the Service has no ports".to_owned();
    }
    let one = |port: &ServicePort| match &port.name {
        Some(name) => format!("`{name}` ({})", port.port),
        None => port.port.to_string(),
    };
    format!("the Service has {}", ports.iter().map(one).collect::<Vec<_>>().join(", "))
}

impl Form {
    /// The value that a text means. The error is a predicate that follows the annotation's name.
    pub(super) fn read(self, text: &str) -> Result<Value, String> {
        let is_json = text.starts_with(['{', '[']);
        match self {
            Self::Text => Ok(text.into()),
            Self::Flag => flag(text).ok_or_else(|| format!("is {text:?}; true or false is expected")),
            Self::Number => number(text).ok_or_else(|| format!("is {text:?}; a whole number is expected")),
            Self::List => {
                Ok(text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect::<Vec<_>>().into())
            }
            Self::TextOrJson if !is_json => Ok(text.into()),
            Self::FlagOrJson if !is_json => Self::Flag.read(text),
            Self::NumberOf(field) if !is_json => Self::Number.read(text).map(|number| with(field, number)),
            Self::SwitchOf(field) if !is_json => Ok(match flag(text) {
                Some(Value::Bool(true)) => Map::new().into(),
                Some(_) => Value::Null,
                None => with(field, text.into()),
            }),
            _ => serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}")),
        }
    }
}

fn flag(text: &str) -> Option<Value> {
    text.parse::<bool>().ok().map(Value::from)
}

fn number(text: &str) -> Option<Value> {
    text.parse::<i64>().ok().map(Value::from)
}

fn with(field: &str, value: Value) -> Value {
    Map::from_iter([(field.to_owned(), value)]).into()
}
