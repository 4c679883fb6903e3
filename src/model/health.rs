//! How a backend finds out which of its servers are well: active checks, and what their answers to requests tell.

use super::duration;
use super::fields::{Fields, not_one_of, quote};
use super::frontend::TIMEOUT_MAX;
use serde_json::{Map, Value};
use std::ops::RangeInclusive;
use std::time::Duration;

/// The values of `Health.Protocol`.
const PROTOCOLS: [&str; 4] = ["http", "probe", "tcp", "grpc"];
/// Longest `Health.Body`, in bytes.
const BODY_BYTES_MAX: usize = 1024;

/// `Settings.Health`: servers are asked; `{}` asks `GET /health` every 5 s.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked, and which answer is a good one.
    pub probe: Probe,
    /// `Interval` between the ends and starts of checks, spread by a tenth; default 5 s.
    pub interval: Duration,
    /// `Timeout` of one check, connecting included; default 1 s.
    pub timeout: Duration,
    /// `Rise`: good answers in a row that make a server well again; default 2. A new server's first answer decides.
    pub rise: u32,
    /// `Fall`: bad answers in a row that make it unwell; default 3.
    pub fall: u32,
    /// `Port` that answers checks; default the server's own.
    pub port: Option<u16>,
}

/// What a check asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// An HTTP request.
    Http(HttpProbe),
    /// Amdatu's form: POST, answered with `{"healthy":true}`.
    Amdatu {
        /// `Path`; default `/health`.
        path: Box<str>,
    },
    /// A connection.
    Tcp,
    /// `grpc.health.v1.Health/Check`, over HTTP/2.
    Grpc {
        /// `Service`; default the whole server.
        service: Box<str>,
    },
}

/// An HTTP request, and which answers to it are good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpProbe {
    /// `Method`; default GET.
    pub method: Box<str>,
    /// `Path` with its query; default `/health`.
    pub path: Box<str>,
    /// `Host`; default the server's address.
    pub host: Option<Box<str>>,
    /// `Statuses`; default 200 to 299.
    pub statuses: Statuses,
    /// `Body`: text that a good answer contains within its first 64 KiB.
    pub body: Option<Box<str>>,
}

/// Status codes: `[200, "300-399", "5xx"]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Statuses(Vec<RangeInclusive<u16>>);

/// `Settings.Outlier`: what requests tell of servers. Always on; `{"ConsecutiveFailures":0,"ConnectFailures":0}` is off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlier {
    /// `ConsecutiveFailures`: that many attempts in a row that were reset, not answered in time, or answered with one of
    /// `Statuses` eject a server; default 5, 0 never.
    pub consecutive_failures: u32,
    /// `ConnectFailures`: that many connections in a row that could not be made eject it; default 3, 0 never.
    pub connect_failures: u32,
    /// `ErrorPercent`: so large a share of failures among at least 20 attempts within 10 s ejects it; default 0, never.
    pub error_percent: u8,
    /// `Statuses` that count as failures; default 502, 503 and 504.
    pub statuses: Statuses,
    /// `EjectionTime`: how long the first ejection lasts; each that follows soon is one such time longer; default 10 s.
    pub ejection_time: Duration,
    /// `EjectionTimeMax`; default 5 m.
    pub ejection_time_max: Duration,
    /// `EjectedPercentMax`: at most so large a share of the servers is ejected, but always at least one; default 50.
    pub ejected_percent_max: u8,
    /// `PanicPercent`: where fewer than this share of the servers are well, all that are active get requests; default 0,
    /// never.
    pub panic_percent: u8,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            probe: Probe::Http(HttpProbe::default()),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 3,
            port: None,
        }
    }
}

impl Default for HttpProbe {
    fn default() -> Self {
        Self {
            method: "GET".into(),
            path: "/health".into(),
            host: None,
            statuses: Statuses(vec![200..=299]),
            body: None,
        }
    }
}

impl Default for Outlier {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            connect_failures: 3,
            error_percent: 0,
            statuses: Statuses(vec![502..=504]),
            ejection_time: Duration::from_secs(10),
            ejection_time_max: Duration::from_secs(300),
            ejected_percent_max: 50,
            panic_percent: 0,
        }
    }
}

impl Statuses {
    /// These ranges.
    pub fn new(ranges: Vec<RangeInclusive<u16>>) -> Self {
        Self(ranges)
    }

    /// Whether a status is among them.
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }

    /// The list in a field; numbers, `"200-299"` and `"5xx"`.
    pub(super) fn read(fields: &mut Fields<'_>, name: &'static str) -> Option<Self> {
        let items = match fields.value(name)? {
            Value::Array(items) => items,
            other => return fields.wrong(name, "a list of status codes, like [200, \"300-399\"]", other),
        };
        let mut ranges = Vec::new();
        for (place, item) in items.iter().enumerate() {
            let range = match item {
                Value::Number(number) => {
                    number.as_u64().and_then(|it| u16::try_from(it).ok()).map(|it| it..=it)
                }
                Value::String(text) => Self::range(text),
                _ => None,
            };
            match range {
                Some(range) if *range.start() >= 100 && *range.end() <= 599 && !range.is_empty() => {
                    ranges.push(range);
                }
                _ => fields.error(
                    name,
                    format!("[{place}] is no status code from 100 to 599, like 200, \"200-299\" or \"5xx\""),
                ),
            }
        }
        Some(Self(ranges))
    }

    /// `503`, `500-599` or `5xx`.
    pub fn range(text: &str) -> Option<RangeInclusive<u16>> {
        if let Some(class) = text.strip_suffix("xx").or_else(|| text.strip_suffix("XX")) {
            let class: u16 = class.parse().ok().filter(|class| (1..=5).contains(class))?;
            return Some(class * 100..=class * 100 + 99);
        }
        match text.split_once('-') {
            Some((from, to)) => Some(from.trim().parse().ok()?..=to.trim().parse().ok()?),
            None => text.parse().ok().map(|status: u16| status..=status),
        }
    }

    /// As it is read: numbers and ranges.
    pub fn to_value(&self) -> Value {
        let one = |range: &RangeInclusive<u16>| match (range.start(), range.end()) {
            (from, to) if from == to => Value::from(*from),
            (from, to) => format!("{from}-{to}").into(),
        };
        self.0.iter().map(one).collect::<Vec<_>>().into()
    }
}

fn count(fields: &mut Fields<'_>, name: &'static str, least: i64, most: i64, default: u32) -> u32 {
    fields.integer(name, least..=most).and_then(|it| u32::try_from(it).ok()).unwrap_or(default)
}

fn percent(fields: &mut Fields<'_>, name: &'static str, default: u8) -> u8 {
    fields.integer(name, 0..=100).and_then(|it| u8::try_from(it).ok()).unwrap_or(default)
}

pub(super) fn read_health(fields: &mut Fields<'_>) -> Option<HealthCheck> {
    fields.object("Health", |fields| {
        let standard = HealthCheck::default();
        let probe = match fields.text("Protocol").unwrap_or("http") {
            "http" => Probe::Http(read_http(fields)),
            "probe" => Probe::Amdatu { path: read_path(fields) },
            "tcp" => Probe::Tcp,
            "grpc" => Probe::Grpc { service: fields.text("Service").unwrap_or_default().into() },
            other => {
                fields.error("Protocol", not_one_of(other, &PROTOCOLS));
                fields.satisfied(&["Method", "Path", "Host", "Statuses", "Body", "Service"]);
                Probe::Tcp
            }
        };
        let check = HealthCheck {
            probe,
            interval: fields.duration("Interval", TIMEOUT_MAX).unwrap_or(standard.interval),
            timeout: fields.duration("Timeout", TIMEOUT_MAX).unwrap_or(standard.timeout),
            rise: count(fields, "Rise", 1, 1_000, standard.rise),
            fall: count(fields, "Fall", 1, 1_000, standard.fall),
            port: fields.integer("Port", 1..=65_535).and_then(|port| u16::try_from(port).ok()),
        };
        if check.interval < Duration::from_millis(10) {
            fields.error("Interval", "is below 10ms; servers are not to be flooded");
        }
        check
    })
}

fn read_path(fields: &mut Fields<'_>) -> Box<str> {
    let path = fields.text("Path").unwrap_or("/health");
    let is_target = |text: &str| text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_target(path) {
        fields.error("Path", format!("is {}; a path is expected, like `/health`", quote(path)));
    }
    path.into()
}

fn read_http(fields: &mut Fields<'_>) -> HttpProbe {
    let standard = HttpProbe::default();
    let method = fields.text("Method").unwrap_or("GET");
    if !method.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        fields.error("Method", format!("is {}; a method is expected, like GET", quote(method)));
    }
    let host = fields.text("Host");
    if let Some(host) = host.filter(|host| host.bytes().any(|byte| !byte.is_ascii_graphic())) {
        fields.error("Host", format!("is {}; a host is expected, like `shop.example`", quote(host)));
    }
    let body = fields.text("Body");
    if body.is_some_and(|body| body.len() > BODY_BYTES_MAX) {
        fields.error("Body", format!("is longer than {BODY_BYTES_MAX} bytes"));
    }
    HttpProbe {
        method: method.to_ascii_uppercase().into(),
        path: read_path(fields),
        host: host.map(Into::into),
        statuses: Statuses::read(fields, "Statuses").unwrap_or(standard.statuses),
        body: body.map(Into::into),
    }
}

pub(super) fn read_outlier(fields: &mut Fields<'_>) -> Outlier {
    let standard = Outlier::default();
    fields
        .object("Outlier", |fields| Outlier {
            consecutive_failures: count(
                fields,
                "ConsecutiveFailures",
                0,
                10_000,
                standard.consecutive_failures,
            ),
            connect_failures: count(fields, "ConnectFailures", 0, 10_000, standard.connect_failures),
            error_percent: percent(fields, "ErrorPercent", standard.error_percent),
            statuses: Statuses::read(fields, "Statuses").unwrap_or(standard.statuses.clone()),
            ejection_time: fields.duration("EjectionTime", TIMEOUT_MAX).unwrap_or(standard.ejection_time),
            ejection_time_max: fields
                .duration("EjectionTimeMax", TIMEOUT_MAX)
                .unwrap_or(standard.ejection_time_max),
            ejected_percent_max: percent(fields, "EjectedPercentMax", standard.ejected_percent_max),
            panic_percent: percent(fields, "PanicPercent", standard.panic_percent),
        })
        .unwrap_or(standard.clone())
}

impl HealthCheck {
    pub(super) fn to_value(&self) -> Value {
        let (mut value, standard) = (Map::new(), Self::default());
        match &self.probe {
            Probe::Http(probe) => probe.to_map(&mut value),
            Probe::Amdatu { path } => {
                value.insert("Protocol".into(), "probe".into());
                value.insert("Path".into(), (&**path).into());
            }
            Probe::Tcp => {
                value.insert("Protocol".into(), "tcp".into());
            }
            Probe::Grpc { service } => {
                value.insert("Protocol".into(), "grpc".into());
                if !service.is_empty() {
                    value.insert("Service".into(), (&**service).into());
                }
            }
        }
        for (name, time, default) in
            [("Interval", self.interval, standard.interval), ("Timeout", self.timeout, standard.timeout)]
        {
            if time != default {
                value.insert(name.into(), duration::format(time).into());
            }
        }
        for (name, count, default) in [("Rise", self.rise, standard.rise), ("Fall", self.fall, standard.fall)]
        {
            if count != default {
                value.insert(name.into(), count.into());
            }
        }
        if let Some(port) = self.port {
            value.insert("Port".into(), port.into());
        }
        value.into()
    }
}

impl HttpProbe {
    fn to_map(&self, value: &mut Map<String, Value>) {
        let standard = Self::default();
        for (name, text, default) in
            [("Method", &self.method, &standard.method), ("Path", &self.path, &standard.path)]
        {
            if text != default {
                value.insert(name.into(), (&**text).into());
            }
        }
        for (name, text) in [("Host", &self.host), ("Body", &self.body)] {
            if let Some(text) = text {
                value.insert(name.into(), (&**text).into());
            }
        }
        if self.statuses != standard.statuses {
            value.insert("Statuses".into(), self.statuses.to_value());
        }
    }
}

impl Outlier {
    /// The value to write; none where it is the default.
    pub(super) fn to_value(&self) -> Option<Value> {
        let (mut value, standard) = (Map::new(), Self::default());
        for (name, number, default) in [
            ("ConsecutiveFailures", self.consecutive_failures, standard.consecutive_failures),
            ("ConnectFailures", self.connect_failures, standard.connect_failures),
            ("ErrorPercent", self.error_percent.into(), standard.error_percent.into()),
            ("EjectedPercentMax", self.ejected_percent_max.into(), standard.ejected_percent_max.into()),
            ("PanicPercent", self.panic_percent.into(), standard.panic_percent.into()),
        ] {
            if number != default {
                value.insert(name.into(), number.into());
            }
        }
        if self.statuses != standard.statuses {
            value.insert("Statuses".into(), self.statuses.to_value());
        }
        for (name, time, default) in [
            ("EjectionTime", self.ejection_time, standard.ejection_time),
            ("EjectionTimeMax", self.ejection_time_max, standard.ejection_time_max),
        ] {
            if time != default {
                value.insert(name.into(), duration::format(time).into());
            }
        }
        (!value.is_empty()).then(|| value.into())
    }
}
