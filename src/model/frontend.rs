//! A frontend: a route and where it leads.

use super::duration;
use super::fields::{Fields, not_one_of, quote};
use super::id::{BackendId, FrontendId, MiddlewareId};
use super::middleware::field_name_error;
use super::network;
use super::pages::{self, ErrorPages, Maintenance};
use super::retry::{self, Retry};
use super::split::{self, Split};
use crate::expr::{Predicate, Route};
use ipnet::IpNet;
use serde_json::{Map, Value};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// Longest `Settings.Timeouts.*`: 365 days.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(365 * 24 * 3_600);

/// A route expression, settings, and the backend it sends to.
#[derive(Debug, Clone, PartialEq)]
pub struct Frontend {
    /// From the key.
    pub id: FrontendId,
    /// Which requests are its own.
    pub route: Route,
    /// Higher wins before anything else is compared; default 0 (new).
    pub priority: i64,
    /// A backend or an alias; of a split, the part with the largest weight.
    pub backend: BackendId,
    /// Several backends in place of one (new).
    pub split: Option<Arc<Split>>,
    /// Everything else; shared among frontends where it is common.
    pub settings: Arc<FrontendSettings>,
}

/// How a frontend treats its requests.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FrontendSettings {
    /// `Limits.MaxBodyBytes`: largest request body, 0 in the store is no limit.
    pub body_bytes_max: Option<u64>,
    /// `Hostname`: goes into `X-Forwarded-Server`.
    pub hostname: Option<Box<str>>,
    /// `TrustForwardHeader`: keep what the client says in `X-Forwarded-*`; default false.
    pub trust_forward_header: bool,
    /// `TrustedProxies` (new): proxies before this one, in place of the process's list. With either list what a client
    /// says in `X-Forwarded-*` counts if it comes from there and only then, whatever `trust_forward_header`.
    pub trusted_proxies: Option<Box<[IpNet]>>,
    /// `PassHostHeader`: send the client's `Host`; otherwise the server's own address; default false, as vulcand's.
    pub pass_host_header: bool,
    /// `Forwarded` (new): also send `Forwarded` (RFC 7239).
    pub forwarded: bool,
    /// `RequestId` (new): header that carries a request id to the server, kept when a trusted client sent one.
    pub request_id: Option<Box<str>>,
    /// `Middlewares` (new): shared middlewares by id, in order, each once.
    pub middlewares: Vec<MiddlewareId>,
    /// `Timeouts.Response` (new): from the complete request to the answer's head; overrides the backend's `Read`.
    pub response_timeout: Option<Duration>,
    /// `Timeouts.Idle` (new): longest silence within a body, either way.
    pub idle_timeout: Option<Duration>,
    /// `Retry` (new): further attempts; default only those that are always safe.
    pub retry: Option<Retry>,
    /// `FailoverPredicate`: which attempts are followed by another, beyond those that are always safe; then it stands in
    /// for `On` and `AnyMethod` of `Retry`, whose other fields say how.
    pub failover: Option<Arc<Predicate>>,
    /// `Limits.MaxMemBodyBytes`: a body up to this size is kept to be sent again where the predicate asks for it and
    /// there is no `Retry`; 0 in the store is the default, 1 MiB.
    pub replay_bytes_max: Option<u64>,
    /// `ErrorPages` (new): what clients read in place of the proxy's own words, or of a server's.
    pub error_pages: Option<Box<ErrorPages>>,
    /// `Maintenance` (new), which stands beside `Settings`: requests are answered with 503.
    pub maintenance: Option<Box<Maintenance>>,
}

impl FrontendSettings {
    /// Settings to share. Those that differ from the default in `TrustForwardHeader`, `PassHostHeader` and
    /// `Forwarded` alone are one value for the whole process, since nearly all frontends have such.
    pub fn shared(self) -> Arc<Self> {
        static COMMON: LazyLock<[Arc<FrontendSettings>; 8]> = LazyLock::new(|| {
            std::array::from_fn(|bits| {
                Arc::new(FrontendSettings {
                    trust_forward_header: bits & 1 != 0,
                    pass_host_header: bits & 2 != 0,
                    forwarded: bits & 4 != 0,
                    ..FrontendSettings::default()
                })
            })
        });
        match COMMON.iter().find(|common| ***common == self) {
            Some(common) => Arc::clone(common),
            None => Arc::new(self),
        }
    }
}

pub(super) fn read(fields: &mut Fields<'_>, id: &FrontendId) -> Option<Frontend> {
    fields.id_from_key("Id", id.as_str());
    if let Some(kind) = fields.text("Type").filter(|kind| *kind != "http") {
        fields.error("Type", not_one_of(kind, &["http"]));
    }
    let route = read_route(fields, "Route", true);
    let priority = fields.integer("Priority", i64::MIN..=i64::MAX).unwrap_or(0);
    let has_split =
        fields.value("Split").is_some_and(|value| value.as_array().is_none_or(|it| !it.is_empty()));
    let split = if has_split { split::read(fields) } else { None };
    let backend = match &split {
        Some(split) => {
            if fields.text("BackendId").is_some() {
                fields.warning("BackendId", "has no effect beside `Split`");
            }
            split.main().cloned()
        }
        // What is wrong with the split is said already.
        None if has_split => {
            fields.satisfied(&["BackendId"]);
            None
        }
        None => {
            fields.satisfied(&["SplitBy"]);
            read_backend_id(fields, "BackendId")
        }
    };
    let mut settings = fields.object("Settings", read_settings).unwrap_or_default();
    settings.maintenance = pages::read_maintenance(fields);
    Some(Frontend {
        id: id.clone(),
        route: route?,
        priority,
        backend: backend?,
        split: split.map(Arc::new),
        settings: settings.shared(),
    })
}

/// The expression in a field; one that is not an expression is reported.
pub(super) fn read_route(fields: &mut Fields<'_>, name: &'static str, required: bool) -> Option<Route> {
    let text = if required {
        fields.required_text(
            name,
            "an expression is expected, like `Host(\"shop.example\") && PathPrefix(\"/\")`",
        )?
    } else {
        fields.text(name)?
    };
    match Route::parse(text) {
        Ok(route) => Some(route),
        Err(error) => {
            fields.error(name, format!("is not an expression: {error}"));
            None
        }
    }
}

/// A backend's id that must be there.
pub(super) fn read_backend_id(fields: &mut Fields<'_>, name: &'static str) -> Option<BackendId> {
    let text = fields.required_text(name, "the id of a backend is expected")?;
    BackendId::try_from(text)
        .map_err(|error| fields.error(name, format!("{} is no backend's id: {error}", quote(text))))
        .ok()
}

fn read_settings(fields: &mut Fields<'_>) -> FrontendSettings {
    let mut settings = FrontendSettings::default();
    fields.object("Limits", |limits| {
        // vulcand writes -1 for "no limit" too.
        let bytes = limits.integer("MaxBodyBytes", -1..=i64::MAX).unwrap_or(0);
        settings.body_bytes_max = u64::try_from(bytes).ok().filter(|bytes| *bytes > 0);
        let bytes = limits.integer("MaxMemBodyBytes", -1..=i64::MAX).unwrap_or(0);
        settings.replay_bytes_max = u64::try_from(bytes).ok().filter(|bytes| *bytes > 0);
    });
    settings.hostname = fields.text("Hostname").map(Into::into);
    if let Some(hostname) = settings.hostname.as_deref().filter(|text| text.chars().any(char::is_control)) {
        fields.error("Hostname", format!("is {}; a field value has no control characters", quote(hostname)));
    }
    settings.trust_forward_header = fields.boolean("TrustForwardHeader").unwrap_or(false);
    settings.trusted_proxies = network::read(fields, "TrustedProxies");
    settings.pass_host_header = fields.boolean("PassHostHeader").unwrap_or(false);
    settings.forwarded = fields.boolean("Forwarded").unwrap_or(false);
    settings.request_id = fields.text("RequestId").map(Into::into);
    if let Some(error) = settings.request_id.as_deref().and_then(field_name_error) {
        fields.error("RequestId", error);
    }
    for (path, text) in fields.texts("Middlewares") {
        match MiddlewareId::try_from(text) {
            Ok(id) if settings.middlewares.contains(&id) => {
                fields.report().warning(path, format!("names {} again; each runs once", quote(text)));
            }
            Ok(id) => settings.middlewares.push(id),
            Err(error) => fields.report().error(path, error.to_string()),
        }
    }
    fields.object("Timeouts", |timeouts| {
        settings.response_timeout = timeouts.duration("Response", TIMEOUT_MAX);
        settings.idle_timeout = timeouts.duration("Idle", TIMEOUT_MAX);
    });
    fields.satisfied(&["Stream", "StreamFlushIntervalNanoSecs"]);
    settings.retry = retry::read(fields);
    settings.failover = read_failover(fields);
    settings.error_pages = pages::read_error_pages(fields);
    settings
}

fn read_failover(fields: &mut Fields<'_>) -> Option<Arc<Predicate>> {
    let text = fields.text("FailoverPredicate")?;
    match Predicate::parse(text) {
        Ok(predicate) => Some(Arc::new(predicate)),
        Err(error) => {
            fields.error("FailoverPredicate", format!("is no predicate: {error}"));
            None
        }
    }
}

impl Frontend {
    /// The field that names its backends.
    pub fn backend_field(&self) -> &'static str {
        if self.split.is_some() { "Split" } else { "BackendId" }
    }

    /// The backends and aliases that it names, each once.
    pub fn backends(&self) -> impl Iterator<Item = &BackendId> {
        let parts = self.split.as_deref().map(|split| split.parts.as_slice()).unwrap_or_default();
        let further = parts.iter().enumerate().filter(move |(place, part)| {
            part.backend != self.backend && parts.iter().take(*place).all(|it| it.backend != part.backend)
        });
        std::iter::once(&self.backend).chain(further.map(|(_, part)| &part.backend))
    }

    /// The value to write, in vulcand's spelling and without defaults.
    pub fn to_value(&self) -> Value {
        let mut value = Map::new();
        value.insert("Type".into(), "http".into());
        match &self.split {
            None => {
                value.insert("BackendId".into(), self.backend.as_str().into());
            }
            Some(split) => {
                value.insert("Split".into(), split.to_value());
                if let Some(by) = &split.by {
                    value.insert("SplitBy".into(), by.to_string().into());
                }
            }
        }
        value.insert("Route".into(), self.route.text().into());
        if self.priority != 0 {
            value.insert("Priority".into(), self.priority.into());
        }
        let settings = self.settings.to_map();
        if !settings.is_empty() {
            value.insert("Settings".into(), settings.into());
        }
        if let Some(maintenance) = &self.settings.maintenance {
            value.insert("Maintenance".into(), maintenance.to_value());
        }
        value.into()
    }
}

impl FrontendSettings {
    fn to_map(&self) -> Map<String, Value> {
        let mut value = Map::new();
        let limits = [("MaxBodyBytes", self.body_bytes_max), ("MaxMemBodyBytes", self.replay_bytes_max)];
        let limits = limits.into_iter().filter_map(|(name, bytes)| Some((name.to_owned(), bytes?.into())));
        let limits: Map<String, Value> = limits.collect();
        if !limits.is_empty() {
            value.insert("Limits".into(), limits.into());
        }
        if let Some(predicate) = &self.failover {
            value.insert("FailoverPredicate".into(), predicate.to_string().into());
        }
        if let Some(hostname) = &self.hostname {
            value.insert("Hostname".into(), (&**hostname).into());
        }
        for (name, set) in [
            ("TrustForwardHeader", self.trust_forward_header),
            ("PassHostHeader", self.pass_host_header),
            ("Forwarded", self.forwarded),
        ] {
            if set {
                value.insert(name.into(), true.into());
            }
        }
        if let Some(networks) = &self.trusted_proxies {
            value.insert("TrustedProxies".into(), network::to_value(networks));
        }
        if let Some(name) = &self.request_id {
            value.insert("RequestId".into(), (&**name).into());
        }
        if !self.middlewares.is_empty() {
            let ids: Vec<&str> = self.middlewares.iter().map(MiddlewareId::as_str).collect();
            value.insert("Middlewares".into(), ids.into());
        }
        let mut timeouts = Map::new();
        for (name, timeout) in [("Response", self.response_timeout), ("Idle", self.idle_timeout)] {
            if let Some(timeout) = timeout {
                timeouts.insert(name.into(), duration::format(timeout).into());
            }
        }
        if !timeouts.is_empty() {
            value.insert("Timeouts".into(), timeouts.into());
        }
        if let Some(retry) = &self.retry {
            value.insert("Retry".into(), retry.to_value());
        }
        if let Some(pages) = &self.error_pages {
            value.insert("ErrorPages".into(), pages.to_value());
        }
        value
    }
}
